"""A small sequential floating-point accumulator: one adder, one exponent adder, two shift registers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb, sum_with_carry
from ..formats import FP32, WORKING
from .onehot import OneHot
from .programs import Format, Op

__all__ = ["SerialFloat", "NUMBER", "SIG_WIDTH"]

SIG_WIDTH = 24
"""Significant bits of every number."""
_WIDTH = SIG_WIDTH + 1
"""Bits of a number under way: one more below the last."""
_EXPONENT = signed(12)

NUMBER = data.StructLayout({"sig": SIG_WIDTH, "exponent": _EXPONENT, "sign": 1})
"""±sig · 2^(exponent + 1) with the point behind the top bit of ``sig``, which is set unless the number is zero.

With this exponent, that of a code with eight exponent bits is only a sign extension away.
"""

_GREATEST, _ZERO = WORKING.e_max - 1, -WORKING.bias - 1
"""Exponents of the largest finite value, and of code 0."""
_MAX_DISTANCE = 31


class SerialFloat(wiring.Component):
    """An accumulator and one operation at a time on it, each cut to 24 significant bits (docs/baselines.md).

    Products take two bits of the accumulator per cycle, quotients and square roots give one bit per cycle by restoring
    steps (Ercegovac and Lang, "Digital Arithmetic", 2004, chapters 5 and 6); numbers are aligned by two places or one
    per cycle, and normalised by four or one.

    Latency: at most ``longest(op)`` cycles from ``i_start`` to ``o_done``, both included.

    Parameters
    ----------
    config : Config
        For the formats of a and b.
    ops : set of Op
        What is built.

    Members
    -------
    i_start : strobe; ``i_op`` and ``i_format`` hold from it on until ``o_done``, the numbers from the next cycle on
    i_op, i_format : what to do; the format of a rounding, one bit each
    i_operand : of all operations but LOAD
    i_load, i_whole : of LOAD, need not be normalised; its exponent is that of the top bit, not one less
    o_done : strobe; ``o_value`` is the result
    o_value : the accumulator
    o_rounded, o_code : with ``o_done``, this was a rounding; fp32 code of the accumulator after one
    o_saturated : strobe of a rounding
    """

    def __init__(self, config, ops):
        self.config, self.ops = config, ops
        super().__init__({
            "i_start": In(1), "i_op": In(Op), "i_format": In(len(Format)),
            "i_operand": In(NUMBER), "i_load": In(NUMBER), "i_whole": In(1),
            "o_done": Out(1), "o_value": Out(NUMBER), "o_rounded": Out(1), "o_code": Out(FP32.width),
            "o_saturated": Out(1)})

    @staticmethod
    def longest(op, leading_zeros=0):
        """Cycles of ``op`` at most; ``leading_zeros``: of what is loaded."""
        shifts = leading_zeros // 4 + leading_zeros % 4
        align = 2 + _MAX_DISTANCE // 2
        return {Op.LOAD: 3 + shifts, Op.MULTIPLY: 4 + SIG_WIDTH // 2, Op.ADD: 6 + align, Op.DIVIDE: 5 + _WIDTH,
                Op.ROOT: 4 + SIG_WIDTH, Op.ROUND: 6, Op.GREATER: 6, Op.ZERO_IF: 3, Op.CLIP: 3}[op]

    def elaborate(self, platform):
        m = Module()
        self._m, self._states = m, OneHot(m, "READY")
        self._registers(m)
        for name, state in self._all_states().items():
            state(self._states.at(name))
        self._ready(self._states.at("READY"))
        self._states.build()
        m.d.comb += self.o_done.eq(self._states.at("ROUNDED") | self._normal)
        return m

    def _all_states(self):
        states = {"LOAD": self._load, "FACTOR": self._factor, "MULTIPLY": self._multiply, "DIVIDEND": self._dividend,
                  "DIVIDE": self._divide, "BESIDE": self._beside, "COMPARE": self._compare, "PLACE": self._place,
                  "ALIGN": self._align, "SUM": self._sum, "NEGATE": self._negate, "ROUND": self._round,
                  "CLEAR": self._clear, "NORMALISE": self._normalise, "NARROW": self._narrow,
                  "ROUNDED": self._rounded}
        if Op.ROOT in self.ops:
            states |= {"RADICAND": self._radicand, "ROOT": self._root}
        if Op.GREATER in self.ops:
            states["GREATER"] = self._greater
        return states

    def _registers(self, m):
        widths = {"acc": _WIDTH + 1, "aux": _WIDTH, "exponent": _EXPONENT, "count": _MAX_DISTANCE.bit_length(),
                  "sign": 1, "sticky": 1, "below": 1, "far": 1, "unlike": 1}
        for name, width in widths.items():
            setattr(self, name, Signal(width, name=name, reset_less=True))
        operand = self.i_operand
        self.y, self.y_is_zero, self.is_zero = Cat(Const(0, 1), operand.sig), ~operand.sig[-1], ~self.acc[_WIDTH - 1]
        # One adder, total = augend ± addend, and one for exponents; each state sets their operands.
        width = len(self.acc)
        self.augend = Signal(width)
        self.addend = Signal(width)
        self.subtract = Signal()
        self.total = comb(m, sum_with_carry(self.augend, self.addend ^ self.subtract.replicate(width),
                                            self.subtract & ~self.sticky), "total")
        self.fits = self.total[width]
        self.half, self.quarter = self.total >> 1, self.total >> 2
        self.doubled = Mux(self.fits, self.total[:width], self.acc) << 1
        self.e_augend = Signal(_EXPONENT)
        self.e_addend = Signal(_EXPONENT)
        self.e_carry = Signal()
        self.e_total = comb(m, self.e_augend + self.e_addend + self.e_carry, "exponent_total",
                            signed(_EXPONENT.width + 1))
        self.bit = comb(m, Cat(self.count == index for index in range(_WIDTH)), "bit")
        m.d.comb += [
            self.o_value.sig.eq(self.acc[1:]), self.o_value.exponent.eq(self.exponent), self.o_value.sign.eq(self.sign),
            self.o_code.eq(Cat(self.acc[1:SIG_WIDTH], self.exponent[:7], ~self.exponent[7], self.sign))]

    def _ready(self, at):
        firsts = {Op.LOAD: "LOAD", Op.MULTIPLY: "FACTOR", Op.DIVIDE: "DIVIDEND", Op.ROUND: "ROUND", Op.ZERO_IF: "CLEAR",
                  Op.CLIP: "CLEAR", Op.ADD: "COMPARE", Op.GREATER: "COMPARE", Op.ROOT: "RADICAND"}
        for op in sorted(self.ops - {Op.END}):
            self._states.go(at & self.i_start & (self.i_op == op), firsts[op])
        self._states.go(at & ~self.i_start, "READY")

    def _add(self, at, augend, addend, subtract=0):
        self._states.let(at, (self.augend, augend), (self.addend, addend), (self.subtract, subtract))

    def _add_exponent(self, at, addend, carry=0):
        """The exponent moves on by ``addend`` + ``carry``."""
        self._states.let(at, (self.e_augend, self.exponent), (self.e_addend, addend), (self.e_carry, carry))
        self._states.set(at, (self.exponent, self.e_total))

    def _load(self, at):
        load = self.i_load
        less_one = self.i_whole.replicate(len(self.exponent))
        self._states.let(at, (self.e_augend, less_one), (self.e_addend, load.exponent))
        self._states.set(at, (self.acc, Cat(Const(0, 1), load.sig)), (self.exponent, self.e_total),
                         (self.sign, load.sign))
        self._states.go(at, "NORMALISE")

    def _factor(self, at):
        self._states.set(at, (self.aux, self.acc >> 1), (self.acc, 0), (self.count, SIG_WIDTH // 2 - 1),
                         (self.sign, self.sign ^ self.i_operand.sign))
        self._add_exponent(at, self.i_operand.exponent, 1)
        self._states.go(at, "MULTIPLY")

    def _multiply(self, at):
        """acc = (acc + two bits of aux · y) / 4; a row of full adders makes two addends of three."""
        once, twice = (self.y & self.aux[0].replicate(_WIDTH)), (self.y & self.aux[1].replicate(_WIDTH)) << 1
        both = comb(self._m, (self.acc & once) | (self.acc & twice) | (once & twice), "row_carry")
        self._add(at, self.acc ^ once ^ twice, both << 1)
        self._states.set(at, (self.acc, self.quarter), (self.aux, self.aux >> 2), (self.count, self.count - 1))
        last = self.count == 0
        self._add_exponent(at & last, 0, 1)
        self._states.go(at & ~last, "MULTIPLY")
        self._states.go(at & last, "NORMALISE")

    def _dividend(self, at):
        self._states.set(at, (self.aux, 0), (self.count, _WIDTH - 1), (self.sticky, 0),
                         (self.sign, self.sign ^ self.i_operand.sign))
        self._add_exponent(at, ~self.i_operand.exponent)
        self._states.go(at, "DIVIDE")

    def _radicand(self, at):
        """Half of the number in [1, 4) whose root has half of its exponent; that becomes odd, and is halved later."""
        odd = self.exponent[0]
        self._add(at, self.acc, 0)
        self._states.set(at, (self.aux, 0), (self.count, _WIDTH - 1), (self.sticky, 0))
        self._states.set(at & odd & ~self.sign, (self.acc, self.half))
        self._states.set(at & self.sign, (self.acc, 0))
        self._add_exponent(at & ~odd, -1)
        self._states.go(at, "ROOT")

    def _divide(self, at):
        self._next_bit(at, self.y, 0, "DIVIDE")

    def _next_bit(self, at, subtrahend, last, name):
        """One bit of a quotient, or of a root."""
        self._add(at, self.acc, subtrahend, 1)
        self._states.set(at, (self.acc, self.doubled), (self.aux, self.aux | (self.bit & self.fits.replicate(_WIDTH))),
                         (self.count, self.count - 1))
        self._states.go(at & (self.count != last), name)
        self._states.go(at & (self.count == last), "BESIDE")

    def _root(self, at):
        """What is subtracted is the root so far and half of its next bit."""
        self._next_bit(at, self.aux, 1, "ROOT")
        self._states.let(at, (self.addend, self.bit[1:]))

    def _beside(self, at):
        """What is beside goes to the accumulator; not a quotient by 0."""
        by_zero = comb(self._m, (self.i_op == Op.DIVIDE) & self.y_is_zero, "by_zero")
        self._add(at, 0, self.aux)
        self._states.set(at & ~by_zero, (self.acc, self.total))
        self._states.set(at & by_zero, (self.acc, 0))
        if Op.ROOT in self.ops:
            self._states.set(at & (self.i_op == Op.ROOT), (self.exponent, self.exponent >> 1))
        self._states.go(at, "NORMALISE")

    def _compare(self, at):
        """How far the exponents are apart, as they are subtracted."""
        apart = ~self.i_operand.exponent
        self._states.let(at, (self.e_augend, self.exponent), (self.e_addend, apart), (self.e_carry, 1))
        high = self.e_total[len(self.count):]
        self._states.set(at, (self.count, self.e_total), (self.below, self.e_total[-1]),
                         (self.far, high.any() & ~high.all()), (self.sticky, 0))
        self._states.go(at, "PLACE")

    def _place(self, at):
        """The greater exponent to the accumulator; the other number beside, one place down if it comes from there.

        So the distance of exponents, if it is negative, need only be inverted.
        """
        operand, n_bits = self.i_operand, len(self.count)
        swap = comb(self._m, ~self.y_is_zero & (self.is_zero | self.below), "swap")
        self._add(at, 0, self.y)
        self._states.let(at, (self.e_addend, operand.exponent))
        self._states.set(at, (self.aux, Mux(swap, self.acc >> 1, self.y)), (self.unlike, self.sign ^ operand.sign),
                         (self.count, (self.count ^ self.below.replicate(n_bits)) | self.far.replicate(n_bits)))
        self._states.set(at & swap, (self.acc, self.total), (self.exponent, self.e_total))
        greater = (self.i_op == Op.GREATER) if Op.GREATER in self.ops else Const(0, 1)
        self._states.set(at & swap & ~greater, (self.sign, operand.sign))
        self._states.go(at & ~greater, "ALIGN")
        if Op.GREATER in self.ops:
            self._states.go(at & greater, "GREATER")

    def _align(self, at):
        """The smaller number moves down, by two places or one."""
        two = comb(self._m, self.count[1:].any(), "two_places")
        there = self.count == 0
        self._states.set(at & ~there, (self.aux, Mux(two, self.aux >> 2, self.aux >> 1)),
                         (self.count, self.count - 1 - two),
                         (self.sticky, self.sticky | self.aux[0] | (two & self.aux[1])))
        self._states.go(at & ~there, "ALIGN")
        self._states.go(at & there, "SUM")

    def _sum(self, at):
        """The sum, one place down, so that a carry has room; or the difference."""
        self._add(at, self.acc, self.aux, self.unlike)
        self._states.set(at & self.unlike, (self.acc, self.total))
        self._states.set(at & ~self.unlike, (self.acc, self.half))
        self._add_exponent(at & ~self.unlike, 0, 1)
        negative = self.unlike & ~self.fits
        self._states.go(at & negative, "NEGATE")
        self._states.go(at & ~negative, "NORMALISE")

    def _negate(self, at):
        """A difference of numbers of one exponent was negative."""
        self._add(at, 0, self.acc, 1)
        self._states.set(at, (self.acc, self.total), (self.sign, ~self.sign))
        self._states.go(at, "NORMALISE")

    def _greater(self, at):
        """The number of the greater exponent is in the accumulator; of one exponent, the difference decides."""
        self._add(at, self.acc, self.aux, 1)
        less = ~self.fits & (self.count == 0)
        self._states.go(at & less, "BESIDE")
        self._states.go(at & ~less, "NORMALISE")

    def _clear(self, at):
        self._states.set(at & (self.y_is_zero if Op.ZERO_IF in self.ops else self.sign), (self.acc, 0))
        self._states.go(at, "NORMALISE")

    def _normalise(self, at):
        acc = self.acc[:_WIDTH]
        one, there = acc[-4:].any(), acc[-1] | ~acc.any()
        rounds = self.i_op == Op.ROUND
        self._normal = at & there & ~rounds
        self._states.let(at, (self.e_augend, self.exponent), (self.e_addend, Mux(one, -1, -4)))
        self._states.set(at & ~there, (self.exponent, self.e_total))
        self._states.set(at & ~there & one, (self.acc, self.doubled))
        self._states.set(at & ~there & ~one, (self.acc, acc << 4))
        self._states.go(at & ~there, "NORMALISE")
        self._states.go(at & there & rounds, "NARROW")
        self._states.go(self._normal, "READY")
        with self._m.If(at & there):
            self._m.d.sync += self.acc[0].eq(0)

    @property
    def _last_bit(self):
        """The last bit that the format of a rounding keeps of the accumulator; none of zero."""
        config, bits = self.config, [Const(0, 1)] * _WIDTH
        for fmt, fraction in ((Format.A, config.a_fraction), (Format.B, config.b_fraction),
                              (Format.WORKING, WORKING.fraction_width), (Format.FP32, FP32.fraction_width)):
            bits[SIG_WIDTH - fraction] = bits[SIG_WIDTH - fraction] | (self.i_format[fmt] & ~self.is_zero)
        return Cat(*bits)

    def _round(self, at):
        """Half of the last bit is added."""
        self._add(at, self.acc, self._last_bit >> 1)
        self._states.set(at, (self.acc, self.half))
        self._add_exponent(at, 0, 1)
        self._states.go(at, "NORMALISE")

    def _narrow(self, at):
        """What is below the last bit goes, of a tie the last bit, too; then the limits."""
        m = self._m
        last = comb(m, self._last_bit, "last_bit")
        kept = comb(m, Cat(last[:index + 1].any() for index in range(_WIDTH)), "kept")
        tie = comb(m, ~(self.acc[:_WIDTH] & ~kept).any() & ~self.i_format[Format.FP32], "tie")
        # The exponents of codes are -127 ... 126: eight bits, but neither the least nor the greatest of them.
        low, high = self.exponent[:7], self.exponent[7:]
        over = comb(m, ~self.is_zero & ~high[-1] & (high.any() | low.all()), "over")
        zero = comb(m, self.is_zero | (high[-1] & ~(high.all() & low.any())), "zero")
        rounded = (self.acc[:_WIDTH] | over.replicate(_WIDTH)) & kept & ~(last & (tie & ~over).replicate(_WIDTH))
        m.d.comb += self.o_saturated.eq(at & over)
        self._states.set(at & ~zero, (self.acc, rounded))
        self._states.set(at & over, (self.exponent, _GREATEST))
        self._states.set(at & zero, (self.acc, 0), (self.exponent, _ZERO), (self.sign, 0))
        self._states.go(at, "ROUNDED")

    def _rounded(self, at):
        self._m.d.comb += self.o_rounded.eq(at)
        self._states.go(at, "READY")
