"""The operators of the scalar unit: each is built once, and serves every step of both schedules that needs one."""

from amaranth.hdl import Cat, Const, Signal, signed

from .arith import Unpacked, add, comb, decode, multiply
from .divider import Divider
from .formats import WORKING
from .ranges import SUM_WIDTH
from .rounding import round_to

__all__ = ["Operators", "DENOMINATOR_WIDTH"]

DENOMINATOR_WIDTH = 32
"""Significant bits of R + eps at the divider."""


class Operators:
    """Multiplier, scaler, adder, rounder, denominator and reciprocal.

    Steps ask for them with the methods named after verbs, each for a cycle of its own; :meth:`build` then makes the
    multiplexers.

    Attributes
    ----------
    exponent : shape that holds the exponent of every scalar
    product : x · y, y in the working format; normalised, one cycle after the operands
    scaled : x · a; likewise
    total : x + y, exact but for a sticky bit; not normalised, one cycle after the operands
    rounded : code of the shift's format, one cycle after the value
    saturated : of the value, in its cycle
    denominator : R + eps, truncated to :data:`DENOMINATOR_WIDTH` bits, in the cycle of R; ``r_is_zero`` with it
    quotient : working-format code, ``quotient_saturated``, and ``quotient_zero``, the tag: ``Divider.latency`` cycles
        after the operands; ``quotient_valid``
    """

    def __init__(self, m, config, sequencer, eps):
        self._m, self._sequencer = m, sequencer
        # The greatest: P / (R + eps), P with beta' · Sg. Without gradients: mu · a.
        self.exponent = signed(11 if config.has_backward else 10)
        self._uses = {name: [] for name in ("multiplier", "scaler", "adder", "rounder", "denominator")}

        self._factor, self._factor_code = self._operand("factor", SUM_WIDTH), Signal(WORKING.width, name="factor_code")
        factor = decode(m, WORKING, self._factor_code, name="factor_code")
        self.product = self._registered(multiply(self._factor, factor), "product").normalised(m, "product", limit=1)

        width = SUM_WIDTH if config.has_backward else WORKING.significand_width
        self._scaled, self._scale_code = self._operand("unscaled", width), Signal(
            config.a_format.width, name="scale_code")
        scale = decode(m, config.a_format, self._scale_code, name="scale_code")
        self.scaled = self._registered(multiply(self._scaled, scale), "scaled").normalised(m, "scaled", limit=1)

        keep = SUM_WIDTH if config.has_backward else config.b_format.significand_width
        self._addends = self._operand("addend", len(self.scaled.sig)), self._operand("augend", width)
        self.total = self._registered(add(m, *self._addends, keep, name="total"), "total")

        self._to_round = self._operand("unrounded", len(self.total.sig))
        code, self.saturated = round_to(m, config.b_format, self._to_round, name="rounded")
        self.rounded = Signal(config.b_format.width, reset_less=True)
        m.d.sync += self.rounded.eq(code)

        self._r = Signal(WORKING.width, name="r_code")
        r = decode(m, WORKING, self._r, name="r")
        self.r_is_zero = r.is_zero
        total = add(m, r, decode(m, WORKING, eps, name="eps"), DENOMINATOR_WIDTH, name="denominator")
        self.denominator = total.normalised(m, "denominator", limit=1).truncated(DENOMINATOR_WIDTH).unbiased(
            m, "denominator")
        self._divider(m)

    def _operand(self, name, width):
        return Unpacked(Signal(name=f"{name}_sign"), Signal(self.exponent, name=f"{name}_exponent"),
                        Signal(width, name=f"{name}_sig"))

    def _registered(self, value, name):
        """In a register, with bias 0 and an exponent of the common shape."""
        exponent = comb(self._m, value.exponent - value.bias, f"{name}_exponent", self.exponent)
        return Unpacked(value.sign, exponent, value.sig).registered(self._m, name)

    def _divider(self, m):
        """Dividend and divisor are normalised; sign and exponent of the quotient, and a zero, accompany them."""
        self._quotient_sign, self._quotient_zero = Signal(name="quotient_sign"), Signal(name="quotient_is_zero")
        self._quotient_exponent = Signal(self.exponent, name="quotient_exponent")
        tag = Cat(self._quotient_zero, self._quotient_sign, self._quotient_exponent)
        m.submodules.reciprocal = self._reciprocal = divider = Divider(DENOMINATOR_WIDTH, tag_width=len(tag))
        m.d.comb += divider.i_tag.eq(tag)
        exponent = Signal(self.exponent, name="result_exponent")
        m.d.comb += exponent.eq(divider.o_tag[2:])
        value = Unpacked(divider.o_tag[1], exponent, Cat(divider.o_inexact, divider.o_quotient)).normalised(
            m, "quotient", limit=1)
        self.quotient, self.quotient_saturated = round_to(m, WORKING, value, name="quotient")
        self.quotient_zero, self.quotient_valid = divider.o_tag[0], divider.o_valid

    # Uses.

    def multiply(self, run, step, x, code):
        """x · the value of a working-format code; x has at most 24 bits."""
        self._uses["multiplier"].append((run, step, [*self._assign(self._factor, x), self._factor_code.eq(code)]))

    def scale(self, run, step, x, code):
        """x · the value of a code of the scale's format."""
        self._uses["scaler"].append((run, step, [*self._assign(self._scaled, x), self._scale_code.eq(code)]))

    def add(self, run, step, x, y):
        """x + y; x has at most the bits of ``scaled``."""
        self._uses["adder"].append((run, step, [*self._assign(self._addends[0], x),
                                                *self._assign(self._addends[1], y)]))

    def round(self, run, step, x):
        """x, normalised, to the shift's format."""
        self._uses["rounder"].append((run, step, self._assign(self._to_round, x)))

    def add_eps(self, run, step, code):
        """R + eps, for R a working-format code."""
        self._uses["denominator"].append((run, step, [self._r.eq(code)]))

    def divide(self, condition, dividend, divisor, is_zero=0):
        """dividend / divisor, when ``condition``; a dividend of None is 1."""
        m = self._m
        if dividend is None:
            dividend = Unpacked(Const(0, 1), Const(0), Const(1, 1))
        with m.If(condition):
            m.d.comb += [
                self._reciprocal.i_valid.eq(1), self._quotient_zero.eq(is_zero),
                self._reciprocal.i_dividend.eq(dividend.extended(DENOMINATOR_WIDTH).sig),
                self._reciprocal.i_divisor.eq(divisor.extended(DENOMINATOR_WIDTH).sig),
                self._quotient_sign.eq(dividend.sign ^ divisor.sign),
                self._quotient_exponent.eq(dividend.exponent - divisor.exponent + (divisor.bias - dividend.bias))]

    def build(self):
        """The multiplexers of all uses."""
        for uses in self._uses.values():
            self._sequencer.choose(uses)

    def _assign(self, operand, value):
        if len(value.sig) < len(operand.sig):
            value = value.extended(len(operand.sig))
        return [operand.sign.eq(value.sign), operand.exponent.eq(value.exponent - value.bias),
                operand.sig.eq(value.truncated(len(operand.sig)).sig)]
