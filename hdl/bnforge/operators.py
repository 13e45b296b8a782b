"""The operators of the scalar unit: each is built once, and serves every step of both schedules that needs one."""

from amaranth.hdl import Cat, Const, Signal, signed

from .arith import Unpacked, add_ordered, comb, decode, order, registered
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
    product : x · y, y in the working format; normalised, ``PRODUCT`` cycles after the operands
    scaled : x · a; likewise
    normal : x + y, exact but for a sticky bit; normalised, ``SUM + 1`` cycles after the operands
    to_round : the same one cycle later
    rounded : code of the shift's format, ``ROUNDED`` cycles after the value
    saturated : of the value, one cycle before
    denominator : R + eps, truncated to :data:`DENOMINATOR_WIDTH` bits, ``SUM`` cycles after R; ``r_is_zero`` with it
    quotient : working-format code, ``quotient_saturated``, and ``quotient_zero``, the tag:
        ``Divider.latency + 1`` cycles after the operands; ``quotient_valid``

    All exponents have the bias of the working format.
    """

    PRODUCT, SUM, ROUNDED = 2, 4, 2

    def __init__(self, m, config, sequencer, eps):
        self._m, self._sequencer = m, sequencer
        # The greatest: P / (R + eps), P with beta' · Sg. Without gradients: mu · a.
        self.exponent = signed(11 if config.has_backward else 10)
        self._uses = {name: [] for name in ("multiplier", "scaler", "adder", "rounder", "denominator")}

        self._factor, self._factor_code = self._operand("factor", SUM_WIDTH), Signal(WORKING.width, name="factor_code")
        factor = decode(m, WORKING, registered(m, self._factor_code, "factor_code"), name="factor_code")
        self.product = self.multiplied(self._factor.registered(m, "factor"), factor, "product")

        width = SUM_WIDTH if config.has_backward else WORKING.significand_width
        self._scaled, self._scale_code = self._operand("unscaled", width), Signal(
            config.a_format.width, name="scale_code")
        scale = decode(m, config.a_format, registered(m, self._scale_code, "scale_code"), name="scale_code")
        self.scaled = self.multiplied(self._scaled.registered(m, "unscaled"), scale, "scaled")

        keep = SUM_WIDTH if config.has_backward else config.b_format.significand_width
        self._addends = self._operand("addend", len(self.scaled.sig)), self._operand("augend", width)
        addends = (operand.registered(m, name) for operand, name in zip(self._addends, ("addend", "augend")))
        operands = order(m, *addends, keep, name="total")
        total = add_ordered(m, operands.registered(m, "total_operands"), name="total", late=True)
        total = total.rebiased(m, WORKING.bias, "total", self.exponent).registered(m, "total")
        self.normal = total.normalised_late(m, "total", self.exponent)

        enough = config.b_format.significand_width + 2
        self.to_round = self.normal.registered(m, "normal")
        self._to_round = self._operand("unrounded", enough)
        code, self.saturated = round_to(m, config.b_format, self._to_round.registered(m, "unrounded"), name="rounded")
        self.rounded = registered(m, code, "rounded")
        self._denominator(eps)
        self._divider(m)

    def _operand(self, name, width):
        return Unpacked(Signal(name=f"{name}_sign"), Signal(self.exponent, name=f"{name}_exponent"),
                        Signal(width, name=f"{name}_sig"), WORKING.bias)

    def multiplied(self, x, y, name, late=False):
        """x · y, normalised, one cycle later, or two. Zeros are told apart beside the multiplier.

        Registers hold products of parts, so that each multiplier of an FPGA ends in one; their sum follows.
        """
        m = self._m
        x_sig, y_sig = (Cat(value.sig[:-1], Const(1, 1)) for value in (x, y))
        sign, nonzero = x.sign ^ y.sign, ~x.is_zero & ~y.is_zero
        exponent = comb(m, x.exponent + y.exponent + (WORKING.bias - x.bias - y.bias), f"{name}_exponent",
                        self.exponent)
        x_half, y_half = len(x_sig) // 2, len(y_sig) // 2 if late else len(y_sig)
        raw = 0
        for i, x_part in enumerate((x_sig[:x_half], x_sig[x_half:])):
            for j, y_part in enumerate(filter(len, (y_sig[:y_half], y_sig[y_half:]))):
                raw += registered(m, x_part * y_part, f"{name}_part{i}{j}") << i * x_half + j * y_half
        raw = comb(m, raw[:len(x_sig) + len(y_sig)], f"{name}_sig")
        for cycle in range(1 + late):
            sign, exponent, nonzero = (registered(m, value, f"{name}_{kind}{cycle}") for value, kind in (
                (sign, "sign"), (exponent, "exponent"), (nonzero, "nonzero")))
        if late:
            raw = registered(m, raw, f"{name}_sig")
        product = Unpacked(sign, exponent, raw, WORKING.bias - 1).normalised(m, name, limit=1, shape=self.exponent)
        return product.with_sig(product.sig & nonzero.replicate(len(product.sig)))

    def _denominator(self, eps):
        m = self._m
        self._r = Signal(WORKING.width, name="r_code")
        r, eps = (decode(m, WORKING, code, name=name)
                  for code, name in ((registered(m, self._r, "r_code"), "r"), (eps, "eps")))
        self.r_is_zero = r.is_zero
        for cycle in range(1, self.SUM):
            self.r_is_zero = registered(m, self.r_is_zero, f"r_is_zero{cycle}")
        operands = order(m, r, eps, DENOMINATOR_WIDTH, name="denominator").registered(m, "denominator_operands")
        total = add_ordered(m, operands, name="denominator", late=True)
        total = total.rebiased(m, WORKING.bias - 1, "denominator", self.exponent)
        total = total.registered(m, "denominator").normalised(m, "denominator", limit=1, shape=self.exponent)
        self.denominator = total.truncated(DENOMINATOR_WIDTH)

    def _divider(self, m):
        """Dividend and divisor are normalised; sign and exponent of the quotient, and a zero, accompany them."""
        self._quotient_sign, self._quotient_zero = Signal(name="quotient_sign"), Signal(name="quotient_is_zero")
        self._quotient_exponent = Signal(self.exponent, name="quotient_exponent")
        tag = Cat(self._quotient_zero, self._quotient_sign, self._quotient_exponent)
        m.submodules.reciprocal = self._reciprocal = divider = Divider(DENOMINATOR_WIDTH, tag_width=len(tag))
        m.d.comb += divider.i_tag.eq(tag)
        exponent = Signal(self.exponent, name="result_exponent")
        m.d.comb += exponent.eq(divider.o_tag[2:])
        value = Unpacked(divider.o_tag[1], exponent, Cat(divider.o_inexact, divider.o_quotient), WORKING.bias - 1)
        value = value.normalised(m, "quotient", limit=1, shape=self.exponent).registered(m, "quotient")
        self.quotient, self.quotient_saturated = round_to(m, WORKING, value, name="quotient")
        self.quotient_zero = registered(m, divider.o_tag[0], "quotient_zero")
        self.quotient_valid = Signal(name="quotient_valid")
        m.d.sync += self.quotient_valid.eq(divider.o_valid)

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
        x = x.stuck(len(self._to_round.sig))
        self._uses["rounder"].append((run, step, self._assign(self._to_round, x)))

    def add_eps(self, run, step, code):
        """R + eps, for R a working-format code."""
        self._uses["denominator"].append((run, step, [self._r.eq(code)]))

    def divide(self, condition, dividend, divisor, is_zero=0):
        """dividend / divisor, in the cycle after ``condition``; a dividend of None is 1."""
        m = self._m
        if dividend is None:
            dividend = Unpacked(Const(0, 1), Const(0), Const(1, 1))
        starts = Signal(name="division_starts")
        m.d.sync += starts.eq(condition)
        bias = divisor.bias - dividend.bias + WORKING.bias - 1
        with m.If(starts):
            m.d.comb += [
                self._reciprocal.i_valid.eq(1), self._quotient_zero.eq(is_zero),
                self._reciprocal.i_dividend.eq(dividend.extended(DENOMINATOR_WIDTH).sig),
                self._reciprocal.i_divisor.eq(divisor.extended(DENOMINATOR_WIDTH).sig),
                self._quotient_sign.eq(dividend.sign ^ divisor.sign),
                self._quotient_exponent.eq(dividend.exponent - divisor.exponent + bias)]

    def build(self):
        """The multiplexers of all uses."""
        for uses in self._uses.values():
            self._sequencer.choose(uses)

    def _assign(self, operand, value):
        if len(value.sig) < len(operand.sig):
            value = value.extended(len(operand.sig))
        exponent = value.exponent + (operand.bias - value.bias)
        return [operand.sign.eq(value.sign), operand.exponent.eq(exponent),
                operand.sig.eq(value.truncated(len(operand.sig)).sig)]
