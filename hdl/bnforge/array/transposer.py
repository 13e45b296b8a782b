"""Transposes squares of operands on their way to the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb

__all__ = ["Transposer", "row_layout"]


def row_layout(config):
    """A row of operands, the end of its pass, and the end of its block where the rows themselves say it."""
    return data.StructLayout({"codes": data.ArrayLayout(config.operand.width, config.rows), "last": 1, "end": 1})


class Transposer(wiring.Component):
    """Passes rows on, or the columns of each ``rows`` of them.

    One square of cells: a square comes in row by row from the top while the one before leaves by the bottom, the next
    one column by column from the left, and so on in turn. What is missing of the last square of a block is zero.

    Throughput: one row per cycle; between blocks ``rows`` cycles, in which the last square leaves alone. Latency: 0
    when passing on, else ``rows`` cycles.

    Members
    -------
    i_transpose : changes only while ``o_idle``
    i : rows; ``last`` ends the pass, or, transposed, the block; ``end`` is not looked at
    o : rows; transposed, ``last`` is on the last row of each square, and ``end`` on all of a block's last square
    o_idle : nothing is held
    """

    def __init__(self, config):
        self.config = config
        rows = stream.Signature(row_layout(config))
        super().__init__({"i_transpose": In(1), "i": In(rows), "o": Out(rows), "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        n = self.config.rows
        cells = [[Signal(self.config.operand.width, name=f"cell{i}_{j}", reset_less=True) for j in range(n)]
                 for i in range(n)]
        count = Signal(range(max(2, n)))
        sideways = Signal()
        held = Signal()
        held_end = Signal()
        filling = Signal()

        alone = comb(m, held & held_end, "alone")  # the last square of a block leaves, none comes
        coming = comb(m, ~alone & (self.i.valid | filling), "coming")
        leaving = comb(m, held & (alone | coming), "leaving")
        step = comb(m, self.i_transpose & Mux(held, leaving & self.o.ready, coming), "step")
        wraps = comb(m, count == n - 1, "wraps")
        ends = comb(m, filling | self.i.payload.last, "ends")
        row = [comb(m, code & (~filling).replicate(len(code)), f"new{i}")
               for i, code in enumerate(self.i.payload.codes[i] for i in range(n))]
        with m.If(step):
            m.d.sync += count.eq(Mux(wraps, 0, count + 1))
            for i in range(n):
                for j in range(n):
                    down = row[n - 1 - j] if i == 0 else cells[i - 1][j]
                    right = row[n - 1 - i] if j == 0 else cells[i][j - 1]
                    m.d.sync += cells[i][j].eq(Mux(sideways, right, down))
            with m.If(wraps):
                m.d.sync += [sideways.eq(~sideways), held.eq(~alone), held_end.eq(ends), filling.eq(0)]
            with m.Elif(coming):
                m.d.sync += filling.eq(ends)

        m.d.comb += [
            self.o.valid.eq(Mux(self.i_transpose, leaving, self.i.valid)),
            self.o.payload.last.eq(Mux(self.i_transpose, wraps, self.i.payload.last)),
            self.o.payload.end.eq(held_end),
            self.i.ready.eq(Mux(self.i_transpose, ~alone & ~filling & (~held | self.o.ready), self.o.ready)),
            self.o_idle.eq(~held & (count == 0))]
        for p in range(n):
            square = Mux(sideways, cells[n - 1 - p][n - 1], cells[n - 1][n - 1 - p])
            m.d.comb += self.o.payload.codes[p].eq(Mux(self.i_transpose, square, self.i.payload.codes[p]))
        return m
