"""Formal proofs, for runs of any length; the specifications and their reasons are in tests/formal."""

import pytest
from formal.arithmetic import Decoder, DividerTiming, Quotient, Rounder
from formal.control import ControlRules, DividerUse, JobQueue, RangeSnapshot, RangeSums, SumSnapshot, TilesInFlight
from formal.fifo import FifoContract, OutputBufferContract
from formal.pipeline import LanePipeline
from formal.runner import prove, prove_by_induction, prove_combinational, prove_from_any_state, reaches
from formal.streams import StreamStability
from formal.structure import Netlist

from bnforge.config import Config
from bnforge.converter import BlockConverter, FloatConverter
from bnforge.divider import Divider
from bnforge.formats import E4M3, E5M2, FP10, FP10_1_6_3, BlockFormat, FloatFormat
from bnforge.lane import NormaliserLane
from bnforge.normaliser import pipeline_length
from bnforge.presets import opn1_tiny
from bnforge.top import Top

PAIR = Config(name="pair", lanes=2, sample_depth=8, chunk_len=8, storage=BlockFormat(2, 8))
FLOATS = Config(name="floats", lanes=2, x_format=FP10, sample_depth=16, chunk_len=8, storage=FP10)
CONFIGS = [opn1_tiny, PAIR, FLOATS]
by_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)

DIVIDERS = [{"divisor_width": 5, "min_bits": 9}, {"divisor_width": 4, "min_bits": 18},
            {"divisor_width": 4, "low_width": 12, "min_bits": 8, "constant_divisor": True}]


@by_config
def test_streams_hold_until_taken(config):
    prove_by_induction(StreamStability(config), k=2)
    reaches(StreamStability(config), 45)


@by_config
def test_parts_of_the_core_keep_their_rules(config):
    prove_by_induction(ControlRules(config), k=3)


@pytest.mark.parametrize("rule", [JobQueue, TilesInFlight, SumSnapshot, RangeSnapshot, RangeSums, DividerUse])
def test_rule_is_not_empty(rule):
    reaches(rule(opn1_tiny), 45)


@pytest.mark.parametrize("config", [opn1_tiny, FLOATS], ids=lambda config: config.name)
def test_no_output_depends_on_an_input_in_the_same_cycle(config):
    """Hence no ``tvalid`` or ``tready`` waits for anything outside, and no combinational loop can close outside."""
    core = Netlist(Top(config))
    assert {name for name in core.outputs if "tvalid" in name} == {"m_axis_tvalid", "m_axis_rec_tvalid"}
    assert {"m_axis_tready", "m_axis_rec_tready", "s_axis_tvalid", "s_axis_hdr_tvalid"} <= set(core.inputs)
    assert {name: core.combinational(name) for name in core.inputs} == {name: [] for name in core.inputs}


@pytest.mark.parametrize("depth", [2, 3, 8, Top(opn1_tiny).fifo_depth])
def test_sample_fifo_neither_loses_nor_invents_a_beat(depth):
    prove_by_induction(FifoContract(depth))
    reaches(FifoContract(depth), depth + 3)


@pytest.mark.parametrize("pipeline", sorted({pipeline_length(config) for config in CONFIGS}))
def test_output_buffer_neither_loses_nor_invents_a_beat(pipeline):
    prove_by_induction(OutputBufferContract(pipeline))
    reaches(OutputBufferContract(pipeline), 2 * pipeline + 6)


@by_config
def test_lane_pipeline_delivers_every_beat_in_its_cycle(config):
    prove(LanePipeline(config))
    reaches(LanePipeline(config), pipeline_length(config) + 3)


@pytest.mark.parametrize("unit, config, inputs", [
    (BlockConverter, PAIR, ["i_y__0", "i_y__1", "i_activation"]), (FloatConverter, FLOATS, ["i_y", "i_activation"]),
    (NormaliserLane, PAIR, ["i_x"])], ids=["block converter", "float converter", "lane"])
def test_results_come_from_the_beat_that_entered_latency_cycles_before(unit, config, inputs):
    netlist = Netlist(unit(config))
    for name in inputs:
        reached = netlist.distances(name)
        assert reached
        assert set.union(*reached.values()) == {unit.latency}


@pytest.mark.parametrize("fmt, lowest, range_log2", [
    (E4M3, -16, 5), (E5M2, -32, 6), (FP10, -32, 6),               # all exponents, and beyond
    (FloatFormat(8, 1), -135, 4), (FloatFormat(8, 1), 120, 4)])  # around the least and the largest
def test_rounder_goes_to_the_nearest_code(fmt, lowest, range_log2):
    prove_combinational(Rounder(fmt, lowest, range_log2))
    reaches(Rounder(fmt, lowest, range_log2), 1)


@pytest.mark.parametrize("fmt", [E4M3, E5M2, FP10, FP10_1_6_3], ids=str)
def test_every_code_decodes_to_its_value(fmt):
    prove_combinational(Decoder(fmt))
    reaches(Decoder(fmt), 1)


@pytest.mark.parametrize("parameters", DIVIDERS, ids=str)
def test_divider_is_floor_division(parameters):
    prove_from_any_state(Quotient(**parameters), Divider.latency)
    reaches(Quotient(**parameters), Divider.latency, reset=False)


def test_divider_answers_after_its_latency():
    prove(DividerTiming())
    reaches(DividerTiming(), 20)
