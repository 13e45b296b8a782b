"""The bench of the engine on a stand-in that copies bursts, and breaks one rule at a time."""

import numpy as np
import pytest

from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.presets import opn1_tiny
from bnforge_sim.engine import BrokenRule, EngineBench, Fault, FaultKind, MemoryModel, Order, Refused, Region
from bnforge_sim.files import Stall

COPIES = """
module stand_in(
  input aclk, aresetn, output irq,
  input [11:0] s_axil_awaddr, input [2:0] s_axil_awprot, input s_axil_awvalid, output s_axil_awready,
  input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
  output [1:0] s_axil_bresp, output s_axil_bvalid, input s_axil_bready,
  input [11:0] s_axil_araddr, input [2:0] s_axil_arprot, input s_axil_arvalid, output s_axil_arready,
  output [31:0] s_axil_rdata, output [1:0] s_axil_rresp, output s_axil_rvalid, input s_axil_rready,
  output m_axi_awid, output [31:0] m_axi_awaddr, output [7:0] m_axi_awlen, output [2:0] m_axi_awsize,
  output [1:0] m_axi_awburst, output [3:0] m_axi_awcache, output [2:0] m_axi_awprot, output m_axi_awvalid,
  input m_axi_awready, output [63:0] m_axi_wdata, output [7:0] m_axi_wstrb, output m_axi_wlast, m_axi_wvalid,
  input m_axi_wready, input m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
  output m_axi_arid, output [31:0] m_axi_araddr, output [7:0] m_axi_arlen, output [2:0] m_axi_arsize,
  output [1:0] m_axi_arburst, output [3:0] m_axi_arcache, output [2:0] m_axi_arprot, output m_axi_arvalid,
  input m_axi_arready, input m_axi_rid, input [63:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast,
  input m_axi_rvalid, output m_axi_rready);
  // Registers at 40: bursts, from, to, fault; a write to 20 starts; 28 reads the errors seen and ends irq.
  reg [31:0] bursts, from, to, fault, cycle, errors, taken, data;
  reg toggle, busy, done, aw_full, w_full, b_full, r_full;
  reg [11:0] aw;
  reg [1:0] resp;
  wire known = aw == 12'h20 || aw == 12'h28 || aw[11:4] == 8'h04;
  wire apply = aw_full && w_full && !b_full && fault != 22;
  assign irq = done;
  assign s_axil_awready = !aw_full;
  assign s_axil_wready = !w_full;
  assign s_axil_bvalid = b_full && !(fault == 21 && toggle) || fault == 24 && !aresetn || fault == 27;
  assign s_axil_bresp = resp;
  assign s_axil_arready = !r_full;
  assign s_axil_rvalid = r_full;
  assign s_axil_rdata = data ^ {31'b0, fault == 23 && toggle};
  assign s_axil_rresp = data === 32'hdead ? 2 : 0;
  // Reads: `asked` bursts, one at a time but with fault 17; their beats to a buffer; then the write.
  reg ar, aw_valid, w_valid;
  reg [31:0] asked, got, put, answered;
  reg [2:0] beat, in;
  reg [63:0] buffer [0:3];
  wire late = fault == 9;
  wire [31:0] at = from + 32 * asked;
  assign m_axi_arvalid = ar && !(fault == 1 && toggle) && !(fault == 25 && !m_axi_arready);
  assign m_axi_araddr = fault == 2 && toggle ? at + 32 : fault == 8 ? at + 4 : late ? at + 8 :
                        fault == 20 ? 32'h3000 : at;
  assign m_axi_arlen = fault == 7 ? 7 : 3;
  assign m_axi_arsize = fault == 3 ? 2 : 3;
  assign m_axi_arburst = fault == 4 ? 0 : 1;
  assign m_axi_arid = fault == 5;
  assign {m_axi_arcache, m_axi_arprot} = fault == 6 ? 7'd9 : {4'd3, 3'd0};
  assign m_axi_rready = fault == 17 ? 0 : in < 4;
  assign m_axi_awvalid = aw_valid && !(fault == 10 && toggle);
  assign m_axi_awaddr = (fault == 19 ? 32'h3000 : to) + 32 * put;
  assign m_axi_awlen = 3;
  assign m_axi_awsize = 3;
  assign m_axi_awburst = 1;
  assign m_axi_awid = 0;
  assign {m_axi_awcache, m_axi_awprot} = {4'd3, 3'd0};
  assign m_axi_wvalid = w_valid && !((fault == 26 || fault == 10) && aw_valid);
  assign m_axi_wdata = buffer[beat[1:0]] ^ {63'b0, fault == 11 && toggle};
  assign m_axi_wstrb = fault == 15 ? 0 : fault == 16 ? 8'h5a : 8'hff;
  assign m_axi_wlast = fault == 13 ? beat == 2 : fault == 14 ? 0 : beat == 3;
  assign m_axi_bready = fault != 18;
  integer index;
  always @(posedge aclk) begin
    toggle <= !toggle;
    if (s_axil_awvalid && s_axil_awready) begin aw_full <= 1; aw <= s_axil_awaddr; end
    if (s_axil_wvalid && s_axil_wready) begin
      w_full <= 1;
      for (index = 0; index < 4; index = index + 1)
        taken[8 * index +: 8] <= s_axil_wstrb[index] ? s_axil_wdata[8 * index +: 8] : 8'h00;
    end
    if (s_axil_bvalid && s_axil_bready) b_full <= 0;
    if (s_axil_rvalid && s_axil_rready) r_full <= 0;
    if (s_axil_arvalid && s_axil_arready) begin
      r_full <= 1;
      data <= s_axil_araddr == 12'h28 ? errors : s_axil_araddr == 12'h40 ? bursts : 32'hdead;
    end
    if (apply) begin
      {aw_full, w_full, b_full, resp} <= {3'b001, known ? 2'd0 : 2'd2};
      case (aw)
        12'h40: bursts <= taken;
        12'h44: from <= taken;
        12'h48: to <= taken;
        12'h4c: fault <= taken;
        12'h28: done <= 0;
        12'h20: begin {busy, ar} <= 3; {asked, got, put, answered, errors} <= 0; in <= 0; end
      endcase
    end
    if (m_axi_arvalid && m_axi_arready) begin
      asked <= asked + 1;
      ar <= fault == 17;
    end
    if (m_axi_rvalid && m_axi_rready) begin
      buffer[in[1:0]] <= m_axi_rdata;
      in <= in + 1;
      errors <= errors + {30'b0, m_axi_rresp};
      if (in == 3) begin {aw_valid, w_valid} <= fault == 12 ? 2'd1 : 2'd3; beat <= 0; end
    end
    if (m_axi_awvalid && m_axi_awready) aw_valid <= 0;
    if (m_axi_wvalid && m_axi_wready) begin
      beat <= beat + 1;
      if (beat == 3) w_valid <= 0;
    end
    if (m_axi_bvalid && m_axi_bready) errors <= errors + {30'b0, m_axi_bresp};
    if (busy && in == 4 && !aw_valid && !w_valid && (fault == 18 || m_axi_bvalid)) begin
      put <= put + 1;
      if (fault != 18) in <= 0; else begin {aw_valid, w_valid} <= 3; beat <= 0; end
      if (put + 1 == bursts) begin busy <= 0; done <= 1; end else if (fault != 18) ar <= 1;
    end
    if (!aresetn) {busy, done, aw_full, w_full, b_full, r_full, ar, aw_valid, w_valid, toggle} <= 0;
    if (!aresetn && fault != 24) fault <= 0;
  end
endmodule
"""
CONFIG = EngineConfig(name="stand_in", core=opn1_tiny,
                      bus=BusConfig(max_burst=4, outstanding=4, read_buffer=4, write_buffer=8))
pytestmark = pytest.mark.xdist_group("engine bench")
BASE, SOURCE, TARGET, SIZE = 0x10000, 0x10000, 0x12000, 0x2000


def make(model=MemoryModel(), seed=0, **options):
    bench = EngineBench(CONFIG, 2 * SIZE, base=BASE, model=model, seed=seed, verilog=COPIES, optimise=False, **options)
    bench.memory[:SIZE] = np.random.default_rng(seed).integers(256, size=SIZE, dtype=np.uint8)
    bench.regions([Region("from", SOURCE, SOURCE + SIZE), Region("to", TARGET, TARGET + SIZE, write=True)])
    return bench


def start(bench, bursts, source=SOURCE, target=TARGET, fault=0):
    for offset, value in ((0x40, bursts), (0x44, source), (0x48, target), (0x4C, fault), (0x20, 1)):
        bench.write(offset, value)


def copied(bench, bursts, source=SOURCE, target=TARGET):
    return np.array_equal(bench.view(source, 32 * bursts), bench.view(target, 32 * bursts))


ALL = {channel: Stall(0.3, 5) for channel in ("ar", "r", "aw", "w", "b")}
READY_LATER = {channel: Stall(0.3, 5, after_valid=True) for channel in ("ar", "aw", "w")}


@pytest.mark.parametrize("model", [
    MemoryModel(), MemoryModel(read_latency=30, write_latency=9), MemoryModel(jitter=20, register_delay=5, **ALL),
    MemoryModel(order=Order.AW_AFTER_W, aw=Stall(0.5, 3)), MemoryModel(order=Order.W_AFTER_AW, aw=Stall(0.5, 3)),
    MemoryModel(**READY_LATER)], ids=["plain", "slow", "stalls", "aw after w", "w after aw", "after valid"])
def test_copies(model, seed):
    bench = make(model, seed)
    start(bench, 20)
    assert bench.wait(20_000)
    assert copied(bench, 20) and not bench.view(TARGET + 640, SIZE - 640).any()
    assert (bench.read(0x28), bench.totals().reads, bench.totals().writes) == (0, 0, 0)


def test_seed_decides_all():
    def cycles(seed):
        bench = make(MemoryModel(jitter=9, **ALL), seed)
        start(bench, 10)
        assert bench.wait(10_000)
        return bench.totals().cycle

    assert cycles(3) == cycles(3) != cycles(4)


def test_latency_is_kept():
    def cycles(**latency):
        bench = make(MemoryModel(**latency))
        start(bench, 10)
        assert bench.wait(10_000)
        return bench.totals().cycle

    assert cycles(read_latency=31) - cycles(read_latency=1) == 300
    assert cycles(write_latency=16) - cycles(write_latency=1) == 150


def test_counts():
    bench = make(MemoryModel(r=Stall(0.3, 5)))
    start(bench, 6)
    assert bench.wait(5000)
    counts, totals = bench.counts(), bench.totals()
    assert counts["from"] == type(counts["from"])(6, 24, 0, 0, 0)
    assert counts["to"] == type(counts["to"])(0, 0, 6, 24, 192)
    assert set(vars(counts[""]).values()) == {0}
    assert 0 < totals.read_wait < totals.cycle and totals.write_wait == 0
    assert (totals.read_beats, totals.write_beats, totals.stored_beats, totals.write_gaps) == (24, 24, 24, 0)
    assert 0 < totals.first_read < totals.first_write < totals.last_read < totals.last_write < totals.last_activity
    bench.regions([Region("all", SOURCE, TARGET + SIZE, write=True)])
    assert bench.counts()["all"].read_beats == bench.totals().write_beats == 0


def test_addresses_wrap():
    bench = EngineBench(CONFIG, 0x2000, base=0xFFFFF000, verilog=COPIES, optimise=False)
    bench.regions([Region("all", 0xFFFFF000, 0x100001000, write=True)])
    bench.view(0xFFFFFF00, 0x100)[:] = 7
    start(bench, 2, source=0xFFFFFFC0, target=0x20)
    assert bench.wait(1000)
    assert np.all(bench.view(0x20, 64) == 7) and np.count_nonzero(bench.memory) == 0x140


RULES = {
    1: "AR VALID fell before READY", 2: "AR payload changed before READY", 3: "AR SIZE must be full width, not 2",
    4: "AR BURST must be INCR, not 0", 5: "AR ID must be 0, not 1", 6: "AR CACHE and PROT must be 3 and 0, not 1 and 1",
    7: "AR burst of 8 beats, limit 4", 8: "AR address 0x10004 not aligned",
    9: "AR burst at 0x10008 crosses a multiple of 4 beats", 10: "AW VALID fell before READY",
    11: "W payload changed before READY", 12: "W data without AW before or with it", 13: "W LAST 1 on beat 3 of 4",
    14: "W LAST 0 on beat 4 of 4", 15: "W strobe 0", 16: "W strobe 0x5a not contiguous",
    17: "AR more than 4 bursts outstanding", 18: "AW more than 4 bursts outstanding",
    19: "AW burst at 0x3000 is outside the memory", 20: "AR burst at 0x3000 is outside the memory",
    21: "register B VALID fell before READY", 22: "register access at 0x20 without an answer",
    23: "register R payload changed before READY", 27: "register B VALID without a write"}


@pytest.mark.parametrize("fault", RULES, ids=RULES.get)
def test_broken_rule_is_found(fault):
    bench = make(MemoryModel(register_delay=3, **ALL), seed=5)
    with pytest.raises(BrokenRule, match=rf"^{RULES[fault]}, cycle \d+$"):
        start(bench, 20, fault=fault)
        for _ in range(50):
            bench.read(0x40)
        bench.wait(2000)
        start(bench, 20)
    with pytest.raises(BrokenRule):
        bench.step()
    bench.reset()
    bench.heal()
    start(bench, 3)
    assert bench.wait(2000) and copied(bench, 3)


def test_4_kib_are_not_crossed():
    bench = make()
    with pytest.raises(BrokenRule, match="AR burst at 0x10ff8 crosses 4 KiB"):
        start(bench, 1, source=0x10FF0, fault=9)


def test_valid_in_reset_is_found():
    bench = make()
    bench.write(0x4C, 24)
    with pytest.raises(BrokenRule, match="register B VALID in reset"):
        bench.reset()


def test_valid_that_waits_for_ready_is_found():
    bench = make(MemoryModel(**READY_LATER))
    with pytest.raises(BrokenRule, match="AR VALID depends on READY"):
        start(bench, 1, fault=25)
        bench.wait(100)


def test_data_that_waits_for_the_address_to_be_taken_stands_still():
    bench = make(MemoryModel(order=Order.AW_AFTER_W))
    start(bench, 1, fault=26)
    assert not bench.wait(1000)


def test_access_outside_the_regions_is_found():
    some = Region("some", SOURCE + 4, SOURCE + 44)
    for regions, message in (
            ([some], f"W bytes {TARGET:#x} to {TARGET + 7:#x} are not all in regions that may be written"),
            ([some, Region("to", TARGET, TARGET + 36, write=True)], f"R beat at {SOURCE + 48:#x} is in no region"),
            ([Region("all", SOURCE, TARGET + SIZE), Region("to", TARGET, TARGET + 36, write=True)],
             f"W bytes {TARGET + 32:#x} to {TARGET + 39:#x} are not all"),
            ([Region("all", SOURCE, TARGET + SIZE), Region("to", TARGET, TARGET + 36, write=True),
              Region("too", TARGET + 36, TARGET + 60, write=True)], f"W bytes {TARGET + 56:#x} to {TARGET + 63:#x}")):
        bench = make()
        bench.regions(regions)
        with pytest.raises(BrokenRule, match=message):
            start(bench, 2)
            bench.wait(1000)


def test_beyond_the_memory_is_a_decode_error():
    bench = make(MemoryModel(strict=False))
    before = bench.memory.copy()
    start(bench, 1, target=0x40000)
    assert bench.wait(1000) and bench.read(0x28) == 3
    bench.write(0x28, 0)
    start(bench, 1, source=0x40000, target=0x50000)
    assert bench.wait(1000) and bench.read(0x28) == 5 * 3
    assert np.array_equal(bench.memory, before)


def test_register_accesses():
    bench = make(MemoryModel(register_delay=4))
    bench.write(0x40, 0x11223344, strobe=0b0101)
    assert bench.read(0x40) == 0x00220044
    assert bench.access(0x60, 1) == (1, 2) and bench.access(0x60)[1] == 2
    with pytest.raises(Refused, match="write of 0x1 to 0x60 was answered 2"):
        bench.write(0x60, 1)
    with pytest.raises(Refused, match="read of 0x60 was answered 2"):
        bench.read(0x60)


@pytest.mark.parametrize("kind, errors, missing", [(FaultKind.READ_RESPONSE, 3, 0), (FaultKind.WRITE_RESPONSE, 3, 4)])
def test_error_responses(kind, errors, missing):
    bench = make()
    number = bench.inject(Fault(kind, index=4, beat=2, response=3))
    start(bench, 8)
    assert bench.wait(2000) and bench.read(0x28) == errors
    assert bench.totals().stored_beats == 32 - missing
    assert bench.struck(number) == (SOURCE if kind == FaultKind.READ_RESPONSE else TARGET) + 4 * 32
    same = (bench.view(SOURCE, 256).reshape(-1, 32) == bench.view(TARGET, 256).reshape(-1, 32)).sum(axis=1)
    assert np.flatnonzero(same != 32).tolist() == [4]
    assert same[4] == pytest.approx(24 if not missing else 0, abs=3)  # random bytes may agree


def test_faults_of_a_region():
    bench = make()
    start(bench, 3)
    assert bench.wait(1000)
    bench.write(0x28, 0)
    bench.inject(Fault(FaultKind.READ_RESPONSE, region="to"))
    first = bench.inject(Fault(FaultKind.READ_RESPONSE, index=1, region="from", beat=None))
    start(bench, 3)
    assert bench.wait(1000) and bench.read(0x28) == 8
    assert (bench.struck(0), bench.struck(first)) == (None, SOURCE + 32)


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind.name.startswith("STOP")])
@pytest.mark.parametrize("beat", [0, 2])
def test_stops(kind, beat):
    bench = make()
    number = bench.inject(Fault(kind, index=2, beat=beat))
    start(bench, 6)
    assert not bench.wait(3000)
    totals = bench.totals()
    side = SOURCE if kind in (FaultKind.STOP_R, FaultKind.STOP_AR) else TARGET
    assert bench.struck(number) is not None and totals.oldest == side + 64
    assert totals.last_activity < totals.cycle - 2900
    assert (totals.reads, totals.writes) == {
        FaultKind.STOP_R: (1, 0), FaultKind.STOP_AR: (0, 0), FaultKind.STOP_AW: (0, 0)}.get(kind, (0, 1))
    bench.heal()
    assert bench.wait(1000) and copied(bench, 6) and bench.totals().oldest is None


def test_stops_end_by_themselves():
    def cycles(*faults):
        bench = make()
        for fault in faults:
            bench.inject(fault)
        start(bench, 6)
        assert bench.wait(5000) and copied(bench, 6)
        return bench.totals().cycle

    plain = cycles()
    for kind in (FaultKind.STOP_R, FaultKind.STOP_B, FaultKind.STOP_AR, FaultKind.STOP_AW, FaultKind.STOP_W):
        assert cycles(Fault(kind, index=3, cycles=100)) == pytest.approx(plain + 100, abs=4), kind


def test_writes_are_in_memory_with_their_answer():
    bench = make(MemoryModel(write_latency=500))
    start(bench, 1)
    bench.step(100)
    assert bench.totals().writes == 1 and not bench.view(TARGET, 32).any()
    assert bench.wait(1000) and copied(bench, 1)


def test_waves(tmp_path):
    bench = make(waves=tmp_path / "engine.vcd")
    bench.step(20)
    del bench
    text = (tmp_path / "engine.vcd").read_text()
    assert "$enddefinitions" in text and "m_axi_araddr" in text
    with pytest.raises(OSError, match="waves must be a file that can be written, not '/missing/engine.vcd'"):
        make(waves="/missing/engine.vcd")


def test_refused_values():
    with pytest.raises(ValueError, match="size must be a multiple of 4096, not 5"):
        EngineBench(CONFIG, 5, verilog=COPIES)
    with pytest.raises(ValueError, match="base must be a multiple of 4096, not 8"):
        EngineBench(CONFIG, 4096, base=8, verilog=COPIES)
    with pytest.raises(ValueError, match="range must be in the memory, not 8 bytes at 0x13ffc"):
        make().view(0x13FFC, 8)
