"""Headers of the baselines' sweeps in numpy: what is refused, and the numbers as the core uses them."""

from dataclasses import dataclass

import numpy as np

from bnforge.config import CHANNEL_CHUNKS, COUNT_WIDTH, Activation, Algorithm
from bnforge.formats import FP32, WORKING
from bnforge.sweeps.words import param_words, sweeps_of

from .constants import fp32_code, fp32_value
from .core import default_eps, expected_range
from .floats import round_to, sanitise
from .sweep_words import is_position

__all__ = ["SweepHeader", "chunks_of", "channel_c", "channel_eps", "check_sweep", "check_fixed_words",
           "read_sweep_header"]

_FORMATS = {"a": "a_format", "e": "a_format",
            **dict.fromkeys(("b", "c", "base", "plus", "minus"), "b_format")}
"""Parameters that are narrowed to another format than W: the property of the configuration that names it."""

_NOT_NEGATIVE = ("rinv", "r", "rstd")


@dataclass(frozen=True, eq=False)
class SweepHeader:
    """Header values, sanitised and narrowed, with the flags that doing so raised.

    Attributes
    ----------
    params : dict of float64 (channels,), of positions int64 (channels,)
    eps, c : float
    nan, infinity, saturated : bool (channels,)
        Flags of C and eps count in every channel.
    """

    params: dict
    eps: float
    c: float
    nan: np.ndarray
    infinity: np.ndarray
    saturated: np.ndarray


def chunks_of(n):
    """(K, L): chunks of a channel of ``n`` elements, and elements of each but perhaps the last."""
    length = -(-n // CHANNEL_CHUNKS)
    return -(-n // length), length


def channel_c(n):
    """C = 1/d2(L); a chunk of one element, whose range is 0 for any C, counts as two."""
    return 1 / expected_range(max(2, chunks_of(n)[1]))


def channel_eps(config, c):
    """The usual 1e-5 of a variance; of a range its root, in units of the range."""
    return default_eps(c) if config.algorithm is Algorithm.RANGE else 1e-5


def check_sweep(config, sweep):
    """Refuse a sweep that the core does not have: ValueError "X must be ..., not Y"."""
    if config.is_one_pass:
        raise ValueError("config must be of a baseline, not of the one-pass algorithm")
    if sweep not in sweeps_of(config):
        names = ", ".join(each.name for each in sweeps_of(config))
        raise ValueError(f"sweep must be one of {names}, not {sweep!r}")


def check_fixed_words(config, *, n, activation, eps, c):
    """Refuse what else the core refuses in the words before the parameters; returns the activation.

    Raises
    ------
    ValueError
        "X must be ..., not Y".
    """
    if not 1 <= n < 1 << COUNT_WIDTH:
        raise ValueError(f"n must be from 1 to {(1 << COUNT_WIDTH) - 1}, not {n!r}")
    if activation not in list(Activation):
        raise ValueError(f"activation must be an Activation, not {activation!r}")
    if activation == Activation.RELU6 and config.algorithm is not Algorithm.RANGE:
        raise ValueError(f"activation must be IDENTITY or RELU with algorithm {config.algorithm.value!r}, not RELU6")
    if not fp32_value(eps) >= 0:
        raise ValueError(f"eps must not be negative, not {eps!r}")
    if not fp32_value(c) > 0:
        raise ValueError(f"c must be a positive fp32 number, not {c!r}")
    return Activation(activation)


def _check_params(config, sweep, params, channels):
    names = param_words(config, sweep)
    if set(params) != set(names):
        raise ValueError(f"params must be {', '.join(names) or 'none'}, not {', '.join(params) or 'none'}")
    for name, values in params.items():
        if np.shape(values) != (channels,):
            raise ValueError(f"params[{name!r}] must be of shape {(channels,)}, not {np.shape(values)}")


def _check_signs(config, params, mask):
    for name, values in params.items():
        values = values[mask]
        if is_position(name) and (values.min() < 0 or values.max() >> config.position_width):
            raise ValueError(f"params[{name!r}] must be positions of {config.position_width} bits, "
                             f"not {values.min()} ... {values.max()}")
        if name in _NOT_NEGATIVE and values.min() < 0:
            raise ValueError(f"params[{name!r}] must not be negative, not {values.min()}")


def read_sweep_header(config, sweep, params, mask, eps, c):
    """The header's numbers, narrowed: a :class:`SweepHeader`.

    Parameters
    ----------
    config : Config
    sweep : Sweep
    params : dict of arrays (channels,)
        Real numbers by the names of ``bnforge.sweeps.words.param_words``, sent as fp32; positions are integers.
    mask : array of bool, (channels,)
        Channels whose words are sent.
    eps, c : float
        Sent as fp32.
    """
    _check_params(config, sweep, params, len(mask))
    flags = np.zeros((3, len(mask)), bool)

    def narrow(fmt, values):
        exact, nan, infinity = sanitise(FP32, fp32_code(values))
        narrowed, saturated = round_to(fmt, exact)
        for flag, raised in zip(flags, (nan, infinity, saturated), strict=True):
            flag |= raised
        return narrowed

    def param(name, values):
        if is_position(name):
            return np.asarray(values, np.int64)
        return narrow(getattr(config, _FORMATS[name]) if name in _FORMATS else WORKING, values)

    narrowed = {name: param(name, values) for name, values in params.items()}
    _check_signs(config, narrowed, mask)
    scalars = (float(narrow(WORKING, [value])[0]) for value in (eps, c))
    return SweepHeader(narrowed, *scalars, *flags)
