"""Storage in numpy: block and float encode and decode with the active-code rule (docs/arithmetic.md)."""

from dataclasses import dataclass

import numpy as np

from bnforge.config import Activation
from bnforge.formats import WORKING, BlockFormat, FloatFormat

from .floats import code_dtype, decode, decode_table, encode, min_value, round_to

__all__ = ["Encoded", "Store", "is_active", "encode_blocks", "decode_blocks", "encode_floats"]

_FRACTION = 52
_BIAS = 1023
_TINY = 2.0 ** WORKING.e_min


@dataclass(frozen=True, eq=False)
class Encoded:
    """y or dx as stored.

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


class Store:
    """What a tile stores, filled in by ranges of rows.

    Parameters
    ----------
    fmt : FloatFormat or BlockFormat
    n, channels, width : int
        ``width`` is ``channels`` padded to full tiles.

    Attributes
    ----------
    values : float64 (n, channels)
        Decoded.
    encoded : Encoded
    """

    def __init__(self, fmt, n, channels, width):
        exponents = np.empty((n, width // fmt.group), np.uint8) if isinstance(fmt, BlockFormat) else None
        self.values = np.empty((n, channels))
        self.encoded = Encoded(fmt, np.empty((n, channels), element_dtype(fmt)), exponents)
        self._saturated = np.zeros(width, bool)

    @property
    def saturated(self):
        """bool (channels,): whether anything stored so far has saturated."""
        return self._saturated[:self.values.shape[1]]

    def put(self, first, exact, over, activation):
        """Encode the rows from ``first`` on.

        Parameters
        ----------
        first : int
        exact : array of float64, (rows, width)
            After the activation; 0 in channels that are not enabled.
        over : array of bool, (width,)
            Channels in which their rounding saturated.
        activation : Activation
        """
        fmt, channels = self.encoded.format, self.values.shape[1]
        rows = slice(first, first + len(exact))
        self._saturated |= over
        if self.encoded.exponents is None:
            elements, over, values = encode_floats(fmt, exact, activation)
            self._saturated |= over.any(axis=0)
        else:
            elements, self.encoded.exponents[rows], over, values = encode_blocks(fmt, exact, activation)
            # Of a group that saturates some channel is enabled: masked ones hold 0.
            self._saturated |= np.repeat(over.any(axis=0), fmt.group)
        self.encoded.elements[rows] = elements[:, :channels]
        self.values[rows] = values[:, :channels]


def is_active(activation, y):
    """Where the gradient passes the activation, an array of bool: always; y > 0; 0 < y < 6."""
    if activation == Activation.IDENTITY:
        return np.ones(y.shape, bool)
    return y > 0 if activation == Activation.RELU else (y > 0) & (y < 6)


def element_dtype(fmt):
    """numpy type of the elements: codes of a float format, signed integers of a block format."""
    if isinstance(fmt, FloatFormat):
        return code_dtype(fmt.width)
    return np.dtype(np.int8 if fmt.fraction_width <= 6 else np.int16)


def _power_of_two(exponent):
    """2**exponent as float64, for an integer array."""
    return ((exponent + _BIAS) << _FRACTION).view(np.float64)


def _group_exponents(fmt, y):
    """floor(log2 max|y|) of each group, -1023 for zeros; ``y`` contiguous, channels a multiple of ``group``.

    With ``second_largest`` that of the second largest magnitude, unless only the largest is not zero. The maximum of
    the exponent fields is that of the magnitudes. It is taken over windows of 2, 4, 8 ... neighbours at every position,
    which runs at full width, and read where the groups begin.
    """
    fields = (y.view(np.int64) >> _FRACTION).astype(np.int16).ravel() & 0x7FF
    if fmt.second_largest:
        return _second_largest(fields.reshape(-1, fmt.group)).reshape(len(y), -1) - _BIAS
    window = 1
    while window < fmt.group:
        step = min(window, fmt.group - window)
        fields = np.maximum(fields[:-step], fields[step:])
        window += step
    return fields[::fmt.group].astype(np.int64).reshape(len(y), -1) - _BIAS


def _second_largest(fields):
    """The second largest of each row, or the largest where all others are 0: int64 (rows,)."""
    first, second = fields[:, 0], np.zeros(len(fields), fields.dtype)
    for field in fields.T[1:]:
        second = np.maximum(second, np.minimum(first, field))
        first = np.maximum(first, field)
    return np.where(second > 0, second, first).astype(np.int64)


def _flush(y):
    """Step 3 of the rounder to the working format: below 2^-126 is 0."""
    return np.where(np.abs(y) < _TINY, 0.0, y)


def encode_blocks(fmt, y, activation):
    """Blocks of values of the working format; such that it would flush (below 2^-126) count as 0.

    Only a group whose scale is below 2^-110 needs that done first: in others an element so small is less than
    1/8, rounds to 0, and is not active.

    Parameters
    ----------
    fmt : BlockFormat
    y : array of float64, (n, channels)
        After the activation; channels a multiple of ``group``.
    activation : Activation

    Returns
    -------
    elements : integer array, (n, channels)
    exponents : array of int64, (n, groups)
    saturated : array of bool, (n, groups)
    values : array of float64, (n, channels)
        What was stored, decoded.
    """
    shape = y.shape
    identity = activation == Activation.IDENTITY
    scale = _group_exponents(fmt, y)
    if ((scale < WORKING.e_min + 16) & (scale > -_BIAS)).any():
        y = _flush(y)
        scale = _group_exponents(fmt, y)
    saturated = scale > fmt.max_exponent_code - fmt.bias
    exponents = np.clip(scale + fmt.bias, 0, fmt.max_exponent_code)
    shift = (exponents - (fmt.bias + fmt.fraction_width))[..., None]
    y = y.reshape(shape[0], -1, fmt.group)
    scaled = y * _power_of_two(-shift)
    np.rint(scaled, out=scaled)
    if identity:
        np.maximum(scaled, -fmt.max_element, out=scaled)
    np.minimum(scaled, fmt.max_element, out=scaled)
    elements = scaled.astype(element_dtype(fmt))
    if not identity:
        np.maximum(elements, (y >= _TINY).view(np.int8), out=elements)
    if activation == Activation.RELU6 and (scale == 2).any():
        short = (elements >= fmt.six_element) & (exponents == fmt.bias + 2)[..., None] & (y < 6)
        elements[short] = fmt.six_element - 1
    values = elements * _power_of_two(shift)
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
    elements, exponents = np.asarray(elements), np.asarray(exponents, np.int64)
    reserved = exponents > fmt.max_exponent_code
    scale = np.where(reserved, 0.0, _power_of_two(exponents - (fmt.bias + fmt.fraction_width)))
    n, channels = elements.shape
    if channels == scale.shape[1] * fmt.group:
        values = elements.astype(np.float64).reshape(n, -1, fmt.group)
        values *= scale[..., None]
        return values.reshape(n, channels), reserved
    return elements * np.repeat(scale, fmt.group, axis=1)[:, :channels], reserved


def encode_floats(fmt, y, activation):
    """Values of the working format rounded to a float format, with the active-code rule.

    Such that the working format would flush (below 2^-126) count as 0.

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
    y = _flush(y)
    values, saturated = round_to(fmt, y)
    if activation != Activation.IDENTITY:
        values = np.where((y > 0) & (values == 0), min_value(fmt), values)
    if activation == Activation.RELU6:
        below_six = float(decode(fmt, fmt.code_of_six - 1))
        values = np.where((y < 6) & (values >= 6), below_six, values)
    return encode(fmt, values), saturated, values
