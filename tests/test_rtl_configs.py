"""Configurations beside the presets, each driven over a pairwise covering array: bit-exact with the model."""

import pytest
from test_rtl_presets import run_pairwise

from bnforge.config import Config, Directions, Multiplier
from bnforge.formats import E4M3, E5M2, FP10, FP10_1_6_3, FP16, WORKING, BlockFormat

SMALL = {"sample_depth": 64, "chunk_len": 16}
FORWARD, BACKWARD = {"directions": Directions.FORWARD}, {"directions": Directions.BACKWARD}

CONFIGS = [
    Config(name="fp16", lanes=2, x_format=FP16, storage=FP16, **SMALL),
    Config(name="odd_depth", lanes=3, x_format=E4M3, storage=E4M3, sample_depth=48, chunk_len=16),
    Config(name="five_lanes", lanes=5, x_format=E5M2, storage=E5M2, sample_depth=80, chunk_len=16,
           **BACKWARD),
    Config(name="fp10_1_6_3", lanes=1, x_format=FP10_1_6_3, storage=FP10_1_6_3, sample_depth=60, chunk_len=4),
    Config(name="two_digit", lanes=2, multiplier=Multiplier.TWO_DIGIT, storage=BlockFormat(1, 8), **SMALL),
    Config(name="two_digit_wide", lanes=1, multiplier=Multiplier.TWO_DIGIT, a_fraction=8, storage=WORKING, **SMALL),
    Config(name="wide", lanes=1, x_format=WORKING, a_fraction=15, b_fraction=15, storage=BlockFormat(1, 12), **SMALL),
    Config(name="narrow", lanes=2, x_format=FP10, a_fraction=1, b_fraction=1, storage=BlockFormat(2, 4, 5), **SMALL),
    Config(name="unsigned_blocks", lanes=4, storage=BlockFormat(4, 8, signed=False), **SMALL),
    Config(name="small_exponent", lanes=4, storage=BlockFormat(2, 6, exponent_width=4), **SMALL),
    Config(name="tight_chunk", lanes=8, x_format=FP10, storage=BlockFormat(8, 8), sample_depth=40, chunk_len=8),
    Config(name="one_chunk", lanes=5, x_format=FP10, storage=FP10, sample_depth=64, chunk_len=64, **FORWARD),
    Config(name="chunk_256", lanes=1, x_format=E5M2, storage=BlockFormat(1, 8), sample_depth=512, chunk_len=256),
    Config(name="chunk_512", lanes=1, x_format=E5M2, storage=BlockFormat(1, 8), sample_depth=1536, chunk_len=512,
           **BACKWARD),
    Config(name="frozen_only", lanes=2, storage=BlockFormat(2, 8), sample_depth=0, chunk_len=64, **FORWARD),
    Config(name="frozen_floats", lanes=3, x_format=FP10, storage=FP10, sample_depth=0, chunk_len=64, **FORWARD),
    Config(name="forward_only", lanes=4, storage=BlockFormat(2, 8), **SMALL, **FORWARD),
    Config(name="backward_only", lanes=4, storage=BlockFormat(2, 8), **SMALL, **BACKWARD),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_configuration_equals_model(config, seed):
    elements, differences = run_pairwise(config, seed)
    print(f"{config.name}: {elements} elements compared")
    assert differences == []
    assert elements > 0
