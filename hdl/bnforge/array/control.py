"""When rows enter the array, and when results leave it."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from .column import Column, control_layout, load_layout, queue_depth

__all__ = ["WeightControl", "RowControl", "ResultQueue"]


class WeightControl(wiring.Component):
    """Takes the weights of the next pass, a row per cycle, as soon as the present pass has begun.

    Members
    -------
    i_valid, i_last, o_ready : beats of weights; ``last`` ends the block
    i_hold : take nothing
    o_load, o_zero : a weight goes to a row; it is zero, not that of the beat
    o_loaded, o_final : the weights of a pass wait; the pass is the last of its block
    i_swap : strobe, the pass begins
    o_idle : no weight waits
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_valid": In(1), "i_last": In(1), "o_ready": Out(1), "i_hold": In(1), "o_load": Out(load_layout(config)),
            "o_zero": Out(1), "o_loaded": Out(1), "o_final": Out(1), "i_swap": In(1), "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        row = Signal(self.o_load.row.shape())
        loaded = Signal()
        ended = Signal()  # the last beat of the block was taken
        filling = comb(m, ~loaded & ended, "filling")
        m.d.comb += [
            self.o_ready.eq(~loaded & ~ended & ~self.i_hold), self.o_load.row.eq(row), self.o_zero.eq(filling),
            self.o_load.valid.eq(filling | (self.i_valid & self.o_ready)), self.o_loaded.eq(loaded),
            self.o_final.eq(ended), self.o_idle.eq(~loaded & (row == 0))]
        with m.If(self.o_load.valid):
            m.d.sync += [row.eq(row + 1), ended.eq(filling | self.i_last)]
            with m.If(row == self.config.rows - 1):
                m.d.sync += [row.eq(0), loaded.eq(1)]
        with m.If(self.i_swap):
            m.d.sync += [loaded.eq(0), ended.eq(0)]
        return m


class RowControl(wiring.Component):
    """Lets rows into the array, and their sums out of it once the block is complete.

    A row of a later pass waits until its sum of the pass before is written. A row of a first pass waits until the row
    of the block before that is in its place has gone out. Sums go out in cycles in which no row reads its own.

    Members
    -------
    i_valid, i_last, i_end, o_ready : rows, as :class:`.Transposer`
    i_transpose : ``i_end`` must be that of the weights
    i_loaded, i_final, o_swap : of the weights
    o_go : the row enters
    o_control : to the first column, ``Column.control_latency`` cycles after ``o_go``
    i_free, o_emit, o_last : a place in the queue; a result is on its way there, the last one of its block
    o_misframed : sticky; nothing enters any more
    o_idle : no row and no result
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_valid": In(1), "i_last": In(1), "i_end": In(1), "o_ready": Out(1), "i_transpose": In(1),
            "i_loaded": In(1), "i_final": In(1), "o_swap": Out(1), "o_go": Out(1),
            "o_control": Out(control_layout(config)), "i_free": In(1), "o_emit": Out(1), "o_last": Out(1),
            "o_misframed": Out(1), "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        row = Signal(range(config.depth))  # of the pass
        first = Signal(init=1)  # the pass is the first of its block
        # Two blocks are under way at most: one goes out while rows of the next one enter. Of each, its last row.
        block = Signal(2)
        leaving = Signal(2)
        tops = [Signal(range(config.depth), name=f"top{i}", reset_less=True) for i in range(2)]
        known = [Signal(name=f"known{i}") for i in range(2)]
        top = comb(m, Array(tops)[block[0]], "top")
        under_way, ready, sent = (Signal(range(config.depth + 1), name=name) for name in ("under_way", "ready", "sent"))

        begins = comb(m, row == 0, "begins")
        closes = Signal()  # the pass is the last of its block
        was_closing = Signal()
        m.d.comb += closes.eq(Mux(begins, self.i_final, was_closing))
        sends = comb(m, ready.any() & self.i_free, "sends")  # unless a row reads its sum: not in a first pass
        room = comb(m, (leaving == block) | ((leaving + 1)[:2] == block) & (sent + sends > row), "room")
        settled = comb(m, under_way <= top, "settled")
        m.d.comb += [
            self.o_ready.eq(~self.o_misframed & (~begins | self.i_loaded) & Mux(first, room, settled)),
            self.o_go.eq(self.i_valid & self.o_ready), self.o_swap.eq(self.o_go & begins)]
        with m.If(self.o_go):
            m.d.sync += [row.eq(row + 1), was_closing.eq(closes)]
            with m.If(self.i_last):
                m.d.sync += [row.eq(0), first.eq(closes)]
                with m.If(closes):
                    m.d.sync += block.eq(block + 1)
                with m.If(first):
                    for parity in range(2):
                        with m.If(block[0] == parity):
                            m.d.sync += [tops[parity].eq(row), known[parity].eq(1)]
        wrong_length = Mux(first, (row == config.depth - 1) & ~self.i_last, self.i_last ^ (row == top))
        wrong_end = self.i_transpose & (self.i_end ^ closes)
        with m.If(self.o_go & (wrong_length | wrong_end)):
            m.d.sync += self.o_misframed.eq(1)

        written = self._delayed(m, row, closes)
        completed = comb(m, written.valid & written.closes, "completed")
        adds = comb(m, self.o_go & ~first, "adds")
        m.d.comb += [
            self.o_emit.eq(sends & ~adds),
            self.o_last.eq(Array(known)[leaving[0]] & (sent == Array(tops)[leaving[0]]))]
        m.d.sync += [under_way.eq(under_way + self.o_go - written.valid), ready.eq(ready + completed - self.o_emit)]
        with m.If(self.o_emit):
            m.d.sync += sent.eq(sent + 1)
            with m.If(self.o_last):
                m.d.sync += [sent.eq(0), leaving.eq(leaving + 1)]
                for parity in range(2):
                    with m.If(leaving[0] == parity):
                        m.d.sync += known[parity].eq(0)

        control = Signal(control_layout(config))
        m.d.sync += [control.add.eq(adds), control.emit.eq(self.o_emit), control.write.eq(written.valid),
                     control.address.eq(Mux(self.o_emit, sent, row)), control.target.eq(written.row)]
        m.d.comb += [self.o_control.eq(control),
                     self.o_idle.eq(begins & first & ~under_way.any() & (block == leaving))]
        return m

    def _delayed(self, m, row, closes):
        """The row that is written at the time of the next control: ``Column.write_latency`` cycles after it entered."""
        layout = data.StructLayout({"valid": 1, "closes": 1, "row": row.shape()})
        stage = Signal(layout, name="entered")
        m.d.comb += [stage.valid.eq(self.o_go), stage.closes.eq(closes), stage.row.eq(row)]
        for number in range(Column.write_latency(self.config)):
            valid = Signal(name=f"valid_{number}")
            rest = Signal(len(stage.as_value()) - 1, name=f"entered_{number}", reset_less=True)
            m.d.sync += [valid.eq(stage.valid), rest.eq(stage.as_value()[1:])]
            stage = data.View(layout, Cat(valid, rest))
        return stage


class ResultQueue(wiring.Component):
    """Hands results out in order: those that have come to the queue of the last column.

    Members
    -------
    i_emit, i_last : a result is on its way; it ends its block
    o_free : there is a place for one more
    i_arrived : strobe, a result has come to the last column
    o_take, o_address : the result to take from the queues of the columns
    o : the result is there; ``payload``: it is the last of its block
    o_idle : no result
    """

    def __init__(self, config):
        self.config = config
        self.depth = queue_depth(config)
        super().__init__({
            "i_emit": In(1), "i_last": In(1), "o_free": Out(1), "i_arrived": In(1), "o_take": Out(1),
            "o_address": Out(range(self.depth)), "o": Out(stream.Signature(1)), "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        depth = self.depth
        reserved = Signal(range(depth + 1))
        here = Signal(range(depth + 1))
        ends = Signal(depth, reset_less=True)
        place = Signal(range(depth))
        address = Signal(range(depth))
        last = Signal(reset_less=True)
        held = Signal()
        m.d.comb += [
            self.o_free.eq(reserved != depth), self.o_take.eq(here.any() & (~held | self.o.ready)),
            self.o_address.eq(address), self.o.valid.eq(held), self.o.payload.eq(last),
            self.o_idle.eq(~held & ~reserved.any())]
        m.d.sync += [reserved.eq(reserved + self.i_emit - self.o_take),
                     here.eq(here + self.i_arrived - self.o_take)]
        with m.If(self.i_emit):
            m.d.sync += [ends.bit_select(place, 1).eq(self.i_last), place.eq(place + 1)]
        with m.If(self.o_take):
            m.d.sync += [address.eq(address + 1), held.eq(1), last.eq(ends.bit_select(address, 1))]
        with m.Elif(self.o.ready):
            m.d.sync += held.eq(0)
        return m
