"""``python -m bnforge_sim.layer_figures``: layers of known networks on an engine with an array, measured in simulation.

Use of the array, bytes on the bus and cycles, with the convolution fused to the normalisation and with x and dy going
through memory. Every job that is measured is also compared with the model, byte by byte.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from bnforge.array_config import ArrayConfig
from bnforge.engine_config import BusConfig, Channel, EngineConfig
from bnforge.presets import opn16
from bnforge_model import Shape
from bnforge_model.convolution import Convolution

from .build import DEFAULT_CACHE
from .engine import MemoryModel
from .engine_runs import drive, register_driver
from .layer_runs import LayerRun
from .layers import Layer

__all__ = ["LayerCase", "CASES", "RUNS", "measure", "draw", "main"]

LATENCY = 30
"""Of reads and writes, in cycles."""
JOBS = {"forward": (("0.forward",), ("0.convolve", "0.forward")),
        "backward": (("0.backward",), ("0.differentiate", "0.backward")),
        "weight gradient": (("0.correlate",), ("0.correlate",))}
"""What is measured of the first layer: the jobs fused, and not."""


@dataclass(frozen=True)
class LayerCase:
    """A layer and the one that follows, whose data gradient is its dy.

    Parameters
    ----------
    name : str
    images : tuple of int
        N, H, W, C of what the first layer reads.
    strides, channels : pairs of int
        Of the two convolutions, 3 × 3 with padding 1.
    """

    name: str
    images: tuple
    strides: tuple
    channels: tuple

    @property
    def layers(self):
        return [Layer(convolution=Convolution((3, 3), stride, 1), channels=channels)
                for stride, channels in zip(self.strides, self.channels)]


CASES = [LayerCase("ResNet-20, stage 1", (16, 32, 32, 16), (1, 1), (16, 16)),
         LayerCase("ResNet-18, conv2", (1, 56, 56, 64), (1, 1), (64, 64)),
         LayerCase("ResNet-18, conv3, stride 2", (1, 56, 56, 64), (2, 1), (128, 128))]
"""He et al., Deep Residual Learning for Image Recognition, 2016, table 1 and section 4.2."""
RUNS = [(CASES[0], 64), *((case, width) for width in (128, 256) for case in CASES)]
"""Cases and bits of the bus."""


def _configuration(core, data_width):
    return EngineConfig(name=f"fused_{core.lanes}_{data_width}", core=core, array=ArrayConfig.of(core),
                        bus=BusConfig(data_width=data_width))


def _products(network, what):
    """Multiply-accumulates without those of padding, and those of the data gradient of the next convolution."""
    index = 1 if what == "backward" else 0
    axes = [sum(len(window.taken(o)) for o in range(window.results)) for window in network.windows[index]]
    return network.shapes[index].n_images * prod(axes) * prod(network.kernel(index)[2:])


def _rows(network, names):
    """Rows that the array takes."""
    config = network.config
    programs = [network.steps[name].job.programs.get(Channel.ACTIVATION, []) for name in names]
    size = config.beat_bytes(Channel.ACTIVATION)
    return sum(prod(count for count, _stride in part.dimensions) * max(1, part.length // size)
               for program in programs for part in program)


def _run(run, bench, names, what):
    """One measurement: a dict for the file."""
    network, config, width = run.network, run.config, run.config.bus.bytes
    run.run(bench, names)
    counters = drive(register_driver(bench).counters())
    for place in (place for name in names for place in network.steps[name].writes):
        if not np.array_equal(network.view(bench.memory, place), np.frombuffer(run.results[place], np.uint8)):
            raise RuntimeError(f"{names}: {place} must be what the model says")
    moved = {name: (count.read_beats + count.write_beats) * width for name, count in bench.counts().items()}
    jobs = sum(moved.pop(name) for name in names)
    fetched = {part for name in names for part in network.steps[name].reads} & {
        "images", "0.weights", "1.dx", "1.data_weights", *(("0.dx",) if what == "weight gradient" else ())}
    operands = sum(moved.pop(name) for name in fetched)
    if moved.pop(""):
        raise RuntimeError(f"{names}: bytes are in no region")
    cycles, rows, macs = counters["cycles"], _rows(network, names), _products(network, what)
    return {"cycles": cycles, "macs": macs, "rows": rows, "utilisation": macs / (cycles * config.lanes**2),
            "useful": macs / (rows * config.lanes**2), "busy_array": rows / cycles,
            "busy_bus": bench.totals().read_beats / cycles,
            "bytes": {"operands": operands, "descriptors": jobs,
                      **{name.split(".")[1]: size for name, size in sorted(moved.items()) if size}}}


def measure(case, data_width, core=opn16, *, known=None, **options):
    """A case on one bus.

    Parameters
    ----------
    case : LayerCase
    data_width : int
    core : bnforge.config.Config
    known : dict, optional
        Keeps what the model computed.
    options : as :class:`.EngineBench`

    Returns
    -------
    dict
        Of each of ``JOBS``, ``fused`` and ``unfused``: ``cycles``; ``macs``, useful multiply-accumulates; ``rows`` that
        the array took; ``utilisation`` = macs / (cycles · elements); ``useful``, the share of the elements of a row;
        ``busy_array``, ``busy_bus``: cycles with a row, with read data; ``bytes`` on the bus by what they are.
    """
    config, known = _configuration(core, data_width), {} if known is None else known
    result, bench = {what: {} for what in JOBS}, None
    for fused in (True, False):
        run = LayerRun(config, Shape(*case.images), case.layers, fused=fused)
        for part in ("forward", "backward"):
            key = case.name, part
            known[key] = run.__dict__[part] = known.get(key) or getattr(run, part)
        memory = MemoryModel(read_latency=LATENCY, write_latency=LATENCY)
        bench = run.bench(model=memory, **options)
        ready = [name for name in run.network.steps if name.startswith("1.")]
        bench.memory[:] = run.image(*ready)
        for what, names in JOBS.items():
            if fused or names[0] != names[1]:
                result[what]["fused" if fused else "unfused"] = _run(run, bench, list(names[0 if fused else 1]), what)
    return result


_DRAWN = {"x": ("x",), "dy": ("dy",), "y": ("y",), "dx": ("dx",),
          "records, gamma, beta": ("records", "gradients", "gamma", "beta")}


def draw(rows, path):
    """Bytes of a layer between its convolution and the next operand fetch, fused and not; cycles; all measured."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.8 + 0.42 * 4 * len(rows)), layout="constrained", sharey=True)
    figure.get_layout_engine().set(wspace=0.05)
    names, bars = [], []
    for row in rows:
        for what in ("forward", "backward"):
            for kind in ("fused", "unfused"):
                names.append(f"{row['case']}, {row['data_width']} bits\n{what}, {kind}")
                bars.append(row[what][kind])
    colours, left = pyplot.get_cmap("tab10").colors, [0.0] * len(bars)
    for index, (label, parts) in enumerate(_DRAWN.items()):
        widths = [sum(bar["bytes"].get(part, 0) for part in parts) / 1e6 for bar in bars]
        axes[0].barh(names, widths, left=left, label=label, color=colours[index])
        left = [start + width for start, width in zip(left, widths)]
    axes[0].set(xlabel="MB beside the operands of convolutions")
    axes[0].legend(frameon=False, fontsize=8)
    axes[1].barh(names, [bar["cycles"] / 1e3 for bar in bars], color=["tab:blue", "tab:orange"] * (len(bars) // 2))
    for index, bar in enumerate(bars):
        axes[1].annotate(f" array {bar['utilisation']:.0%}, bus {bar['busy_bus']:.0%}", (bar["cycles"] / 1e3, index),
                         va="center", fontsize=8)
    axes[1].set(xlabel="thousand cycles; share of the array in use, of the bus")
    axes[1].margins(x=0.35)
    axes[0].invert_yaxis()
    axes[0].tick_params(labelsize=8)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.layer_figures", description=__doc__.split("\n\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"),
                        help="folder for layers.json and layers.svg (needs matplotlib; default docs)")
    parser.add_argument("--cache", default=DEFAULT_CACHE, help="compiled benches (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    rows, known = [], {}
    for case, width in RUNS:
        start = time.perf_counter()
        rows.append({"case": case.name, "images": case.images, "strides": case.strides, "channels": case.channels,
                     "data_width": width, "latency": LATENCY,
                     **measure(case, width, known=known, cache=chosen.cache)})
        for what in JOBS:
            for kind, run in rows[-1][what].items():
                print(f"[{len(rows)}/{len(RUNS)}] {case.name}, {width} bits, {what}, {kind}: {run['cycles']:,} cycles, "
                      f"array used {run['utilisation']:.1%}, bus {run['busy_bus']:.1%}", flush=True)
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    text = json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n"
    (chosen.output / "layers.json").write_text(text, encoding="utf-8")
    draw([row for row in rows if row["data_width"] == 128], chosen.output / "layers.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
