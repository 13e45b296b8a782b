"""Formal proofs, for runs of any length; the specifications and their reasons are in tests/formal."""

import pytest
from formal.arithmetic import Decoder, DividerTiming, Quotient, Rounder
from formal.control import OperatorUse
from formal.fifo import FifoContract, OutputBufferContract
from formal.input import InputContract
from formal.pipeline import LanePipeline, RecoveryTiming
from formal.positions import PositionContract
from formal.rules import RULES, rules
from formal.runner import prove, prove_by_induction, prove_combinational, prove_from_any_state, reaches
from formal.streams import StreamStability
from formal.structure import Netlist

from bnforge.config import Config, Directions
from bnforge.converter import BlockConverter, FloatConverter
from bnforge.divider import Divider
from bnforge.formats import E4M3, E5M2, FP10, FP10_1_6_3, BlockFormat, FloatFormat
from bnforge.lane import NormaliserLane
from bnforge.normaliser import pipeline_length
from bnforge.presets import opn1_tiny
from bnforge.top import Top

PAIR = Config(name="pair", lanes=2, sample_depth=8, chunk_len=8, storage=BlockFormat(2, 8))
FLOATS = Config(name="floats", lanes=2, x_format=FP10, sample_depth=16, chunk_len=8, storage=FP10)
UNSIGNED = PAIR.replace(name="unsigned_pair", storage=BlockFormat(2, 8, signed=False))
FROZEN = PAIR.replace(name="frozen", sample_depth=0, directions=Directions.FORWARD)
WIDE = FLOATS.replace(name="wide", lanes=1, sample_depth=1024, chunk_len=512)
CONFIGS = [opn1_tiny, PAIR, FLOATS]


def builds(*configs):
    """Configurations as parameters of a test."""
    return pytest.mark.parametrize("config", configs, ids=lambda config: f"{config.name}-{config.directions.value}")


def one_way(config):
    """The configuration for either direction alone."""
    return [config.replace(directions=each) for each in (Directions.FORWARD, Directions.BACKWARD)]


DIVIDERS = [{"divisor_width": 5, "min_bits": 9}, {"divisor_width": 4, "min_bits": 18},
            {"divisor_width": 4, "low_width": 12, "min_bits": 8, "constant_divisor": True}]


@builds(opn1_tiny, *one_way(opn1_tiny), FLOATS, FROZEN)
def test_streams_hold_until_taken(config):
    prove_by_induction(StreamStability(config), k=2)


@builds(opn1_tiny, *one_way(opn1_tiny), PAIR.replace(directions=Directions.FORWARD), FLOATS, FROZEN)
def test_parts_of_the_core_keep_their_rules(config):
    prove_by_induction(rules(config)(config), k=2)


@pytest.mark.parametrize("specification, config", [
    (StreamStability, opn1_tiny), (RULES[Directions.BOTH], opn1_tiny), (rules(FROZEN), FROZEN)])
def test_rules_are_not_empty(specification, config):
    reaches(specification(config), 70)


@builds(opn1_tiny)
def test_operators_serve_one_step_at_a_time(config):
    prove_by_induction(OperatorUse(config), k=2)


@builds(opn1_tiny, *one_way(opn1_tiny), FLOATS, *one_way(FLOATS), FROZEN)
def test_no_output_depends_on_an_input_in_the_same_cycle(config):
    """Hence no ``tvalid`` or ``tready`` waits for anything outside, and no combinational loop can close outside."""
    core = Netlist(Top(config), registers=False)
    assert {name for name in core.outputs if "tvalid" in name} == {"m_axis_tvalid", "m_axis_rec_tvalid"}
    assert {"m_axis_tready", "m_axis_rec_tready", "s_axis_tvalid", "s_axis_hdr_tvalid"} <= set(core.inputs)
    assert ("s_axis_y_tvalid" in core.inputs) == config.has_backward
    assert {name: core.combinational(name) for name in core.inputs} == {name: [] for name in core.inputs}


@builds(opn1_tiny, *one_way(opn1_tiny), FLOATS, FROZEN)
def test_input_stage_takes_beats_in_order_and_in_pairs(config):
    prove_by_induction(InputContract(config), k=2)
    reaches(InputContract(config), 10)


@builds(opn1_tiny, FLOATS.replace(name="three", lanes=3, chunk_len=4), WIDE)
def test_positions_reach_their_lanes(config):
    prove_by_induction(PositionContract(config))
    reaches(PositionContract(config), 14)


@pytest.mark.parametrize("depth", [2, 3, 8, Top(opn1_tiny).fifo_depth])
def test_sample_fifo_neither_loses_nor_invents_a_beat(depth):
    prove_by_induction(FifoContract(depth))
    reaches(FifoContract(depth), depth + 3)


@pytest.mark.parametrize("pipeline", sorted({pipeline_length(config) for config in CONFIGS}))
def test_output_buffer_neither_loses_nor_invents_a_beat(pipeline):
    prove_by_induction(OutputBufferContract(pipeline))
    reaches(OutputBufferContract(pipeline), 2 * pipeline + 6)


@builds(opn1_tiny, *one_way(opn1_tiny), UNSIGNED, FLOATS)
def test_lane_pipeline_delivers_every_beat_in_its_cycle(config):
    prove(LanePipeline(config))
    reaches(LanePipeline(config), pipeline_length(config) + 4)


@builds(PAIR, FLOATS)
def test_sum_of_products_ends_in_its_cycle(config):
    prove(RecoveryTiming(config))
    reaches(RecoveryTiming(config), 8)


@pytest.mark.parametrize("unit, config, inputs", [
    (BlockConverter, PAIR, ["i_y__0", "i_y__1", "i_activation"]), (FloatConverter, FLOATS, ["i_y", "i_activation"]),
    (BlockConverter, UNSIGNED, ["i_y__0", "i_y__1", "i_activation", "i_gradient"]),
    (BlockConverter, UNSIGNED.replace(directions=Directions.FORWARD), ["i_y__0", "i_y__1", "i_activation"]),
    (BlockConverter, UNSIGNED.replace(directions=Directions.BACKWARD), ["i_y__0", "i_y__1"]),
    (NormaliserLane, PAIR, ["i_x", "i_adds", "i_matches", "i_position"]),
    (NormaliserLane, PAIR.replace(directions=Directions.FORWARD), ["i_x"])], ids=[
        "block converter", "float converter", "unsigned block converter", "unsigned block converter forward",
        "unsigned block converter backward", "lane", "lane forward"])
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
