"""The lanes of the baselines in numpy: what a sweep makes of each element (docs/baselines.md, "Lanes")."""

import numpy as np

from bnforge.config import Activation, Algorithm
from bnforge.sweeps.words import Sweep

from .blocks import is_active
from .core import lanes
from .floats import add_odd, round_to
from .sweep_header import chunks_of

__all__ = ["SweepLanes"]


class SweepLanes:
    """The lanes of one sweep; called with the rows from ``first`` on, by stream name, each float64 (rows, width).

    A call returns the result before its storage, float64 (rows, width), or None where the sweep has none; the two
    numbers of which the sweep takes the sums Σu and Σu·v, (rows, width) each, or None; and bool (width,): where a
    rounding saturated.

    Parameters
    ----------
    config : Config
    sweep : Sweep
    params : dict
        As of :class:`.sweep_header.SweepHeader`.
    activation : Activation
    mask : array of bool, (width,)
        Enabled lanes; width is that of full tiles.
    n : int
    """

    def __init__(self, config, sweep, params, activation, mask, n):
        self._config, self._activation, self._mask = config, activation, mask
        spare = len(mask) - len(next(iter(params.values()))) if params else 0
        self._params = {name: np.where(mask, np.pad(value, (0, spare)), 0) for name, value in params.items()}
        self._over = np.zeros(len(mask), bool)
        self._run = {Sweep.COLLECT: self._collect, Sweep.VARIANCE: self._variance, Sweep.NORMALISE: self._normalise,
                     Sweep.COPY: self._copy, Sweep.SUMS: self._sums, Sweep.GRADIENT: self._gradient}[sweep]
        if sweep is Sweep.GRADIENT and config.algorithm is Algorithm.RANGE:
            self._extrema = _extrema(self._params, n)

    def __call__(self, first, rows):
        self._over = np.zeros(len(self._mask), bool)
        result, factors = self._run(first, rows)
        return result, factors, self._over

    def _rounded(self, fmt, values):
        values, saturated = round_to(fmt, values)
        self._over |= saturated.any(axis=0)
        return values

    def _enabled(self, values):
        return values if self._mask.all() else np.where(self._mask, values, 0.0)

    def _multiply_add(self, x, addend, activation=Activation.IDENTITY):
        """act(Q_W(a·x + addend))."""
        y, saturated = lanes(self._config, x, self._params["a"], addend, activation)
        self._over |= saturated
        return y

    def _difference(self, x):
        """d = Q_X(x' - mu)."""
        return self._rounded(self._config.x_format, self._enabled(add_odd(x, np.broadcast_to(
            -self._params["mu"], x.shape))))

    def _passed(self, dy, x):
        """dy where a·x' + b > 0, or everywhere without activation; a float64 sum has the sign of the exact one."""
        if self._activation == Activation.IDENTITY:
            return self._enabled(dy)
        return self._enabled(np.where(x * self._params["a"] + self._params["b"] > 0, dy, 0.0))

    def _collect(self, first, rows):
        x = self._enabled(rows["operand"])
        return x, (x, x)

    def _copy(self, first, rows):
        return self._enabled(rows["operand"]), None

    def _variance(self, first, rows):
        d = self._difference(rows["stored"])
        return None, (d, d)

    def _normalise(self, first, rows):
        return self._multiply_add(rows["stored"], self._params["b"], self._activation), None

    def _sums(self, first, rows):
        x = rows["stored"]
        if self._config.algorithm is Algorithm.TWO_PASS:
            return None, (self._passed(rows["gradient"], x), self._difference(x))
        if self._config.algorithm is Algorithm.SINGLE_PASS:
            g = self._passed(rows["operand"], x)
        else:
            g = self._enabled(np.where(is_active(self._activation, x), rows["operand"], 0.0))
        return g, (g, x)

    def _gradient(self, first, rows):
        x = rows["stored"]
        if self._config.algorithm is Algorithm.RANGE:
            return self._multiply_add(x, self._addends(first, len(x))), None
        g = rows["gradient"]
        if self._config.algorithm is Algorithm.TWO_PASS:
            g, x = self._passed(g, x), self._difference(x)
        inner = add_odd(x * self._params["e"], np.broadcast_to(self._params["c"], x.shape))
        return self._multiply_add(g, self._rounded(self._config.b_format, inner)), None

    def _addends(self, first, count):
        """base, plus at the maximum of each chunk and minus at its minimum, float64 (count, width)."""
        addend = np.tile(self._params["base"], (count, 1))
        for name, (beat, channel) in self._extrema.items():
            inside = (beat >= first) & (beat < first + count)
            addend[beat[inside] - first, channel[inside]] = self._params[name][channel[inside]]
        return addend


def _extrema(params, n):
    """Beats and channels of plus and of minus: where maximum and minimum of a chunk are different beats."""
    n_chunks, length = chunks_of(n)
    argmax, argmin = (np.stack([params[f"{name}{j}"] for j in range(n_chunks)], axis=1)
                      for name in ("argmax", "argmin"))
    ends = np.minimum(length, n - np.arange(n_chunks) * length)
    found = {}
    for name, own, other in (("plus", argmax, argmin), ("minus", argmin, argmax)):
        channel, chunk = np.nonzero((own != other) & (own < ends))
        found[name] = own[channel, chunk] + chunk * length, channel
    return found
