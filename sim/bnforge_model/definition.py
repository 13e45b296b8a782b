"""A core without constant extraction in numpy (docs/arithmetic.md, "Constant extraction off").

Why float64 is enough: a quotient u/d of 16 by 16 bits is off every midpoint by 2^-(17 + 16) at least, as derived in
:mod:`.constants`; products of two working-format numbers have 32 bits; all exponents stay within ±512.
"""

from dataclasses import dataclass

import numpy as np

from bnforge.config import Activation, Extraction
from bnforge.formats import FP32, WORKING

from .constants import BackwardConstants, Constants, moments
from .floats import add_odd, add_toward_zero, round_to, truncate
from .statistics import SUM_BITS, TOTAL_BITS, chunk_shape

__all__ = ["DefinitionConstants", "scale_of", "definition_constants", "definition_gradients", "evaluate"]


@dataclass(frozen=True, eq=False)
class DefinitionConstants(Constants):
    """With gamma and beta in place of a and b; ``scale`` is h, the reciprocal, or d, the divisor."""

    scale: np.ndarray


def _round_w(values):
    return round_to(WORKING, values)


def _cut(values):
    return truncate(values, SUM_BITS)


def scale_of(config, r, rinv, c, eps):
    """h or d of each channel, float64 (channels,), and where its rounding saturated."""
    if config.extraction is Extraction.SHARED_DIVIDER:
        return _round_w(rinv * _round_w(1 / c)[0])
    scale, saturated = _round_w(c * _cut(add_toward_zero(r, eps)))
    return np.where(r == 0, 0.0, scale), saturated & (r != 0)


def definition_constants(config, header, statistics, sample_len):
    """Constants of a forward tile; parameters as :func:`.constants.constants`."""
    mu, r, rinv, saturated = moments(config, header, statistics, sample_len)
    scale, scale_saturated = scale_of(config, r, rinv, header.c, header.eps)
    return DefinitionConstants(header.gamma, header.beta, rinv, mu, r, saturated | scale_saturated, scale)


def definition_gradients(config, header, sums, sample_len):
    """Constants of a backward tile: ``base`` is m, ``plus`` and ``minus`` are t and -t.

    Parameters
    ----------
    config : Config
    header : BackwardHeader
        Its a and b are gamma and beta.
    sums : (Sg, Sgy), each float64 (channels,)
    sample_len : int
        S_eff.

    Returns
    -------
    BackwardConstants
        ``saturated`` includes that of h or d.
    """
    total, product = sums
    gamma, beta = header.a, header.b
    n_chunks, _ = chunk_shape(config, sample_len)
    p = _cut(add_toward_zero(product, -truncate(beta * total, TOTAL_BITS)))
    floor = np.maximum(2.0 ** -6, np.abs(beta) * 2.0 ** -(config.storage.fraction_width + 1))
    divisor = np.where(np.abs(gamma) < floor, np.copysign(floor, gamma), gamma)
    mean, mean_over = _round_w(total * _round_w(1 / sample_len)[0])
    t, t_over = _round_w(-_cut(p * header.rinv) * _round_w(1 / n_chunks)[0])
    dgamma, gamma_over = _round_w(np.where((gamma == 0) | (header.r == 0), 0.0, p / divisor))
    dbeta, beta_over = round_to(FP32, total)
    _, scale_over = scale_of(config, header.r, header.rinv, header.c, header.eps)
    return BackwardConstants(mean, t, -t, dgamma, dbeta, mean_over | t_over | gamma_over | beta_over | scale_over)


def evaluate(config, x, mean, scale, gamma, shift, activation):
    """act(Q_W(gamma · v + shift)) of a block of rows; v = Q_W(u · scale), or Q_W(u / scale), of u = Q_W(x - mean).

    Parameters
    ----------
    config : Config
    x : float64 (rows, channels)
        Sanitised elements.
    mean, scale, gamma, shift : float64, broadcast to the shape of x
        Values of the working format.
    activation : Activation

    Returns
    -------
    y : float64 (rows, channels)
    saturated : array of bool (channels,)
        Of any rounding before the activation.
    """
    u, u_over = _round_w(add_odd(x, np.broadcast_to(-mean, x.shape)))
    if config.extraction is Extraction.SHARED_DIVIDER:
        v, v_over = _round_w(u * scale)
    else:
        v, v_over = _round_w(np.where(scale == 0, 0.0, u / np.where(scale == 0, 1.0, scale)))
    y, y_over = _round_w(add_odd(v * gamma, np.broadcast_to(shift, x.shape)))
    if activation != Activation.IDENTITY:
        np.maximum(y, 0.0, out=y)
    if activation == Activation.RELU6:
        np.minimum(y, 6.0, out=y)
    return y, (u_over | v_over | y_over).any(axis=0)
