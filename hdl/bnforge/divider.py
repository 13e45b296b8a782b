"""Folded restoring divider: three stages, each doing a third of the quotient bits over three cycles."""

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import comb

__all__ = ["Divider", "INTERVAL"]

INTERVAL = 3
"""Cycles between two divisions, and cycles that a division spends in each stage."""
_N_STAGES = 3
_PART = 4
"""Bits of what is left that are looked at before the register; the rest of them behind it."""


class Divider(wiring.Component):
    """``quotient = floor(dividend · 2**(n_bits - 1) / divisor)``, and whether anything is left over.

    The dividend is ``i_dividend`` followed by ``i_low`` behind the binary point; it must be less than twice the
    divisor. One division may start every :data:`INTERVAL` cycles. Restoring division (e.g. Ercegovac and Lang, "Digital
    Arithmetic", 2004, chapter 5).

    Latency: ``latency`` cycles from ``i_valid`` to ``o_valid``.

    Parameters
    ----------
    divisor_width : int
        Bits of dividend and divisor.
    low_width : int
        Bits of the dividend behind the point.
    min_bits : int
        Quotient bits that are needed, at most 18; ``n_bits`` are delivered.
    tag_width : int
        Bits that accompany a division from input to output.
    constant_divisor : bool
        The divisor holds still from the first of its divisions to the end of the last: it is not piped along.

    Members
    -------
    i_valid, i_dividend, i_low, i_divisor, i_tag : in
    o_valid, o_quotient, o_inexact, o_tag : out, held until the next result
    """

    latency = _N_STAGES * INTERVAL + 1

    def __init__(self, divisor_width, *, low_width=0, min_bits=18, tag_width=1, constant_divisor=False):
        self.divisor_width = divisor_width
        self.low_width = low_width
        self.rows = -(-min_bits // (_N_STAGES * INTERVAL))
        self.n_bits = self.rows * _N_STAGES * INTERVAL
        self.constant_divisor = constant_divisor
        super().__init__({
            "i_valid": In(1), "i_dividend": In(divisor_width), "i_low": In(low_width), "i_divisor": In(divisor_width),
            "i_tag": In(tag_width),
            "o_valid": Out(1), "o_quotient": Out(self.n_bits), "o_inexact": Out(1), "o_tag": Out(tag_width)})

    def elaborate(self, platform):
        m = Module()
        digits_width = max(self.n_bits, self.low_width)  # dividend bits leave at the top, quotient bits enter below
        low = Cat(Const(0, digits_width - self.low_width), self.i_low)
        valid, remainder, digits, divisor, tag = self.i_valid, self.i_dividend, low, self.i_divisor, self.i_tag
        for stage in range(_N_STAGES):
            busy = Signal(name=f"busy{stage}")
            step = Signal(range(INTERVAL), name=f"step{stage}")
            s_remainder = Signal(self.divisor_width + 1, name=f"remainder{stage}", reset_less=True)
            s_digits = Signal(digits_width, name=f"digits{stage}", reset_less=True)
            s_tag = Signal.like(self.i_tag, name=f"tag{stage}", reset_less=True)
            s_divisor = self.i_divisor
            if not self.constant_divisor:
                s_divisor = Signal(self.divisor_width, name=f"divisor{stage}", reset_less=True)
            next_remainder, next_digits = self._rows(m, s_remainder, s_digits, s_divisor, stage)
            done = comb(m, busy & (step == INTERVAL - 1), f"done{stage}")
            m.d.sync += [step.eq(step + 1), s_remainder.eq(next_remainder), s_digits.eq(next_digits)]
            with m.If(done):
                m.d.sync += busy.eq(0)
            with m.If(valid):
                m.d.sync += [busy.eq(1), step.eq(0), s_remainder.eq(remainder), s_digits.eq(digits), s_tag.eq(tag)]
                if not self.constant_divisor:
                    m.d.sync += s_divisor.eq(divisor)
            valid, remainder, digits, divisor, tag = done, next_remainder, next_digits, s_divisor, s_tag

        leftover = Cat(remainder, digits[self.n_bits:])
        parts = Signal(-(-len(leftover) // _PART), reset_less=True)
        m.d.sync += self.o_valid.eq(valid)
        m.d.comb += self.o_inexact.eq(parts.any())
        with m.If(valid):
            m.d.sync += [self.o_quotient.eq(digits[:self.n_bits]), self.o_tag.eq(tag),
                         *(part.eq(leftover[i * _PART:(i + 1) * _PART].any()) for i, part in enumerate(parts))]
        return m

    def _rows(self, m, remainder, digits, divisor, stage):
        """The quotient bits of one cycle: subtract where possible, then bring down the next dividend bit.

        A row subtracts from what the row before leaves in either case, so that it need not wait for its sign.
        """
        width = self.divisor_width
        rests = [(Const(1, 1), remainder)]  # what may be left, and when
        for row in range(self.rows):
            following, fits_here = [], Const(0, 1)
            for case, (condition, rest) in enumerate(rests):
                difference = comb(m, rest - divisor, f"difference{stage}_{row}_{case}")
                fits = comb(m, condition & ~difference[-1], f"fits{stage}_{row}_{case}")
                fits_here = fits_here | fits
                following += [(condition & difference[-1], rest[:width]), (fits, difference[:width])]
            rests = [(condition, comb(m, Cat(digits[-1], rest), f"rest{stage}_{row}_{case}", unsigned(width + 1)))
                     for case, (condition, rest) in enumerate(following)]
            digits = comb(m, Cat(fits_here, digits[:-1]), f"quotient{stage}_{row}")
        remainder = 0
        for condition, rest in rests:
            remainder |= rest & condition.replicate(width + 1)
        return comb(m, remainder, f"rest{stage}"), digits
