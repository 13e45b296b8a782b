"""The systolic array: products of matrices, bit-exact (docs/array.md)."""

import functools
from dataclasses import dataclass

import numpy as np

from .blocks import decode_blocks
from .floats import add_odd, encode, max_value, min_value, round_significand, round_to, sanitise
from .result import Flags

__all__ = ["Product", "operands", "matmul", "fold", "finish"]

_CHUNK = 1 << 14
"""Partial sums that are worked on at a time: what a cache holds."""


@dataclass(frozen=True, eq=False)
class Product:
    """A product as the array gives it.

    Attributes
    ----------
    codes : unsigned array
        Codes of ``array.output``.
    values : float64 array
        The same, decoded.
    flags : Flags
        SATURATED if a partial sum or a result was. What the factors raise comes from :func:`operands`.
    """

    codes: np.ndarray
    values: np.ndarray
    flags: Flags


def operands(array, encoded):
    """Factors as the array takes them from memory: decoded, and rounded once to ``array.operand``.

    The most negative code of a block decodes; a NaN and the reserved exponent code of a block count as 0, an infinity
    as the largest finite value. What lies beyond the operand format is its largest value: the most negative code at the
    largest exponent, and what a narrow ``operand_fraction`` rounds up.

    Parameters
    ----------
    array : ArrayConfig
    encoded : Encoded
        In ``array.storage``.

    Returns
    -------
    values : float64 (n, channels)
    flags : Flags
        Of all elements, whether a product reads them or not.
    """
    if encoded.format != array.storage:
        raise ValueError(f"format must be the storage of the array, {array.storage}, not {encoded.format}")
    if array.is_block:
        groups = -(-encoded.elements.shape[1] // array.storage.group)
        values, nan = decode_blocks(array.storage, encoded.elements, encoded.exponents[:, :groups])
        infinity = np.zeros(1, bool)
    else:
        values, nan, infinity = sanitise(array.storage, encoded.elements)
    rounded, saturated = round_to(array.operand, values)
    flags = [flag for flag, found in zip(Flags, (nan, infinity, saturated), strict=True) if found.any()]
    return rounded.reshape(values.shape), functools.reduce(Flags.__or__, flags, Flags(0))


def matmul(array, a, b):
    """C = A · B: for each element one sum over k in rising order, rounded at every step.

    Parameters
    ----------
    array : ArrayConfig
    a : float64 (M, K)
    b : float64 (K, N)
        Values of ``array.operand``.

    Returns
    -------
    Product
        (M, N).
    """
    sums, saturated = fold(array, a, b)
    return finish(array, sums, saturated)


def finish(array, sums, saturated=False):
    """The :class:`Product` of partial sums: rounded to ``array.output``; ``saturated``: whether a sum was."""
    values, over = round_to(array.output, sums)
    values = values.reshape(sums.shape)
    return Product(encode(array.output, values).reshape(sums.shape), values,
                   Flags.SATURATED if saturated or over.any() else Flags(0))


def fold(array, a, b, sums=None):
    """Partial sums in the accumulate format, p bits: s = Q(s + a·b), k in rising order.

    A product has at most q = 2·(``operand_fraction`` + 1) bits and is exact in float64. A sum s + t is rounded twice,
    by float64 and then to p <= 24 bits. That can only be wrong where float64 makes it a midpoint m of two p-bit numbers
    which it is not. With e the exponent of m, every p-bit number is at least 2^(e - p) from m, and |s + t - m| <=
    2^(e - 53). As the float64 sum is inexact, s or t has bits below 2^(e - 52). If s has, |s| < 2^(e - 53 + p), so t is
    nearer to m than 2^(e - 52 + p) <= 2^(e - p); if t has, s is nearer to m than 2^(e - 52 + q). Where q <= p, both are
    p-bit numbers, and either is a contradiction.

    Nor can it be wrong where no float64 sum is inexact: all are multiples of the smallest unit of a product, and below
    2^53 of these. In other cases the sum is rounded to odd first (:func:`.floats.add_odd`).

    Parameters
    ----------
    array : ArrayConfig
    a : float64 (M, K)
    b : float64 (K, N)
        Values of ``array.operand``.
    sums : float64 (M, N) or None
        Where to begin, values of ``array.accumulate``; None: zeros.

    Returns
    -------
    sums : float64 (M, N)
    saturated : bool
        Whether a sum was.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"factors must be of shapes (M, K) and (K, N), not {a.shape} and {b.shape}")
    if sums is None:
        sums = np.zeros((len(a), b.shape[1]))
    if len(a) < b.shape[1]:
        sums, saturated = fold(array, b.T, a.T, sums.T)
        return sums.T, saturated
    care = _care(array, a, b, sums)
    rows, columns = np.ascontiguousarray(b, np.float64), np.ascontiguousarray(a.T, np.float64)
    sums, saturated = np.array(sums.T, np.float64, order="C"), False
    height = min(len(sums), 64)
    width = _CHUNK // max(height, 1)
    for top in range(0, len(sums), height):
        for left in range(0, len(a), width):
            part = slice(top, top + height), slice(left, left + width)
            sums[part], over = _run(array.accumulate, rows[:, part[0]], columns[:, part[1]], sums[part], *care)
            saturated |= over
    return sums.T, saturated


def _run(fmt, rows, columns, sums, is_odd, is_limited):
    """(sums, saturated) after ``rows`` (K, p) times ``columns`` (K, q) are added to ``sums`` (p, q)."""
    sums, saturated = sums.copy(), False
    product = np.empty_like(sums)
    for row, column in zip(rows[:, :, None], columns, strict=True):
        np.multiply(row, column, out=product)
        total = add_odd(sums, product) if is_odd else np.add(sums, product, out=product)
        if is_limited:
            sums, over = round_to(fmt, total)
            saturated |= bool(over.any())
        else:
            round_significand(total, fmt.fraction_width, out=sums)
    return sums, saturated


def _care(array, a, b, sums):
    """Whether sums must be rounded to odd first, and whether they can leave the range of the accumulate format.

    Sums are multiples of the smallest unit of a term, rounded or not; a rounding makes one larger by at most 2^-p.
    """
    fmt, steps = array.accumulate, a.shape[1]
    unit = _unit(array.operand, a) * _unit(array.operand, b)
    if sums.any():
        unit = min(unit, _unit(fmt, sums))
    growth = np.exp(min(steps * 2.0 ** -fmt.significand_width, 500.0))
    bound = (_largest(sums) + steps * _largest(a) * _largest(b)) * growth
    is_odd = 2 * array.operand.significand_width > fmt.significand_width and bound >= unit * 2.0 ** 53
    return is_odd, bound > max_value(fmt) or unit < min_value(fmt)


def _largest(values):
    return float(max(values.max(initial=0.0), -values.min(initial=0.0)))


def _unit(fmt, values):
    """A power of two of which all ``values`` of a format are multiples."""
    magnitudes = np.abs(values)
    smallest = np.min(magnitudes, where=magnitudes > 0, initial=max_value(fmt))
    return 2.0 ** (np.frexp(smallest)[1] - fmt.significand_width)
