"""The engine around its datapath: control, register block and ports together, and the register block by itself."""

from unittest.mock import patch

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Cat, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from bnforge import engine
from bnforge.datapath import Datapath, read_channels, write_channels
from bnforge.engine import Engine
from bnforge.engine_config import Channel
from bnforge.registers import RegisterBlock

from .runner import assume, check, opened
from .units import Specification, held

__all__ = ["EngineRules", "RegisterContract"]


class _Free(wiring.Component):
    """Anything with the ports of ``unit``."""

    def __init__(self, unit):
        super().__init__(unit.signature)

    def elaborate(self, platform):
        m = Module()
        for _path, member, value in self.signature.flatten(self):
            if member.flow == Out:
                m.d.comb += Value.cast(value).eq(AnySeq(len(Value.cast(value))))
        return m


class EngineRules(Specification):
    """How a run ends, whatever core, channels, software and memory do.

    Of the registers it is assumed that they write no job while busy, as :class:`RegisterContract` proves. Of the
    datapath, that a channel whose program has ended asks for nothing, that it has ended until
    it is started again, and that a reset ends it; that the words of a job are the last thing that is read for it. Of
    memory, that it answers what it was asked, reads with their last beat marked.
    """

    def __init__(self, config):
        self.config = config
        unit = Engine(config)
        self.datapath, self.registers = _Free(Datapath(config)), _Free(RegisterBlock(config))
        unit._registers = self.registers
        super().__init__(unit, driven=("aclk", "aresetn"))

    def elaborate(self, platform):
        with patch.object(engine, "Datapath", lambda config: self.datapath):
            opened(self.unit)
        m = super().elaborate(platform)
        m.d.comb += [self.unit.aclk.eq(ClockSignal()), self.unit.aresetn.eq(~ResetSignal())]
        return m

    def placed(self):
        return DomainRenamer({"sync": "engine"})(self.unit)

    def specify(self, m):
        unit, control, datapath = self.unit, self.inside["control"], self.datapath
        outstanding = self.config.bus.outstanding
        # The bus: bursts that are not answered, and those that may be.
        reads, writes, sent = (Signal(range(outstanding + 2), name=name) for name in ("reads", "writes", "sent"))
        last_read, last_sent = unit.m_axi_rvalid & unit.m_axi_rlast, (
            unit.m_axi_wvalid & unit.m_axi_wready & unit.m_axi_wlast)
        fresh = []
        for prefix, count, answered in (("ar", reads, last_read), ("aw", writes, unit.m_axi_bvalid)):
            wire = [getattr(unit, f"m_axi_{prefix}{name}") for name in ("valid", "ready", "addr", "len")]
            check(m, held(m, *wire), ~(self.first & wire[0]))
            waiting = Signal(name=f"{prefix}_waiting")
            m.d.sync += [waiting.eq(wire[0] & ~wire[1]), count.eq(count + (wire[0] & ~waiting) - answered)]
            fresh.append(wire[0] & ~waiting)
        m.d.sync += sent.eq(sent + last_sent - unit.m_axi_bvalid)
        check(m, held(m, unit.m_axi_wvalid, unit.m_axi_wready, unit.m_axi_wdata, unit.m_axi_wstrb, unit.m_axi_wlast))
        assume(m, ~unit.m_axi_rvalid | (reads > (unit.m_axi_arvalid & ~fresh[0])),
               ~unit.m_axi_bvalid | ((sent != 0) & (writes > (unit.m_axi_awvalid & ~fresh[1]))))
        quiet = ~(unit.m_axi_arvalid | unit.m_axi_awvalid | unit.m_axi_wvalid) & (reads == 0) & (writes == 0)
        check(m, ~control.o_clear | quiet)
        self._datapath(m, control, datapath, fresh[0] | (reads != 0))
        self._end(m, control, fresh, quiet)
        # Known to the ports, too: helps the search for an invariant.
        read, write = ({name: opened(self.inside[port]).submodules[name].level for name in names} for port, names in (
            ("reads", ["outstanding"]), ("writes", ["outstanding", "data_order"])))
        check(m, read["outstanding"] == reads + fresh[0], write["outstanding"] == writes + fresh[1],
              write["data_order"] + sent + (unit.m_axi_wvalid & unit.m_axi_wlast) == writes + fresh[1])

    def _datapath(self, m, control, datapath, reading):
        config = self.config
        ended = Signal.like(datapath.o_finished, init=-1)
        m.d.sync += ended.eq(Mux(control.o_clear, -1, datapath.o_finished & ~control.o_start))
        assume(m, (ended & ~datapath.o_finished) == 0)
        assume(m, ~(control.o_busy & self.registers.o_job_write))
        used = opened(control)["used"]
        check(m, control.o_draining | ended.all() | (control.o_busy & ~control.o_fetching & (ended | used).all()))
        asked = {channel: request.valid for channels, requests in (
            (read_channels(config), datapath.o_read_request), (write_channels(config), datapath.o_write_request))
            for channel, request in zip(channels, requests)}
        fetch, fetching, row, words = asked.pop(Channel.FETCH), Signal(), datapath.i_row, datapath.o_words
        number, word = Signal(range(config.job_words)), words.valid & words.ready
        last = word & (number == config.job_words - 1)
        m.d.sync += [number.eq(Mux(control.o_clear | last, 0, number + word)),
                     fetching.eq(~(control.o_clear | last) & (fetching | (row.valid & row.ready)))]
        assume(m, *(~(datapath.o_finished[config.programs.index(channel)] & valid) for channel, valid in asked.items()),
               ~fetch | fetching | ~datapath.o_finished.all(), ~(last & (fetch | reading)))

    def _end(self, m, control, fresh, quiet):
        """Each run ends once, with done or error; after an error nothing new is begun."""
        busy, started = control.o_busy, control.i_start & ~control.o_busy & ~control.i_reset
        was_busy, ending, failed, finished, halted = (Signal(name=name) for name in (
            "was_busy", "ending", "failed", "finished", "halted"))
        m.d.sync += [was_busy.eq(busy), finished.eq(control.o_done | control.o_clear), halted.eq(ending),
                     failed.eq(~started & (failed | control.o_error)),
                     ending.eq(~control.o_clear & (ending | control.o_error | control.i_reset))]
        check(m, ~(self.first & busy), ~(was_busy & ~busy) | finished, ~finished | ~busy, busy | quiet,
              ~control.o_clear | busy,
              ~(control.o_done | control.o_error) | (busy & ~failed & ~(control.o_done & control.o_error)),
              ~control.o_done | quiet, ~ending | control.o_draining, ~(halted & ending & Cat(fresh).any()),
              ~control.o_draining | ending, ~(ending & quiet) | control.o_clear,
              ~control.o_soft_reset | control.o_clear)
        self.witness = [control.o_clear & failed, control.o_done & quiet, control.o_draining & ~quiet & halted,
                        control.o_soft_reset]


class RegisterContract(Specification):
    """The AXI4-Lite port: one answer for each access, and none without; it waits for nothing but its own channel."""

    def __init__(self, config):
        super().__init__(RegisterBlock(config))

    def specify(self, m):
        unit = self.unit
        wire = {name: [getattr(unit, f"s_axil_{name}{part}") for part in ("valid", "ready")]
                for name in ("aw", "w", "b", "ar", "r")}
        taken = {name: valid & ready for name, (valid, ready) in wire.items()}
        due = {name: Signal(2, name=f"due_{name}") for name in ("aw", "w", "ar")}
        for name, count in due.items():
            answer = taken["r" if name == "ar" else "b"]
            m.d.sync += count.eq(count + taken[name] - answer)
            check(m, count <= 2, ~answer | (count != 0))
        check(m, held(m, *wire["b"], unit.s_axil_bresp), held(m, *wire["r"], unit.s_axil_rresp, unit.s_axil_rdata),
              ~unit.s_axil_bvalid | ((due["aw"] != 0) & (due["w"] != 0)), ~unit.s_axil_rvalid | (due["ar"] != 0),
              ~(self.first & (unit.s_axil_bvalid | unit.s_axil_rvalid)),
              ~unit.s_axil_bresp[0], ~unit.s_axil_rresp[0])
        in_reset = Cat(unit.s_axil_awready, unit.s_axil_wready, unit.s_axil_arready)
        m.d.comb += Assert(~(ResetSignal() & in_reset.any()))
        # Answers come: a write at the latest in the second cycle after both halves, a read one later.
        complete, patience = (due["aw"] != 0) & (due["w"] != 0), 2
        late = Signal(2), Signal(2)
        for count, waits, answer in zip(late, (complete, due["ar"] != 0), (unit.s_axil_bvalid, unit.s_axil_rvalid)):
            m.d.sync += count.eq(Mux(waits & ~answer, count + 1, 0))
            check(m, count <= patience)
        # Locked while busy
        before, busy = Signal(len(unit.o_watchdog)), Signal()
        m.d.sync += [before.eq(unit.o_watchdog), busy.eq(unit.i_busy & ~unit.i_soft_reset)]
        check(m, ~busy | (unit.o_watchdog == before), ~(unit.i_busy & unit.o_job_write), ~(busy & unit.o_start))
        self.witness = [taken["b"] & ~unit.s_axil_bresp[1] & taken["r"], taken["b"] & unit.s_axil_bresp[1] & busy,
                        unit.o_start, (due["aw"] == 2) & (due["w"] == 1), unit.s_axil_rvalid & unit.s_axil_rresp[1]]
