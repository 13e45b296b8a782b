"""The serial unit of the baselines: from the sums of a sweep to the numbers of its records, lane after lane."""

import functools
import operator
from types import SimpleNamespace

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..config import CHANNEL_CHUNKS, COUNT_WIDTH, Algorithm
from ..formats import FP32, WORKING
from ..ranges import range_sum_layout
from ..streams import lane_width
from ..totals import total_layout
from .programs import INDEX_WIDTH, LEAST_SCALE_LOG2, Op, Programs, Source
from .serial_float import NUMBER, SIG_WIDTH, SerialFloat
from .words import Sweep

__all__ = ["SerialUnit"]

_WHOLE = {Source.FIRST, Source.SECOND, Source.RANGE}
"""Sources whose exponent is that of the top bit."""


class SerialUnit(wiring.Component):
    """The constants of all enabled lanes of a tile (docs/baselines.md, "Constants"), by the programs of
    :mod:`.programs`.

    A program runs once per enabled lane, after a prologue for 1/n and 1/K. Instructions follow each other without
    overlap: read, operate, keep.

    Latency: at most ``longest(sweep, n_enabled)`` cycles from ``i_start`` to ``o_done``.

    Parameters
    ----------
    config : Config
        Of a baseline.

    Members
    -------
    i_start : strobe; the inputs of the tile hold from it on until ``o_done``
    i_sweep, i_n, i_eps, i_mask, i_c, i_n_chunks : the tile; eps and C as codes of the working format; the last two with
        range statistics only
    o_busy, o_done : a tile is being served; strobe, after the last write
    o_param_lane, o_param_word, i_param : reading P words, narrowed, as codes of the working format (memory latency 1)
    o_total_lane, o_total_product, i_total : reading first and second sums (memory latency 1)
    o_range_lane, i_range : reading sums of ranges (memory latency 1); range statistics only
    o_write, o_write_lane, o_write_word, o_write_data : a word of a record, an fp32 code
    o_saturated : strobe
    """

    def __init__(self, config):
        self.config = config
        self.programs = Programs(config)
        self.select = {source: place for place, source in enumerate(sorted(self.programs.sources))}
        """The bit of an instruction that chooses a source."""
        self._instruction = data.StructLayout({
            "op": Op, "select": len(self.select), "index": INDEX_WIDTH, "negative": 1, "stores": 1,
            "target": INDEX_WIDTH})
        width, code = lane_width(config), WORKING.width
        ports = {
            "i_start": In(1), "i_sweep": In(Sweep), "i_n": In(COUNT_WIDTH), "i_eps": In(code),
            "i_mask": In(config.lanes), "o_busy": Out(1), "o_done": Out(1),
            "o_param_lane": Out(width), "o_param_word": Out(INDEX_WIDTH), "i_param": In(code),
            "o_total_lane": Out(width), "o_total_product": Out(1), "i_total": In(total_layout(config)),
            "o_write": Out(1), "o_write_lane": Out(width), "o_write_word": Out(INDEX_WIDTH),
            "o_write_data": Out(FP32.width), "o_saturated": Out(1)}
        if config.algorithm is Algorithm.RANGE:
            ports |= {"i_c": In(code), "i_n_chunks": In(range(CHANNEL_CHUNKS + 1)),
                      "o_range_lane": Out(width), "i_range": In(range_sum_layout(config))}
        super().__init__(ports)

    def longest(self, sweep, n_enabled):
        """Cycles from ``i_start`` to ``o_done`` at most."""
        def cycles(address):
            zeros = {Source.COUNT: COUNT_WIDTH - 1, Source.CHUNKS: 3}
            return sum(SerialFloat.longest(step.op, zeros.get(step.source, 0))
                       for step in self.programs.part(address))

        return (4 + cycles(0)) + n_enabled * (2 + cycles(self.programs.starts[sweep])) + self.config.lanes

    def elaborate(self, platform):
        m = Module()
        m.submodules.float = unit = SerialFloat(self.config, self.programs.ops)
        step = Signal(self._instruction, reset_less=True)
        lane = Signal(range(self.config.lanes + 1), reset_less=True)
        self._control(m, unit, step, lane)
        self._operand(m, unit, step)
        m.d.comb += [
            unit.i_op.eq(step.op), unit.i_format.eq(step.select), self.o_saturated.eq(unit.o_saturated),
            self.o_param_lane.eq(lane), self.o_param_word.eq(step.index),
            self.o_total_lane.eq(lane), self.o_total_product.eq(self._chosen(step, Source.SECOND)),
            self.o_write.eq(unit.o_done & unit.o_rounded), self.o_write_lane.eq(lane),
            self.o_write_word.eq(step.index), self.o_write_data.eq(unit.o_code)]
        if Source.RANGE in self.select:
            m.d.comb += self.o_range_lane.eq(lane)
        return m

    def _encoded(self, instruction):
        """An instruction as a constant; the place of a source, or of the format of a rounding, is a bit of its own."""
        rounds = instruction.op is Op.ROUND
        place = int(instruction.source) if rounds else self.select.get(instruction.source)
        return self._instruction.const({
            "op": instruction.op, "select": 1 << place, "index": instruction.index,
            "negative": int(instruction.negative), "stores": int(instruction.target is not None),
            "target": instruction.target or 0}).as_value()

    def _control(self, m, unit, step, lane):
        """Fetches and runs instructions; at an end looks for the next enabled lane."""
        address = Signal(range(len(self.programs.code)), reset_less=True)
        code = Array(self._encoded(instruction) for instruction in self.programs.code)
        fetched = comb(m, code[address], "fetched", self._instruction)
        start = Signal.like(address)
        with m.Switch(self.i_sweep):
            for sweep, first in self.programs.starts.items():
                with m.Case(sweep):
                    m.d.comb += start.eq(first)

        def fetch():
            m.d.sync += [step.eq(fetched), address.eq(address + 1)]
            m.next = "READ"

        with m.FSM() as fsm:
            m.d.comb += self.o_busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [lane.eq(0), address.eq(0)]
                with m.If(self.i_start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                fetch()
            with m.State("READ"):
                m.d.comb += unit.i_start.eq(step.op != Op.END)
                m.next = "RUN"
                with m.If(step.op == Op.END):
                    m.d.sync += lane.eq(lane + step.index[0])
                    m.next = "LANE"
            with m.State("RUN"):
                with m.If(unit.o_done):
                    fetch()
            with m.State("LANE"):
                m.d.sync += address.eq(start)
                with m.If(lane == self.config.lanes):
                    m.d.comb += self.o_done.eq(1)
                    m.next = "IDLE"
                with m.Elif(self.i_mask.bit_select(lane, 1)):
                    m.next = "FETCH"
                with m.Else():
                    m.d.sync += lane.eq(lane + 1)

    def _operand(self, m, unit, step):
        """What the instruction works with; what needs a memory was addressed in the cycle READ."""
        m.submodules.registers = mem = memory.Memory(shape=NUMBER, depth=self.programs.n_registers, init=[])
        write, read = mem.write_port(), mem.read_port()
        m.d.comb += [
            write.en.eq(unit.o_done & step.stores), write.addr.eq(step.target), write.data.eq(unit.o_value),
            read.addr.eq(step.index), unit.i_operand.sig.eq(read.data.sig),
            unit.i_operand.exponent.eq(read.data.exponent), unit.i_operand.sign.eq(read.data.sign ^ step.negative),
            unit.i_whole.eq(Cat(self._chosen(step, source) for source in _WHOLE).any())]
        numbers = [(Source.REGISTER, read.data), *self._numbers()]
        for field in ("sig", "exponent", "sign"):
            shape, parts = NUMBER[field].shape, []
            for source, number in numbers:
                if source in self.select:
                    value = comb(m, getattr(number, field), f"{source.name.lower()}_{field}", shape).as_unsigned()
                    parts.append(value & self._chosen(step, source).replicate(len(value)))
            chosen = functools.reduce(operator.or_, parts)
            m.d.comb += unit.i_load[field].eq(chosen ^ step.negative if field == "sign" else chosen)

    def _chosen(self, step, source):
        """Whether ``source`` is loaded."""
        return step.select[self.select[source]] if source in self.select else Const(0, 1)

    def _numbers(self):
        """What the sources give."""
        yield Source.PARAM, _decode(self.i_param)
        yield Source.EPS, _decode(self.i_eps)
        total = self.i_total
        for source in (Source.FIRST, Source.SECOND):
            yield source, _number(total.sig[-SIG_WIDTH:], total.exponent, total.sign)
        if self.config.algorithm is Algorithm.RANGE:
            yield Source.C, _decode(self.i_c)
            yield Source.RANGE, _number(self.i_range.sig, self.i_range.exponent)
            yield Source.CHUNKS, _integer(self.i_n_chunks)
        yield Source.COUNT, _integer(self.i_n)
        half_step = -self.config.storage.fraction_width - 1
        for source, exponent in ((Source.ONE, 0), (Source.LEAST, LEAST_SCALE_LOG2), (Source.STEP, half_step)):
            yield source, _number(Const(1 << (SIG_WIDTH - 1), SIG_WIDTH), exponent - 1)


def _number(sig, exponent, sign=0):
    """A number of the unit; the exponent is that of the unit."""
    return SimpleNamespace(sig=sig, exponent=exponent, sign=sign)


def _integer(value):
    """Not normalised."""
    return _number(Cat(Const(0, SIG_WIDTH - len(value)), value), len(value) - 2)


def _decode(code):
    """A working-format code; its exponent less one is the field without its bias, with the sign extended."""
    fraction, field = code[:WORKING.fraction_width], code[WORKING.fraction_width:-1]
    sig = Cat(Const(0, SIG_WIDTH - WORKING.significand_width), fraction, field.any())
    return _number(sig, Cat(field[:-1], ~field[-1]).as_signed(), code[-1])
