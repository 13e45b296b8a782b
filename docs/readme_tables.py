"""Writes the tables of README.md that come from measurements.

``python docs/readme_tables.py`` takes them from docs/*.json; ``--measure`` (``make baseline``) measures these first.
A table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; its figures come from docs/*.json, never from a hand.
"""

import argparse
import re
from pathlib import Path

from bnforge import baseline

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
BASELINE = DOCS / "baseline_area.json"


def area_table():
    """Gate counts of every preset, from docs/baseline_area.json."""
    lines = ["| preset | lanes | GE | GE per lane | of these in the lane | flip-flops | memory bits | levels |",
             "|---|---|---|---|---|---|---|---|"]
    for name, report in baseline.read(BASELINE).items():
        lines.append(f"| `{name}` | {report.lanes} | {report.ge:,.0f} | {report.ge_per_lane:,.0f} "
                     f"| {report.lane_ge:,.0f} | {report.flip_flops:,} | {report.memory_bits:,} | {report.levels} |")
    return "\n".join(lines)


TABLES = {"area": area_table}
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
    README.write_text(with_figures(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
