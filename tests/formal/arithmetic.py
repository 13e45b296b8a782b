"""Small arithmetic units against tables and products of integers."""

from fractions import Fraction

from amaranth.hdl import Array, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.arith import Unpacked, decode, sanitise
from bnforge.divider import INTERVAL, Divider
from bnforge.rounding import round_to

from .control import delayed
from .runner import assume, check

__all__ = ["Rounder", "Decoder", "Quotient", "DividerTiming"]


def value(fmt, code):
    """Value of a positive code by the definition of the format, as if no code were special."""
    field, fraction = code >> fmt.fraction_width, code & ((1 << fmt.fraction_width) - 1)
    if field == 0 and fmt.has_subnormals:
        return Fraction(fraction, 1 << fmt.fraction_width) * Fraction(2) ** fmt.e_min
    if field == 0:
        return Fraction(0)
    return (1 + Fraction(fraction, 1 << fmt.fraction_width)) * Fraction(2) ** (field - fmt.bias)


class Rounder(wiring.Component):
    """``round_to`` for every number of a few bits more than the format keeps, in a range of exponents.

    Between two codes that follow each other there is one midpoint. The result is right when the number is above the
    midpoint below its code and below the midpoint above it, or on one of them and the code is even. Above the largest
    finite value the next code would be the one that the exponents continue with. Without subnormals the neighbour of
    the least code is not zero but the number of the same significand width below it.

    Parameters
    ----------
    lowest : int
        Least exponent of a number; the range has ``2**range_log2`` exponents.
    """

    def __init__(self, fmt, lowest, range_log2):
        self.fmt, self.lowest, self.range_log2 = fmt, lowest, range_log2
        self.sig_width = fmt.significand_width + 4
        super().__init__({"sign": In(1), "step": In(range_log2), "sig": In(self.sig_width)})

    def _midpoints(self):
        """Midpoint above each code from 0 to the largest, in units of the last bit at the least exponent; 0 outside."""
        fmt = self.fmt
        points = [(value(fmt, code) + value(fmt, code + 1)) / 2 for code in range(fmt.max_code + 1)]
        if not fmt.has_subnormals:
            below = value(fmt, fmt.min_code) * (1 - Fraction(1, 2 << fmt.fraction_width))
            points[:fmt.min_code] = [(below + value(fmt, fmt.min_code)) / 2] * fmt.min_code
        scaled = [point / Fraction(2) ** (self.lowest - self.sig_width + 1) for point in points]
        limit = 1 << (self.sig_width + (1 << self.range_log2))
        return [int(point) if point.denominator == 1 and point < limit else 0 for point in scaled]

    def elaborate(self, platform):
        m = Module()
        fmt = self.fmt
        assume(m, self.sig[-1] | (self.sig == 0))
        exponent = Signal(signed(fmt.exponent_width + 2))
        m.d.comb += exponent.eq(self.lowest + self.step)
        code, saturated = round_to(m, fmt, Unpacked(self.sign, exponent, self.sig), name="dut")
        body = code[:-1]

        number = self.sig << self.step
        points = self._midpoints()
        unused = [0] * ((1 << len(body)) - len(points) - 1)
        above, below = (Array(Const(point) for point in row)[body] for row in (
            [*points, 0, *unused], [0, *points, *unused]))
        # A tie goes to the even code; that between the least code without subnormals and its neighbour to the code.
        up_from = body[0] if fmt.has_subnormals else body[0] | (body == 0)
        up_to = ~body[0] if fmt.has_subnormals else ~body[0] | (body == fmt.min_code)
        passed_below = (number > below) | ((number == below) & up_to)
        passed_above = (number > above) | ((number == above) & up_from)
        largest = body == fmt.max_code
        check(m, body <= fmt.max_code, (body == 0) | (body >= fmt.min_code),
              (self.sig == 0) | (body == 0) | passed_below, (self.sig != 0) | (body == 0),
              largest | ~passed_above | (self.sig == 0),
              saturated == (largest & passed_above), code[-1] == (self.sign & (body != 0)))
        self.witness = (body == fmt.max_code) | (body == fmt.min_code)
        return m


class Decoder(wiring.Component):
    """``sanitise`` and ``decode`` of every code against a table of values."""

    def __init__(self, fmt):
        self.fmt = fmt
        super().__init__({"code": In(fmt.width)})

    def _read(self, magnitude):
        """Value, whether it is a NaN and whether an infinity, of a positive code."""
        fmt = self.fmt
        if fmt.is_e4m3:
            special, nan = magnitude == 0x7F, True
        else:
            special = magnitude >> fmt.fraction_width == (1 << fmt.exponent_width) - 1
            nan = magnitude & ((1 << fmt.fraction_width) - 1) != 0
        if not special:
            return value(fmt, magnitude), False, False
        return (Fraction(0), True, False) if nan else (value(fmt, fmt.max_code), False, True)

    def elaborate(self, platform):
        m = Module()
        fmt = self.fmt
        clean, is_nan, is_inf = sanitise(m, fmt, self.code, name="dut")
        number = decode(m, fmt, clean, name="dut")
        table = [self._read(magnitude) for magnitude in range(1 << (fmt.width - 1))]
        lowest = fmt.e_min - fmt.fraction_width  # of the last bit of the least value
        want, nan, inf = (Array(row)[self.code[:-1]] for row in zip(*(
            (Const(int(number / Fraction(2) ** lowest)), Const(nan), Const(inf)) for number, nan, inf in table)))
        # The number in units of the least value and of the significand's own fraction.
        shift = number.exponent - number.bias - lowest
        magnitude = Mux(number.sig == 0, 0, number.sig << shift.as_unsigned()[:fmt.exponent_width + 1])
        check(m, magnitude == want << (len(number.sig) - 1), number.sig[-1] | (number.sig == 0),
              is_nan == nan, is_inf == inf, number.is_zero == (want == 0),
              (clean == 0) == (want == 0), (want == 0) | (number.sign == self.code[-1]))
        self.witness = is_nan
        return m


class Quotient(wiring.Component):
    """A division by :class:`bnforge.divider.Divider`, from any state that it may be in.

    The division starts in cycle 0 and the next at the earliest ``INTERVAL`` cycles later. After ``latency`` cycles
    quotient · divisor <= dividend < (quotient + 1) · divisor, and ``inexact`` says whether the first is an inequality.
    """

    def __init__(self, **parameters):
        self.dut = Divider(**parameters)
        members = self.dut.signature.members.items()
        super().__init__({name: In(member.shape) for name, member in members if member.flow is In})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [getattr(dut, name).eq(getattr(self, name)) for name in self.signature.members]
        time = Signal(range(dut.latency + 2), name="formal_keep_init_time")
        m.d.sync += time.eq(Mux(time > dut.latency, time, time + 1))
        start = time == 0
        held = []
        for name in ("i_dividend", "i_low", "i_divisor", "i_tag"):
            now = getattr(self, name)
            stored = Signal.like(now, name=f"held_{name}")
            with m.If(start):
                m.d.sync += stored.eq(now)
            held.append(stored)
        dividend, low, divisor, tag = held
        assume(m, ~start | self.i_valid, start | ~(time < INTERVAL) | ~self.i_valid,
               ~start | (self.i_dividend < 2 * self.i_divisor))
        if dut.constant_divisor:
            assume(m, start | (self.i_divisor == divisor))

        # Both sides in units of the last bit of ``low``.
        numerator = ((dividend << dut.low_width) + low) << (dut.n_bits - 1)
        product = dut.o_quotient * (divisor << dut.low_width)
        done = time == dut.latency
        check(m, ~done | dut.o_valid, ~done | (product <= numerator),
              ~done | (numerator < product + (divisor << dut.low_width)),
              ~done | (dut.o_inexact == (product != numerator)), ~done | (dut.o_tag == tag))
        self.witness = done & ~dut.o_inexact & (dut.o_quotient > 4)
        return m


class DividerTiming(wiring.Component):
    """A result comes exactly ``latency`` cycles after each start, and no other, while starts keep their distance."""

    def __init__(self):
        super().__init__({"start": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Divider(2, min_bits=9)
        m.d.comb += dut.i_valid.eq(self.start)
        for ago in range(1, INTERVAL):
            assume(m, ~self.start | ~delayed(m, self.start, ago, name=f"start_{ago}"))
        check(m, dut.o_valid == delayed(m, self.start, dut.latency, name="done"))
        self.witness = dut.o_valid & self.start
        return m
