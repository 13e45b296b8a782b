"""docs/array.md once more, in Python fractions: slow, one element at a time. Shares nothing with ``bnforge_model``."""

from fractions import Fraction

from bnforge.formats import BlockFormat
from slow_model import encode, rounder, sanitise


def factor(array, element, exponent=None):
    """Value, nan, infinity and saturated of a stored element, as a factor."""
    fmt, infinity = array.storage, False
    if isinstance(fmt, BlockFormat):
        nan = exponent == (1 << fmt.exponent_width) - 1
        value = element * Fraction(2) ** (exponent - fmt.bias - fmt.fraction_width) * (not nan)
    else:
        value, nan, infinity = sanitise(fmt, element)
    value, saturated = rounder(array.operand, value)
    return value, nan, infinity, saturated


def factors(array, encoded):
    """A matrix of factors of an ``Encoded``, and its flags (nan, infinity, saturated)."""
    group = array.storage.group if array.is_block else 1
    rows, flags = [], [False] * 3
    for i, elements in enumerate(encoded.elements.tolist()):
        read = [factor(array, element, None if encoded.exponents is None else int(encoded.exponents[i, j // group]))
                for j, element in enumerate(elements)]
        rows.append([value for value, *_ in read])
        flags = [flag or any(raised) for flag, raised in zip(flags, list(zip(*read, strict=True))[1:], strict=True)]
    return rows, tuple(flags)


def accumulate(array, pairs, total=Fraction(0)):
    """The partial sum after all ``pairs`` of factors, and whether one on the way was saturated."""
    saturated = False
    for a, b in pairs:
        total, over = rounder(array.accumulate, total + a * b)
        saturated |= over
    return total, saturated


def product(array, pairs):
    """The code of a result, and whether it or a sum was saturated."""
    total, saturated = accumulate(array, pairs)
    value, over = rounder(array.output, total)
    return encode(array.output, value), saturated or over


def matmul(array, a, b):
    """Codes of A · B, rows of factors, and whether anything was saturated."""
    results = [[product(array, list(zip(row, column, strict=True))) for column in zip(*b, strict=True)] for row in a]
    return [[code for code, _ in row] for row in results], any(over for row in results for _, over in row)
