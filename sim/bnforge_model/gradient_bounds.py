"""The distance between the model's gradients and those of the float64 range norm: a bound, and what is measured.

docs/error_bounds.md derives the bound ("Gradients"). The mask is that of the stored y, in the reference too.
"""

from dataclasses import dataclass

import numpy as np

from bnforge.config import SUM_BLOCK, Activation
from bnforge.formats import FP32, WORKING, BlockFormat

from .blocks import is_active
from .bounds import channel_bounds, header_error, reciprocal_unit, rounding_error, storage_error
from .core import forward
from .floats import max_value, min_value
from .gradient import backward
from .reference import quantised, range_norm, range_norm_backward
from .statistics import PRODUCT_BITS, SUM_BITS, TOTAL_BITS, chunk_shape, guard_bits
from .stimulus import input_class

__all__ = ["GradientBounds", "gradient_bounds", "measure_gradients"]

_CUT = 2.0 ** -(SUM_BITS - 1)
_MARGIN = 1 + 2.0 ** -20


@dataclass(frozen=True, eq=False)
class GradientBounds:
    """Bounds of the errors of dx (n, channels), dgamma and dbeta (channels,); infinite where nothing can be said."""

    dx: np.ndarray
    dgamma: np.ndarray
    dbeta: np.ndarray


def _sum_unit(n, unit):
    """Error of a total of n terms over the sum of their magnitudes, ``unit`` what one element may lose of its block."""
    blocks = -(-n // SUM_BLOCK)
    return ((1 + min(n, SUM_BLOCK) * unit) * (1 + _CUT) * (1 + 2.0 ** -(TOTAL_BITS - 1)) ** blocks * (1 + _CUT) - 1
            + n * 2.0 ** -52)


def _stored_error(fmt, encoded, y, top):
    """Error of the stored y against the value of the working format that it was made from, active elements.

    ``top`` bounds the latter; it counts only where storage has saturated.
    """
    if isinstance(fmt, BlockFormat):
        k = encoded.elements.astype(np.int64)
        codes = np.repeat(encoded.exponents.astype(np.int64), fmt.group, axis=1)[:, :k.shape[1]]
        step = np.ldexp(1.0, codes - fmt.bias - fmt.fraction_width)
        whole = (k == 1) | (np.abs(k) == fmt.max_element) | (k == fmt.six_element - 1)
        error = np.where(whole, step, step / 2)
        full = (codes == fmt.max_exponent_code) & (np.abs(k) == fmt.max_element)
    else:
        size = np.abs(y)
        error = np.maximum(size * 2.0 ** -(fmt.fraction_width + 1), min_value(fmt))
        step = 2.0 ** (2 - fmt.fraction_width)
        error = np.where((size < 6) & (size >= 6 - step), step, error)
        full = size == max_value(fmt)
    return np.where(full, np.maximum(error, top - np.abs(y)), error)


def gradient_bounds(config, reference, dy, encoded):
    """Bounds of |gradients of the model - gradients of the reference|.

    Parameters
    ----------
    config : Config
    reference : RangeNorm
        On input as the core receives it (:func:`.reference.quantised`).
    dy : float64 (n, channels)
        As the core receives it.
    encoded : Encoded
        The stored y.

    Returns
    -------
    GradientBounds
    """
    with np.errstate(all="ignore"):
        bounds = _gradient_bounds(config, reference, dy, encoded)
    return GradientBounds(*(np.where(np.isnan(bound), np.inf, bound * _MARGIN) for bound in bounds))


def _gradient_bounds(config, ref, dy, encoded):
    channel = channel_bounds(config, ref)
    x_format, y_format, n = config.x_format, config.storage, len(dy)
    y = encoded.decode()
    g = np.where(is_active(ref.activation, y), dy, 0.0)
    size = np.abs(g)
    dx, dgamma, dbeta = range_norm_backward(config, ref, g, mask=np.ones(g.shape, bool))
    a, d = np.abs(ref.a), ref.r + ref.eps
    top_a = a + channel.a

    unit = 0.0 if x_format.exponent_width <= 5 else 2.0 ** -(x_format.fraction_width + guard_bits(config))
    sg = np.abs(dbeta)
    e_sg = _sum_unit(n, unit) * size.sum(axis=0)
    e_dbeta = e_sg + rounding_error(FP32, sg + e_sg, 0.0)

    # P - â·V, V = Σ g·(x - mu): what the stored y, the sums and the truncations add.
    moment = np.abs((g * (ref.x - ref.mu)).sum(axis=0))
    centre = np.abs(ref.beta) + channel.beta + channel.b
    top = np.abs(ref.z) + channel.a * np.abs(ref.x - ref.mu) + top_a * channel.mu + channel.beta + channel.b
    e_y = _stored_error(y_format, encoded, y, top)
    e_y = e_y + rounding_error(WORKING, np.maximum(np.abs(y) + e_y, np.where(g == 0, 0.0, top)))
    fractions = max(x_format.fraction_width + y_format.fraction_width, PRODUCT_BITS)
    e_p = (_sum_unit(n, 2.0 ** -fractions) * (size * np.abs(y)).sum(axis=0) + (size * e_y).sum(axis=0)
           + top_a * channel.mu * sg + centre * (e_sg + (2 * _CUT) * (sg + e_sg)))
    e_p = e_p + _CUT * (top_a * moment + e_p)

    product, e_c = ref.c * d, header_error(ref.c)
    e_product = ref.c * channel.d + e_c * (d + channel.d)
    e_product = e_product + 3 * _CUT * (product + e_product)
    least_product = product - e_product
    gamma = (a - channel.a) * least_product
    floor = np.maximum(2.0 ** -6, centre * (1 + _CUT) * 2.0 ** -(y_format.fraction_width + 1))
    p = top_a * moment + e_p
    error = moment * e_product / (product * least_product) + e_p / gamma
    e_dgamma = np.where((gamma > floor) & (least_product > 0), error, np.abs(dgamma) + p / 2.0 ** -6)
    e_dgamma = e_dgamma + rounding_error(WORKING, np.abs(dgamma) + e_dgamma)
    e_dgamma = np.where(ref.r == 0, 0.0, e_dgamma)

    n_chunks, length = chunk_shape(config, ref.sample_len)
    relative = (1 + _CUT) ** 2 * (1 + reciprocal_unit(ref.sample_len)) - 1
    c = a * sg / ref.sample_len
    e_shift = (channel.a * (sg + e_sg) + a * e_sg) / ref.sample_len
    e_shift = e_shift + relative * (c + e_shift)
    relative = (1 + _CUT) ** 2 * (1 + reciprocal_unit(n_chunks)) - 1
    t = np.where(ref.r == 0, 0.0, a * moment / np.where(d > 0, d, 1))
    e_step = (channel.a * moment + e_p) * (np.where(ref.r == 0, 0.0, 1 / d) + channel.rinv) + a * moment * channel.rinv
    e_step = (e_step + relative * (t + e_step)) / n_chunks

    addend, error = np.zeros(g.shape), channel.a * size
    addend[:ref.sample_len] = c
    error[:ref.sample_len] += e_shift
    chunks = ref.x[:n_chunks * length].reshape(n_chunks, length, -1)
    for positions in (chunks.argmax(axis=1), chunks.argmin(axis=1)):
        for chunk, rows in enumerate(positions):
            at = chunk * length + rows, np.arange(g.shape[1])
            addend[at] += t / n_chunks
            error[at] += e_step
    sample = error[:ref.sample_len] - channel.a * size[:ref.sample_len]
    error[:ref.sample_len] += rounding_error(config.b_format, addend[:ref.sample_len] + sample)
    error = error + rounding_error(WORKING, np.abs(dx) + error)
    e_dx = error + storage_error(config.gradient_storage, Activation.IDENTITY, dx - error, dx + error)
    return e_dx, e_dgamma, e_dbeta


def measure_gradients(config, name, *, activation=Activation.RELU, n=4096, channels=128, seed=0):
    """Worst error and bound of dx, dgamma and dbeta for an input class of x.

    gamma is uniform in ±[0.5, 2], beta normal, dy normal about 0.3.

    Returns
    -------
    dict
        Of dx, dgamma and dbeta: ``error``, the largest |model - reference|; ``bound``, the largest bound;
        ``violations``, elements with an error above their bound.
    """
    rng = np.random.default_rng(seed)
    x = quantised(config, input_class(name, config.x_format, rng, (n, channels)))
    gamma, beta = rng.choice([-1, 1], channels) * rng.uniform(0.5, 2, channels), rng.standard_normal(channels)
    dy = quantised(config, rng.normal(0.3, 1, (n, channels)))
    result = forward(config, x, gamma, beta, activation=activation)
    got = backward(config, dy, result.encoded, result.records, activation=activation)
    reference = range_norm(config, x, gamma, beta, activation=activation)
    wanted = range_norm_backward(config, reference, dy, mask=is_active(activation, result.y))
    bounds = gradient_bounds(config, reference, dy, result.encoded)
    rows = {}
    for part, want in zip(("dx", "dgamma", "dbeta"), wanted, strict=True):
        error, bound = np.abs(getattr(got, part) - want), getattr(bounds, part)
        rows[part] = {"error": float(error.max()), "bound": float(bound.max()),
                      "violations": int(np.sum(~(error <= bound)))}
    return rows
