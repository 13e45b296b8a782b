"""float64 references: textbook batch norm, and the sampled range norm that the core approximates; their gradients."""

from dataclasses import dataclass

import numpy as np

from bnforge.config import Activation

from .blocks import is_active
from .core import default_c, default_eps
from .sweep_header import channel_c, chunks_of
from .inputs import FloatInput
from .statistics import chunk_shape

__all__ = ["RangeNorm", "activate", "batch_norm", "batch_norm_backward", "quantised", "range_norm",
           "range_norm_backward"]


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


def batch_norm_backward(x, dy, gamma, beta, *, eps=1e-5, activation=Activation.RELU, mask=None):
    """The gradients of :func:`batch_norm`, from x: Ioffe and Szegedy 2015, section 3.

    Parameters
    ----------
    mask : array of bool, (n, channels)
        Where the activation passes the gradient: that of a stored y, say. Default: that of the float64 forward pass.

    Returns
    -------
    dx, dgamma, dbeta
        float64 (n, channels), (channels,), (channels,).
    """
    x = np.asarray(x, np.float64)
    deviation = np.sqrt(x.var(axis=0) + eps)
    normal = (x - x.mean(axis=0)) / deviation
    g = np.where(is_active(activation, normal * gamma + beta) if mask is None else mask, dy, 0.0)
    dgamma, dbeta = (g * normal).sum(axis=0), g.sum(axis=0)
    return gamma / deviation * (g - (dbeta + normal * dgamma) / len(x)), dgamma, dbeta


def quantised(config, x):
    """x as the core receives it: rounded to the input format, NaN as 0, infinities as the largest finite value."""
    x = np.asarray(x)
    return FloatInput(config.x_format, x).rows(0, len(x))


def _chunks(config, sample_len):
    """The chunks of a sample, or of a whole channel, as slices."""
    n_chunks, length = chunk_shape(config, sample_len) if config.is_one_pass else chunks_of(sample_len)
    return [slice(first, min(first + length, sample_len)) for first in range(0, n_chunks * length, length)]


def range_norm(config, x, gamma, beta, *, activation=Activation.RELU, sample_len=None, c=None, eps=None):
    """The forward formulas of the design contract in float64, with the core's sample and chunks.

    Only ``sample_depth`` and ``chunk_len`` of the configuration count: no number is rounded to any format. Parameters
    and defaults as :func:`bnforge_model.forward`; x is finite (:func:`quantised`). With the algorithm ``range`` the
    sample is all of x, in 8 chunks.

    Returns
    -------
    RangeNorm
    """
    x = np.asarray(x, np.float64)
    gamma, beta = np.asarray(gamma, np.float64), np.asarray(beta, np.float64)
    if c is None:
        c = default_c(config, len(x), sample_len) if config.is_one_pass else channel_c(len(x))
    eps = default_eps(c) if eps is None else eps
    sample = x[:min(sample_len or config.sample_depth, config.sample_depth)] if config.is_one_pass else x
    mu = sample.mean(axis=0)
    r = np.mean([np.ptp(sample[chunk], axis=0) for chunk in _chunks(config, len(sample))], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where(r == 0, 0.0, gamma / (c * (r + eps)))
    z = a * (x - mu) + beta
    return RangeNorm(x, gamma, beta, mu, r, a, c, eps, len(sample), activation, z, activate(activation, z))


def range_norm_backward(config, reference, dy, *, mask=None):
    """The exact gradient of a sampled range norm in float64, from x.

    With g = dy where the activation passes it, S = S_eff and h = 1/(C·(R + eps)):

        dbeta = Σg            dgamma = Σ g·(x - mu)·h
        dx_i  = a·g_i         outside the sample
        dx_i  = a·g_i - a·Σg/S - (a/(R + eps))·Σ g·(x - mu)·([i is a maximum] - [i is a minimum])/K       in it

    The first maximum and the first minimum of each chunk count. Where R = 0 the forward pass has a = 0, and all but
    dbeta is 0.

    Parameters
    ----------
    config : Config
        As for :func:`range_norm`: only its chunks count.
    reference : RangeNorm
    dy : (n, channels)
    mask : array of bool, (n, channels)
        Where the activation passes the gradient: that of a stored y, say. Default: that of ``reference.z``.

    Returns
    -------
    dx, dgamma, dbeta
        float64 (n, channels), (channels,), (channels,).
    """
    ref = reference
    g = np.where(is_active(ref.activation, ref.z) if mask is None else mask, np.asarray(dy, np.float64), 0.0)
    flat = ref.r == 0
    spread = np.where(flat, 1.0, ref.r + ref.eps)
    moment = (g * (ref.x - ref.mu)).sum(axis=0)
    dbeta = g.sum(axis=0)
    dgamma = np.where(flat, 0.0, moment / (ref.c * spread))
    dx = ref.a * g
    dx[:ref.sample_len] -= ref.a * dbeta / ref.sample_len
    chunks = _chunks(config, ref.sample_len)
    step = np.where(flat, 0.0, ref.a / spread * moment / len(chunks))
    channels = np.arange(len(ref.a))
    for chunk in chunks:
        x, part = ref.x[chunk], dx[chunk]
        part[x.argmax(axis=0), channels] -= step
        part[x.argmin(axis=0), channels] += step
    return dx, dgamma, dbeta
