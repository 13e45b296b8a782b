"""Cycle counts of the generated cores: no bubble, and the latency of the constants."""

import numpy as np
import pytest

from bnforge.presets import PRESETS
from bnforge.top import Top
from bnforge_sim import Simulator, compare
from bnforge_sim.figures import measure, plain_tiles, run_plain

LATENCY_LIMIT = {"opn16": 128, "opn32_mx": 160}
"""Of the constants, design contract, section 2."""


@pytest.mark.parametrize("name", PRESETS)
def test_back_to_back_tiles_have_no_bubble(name):
    figures = measure(PRESETS[name][0])
    assert (figures["input_bubbles"], figures["output_bubbles"]) == (0, 0)
    assert figures["cycles"] == 8 * 4096 + figures["latency"]


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
def test_short_tiles_keep_the_rate(name):
    """Tiles of n = max(S_eff, tile_interval) beats are taken without a bubble."""
    config = PRESETS[name][0]
    n = Top(config).tile_interval
    tiles = plain_tiles(config, 24, n, min(n, config.sample_depth))
    outcome = run_plain(Simulator(config), tiles)
    assert compare(config, tiles, outcome).messages == []
    assert np.all(np.diff(outcome.data_cycles) == 1)
