"""Midend: from transfer descriptors to rows."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..engine_config import COUNT_WIDTH, DESCRIPTOR_WORDS, DIMENSIONS
from .layouts import LENGTH_WIDTH, row_layout

__all__ = ["Midend"]

_ADDRESS, _STRIDE, _COUNT, _INDEX = range(4)
"""What the memory keeps of an outer dimension."""


class Midend(wiring.Component):
    """The rows that a transfer descriptor stands for (docs/engine.md), the first dimension running fastest.

    Row (i1, i2, i3) begins at address + Σ ik·sk. The innermost dimension is in registers; of the others a small memory
    keeps the address where they stand, stride, count and index. Each time the innermost dimension has ended, the next
    one outside of it that has not makes a step.

    Latency: ``latency`` cycles from taking the first word of a descriptor to its first row, when words come every
    cycle; then one row per cycle, but ``step_cycles`` more where the second dimension makes a step, and two more where
    the third does. Nothing is checked here: descriptors come through :class:`.DescriptorLoader`.

    Members
    -------
    i : words of descriptors
    o : rows
    o_idle : between descriptors
    """

    step_cycles = 5
    latency = DESCRIPTOR_WORDS + 4

    def __init__(self, bus):
        self.bus = bus
        super().__init__({"i": In(stream.Signature(32)), "o": Out(stream.Signature(row_layout(bus))), "o_idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        width = self.bus.address_width
        m.submodules.outer = outer = memory.Memory(shape=width, depth=8, init=[])
        read, write = outer.read_port(domain="comb"), outer.write_port()

        word = Signal(range(DESCRIPTOR_WORDS))
        address = Signal(width, reset_less=True)
        length = Signal(LENGTH_WIDTH, reset_less=True)
        stride = Signal(min(width, 32), reset_less=True)
        end = Signal(reset_less=True)
        count = Signal(COUNT_WIDTH, reset_less=True)
        index = Signal(COUNT_WIDTH, reset_less=True)
        # Of the second and the third dimension: whether it is at its end, and whether it has one place only.
        last = Signal(2, reset_less=True)
        alone = Signal(2, reset_less=True)
        third = Signal(reset_less=True)  # the dimension that makes a step is the third, not the second

        base = Signal(width)
        step = Signal(signed(width))
        total = comb(m, (base + step)[:width], "total")
        done = comb(m, index == count, "done")
        m.d.comb += [
            base.eq(address), step.eq(stride.as_signed()), self.o.payload.address.eq(address),
            self.o.payload.length.eq(length), self.o.payload.end.eq(end & done & last.all())]

        def store(what, of, value):
            m.d.comb += [write.en.eq(1), write.addr.eq(Cat(Const(what, 2), of)), write.data.eq(value)]

        def look(what):
            m.d.comb += read.addr.eq(Cat(Const(what, 2), third))

        with m.FSM():
            with m.State("LOAD"):
                m.d.comb += [self.i.ready.eq(1), self.o_idle.eq(word == 0)]
                with m.If(self.i.valid):
                    m.d.sync += word.eq(word + 1)
                    with m.If(word == DESCRIPTOR_WORDS - 1):
                        m.d.sync += word.eq(0)
                        m.next = "FIRST0"
                    self._load(m, word, store, address, length, end, count, stride, alone)
                m.d.sync += index.eq(1)
            for number, (what, value) in enumerate(((_ADDRESS, address), (_INDEX, 1))):
                for dimension in range(2):
                    with m.State(f"FIRST{2 * number + dimension}"):
                        store(what, Const(dimension, 1), value)
                        m.d.sync += last.eq(alone)
                        m.next = f"FIRST{2 * number + dimension + 1}" if number + dimension < 2 else "ROWS"
            with m.State("ROWS"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [index.eq(Mux(done, 1, index + 1)), third.eq(last[0])]
                    with m.If(~done):
                        m.d.sync += address.eq(total)
                    with m.Elif(last.all()):
                        m.next = "LOAD"
                    with m.Else():
                        m.next = "COUNT"
            with m.State("COUNT"):  # the next index
                look(_INDEX)
                m.d.comb += [base.eq(read.data), step.eq(1)]
                m.d.sync += address.eq(total)
                m.next = "COMPARE"
            with m.State("COMPARE"):
                look(_COUNT)
                store(_INDEX, third, address)
                m.d.sync += last.bit_select(third, 1).eq(address[:COUNT_WIDTH] == read.data[:COUNT_WIDTH])
                m.next = "FETCH"
            with m.State("FETCH"):  # where the dimension stands
                look(_ADDRESS)
                m.d.sync += address.eq(read.data)
                m.next = "STEP"
            with m.State("STEP"):
                look(_STRIDE)
                m.d.comb += step.eq(read.data.as_signed())
                m.d.sync += address.eq(total)
                m.next = "KEEP"
            with m.State("KEEP"):
                store(_ADDRESS, third, address)
                m.next = "ROWS"
                with m.If(third):  # the second dimension starts again from there
                    m.next = "AGAIN0"
            with m.State("AGAIN0"):
                store(_ADDRESS, Const(0, 1), address)
                m.next = "AGAIN1"
            with m.State("AGAIN1"):
                store(_INDEX, Const(0, 1), 1)
                m.d.sync += last[0].eq(alone[0])
                m.next = "ROWS"
        return m

    def _load(self, m, word, store, address, length, end, count, stride, alone):
        """A word of a descriptor, to where it is kept."""
        value = self.i.payload
        with m.Switch(word):
            with m.Case(0):
                m.d.sync += address[:32].eq(value)
            if len(address) > 32:
                with m.Case(1):
                    m.d.sync += address[32:].eq(value)
            with m.Case(2):
                m.d.sync += length.eq(value)
            with m.Case(3):
                m.d.sync += end.eq(value[1])
            with m.Case(4):
                m.d.sync += count.eq(value)
            with m.Case(5):
                m.d.sync += stride.eq(value)
            for dimension in range(DIMENSIONS - 1):
                with m.Case(6 + 2 * dimension):
                    store(_COUNT, Const(dimension, 1), value)
                    m.d.sync += alone[dimension].eq(value == 1)
                with m.Case(7 + 2 * dimension):
                    store(_STRIDE, Const(dimension, 1), value.as_signed())
