"""Float formats in numpy: decode, encode and the one rounder (docs/arithmetic.md, "The rounder Q_f").

A value of any :class:`bnforge.formats.FloatFormat` is exact in float64, so values travel as float64 and codes as
unsigned integers. All arithmetic before a rounding is either exact in float64 or goes through :func:`add_odd` or
:func:`add_toward_zero`, which keep what the next rounding needs.
"""

import functools

import numpy as np

__all__ = ["max_value", "min_value", "round_significand", "round_to", "round_scale", "two_digit_significands",
           "truncate", "add_odd", "add_toward_zero", "code_dtype", "encode", "to_codes", "infinity_code", "nan_code",
           "decode", "decode_table", "sanitise"]

_FRACTION = 52
"""Fraction bits of float64."""
_BIAS = 1023
_MAGNITUDE = np.int64((1 << 63) - 1)


def round_significand(values, fraction_width, out=None):
    """Nearest-even at ``fraction_width`` bits after the leading one, on the bits of float64; no limits applied.

    Half of the last kept place minus one is added, plus the last kept bit, and the rest is cut: the carry runs into
    the exponent, and the sign bit is not touched. Values are finite, and zero or normal float64 numbers.
    """
    drop = _FRACTION - fraction_width
    bits = values.view(np.int64)
    work = bits >> drop
    work &= 1
    work += (1 << (drop - 1)) - 1
    work += bits
    if out is None:
        work &= -1 << drop
        return work.view(np.float64)
    np.bitwise_and(work, -1 << drop, out=out.view(np.int64))
    return out


def max_value(fmt):
    """Largest finite value of a float format."""
    significand = (1 << fmt.fraction_width) | (fmt.max_code & ((1 << fmt.fraction_width) - 1))
    return float(significand) * 2.0 ** (fmt.e_max - fmt.fraction_width)


def min_value(fmt):
    """Smallest positive value of a float format, a subnormal where it has them."""
    return 2.0 ** (fmt.e_min - (fmt.fraction_width if fmt.has_subnormals else 0))


def _limit(values, minimum, maximum):
    """Flush below ``minimum``, saturate above ``maximum``; returns values and the saturated mask."""
    magnitude = np.abs(values)
    saturated = magnitude > maximum
    values = np.where(saturated, np.copysign(maximum, values), values)
    return np.where(magnitude < minimum, 0.0, values), saturated


def round_to(fmt, values):
    """Q_f: ``values`` rounded once to ``fmt``.

    Parameters
    ----------
    fmt : FloatFormat
    values : array of float64
        Finite. Exact, or rounded to odd at 53 bits, which is as good: rounding to odd keeps on which side of every
        midpoint of up to 51 bits an exact value lies (Boldo and Melquiond, "Emulation of FMA and correctly rounded
        sums", 2008).

    Returns
    -------
    values : array of float64
        Values of the format; zero is always +0.
    saturated : array of bool
    """
    values = np.array(values, np.float64, ndmin=1, copy=None)
    rounded = round_significand(values, fmt.fraction_width)
    if fmt.has_subnormals:
        grid = fmt.fraction_width - fmt.e_min
        small = np.abs(values) < 2.0 ** fmt.e_min
        rounded = np.where(small, np.rint(np.where(small, values, 0.0) * 2.0 ** grid) * 2.0 ** -grid, rounded)
    return _limit(rounded, min_value(fmt), max_value(fmt))


@functools.cache
def two_digit_significands(fraction_width):
    """{1, 1 + 2^-k, 2 - 2^-k, 2 : k = 1 ... fraction_width} in rising order: what two signed digits can be."""
    steps = [2.0 ** -k for k in range(1, fraction_width + 1)]
    return np.array(sorted({1.0, 2.0, *(1 + step for step in steps), *(2 - step for step in steps)}))


def round_scale(fmt, values, two_digit):
    """Q_a: :func:`round_to`, or the rounding to two signed digits.

    A tie of the latter goes to the neighbour of even index in :func:`two_digit_significands`.
    """
    if not two_digit:
        return round_to(fmt, values)
    grid = two_digit_significands(fmt.fraction_width)
    middle = (grid[:-1] + grid[1:]) / 2
    fraction, exponent = np.frexp(values)
    significand = np.abs(fraction) * 2
    index = np.searchsorted(middle, significand)
    tie = middle[np.minimum(index, middle.size - 1)] == significand
    index += tie & (index % 2 == 1)
    rounded = np.where(values == 0, 0.0, np.copysign(np.ldexp(grid[index], exponent - 1), values))
    return _limit(rounded, min_value(fmt), max_value(fmt))


def truncate(values, significant):
    """The magnitudes cut to their top ``significant`` bits."""
    values = np.ascontiguousarray(values, np.float64)
    return (values.view(np.int64) & (-1 << (_FRACTION + 1 - significant))).view(np.float64)


def _two_sum(p, q):
    """float64 sum and its exact error (Knuth; exact without overflow, whatever the order of magnitude)."""
    total = p + q
    part = total - p
    return total, (p - (total - part)) + (q - part)


def add_odd(p, q):
    """p + q rounded to odd at 53 bits.

    Where the float64 sum is inexact its neighbours are the two float64 numbers around p + q; the odd one is taken.
    An even nearest is left toward the exact sum: away from zero by one code where the error has its sign, else toward
    zero.
    """
    total, error = _two_sum(p, q)
    if not error.any():
        return total
    bits = total.view(np.int64)
    step = np.where((error > 0) == (total > 0), 1, -1)
    return np.where((error != 0) & (bits & 1 == 0), bits + step, bits).view(np.float64)


def add_toward_zero(p, q):
    """p + q with its magnitude truncated to 53 bits."""
    total, error = _two_sum(p, q)
    beyond = (error != 0) & ((error > 0) != (total > 0))
    return (total.view(np.int64) - beyond).view(np.float64)


def code_dtype(width):
    """The smallest unsigned numpy type of at least ``width`` bits."""
    return np.dtype(np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.uint32)


def encode(fmt, values):
    """Codes of ``values`` that are values of ``fmt`` already; zero encodes to +0."""
    values = np.array(values, np.float64, ndmin=1, copy=None)
    magnitude = values.view(np.int64) & _MAGNITUDE
    normal = (magnitude >> (_FRACTION - fmt.fraction_width)) - ((_BIAS - fmt.bias) << fmt.fraction_width)
    small = np.abs(values) < 2.0 ** fmt.e_min
    grid = 2.0 ** (fmt.fraction_width - fmt.e_min)
    subnormal = (np.where(small, np.abs(values), 0.0) * grid).astype(np.int64)
    codes = np.where(small, subnormal, normal) | (values < 0).astype(np.int64) << (fmt.width - 1)
    return codes.astype(code_dtype(fmt.width))


def infinity_code(fmt):
    """Code of +infinity, None for e4m3."""
    return None if fmt.is_e4m3 else fmt.max_code + 1


def nan_code(fmt):
    """The quiet NaN code that :func:`to_codes` produces; the only one of e4m3."""
    return 0b0111_1111 if fmt.is_e4m3 else fmt.max_code + 1 + (1 << (fmt.fraction_width - 1))


def to_codes(fmt, values):
    """Codes of any real numbers: rounded by Q_f, infinities and NaN kept.

    This is what a driver does with its tensors: finite values beyond the range become the largest finite one, without
    a flag of the core. In e4m3, which has no infinity, an infinity also does.
    """
    values = np.array(values, np.float64, ndmin=1, copy=None)
    finite = np.isfinite(values)
    codes = encode(fmt, round_to(fmt, np.where(finite, values, 0.0))[0])
    if finite.all():
        return codes
    sign = np.signbit(values).astype(codes.dtype) << (fmt.width - 1)
    top = fmt.max_code if fmt.is_e4m3 else infinity_code(fmt)
    codes = np.where(np.isinf(values), sign | codes.dtype.type(top), codes)
    return np.where(np.isnan(values), codes.dtype.type(nan_code(fmt)), codes)


def sanitise(fmt, codes):
    """What the core makes of input codes.

    NaN counts as 0, an infinity as the largest finite value of its sign, -0 as +0, and with eight exponent bits a
    subnormal as 0.

    Returns
    -------
    values : array of float64
    nan, infinity : arrays of bool
    """
    codes = np.asarray(codes).astype(np.int64)
    magnitude = codes & ((1 << (fmt.width - 1)) - 1)
    infinity = np.zeros(codes.shape, bool) if fmt.is_e4m3 else magnitude == infinity_code(fmt)
    nan = (magnitude > fmt.max_code) & ~infinity
    magnitude = np.where(infinity, fmt.max_code, np.where(nan, 0, magnitude))
    exponent = magnitude >> fmt.fraction_width
    fraction = magnitude & ((1 << fmt.fraction_width) - 1)
    hidden = exponent > 0
    significand = fraction | hidden.astype(np.int64) << fmt.fraction_width
    if not fmt.has_subnormals:
        significand = np.where(hidden, significand, 0)
    scale = np.maximum(exponent, 1) - (fmt.bias + fmt.fraction_width)
    values = np.ldexp(significand.astype(np.float64), scale.astype(np.int32))
    negative = (codes >> (fmt.width - 1) & 1 == 1) & (values != 0)
    return np.where(negative, -values, values), nan, infinity


def decode(fmt, codes):
    """The float64 values of ``codes`` as the core takes them (:func:`sanitise` without the flags)."""
    return sanitise(fmt, codes)[0]


@functools.lru_cache(maxsize=16)
def decode_table(fmt):
    """float64 value of every code of a format of at most 16 bits, as :func:`decode`."""
    table = decode(fmt, np.arange(1 << fmt.width))
    table.setflags(write=False)
    return table
