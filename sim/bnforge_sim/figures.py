"""``python -m bnforge_sim.figures``: cycle counts of the generated cores, measured in simulation, as JSON."""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from bnforge.presets import PRESETS
from bnforge.top import Top
from bnforge_model import default_c, default_eps
from bnforge_model.constants import fp32_code
from bnforge_model.floats import to_codes

from .build import DEFAULT_CACHE
from .files import State
from .simulator import SimulationError, Simulator
from .tiles import Tile

__all__ = ["plain_tiles", "run_plain", "measure", "main"]


def plain_tiles(config, count, n, sample_len, seed=0):
    """``count`` tiles of ``n`` normally distributed beats, relu."""
    rng = np.random.default_rng(seed)
    c = default_c(config, n, sample_len)
    return [Tile(to_codes(config.x_format, rng.standard_normal((n, config.lanes))).astype(np.uint32),
                 fp32_code(np.ones(config.lanes)), fp32_code(np.zeros(config.lanes)), int(fp32_code(c)),
                 int(fp32_code(default_eps(c))), sample_len) for _ in range(count)]


def run_plain(simulator, tiles):
    """Run without stalls, the first beat after the first header: before it, there is no tile to take it."""
    wait = np.zeros(sum(len(tile.x) for tile in tiles), dtype=np.uint32)
    wait[0] = simulator.config.header_words + 8
    outcome = simulator.run(tiles, wait=wait)
    if outcome.state is not State.FINISHED:
        raise SimulationError(f"the run must finish, not end as {outcome.state.name} in cycle {outcome.cycles}")
    return outcome


def measure(config, *, cache=DEFAULT_CACHE, n_tiles=8, n=4096):
    """Cycle counts of one core, without stalls.

    Parameters
    ----------
    config : bnforge.config.Config
    n_tiles, n : int
        The back-to-back run.

    Returns
    -------
    dict
        ``constants_latency``, ``output_latency``: as the component states them; ``sample_to_output``: measured,
        their sum and the input register, from the beat that completes the sample to the first beat out. ``cycles``:
        of the back-to-back run, from the first beat taken to the last beat out, both included. ``latency``: of every
        beat in that run; without a bubble ``cycles`` = n_tiles · n + latency. ``tile_interval``: from tile to tile
        when the tiles have one beat each. ``frozen_latency``: first beat in to first beat out, in frozen mode.
    """
    simulator, top = Simulator(config, cache=cache), Top(config)
    depth = config.sample_depth
    back_to_back = run_plain(simulator, plain_tiles(config, n_tiles, n, depth))
    taken, out = back_to_back.data_cycles, back_to_back.output_cycles
    short = run_plain(simulator, plain_tiles(config, 24, 1, depth))
    frozen = [Tile(tile.x, tile.gamma, tile.beta, tile.c, tile.eps, tile.sample_len, frozen=True)
              for tile in plain_tiles(config, 1, 64, depth)]
    passed = run_plain(simulator, frozen)
    return {
        "lanes": config.lanes, "sample_depth": depth, "tiles": n_tiles, "n": n,
        "cycles": int(out[-1] - taken[0] + 1), "latency": int(out[0] - taken[0]),
        "input_bubbles": int(taken[-1] - taken[0] + 1 - n_tiles * n),
        "output_bubbles": int(out[-1] - out[0] + 1 - n_tiles * n),
        "constants_latency": top.constants_latency, "output_latency": top.output_latency,
        "sample_to_output": int(out[0] - taken[min(n, depth) - 1]),
        "tile_interval": float(np.mean(np.diff(short.output_cycles[4:]))),
        "frozen_latency": int(passed.output_cycles[0] - passed.data_cycles[0]),
    }


def _speed(config, cache):
    """Elements and cycles per second of the compiled bench, start and files included."""
    simulator = Simulator(config, cache=cache)
    tiles = plain_tiles(config, max(2, 400_000 // (config.lanes * 4096)), 4096, config.sample_depth)
    start = time.perf_counter()
    outcome = run_plain(simulator, tiles)
    seconds = time.perf_counter() - start
    return {"elements_per_second": round(outcome.elements.size / seconds, -3),
            "cycles_per_second": round(outcome.cycles / seconds, -3)}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.figures", description=__doc__.split(": ", 1)[1])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/figures.json"),
                        help="JSON file to write (default docs/figures.json)")
    parser.add_argument("--speed", action="store_true", help="also print the speed of the bench on this machine")
    chosen = parser.parse_args(arguments)
    figures = {}
    for name, (config, _) in PRESETS.items():
        figures[name] = measure(config)
        print(f"{name}: {json.dumps(figures[name])}")
        if chosen.speed:
            print(f"{name}: {json.dumps(_speed(config, DEFAULT_CACHE))}")
    chosen.output.write_text(json.dumps({"measured": figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
