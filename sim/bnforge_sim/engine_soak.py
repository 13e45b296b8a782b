"""``python -m bnforge_sim.engine_soak``: random tensors through random engines, memory compared byte by byte."""

import argparse
import sys
import time

import numpy as np

from bnforge.config import Activation, Config, Directions
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.formats import FP10, BlockFormat, FloatFormat
from bnforge.presets import opn1_tiny, opn4, opn16, opn32_mx
from bnforge_model import Layout, Shape

from .engine import MemoryModel, Order
from .engine_runs import BACKWARD, FORWARD, TensorRun, in_order
from .files import Stall

__all__ = ["ODD", "CORES", "engines", "random_model", "random_shape", "run_case", "main"]

ODD = Config(name="odd", lanes=6, x_format=FloatFormat(5, 3), sample_depth=24, chunk_len=8, storage=BlockFormat(3, 5))
"""Lanes, widths and samples that are no powers of two: blocks of 15 and 8 bits, 7 bytes of x and 6 of y a beat."""
NARROW = Config(name="narrow", lanes=2, x_format=FP10, sample_depth=16, chunk_len=4, storage=FP10)
CORES = {"opn1_tiny": opn1_tiny, "narrow": NARROW, "odd": ODD, "opn4": opn4, "opn16": opn16, "opn32_mx": opn32_mx,
         "forward": opn1_tiny.replace(directions=Directions.FORWARD),
         "backward": NARROW.replace(directions=Directions.BACKWARD)}
_STALLS = (Stall(), Stall(0.02, 60), Stall(0.3, 5), Stall(0.5, 2))


def engines(name, data_width, rng):
    """An engine of a core of ``CORES`` on a bus of ``data_width`` bits, the rest of the bus at random."""
    longest = min(256, 4096 * 8 // data_width)
    max_burst = int(rng.choice([size for size in (1, 2, 4, 8, 16, 64, 256) if size <= longest]))
    bus = BusConfig(data_width=data_width, address_width=int(rng.choice([32, 40, 64])), max_burst=max_burst,
                    outstanding=int(rng.choice([2, 4, 32])),
                    read_buffer=max(2, max_burst * int(rng.choice([1, 2, 8]))),
                    write_buffer=max_burst * int(rng.choice([2, 4])))
    return EngineConfig(name=f"{name}_{data_width}", core=CORES[name], bus=bus)


def random_model(rng):
    """A :class:`.MemoryModel` with random latencies, stalls and order."""
    def stall(after_valid=False):
        chosen = _STALLS[rng.integers(len(_STALLS))]
        return Stall(chosen.probability, chosen.longest, after_valid)

    after = bool(rng.integers(4) == 0)
    return MemoryModel(
        read_latency=int(rng.choice([1, 2, 30, 100])), write_latency=int(rng.choice([1, 2, 30, 100])),
        jitter=int(rng.choice([0, 0, 10, 100])), ar=stall(after), r=stall(), aw=stall(after), w=stall(after), b=stall(),
        order=Order(int(rng.integers(3))), register_delay=int(rng.choice([0, 5])))


def random_shape(config, rng, positions=400):
    """A :class:`.Shape` of at most about ``positions`` positions, from one on, with one to about three tiles."""
    lanes = config.core.lanes
    height, width = (int(value) for value in rng.integers(1, 1 + int(positions ** 0.5), 2))
    if rng.integers(6) == 0:
        height = width = 1
    n_images = int(rng.integers(1, 2 + positions // (height * width)))
    return Shape(n_images, height, width, int(rng.integers(1, 3 * lanes + 2)))


def run_case(config, shape, rng, *, model=None, **options):
    """One tensor through both passes, or those that are built: list of differences.

    ``options`` as :class:`.EngineBench`.
    """
    core = config.core
    seed = int(rng.integers(2**31))
    signed = not core.is_block or core.storage.signed
    run = TensorRun(config, shape, layout=list(Layout)[rng.integers(2)], frozen=bool(rng.integers(5) == 0), seed=seed,
                    activation=Activation(int(rng.integers(0 if signed else 1, 3))),
                    base=int(rng.integers(1, 2 ** min(config.bus.address_width - 13, 50))) * 4096)
    model = random_model(rng) if model is None else model
    bench = run.bench(model=model, seed=seed, **options)
    done = [] if core.has_forward else [FORWARD]
    bench.memory[:] = run.image(*done)
    found = []
    try:
        for direction, built in ((FORWARD, core.has_forward), (BACKWARD, core.has_backward)):
            if built:
                run.run(bench, direction)
                done.append(direction)
                found += run.differences(bench, *done)
    except Exception as error:  # of any kind: the case is what matters
        found.append(f"{type(error).__name__}: {error}")
    return [f"{config.to_dict()} {shape} seed {seed} {run.layout} {run.options} {model}: {message}"
            for message in found]


def _batch(name, data_width, seed, count, cache):
    """Cases on one engine: (cases, differences, seconds)."""
    rng, found, start = np.random.default_rng(seed), [], time.perf_counter()
    config = engines(name, data_width, rng)
    for _ in range(count):
        found += run_case(config, random_shape(config, rng), rng, cache=cache)
    return count, found, time.perf_counter() - start


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.engine_soak", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--engines", type=int, default=48, help="engines to build (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=40, help="tensors for each (default: %(default)s)")
    parser.add_argument("--cores", nargs="+", choices=CORES, default=list(CORES), help="which cores (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another soak (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--cache", default="build/verilator", help="compiled benches (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    combinations = [(name, width) for width in (32, 64, 128, 256, 512) for name in chosen.cores]
    order = np.random.default_rng(chosen.seed).permutation(len(combinations))
    tasks = [(*combinations[order[index % len(order)]], [chosen.seed, index], chosen.cases, chosen.cache)
             for index in range(chosen.engines)]
    cases, found = 0, []
    for index, (count, messages, seconds) in enumerate(in_order(chosen.jobs, _batch, tasks), 1):
        cases += count
        found += messages
        name, width, *_ = tasks[index - 1]
        print(f"{index}/{chosen.engines}: {name}, {width} bits, {cases} tensors, {len(found)} wrong, {seconds:.0f} s",
              flush=True)
        for message in messages:
            print(f"  {message}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
