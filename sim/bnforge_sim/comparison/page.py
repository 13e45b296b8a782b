"""The page of a report: docs/compare.md."""

from pathlib import Path

from .plan import PLACEMENT_SEED
from .plots import PICTURES, draw
from .reasons import reason
from .tables import case_rows, check_rows, fpga_rows, markdown, target_rows, variant_tables

__all__ = ["write_page", "page"]

_HEAD = """\
# The comparison

Written by `bnforge compare` (`make compare`); do not edit. All figures are in `compare.json`, with builds,
configurations and versions of the tools. The same formats, library, stimulus and counting rules hold for every variant.
Figures are measured unless a column says otherwise; "-" is not measured, `compare.json` says why.
"""
_RULES = """\
## What is counted

*Off-chip bytes*: bytes on the AXI data channels of the variant's engine, whole bus beats, between the array output of
one convolution and the operand fetch of the next; the streams that come from the array (x and dy) are not among them.
Headers, records, shared exponents and descriptors are. *Analytic*: accesses below × bytes of a stored element.
*Strobed*: bytes of reads, and of writes with their strobe set. ReLU is fused everywhere. Channel-blocked layout, memory
latency 30. Software gathers the header words of the baselines; its own accesses are not counted.

*Gates*: mapped area over the area of the library's two-input NAND; one library and script, memories apart in bits.
Area is counted with the library that `compare.json` names beside it, power and clock with that of a foundry process.
"""
_CHECKS = """\
Modules without memories are proved equivalent; the whole netlist is simulated on the stimulus of the power figures, and
every stored element compared with the model.
"""


def _variants(report):
    rows = [["variant", "what"], *([f"`{name}`", entry["text"]] for name, entry in report["variants"].items())]
    return f"## Variants\n\n{markdown(rows)}\n"


def _accesses(report):
    rows = [["variant", "accesses", "forward", "backward"]]
    for name, entry in report["variants"].items():
        result = next((outcome["result"] for key, outcome in entry["stages"].items()
                       if key.startswith("traffic ") and "result" in outcome), None)
        if result:
            steps = {direction: ", ".join(f"{access['kind']} {access['tensor']}" for access in result["accesses"]
                                          if access["direction"] == direction)
                     for direction in ("forward", "backward")}
            rows.append([f"`{name}`", str(len(result["accesses"])), steps["forward"], steps["backward"]])
    return f"## Accesses\n\n{markdown(rows)}\n"


def _missed(report):
    """Missed targets with their reasons; nothing where all are met."""
    lines = [f"- {target['what']}, against `{target['against']}`: {why}" for target in report["targets"]
             if target["met"] is False and (why := reason(report, target))]
    return "\n".join(["Missed, and why:", "", *lines, ""]) if lines else ""


def page(report, pictures):
    """The text of the page.

    Parameters
    ----------
    report : dict
    pictures : list of str
        Names of the pictures that are there.
    """
    legend = "\n".join(f"- {column['title']}, {column['unit']}: {column['text']}"
                       for column in report["columns"].values())
    figures = "\n\n".join(map(markdown, variant_tables(report)))
    parts = [_HEAD, _variants(report), f"## Figures\n\n{figures}\n\n{legend}\n",
             f"## Targets\n\n{markdown(target_rows(report))}\n", *filter(None, [_missed(report)]),
             *(f"![{PICTURES[name][1]}](compare_{name}.svg)\n" for name in pictures), _RULES, _accesses(report),
             f"## ECP5\n\nLFE5U-85F, speed grade 8 the fastest; out of context, seed {PLACEMENT_SEED} of nextpnr.\n\n"
             f"{markdown(fpga_rows(report))}\n",
             f"## Gates against RTL\n\n{_CHECKS}\n{markdown(check_rows(report))}\n",
             f"## Bytes per element\n\n{markdown(case_rows(report))}\n"]
    return "\n".join(parts)


def write_page(report, directory):
    """Write ``compare.md`` and its pictures into a directory; without matplotlib there are no pictures."""
    try:
        pictures = draw(report, directory)
    except ImportError:
        pictures = []
    (Path(directory) / "compare.md").write_text(page(report, pictures), encoding="utf-8")
