"""The constants of the baselines, from the sums of a sweep (docs/baselines.md, "Constants").

Every line is one operation in float64 whose result is cut to 24 significant bits, and that is exact: a product of two
24-bit significands has 48 bits; a sum is cut toward zero before; a quotient or a root that is no 24-bit number is at
least 2^-50 of its magnitude away from each, and float64 rounds by at most 2^-53. No exponent leaves that of float64:
tests/test_serial_unit.py compares with exact fractions.
"""

import numpy as np

from bnforge.config import Algorithm
from bnforge.formats import FP32, WORKING
from bnforge.sweeps.programs import LEAST_SCALE_LOG2
from bnforge.sweeps.words import Sweep, has_sums

from .floats import add_toward_zero, round_to, truncate

__all__ = ["sweep_constants"]

_BITS = 24
"""Significant bits of every result."""


def _t(values):
    return truncate(values, _BITS)


def _add(p, q):
    return _t(add_toward_zero(p, q))


def _divide(p, q):
    return _t(np.divide(p, q, out=np.zeros(np.broadcast(p, q).shape), where=np.asarray(q) != 0))


def _root(values):
    return _t(np.sqrt(np.maximum(values, 0.0)))


class _Rounder:
    """Q_f, and which channels have saturated so far."""

    def __init__(self, config, channels):
        self.config = config
        self.saturated = np.zeros(channels, bool)

    def to(self, fmt, values):
        rounded, over = round_to(fmt, values)
        self.saturated |= over
        return rounded

    def a(self, values):
        return self.to(self.config.a_format, values)

    def b(self, values):
        return self.to(self.config.b_format, values)

    def w(self, values):
        return self.to(WORKING, values)


def sweep_constants(config, sweep, params, n, eps, c, n_chunks, s1, s2, range_sum):
    """The numbers of the records of a sweep.

    Parameters
    ----------
    config : Config
        Of a baseline.
    sweep : Sweep
        One that takes sums: :func:`bnforge.sweeps.words.has_sums`.
    params : dict of arrays of float64, (channels,)
        The P words by name, narrowed as the core narrows them.
    n : int
        Beats of the tile, 1 to 2^20 - 1.
    eps, c : float
        Values of the working format; c is used by range statistics only.
    n_chunks : int
        K, range statistics only.
    s1, s2, range_sum : arrays of float64, (channels,)
        First and second sum, at most 32 significant bits, cut to 24; the sum of ranges, 24 bits. What the sweep
        does not use may be None.

    Returns
    -------
    words : dict of arrays of float64, (channels,)
        By the names of :func:`bnforge.sweeps.words.record_words`, without the positions.
    saturated : array of bool, (channels,)
        Whether a rounding of the channel met the largest finite value.

    Raises
    ------
    ValueError
        "sweep must be one that takes sums, ..."
    """
    if not has_sums(config, sweep):
        raise ValueError(f"sweep must be one that takes sums, not {sweep!r}")
    used = next(values for values in (s1, s2) if values is not None)
    rounder = _Rounder(config, len(used))
    s1, s2 = (None if values is None else _t(values) for values in (s1, s2))
    inv_n = _divide(1.0, float(n))
    if sweep is Sweep.SUMS:
        if config.algorithm is Algorithm.RANGE:
            words = _range_gradient(config, rounder, params, inv_n, eps, c, _divide(1.0, float(n_chunks)), s1, s2)
        else:
            words = _variance_gradient(config, rounder, params, inv_n, s1, s2)
    elif config.algorithm is Algorithm.RANGE:
        words = _range(rounder, params, inv_n, eps, c, _divide(1.0, float(n_chunks)), s1, range_sum)
    else:
        words = _variance(config, sweep, rounder, params, inv_n, eps, s1, s2)
    return words, rounder.saturated


def _variance(config, sweep, rounder, params, inv_n, eps, s1, s2):
    """Mean, or variance, or both."""
    if sweep is Sweep.VARIANCE:
        mu = params["mu"]
        v = _t(s2 * inv_n)
    else:
        mu = rounder.w(_t(s1 * inv_n))
        if config.algorithm is Algorithm.TWO_PASS:
            return {"mu": mu}
        v = np.maximum(_add(_t(s2 * inv_n), -_t(mu * mu)), 0.0)
    rstd = rounder.w(_divide(1.0, _root(_add(v, eps))))
    a = rounder.a(_t(params["gamma"] * rstd))
    return {"a": a, "b": rounder.b(_add(params["beta"], -_t(mu * a))), "rstd": rstd, "mu": mu}


def _range(rounder, params, inv_n, eps, c, inv_chunks, s1, range_sum):
    """Mean and range; a range of 0 has the reciprocal 0, which cannot saturate."""
    mu, r = rounder.w(_t(s1 * inv_n)), rounder.w(_t(range_sum * inv_chunks))
    rinv = rounder.w(np.where(r == 0, 0.0, _divide(1.0, _add(r, eps))))
    a = rounder.a(_divide(_t(params["gamma"] * rinv), c))
    return {"a": a, "b": rounder.b(_add(params["beta"], -_t(mu * a))), "rinv": rinv, "mu": mu, "r": r}


def _variance_gradient(config, rounder, params, inv_n, s1, s2):
    """dgamma, dbeta, and what the gradient adds to a·g."""
    a, rstd, mu = (params[name] for name in ("a", "rstd", "mu"))
    centred = config.algorithm is Algorithm.TWO_PASS
    p_rstd = _t((s2 if centred else _add(s2, -_t(mu * s1))) * rstd)
    e = rounder.a(-_t(_t(a * rstd) * _t(p_rstd * inv_n)))
    minus_m = -_t(a * _t(s1 * inv_n))
    c = rounder.b(minus_m if centred else _add(minus_m, -_t(e * mu)))
    return {"dgamma": rounder.w(p_rstd), "dbeta": rounder.to(FP32, s1), "c": c, "e": e}


def _range_gradient(config, rounder, params, inv_n, eps, c, inv_chunks, s1, s2):
    """dgamma, dbeta and the addends; where a = 0 dgamma is 0, which cannot saturate."""
    a, b, rinv, mu, r = (params[name] for name in ("a", "b", "rinv", "mu", "r"))
    centre = _add(b, _t(mu * a))
    p = _add(s2, -_t(centre * s1))
    t = -_t(_t(p * rinv) * inv_chunks)
    minus_m = -_t(a * _t(s1 * inv_n))
    scale = _t(a * _t(c * _add(r, eps)))
    floor = np.maximum(2.0 ** LEAST_SCALE_LOG2, np.abs(centre) * 2.0 ** -(config.storage.fraction_width + 1))
    scale = np.copysign(np.maximum(np.abs(scale), floor), scale)
    return {"dgamma": rounder.w(np.where(a == 0, 0.0, _divide(p, scale))), "dbeta": rounder.to(FP32, s1),
            "base": rounder.b(minus_m), "plus": rounder.b(_add(t, minus_m)), "minus": rounder.b(_add(-t, minus_m))}
