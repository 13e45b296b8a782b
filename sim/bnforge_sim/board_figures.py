"""Bitstreams of all boards: ``python -m bnforge_sim.board_figures -o docs`` writes boards.json and the pictures.

A bitstream that is there is not built again, as long as the design is the same.
"""

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from bnforge import presets
from bnforge.board.boards import BOARDS
from bnforge.board.build import build, write_project
from bnforge.tools import ToolError

__all__ = ["BUILDS", "RESOURCES", "resource", "measure", "draw"]

BUILDS = [("ulx3s-85f", "opn16"), ("ecpix5-85f", "opn16"), ("ulx3s-45f", "opn4"), ("ecpix5-45f", "opn4"),
          ("ulx3s-12f", "opn1_tiny"), ("ulx3s-25f", "opn1_tiny"), ("icebreaker", "opn2_frozen")]
"""Board and preset, the largest that fits; the longest build first."""
_DESIGN = (".sv", ".ys", ".lpf", ".pcf", ".sh")
"""What makes a project: the RTLIL has line numbers of the generator in it."""
RESOURCES = {"LUT": ("TRELLIS_COMB", "ICESTORM_LC"), "register": ("TRELLIS_FF",),
             "block RAM": ("DP16KD", "ICESTORM_RAM"), "DSP": ("MULT18X18D", "ICESTORM_DSP")}
"""What nextpnr calls them; a cell of an iCE40 is a LUT with a register."""
_COLOURS = ("#4878a8", "#8fb8de", "#d08c40", "#6aa56a")


def resource(result, kind):
    """(Used, available) of a kind of :data:`RESOURCES` in a build; None where the device has no such thing."""
    return next((result["resources"][name] for name in RESOURCES[kind] if name in result["resources"]), None)


def _is_built(board, config, directory):
    """Whether a directory has the bitstream of the present design."""
    if not (directory / "build.json").exists():
        return False
    with tempfile.TemporaryDirectory(prefix="bnforge-") as fresh:
        names = [path.name for path in write_project(board, config, fresh) if path.suffix in _DESIGN]
        return all((directory / name).exists() and (directory / name).read_bytes() == (Path(fresh) / name).read_bytes()
                   for name in names)


def _one(name, preset, work):
    """A build: what ``build.json`` has, or why there is none."""
    board, directory = BOARDS[name], work / f"{name}-{preset}"
    config = board.config(presets.NAMED[preset][0])
    if not _is_built(board, config, directory):
        try:
            build(board, config, directory, lambda line: None)
        except ToolError as error:
            return {"board": name, "preset": preset, "failed": str(error).split(" (")[0]}
    report = json.loads((directory / "build.json").read_text(encoding="utf-8"))
    bitstream = directory / next(file for file in report["files"] if file.endswith((".bit", ".bin")))
    return {"preset": preset, **report, "bitstream_bytes": bitstream.stat().st_size}


def measure(builds, work, jobs=2, report=print):
    """Results of builds, (board, preset) each, in their order."""
    found = {}
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(_one, *pair, work): pair for pair in builds}
        for future in as_completed(futures):
            pair = futures[future]
            found[pair] = future.result()
            report(f"[{len(found)}/{len(builds)}] {' '.join(pair)}: " + (found[pair].get("failed") or
                   f"{found[pair]['clock_mhz']:g} MHz, {sum(found[pair]['seconds'].values()):.0f} s"))
    return [found[pair] for pair in builds]


def _bars(results, path):
    """Shares of the device, build by build."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    fitting = [result for result in results if "failed" not in result][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.62 * len(fitting)))
    for number, kind in enumerate(RESOURCES):
        shares = [100 * used / available for used, available in (resource(result, kind) or (0, 1)
                                                                 for result in fitting)]
        places = [place + 0.3 - 0.2 * number for place in range(len(fitting))]
        axes.barh(places, shares, 0.18, color=_COLOURS[number], label=kind)
    axes.set_yticks(range(len(fitting)), [f"{result['board']}\n{result['preset']}, {result['clock_mhz']:.0f} MHz"
                                          for result in fitting], fontsize=8)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the device (measured)")
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(RESOURCES), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _wiring(path):
    """What is connected to what."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    figure, axes = plt.subplots(figsize=(9, 3.6))
    axes.set_xlim(0, 90)
    axes.set_ylim(0, 36)
    axes.axis("off")
    axes.add_patch(plt.Rectangle((33, 1), 56, 34, facecolor="#f4f4f0", edgecolor="#888888"))
    axes.text(34, 33, "FPGA: bnforge_board", fontsize=9, va="center")

    def box(x, y, width, height, text, colour="#dce8f4"):
        axes.add_patch(plt.Rectangle((x, y), width, height, facecolor=colour, edgecolor="#333333"))
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8)

    def arrow(start, end, text="", above=1.2):
        axes.annotate("", end, start, arrowprops={"arrowstyle": "<->", "color": "#333333"})
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above, text, ha="center", fontsize=7)

    box(1, 14, 13, 9, "host\nbnforge host", "#f4e4cc")
    box(20, 14, 9, 9, "USB serial\nadapter", "#eeeeee")
    box(36, 14, 9, 9, "UART")
    box(50, 14, 10, 9, "bridge\nCRC-32")
    box(69, 22, 17, 9, "engine\n(iCE40: core)", "#cfe3cf")
    box(69, 5, 17, 9, "block RAM")
    box(36, 3, 9, 6, "PLL, reset", "#eeeeee")
    box(50, 3, 10, 6, "4 lights", "#eeeeee")
    arrow((14, 18.5), (20, 18.5), "USB")
    arrow((29, 18.5), (36, 18.5), "rx, tx")
    arrow((45, 18.5), (50, 18.5))
    arrow((60, 21), (69, 26), "AXI4-Lite", 2)
    arrow((60, 16), (69, 10), "words", -3)
    arrow((77.5, 22), (77.5, 14))
    axes.text(78.5, 18, "AXI4\n(streams)", fontsize=7, va="center")
    axes.annotate("", (36, 6), (29, 6), arrowprops={"arrowstyle": "->", "color": "#333333"})
    axes.text(29, 7.2, "oscillator,\nbutton", fontsize=7, ha="center")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw(results, directory):
    """``boards.svg`` and ``boards_wiring.svg``."""
    _bars(results, Path(directory) / "boards.svg")
    _wiring(Path(directory) / "boards_wiring.svg")


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"))
    parser.add_argument("--work", type=Path, default=Path("build/boards"), help="where the builds go")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args(arguments)
    results = measure(BUILDS, chosen.work, chosen.jobs)
    (chosen.output / "boards.json").write_text(json.dumps({"builds": results}, indent=1) + "\n", encoding="utf-8")
    draw(results, chosen.output)


if __name__ == "__main__":
    main()
