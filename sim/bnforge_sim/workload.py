"""The stimulus of power figures: the same real activations and gradients for every variant of a core."""

import numpy as np

from bnforge.config import Algorithm, Directions, Extraction
from bnforge.flows.activity import Activity
from bnforge.sweeps.words import Sweep, param_words, streams, sweeps_of
from bnforge_model.sweep_header import channel_c, channel_eps

from .digits import digits_backward_tile, digits_tile
from .figures import backward_of
from .files import State
from .simulator import SimulationError
from .sweep_stimulus import _source
from .sweep_tiles import Stored, SweepTile, sweep_result, sweep_segment
from .tiles import header_words, segment

__all__ = ["TILES", "IMAGES", "workload", "measure_activity"]

TILES, IMAGES = 3, 64
"""Tiles of a run, back to back, and the 8x8 images of each."""
_FORWARD = {Sweep.COLLECT, Sweep.VARIANCE, Sweep.NORMALISE}


def workload(config, direction, n_images=IMAGES):
    """What runs in one direction: activations of digits, or the gradients that belong to them.

    The gradients are those of the one-pass core with the formats of ``config``, whatever its algorithm.

    Parameters
    ----------
    config : bnforge.config.Config
    direction : bnforge.config.Directions
        ``FORWARD`` or ``BACKWARD``.
    n_images : int
        The tile has 64 beats per image.

    Returns
    -------
    list of lists
        One list of the same tile, :data:`TILES` times, for every sweep of the direction; the one-pass core has one.
    """
    product = config.replace(algorithm=Algorithm.ONE_PASS, extraction=Extraction.CONSTANTS)
    forward = digits_tile(product, n_images)
    if config.algorithm is Algorithm.ONE_PASS and direction is Directions.FORWARD:
        return [[forward] * TILES]
    dy = digits_backward_tile(product, forward).dy
    if config.algorithm is Algorithm.ONE_PASS:
        return [[backward_of(config, forward, dy)] * TILES]
    return [[tile] * TILES for tile in _sweeps(config, forward, dy)
            if (tile.sweep in _FORWARD) == (direction is Directions.FORWARD)]


def _sweeps(config, forward, dy):
    """The sweeps of a forward and a backward pass over one tile, each with what those before gave."""
    c = channel_c(len(dy))
    settings = {"eps": np.float32(channel_eps(config, c)), "c": np.float32(c), "activation": forward.activation,
                "mask": forward.mask}
    known = {name: np.asarray(getattr(forward, name), np.uint32).view(np.float32) for name in ("gamma", "beta")}
    results = {}
    for sweep in sweeps_of(config):
        inputs = dict.fromkeys(("operand", "stored", "gradient"))
        for name in streams(config, sweep)[0]:
            operand = forward.x if sweep in _FORWARD else dy
            inputs[name] = operand if name == "operand" else results[_source(config, sweep, name)]
        tile = SweepTile(sweep=sweep, params={name: known[name] for name in param_words(config, sweep)}, **inputs,
                         **settings)
        result, _ = sweep_result(config, tile)
        known |= result.records
        if result.encoded is not None:
            results[sweep] = Stored.of(config, result.encoded)
        yield tile


def _segment(config, tiles):
    """Tiles as a segment without stalls; the first beat comes after the first header."""
    if isinstance(tiles[0], SweepTile):
        return sweep_segment(config, tiles)
    wait = np.zeros(sum(len(tile.beats) for tile in tiles), dtype=np.uint32)
    wait[0] = len(header_words(config, tiles[0])) + 8
    return segment(config, tiles, wait=wait)


def _starts(tiles, outcome):
    """The cycles in which the first beats of the tiles are taken."""
    taken = outcome.data_cycles if len(outcome.data_cycles) else outcome.y_cycles
    return taken[::len(taken) // len(tiles)]


def measure_activity(simulator, runs):
    """What the nets do from one tile to the next in a steady stream of tiles, summed over the sweeps.

    The window is from the cycle that takes the first beat of the second tile to that of the third, so that each part
    does in it what it does for one tile, whichever tile that is for.

    Parameters
    ----------
    simulator : bnforge_sim.gates.GateSimulator
    runs : list of lists of tiles
        From :func:`workload`.

    Returns
    -------
    list of Outcome
        Of the runs, for comparison with the model.
    Activity
        ``elements`` are those of one tile, however many sweeps there are.

    Raises
    ------
    SimulationError
        A run does not finish.
    """
    outcomes, activities = [], []
    for tiles in runs:
        stretch = _segment(simulator.config, tiles)
        outcomes += simulator.run_segments([stretch])
        if outcomes[-1].state is not State.FINISHED:
            raise SimulationError(f"the netlist must finish, not end as {outcomes[-1].state.name}")
        starts = _starts(tiles, outcomes[-1])
        activities.append(simulator.activity(stretch, int(starts[1]), int(starts[2])))
    elements = len(outcomes[0].data_cycles) // TILES * simulator.config.lanes
    return outcomes, Activity(sum(activity.cycles for activity in activities),
                              sum(np.asarray(activity.toggles, np.int64) for activity in activities),
                              sum(np.asarray(activity.ones, np.int64) for activity in activities), elements)
