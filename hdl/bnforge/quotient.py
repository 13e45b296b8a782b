"""Pipelined restoring divider: a quotient per cycle, for cores with a divider in every lane."""

from amaranth.hdl import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import Unpacked, comb, decode, registered
from .formats import WORKING
from .rounding import round_to

__all__ = ["Quotient"]

_ROWS = 2
"""Quotient bits of one pipeline stage: subtractions in a row."""


class Quotient(wiring.Component):
    """``Q_W(u / d)``, 0 where d = 0; d is never negative.

    Restoring division (e.g. Ercegovac and Lang, "Digital Arithmetic", 2004, chapter 5) of the significands: one bit
    before the point, so that the first subtraction tells which of the two is greater, and as many behind it as a
    normalised quotient and its guard bit have. What is left over makes the sticky bit.

    Latency: ``latency`` cycles from ``i_u`` and ``i_scale`` to ``o_code``. One result per cycle.

    Members
    -------
    i_u : working-format code
    i_scale : d, working-format code without its sign
    o_code : working-format code
    o_saturated : the rounding saturated
    """

    n_bits = WORKING.significand_width + 2
    n_stages = n_bits // _ROWS
    latency = n_stages + 1

    def __init__(self):
        super().__init__({"i_u": In(WORKING.width), "i_scale": In(WORKING.width - 1), "o_code": Out(WORKING.width),
                          "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        u = decode(m, WORKING, self.i_u, name="u")
        d = decode(m, WORKING, Cat(self.i_scale, Const(0, 1)), name="d")
        remainder = comb(m, u.sig & d.sig[-1].replicate(len(u.sig)), "dividend")
        fraction, digits = d.sig[:-1], Const(0, 0)
        sign, exponent = u.sign, comb(m, u.exponent - d.exponent, "quotient_exponent")
        for stage in range(self.n_stages):
            for row in range(_ROWS):
                shifted = remainder if stage == row == 0 else Cat(Const(0, 1), remainder)
                fits, remainder = self._row(m, shifted, Cat(fraction, Const(1, 1)), f"{stage}_{row}")
                digits = Cat(fits, digits)
            remainder, digits = registered(m, remainder, f"remainder{stage}"), registered(m, digits, f"digits{stage}")
            sign, exponent = registered(m, sign, f"sign{stage}"), registered(m, exponent, f"exponent{stage}")
            if stage + 1 < self.n_stages:
                fraction = registered(m, fraction, f"divisor{stage}")
        value = Unpacked(sign, exponent, Cat(remainder.any(), digits)).normalised(m, "quotient", limit=1)
        code, saturated = round_to(m, WORKING, value, name="v")
        m.d.sync += [self.o_code.eq(code), self.o_saturated.eq(saturated)]
        return m

    def _row(self, m, shifted, divisor, name):
        """One quotient bit, and the remainder: less than the divisor."""
        difference = comb(m, shifted - divisor, f"difference{name}")
        fits = comb(m, ~difference[-1], f"fits{name}")
        width = len(divisor)
        return fits, comb(m, Mux(fits, difference[:width], shifted[:width]), f"rest{name}")
