"""The one place that narrows a number: nearest-even rounding to a float format (docs/arithmetic.md, "The rounder")."""

from amaranth.hdl import Cat, Const, Mux, Signal, unsigned

from .arith import comb, shift_right_sticky
from .config import Multiplier

__all__ = ["round_to", "round_a"]


def round_to(m, fmt, value, *, name):
    """Round a normalised number to ``fmt``, once, nearest-even; saturate; flush where the format has no subnormals.

    Parameters
    ----------
    value : Unpacked
        Normalised; its last bit may stand for anything below it, so ``sig`` has at least two bits more than ``fmt``
        keeps, or is exact.

    Returns
    -------
    (code, saturated) : Signals of ``fmt.width`` and 1 bits
    """
    keep = fmt.significand_width
    value = value.extended(max(len(value.sig), keep + 2))
    sig, field = value.sig, comb(m, value.exponent + (fmt.bias - value.bias), f"{name}_field")
    if fmt.has_subnormals:
        tiny = comb(m, field < 1, f"{name}_tiny")
        depth = comb(m, Mux(tiny, 1 - field, 0), f"{name}_depth")
        sig, sticky = shift_right_sticky(m, sig, depth.as_unsigned()[:len(depth) - 1], name=f"{name}_tiny")
        sig = sig | sticky
        field = Mux(tiny, 0, field)
    kept, rest = sig[len(sig) - keep:], sig[:len(sig) - keep]
    up = comb(m, rest[-1] & (rest[:-1].any() | kept[0]), f"{name}_up")
    return _encode(m, fmt, value, field, Cat(kept[:-1], Const(0, 1)) + up, name=name)


def round_a(m, config, value, *, name):
    """Round a normalised number to the scale a: to its float format, or to the nearest two-digit value.

    The values of the two-digit multiplier in [1, 2] are 1, 1 + 2^-k, 2 - 2^-k and 2, k up to ``a_fraction``; a tie goes
    to the neighbour of even index in rising order. Returns as :func:`round_to`.
    """
    fmt = config.a_format
    if config.multiplier is Multiplier.FULL:
        return round_to(m, fmt, value, name=name)
    digits = fmt.fraction_width
    one = 1 << digits
    values = sorted({one, 2 * one, *(one + (one >> k) for k in range(1, digits + 1)),
                     *(2 * one - (one >> k) for k in range(1, digits + 1))})
    # Midpoints need one bit more than the values; below that bit only "anything there" matters.
    value = value.extended(max(len(value.sig), digits + 3))
    top = comb(m, value.sig[len(value.sig) - digits - 2:], f"{name}_top")
    rest = comb(m, value.sig[:len(value.sig) - digits - 2].any(), f"{name}_rest")
    fraction = Signal(digits + 1, name=f"{name}_fraction", init=0)
    m.d.comb += fraction.eq(0)
    for index, (below, above) in enumerate(zip(values, values[1:])):
        midpoint = below + above  # in units of half a last place, like ``top``
        passed = (top > midpoint) | ((top == midpoint) & (rest if index % 2 == 0 else Const(1)))
        with m.If(passed):
            m.d.comb += fraction.eq(above - one)
    field = comb(m, value.exponent + (fmt.bias - value.bias), f"{name}_field")
    return _encode(m, fmt, value, field, fraction, name=name)


def _encode(m, fmt, value, field, fraction, *, name):
    """Code of ``fraction`` (with its carry) in exponent ``field``: flush, saturate, clear the sign of zero."""
    magnitude = comb(m, (field << fmt.fraction_width) + fraction, f"{name}_magnitude")
    # The limits fall between exponents, so that a few bits decide; only e4m3 has finite values in its last exponent.
    limit = magnitude if fmt.is_e4m3 else magnitude[fmt.fraction_width:].as_signed()
    over = comb(m, (limit > (fmt.max_code if fmt.is_e4m3 else fmt.max_code >> fmt.fraction_width)) & ~value.is_zero,
                f"{name}_saturated")
    least = magnitude if fmt.has_subnormals else magnitude[fmt.fraction_width:].as_signed()
    zero = value.is_zero | (least < 1)
    body = Mux(over, fmt.max_code, magnitude)
    code = comb(m, Mux(zero, 0, Cat((body | Const(0, fmt.width - 1))[:fmt.width - 1], value.sign)), f"{name}_code",
                unsigned(fmt.width))
    return code, over
