"""Backend, read side of a channel: from bursts to the beats of a stream."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from .bursts import BurstSplitter
from .layouts import beat_layout, joined, read_beat_layout, request_layout, row_layout

__all__ = ["ReadChannel", "rotate_bytes"]


def rotate_bytes(m, value, n_bytes, amount, name):
    """``value`` of ``n_bytes`` bytes, a power of two, with byte i moved to place i + ``amount`` modulo ``n_bytes``."""
    for stage in range(n_bytes.bit_length() - 1):
        value = comb(m, Mux(amount[stage], value.rotate_left(8 << stage), value), f"{name}_{stage}", 8 * n_bytes)
    return value


class ReadChannel(wiring.Component):
    """Reads rows, and makes beats of ``beat_bytes`` bytes of them.

    A burst is asked for only when the buffer has room for all of it, so that the port never has to hold an answer
    back. Beats come from the bytes of the rows in their order; a row of less than a beat is filled up with zeros.

    Throughput: one bus beat in per cycle while beats are not longer than a bus beat's time, one beat out per cycle
    while bus beats suffice.

    Parameters
    ----------
    bus : BusConfig
    beat_bytes : int
    max_burst : int
        Beats; a power of two, at most that of the bus.
    buffer : int
        Bus beats, at least ``max_burst``.

    Members
    -------
    i : rows
    o_request : bursts wanted
    i_valid, i_beat : bus beats as they come from memory, in the order of the requests
    o : beats; ``last`` on the last one of a tile
    o_idle : nothing is held or asked for
    """

    def __init__(self, bus, beat_bytes, max_burst, buffer):
        self.bus, self.beat_bytes, self.max_burst, self.buffer = bus, beat_bytes, max_burst, buffer
        super().__init__({
            "i": In(stream.Signature(row_layout(bus))), "o_request": Out(stream.Signature(request_layout(bus))),
            "i_valid": In(1), "i_beat": In(read_beat_layout(bus)),
            "o": Out(stream.Signature(beat_layout(beat_bytes))), "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.submodules.splitter = splitter = BurstSplitter(bus, self.beat_bytes, self.max_burst)
        # A buffered queue of fewer places cannot always take the second of two beats in a row.
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=bus.data_width, depth=max(self.buffer, 4))
        shape = data.StructLayout({"more": 8, "start": bus.offset_width, "stop": bus.offset_width, "pad": 1, "end": 1})
        m.submodules.bursts = bursts = fifo.SyncFIFO(width=shape.size, depth=bus.outstanding)
        burst, queued = splitter.o.payload, Signal(shape)
        m.d.comb += joined(self.i, splitter.i)

        free = Signal(range(self.buffer + 1), init=self.buffer)
        popped = comb(m, beats.r_rdy & beats.r_en, "popped")
        granted = comb(m, self.o_request.valid & self.o_request.ready, "granted")
        m.d.comb += [
            self.o_request.valid.eq(splitter.o.valid & bursts.w_rdy & (free > burst.more)),
            self.o_request.payload.address.eq(burst.address), self.o_request.payload.more.eq(burst.more),
            splitter.o.ready.eq(granted), bursts.w_en.eq(granted), bursts.w_data.eq(queued),
            queued.more.eq(burst.more), queued.start.eq(burst.start), queued.stop.eq(burst.stop),
            queued.pad.eq(burst.short & burst.last), queued.end.eq(burst.end),
            beats.w_en.eq(self.i_valid), beats.w_data.eq(self.i_beat.data)]
        m.d.sync += free.eq(free + popped - Mux(granted, burst.more + 1, 0))
        pending = self._pack(m, beats, bursts, shape)
        m.d.comb += self.o_idle.eq(splitter.o_idle & ~bursts.r_rdy & ~pending)
        return m

    def _pack(self, m, beats, bursts, shape):
        """From bus beats to stream beats; returns whether bytes are held."""
        bus, size = self.bus, self.beat_bytes
        capacity = size + bus.bytes - 1
        burst = data.View(shape, bursts.r_data)
        number = Signal(8)  # of the bus beat in its burst
        held = Signal(8 * capacity)
        last = Signal()
        level = Signal(range(capacity + 1))
        final = comb(m, number == burst.more, "final")
        start = comb(m, Mux(number == 0, burst.start, 0), "start", bus.offset_width)
        stop = comb(m, Mux(final, burst.stop, bus.bytes - 1), "stop", bus.offset_width)

        full = comb(m, level >= size, "full")
        emptied = comb(m, full & self.o.ready, "emptied")
        base = comb(m, Mux(emptied, level - size, level), "base", range(capacity + 1))
        take = comb(m, beats.r_rdy & bursts.r_rdy & (base < size), "take")
        # A byte at place p of the bus beat goes to place base + p - start.
        turned = rotate_bytes(m, beats.r_data, bus.bytes, (base - start)[:bus.offset_width], "turned")
        end = comb(m, base + (stop - start) + 1, "end", range(capacity + 1))
        rest = [(held.word_select(i + size, 8) if i + size < capacity else 0, held.word_select(i, 8))
                for i in range(capacity)]
        for i, (after, before) in enumerate(rest):
            place = i % bus.bytes
            new = Mux(take & (i >= base) & (i < end), turned[8 * place:8 * place + 8], 0)
            m.d.sync += held.word_select(i, 8).eq(Mux(emptied, after, before) | new)
        pad = comb(m, take & final & burst.pad, "pad")
        m.d.sync += level.eq(Mux(pad, size, Mux(take, end, base)))
        # In the last bus beat of a tile all but the last stream beat leave before ``last`` is due.
        with m.If(take):
            m.d.sync += [last.eq(final & burst.end), number.eq(Mux(final, 0, number + 1))]
        m.d.comb += [
            beats.r_en.eq(take), bursts.r_en.eq(take & final), self.o.valid.eq(full),
            self.o.payload.data.eq(held[:8 * size]), self.o.payload.last.eq(last & (level == size))]
        return level != 0
