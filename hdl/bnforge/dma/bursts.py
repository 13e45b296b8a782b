"""Backend, first step: rows cut into AXI bursts."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from .layouts import LENGTH_WIDTH, burst_layout, row_layout

__all__ = ["BurstSplitter"]


class BurstSplitter(wiring.Component):
    """Cuts rows at every multiple of the longest burst.

    Bursts of at most ``max_burst`` beats that cross no multiple of their own longest size cross no 4 KiB boundary
    either (AMBA AXI, A3.4.1), since that size is a power of two and at most 4096 bytes.

    Latency: ``latency`` cycles from a row to its first burst; then one burst per cycle, rows without a gap.

    Parameters
    ----------
    bus : BusConfig
    beat_bytes : int
        Bytes of a beat of the channel's stream: rows below it are short.
    max_burst : int
        Beats; a power of two, at most that of the bus.

    Members
    -------
    i : rows
    o : bursts
    o_idle : no row is held
    """

    latency = 1

    def __init__(self, bus, beat_bytes, max_burst):
        self.bus, self.beat_bytes, self.max_burst = bus, beat_bytes, max_burst
        super().__init__({"i": In(stream.Signature(row_layout(bus))), "o": Out(stream.Signature(burst_layout(bus))),
                          "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bus, offset, longest = self.bus, self.bus.offset_width, self.max_burst
        place_width = longest.bit_length() - 1
        held = Signal()  # all that is offered comes from registers, because whether it is granted takes long to say
        address = Signal(bus.address_width - offset, reset_less=True)
        beats_more = Signal(LENGTH_WIDTH + 1 - offset, reset_less=True)  # of the row, behind the one at ``address``
        more = Signal(place_width, reset_less=True)
        last = Signal(reset_less=True)
        start = Signal(offset, reset_less=True)
        stop = Signal(offset, reset_less=True)
        first = Signal(reset_less=True)
        short = Signal(reset_less=True)
        end = Signal(reset_less=True)

        burst, row = self.o.payload, self.i.payload
        m.d.comb += [
            self.o.valid.eq(held), self.o_idle.eq(~held), self.i.ready.eq(~held | self.o.ready & last),
            burst.address.eq(address), burst.more.eq(more), burst.start.eq(start),
            burst.stop.eq(Mux(last, stop, bus.bytes - 1)), burst.first.eq(first), burst.last.eq(last),
            burst.short.eq(short), burst.end.eq(end & last)]

        def cut(name, behind, place):
            """The burst from a place on, counted from a multiple of the longest, with beats of the row behind."""
            fits = behind[:place_width] + place < longest if isinstance(place, Value) else 1
            ends = comb(m, (behind[place_width:] == 0) & fits, f"{name}_ends")
            return [beats_more.eq(behind), last.eq(ends), more.eq(Mux(ends, behind, ~place))]

        last_byte = comb(m, row.length + row.address[:offset] - 1, "last_byte", len(beats_more) + offset)
        row_place = row.address[offset:offset + place_width]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(1), address.eq(row.address[offset:]), start.eq(row.address[:offset]), first.eq(1),
                         stop.eq(last_byte), short.eq(row.length < self.beat_bytes), end.eq(row.end),
                         *cut("row", last_byte[offset:], row_place)]
        with m.Elif(self.o.ready & held):
            m.d.sync += [held.eq(~last), address.eq(address + more + 1), start.eq(0), first.eq(0),
                         *cut("rest", comb(m, (beats_more - more - 1)[:len(beats_more)], "rest"), 0)]
        return m
