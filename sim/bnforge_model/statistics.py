"""Statistics in numpy: the anchored sum, the chunked range and the sums of the gradient (docs/arithmetic.md).

All values are float64 that hold exact integers or exact values of the formats; each step says why that is so.
"""

import math
from dataclasses import dataclass

import numpy as np

from bnforge.config import SUM_BLOCK
from bnforge.formats import BlockFormat

from .floats import add_toward_zero, truncate

__all__ = ["SampleStatistics", "guard_bits", "chunk_shape", "anchored_sum", "sample_statistics", "channel_ranges",
           "GradientSums"]

SUM_BITS = 24
"""Significant bits that Σx, d, Σd and the sums of a block keep."""
TOTAL_BITS = 32
"""Significant bits of the running total of blocks."""
ANCHOR_STEP = 8
"""q: exponents that share an anchor, where the sum is not exact."""
PRODUCT_BITS = 22
"""Fraction bits of g·y that its accumulator keeps at least: M_g + M_y + G."""
_BLOCK = 1 << 15
"""Elements worked on at a time: what fits in a second-level cache with its temporaries."""


@dataclass(frozen=True, eq=False)
class SampleStatistics:
    """Per channel, before the constants.

    Attributes
    ----------
    total : float64 (channels,)
        Σx of the sample, truncated to 24 bits.
    range_total : float64 (channels,)
        Σd of the chunks, truncated to 24 bits.
    argmax, argmin : int64 (channels, K)
        Chunk-relative positions; the first wins a tie.
    """

    total: np.ndarray
    range_total: np.ndarray
    argmax: np.ndarray
    argmin: np.ndarray


def guard_bits(config):
    """G: bits that the anchored accumulator keeps below the last place of a term."""
    if config.x_format.exponent_width <= 5:
        return 0
    return max(0, 15 + (config.sum_terms - 1).bit_length() - config.x_format.fraction_width)


def chunk_shape(config, sample_len):
    """(K, length): chunks of a sample of ``sample_len`` elements, and elements of each."""
    if sample_len < config.chunk_len:
        return 1, sample_len
    return sample_len // config.chunk_len, config.chunk_len


def _exact_sum(config, x):
    """Exponent width <= 5: the exact sum, as a float64 whose top 24 bits are those of the sum.

    In units of the smallest subnormal: integers of ``significand_width + e_max - e_min`` bits, at most 45.
    """
    fmt = config.x_format
    unit = fmt.fraction_width - fmt.e_min
    bits = fmt.significand_width + fmt.e_max - fmt.e_min + (x.shape[1] - 1).bit_length()
    if bits <= 53:
        return x.sum(axis=1)
    # Up to 59 bits: exact in int64. From 2^53 on the top 24 bits end above bit 28, so the low 16 may go.
    total = (x * 2.0 ** unit).astype(np.int64).sum(axis=1)
    magnitude = np.abs(total)
    magnitude = np.where(magnitude >> 53 > 0, magnitude >> 16 << 16, magnitude)
    return np.sign(total) * magnitude.astype(np.float64) * 2.0 ** -unit


def _scale(exponent):
    """2**exponent with an axis added, for an array of int64."""
    return ((exponent + 1023) << 52).view(np.float64)[..., None]


def _anchor(size, offset):
    """A of numbers in [2^(E - offset), 2^(E - offset + 1)), of E = 1 for those below."""
    exponent = (size.view(np.int64) >> 52) - (1023 - offset)
    return np.maximum(exponent, 1) // ANCHOR_STEP


def anchored_runs(x, size, offset, unit):
    """The anchored accumulator (q = 8) over each row.

    Floor shifts compose, floor((floor(u / 2^i) + k) / 2^j) = floor((u + k·2^i) / 2^(i+j)), so that between two rises
    of the anchor the terms of a row may be summed in any order, each already shifted to that anchor:
    trunc(x · 2^(unit - q·anchor)). The anchor is that of the running maximum; the runs are found from the last one
    back. Terms of x have at most M + 1 + 7 + G <= 23 + ceil(log2 S) <= 37 bits (G > 0 here, as M <= 15), those of g·y
    M_g + M_y + 2 + 7 + G <= 39; the sums of S of the former, and of 128 of the latter, at most 51: exact in float64.

    Parameters
    ----------
    x : array of float64, (rows, n), contiguous
        Terms.
    size : array of float64, (rows, n), not negative
        Numbers in [2^(E - offset), 2^(E - offset + 1)) for terms of exponent E; 0 for E = 0.
    offset, unit : int
        The sum counts in 2^(q·anchor - unit).

    Returns
    -------
    array of float64, (rows,)
    """
    q = ANCHOR_STEP
    end = np.full(x.shape[0], x.shape[1])
    runs = []
    magnitude = size
    while (width := int(end.max())) > 0:
        part, size = x[:, :width], magnitude[:, :width]
        if runs:
            size = np.where(np.arange(width) < end[:, None], size, 0.0)
        anchor = _anchor(size.max(axis=1), offset)
        threshold = np.where(anchor > 0, np.ldexp(1.0, q * anchor - offset), 0.0)
        start = np.minimum((size >= threshold[:, None]).argmax(axis=1), end)
        terms = np.trunc(part * _scale(unit - q * anchor))
        index = np.arange(width)
        if runs:
            terms *= (index >= start[:, None]) & (index < end[:, None])
            total = terms.sum(axis=1)
        else:
            prefix = int(start.max())
            total = terms.sum(axis=1) - (terms[:, :prefix] * (index[:prefix] < start[:, None])).sum(axis=1)
        runs.append((np.where(end > 0, anchor, 0), total))
        end = start
    accumulator = np.zeros(x.shape[0])
    anchor = np.zeros(x.shape[0], np.int64)
    for next_anchor, total in reversed(runs):
        accumulator = np.floor(accumulator * np.ldexp(1.0, q * (anchor - next_anchor))) + total
        anchor = next_anchor
    return accumulator * np.ldexp(1.0, q * anchor - unit)


def anchored_sum(config, x):
    """Σx over each row of values of the input format, (channels, S_eff), before the truncation to 24 bits."""
    fmt = config.x_format
    if fmt.exponent_width <= 5:
        return _exact_sum(config, x)
    return anchored_runs(x, np.abs(x), fmt.bias, fmt.bias + fmt.fraction_width + guard_bits(config))


def _chunked_range(chunks):
    """Σd and positions from (channels, K, length)."""
    argmax = chunks.argmax(axis=2)
    argmin = chunks.argmin(axis=2)
    high = np.take_along_axis(chunks, argmax[..., None], 2)[..., 0]
    low = np.take_along_axis(chunks, argmin[..., None], 2)[..., 0]
    return _range_total(high, low), argmax, argmin


def _range_total(high, low):
    """Σd of chunks with these extrema, each (channels, K).

    Two positive numbers of 24 bits: their float64 sum is exact unless one is below 2^-29 of the other, and then cuts to
    the same 24 bits as the exact one.
    """
    distance = truncate(add_toward_zero(high, -low), SUM_BITS)
    total = np.zeros(len(high))
    for j in range(high.shape[1]):
        total = truncate(total + distance[:, j], SUM_BITS)
    return total


def channel_ranges(x, length):
    """Σd and positions of whole channels, in chunks of ``length`` elements of which the last may be short.

    Parameters
    ----------
    x : array of float64, (n, channels)
        Values of the input format, in stream order.
    length : int
        L.

    Returns
    -------
    range_total : float64 (channels,)
        Truncated to 24 bits.
    argmax, argmin : int64 (channels, K)
        Chunk-relative positions; the first wins a tie.
    """
    chunks = [x[first:first + length] for first in range(0, len(x), length)]
    positions = [np.stack([getattr(chunk, name)(axis=0) for chunk in chunks], axis=1) for name in ("argmax", "argmin")]
    high, low = (np.stack([np.take_along_axis(chunk, at[None, :, j], 0)[0] for j, chunk in enumerate(chunks)], axis=1)
                 for at in positions)
    return _range_total(high, low), *positions


def sample_statistics(config, sample):
    """Sums, ranges and positions of a sample.

    Parameters
    ----------
    config : Config
    sample : array of float64, (S_eff, channels)
        Values of the input format, in stream order.

    Returns
    -------
    SampleStatistics
    """
    sample_len, channels = sample.shape
    n_chunks, length = chunk_shape(config, sample_len)
    total, range_total = np.zeros(channels), np.zeros(channels)
    argmax, argmin = np.zeros((2, channels, n_chunks), np.int64)
    step = max(1, math.ceil(_BLOCK / sample_len))
    for first in range(0, channels, step):
        block = slice(first, first + step)
        x = np.ascontiguousarray(sample[:, block].T)
        total[block] = truncate(anchored_sum(config, x), SUM_BITS)
        chunks = x[:, :n_chunks * length].reshape(x.shape[0], n_chunks, length)
        range_total[block], argmax[block], argmin[block] = _chunked_range(chunks)
    return SampleStatistics(total, range_total, argmax, argmin)


def _powers(values):
    """2^floor(log2|v|) of each value, 0 of 0."""
    return (values.view(np.int64) & (0x7FF << 52)).view(np.float64)


class GradientSums:
    """Σg and Σg·y of a tile: blocks of 128 beats, truncated, and their running totals.

    The baselines also take sums of other products of two numbers so.

    Where every term of a block is a multiple of the accumulator's last unit nothing is ever cut, and the plain sum is
    that of the anchored accumulator. Other blocks wait until there are enough of them to be worth a call.

    Parameters
    ----------
    config : Config
    n, channels : int
        Shape of the tile.
    y_format : FloatFormat or BlockFormat, optional
        Of the second factors; default: the storage.
    """

    def __init__(self, config, n, channels, y_format=None):
        x, y = config.x_format, config.storage if y_format is None else y_format
        offset = sum(fmt.bias + (fmt.fraction_width if isinstance(fmt, BlockFormat) or fmt.has_subnormals else 0)
                     for fmt in (x, y))
        unit = offset + max(x.fraction_width + y.fraction_width, PRODUCT_BITS)
        # Exponents that all count as 1 make Σg exact: anchor 0.
        self._offsets = x.bias if x.exponent_width > 5 else -4096, offset
        self._units = x.bias + x.fraction_width + guard_bits(config), unit
        self._blocks = np.zeros((2, -(-n // SUM_BLOCK), channels))
        self._filled = 0
        self._scratch = np.empty((2, 2, 0, SUM_BLOCK))
        self._waiting, self._n_waiting = ([], []), 0

    def add(self, g, y):
        """The next blocks: values (rows, channels), rows a multiple of 128 but for the last of the tile."""
        n, channels = g.shape
        if n % SUM_BLOCK:
            g, y = (np.pad(v, ((0, -n % SUM_BLOCK), (0, 0))) for v in (g, y))
        g, y = (v.reshape(-1, SUM_BLOCK, channels).transpose(0, 2, 1) for v in (g, y))
        if self._scratch.shape[2] != len(g) * channels:
            self._scratch = np.empty((2, 2, len(g) * channels, SUM_BLOCK))
        terms, work = self._scratch
        terms[0].reshape(g.shape)[...] = g
        terms[1].reshape(g.shape)[...] = y
        terms[1] *= terms[0]
        # The exponent of a product is that of its factors' sum or one more, so that its anchor may be one too high.
        np.abs(terms, out=work)
        scale = _scale(np.array([[unit] for unit in self._units])
                       - ANCHOR_STEP * _anchor(work.max(axis=2), np.array([[offset] for offset in self._offsets])))
        np.multiply(terms, scale, out=work)
        np.trunc(work, out=terms)
        sums = truncate(work.sum(axis=2) / scale[..., 0], SUM_BITS)
        self._blocks[:, self._filled:self._filled + len(g)] = sums.reshape(2, -1, channels)
        cut = (work != terms).any(axis=2)
        for which in np.flatnonzero(cut.any(axis=1)):
            block, channel = np.divmod(np.flatnonzero(cut[which]), channels)
            self._waiting[which].append((self._filled + block, channel, g[block, channel], y[block, channel]))
            self._n_waiting += len(block)
        if self._n_waiting * SUM_BLOCK > _BLOCK:
            self._finish()
        self._filled += len(g)

    def _finish(self):
        """Sum the waiting blocks in order."""
        for which, waiting in enumerate(self._waiting):
            if waiting:
                block, channel, g, y = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
                terms, size = (g * y, _powers(g) * _powers(y)) if which else (g, np.abs(g))
                sums = anchored_runs(terms, size, self._offsets[which], self._units[which])
                self._blocks[which, block, channel] = truncate(sums, SUM_BITS)
                waiting.clear()
        self._n_waiting = 0

    def totals(self):
        """(Sg, Sgy), float64 (2, channels)."""
        self._finish()
        total = _running_total(self._blocks.transpose(1, 0, 2))
        return truncate(total[0], SUM_BITS), total[1]


def _running_total(blocks):
    """total' = trunc32(total + block) over the first axis.

    The plain float64 sum is exact where all that can come up lies between the last place of the smallest block and
    2^53 times that.
    """
    size = np.abs(blocks)
    least = np.where(size > 0, size, np.inf).min(axis=0) * 2.0 ** (1 - SUM_BITS)
    exact = (size.sum(axis=0) < least * 2.0 ** 52).all()
    total = np.zeros(blocks.shape[1:])
    bits, kept = total.view(np.int64), -1 << (53 - TOTAL_BITS)
    for block in blocks:
        if exact:
            np.add(total, block, out=total)
        else:
            total[...] = add_toward_zero(total, block)
        np.bitwise_and(bits, kept, out=bits)
    return total
