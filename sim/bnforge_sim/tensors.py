"""What the model says of whole tensors, positions in memory order; and what software computes between passes."""

from dataclasses import replace

import numpy as np

from bnforge.config import Activation
from bnforge_model import Encoded, Shape, backward_codes, forward_codes

from .grid import grid_order
from .tile_programs import scale
from .workspace import default_scale

__all__ = ["forward_tensor", "backward_tensor", "running_statistics", "frozen_affine"]

_EPS_VARIANCE = 1e-5


def _shape(codes):
    if codes.ndim != 4:
        raise ValueError(f"codes must be of shape (N, H, W, C), not {codes.shape}")
    return Shape(*codes.shape)


def _order(config, shape, frozen, plan, c, eps):
    """Forward order of the positions; sample_len as the model takes it; C and eps."""
    if plan is not None:
        if (plan.shape, plan.frozen) != (shape, frozen):
            raise ValueError(f"plan must be of {shape} and frozen as {frozen}, not of {plan.shape} and {plan.frozen}")
        return plan.order, plan.sample_len, *scale(config.core, plan.sampling.length, c, eps)
    _, c, eps = default_scale(config, shape, c, eps)
    if frozen:
        return np.arange(shape.n_positions), 0, c, eps
    return *grid_order(shape.n_images, shape.height, shape.width, config.core.sample_depth), c, eps


def _in_memory(order, values):
    """Rows in forward order put where they lie."""
    placed = np.empty_like(values)
    placed[order] = values
    return placed


def _encoded(encoded, move):
    exponents = encoded.exponents
    return Encoded(encoded.format, move(encoded.elements), None if exponents is None else move(exponents))


def forward_tensor(config, x_codes, gamma, beta, *, activation=Activation.RELU, c=None, eps=None, frozen=False,
                   plan=None):
    """The forward pass of the engine over a tensor, by :func:`bnforge_model.forward_codes`.

    Parameters
    ----------
    config : EngineConfig
    x_codes : integer array, (N, H, W, C)
        Codes of ``config.core.x_format``.
    gamma, beta, activation, frozen : as :func:`bnforge_model.forward`
    c, eps : float
        Default: :func:`.default_scale`, or those of the plan's sample.
    plan : Plan
        Gives the order of the positions; default: :func:`.grid_order`.

    Returns
    -------
    ForwardResult
        With ``y`` and ``encoded`` in memory order, (N·H·W, C): what :func:`bnforge_model.memory.pack_stored` takes.
    """
    x_codes = np.asarray(x_codes)
    shape = _shape(x_codes)
    order, sample_len, c, eps = _order(config, shape, frozen, plan, c, eps)
    result = forward_codes(config.core, x_codes.reshape(-1, shape.channels)[order], gamma, beta, c=c, eps=eps,
                           activation=activation, frozen=frozen, sample_len=sample_len)
    return replace(result, y=_in_memory(order, result.y),
                   encoded=_encoded(result.encoded, lambda rows: _in_memory(order, rows)))


def backward_tensor(config, dy_codes, encoded, records, *, activation=Activation.RELU, c=None, eps=None, frozen=False,
                    plan=None):
    """The backward pass of the engine over a tensor, by :func:`bnforge_model.backward_codes`.

    Parameters
    ----------
    config : EngineConfig
    dy_codes : integer array, (N, H, W, C)
    encoded : Encoded
        y in memory order, elements (N·H·W, C), as :func:`forward_tensor` gives it.
    records : Records
    activation, c, eps, frozen, plan : as :func:`forward_tensor`

    Returns
    -------
    BackwardResult
        With ``dx`` and ``encoded`` in memory order.
    """
    dy_codes = np.asarray(dy_codes)
    shape = _shape(dy_codes)
    order, sample_len, c, eps = _order(config, shape, frozen, plan, c, eps)
    result = backward_codes(config.core, dy_codes.reshape(-1, shape.channels)[order],
                            _encoded(encoded, lambda rows: rows[order]), records, c=c, eps=eps, activation=activation,
                            frozen=frozen, sample_len=sample_len)
    return replace(result, dx=_in_memory(order, result.dx),
                   encoded=_encoded(result.encoded, lambda rows: _in_memory(order, rows)))


def running_statistics(mean, variance, records, c, momentum=0.1):
    """The running mean and variance after one more forward pass, float32 (C,): mu and (C·R)^2 count ``momentum``.

    Parameters
    ----------
    mean, variance : arrays of numbers, (C,)
        Before.
    records : Records
        Of a forward pass that was not frozen.
    c : float
        Of that pass; as fp32, as the header had it.
    momentum : float
    """
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    scale = float(np.float32(c)) * records.r
    mean = mean + momentum * (records.mu - mean)
    variance = variance + momentum * (scale * scale - variance)
    return mean.astype(np.float32), variance.astype(np.float32)


def frozen_affine(gamma, beta, mean, variance):
    """a and b of a frozen pass, float32 (C,), from running statistics.

    a = gamma / (sqrt(variance) + sqrt(1e-5)), as C·(R + eps) is with the usual eps, and b = beta - mean·a with the a
    that is not rounded yet.
    """
    gamma, beta, mean, variance = (np.asarray(values, np.float64) for values in (gamma, beta, mean, variance))
    a = gamma / (np.sqrt(variance) + np.sqrt(_EPS_VARIANCE))
    return a.astype(np.float32), (beta - mean * a).astype(np.float32)
