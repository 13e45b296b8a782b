"""The compiled bench on stand-ins of 1 lane: one passes x through, with faults chosen by its header, one joins y."""

import io

import numpy as np
import pytest

from bnforge.config import Directions
from bnforge.presets import opn1_tiny
from bnforge_sim import Rule, Segment, Simulator, Stall, Stalls, State
from bnforge_sim.build import BuildError
from bnforge_sim.files import read_outcomes, write_stimulus

PASS_THROUGH = """
module opn1_tiny(
  input aclk, aresetn, input [15:0] s_axis_tdata, input s_axis_tvalid, s_axis_tlast, output s_axis_tready,
  input [31:0] s_axis_hdr_tdata, input s_axis_hdr_tvalid, s_axis_hdr_tlast, output s_axis_hdr_tready,
  output [7:0] m_axis_tdata, m_axis_tuser, output m_axis_tvalid, m_axis_tlast, input m_axis_tready,
  output [31:0] m_axis_rec_tdata, output m_axis_rec_tvalid, m_axis_rec_tlast, input m_axis_rec_tready,
  output reg [4:0] status, input status_clear);
  reg [31:0] fault;
  reg open, full, last, toggle;
  reg [15:0] beat;
  reg [7:0] count;
  assign s_axis_tready = open && (!full || (m_axis_tready && m_axis_tvalid)) && !(fault == 4 && count == 20);
  assign {m_axis_tuser, m_axis_tdata} = beat ^ (fault == 2 ? {15'b0, toggle} : 16'b0);
  assign m_axis_tvalid = (full && !(fault == 1 && toggle) && !(fault == 3 && !m_axis_tready)) || fault == 5 && !aresetn;
  assign m_axis_tlast = last;
  assign s_axis_hdr_tready = !open && m_axis_rec_tready;
  assign m_axis_rec_tvalid = s_axis_hdr_tvalid && !open;
  assign m_axis_rec_tdata = s_axis_hdr_tdata;
  assign m_axis_rec_tlast = s_axis_hdr_tlast;
  always @(posedge aclk) begin
    toggle <= full && !m_axis_tready;
    if (status_clear) status[2:0] <= 0;
    if (s_axis_hdr_tvalid && s_axis_hdr_tready && m_axis_rec_tready) begin
      fault <= s_axis_hdr_tdata;
      open <= 1;
    end
    if (m_axis_tvalid && m_axis_tready) full <= 0;
    if (s_axis_tvalid && s_axis_tready) begin
      full <= 1;
      beat <= s_axis_tdata;
      last <= s_axis_tlast;
      count <= count + 1;
      status <= 5'b01001;
    end
    if (!aresetn) begin open <= 0; full <= 0; count <= 0; status <= 0; end
  end
endmodule
"""
JOIN = """
module opn1_tiny(
  input aclk, aresetn, input [15:0] s_axis_tdata, input s_axis_tvalid, s_axis_tlast, output s_axis_tready,
  input [7:0] s_axis_y_tdata, s_axis_y_tuser, input s_axis_y_tvalid, s_axis_y_tlast, output s_axis_y_tready,
  input [31:0] s_axis_hdr_tdata, input s_axis_hdr_tvalid, s_axis_hdr_tlast, output s_axis_hdr_tready,
  output [7:0] m_axis_tdata, m_axis_tuser, output m_axis_tvalid, m_axis_tlast, input m_axis_tready,
  output [31:0] m_axis_rec_tdata, output m_axis_rec_tvalid, m_axis_rec_tlast, input m_axis_rec_tready,
  output [5:0] status, input status_clear);
  reg differs;
  wire go = s_axis_tvalid && s_axis_y_tvalid && m_axis_tready && !differs;
  assign s_axis_tready = s_axis_y_tvalid && m_axis_tready && !differs;
  assign s_axis_y_tready = s_axis_tvalid && m_axis_tready && !differs;
  assign m_axis_tvalid = s_axis_tvalid && s_axis_y_tvalid && !differs;
  assign m_axis_tdata = s_axis_y_tdata + s_axis_tdata[7:0];
  assign m_axis_tuser = s_axis_y_tuser ^ s_axis_tdata[15:8];
  assign m_axis_tlast = s_axis_tlast;
  assign s_axis_hdr_tready = m_axis_rec_tready;
  assign m_axis_rec_tvalid = s_axis_hdr_tvalid;
  assign m_axis_rec_tdata = s_axis_hdr_tdata;
  assign m_axis_rec_tlast = s_axis_hdr_tlast;
  assign status = {differs, 5'b0};
  always @(posedge aclk) begin
    if (go && s_axis_tlast != s_axis_y_tlast) differs <= 1;
    if (!aresetn) differs <= 0;
  end
endmodule
"""
FORWARD = opn1_tiny.replace(directions=Directions.FORWARD)
NO_FAULT, DROPS_VALID, CHANGES_PAYLOAD, VALID_WAITS, STOPS, VALID_IN_RESET = range(6)


@pytest.fixture(scope="module")
def simulator():
    return Simulator(FORWARD, verilog=PASS_THROUGH)


@pytest.fixture(scope="module")
def joining():
    return Simulator(opn1_tiny, verilog=JOIN)


def stretch(fault, n=100, **options):
    codes = np.random.default_rng(n).integers(1 << 16, size=(n, 1), dtype=np.uint32)
    return Segment(np.array([fault], dtype=np.uint32), np.ones(1, dtype=bool), codes, np.arange(n) % 7 == 6,
                   **{"n_out": n, "n_rec": 1, "idle_limit": 500} | options)


@pytest.mark.parametrize("stall", [Stall(), Stall(0.3, 5), Stall(0.02, 100)])
def test_passes_everything(simulator, stall):
    segment = stretch(NO_FAULT, stalls=Stalls(data=stall, output=stall), seed=5)
    outcome, = simulator.run_segments([segment])
    assert (outcome.state, outcome.rule) == (State.FINISHED, Rule.NONE)
    assert np.array_equal(outcome.elements, segment.beats & 0xFF)
    assert np.array_equal(outcome.exponents, segment.beats >> 8)
    assert np.array_equal(outcome.last, segment.last)
    assert (outcome.records.tolist(), outcome.record_last.tolist()) == ([0], [True])
    assert (outcome.status, outcome.cleared) == (9, 8)


def test_no_stall_is_one_beat_per_cycle(simulator):
    outcome, = simulator.run_segments([stretch(NO_FAULT)])
    assert np.all(np.diff(outcome.data_cycles) == 1)
    assert np.array_equal(outcome.output_cycles, outcome.data_cycles + 1)
    assert outcome.status_log.tolist() == [[outcome.data_cycles[0] + 1, 9]]


def test_waits_are_kept(simulator):
    outcome, = simulator.run_segments([stretch(NO_FAULT, n=3, wait=np.array([50, 0, 7], dtype=np.uint32))])
    assert outcome.data_cycles.tolist() == [50, 51, 59]


def with_y(n=100, **options):
    rng = np.random.default_rng([n, 1])
    y, exponents = rng.integers(256, size=(2, n, 1), dtype=np.uint32)
    return stretch(NO_FAULT, n, **{"y": y, "y_exponents": exponents, "y_last": np.arange(n) % 7 == 6} | options)


@pytest.mark.parametrize("data, y", [(Stall(), Stall()), (Stall(0.3, 5), Stall()), (Stall(), Stall(0.3, 5)),
                                     (Stall(0.2, 3), Stall(0.02, 100))])
def test_y_comes_beside_the_data(joining, data, y):
    segment = with_y(stalls=Stalls(data=data, y=y, output=Stall(0.1, 2)), seed=3)
    outcome, = joining.run_segments([segment])
    assert (outcome.state, outcome.rule, outcome.status) == (State.FINISHED, Rule.NONE, 0)
    assert np.array_equal(outcome.elements, (segment.beats + segment.y) & 0xFF)
    assert np.array_equal(outcome.exponents, segment.beats >> 8 ^ segment.y_exponents)
    assert np.array_equal(outcome.y_cycles, outcome.data_cycles)


def test_y_stalls_and_waits_by_itself(joining):
    y_wait = np.array([50, 0, 7], dtype=np.uint32)
    waits, stalls = joining.run_segments([with_y(n=3, y_wait=y_wait), with_y(stalls=Stalls(y=Stall(0.3, 5)))])
    assert waits.y_cycles.tolist() == [50, 51, 59]
    assert np.any(np.diff(stalls.y_cycles) > 1)


def test_last_of_y_is_its_own(joining):
    segment = with_y()
    segment.y_last[20] ^= True
    outcome, after = joining.run_segments([segment, with_y()])
    assert (outcome.state, outcome.status, outcome.cleared) == (State.IDLE, 32, 32)
    assert len(outcome.y_cycles) == 21
    assert (after.state, after.status) == (State.FINISHED, 0)


def test_seed_decides_the_stalls(simulator):
    stalls = Stalls(data=Stall(0.3, 5))
    first, again, other = simulator.run_segments([stretch(NO_FAULT, stalls=stalls, seed=s) for s in (1, 1, 2)])
    assert np.array_equal(first.data_cycles, again.data_cycles)
    assert not np.array_equal(first.data_cycles, other.data_cycles)


@pytest.mark.parametrize("fault, rule", [(DROPS_VALID, Rule.VALID_DROPPED), (CHANGES_PAYLOAD, Rule.PAYLOAD_CHANGED)])
def test_broken_stream_is_found(simulator, fault, rule):
    outcome, = simulator.run_segments([stretch(fault, stalls=Stalls(output=Stall(0.3, 5)))])
    assert (outcome.state, outcome.rule, outcome.port) == (State.VIOLATION, rule, "output")


def test_valid_that_waits_for_ready_is_found(simulator):
    outcome, = simulator.run_segments([stretch(VALID_WAITS, stalls=Stalls(output=Stall(after_valid=True)))])
    assert (outcome.state, outcome.rule, outcome.port) == (State.VIOLATION, Rule.VALID_WAITS_FOR_READY, "output")


def test_valid_in_reset_is_found(simulator):
    _, outcome = simulator.run_segments([stretch(VALID_IN_RESET), stretch(NO_FAULT)])
    assert (outcome.state, outcome.rule) == (State.VIOLATION, Rule.VALID_IN_RESET)


def test_standstill_ends_the_segment(simulator):
    stuck, after = simulator.run_segments([stretch(STOPS), stretch(NO_FAULT)])
    assert (stuck.state, len(stuck.last)) == (State.IDLE, 20)
    assert after.state is State.FINISHED


def test_stop_cycle(simulator):
    outcome, = simulator.run_segments([stretch(NO_FAULT, stop_cycle=30)])
    assert (outcome.state, outcome.cycles) == (State.STOPPED, 30)


def test_waves(tmp_path):
    simulator = Simulator(FORWARD, verilog=PASS_THROUGH, waves=True)
    simulator.run_segments([stretch(NO_FAULT, n=4)], waves=tmp_path / "core.vcd")
    text = (tmp_path / "core.vcd").read_text()
    assert "$enddefinitions" in text and "m_axis_tdata" in text


def test_bad_verilog_is_reported():
    with pytest.raises(BuildError, match="(?s)verilator failed with status 1:.*syntax error"):
        Simulator(opn1_tiny, verilog="module opn1_tiny(; endmodule")


def test_refused_values():
    with pytest.raises(ValueError, match="probability must be from 0 to below 1, not 1"):
        Stall(probability=1)
    with pytest.raises(ValueError, match="longest must be at least 1, not 0"):
        Stall(longest=0)
    with pytest.raises(ValueError, match="must have one length, not 100, 100 and 1"):
        write_stimulus(io.BytesIO(), opn1_tiny, [stretch(NO_FAULT, wait=[0])])
    with pytest.raises(ValueError, match="must have one length, not 100, 100 and 1"):
        write_stimulus(io.BytesIO(), opn1_tiny, [with_y(y_wait=[0])])
    with pytest.raises(ValueError, match="y must be empty in a core that does not read it, not 100 beats"):
        write_stimulus(io.BytesIO(), FORWARD, [with_y()])
    with pytest.raises(ValueError, match="result must be a file written by the bench"):
        read_outcomes(io.BytesIO(bytes(56)), opn1_tiny)
