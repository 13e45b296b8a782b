"""Backend, write side of a channel: from the beats of a stream to bursts with all of their data."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from .bursts import BurstSplitter
from .layouts import beat_layout, joined, request_layout, row_layout, write_beat_layout

__all__ = ["WriteChannel"]

BURSTS = 4
"""Bursts that are planned ahead of the data, and complete bursts that may wait for the port."""


class _Plan(wiring.Component):
    """Bus beats to come, from bursts: where the bytes of each begin and stop, and what it ends."""

    @staticmethod
    def layout(bus):
        return data.StructLayout({"start": bus.offset_width, "stop": bus.offset_width, "row_first": 1, "row_last": 1,
                                  "end": 1, "burst_last": 1, "burst": request_layout(bus)})

    def __init__(self, bus, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(self.layout(bus)))})
        self.bus = bus

    def elaborate(self, platform):
        m = Module()
        number = Signal(8)
        burst, beat = self.i.payload, self.o.payload
        final = comb(m, number == burst.more, "final")
        m.d.comb += [
            self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready & final),
            beat.start.eq(Mux(number == 0, burst.start, 0)), beat.row_first.eq(burst.first & (number == 0)),
            beat.stop.eq(Mux(final, burst.stop, self.bus.bytes - 1)), beat.row_last.eq(burst.last & final),
            beat.end.eq(burst.end), beat.burst_last.eq(final), beat.burst.address.eq(burst.address),
            beat.burst.more.eq(burst.more), beat.burst.end.eq(burst.end)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += number.eq(Mux(final, 0, number + 1))
        return m


class WriteChannel(wiring.Component):
    """Writes the beats of a stream to rows.

    Bytes are collected into bus beats, and a burst is offered once all of its bus beats are in the buffer: what is
    begun on the bus can be finished whatever becomes of the stream. Of the beat of a short row the bytes beyond it are
    left out.

    Throughput: one bus beat per cycle, one stream beat per cycle where bus beats are at least as long.

    Parameters
    ----------
    bus : BusConfig
    beat_bytes : int
    max_burst : int
        Beats; a power of two, at most that of the bus.
    buffer : int
        Bus beats, at least 2 · ``max_burst`` to collect a burst while another leaves.

    Members
    -------
    i_row : rows
    i : beats
    o_request : bursts whose data is complete
    o : their bus beats, in the order of the requests
    o_misframed : strobe, ``last`` came before the end of a tile's rows, or did not come there
    o_idle : nothing is held
    """

    def __init__(self, bus, beat_bytes, max_burst, buffer):
        self.bus, self.beat_bytes, self.max_burst, self.buffer = bus, beat_bytes, max_burst, buffer
        super().__init__({
            "i_row": In(stream.Signature(row_layout(bus))), "i": In(stream.Signature(beat_layout(beat_bytes))),
            "o_request": Out(stream.Signature(request_layout(bus))),
            "o": Out(stream.Signature(write_beat_layout(bus))), "o_misframed": Out(1), "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.submodules.splitter = splitter = BurstSplitter(bus, self.beat_bytes, self.max_burst)
        shape = splitter.o.payload.shape()
        m.submodules.plan = plan = _Plan(bus, shape)
        m.submodules.planned = planned = fifo.SyncFIFO(width=shape.size, depth=BURSTS)
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=write_beat_layout(bus).size, depth=self.buffer)
        m.submodules.complete = complete = fifo.SyncFIFO(width=request_layout(bus).size, depth=BURSTS)
        for source, sink in ((self.i_row, splitter.i), (splitter.o, planned.w_stream), (planned.r_stream, plan.i),
                             (complete.r_stream, self.o_request), (beats.r_stream, self.o)):
            m.d.comb += joined(source, sink)
        pending = self._collect(m, plan.o, beats, complete)
        m.d.comb += self.o_idle.eq(splitter.o_idle & ~planned.r_rdy & ~pending & ~complete.r_rdy & ~beats.r_rdy)
        return m

    def _collect(self, m, plan, beats, complete):
        """From stream beats to bus beats; returns whether a bus beat is begun."""
        bus, size = self.bus, self.beat_bytes
        capacity = size + bus.bytes - 1
        target = Signal(plan.payload.shape(), reset_less=True)  # the bus beat being filled
        wanted = Signal()
        held = Signal(8 * capacity)
        level = Signal(range(capacity + 1))  # where the bytes held stop; they begin at ``target.start``
        last = Signal(reset_less=True)  # of the latest stream beat
        fed = Signal()  # the row has had one

        out = Signal(write_beat_layout(bus))
        ready = comb(m, beats.w_rdy & (complete.w_rdy | ~target.burst_last), "ready")
        emit = comb(m, wanted & (level > target.stop) & ready, "emit")
        load = comb(m, plan.valid & (emit | ~wanted), "load")
        left = comb(m, Mux(emit, Mux(target.row_last, 0, level - bus.bytes), level), "left", level.shape())
        base = comb(m, Mux(load & plan.payload.row_first, plan.payload.start, left), "base", level.shape())
        stop = comb(m, Mux(load, plan.payload.stop, target.stop), "stop")
        insert = comb(m, (load | wanted & ~emit) & (base <= stop), "insert")
        inserted = comb(m, insert & self.i.valid, "inserted")
        m.d.comb += self.i.ready.eq(insert)
        m.d.sync += [level.eq(Mux(inserted, base + size, base)), wanted.eq(load | wanted & ~emit)]
        with m.If(load):
            m.d.sync += target.eq(plan.payload)

        # The beat moves up by ``base``, which is less than a bus beat.
        moved = comb(m, self.i.payload.data << (base[:bus.offset_width] << 3), "moved", 8 * capacity)
        for i in range(capacity):
            after = held.word_select(i + bus.bytes, 8) if i + bus.bytes < capacity else 0
            kept = Mux(emit, Mux(target.row_last, 0, after), held.word_select(i, 8))
            m.d.sync += held.word_select(i, 8).eq(kept | Mux(inserted, moved[8 * i:8 * i + 8], 0))

        strobe = Cat((i >= target.start) & (i <= target.stop) for i in range(bus.bytes))
        m.d.comb += [
            out.data.eq(held[:bus.data_width]), out.strobe.eq(strobe), beats.w_data.eq(out), beats.w_en.eq(emit),
            complete.w_data.eq(target.burst), complete.w_en.eq(emit & target.burst_last),
            plan.ready.eq(emit | ~wanted)]
        with m.If(inserted):
            m.d.sync += [last.eq(self.i.payload.last), fed.eq(1)]
        with m.Elif(emit & target.row_last):
            m.d.sync += fed.eq(0)
        # A row that does not end as its tile does, or that wants more after the last beat of a tile.
        row_ends = comb(m, emit & target.row_last, "row_ends")
        m.d.comb += self.o_misframed.eq(row_ends & (last != target.end) | wanted & fed & last & (level <= target.stop))
        return wanted
