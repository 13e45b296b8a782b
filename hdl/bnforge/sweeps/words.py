"""The sweeps of the baselines, and the words of their headers and records (docs/baselines.md): plain data.

Nothing here imports Amaranth or numpy, so that generator and model share it.
"""

import enum

from ..config import CHANNEL_CHUNKS, Algorithm

__all__ = ["Sweep", "sweeps_of", "param_words", "record_words", "fixed_words", "streams", "has_sums",
           "reads_gradient"]


class Sweep(enum.IntEnum):
    """Sweep codes of the header."""

    COLLECT = 0
    VARIANCE = 1
    NORMALISE = 2
    COPY = 3
    SUMS = 4
    GRADIENT = 5


_POSITIONS = tuple(f"{kind}{chunk}" for chunk in range(CHANNEL_CHUNKS) for kind in ("argmax", "argmin"))

_PARAMS = {
    Algorithm.RANGE: {
        Sweep.COLLECT: ("gamma", "beta"), Sweep.NORMALISE: ("a", "b"), Sweep.SUMS: ("a", "b", "rinv", "mu", "r"),
        Sweep.GRADIENT: ("a", "base", "plus", "minus", *_POSITIONS)},
    Algorithm.SINGLE_PASS: {
        Sweep.COLLECT: ("gamma", "beta"), Sweep.NORMALISE: ("a", "b"), Sweep.SUMS: ("a", "b", "rstd", "mu"),
        Sweep.GRADIENT: ("a", "c", "e")},
    Algorithm.TWO_PASS: {
        Sweep.COLLECT: (), Sweep.VARIANCE: ("gamma", "beta", "mu"), Sweep.NORMALISE: ("a", "b"), Sweep.COPY: (),
        Sweep.SUMS: ("a", "b", "rstd", "mu"), Sweep.GRADIENT: ("a", "b", "mu", "c", "e")},
}

_RECORDS = {
    Algorithm.RANGE: {
        Sweep.COLLECT: ("a", "b", "rinv", "mu", "r", *_POSITIONS),
        Sweep.SUMS: ("dgamma", "dbeta", "base", "plus", "minus")},
    Algorithm.SINGLE_PASS: {
        Sweep.COLLECT: ("a", "b", "rstd", "mu"), Sweep.SUMS: ("dgamma", "dbeta", "c", "e")},
    Algorithm.TWO_PASS: {
        Sweep.COLLECT: ("mu",), Sweep.VARIANCE: ("a", "b", "rstd", "mu"), Sweep.SUMS: ("dgamma", "dbeta", "c", "e")},
}

_STREAMS = {
    Algorithm.RANGE: {
        Sweep.COLLECT: (("operand",), True), Sweep.NORMALISE: (("stored",), True),
        Sweep.SUMS: (("operand", "stored"), True), Sweep.GRADIENT: (("stored",), True)},
    Algorithm.SINGLE_PASS: {
        Sweep.COLLECT: (("operand",), True), Sweep.NORMALISE: (("stored",), True),
        Sweep.SUMS: (("operand", "stored"), True), Sweep.GRADIENT: (("gradient", "stored"), True)},
    Algorithm.TWO_PASS: {
        Sweep.COLLECT: (("operand",), True), Sweep.VARIANCE: (("stored",), False),
        Sweep.NORMALISE: (("stored",), True), Sweep.COPY: (("operand",), True),
        Sweep.SUMS: (("gradient", "stored"), False), Sweep.GRADIENT: (("gradient", "stored"), True)},
}


def sweeps_of(config):
    """The sweeps that exist with the algorithm of ``config``, in order."""
    return tuple(_PARAMS[config.algorithm])


def param_words(config, sweep):
    """Names of the P words of a channel, in the order of the header."""
    return _PARAMS[config.algorithm][sweep]


def record_words(config, sweep):
    """Names of the words of a channel's record, in order; none where the sweep sends no record."""
    return _RECORDS[config.algorithm].get(sweep, ())


def fixed_words(config):
    """Header words before the P words."""
    return 6 if config.algorithm is Algorithm.RANGE else 4


def streams(config, sweep):
    """What a sweep reads, of "operand", "stored" and "gradient", and whether it has a result."""
    return _STREAMS[config.algorithm][sweep]


def has_sums(config, sweep):
    """Whether the sweep takes sums over the tile, and so constants from them and a record."""
    return bool(record_words(config, sweep))


def reads_gradient(config):
    """Whether some sweep reads a stored gradient beside another stored tensor."""
    return any("gradient" in inputs for inputs, _ in _STREAMS.get(config.algorithm, {}).values())
