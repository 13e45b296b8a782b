"""float64 references: textbook batch norm, and the sampled range norm that the core approximates."""

from dataclasses import dataclass

import numpy as np

from bnforge.config import Activation

from .core import default_c, default_eps
from .inputs import FloatInput
from .statistics import chunk_shape

__all__ = ["RangeNorm", "activate", "batch_norm", "quantised", "range_norm"]


@dataclass(frozen=True, eq=False)
class RangeNorm:
    """A sampled range norm with its intermediates, all float64.

    Attributes
    ----------
    x : (n, channels)
    gamma, beta, mu, r, a : (channels,)
        a = gamma / (C·(R + eps)), 0 where R = 0.
    c, eps : float
    sample_len : int
        S_eff.
    activation : Activation
    z, y : (n, channels)
        a·(x - mu) + beta before and after the activation.
    """

    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mu: np.ndarray
    r: np.ndarray
    a: np.ndarray
    c: float
    eps: float
    sample_len: int
    activation: Activation
    z: np.ndarray
    y: np.ndarray


def activate(activation, z):
    """identity, max(0, z) or min(6, max(0, z))."""
    if activation == Activation.IDENTITY:
        return z
    return np.maximum(z, 0) if activation == Activation.RELU else np.clip(z, 0, 6)


def batch_norm(x, gamma, beta, *, eps=1e-5, activation=Activation.RELU):
    """act(gamma·(x - mean)/sqrt(variance + eps) + beta) per channel: Ioffe and Szegedy 2015, the biased variance.

    Parameters
    ----------
    x : (n, channels)
    gamma, beta : (channels,)

    Returns
    -------
    float64 (n, channels)
    """
    x = np.asarray(x, np.float64)
    scale = gamma / np.sqrt(x.var(axis=0) + eps)
    return activate(activation, (x - x.mean(axis=0)) * scale + beta)


def quantised(config, x):
    """x as the core receives it: rounded to the input format, NaN as 0, infinities as the largest finite value."""
    x = np.asarray(x)
    return FloatInput(config.x_format, x).rows(0, len(x))


def range_norm(config, x, gamma, beta, *, activation=Activation.RELU, sample_len=None, c=None, eps=None):
    """The forward formulas of the design contract in float64, with the core's sample and chunks.

    Only ``sample_depth`` and ``chunk_len`` of the configuration count: no number is rounded to any format. Parameters
    and defaults as :func:`bnforge_model.forward`; x is finite (:func:`quantised`).

    Returns
    -------
    RangeNorm
    """
    x = np.asarray(x, np.float64)
    gamma, beta = np.asarray(gamma, np.float64), np.asarray(beta, np.float64)
    c = default_c(config, len(x), sample_len) if c is None else c
    eps = default_eps(c) if eps is None else eps
    sample = x[:min(len(x), sample_len or config.sample_depth, config.sample_depth)]
    n_chunks, length = chunk_shape(config, len(sample))
    chunks = sample[:n_chunks * length].reshape(n_chunks, length, -1)
    mu = sample.mean(axis=0)
    r = (chunks.max(axis=1) - chunks.min(axis=1)).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where(r == 0, 0.0, gamma / (c * (r + eps)))
    z = a * (x - mu) + beta
    return RangeNorm(x, gamma, beta, mu, r, a, c, eps, len(sample), activation, z, activate(activation, z))
