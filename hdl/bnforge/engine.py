"""The engine: core, DMA engine and registers behind AXI ports. Composition only; docs/engine.md."""

from amaranth.hdl import Array, ClockDomain, ClockSignal, Const, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .control import NO_CHANNEL, JobControl, error_layout
from .counters import NARROW, WIDE, Counters
from .datapath import N_FLAGS, Datapath, read_channels, write_channels
from .dma import ReadPort, WritePort
from .dma.layouts import joined
from .dma.ports import axi_read_members, axi_write_members
from .engine_config import Cause, Channel
from .registers import RegisterBlock

__all__ = ["Engine"]

_REFUSED, _MISFRAMED, _UNEQUAL = range(N_FLAGS, N_FLAGS + 3)
"""Bits of the core's status."""


class Engine(wiring.Component):
    """Normalises tensors in memory: docs/engine.md, docs/registers.md.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    aclk, aresetn : clock, and synchronous active-low reset
    s_axil_* : AXI4-Lite subordinate
    m_axi_* : AXI4 manager
    irq : an enabled event is pending
    """

    def __init__(self, config):
        self.config = config
        self._registers = RegisterBlock(config)
        axil = {name: member for name, member in self._registers.signature.members.items()
                if name.startswith("s_axil_")}
        super().__init__({"aclk": In(1), "aresetn": In(1), **axil, **axi_write_members(config.bus),
                          **axi_read_members(config.bus), "irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config, bus = self.config, self.config.bus
        for name in ("sync", "datapath"):
            m.domains += ClockDomain(name, local=True)
            m.d.comb += [ClockSignal(name).eq(self.aclk)]

        m.submodules.registers = registers = self._registers
        m.submodules.counters = counters = Counters()
        m.submodules.read_port = reads = ReadPort(bus, len(read_channels(config)))
        m.submodules.write_port = writes = WritePort(bus, len(write_channels(config)))
        datapath = Datapath(config)
        m.submodules.datapath = DomainRenamer({"sync": "datapath"})(datapath)
        errors = self._errors(m, reads, writes, datapath)
        m.submodules.control = control = JobControl(config, len(errors))
        m.d.comb += [sink.eq(source) for sink, source in zip(control.i_errors, errors)]
        m.d.comb += [ResetSignal("sync").eq(~self.aresetn), ResetSignal("datapath").eq(~self.aresetn | control.o_clear)]
        for unit in (registers, reads, writes):
            for name, member in unit.signature.members.items():
                if name in self.signature.members:
                    outer, inner = getattr(self, name), getattr(unit, name)
                    m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)

        m.d.comb += [
            control.i_start.eq(registers.o_start), control.i_abort.eq(registers.o_abort),
            control.i_reset.eq(registers.o_reset), control.i_watchdog.eq(registers.o_watchdog),
            control.i_job_write.eq(registers.o_job_write), control.i_job_index.eq(registers.o_job_index),
            control.i_job_data.eq(registers.o_job_data), registers.i_job.eq(control.o_job),
            registers.i_busy.eq(control.o_busy), registers.i_soft_reset.eq(control.o_soft_reset),
            registers.i_status_draining.eq(control.o_draining), registers.i_status_done.eq(control.o_done),
            registers.i_status_error.eq(control.o_error), registers.i_status_nan.eq(datapath.o_status[0]),
            registers.i_status_infinity.eq(datapath.o_status[1]),
            registers.i_status_saturated.eq(datapath.o_status[2]), registers.i_cause_code.eq(control.o_cause),
            registers.i_cause_channel.eq(control.o_channel), registers.i_error_address.eq(control.o_address),

            datapath.i_start.eq(control.o_start), datapath.i_pointers.eq(control.o_pointers),
            control.i_advance.eq(datapath.o_advance), datapath.i_fetching.eq(control.o_fetching),
            joined(control.o_row, datapath.i_row), joined(datapath.o_words, control.i),
            control.i_finished.eq(datapath.o_finished), control.i_tiles.eq(datapath.o_tiles),
            control.i_idle.eq(reads.o_idle & writes.o_idle),
            control.i_moved.eq(reads.o_moved | writes.o_moved | datapath.o_moved),

            reads.i_halt.eq(control.o_halt), writes.i_halt.eq(control.o_halt),
            *(joined(source, sink) for source, sink in zip(datapath.o_read_request, reads.i_request)),
            *(joined(source, sink) for source, sink in zip(datapath.o_write_request, writes.i_request)),
            *(joined(source, sink) for source, sink in zip(datapath.o_write_beat, writes.i_beat)),
            datapath.i_read_valid.eq(reads.o_valid), datapath.i_read_beat.eq(reads.o_beat)]
        if config.array is not None:
            m.d.comb += [datapath.i_array.eq(control.o_array), datapath.i_product.eq(control.o_product),
                         datapath.i_transpose.eq(control.o_transpose), datapath.i_rows.eq(control.o_rows)]
        self._oldest(m, control, reads, writes)
        self._count(m, registers, counters, control, reads, writes, datapath)
        return m

    def _errors(self, m, reads, writes, datapath):
        """What may end a run, the first of a cycle first."""
        config, errors = self.config, []

        def error(valid, cause, channel, address=Const(0)):
            item = Signal(error_layout(config), name=f"error{len(errors)}")
            m.d.comb += [item.valid.eq(valid), Value.cast(item.cause).eq(Value.cast(cause)), item.channel.eq(channel),
                         item.address.eq(address)]
            errors.append(item)

        for port, channels, slverr, decerr in (
                (reads, read_channels(config), Cause.READ_SLVERR, Cause.READ_DECERR),
                (writes, write_channels(config), Cause.WRITE_SLVERR, Cause.WRITE_DECERR)):
            number = Array(Const(channel, 4) for channel in channels)[port.o_oldest.channel]
            error(port.o_error, Mux(port.o_response[0], Const(decerr, 4), Const(slverr, 4)), number,
                  port.o_oldest.address)
        error(datapath.o_error, datapath.o_cause, datapath.o_channel, datapath.o_address)
        for number, channel in reversed(list(enumerate(write_channels(config)))):
            error(datapath.o_misframed[number], Const(Cause.FRAMING), channel)
        for bit, cause, channel in ((_REFUSED, Cause.HEADER_REFUSED, Channel.HEADER),
                                    (_MISFRAMED, Cause.HEADER_MISFRAMED, Channel.HEADER),
                                    (_UNEQUAL, Cause.STORED_FRAMING, Channel.STORED)):
            error(datapath.o_status[bit], Const(cause), channel)
        if config.array is not None:
            error(datapath.o_array_misframed, Const(Cause.ARRAY_FRAMING), Channel.ACTIVATION)
        return errors

    def _oldest(self, m, control, reads, writes):
        """The burst to name when memory does not answer."""
        config = self.config
        ports = ((writes, write_channels(config)), (reads, read_channels(config)))
        m.d.comb += control.i_oldest.channel.eq(NO_CHANNEL)
        for port, channels in ports:  # reads go first
            with m.If(~port.o_idle):
                m.d.comb += [control.i_oldest.address.eq(port.o_oldest.address), control.i_oldest.channel.eq(
                    Array(Const(channel, 4) for channel in channels)[port.o_oldest.channel])]

    def _count(self, m, registers, counters, control, reads, writes, datapath):
        """Performance counters."""
        # While draining, an earlier burst of the same tile may have been refused.
        tile_written = comb(m, writes.o_acknowledged & writes.o_end & ~control.o_draining, "tile_written")
        is_result, is_record = (writes.o_oldest.channel == write_channels(self.config).index(channel)
                                for channel in (Channel.RESULT, Channel.RECORD))
        m.d.comb += [
            counters.i_clear.eq(registers.o_start & ~control.o_busy | control.o_soft_reset),
            counters.i_cycles.eq(control.o_busy),
            counters.i_bytes_read.eq(Mux(reads.o_valid.any(), self.config.bus.bytes, 0)),
            counters.i_bytes_written.eq(Mux(writes.o_acknowledged, writes.o_bytes, 0)),
            counters.i_read_wait.eq(reads.o_wait), counters.i_write_wait.eq(writes.o_wait),
            counters.i_input_beats.eq(datapath.o_taken[0]), counters.i_input_stalls.eq(datapath.o_waiting[0]),
            counters.i_output_beats.eq(datapath.o_taken[1]), counters.i_output_stalls.eq(datapath.o_waiting[1]),
            counters.i_jobs.eq(control.o_job_done), counters.i_result_tiles.eq(tile_written & is_result),
            counters.i_record_tiles.eq(tile_written & is_record),
            *(getattr(registers, f"i_{name}").eq(getattr(counters, f"o_{name}")) for name in (*WIDE, *NARROW))]
