"""Extrema of each chunk of the sample, with their positions. The sum is in :mod:`bnforge.accumulator`."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb

__all__ = ["ExtremaLane", "extrema_layout", "key_of", "code_of"]


def extrema_layout(config):
    """Extrema of a chunk, as ordered keys, with their positions."""
    return data.StructLayout({"max": config.x_format.width, "min": config.x_format.width,
                              "argmax": config.position_width, "argmin": config.position_width})


def key_of(code):
    """Unsigned integer that orders as the value of a sanitised code."""
    return Cat(code[:-1] ^ code[-1].replicate(len(code) - 1), ~code[-1])


def code_of(key):
    """Inverse of :func:`key_of`."""
    return Cat(key[:-1] ^ (~key[-1]).replicate(len(key) - 1), ~key[-1])


class ExtremaLane(wiring.Component):
    """Maximum and minimum of each chunk of one channel, with their positions.

    Takes an element in every cycle with ``i_valid`` high and never stalls. ``i_chunk_end`` copies the extrema of the
    chunk, that element included, to a snapshot. The snapshots of all lanes form a shift chain that moves in every
    cycle, and that the range unit reads from lane 0.

    Latency: a snapshot can be read 2 cycles after ``i_chunk_end``.

    Members
    -------
    i_valid : an element of the sample is present
    i_code : its sanitised code
    i_position : its position in the chunk
    i_chunk_first, i_chunk_end : it is the first or last of its chunk
    i_chain : snapshot of the next lane
    o_extrema : snapshot of this lane
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_valid": In(1), "i_code": In(config.x_format.width), "i_position": In(config.position_width),
            "i_chunk_first": In(1), "i_chunk_end": In(1), "i_chain": In(extrema_layout(config)),
            "o_extrema": Out(extrema_layout(config))})

    def elaborate(self, platform):
        m = Module()
        best = Signal(extrema_layout(self.config), reset_less=True)
        snapshot = Signal(extrema_layout(self.config), reset_less=True)
        chunk_end = Signal()
        key = comb(m, key_of(self.i_code), "key")
        for extremum, position, beats in (("max", "argmax", key > best.max), ("min", "argmin", key < best.min)):
            # A strict comparison: of equal elements the first wins.
            with m.If(self.i_valid & (self.i_chunk_first | beats)):
                m.d.sync += [best[extremum].eq(key), best[position].eq(self.i_position)]
        m.d.sync += [chunk_end.eq(self.i_chunk_end), snapshot.eq(Mux(chunk_end, best, self.i_chain))]
        m.d.comb += self.o_extrema.eq(snapshot)
        return m
