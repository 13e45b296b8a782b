"""Statistics of the sample in numpy: the anchored sum and the chunked range (docs/arithmetic.md).

All values are float64 that hold exact integers or exact values of the formats; each step says why that is so.
"""

import math
from dataclasses import dataclass

import numpy as np

from .floats import add_toward_zero, truncate

__all__ = ["SampleStatistics", "guard_bits", "chunk_shape", "anchored_sum", "sample_statistics"]

SUM_BITS = 24
"""Significant bits that Σx, d and Σd keep."""
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
    return max(0, 14 + (config.sample_depth - 1).bit_length() + 1 - config.x_format.fraction_width)


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


def anchored_sum(config, x):
    """The anchored accumulator over the sample, before the truncation to 24 bits.

    Floor shifts compose, floor((floor(u / 2^i) + k) / 2^j) = floor((u + k·2^i) / 2^(i+j)), so that between two rises
    of the anchor the terms of a channel may be summed in any order, each already shifted to that anchor:
    trunc(x · 2^(bias + M + G - q·anchor)). The anchor is that of the running maximum; the runs are found from the
    last one back. Terms have at most M + 1 + 7 + G <= 24 + ceil(log2 S) <= 38 bits (G > 0 here, as M <= 15), their
    sums at most 52: exact in float64.

    Parameters
    ----------
    config : Config
    x : array of float64, (channels, S_eff), contiguous
        Values of the input format.

    Returns
    -------
    array of float64, (channels,)
    """
    fmt = config.x_format
    if fmt.exponent_width <= 5:
        return _exact_sum(config, x)
    q = 8
    unit = fmt.bias + fmt.fraction_width + guard_bits(config)
    end = np.full(x.shape[0], x.shape[1])
    magnitude = np.abs(x)
    runs = []
    while (width := int(end.max())) > 0:
        part, size = x[:, :width], magnitude[:, :width]
        if runs:
            size = np.where(np.arange(width) < end[:, None], size, 0.0)
        exponent = (size.max(axis=1).view(np.int64) >> 52) - (1023 - fmt.bias)
        anchor = np.maximum(exponent, 1) // q
        threshold = np.where(anchor > 0, np.ldexp(1.0, q * anchor - fmt.bias), 0.0)
        start = np.minimum((size >= threshold[:, None]).argmax(axis=1), end)
        terms = np.trunc(part * np.ldexp(1.0, unit - q * anchor)[:, None])
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


def _chunked_range(chunks):
    """Σd and positions from (channels, K, length).

    Two positive numbers of 24 bits: their float64 sum is exact unless one is below 2^-29 of the other, and then cuts to
    the same 24 bits as the exact one.
    """
    argmax = chunks.argmax(axis=2)
    argmin = chunks.argmin(axis=2)
    high = np.take_along_axis(chunks, argmax[..., None], 2)[..., 0]
    low = np.take_along_axis(chunks, argmin[..., None], 2)[..., 0]
    distance = truncate(add_toward_zero(high, -low), SUM_BITS)
    total = np.zeros(chunks.shape[0])
    for j in range(chunks.shape[1]):
        total = truncate(total + distance[:, j], SUM_BITS)
    return total, argmax, argmin


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
