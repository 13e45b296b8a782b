"""The engine: core, DMA engine and registers behind AXI ports. Composition only; docs/engine.md."""

from amaranth.hdl import (
    Array,
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    DomainRenamer,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .control import N_STREAMS, NO_CHANNEL, JobControl, error_layout
from .counters import NARROW, WIDE, Counters
from .dma import DescriptorLoader, Midend, ReadChannel, ReadPort, WriteChannel, WritePort
from .dma.layouts import beat_layout, joined, read_beat_layout, request_layout, row_layout, write_beat_layout
from .dma.ports import axi_read_members, axi_write_members
from .engine_config import Cause, Channel
from .registers import RegisterBlock
from .top import Top

__all__ = ["Engine", "Datapath"]

_SMALL = 128
"""Bytes of the longest burst of words: headers, records, descriptors."""
_REFUSED, _MISFRAMED, _UNEQUAL = 3, 4, 5
"""Bits of the core's status."""


def read_channels(config):
    """The readers, those first that go first on the bus: they are small, or wait for each other."""
    stored = [Channel.STORED] if config.core.has_backward else []
    return [Channel.FETCH, Channel.HEADER, *stored, Channel.OPERAND]


WRITE_CHANNELS = [Channel.RECORD, Channel.RESULT]
"""The writers, in the same order."""


class Datapath(wiring.Component):
    """Core and channels: what is reset after an error.

    Members
    -------
    i_start, i_pointers, o_advance, o_error, o_cause, o_channel, o_address : as :class:`.DescriptorLoader`
    i_row, o_words, i_fetching : the fetch channel, for a job instead of a descriptor
    o_finished : per stream, its program has ended and nothing of it is left
    o_tiles : per stream, strobe at the end of a tile
    o_taken, o_waiting : strobes, a beat is handed over, or waits, at the operand and at the result
    o_misframed : strobes, as :class:`.WriteChannel`, of result and record
    o_status : of the core; numeric flags as strobes
    o_moved : a beat is handed over between core and channels
    o_read_request, i_read_valid, i_read_beat : to the read port, in the order of :func:`read_channels`
    o_write_request, o_write_beat : to the write port, in the order of ``WRITE_CHANNELS``
    """

    def __init__(self, config):
        self.config, bus = config, config.bus
        readers = read_channels(config)
        request, row = stream.Signature(request_layout(bus)), stream.Signature(row_layout(bus))
        super().__init__({
            "i_start": In(N_STREAMS),
            "i_pointers": In(data.ArrayLayout(bus.address_width, N_STREAMS)), "o_advance": Out(N_STREAMS),
            "o_error": Out(1), "o_cause": Out(Cause), "o_channel": Out(4), "o_address": Out(bus.address_width),
            "i_row": In(row), "o_words": Out(stream.Signature(beat_layout(4))), "i_fetching": In(1),
            "o_finished": Out(N_STREAMS), "o_tiles": Out(N_STREAMS), "o_taken": Out(2), "o_waiting": Out(2),
            "o_misframed": Out(2), "o_status": Out(6), "o_moved": Out(1),
            "o_read_request": Out(request).array(len(readers)), "i_read_valid": In(len(readers)),
            "i_read_beat": In(read_beat_layout(bus)),
            "o_write_request": Out(request).array(len(WRITE_CHANNELS)),
            "o_write_beat": Out(stream.Signature(write_beat_layout(bus))).array(len(WRITE_CHANNELS))})

    def elaborate(self, platform):
        m = Module()
        config, bus = self.config, self.config.bus
        m.submodules.core = core = Top(config.core, clocked=False)
        m.d.comb += [core.status_clear.eq(1), self.o_status.eq(core.status)]
        small = min(bus.max_burst, max(1, _SMALL // bus.bytes))
        channels = {}
        for channel in Channel:
            if channel is Channel.STORED and not config.core.has_backward:
                continue
            size, words = config.beat_bytes(channel), channel in (Channel.HEADER, Channel.RECORD, Channel.FETCH)
            kind = WriteChannel if channel in WRITE_CHANNELS else ReadChannel
            buffer = bus.write_buffer if kind is WriteChannel else bus.read_buffer
            shape = (small, 2 * small) if words else (bus.max_burst, buffer)
            channels[channel] = kind(bus, size, *shape)
            m.submodules[channel.name.lower()] = channels[channel]
        self._ports(m, channels)
        self._programs(m, channels)
        self._streams(m, core, channels)
        return m

    def _ports(self, m, channels):
        """Channels to the ports of the bus."""
        for number, channel in enumerate(read_channels(self.config)):
            reader = channels[channel]
            m.d.comb += [joined(reader.o_request, self.o_read_request[number]),
                         reader.i_valid.eq(self.i_read_valid[number]), reader.i_beat.eq(self.i_read_beat)]
        for number, channel in enumerate(WRITE_CHANNELS):
            writer = channels[channel]
            m.d.comb += [joined(writer.o_request, self.o_write_request[number]),
                         joined(writer.o, self.o_write_beat[number])]

    def _programs(self, m, channels):
        """Descriptors from memory to the midends, and their rows to the channels."""
        config = self.config
        streams = [channel for channel in Channel if channel in channels and channel is not Channel.FETCH]
        m.submodules.loader = loader = DescriptorLoader(config.bus, [config.beat_bytes(Channel(number))
                                                                     for number in range(N_STREAMS)])
        fetch = channels[Channel.FETCH]
        m.d.comb += [
            loader.i_start.eq(self.i_start), loader.i_pointers.eq(self.i_pointers), self.o_advance.eq(loader.o_advance),
            self.o_error.eq(loader.o_error), self.o_cause.eq(loader.o_cause), self.o_channel.eq(loader.o_channel),
            self.o_address.eq(loader.o_address),
            fetch.i.valid.eq(Mux(self.i_fetching, self.i_row.valid, loader.o_row.valid)),
            fetch.i.payload.eq(Mux(self.i_fetching, self.i_row.payload.as_value(), loader.o_row.payload.as_value())),
            self.i_row.ready.eq(fetch.i.ready & self.i_fetching),
            loader.o_row.ready.eq(fetch.i.ready & ~self.i_fetching),
            self.o_words.valid.eq(fetch.o.valid & self.i_fetching), loader.i.valid.eq(fetch.o.valid & ~self.i_fetching),
            self.o_words.payload.eq(fetch.o.payload), loader.i.payload.eq(fetch.o.payload),
            fetch.o.ready.eq(Mux(self.i_fetching, self.o_words.ready, loader.i.ready))]
        for channel in streams:
            unit = channels[channel]
            m.submodules[f"{channel.name.lower()}_midend"] = midend = Midend(config.bus)
            rows = unit.i_row if channel in WRITE_CHANNELS else unit.i
            m.d.comb += [joined(loader.o[channel], midend.i), joined(midend.o, rows),
                         self.o_finished[channel].eq(~loader.o_active[channel] & ~loader.o[channel].valid
                                                     & midend.o_idle & unit.o_idle)]

    def _streams(self, m, core, channels):
        """Channels to the streams of the core; the bytes of a beat in memory to lanes and exponents."""
        config = self.config.core
        header, operand = channels[Channel.HEADER].o, channels[Channel.OPERAND].o
        result, record = channels[Channel.RESULT].i, channels[Channel.RECORD].i
        m.d.comb += [
            *_to_axis(core, "s_axis_hdr", header), core.s_axis_hdr_tdata.eq(header.payload.data),
            *_to_axis(core, "s_axis", operand), core.s_axis_tdata.eq(operand.payload.data),
            *_from_axis(core, "m_axis_rec", record), record.payload.data.eq(core.m_axis_rec_tdata),
            *_from_axis(core, "m_axis", result),
            result.payload.data.eq(Cat(*stored_bits(config, core.m_axis_tdata, getattr(core, "m_axis_tuser", None))))]
        ends = {Channel.HEADER: header, Channel.OPERAND: operand, Channel.RESULT: result, Channel.RECORD: record}
        if config.has_backward:
            ends[Channel.STORED] = stored = channels[Channel.STORED].o
            bits = stored_bits(config, core.s_axis_y_tdata, getattr(core, "s_axis_y_tuser", None))
            m.d.comb += _to_axis(core, "s_axis_y", stored)
            position = 0
            for part in bits:
                m.d.comb += part.eq(stored.payload.data[position:position + len(part)])
                position += len(part)
        for channel, beats in ends.items():
            m.d.comb += self.o_tiles[channel].eq(beats.valid & beats.ready & beats.payload.last)
        m.d.comb += [
            self.o_moved.eq(Cat(beats.valid & beats.ready for beats in ends.values()).any()),
            self.o_taken.eq(Cat(beats.valid & beats.ready for beats in (operand, result))),
            self.o_waiting.eq(Cat(beats.valid & ~beats.ready for beats in (operand, result))),
            self.o_misframed.eq(Cat(channels[channel].o_misframed for channel in (Channel.RESULT, Channel.RECORD)))]


def _to_axis(core, name, beats):
    return [getattr(core, f"{name}_tvalid").eq(beats.valid), getattr(core, f"{name}_tlast").eq(beats.payload.last),
            beats.ready.eq(getattr(core, f"{name}_tready"))]


def _from_axis(core, name, beats):
    return [beats.valid.eq(getattr(core, f"{name}_tvalid")), beats.payload.last.eq(getattr(core, f"{name}_tlast")),
            getattr(core, f"{name}_tready").eq(beats.ready)]


def stored_bits(config, tdata, tuser):
    """The parts of TDATA and TUSER in the order of a stored beat in memory: block after block, exponent last."""
    width = config.element_width
    if not config.is_block:
        return [tdata[:config.lanes * width]]
    block, exponent = config.storage.group * width, config.storage.exponent_width
    return [part for group in range(config.n_groups)
            for part in (tdata[group * block:(group + 1) * block], tuser[group * exponent:(group + 1) * exponent])]


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
        m.submodules.write_port = writes = WritePort(bus, len(WRITE_CHANNELS))
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

        for port, channels, slverr, decerr in ((reads, read_channels(config), Cause.READ_SLVERR, Cause.READ_DECERR),
                                               (writes, WRITE_CHANNELS, Cause.WRITE_SLVERR, Cause.WRITE_DECERR)):
            number = Array(Const(channel, 4) for channel in channels)[port.o_oldest.channel]
            error(port.o_error, Mux(port.o_response[0], Const(decerr, 4), Const(slverr, 4)), number,
                  port.o_oldest.address)
        error(datapath.o_error, datapath.o_cause, datapath.o_channel, datapath.o_address)
        for number, channel in enumerate((Channel.RESULT, Channel.RECORD)):
            error(datapath.o_misframed[number], Const(Cause.FRAMING), channel)
        for bit, cause, channel in ((_REFUSED, Cause.HEADER_REFUSED, Channel.HEADER),
                                    (_MISFRAMED, Cause.HEADER_MISFRAMED, Channel.HEADER),
                                    (_UNEQUAL, Cause.STORED_FRAMING, Channel.STORED)):
            error(datapath.o_status[bit], Const(cause), channel)
        return errors

    def _oldest(self, m, control, reads, writes):
        """The burst to name when memory does not answer."""
        config = self.config
        ports = ((writes, WRITE_CHANNELS), (reads, read_channels(config)))
        m.d.comb += control.i_oldest.channel.eq(NO_CHANNEL)
        for port, channels in ports:  # reads go first
            with m.If(~port.o_idle):
                m.d.comb += [control.i_oldest.address.eq(port.o_oldest.address), control.i_oldest.channel.eq(
                    Array(Const(channel, 4) for channel in channels)[port.o_oldest.channel])]

    def _count(self, m, registers, counters, control, reads, writes, datapath):
        """Performance counters."""
        # While draining, an earlier burst of the same tile may have been refused.
        tile_written = comb(m, writes.o_acknowledged & writes.o_end & ~control.o_draining, "tile_written")
        is_result = writes.o_oldest.channel == WRITE_CHANNELS.index(Channel.RESULT)
        m.d.comb += [
            counters.i_clear.eq(registers.o_start & ~control.o_busy | control.o_soft_reset),
            counters.i_cycles.eq(control.o_busy),
            counters.i_bytes_read.eq(Mux(reads.o_valid.any(), self.config.bus.bytes, 0)),
            counters.i_bytes_written.eq(Mux(writes.o_acknowledged, writes.o_bytes, 0)),
            counters.i_read_wait.eq(reads.o_wait), counters.i_write_wait.eq(writes.o_wait),
            counters.i_input_beats.eq(datapath.o_taken[0]), counters.i_input_stalls.eq(datapath.o_waiting[0]),
            counters.i_output_beats.eq(datapath.o_taken[1]), counters.i_output_stalls.eq(datapath.o_waiting[1]),
            counters.i_jobs.eq(control.o_job_done), counters.i_result_tiles.eq(tile_written & is_result),
            counters.i_record_tiles.eq(tile_written & ~is_result),
            *(getattr(registers, f"i_{name}").eq(getattr(counters, f"o_{name}")) for name in (*WIDE, *NARROW))]
