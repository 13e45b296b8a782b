"""``python -m bnforge_sim.figures``: cycle counts of the generated cores, measured in simulation, as JSON."""

import argparse
import dataclasses
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
from .expect import expect
from .files import State
from .simulator import SimulationError, Simulator
from .tiles import BackwardTile, Tile, header_words

__all__ = ["plain_tiles", "backward_of", "plain_backward_tiles", "run_plain", "steady_beat", "measure", "main"]


def plain_tiles(config, count, n, sample_len, seed=0):
    """``count`` tiles of ``n`` normally distributed beats, relu; frozen where no statistics are built."""
    rng = np.random.default_rng(seed)
    c = default_c(config, n, sample_len)
    return [Tile(to_codes(config.x_format, rng.standard_normal((n, config.lanes))).astype(np.uint32),
                 fp32_code(np.ones(config.lanes)), fp32_code(np.zeros(config.lanes)), int(fp32_code(c)),
                 int(fp32_code(default_eps(c))), sample_len, frozen=not config.has_statistics) for _ in range(count)]


def backward_of(config, tile, dy):
    """The backward tile of a forward one, y and records from the model; ``dy`` are codes in forward order."""
    stored = expect(config, tile)
    return BackwardTile(dy, stored.elements, stored.exponents, stored.records, tile.c, tile.eps, tile.sample_len,
                        tile.activation, tile.frozen, tile.mask)


def plain_backward_tiles(config, count, n, sample_len, seed=0):
    """The backward tiles of :func:`plain_tiles`, dy normally distributed."""
    rng = np.random.default_rng([seed, 1])
    return [backward_of(config, tile, to_codes(config.x_format, rng.standard_normal(tile.x.shape)).astype(np.uint32))
            for tile in plain_tiles(config, count, n, sample_len, seed)]


def run_plain(simulator, tiles):
    """Run without stalls, the first beat after the first header: before it, there is no tile to take it."""
    wait = np.zeros(sum(len(tile.beats) for tile in tiles), dtype=np.uint32)
    wait[0] = len(header_words(simulator.config, tiles[0])) + 8
    outcome = simulator.run(tiles, wait=wait)
    if outcome.state is not State.FINISHED:
        raise SimulationError(f"the run must finish, not end as {outcome.state.name} in cycle {outcome.cycles}")
    return outcome


def steady_beat(tiles):
    """The beat from which on the output follows the input at a fixed distance.

    That is the first sample beat of the first backward tile, which waits for constants as every sample after it does;
    the beats before it did not have to wait, or not so long. 0 where all tiles are forward.
    """
    before = 0
    for tile in tiles:
        if isinstance(tile, BackwardTile):
            return before + len(tile.dy) - tile.n_sample
        before += len(tile.beats)
    return 0


def _flow(tiles, outcome):
    """Cycles of a run from its first beat in to its last beat out, and the idle ones among them.

    ``output_gap`` are the idle cycles of the output before :func:`steady_beat`, ``output_bubbles`` those after;
    ``latency`` is that of the last beat.
    """
    taken, out, start = outcome.data_cycles, outcome.output_cycles, steady_beat(tiles)
    return {"cycles": int(out[-1] - taken[0] + 1), "latency": int(out[-1] - taken[-1]),
            "input_bubbles": int(taken[-1] - taken[0] + 1 - len(taken)),
            "output_bubbles": int(out[-1] - out[start] + 1 - (len(out) - start)),
            "output_gap": int(out[start] - out[0] - start)}


def _interval(simulator, make):
    """Cycles from tile to tile when the tiles have one beat each."""
    outcome = run_plain(simulator, make(simulator.config, 24, 1, simulator.config.sample_depth))
    return float(np.mean(np.diff(outcome.output_cycles[4:])))


def _frozen_latency(simulator, make):
    """First beat in to first beat out of a frozen tile."""
    tile = dataclasses.replace(make(simulator.config, 1, 64, simulator.config.sample_depth)[0], frozen=True)
    outcome = run_plain(simulator, [tile])
    return int(outcome.output_cycles[0] - outcome.data_cycles[0])


def _forward_figures(simulator, top, tiles):
    depth = simulator.config.sample_depth
    outcome = run_plain(simulator, tiles)
    flow = _flow(tiles, outcome)
    del flow["output_gap"]
    complete = min(len(tiles[0].x), depth) - 1
    return flow | {
        "constants_latency": top.constants_latency, "output_latency": top.output_latency,
        "sample_to_output": int(outcome.output_cycles[0] - outcome.data_cycles[complete]),
        "tile_interval": _interval(simulator, plain_tiles), "frozen_latency": _frozen_latency(simulator, plain_tiles)}


def _backward_figures(simulator, top, tiles):
    outcome = run_plain(simulator, tiles)
    start = steady_beat(tiles)
    sample_to_output = int(outcome.output_cycles[start] - outcome.data_cycles[len(tiles[0].dy) - 1])
    return _flow(tiles, outcome) | {
        "constants_latency": sample_to_output - top.output_latency - 1, "output_latency": top.output_latency,
        "sample_to_output": sample_to_output, "tile_interval": _interval(simulator, plain_backward_tiles),
        "frozen_latency": _frozen_latency(simulator, plain_backward_tiles)}


def measure(config, *, cache=DEFAULT_CACHE, n_tiles=8, n=4096):
    """Cycle counts of one core, without stalls.

    Parameters
    ----------
    config : bnforge.config.Config
    n_tiles, n : int
        The back-to-back runs: tiles of each direction, and their beats.

    Returns
    -------
    dict
        Of the forward direction: ``cycles``, of the back-to-back run, from the first beat taken to the last beat out,
        both included; ``latency``: of every beat in that run; without a bubble ``cycles`` = n_tiles · n + latency.
        ``constants_latency``, ``output_latency``: as the component states them; ``sample_to_output``: measured, their
        sum and the input register, from the beat that completes the sample to the first beat out. ``tile_interval``:
        from tile to tile when the tiles have one beat each. ``frozen_latency``: first beat in to first beat out, in
        frozen mode. ``backward``: the same of backward tiles, where ``sample_to_output`` is from a tile's last beat to
        the first beat of its sample out, ``constants_latency`` follows from it, and ``output_gap`` are the idle cycles
        of the output before the first sample, once in a run. ``alternating`` and ``in_sequence``: n_tiles of each
        direction, forward first. What is not built is not there.
    """
    simulator, top = Simulator(config, cache=cache), Top(config)
    depth = config.sample_depth
    figures = {"lanes": config.lanes, "sample_depth": depth, "tiles": n_tiles, "n": n}
    if config.has_forward:
        forward = plain_tiles(config, n_tiles, n, depth)
        figures |= _forward_figures(simulator, top, forward)
    if config.has_backward:
        backward = plain_backward_tiles(config, n_tiles, n, depth)
        figures["backward"] = _backward_figures(simulator, top, backward)
        if config.has_forward:
            alternating = [tile for pair in zip(forward, backward) for tile in pair]
            for name, tiles in (("alternating", alternating), ("in_sequence", forward + backward)):
                figures[name] = _flow(tiles, run_plain(simulator, tiles))
    return figures


def _speed(config, cache):
    """Elements and cycles per second of the compiled bench, start and files included."""
    simulator = Simulator(config, cache=cache)
    make = plain_tiles if config.has_forward else plain_backward_tiles
    tiles = make(config, max(2, 400_000 // (config.lanes * 4096)), 4096, config.sample_depth)
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
