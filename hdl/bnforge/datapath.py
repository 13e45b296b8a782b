"""The datapath of the engine: core, array, and the channels between them and the bus. Composition only."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .array import SystolicArray
from .core import core as core_of
from .dma import DescriptorLoader, Midend, ReadChannel, WriteChannel
from .dma.layouts import beat_layout, joined, read_beat_layout, request_layout, row_layout, write_beat_layout
from .engine_config import Cause, Channel

__all__ = ["Datapath", "read_channels", "write_channels", "N_FLAGS"]

_SMALL = 128
"""Bytes of the longest burst of words: headers, records, descriptors."""
N_FLAGS = 3
"""Bits of the status of core and array that are numeric flags; the rest are errors."""


def read_channels(config):
    """The readers, those first that go first on the bus: they are small, or wait for each other."""
    stored = [Channel.STORED] * config.core.has_backward + [Channel.GRADIENT] * config.has_gradient
    array = [] if config.array is None else [Channel.WEIGHT, Channel.ACTIVATION]
    return [Channel.FETCH, Channel.HEADER, *stored, Channel.OPERAND, *array]


def write_channels(config):
    """The writers, in the same order."""
    return [Channel.RECORD, Channel.RESULT, *([] if config.array is None else [Channel.PRODUCT])]


class Datapath(wiring.Component):
    """Core, array and channels: what is reset after an error.

    Members
    -------
    i_start, i_pointers, o_advance, o_error, o_cause, o_channel, o_address : as :class:`.DescriptorLoader`
    i_row, o_words, i_fetching : the fetch channel, for a job instead of a descriptor
    i_array, i_product, i_transpose, i_rows : with an array, as :class:`.JobControl`
    o_array_misframed : with an array, as :class:`.SystolicArray`
    o_finished : per program, it has ended and nothing of it is left
    o_tiles : per program, strobe at the end of a tile: as it enters the core, as it leaves it; none of the array's
    o_taken, o_waiting : strobes, a beat is handed over, or waits, at the operand and at the result
    o_misframed : strobes, as :class:`.WriteChannel`, in the order of :func:`write_channels`
    o_status : of the core, and the flags of the array; numeric flags as strobes
    o_moved : a beat is handed over between core and channels
    o_read_request, i_read_valid, i_read_beat : to the read port, in the order of :func:`read_channels`
    o_write_request, o_write_beat : to the write port, in the order of :func:`write_channels`
    """

    def __init__(self, config):
        self.config, bus = config, config.bus
        readers, n_writers, n = read_channels(config), len(write_channels(config)), len(config.programs)
        array = {} if config.array is None else {
            "i_array": In(1), "i_product": In(1), "i_rows": In(32), "i_transpose": In(1), "o_array_misframed": Out(1)}
        request, row = stream.Signature(request_layout(bus)), stream.Signature(row_layout(bus))
        super().__init__({
            "i_start": In(n), "i_pointers": In(data.ArrayLayout(bus.address_width, n)), "o_advance": Out(n), **array,
            "o_error": Out(1), "o_cause": Out(Cause), "o_channel": Out(4), "o_address": Out(bus.address_width),
            "i_row": In(row), "o_words": Out(stream.Signature(beat_layout(4))), "i_fetching": In(1),
            "o_finished": Out(n), "o_tiles": Out(n), "o_taken": Out(2), "o_waiting": Out(2),
            "o_misframed": Out(n_writers), "o_status": Out(6), "o_moved": Out(1),
            "o_read_request": Out(request).array(len(readers)), "i_read_valid": In(len(readers)),
            "i_read_beat": In(read_beat_layout(bus)),
            "o_write_request": Out(request).array(n_writers),
            "o_write_beat": Out(stream.Signature(write_beat_layout(bus))).array(n_writers)})

    def elaborate(self, platform):
        m = Module()
        config, bus = self.config, self.config.bus
        m.submodules.core = core = core_of(config.core, clocked=False)
        m.d.comb += core.status_clear.eq(1)
        small = min(bus.max_burst, max(1, _SMALL // bus.bytes))
        channels = {}
        for channel in (*read_channels(config), *write_channels(config)):
            size, words = config.beat_bytes(channel), channel in (Channel.HEADER, Channel.RECORD, Channel.FETCH)
            kind = WriteChannel if channel in write_channels(config) else ReadChannel
            buffer = bus.write_buffer if kind is WriteChannel else bus.read_buffer
            shape = (small, 2 * small) if words else (bus.max_burst, buffer)
            channels[channel] = kind(bus, size, *shape)
            m.submodules[channel.name.lower()] = channels[channel]
        self._ports(m, channels)
        operand, idle, status = channels[Channel.OPERAND].o, {}, core.status
        if config.array is not None:
            m.submodules.array = array = SystolicArray(config.array)
            operand = self._array(m, array, channels)
            idle = {Channel.ACTIVATION: array.o_idle}
            status = Cat(core.status[:N_FLAGS] | array.o_flags.as_value(), core.status[N_FLAGS:])
        m.d.comb += self.o_status.eq(status)
        self._programs(m, channels, idle)
        self._streams(m, core, channels, operand)
        return m

    def _ports(self, m, channels):
        """Channels to the ports of the bus."""
        for number, channel in enumerate(read_channels(self.config)):
            reader = channels[channel]
            m.d.comb += [joined(reader.o_request, self.o_read_request[number]),
                         reader.i_valid.eq(self.i_read_valid[number]), reader.i_beat.eq(self.i_read_beat)]
        for number, channel in enumerate(write_channels(self.config)):
            writer = channels[channel]
            m.d.comb += [joined(writer.o_request, self.o_write_request[number]),
                         joined(writer.o, self.o_write_beat[number]), self.o_misframed[number].eq(writer.o_misframed)]

    def _programs(self, m, channels, idle):
        """Descriptors from memory to the midends, and their rows to the channels; ``idle``: what else must be empty
        before a channel has finished."""
        config = self.config
        m.submodules.loader = loader = DescriptorLoader(config.bus, [config.beat_bytes(channel)
                                                                     for channel in config.programs])
        fetch = channels[Channel.FETCH]
        m.d.comb += [
            loader.i_start.eq(self.i_start), loader.i_pointers.eq(self.i_pointers), self.o_advance.eq(loader.o_advance),
            self.o_error.eq(loader.o_error), self.o_cause.eq(loader.o_cause),
            self.o_channel.eq(Array(Const(channel, 4) for channel in config.programs)[loader.o_channel]),
            self.o_address.eq(loader.o_address),
            fetch.i.valid.eq(Mux(self.i_fetching, self.i_row.valid, loader.o_row.valid)),
            fetch.i.payload.eq(Mux(self.i_fetching, self.i_row.payload.as_value(), loader.o_row.payload.as_value())),
            self.i_row.ready.eq(fetch.i.ready & self.i_fetching),
            loader.o_row.ready.eq(fetch.i.ready & ~self.i_fetching),
            self.o_words.valid.eq(fetch.o.valid & self.i_fetching), loader.i.valid.eq(fetch.o.valid & ~self.i_fetching),
            self.o_words.payload.eq(fetch.o.payload), loader.i.payload.eq(fetch.o.payload),
            fetch.o.ready.eq(Mux(self.i_fetching, self.o_words.ready, loader.i.ready))]
        for number, channel in enumerate(config.programs):
            if channel not in channels:
                continue
            unit = channels[channel]
            m.submodules[f"{channel.name.lower()}_midend"] = midend = Midend(config.bus)
            rows = unit.i_row if channel in write_channels(config) else unit.i
            m.d.comb += [joined(loader.o[number], midend.i), joined(midend.o, rows),
                         self.o_finished[number].eq(~loader.o_active[number] & ~loader.o[number].valid & midend.o_idle
                                                    & unit.o_idle & idle.get(channel, 1))]

    def _array(self, m, array, channels):
        """Channels to the streams of the array, and its results to the product or the core: returns the core's
        operand."""
        config, operand = self.config.core, channels[Channel.OPERAND].o
        product, source = channels[Channel.PRODUCT].i, array.o
        for channel, port in ((Channel.ACTIVATION, array.i_a), (Channel.WEIGHT, array.i_w)):
            beats, target = channels[channel].o, port.payload
            exponents = target.exponents.as_value() if config.is_block else None
            m.d.comb += [port.valid.eq(beats.valid), beats.ready.eq(port.ready), target.last.eq(beats.payload.last),
                         Cat(*stored_bits(config, target.elements.as_value(), exponents)).eq(beats.payload.data)]
        if self.config.array.transposes:
            m.d.comb += array.i_transpose.eq(self.i_transpose)

        row = Signal(32)  # of the tile
        codes, last = source.payload.codes.as_value(), comb(m, row == self.i_rows - 1, "last_row")
        with m.If(source.valid & source.ready):
            m.d.sync += row.eq(Mux(last, 0, row + 1))
        fused = comb(m, self.i_array & ~self.i_product, "fused")
        entering = stream.Signature(operand.payload.shape()).create(path=("entering",))
        m.d.comb += [
            product.valid.eq(source.valid & ~fused), product.payload.data.eq(codes), product.payload.last.eq(last),
            source.ready.eq(Mux(fused, entering.ready, product.ready)),
            entering.valid.eq(Mux(fused, source.valid, operand.valid)),
            entering.payload.eq(Mux(fused, Cat(codes | Const(0, len(operand.payload.data)), last),
                                    operand.payload.as_value())),
            operand.ready.eq(entering.ready & ~fused), self.o_array_misframed.eq(array.o_misframed)]
        return entering

    def _streams(self, m, core, channels, operand):
        """Channels to the streams of the core; the bytes of a beat in memory to lanes and exponents."""
        config = self.config.core
        header = channels[Channel.HEADER].o
        result, record = channels[Channel.RESULT].i, channels[Channel.RECORD].i
        m.d.comb += [
            *_to_axis(core, "s_axis_hdr", header), core.s_axis_hdr_tdata.eq(header.payload.data),
            *_to_axis(core, "s_axis", operand), core.s_axis_tdata.eq(operand.payload.data),
            *_from_axis(core, "m_axis_rec", record), record.payload.data.eq(core.m_axis_rec_tdata),
            *_from_axis(core, "m_axis", result),
            result.payload.data.eq(Cat(*stored_bits(config, core.m_axis_tdata, getattr(core, "m_axis_tuser", None))))]
        ends = {Channel.HEADER: header, Channel.OPERAND: operand, Channel.RESULT: result, Channel.RECORD: record}
        for channel, port in ((Channel.STORED, "s_axis_y"), (Channel.GRADIENT, "s_axis_g")):
            if channel in channels:
                ends[channel] = stored = channels[channel].o
                bits = stored_bits(config, getattr(core, f"{port}_tdata"), getattr(core, f"{port}_tuser", None))
                m.d.comb += [*_to_axis(core, port, stored), Cat(*bits).eq(stored.payload.data)]
        for channel, beats in ends.items():
            number = self.config.programs.index(channel)
            m.d.comb += self.o_tiles[number].eq(beats.valid & beats.ready & beats.payload.last)
        others = [] if self.config.array is None else [
            beats.valid & beats.ready for beats in (
                channels[Channel.ACTIVATION].o, channels[Channel.WEIGHT].o, channels[Channel.PRODUCT].i)]
        m.d.comb += [
            self.o_moved.eq(Cat([beats.valid & beats.ready for beats in ends.values()] + others).any()),
            self.o_taken.eq(Cat(beats.valid & beats.ready for beats in (operand, result))),
            self.o_waiting.eq(Cat(beats.valid & ~beats.ready for beats in (operand, result)))]


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
