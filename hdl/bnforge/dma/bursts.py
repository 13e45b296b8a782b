"""Backend, first step: rows cut into AXI bursts."""

from amaranth.hdl import Module, Mux, Signal
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
        held = Signal()
        address = Signal(bus.address_width - offset, reset_less=True)
        left = Signal(LENGTH_WIDTH + 1, reset_less=True)  # bytes from the start of the beat at ``address`` on
        start = Signal(offset, reset_less=True)
        first = Signal(reset_less=True)
        short = Signal(reset_less=True)
        end = Signal(reset_less=True)

        beats_left = comb(m, (left + (bus.bytes - 1))[offset:], "beats_left")
        place = address[:longest.bit_length() - 1] if longest > 1 else 0
        room = comb(m, longest - place, "room", range(longest + 1))
        last = comb(m, beats_left <= room, "last")
        beats = comb(m, Mux(last, beats_left, room), "beats", range(longest + 1))
        burst, row = self.o.payload, self.i.payload
        m.d.comb += [
            self.o.valid.eq(held), self.o_idle.eq(~held), self.i.ready.eq(~held | self.o.ready & last),
            burst.address.eq(address), burst.more.eq((beats - 1)[:longest.bit_length() - 1]), burst.start.eq(start),
            burst.stop.eq(Mux(last, left[:offset] - 1, bus.bytes - 1)), burst.first.eq(first), burst.last.eq(last),
            burst.short.eq(short), burst.end.eq(end & last)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(1), address.eq(row.address[offset:]), start.eq(row.address[:offset]), first.eq(1),
                         left.eq(row.length + row.address[:offset]), short.eq(row.length < self.beat_bytes),
                         end.eq(row.end)]
        with m.Elif(self.o.ready & held):
            m.d.sync += [held.eq(~last), address.eq(address + room), left.eq(left - (room << offset)), start.eq(0),
                         first.eq(0)]
        return m
