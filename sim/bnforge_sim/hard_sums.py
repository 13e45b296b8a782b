"""Effective bits of the sums of a backward tile, on data made to cancel or to be cut.

A case is g (n, channels), y (n, channels) and the centre beta' that P takes off, rounded to the formats afterwards. A
product with y = 8 = 2^3 has its exponent where g has it in the accumulator's steps of 8.
"""

import math
from fractions import Fraction

import numpy as np

from bnforge.config import SUM_BLOCK
from bnforge.formats import FloatFormat
from bnforge_model.floats import round_to
from bnforge_model.reference import quantised
from bnforge_model.statistics import GradientSums

__all__ = ["SUM_BITS_BOUND", "SUM_CASES", "sum_case", "model_sums", "effective_bits", "sum_bits"]

SUM_BITS_BOUND = -math.log2(2 ** -15 + 2 ** -18 + 2 ** -22)
"""Effective bits of Sg and Sgy for every input of up to 2^20 beats (docs/arithmetic.md)."""


def _signs(n):
    return np.where(np.arange(n) % 2, -1.0, 1.0)[:, None]


def _positive(rng, shape):
    return rng.uniform(1, 2, shape), rng.uniform(1, 2, shape), 1.5


def _zero_mean(rng, shape):
    return rng.standard_normal(shape), rng.uniform(1, 2, shape), 1.5


def _large_centre(rng, shape):
    return rng.normal(0.3, 1, shape), 100 + rng.integers(-1, 2, shape).astype(float), 100.0


def _growing(rng, shape):
    scale = 2.0 ** (40 * np.arange(shape[0]) // shape[0])[:, None]
    return _signs(shape[0]) * scale * rng.uniform(1, 2, shape), np.ones(shape), 1.0


def _decaying(rng, shape):
    g, y, centre = _growing(rng, shape)
    return g[::-1], y, centre


def _any_magnitude(rng, shape):
    return rng.choice([-1, 1], shape) * 2.0 ** rng.uniform(-30, 30, shape), rng.uniform(1, 2, shape), 1.5


def _rising_in_blocks(rng, shape):
    scale = 2.0 ** (np.arange(shape[0]) % SUM_BLOCK // 2 - 30.0)[:, None]
    return _signs(shape[0]) * scale * rng.uniform(1, 2, shape), np.ones(shape), 1.0


def _cancelling_blocks(rng, shape):
    g = rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 9, shape)
    blocks = g.reshape(-1, 2, SUM_BLOCK, shape[1])
    blocks[:, 1] = -rng.permuted(blocks[:, 0], axis=1)
    return g, np.ones(shape), 1.0


def _huge_then_tiny(rng, shape):
    """One element, and blocks that are each just below the last place of the total that it makes."""
    g = np.full(shape, (1 - 2.0 ** -8) * 2.0 ** -37)
    g[0] = 2.0
    return g, np.full(shape, 8.0), 8.0


def _cut_by_each_block(rng, shape):
    """In each block one element, then 127 just below the last place that it leaves; the large ones cancel."""
    g = np.full(shape, (2 - 2.0 ** -7) * 2.0 ** -22)
    g[::SUM_BLOCK] = 2 * _signs(shape[0] // SUM_BLOCK)
    return g, np.full(shape, 8.0), 8.0


SUM_CASES = {"all positive": _positive, "zero mean": _zero_mean, "y near beta'": _large_centre,
             "alternating, growing": _growing, "alternating, decaying": _decaying, "any magnitude": _any_magnitude,
             "rising in each block": _rising_in_blocks, "blocks cancel in pairs": _cancelling_blocks,
             "one huge, then tiny": _huge_then_tiny, "cut in each block": _cut_by_each_block}
"""Name to generator of g, y and the centre."""


def model_sums(config, g, y):
    """(Sg, Sgy) of the model, each float64 (channels,)."""
    sums, step = GradientSums(config, *g.shape), 1 << 13
    for first in range(0, len(g), step):
        sums.add(g[first:first + step], y[first:first + step])
    return sums.totals()


def _truncate(value, bits):
    """trunc_bits of a fraction (docs/arithmetic.md)."""
    drop = abs(value.numerator).bit_length() - value.denominator.bit_length() - bits - 1
    scaled = abs(value) / Fraction(2) ** drop
    drop += max(0, int(scaled).bit_length() - bits)
    return (1 if value > 0 else -1) * int(abs(value) / Fraction(2) ** drop) * Fraction(2) ** drop


def effective_bits(computed, terms):
    """-log2(|computed - Σ terms| / Σ|terms|); infinite where equal. ``terms`` are float64 numbers, summed exactly."""
    size = math.fsum(np.abs(terms))
    # math.fsum rounds once; with the computed value among the terms it rounds the error itself.
    error = abs(math.fsum(np.append(terms, -float(computed))))
    return -math.log2(error / size) if error else math.inf


def sum_case(config, name, *, log2_n, draws, seed):
    """g and y of a case, float64 (n, draws), values of the formats; and beta'."""
    rng = np.random.default_rng([seed, log2_n, list(SUM_CASES).index(name)])
    g, y, centre = SUM_CASES[name](rng, (1 << log2_n, draws))
    stored = FloatFormat(8, config.storage.fraction_width) if config.is_block else config.storage
    return np.ascontiguousarray(quantised(config, g)), round_to(stored, y)[0], centre


def sum_bits(config, name, *, log2_n, draws, seed):
    """Effective bits of Sg, Sgy and P: -log2 of |error| / Σ|terms|, the worst of ``draws`` channels.

    The terms of P are those of Sgy and of beta' · Sg. What holds for both sums then holds for it: its own cuts are at
    2^-23 and 2^-31.

    Returns
    -------
    dict
        ``case``, ``log2_n``, ``sg``, ``sgy``, ``p``: bits, None where every draw is exact.
    """
    g, y, centre = sum_case(config, name, log2_n=log2_n, draws=draws, seed=seed)
    sg, sgy = model_sums(config, g, y)
    bits = []
    for channel in range(draws):
        terms, products = g[:, channel], g[:, channel] * y[:, channel]
        taken_off = _truncate(Fraction(centre) * Fraction(sg[channel]), 32)
        p = _truncate(Fraction(sgy[channel]) - taken_off, 24)
        bits.append((effective_bits(sg[channel], terms), effective_bits(sgy[channel], products),
                     effective_bits(p, np.concatenate([products, -centre * terms]))))
    worst = np.min(bits, axis=0)
    return {"case": name, "log2_n": log2_n, **{key: float(value) if math.isfinite(value) else None
                                               for key, value in zip(("sg", "sgy", "p"), worst, strict=True)}}
