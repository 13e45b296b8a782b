"""Formal proofs about the baselines, for runs of any length; the specifications are in tests/formal/sweeps.py."""

import pytest
from formal.fifo import OutputBufferContract
from formal.runner import prove_by_induction, reaches
from formal.structure import Netlist
from formal.sweeps import FlowContract, RecordHold, ResultOf

from bnforge.config import Algorithm, Config
from bnforge.formats import BlockFormat
from bnforge.sweeps.core import SweepCore
from bnforge.sweeps.lane import lane_of

ONE = Config(name="one", lanes=1, chunk_len=4, sample_depth=4, storage=BlockFormat(1, 8))
BASELINES = [ONE.replace(name=algorithm.name.lower(), algorithm=algorithm) for algorithm in Algorithm
             if algorithm is not Algorithm.ONE_PASS]

baselines = pytest.mark.parametrize("config", BASELINES, ids=lambda config: config.name)


@baselines
def test_records_hold_until_taken(config):
    prove_by_induction(RecordHold(config.replace(lanes=2)))
    reaches(RecordHold(config.replace(lanes=2)), 24)


@baselines
def test_flow_takes_n_beats_of_each_stream(config):
    prove_by_induction(FlowContract(config))
    reaches(FlowContract(config), 40)


@pytest.mark.parametrize("pipeline", sorted({SweepCore(config).pass_cycles for config in BASELINES}))
def test_output_buffer_neither_loses_nor_invents_a_beat(pipeline):
    prove_by_induction(OutputBufferContract(pipeline))


@baselines
def test_no_output_depends_on_an_input_in_the_same_cycle(config):
    core = Netlist(SweepCore(config), registers=False)
    assert {name for name in core.outputs if "tvalid" in name} == {"m_axis_tvalid", "m_axis_rec_tvalid"}
    assert ("s_axis_g_tvalid" in core.inputs) == (config.algorithm is not Algorithm.RANGE)
    assert {name: core.combinational(name) for name in core.inputs} == {name: [] for name in core.inputs}


@baselines
def test_results_come_from_the_codes_that_entered_latency_cycles_before(config):
    lane = lane_of(config)
    netlist = Netlist(ResultOf(lane))
    for name in ("i_p", "i_q"):
        assert netlist.distances(name) == {"o_y": {lane.latency}}
