"""Writes the tables of README.md that come from measurements, and draws docs/area.svg.

``python docs/readme_tables.py`` takes them from docs/*.json; ``--measure`` (``make baseline``) counts the gates first.
A table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; its figures come from docs/*.json, never from a hand.
"""

import argparse
import json
import re
from pathlib import Path

from bnforge import baseline

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
BASELINE = DOCS / "baseline_area.json"
FIGURES = DOCS / "figures.json"


def area_table():
    """Gate counts of every preset, from docs/baseline_area.json."""
    lines = ["| preset | lanes | GE | GE per lane | of these in the lane | flip-flops | memory bits | levels |",
             "|---|---|---|---|---|---|---|---|"]
    for name, report in baseline.read(BASELINE).items():
        lines.append(f"| `{name}` | {report.lanes} | {report.ge:,.0f} | {report.ge_per_lane:,.0f} "
                     f"| {report.lane_ge:,.0f} | {report.flip_flops:,} | {report.memory_bits:,} | {report.levels} |")
    return "\n".join(lines)


def cycles_table():
    """Cycles of every preset, from docs/figures.json."""
    lines = ["| preset | tiles x n | cycles | more than beats | bubbles | sample to constants | output latency |",
             "|---|---|---|---|---|---|---|"]
    for name, figures in json.loads(FIGURES.read_text(encoding="utf-8"))["measured"].items():
        tiles, n = figures["tiles"], figures["n"]
        lines.append(f"| `{name}` | {tiles} x {n} | {figures['cycles']:,} | {figures['cycles'] - tiles * n:,} "
                     f"| {figures['input_bubbles'] + figures['output_bubbles']} | {figures['constants_latency']} "
                     f"| {figures['output_latency']} |")
    return "\n".join(lines)


PARTS = {
    "multiply-add": ("multiply_add",), "lane constants, activation": ("normaliser_lane",),
    "storage conversion": ("block_converter", "block_element", "float_converter"),
    "sample statistics": ("statistics_lane", "statistics_lane_2"),
    "constant extraction": ("constant_extraction", "divider", "divider_2"),
    "ranges": ("range_unit",), "input, header": ("input_stage", "header_unit"), "records": ("record_unit",)}
"""Parts of the drawing, and the modules whose own gates they have; the last, not listed, is the rest."""


def draw_area(path):
    """Gates of each preset by part, per lane, as a picture."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    import matplotlib.pyplot as plt

    reports = baseline.read(BASELINE)
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


TABLES = {"area": area_table, "cycles": cycles_table}
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
    README.write_text(with_figures(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
