"""``python -m bnforge_sim.engine_figures``: traffic and cycles of engines, measured in simulation.

Every run that is measured is also compared with the model, byte by byte.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.presets import opn16
from bnforge_model import Layout, Shape

from .build import DEFAULT_CACHE
from .engine import MemoryModel
from .engine_runs import BACKWARD, FORWARD, TensorRun, drive, register_driver

__all__ = ["CAUSES", "Case", "BYTES_CASES", "SPEED_CASES", "measure_case", "draw", "main"]

CAUSES = {"tensors": "tensors", "operand_rest": "rest of bus beats of x, dy",
          "stored_rest": "rest of bus beats of y, dx", "records": "records", "header": "gamma, beta, header words",
          "descriptors": "descriptors, job"}
"""Why bytes are moved. The rest of the bus beats of a tensor are the bytes that are not its own, or that come again."""
_CAUSE_OF = {"x": "operand_rest", "dy": "operand_rest", "y": "stored_rest", "dx": "stored_rest", "records": "records",
             "gradients": "records", "gamma": "header", "beta": "header", "head": "header",
             "descriptors": "descriptors"}


@dataclass(frozen=True)
class Case:
    """A tensor, a bus and a memory.

    Parameters
    ----------
    shape : tuple of int
        N, H, W, C.
    data_width : int
    latency : int
        Of reads and writes, in cycles.
    layout : Layout
    frozen : bool
        A frozen pass streams each tile from its first byte to its last.
    """

    shape: tuple
    data_width: int = 64
    latency: int = 30
    layout: Layout = Layout.BLOCKED
    frozen: bool = False


_MIDDLE, _LARGE = (64, 14, 14, 16), (64, 56, 56, 16)
BYTES_CASES = [Case((64, 7, 7, 16)), Case(_MIDDLE), Case((64, 14, 14, 32)), Case((64, 14, 14, 32), layout=Layout.NHWC),
               *(Case(_LARGE, width) for width in (64, 128, 256, 512))]
SPEED_CASES = [Case(_MIDDLE, width, latency, frozen=frozen) for width in (64, 128, 256, 512)
               for frozen in (True, False) for latency in (1, 30, 100)]


def _bytes(run, direction, counts, width):
    """Bytes on the bus by cause."""
    causes = dict.fromkeys(CAUSES, 0)
    for name, count in counts.items():
        moved = (count.read_beats + count.write_beats) * width
        if not name:
            if moved:
                raise RuntimeError(f"{moved} bytes of the {direction} pass are in no region")
            continue
        cause = _CAUSE_OF[name]
        if cause.endswith("rest"):
            causes["tensors"] += run.places[name][1]
            moved -= run.places[name][1]
        causes[cause] += moved
    return causes


def measure_case(case, core=opn16, *, known=None, **options):
    """Both passes of a case.

    Parameters
    ----------
    case : Case
    core : bnforge.config.Config
    known : dict, optional
        Keeps what the model computed for the cases before.
    options : as :class:`.EngineBench`

    Returns
    -------
    dict of direction to dict
        ``bytes_per_element``: on the bus, by cause; ``floor``: those of the tensors alone. ``cycles``: CYCLES of the
        engine; ``ideal``: bus beats of the busier direction, or beats of the core where these are more. ``busy``:
        share of cycles with a data beat on the busier direction, from its first to its last.
    """
    shape = Shape(*case.shape)
    config = EngineConfig(name=f"{core.name}_{case.data_width}", core=core, bus=BusConfig(data_width=case.data_width))
    run = TensorRun(config, shape, layout=case.layout, frozen=case.frozen, alignment=4096)
    known = {} if known is None else known
    for name in ("forward", "backward"):
        key = name, case.shape, case.frozen
        known[key] = run.__dict__[name] = known.get(key) or getattr(run, name)
    bench = run.bench(model=MemoryModel(read_latency=case.latency, write_latency=case.latency), **options)
    bench.memory[:] = run.image()
    result, done = {}, []
    for direction in (FORWARD, BACKWARD):
        run.run(bench, direction)
        done.append(direction)
        if wrong := run.differences(bench, *done):
            raise RuntimeError(f"{case}, {direction}: {wrong}")
        counters, totals = drive(register_driver(bench).counters()), bench.totals()
        causes = _bytes(run, direction, bench.counts(), config.bus.bytes)
        if sum(causes.values()) != counters["bytes_read"] + counters["bytes_written"]:
            raise RuntimeError(f"{case}, {direction}: the counters must agree with the bench, not {counters}")
        elements, tiles = shape.n_positions * shape.channels, -(-shape.channels // core.lanes)
        reads = totals.read_beats >= totals.write_beats
        beats = max(totals.read_beats, totals.write_beats)
        first, last = ((totals.first_read, totals.last_read) if reads else (totals.first_write, totals.last_write))
        result[direction] = {
            "bytes_per_element": {cause: moved / elements for cause, moved in causes.items()},
            "floor": causes["tensors"] / elements, "total": sum(causes.values()) / elements,
            "read_beats": totals.read_beats, "write_beats": totals.write_beats, "cycles": counters["cycles"],
            "ideal": max(beats, shape.n_positions * tiles), "busy": beats / (last - first + 1)}
    return result


def _name(case):
    n_images, height, width, channels = case.shape
    layout = "NHWC" if case.layout is Layout.NHWC else case.layout.value
    return f"{n_images}·{height}·{width}, C = {channels}, {layout}, {case.data_width} bits"


def draw(rows, path):
    """Bytes per element beyond those of the tensors, by cause, as a picture."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 1 + 0.35 * len(rows)), layout="constrained", sharey=True,
                                   sharex=True)
    colours = pyplot.get_cmap("tab20").colors
    for axis, direction in zip(axes, (FORWARD, BACKWARD)):
        names, left = [row["case"] for row in rows], [0.0] * len(rows)
        for index, (cause, label) in enumerate(list(CAUSES.items())[1:]):
            widths = [row[direction]["bytes_per_element"][cause] for row in rows]
            axis.barh(names, widths, left=left, label=label, color=colours[2 * index], edgecolor="white", linewidth=0.5)
            left = [start + width for start, width in zip(left, widths)]
        for index, row in enumerate(rows):
            axis.annotate(f" {left[index]:.3f}, in all {row[direction]['total']:.3f}", (left[index], index),
                          va="center", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        floors = ", ".join(sorted({f"{row[direction]['floor']:.5g}" for row in rows}))
        axis.set(title=f"{direction}: tensors {floors} bytes per element", xlabel="bytes per element beyond (measured)")
    axes[0].set_xlim(0, 1.45 * axes[0].get_xlim()[1])
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(CAUSES), frameon=False,
                  fontsize=9)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _measure_all(cases, cache, known, title):
    rows = []
    for number, case in enumerate(cases, 1):
        start = time.perf_counter()
        result = measure_case(case, cache=cache, known=known)
        rows.append({"case": _name(case), "shape": case.shape, "layout": case.layout.value,
                     "data_width": case.data_width, "latency": case.latency, "contiguous": case.frozen, **result})
        shown = [f"{direction} {row['total']:.4f} bytes per element (floor {row['floor']:.4f}), {row['cycles']} cycles "
                 f"(ideal {row['ideal']}), busy {row['busy']:.1%}" for direction, row in result.items()]
        print(f"{title} {number}/{len(cases)}: {_name(case)}, latency {case.latency}{', contiguous' * case.frozen}: "
              f"{'; '.join(shown)} ({time.perf_counter() - start:.0f} s)", flush=True)
    return rows


def main(arguments=None):
    summary = __doc__.split("\n\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.engine_figures", description=summary)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"),
                        help="folder for engine.json and engine.svg (needs matplotlib; default docs)")
    parser.add_argument("--cache", default=DEFAULT_CACHE, help="compiled benches (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    known = {}
    results = {"preset": opn16.name,
               "bytes": _measure_all(BYTES_CASES, chosen.cache, known, "bytes"),
               "speed": _measure_all(SPEED_CASES, chosen.cache, known, "speed")}
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (chosen.output / "engine.json").write_text(text, encoding="utf-8")
    draw(results["bytes"], chosen.output / "engine.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
