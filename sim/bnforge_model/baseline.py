"""Batch norm as the baselines compute it: their sweeps put together, forward and backward (docs/baselines.md)."""

import functools
from dataclasses import dataclass

import numpy as np

from bnforge.config import Activation, Algorithm
from bnforge.sweeps.words import Sweep, param_words, streams

from .blocks import Encoded
from .result import Flags
from .sweep_header import channel_c, channel_eps
from .sweeps import run_sweep

__all__ = ["BaselineForward", "BaselineBackward", "baseline_forward", "baseline_backward"]


@dataclass(frozen=True, eq=False)
class BaselineForward:
    """The result of :func:`baseline_forward`.

    Attributes
    ----------
    y : float64 (n, channels)
        Decoded from storage; 0 in masked channels.
    encoded, stored : Encoded
        y and x' as stored.
    records : dict of arrays (channels,)
        Of the last sweep that sends any.
    flags : Flags
        Of all sweeps together.
    eps, c : float
        The header values used, defaults filled in.
    """

    y: np.ndarray
    encoded: Encoded
    stored: Encoded
    records: dict
    flags: Flags
    eps: float
    c: float


@dataclass(frozen=True, eq=False)
class BaselineBackward:
    """The result of :func:`baseline_backward`.

    Attributes
    ----------
    dx : float64 (n, channels)
        Decoded from storage; 0 in masked channels.
    dgamma, dbeta : float64 (channels,)
        Exact in fp32. 0 for masked channels.
    encoded, gradient : Encoded
        dx, and what went to memory before it: g', or dy' with two passes.
    records : dict of arrays (channels,)
        Of the sums.
    flags : Flags
        Of all sweeps together.
    """

    dx: np.ndarray
    dgamma: np.ndarray
    dbeta: np.ndarray
    encoded: Encoded
    gradient: Encoded
    records: dict
    flags: Flags


class _Runs:
    """Sweeps one after the other with one header's settings; ``known`` are the P words so far, ``flags`` all flags."""

    def __init__(self, config, known, **settings):
        self.config, self.known, self.settings, self.flags = config, dict(known), settings, []

    def __call__(self, sweep, **sources):
        wanted = streams(self.config, sweep)[0]
        params = {name: self.known[name] for name in param_words(self.config, sweep)}
        result = run_sweep(self.config, sweep, params, **{name: source for name, source in sources.items() if
                                                          name.removesuffix("_codes") in wanted}, **self.settings)
        self.known |= result.records
        self.flags.append(result.flags)
        return result

    def all_flags(self):
        return functools.reduce(Flags.__or__, self.flags)


def baseline_forward(config, x, gamma, beta, *, activation=Activation.RELU, eps=None, c=None, mask=None):
    """Normalise as a baseline does, bit for bit.

    Parameters
    ----------
    config : Config
        Of a baseline.
    x : array of floats or integers, (n, channels)
        In stream order, 1 <= n < 2^20. Rounded to ``config.x_format`` first, saturating.
    gamma, beta : arrays of real numbers, (channels,)
        Sent as fp32.
    activation, eps, c, mask : as :func:`.sweeps.run_sweep`

    Returns
    -------
    BaselineForward

    Raises
    ------
    ValueError
        "X must be ..., not Y", for what the core would refuse and for shapes that do not fit.
    """
    is_range = config.algorithm is Algorithm.RANGE
    c = 1.0 if not is_range else channel_c(len(x)) if c is None else c
    eps = channel_eps(config, c) if eps is None else eps
    run = _Runs(config, {"gamma": gamma, "beta": beta}, activation=activation, eps=eps, c=c, mask=mask)
    collected = run(Sweep.COLLECT, operand=x)
    records = collected.records
    if config.algorithm is Algorithm.TWO_PASS:
        records = run(Sweep.VARIANCE, stored=collected.encoded).records
    result = run(Sweep.NORMALISE, stored=collected.encoded)
    return BaselineForward(result.values, result.encoded, collected.encoded, records, run.all_flags(), float(eps),
                           float(c))


def baseline_backward(config, dy, forward, *, activation=Activation.RELU, mask=None):
    """The gradient of :func:`baseline_forward` as the baseline computes it, bit for bit.

    Parameters
    ----------
    config : Config
    dy : array of floats or integers, (n, channels)
        In the order of x. Rounded to ``config.x_format`` first, saturating.
    forward : BaselineForward
    activation, mask : those of the forward pass

    Returns
    -------
    BaselineBackward

    Raises
    ------
    ValueError
        As :func:`baseline_forward`.
    """
    run = _Runs(config, forward.records, activation=activation, eps=forward.eps, c=forward.c, mask=mask)
    if config.algorithm is Algorithm.RANGE:
        gradient = sums = run(Sweep.SUMS, operand=dy, stored=forward.encoded)
        result = run(Sweep.GRADIENT, stored=sums.encoded)
    else:
        gradient = sums = None
        if config.algorithm is Algorithm.TWO_PASS:
            gradient = run(Sweep.COPY, operand=dy)
            sums = run(Sweep.SUMS, gradient=gradient.encoded, stored=forward.stored)
        else:
            gradient = sums = run(Sweep.SUMS, operand=dy, stored=forward.stored)
        result = run(Sweep.GRADIENT, gradient=gradient.encoded, stored=forward.stored)
    records = sums.records
    return BaselineBackward(result.values, records["dgamma"], records["dbeta"], result.encoded, gradient.encoded,
                            records, run.all_flags())
