"""Writes the tables of README.md and docs/engine.md that come from measurements, and draws docs/area.svg.

``python docs/readme_tables.py`` takes them from docs/*.json; ``--measure`` (``make baseline``) counts the gates first.
A table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; its figures come from docs/*.json, never from a hand.
"""

import argparse
import json
import re
import statistics
from pathlib import Path

from bnforge import baseline
from bnforge.presets import PRESETS

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
PAGES = [README, DOCS / "engine.md", DOCS / "layers.md", DOCS / "boards.md"]
BASELINE = DOCS / "baseline_area.json"
FIGURES = DOCS / "figures.json"
GRADIENT = DOCS / "gradient.json"
TRAINING = DOCS / "training.json"
ENGINE = DOCS / "engine.json"
FAULTS = DOCS / "faults.json"
LAYERS = DOCS / "layers.json"
RTL_TRAINING = DOCS / "rtl_training.json"
COMPARE = DOCS / "compare.json"
BOARDS = DOCS / "boards.json"


def _presets():
    """Reports of the presets as they are."""
    return {name: report for name, report in baseline.read(BASELINE).items() if name in PRESETS}


def area_table():
    """Gate counts of every preset, from docs/baseline_area.json."""
    lines = ["| preset | lanes | GE | GE per lane | of these in the lane | flip-flops | memory bits | levels |",
             "|---|---|---|---|---|---|---|---|"]
    for name, report in _presets().items():
        lines.append(f"| `{name}` | {report.lanes} | {report.ge:,.0f} | {report.ge_per_lane:,.0f} "
                     f"| {report.lane_ge:,.0f} | {report.flip_flops:,} | {report.memory_bits:,} | {report.levels} |")
    return "\n".join(lines)


def directions_table():
    """What one core for both directions saves against two, from docs/baseline_area.json."""
    lines = ["| preset | forward only | backward only | both | saved against two cores | memory bits: forward, "
             "backward, both | saved |", "|---|---|---|---|---|---|---|"]
    reports = baseline.read(BASELINE)
    for name in PRESETS:
        both, forward, backward = reports[name], reports[f"{name} forward"], reports[f"{name} backward"]
        saved = [1 - getattr(both, total) / (getattr(forward, total) + getattr(backward, total))
                 for total in ("ge", "memory_bits")]
        lines.append(f"| `{name}` | {forward.ge:,.0f} | {backward.ge:,.0f} | {both.ge:,.0f} | {saved[0]:.0%} "
                     f"| {forward.memory_bits:,}, {backward.memory_bits:,}, {both.memory_bits:,} | {saved[1]:.0%} |")
    return "\n".join(lines)


def _tensor(row):
    n_images, height, width, channels = row["shape"]
    return f"{n_images}·{height}·{width}, C = {channels}", {"blocked": "blocked", "nhwc": "NHWC"}[row["layout"]]


def engine_bytes_table():
    """Bytes on the bus per element, from docs/engine.json."""
    lines = ["| tensor | layout | bus, bits | forward: floor | on the bus | over | backward: floor | on the bus | over "
             "|",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in json.loads(ENGINE.read_text(encoding="utf-8"))["bytes"]:
        cells = [f"{run['floor']:.3f} | {run['total']:.3f} | {run['total'] / run['floor'] - 1:.1%}"
                 for run in (row["forward"], row["backward"])]
        lines.append(f"| {' | '.join(_tensor(row))} | {row['data_width']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def engine_speed_table():
    """Use of the bus and cycles, from docs/engine.json."""
    lines = ["| bus, bits | latency | order | forward: cycles | ideal | bus busy | backward: cycles | ideal | bus busy "
             "|",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in json.loads(ENGINE.read_text(encoding="utf-8"))["speed"]:
        cells = [f"{run['cycles']:,} | {run['ideal']:,} | {run['busy']:.1%}"
                 for run in (row["forward"], row["backward"])]
        order = "contiguous" if row["contiguous"] else "grid"
        lines.append(f"| {row['data_width']} | {row['latency']} | {order} | {' | '.join(cells)} |")
    return "\n".join(lines)


def faults_table():
    """Outcomes of the fault campaign, from docs/faults.json."""
    from bnforge_sim.faults import FAULT_CLASSES
    data = json.loads(FAULTS.read_text(encoding="utf-8"))
    texts = {kind.__name__: kind.__doc__.split("\n")[0].rstrip(".") for kind in FAULT_CLASSES}
    outcomes = ["reported", "unaffected"]
    lines = ["| fault | injected | reported as it should | run unaffected, as it should |", "|---|---|---|---|"]
    for name, counts in data["faults"].items():
        assert counts.keys() <= set(outcomes), f"{name}: {counts}"
        cells = " | ".join(f"{counts.get(outcome, 0):,}" for outcome in outcomes)
        lines.append(f"| {texts[name]} | {sum(counts.values()):,} | {cells} |")
    return "\n".join(lines)


ENGINE_PARTS = {
    "core": ("top",), "registers, job control": ("register_block", "job_control"), "counters": ("counters",),
    "descriptors": ("descriptor_loader", "midend"), "readers": ("read_channel",), "writers": ("write_channel",),
    "AXI4 port": ("read_port", "write_port")}
"""Parts of the engine, and the modules that they are, with all inside; numbers after a name do not matter."""


def _of_parts(report, parts, what):
    """Total of ``what`` of each part, all instances, and last of the rest."""
    totals = []
    for stems in parts.values():
        chosen = [module for module in report.modules
                  if re.sub(r"_\d+$", "", module.name.removeprefix(f"{report.name}_")) in stems]
        totals.append(sum(getattr(module, what) * module.instances for module in chosen))
    return [*totals, getattr(report, what) - sum(totals)]


def engine_area_table():
    """Gates of the engine by part, from docs/baseline_area.json."""
    reports = {name: report for name, report in baseline.read(BASELINE).items() if name.endswith(" engine")}
    names = [name.removesuffix(" engine") for name in reports]
    lines = [f"| part | {' | '.join(f'`{name}`: GE | memory bits' for name in names)} |",
             "|---|" + "---|" * 2 * len(names)]
    columns = [_of_parts(report, ENGINE_PARTS, what) for report in reports.values() for what in ("ge", "memory_bits")]
    for part, *cells in zip([*ENGINE_PARTS, "wiring"], *columns, strict=True):
        lines.append(f"| {part} | {' | '.join(f'{value:,.0f}' for value in cells)} |")
    totals = [f"{value:,.0f}" for report in reports.values() for value in (report.ge, report.memory_bits)]
    lines.append(f"| **all** | {' | '.join(totals)} |")
    return "\n".join(lines)


SHARES = {
    "array": ("systolic_array",), "normaliser": ("top",),
    "DMA": ("descriptor_loader", "midend", "read_channel", "write_channel", "read_port", "write_port"),
    "control": ("register_block", "job_control", "counters")}
"""Parts of an engine with an array, as ``ENGINE_PARTS``."""


def array_area_table():
    """Gates of engines with an array by part, from docs/baseline_area.json."""
    reports = {name.removeprefix("array "): report for name, report in baseline.read(BASELINE).items()
               if name.startswith("array ")}
    heads = [f"{name.replace('x', ' × ')}: GE | share | memory bits" for name in reports]
    lines = [f"| part | {' | '.join(heads)} |", "|---|" + "---|" * 3 * len(reports)]
    gates, bits = ([_of_parts(report, SHARES, what) for report in reports.values()] for what in ("ge", "memory_bits"))
    for row, part in enumerate([*SHARES, "wiring"]):
        cells = [f"{ge[row]:,.0f} | {ge[row] / report.ge:.1%} | {bit[row]:,.0f}"
                 for report, ge, bit in zip(reports.values(), gates, bits)]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    totals = [f"{report.ge:,.0f} | | {report.memory_bits:,.0f}" for report in reports.values()]
    lines.append(f"| **all** | {' | '.join(totals)} |")
    return "\n".join(lines)


def _megabytes(run):
    """Bytes beside those that the convolutions fetch, and with them."""
    beside = sum(size for what, size in run["bytes"].items() if what not in ("operands", "descriptors"))
    return f"{beside / 1e6:.3f} | {sum(run['bytes'].values()) / 1e6:.3f}"


def layer_bytes_table():
    """Fused against unfused, from docs/layers.json."""
    lines = ["| layer | bus, bits | pass | fused: MB beside operands | MB in all | cycles | unfused: MB beside "
             "operands | MB in all | cycles | cycles saved |", "|---|---|---|---|---|---|---|---|---|---|"]
    for row in json.loads(LAYERS.read_text(encoding="utf-8"))["rows"]:
        for what in ("forward", "backward"):
            fused, unfused = row[what]["fused"], row[what]["unfused"]
            lines.append(f"| {row['case']} | {row['data_width']} | {what} | {_megabytes(fused)} | {fused['cycles']:,} "
                         f"| {_megabytes(unfused)} | {unfused['cycles']:,} "
                         f"| {1 - fused['cycles'] / unfused['cycles']:.0%} |")
    return "\n".join(lines)


def layer_speed_table():
    """Use of the array, from docs/layers.json."""
    lines = ["| layer | bus, bits | job | multiply-accumulates | cycles | array in use | bus with read data |",
             "|---|---|---|---|---|---|---|"]
    for row in json.loads(LAYERS.read_text(encoding="utf-8"))["rows"]:
        for what in ("forward", "backward", "weight gradient"):
            run = row[what]["fused"]
            assert run["useful"] == 1, "README says that no element of a row is idle"
            lines.append(f"| {row['case']} | {row['data_width']} | {what} | {run['macs']:,} | {run['cycles']:,} "
                         f"| {run['utilisation']:.1%} | {run['busy_bus']:.1%} |")
    return "\n".join(lines)


def cycles_table():
    """Cycles of every preset, from docs/figures.json."""
    lines = ["| preset | tiles x 4096 beats | cycles | more than beats | bubbles | last beat to constants "
             "| then to the output |", "|---|---|---|---|---|---|---|"]
    for name, figures in json.loads(FIGURES.read_text(encoding="utf-8"))["measured"].items():
        tiles, n = figures["tiles"], figures["n"]
        assert n == 4096
        rows = ((figures, f"{tiles} forward", tiles), (figures["backward"], f"{tiles} backward", tiles),
                (figures["alternating"], f"{tiles} forward, {tiles} backward, in turn", 2 * tiles))
        for run, what, count in rows:
            latency = (f"{run['constants_latency']} | {run['output_latency']}" if "constants_latency" in run else "|")
            lines.append(f"| `{name}` | {what} | {run['cycles']:,} | {run['cycles'] - count * n:,} "
                         f"| {run['input_bubbles'] + run['output_bubbles']} | {latency} |")
    return "\n".join(lines)


def gradient_table():
    """Errors of the default core's gradient, from docs/gradient.json."""
    lines = ["| x, dy | activation | y | dx | dgamma | dbeta | mask differs from the ideal one |",
             "|---|---|---|---|---|---|---|"]
    for row in json.loads(GRADIENT.read_text(encoding="utf-8"))["errors"]:
        lines.append(f"| {row['data']} | {row['activation']} | {row['y']:.1%} | {row['dx']:.1%} | {row['dgamma']:.1%} "
                     f"| {row['dbeta']:.0e} | {row['mask']:.2%} |")
    return "\n".join(lines)


def training_table():
    """Accuracies of the example, from docs/training.json."""
    lines = ["| norm and ReLU | test accuracy, % (mean ± standard deviation) | seconds a run |", "|---|---|---|"]
    for name, runs in json.loads(TRAINING.read_text(encoding="utf-8"))["variants"].items():
        accuracy, seconds = runs["accuracy"], runs["seconds"]
        lines.append(f"| {name} | {statistics.mean(accuracy):.2f} ± {statistics.stdev(accuracy):.2f} "
                     f"| {statistics.mean(seconds):.1f} |")
    return "\n".join(lines)


def rtl_training_table():
    """The network trained on the simulated engine, from docs/rtl_training.json."""
    data = json.loads(RTL_TRAINING.read_text(encoding="utf-8"))
    lines = ["| training | test accuracy, seed 0, % | 5 seeds |", "|---|---|---|",
             f"| simulated engine | {data['engine']['accuracy']:.2f} | |"]
    for name, runs in data["variants"].items():
        accuracy = runs["accuracy"]
        assert len(accuracy) == 5
        lines.append(f"| {name} | {accuracy[0]:.2f} | {statistics.mean(accuracy):.2f} ± "
                     f"{statistics.stdev(accuracy):.2f} |")
    return "\n".join(lines)


def comparison_tables():
    """Figures of every variant, then the targets, from docs/compare.json."""
    from bnforge_sim.comparison.tables import markdown, target_rows, variant_tables
    report = json.loads(COMPARE.read_text(encoding="utf-8"))
    return "\n\n".join(map(markdown, [*variant_tables(report), target_rows(report)]))


PARTS = {
    "multiply-add": ("multiply_add",), "lane constants, activation": ("normaliser_lane", "normaliser_lane_2"),
    "storage conversion": ("block_converter", "block_element", "float_converter"),
    "sums of x or g": ("element_sum", "element_sum_2", "anchored_sum", "anchored_sum_2"),
    "mask, sums of g y": ("recovery_lane", "recovery_lane_2", "anchored_sum_3", "anchored_sum_4", "totals_unit"),
    "extrema, ranges": ("extrema_lane", "extrema_lane_2", "range_unit"),
    "scalar unit": ("scalar_unit", "divider", "divider_2"),
    "input, header": ("input_stage", "header_unit"), "records, positions": ("record_unit", "position_loader")}
"""Parts of the drawing, and the modules whose own gates they have; the last, not listed, is the rest."""


def draw_area(path):
    """Gates of each preset by part, per lane, as a picture."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    import matplotlib.pyplot as plt

    reports = _presets()
    figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
    colours = plt.get_cmap("tab20").colors
    left = [0.0] * len(reports)
    for index, part in enumerate([*PARTS, "FIFO control, glue"]):
        widths = []
        for name, report in reports.items():
            own = {module.name.removeprefix(f"{name}_"): module.own_ge * module.instances for module in report.modules}
            listed = {module for modules in PARTS.values() for module in modules}
            chosen = PARTS.get(part, own.keys() - listed)
            widths.append(sum(own.get(module, 0.0) for module in chosen) / report.lanes)
        axes.barh(list(reports), widths, left=left, label=part, color=colours[2 * index], edgecolor="white")
        left = [start + width for start, width in zip(left, widths)]
    for row, (name, report) in enumerate(reports.items()):
        axes.annotate(f" {report.ge_per_lane:,.0f}", (left[row], row), va="center", fontsize=9)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("gate equivalents per lane (measured, generic library), shared units divided by the lanes")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def boards_table():
    """Bitstreams, from docs/boards.json."""
    from bnforge_sim.board_figures import RESOURCES, resource
    lines = ["| board | preset | LUT4 | registers | block RAM | DSP | clock | critical path | build |",
             "|---|---|---|---|---|---|---|---|---|"]
    for build in json.loads(BOARDS.read_text(encoding="utf-8"))["builds"]:
        head = f"| `{build['board']}` | `{build['preset']}` | "
        if "failed" in build:
            lines.append(f"{head}{build['failed']} | | | | | | |")
            continue
        found = [resource(build, kind) for kind in RESOURCES]
        used = " | ".join("{:,} of {:,}".format(*pair) if pair else "-" for pair in found)
        path = sum(step["delay"] for step in build["path"])
        lines.append(f"{head}{used} | {build['clock_mhz']:.1f} MHz of {build['wanted_mhz']:.0f} | "
                     f"`{build['path_from']}` → `{build['path_to']}`, {path:.1f} ns | "
                     f"{sum(build['seconds'].values()) / 60:.1f} min |")
    return "\n".join(lines)


TABLES = {"area": area_table, "directions": directions_table, "cycles": cycles_table, "gradient": gradient_table,
          "engine area": engine_area_table, "engine bytes": engine_bytes_table,
          "engine speed": engine_speed_table, "faults": faults_table, "training": training_table,
          "array area": array_area_table, "layer bytes": layer_bytes_table, "layer speed": layer_speed_table,
          "rtl training": rtl_training_table, "comparison": comparison_tables, "boards": boards_table}
"""Marker name to the function that makes the table."""


def with_figures(text):
    """``text`` with every marked table made anew."""
    for name, make in TABLES.items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
                      lambda match, table=make(): f"{match[1]}{table}\n{match[2]}", text, flags=re.S)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--measure", action="store_true", help="count the gates of every preset first")
    if parser.parse_args().measure:
        baseline.write(BASELINE)
    draw_area(DOCS / "area.svg")
    for page in PAGES:
        page.write_text(with_figures(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
