"""The one place that narrows a number: nearest-even rounding to a float format (docs/arithmetic.md, "The rounder")."""

from amaranth.hdl import Cat, Const, Mux, Signal, Value, unsigned

from .arith import comb, registered, shift_right_sticky
from .config import Multiplier

__all__ = ["round_to", "round_a", "round_code"]


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
    fields = Cat(kept[:-1], field).as_signed() if Value.cast(field).shape().signed else Cat(kept[:-1], field)
    return _encode(m, fmt, value, comb(m, fields + up, f"{name}_magnitude"), name=name)


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
    return _encode(m, fmt, value, comb(m, (field << fmt.fraction_width) + fraction, f"{name}_magnitude"), name=name)


def round_code(m, source, code, formats, *, name):
    """Narrow a sanitised code to one of several formats, one cycle later, by one adder.

    Parameters
    ----------
    source : FloatFormat
        Without subnormals, as all ``formats``, which have its exponents and fewer fraction bits.
    formats : list of (FloatFormat, Value)
        The widest first; the others with the condition under which they are chosen.

    Returns
    -------
    (code, saturated) : of the widest format, zeros below the fraction of the chosen one; and a Signal
    """
    (widest, _), *others = formats
    drop = source.fraction_width - widest.fraction_width
    conditions = [~Cat(condition for _fmt, condition in others).any(), *(condition for _fmt, condition in others)]
    increment, keeps = Signal(widest.width - 1, name=f"{name}_increment"), Const(0)
    ups = {}
    for (fmt, _), condition in zip(formats, conditions):
        shift = source.fraction_width - fmt.fraction_width
        up = comb(m, code[shift - 1] & (code[:shift - 1].any() | code[shift]), f"{name}_up{shift}")
        place = shift - drop
        ups[place] = ups.get(place, 0) | registered(m, up & condition, f"{name}_up{shift}")  # formats may be the same
        mask = Const(-1 << place & (1 << widest.width) - 1, widest.width)
        keeps = keeps | mask & registered(m, condition, f"{name}_is{shift}").replicate(widest.width)
    sign, kept = (registered(m, part, f"{name}_{what}") for part, what in ((code[-1], "sign"), (code[drop:-1], "kept")))
    m.d.comb += [increment[place].eq(up) for place, up in ups.items()]
    total = comb(m, kept + increment, f"{name}_sum")
    over = comb(m, total[widest.fraction_width:] > widest.max_code >> widest.fraction_width, f"{name}_over")
    return Cat(Mux(over, widest.max_code, total)[:widest.width - 1], sign) & keeps, over


def _encode(m, fmt, value, magnitude, *, name):
    """Code of ``magnitude``, exponent field and fraction after rounding: flush, saturate, clear the sign of zero."""
    # The limits fall between exponents, so that a few bits decide; only e4m3 has finite values in its last exponent.
    field = magnitude[fmt.fraction_width:]
    if fmt.is_e4m3:
        above = magnitude > fmt.max_code
    else:
        field_bits = min(fmt.exponent_width, len(field) - 1)
        above = ~field[-1] & (field[field_bits:-1].any() | (field[:field_bits].all() if
                                                            field_bits == fmt.exponent_width else Const(0)))
    over = comb(m, above & ~value.is_zero, f"{name}_saturated")
    least = magnitude if fmt.has_subnormals else field
    zero = value.is_zero | least[-1] | ~least.any()
    body = Mux(over, fmt.max_code, magnitude)
    code = comb(m, Cat((body | Const(0, fmt.width - 1))[:fmt.width - 1], value.sign) & (~zero).replicate(fmt.width),
                f"{name}_code", unsigned(fmt.width))
    return code, over
