"""Storage of y in numpy: block and float encode and decode with the active-code rule (docs/arithmetic.md)."""

from dataclasses import dataclass

import numpy as np

from bnforge.config import Activation
from bnforge.formats import BlockFormat, FloatFormat

from .floats import code_dtype, decode, decode_table, encode, max_value, min_value, round_to

__all__ = ["Encoded", "encode_blocks", "decode_blocks", "encode_floats"]

_FRACTION = 52
_BIAS = 1023


@dataclass(frozen=True, eq=False)
class Encoded:
    """y as stored.

    Attributes
    ----------
    format : FloatFormat or BlockFormat
    elements : integer array, (n, channels)
        Signed elements of a block format, or the codes of a float format.
    exponents : unsigned array, (n, groups), or None
        Exponent codes of a block format, ``group`` neighbouring channels each; of full tiles, the last one padded.
    """

    format: BlockFormat | FloatFormat
    elements: np.ndarray
    exponents: np.ndarray | None = None

    def decode(self):
        """The stored values, float64 (n, channels)."""
        if isinstance(self.format, BlockFormat):
            return decode_blocks(self.format, self.elements, self.exponents)[0]
        if self.format.width <= 16:
            return decode_table(self.format)[self.elements]
        return decode(self.format, self.elements)


def element_dtype(fmt):
    """numpy type of the elements: codes of a float format, signed integers of a block format."""
    if isinstance(fmt, FloatFormat):
        return code_dtype(fmt.width)
    return np.dtype(np.int8 if fmt.fraction_width <= 6 else np.int16)


def _power_of_two(exponent):
    """2**exponent as float64, for an integer array."""
    return ((exponent + _BIAS) << _FRACTION).view(np.float64)


def _group_max(magnitude):
    """Maximum over the last axis: by halves where it is a power of two, which numpy does faster."""
    size = magnitude.shape[-1]
    while size > 1 and size % 2 == 0:
        size //= 2
        magnitude = np.maximum(magnitude[..., :size], magnitude[..., size:2 * size])
    return magnitude[..., 0] if size == 1 else magnitude.max(axis=-1)


def block_exponents(fmt, magnitude):
    """Exponent codes of blocks.

    Parameters
    ----------
    magnitude : array of float64, (..., group)

    Returns
    -------
    codes : array of int64, (...,)
        clamp(floor(log2 max) + bias, 0, max_exponent_code); 0 for a block of zeros.
    saturated : array of bool, (...,)
    largest : array of float64, (...,)
    """
    largest = _group_max(magnitude)
    codes = (largest.view(np.int64) >> _FRACTION) - (_BIAS - fmt.bias)
    saturated = codes > fmt.max_exponent_code
    return np.clip(codes, 0, fmt.max_exponent_code), saturated, largest


def encode_blocks(fmt, y, activation):
    """Blocks of values of the working format.

    Parameters
    ----------
    fmt : BlockFormat
    y : array of float64, (n, channels)
        After the activation; channels a multiple of ``group``.
    activation : Activation

    Returns
    -------
    elements : array of float64, (n, channels), integers
    exponents : array of int64, (n, groups)
    saturated : array of bool, (n, groups)
    values : array of float64, (n, channels)
        What was stored, decoded.
    """
    shape = y.shape
    y = y.reshape(shape[0], -1, fmt.group)
    exponents, saturated, largest = block_exponents(fmt, y if activation != Activation.IDENTITY else np.abs(y))
    shift = (exponents - (fmt.bias + fmt.fraction_width))[..., None]
    elements = y * _power_of_two(-shift)
    np.rint(elements, out=elements)
    if activation == Activation.IDENTITY:
        np.clip(elements, -fmt.max_element, fmt.max_element, out=elements)
        elements += 0.0
    else:
        np.minimum(elements, fmt.max_element, out=elements)
        np.maximum(elements, y > 0, out=elements)
    values = elements * _power_of_two(shift)
    if activation == Activation.RELU6 and (largest >= 4).any():
        short = (values >= 6) & (y < 6)
        elements[short] = fmt.six_element - 1
        values[short] = (fmt.six_element - 1) * 2.0 ** (2 - fmt.fraction_width)
    return elements.reshape(shape), exponents, saturated, values.reshape(shape)


def decode_blocks(fmt, elements, exponents):
    """Stored blocks back to values.

    Returns
    -------
    values : array of float64, (n, channels)
        element · 2**(code - bias - fraction_width); zeros for the reserved all-ones exponent code.
    reserved : array of bool, (n, groups)
        Blocks with the reserved code: the flag.
    """
    exponents = np.asarray(exponents, np.int64)
    reserved = exponents > fmt.max_exponent_code
    scale = np.where(reserved, 0.0, _power_of_two(exponents - (fmt.bias + fmt.fraction_width)))
    channels = np.asarray(elements).shape[1]
    return elements * np.repeat(scale, fmt.group, axis=1)[:, :channels], reserved


def encode_floats(fmt, y, activation):
    """Values of the working format rounded to a float format, with the active-code rule.

    Parameters
    ----------
    fmt : FloatFormat
    y : array of float64, (n, channels)
        After the activation.

    Returns
    -------
    codes : unsigned array, (n, channels)
    saturated : array of bool, (n, channels)
    values : array of float64, (n, channels)
    """
    values, saturated = round_to(fmt, y)
    if activation != Activation.IDENTITY:
        values = np.where((y > 0) & (values == 0), min_value(fmt), values)
    if activation == Activation.RELU6:
        below_six = float(decode(fmt, fmt.code_of_six - 1))
        values = np.where((y < 6) & (values >= 6), below_six, values)
    return encode(fmt, values), saturated, values
