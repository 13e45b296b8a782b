"""Cycle counts of the generated cores: no bubble, and the latency of the constants."""

import numpy as np
import pytest

from bnforge.presets import PRESETS
from bnforge_sim import Simulator, State, compare
from bnforge_sim.figures import measure, plain_tiles

LATENCY_LIMIT = {"opn16": 128, "opn32_mx": 160}
"""Of the constants, design contract, section 2."""


def test_back_to_back_tiles_have_no_bubble():
    figures = measure(PRESETS["opn16"][0])
    assert (figures["input_bubbles"], figures["output_bubbles"]) == (0, 0)
    assert figures["cycles"] == 8 * 4096 + figures["latency"]


@pytest.mark.parametrize("name", LATENCY_LIMIT)
def test_latency_of_the_constants(name):
    config = PRESETS[name][0]
    tiles = plain_tiles(config, 1, config.sample_depth, config.sample_depth)
    outcome = Simulator(config).run(tiles)
    latency = outcome.output_cycles[0] - outcome.data_cycles[config.sample_depth - 1]
    assert latency <= LATENCY_LIMIT[name]


@pytest.mark.parametrize("name", PRESETS)
def test_short_tiles_keep_the_rate(name):
    """Tiles of n = max(S_eff, interval) beats are taken without a bubble once their headers are there."""
    config = PRESETS[name][0]
    sample_len = min(config.chunk_len, config.sample_depth)
    interval = int(np.ceil(measure(config, n_tiles=2, n=2 * config.sample_depth)["tile_interval"]))
    tiles = plain_tiles(config, 12, max(sample_len, interval), sample_len)
    outcome = Simulator(config).run(tiles)
    assert outcome.state is State.FINISHED
    assert compare(config, tiles, outcome).messages == []
    assert np.all(np.diff(outcome.data_cycles) == 1)
