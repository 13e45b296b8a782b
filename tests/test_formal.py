"""Proofs, unbounded, from any state after a reset; and that what each proof speaks of can happen at all."""

import pytest
from bnforge.config import Config
from bnforge.formats import FP10, BlockFormat
from bnforge.normaliser import pipeline_length
from bnforge.presets import opn1_tiny, opn4
from formal.control import ControlRules
from formal.fifo import FifoContract, OutputBufferContract
from formal.pipeline import LanePipeline
from formal.runner import prove, reaches
from formal.streams import StreamStability

CONFIGS = [opn1_tiny, Config(name="pair", lanes=2, sample_depth=8, chunk_len=8, storage=BlockFormat(2, 8)),
           Config(name="floats", lanes=2, x_format=FP10, sample_depth=16, chunk_len=8, storage=FP10)]

every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)


@every_config
def test_every_stream_holds_what_it_offers(config):
    prove(StreamStability(config))


@every_config
def test_parts_keep_the_rules_that_others_rely_on(config):
    prove(ControlRules(config))


@every_config
def test_lane_pipeline_loses_and_invents_no_beat(config):
    prove(LanePipeline(config))
    reaches(LanePipeline(config), 12)


@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_fifo_loses_and_invents_no_beat(depth):
    prove(FifoContract(depth))
    reaches(FifoContract(depth), depth + 6)


@pytest.mark.parametrize("length", [pipeline_length(opn1_tiny), pipeline_length(opn4)])
def test_output_buffer_loses_and_invents_no_beat(length):
    prove(OutputBufferContract(length))
    reaches(OutputBufferContract(length), 3 * length + 12)


def test_stream_stability_is_not_empty():
    reaches(StreamStability(opn1_tiny), 80)
