"""Cycle counts of the generated cores: no bubble, and the latency of the constants."""

import numpy as np
import pytest

from bnforge.config import SUM_BLOCK
from bnforge.presets import NAMED, PRESETS
from bnforge.top import Top
from bnforge_sim import Simulator, compare
from bnforge_sim.figures import measure, plain_backward_tiles, plain_tiles, run_plain

LATENCY_LIMIT = {"opn16": 128, "opn32_mx": 160}
"""Of the constants, design contract, section 2."""


@pytest.mark.parametrize("name", PRESETS)
def test_back_to_back_tiles_have_no_bubble(name):
    """Of either direction, alternating and in sequence; the output's only gap is the wait for the first constants.

    A sample shorter than the latency of the constants does not hide it where the directions change.
    """
    config = PRESETS[name][0]
    figures = measure(config)
    latency = Top(config).constants_latency
    changes = max(0, latency - config.sample_depth)
    for run, n_tiles, n_changes in ((figures, 8, 0), (figures["backward"], 8, 0), (figures["alternating"], 16, 8),
                                    (figures["in_sequence"], 16, 1)):
        if not changes * n_changes:
            assert (run["input_bubbles"], run["output_bubbles"]) == (0, 0)
            assert run["cycles"] == n_tiles * 4096 + run["latency"]
        assert run["input_bubbles"] <= n_changes * (changes + 2)
        assert 0 <= run.get("output_gap", 0) <= figures["backward"]["constants_latency"] + changes * n_changes


@pytest.mark.parametrize("name", PRESETS)
def test_latency_of_the_constants(name):
    config = PRESETS[name][0]
    top = Top(config)
    for n, sample_len in ((config.sample_depth, config.sample_depth), (3, 2), (1, 1)):
        outcome = run_plain(Simulator(config), plain_tiles(config, 1, n, sample_len))
        latency = outcome.output_cycles[0] - outcome.data_cycles[min(n, sample_len) - 1]
        assert latency == 1 + top.constants_latency + top.output_latency  # 1: the input register
    assert top.constants_latency <= LATENCY_LIMIT.get(name, 128)


@pytest.mark.parametrize("name", PRESETS)
def test_latency_of_the_backward_constants(name):
    """From the last beat of a tile to the first of its sample, and how long a short last block waits."""
    config = PRESETS[name][0]
    top, depth = Top(config), config.sample_depth
    for n in (depth, depth + 256, 128, 128 + top.block_interval, 129, 257, 128 + top.block_interval - 1):
        sample_len = min(n, depth)
        outcome = run_plain(Simulator(config), plain_backward_tiles(config, 1, n, sample_len))
        latency = outcome.output_cycles[n - sample_len] - outcome.data_cycles[-1]
        last = (n - 1) % SUM_BLOCK + 1
        waits = max(0, top.block_interval - last) if n > SUM_BLOCK else 0
        assert latency == 1 + top.gradient_latency + waits + top.output_latency  # 1: the input register
    assert top.gradient_latency <= LATENCY_LIMIT.get(name, 128)


def test_frozen_tiles_keep_the_rate():
    """Without statistics: the constants come a fixed time after a tile's first beat, and tiles have no bubble."""
    config = NAMED["opn2_frozen"][0]
    top, simulator = Top(config), Simulator(config)
    outcome = run_plain(simulator, plain_tiles(config, 1, 5, 0))
    latency = outcome.output_cycles[0] - outcome.data_cycles[0]
    assert latency == 1 + top.constants_latency + top.output_latency  # 1: the input register
    for n in (top.tile_interval, 300):
        tiles = plain_tiles(config, 8, n, 0)
        outcome = run_plain(simulator, tiles)
        assert compare(config, tiles, outcome).messages == []
        assert np.all(np.diff(outcome.data_cycles) == 1)


def _tiles(config, directions, n, count):
    """``count`` tiles of ``n`` beats in the given directions, in turn."""
    made = [make(config, count, n, min(n, config.sample_depth)) for make in directions]
    return [tiles[index] for index in range(count) for tiles in made][:count]


FORWARD, BACKWARD = (plain_tiles,), (plain_backward_tiles,)
STREAMS = [(name, directions) for name, (config, _text) in PRESETS.items()
           for directions in (FORWARD, BACKWARD, FORWARD + BACKWARD)
           if len(directions) == 1 or config.sample_depth >= Top(config).constants_latency]
"""Presets and the directions of their tiles, in turn; but for samples too short to hide the constants of a change."""


@pytest.mark.parametrize("name, directions", STREAMS)
def test_short_tiles_keep_the_rate(name, directions):
    """Tiles of n = max(S_eff, interval) beats are taken without a bubble, if the last block of sums is not short."""
    config = PRESETS[name][0]
    top = Top(config)
    n = max(top.tile_interval if make is plain_tiles else top.gradient_interval for make in directions)
    if plain_backward_tiles in directions:
        n += max(0, top.block_interval - n % SUM_BLOCK) if n > SUM_BLOCK else 0
    tiles = _tiles(config, directions, n, 24)
    outcome = run_plain(Simulator(config), tiles)
    assert compare(config, tiles, outcome).messages == []
    assert np.all(np.diff(outcome.data_cycles) == 1)
