"""Performance counters of the engine."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Counters", "WIDE", "NARROW"]

WIDE = ("cycles", "bytes_read", "bytes_written")
"""Counters of 64 bits, of which those above ``_WIDE_WIDTH`` read 0."""
NARROW = ("read_wait", "write_wait", "input_beats", "input_stalls", "output_beats", "output_stalls", "jobs",
          "result_tiles", "record_tiles")
"""Counters of 32 bits; they wrap."""
_WIDE_WIDTH = 48


class Counters(wiring.Component):
    """Counters that a start sets to 0.

    Members
    -------
    i_clear : strobe
    i_<name> : what to add in this cycle: 1 bit, or bytes
    o_<name> : the count
    """

    def __init__(self):
        widths = {"bytes_read": 7, "bytes_written": 13}
        super().__init__({"i_clear": In(1), **{f"i_{name}": In(widths.get(name, 1)) for name in (*WIDE, *NARROW)},
                          **{f"o_{name}": Out(64) for name in WIDE}, **{f"o_{name}": Out(32) for name in NARROW}})

    def elaborate(self, platform):
        m = Module()
        for name in (*WIDE, *NARROW):
            count = Signal(_WIDE_WIDTH if name in WIDE else 32, name=name)
            m.d.comb += getattr(self, f"o_{name}").eq(count)
            m.d.sync += count.eq(Mux(self.i_clear, 0, count + getattr(self, f"i_{name}")))
        return m
