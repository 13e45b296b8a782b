"""The inputs of the model: rows of a tensor, of codes or of stored blocks, as the core takes them."""

import numpy as np

from .blocks import decode_blocks
from .floats import (
    code_dtype,
    decode_table,
    infinity_code,
    max_value,
    min_value,
    round_significand,
    round_to,
    sanitise,
)

__all__ = ["FloatInput", "CodeInput", "BlockInput", "RoundedInput"]


class _Input:
    """Rows as sanitised values, and the flags that they raised.

    Attributes
    ----------
    shape : (n, channels)
    nan, infinity : bool (channels,)
        Flags so far; complete once every row has been read.
    """

    def __init__(self, fmt, data):
        self.fmt = fmt
        self.shape = data.shape
        self.nan = np.zeros(data.shape[1], bool)
        self.infinity = np.zeros(data.shape[1], bool)
        self._data = data


class FloatInput(_Input):
    """Real numbers, rounded to the input format by Q_f first, as a driver does (:func:`.floats.to_codes`)."""

    def rows(self, first, last):
        """Rows ``first ... last - 1``: float64 (rows, channels), values of the format."""
        fmt = self.fmt
        x = self._data[first:last].astype(np.float64)
        low, high = x.min(), x.max()
        limit = max_value(fmt)
        if not (-limit <= low and high <= limit):
            x = self._beyond(x, limit)
        if fmt.has_subnormals:
            return round_to(fmt, x)[0]
        round_significand(x, fmt.fraction_width, out=x)
        tiny = np.abs(x) < min_value(fmt)
        if tiny.any():
            x[tiny] = 0
        return x

    def _beyond(self, x, limit):
        """NaN to 0, infinities and what lies beyond the largest finite value to that value."""
        nan = np.isnan(x)
        self.nan |= nan.any(axis=0)
        if not self.fmt.is_e4m3:
            self.infinity |= np.isinf(x).any(axis=0)
        return np.clip(np.where(nan, 0.0, x), -limit, limit)


class CodeInput(_Input):
    """Codes of the input format."""

    def __init__(self, fmt, data):
        super().__init__(fmt, data.astype(code_dtype(fmt.width), copy=False))

    def rows(self, first, last):
        """Rows ``first ... last - 1``: float64 (rows, channels), values of the format."""
        fmt, codes = self.fmt, self._data[first:last]
        magnitude = codes & codes.dtype.type((1 << (fmt.width - 1)) - 1)
        if magnitude.max() > fmt.max_code:
            infinity = np.zeros(codes.shape, bool) if fmt.is_e4m3 else magnitude == infinity_code(fmt)
            self.infinity |= infinity.any(axis=0)
            self.nan |= ((magnitude > fmt.max_code) & ~infinity).any(axis=0)
        if fmt.width <= 16:
            return decode_table(fmt)[codes]
        return sanitise(fmt, codes)[0]


class BlockInput(_Input):
    """Stored blocks.

    A reserved exponent code sets ``nan`` in all channels of its group.
    """

    def __init__(self, fmt, elements, exponents):
        super().__init__(fmt, elements)
        self._exponents = exponents

    def rows(self, first, last):
        """Rows ``first ... last - 1``: float64 (rows, channels)."""
        values, reserved = decode_blocks(self.fmt, self._data[first:last], self._exponents[first:last])
        if reserved.any():
            self.nan |= np.repeat(reserved.any(axis=0), self.fmt.group)[:len(self.nan)]
        return values


class RoundedInput:
    """Another input, rounded to a float format by Q_f.

    Attributes
    ----------
    shape, nan, infinity : of the other input
    saturated : bool (channels,)
        Channels in which that saturated so far.
    """

    def __init__(self, fmt, source):
        self.fmt, self._source = fmt, source
        self.shape, self.nan, self.infinity = source.shape, source.nan, source.infinity
        self.saturated = np.zeros(source.shape[1], bool)

    def rows(self, first, last):
        """Rows ``first ... last - 1``: float64 (rows, channels), values of the format."""
        fmt, x = self.fmt, self._source.rows(first, last)
        if self._source.fmt.fraction_width <= fmt.fraction_width:
            size = np.abs(x)
            if size.max() <= max_value(fmt) and size.min(where=size > 0, initial=np.inf) >= 2.0 ** fmt.e_min:
                return x
        x, saturated = round_to(fmt, x)
        self.saturated |= saturated.any(axis=0)
        return x
