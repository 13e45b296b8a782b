"""The sweeps of the baselines in numpy, bit for bit (docs/baselines.md)."""

from dataclasses import dataclass

import numpy as np

from bnforge.config import SUM_BLOCK, Activation, Algorithm
from bnforge.sweeps.words import Sweep, has_sums, streams

from .blocks import Encoded, Store
from .core import check_mask, code_input, float_input, merge_flags, padded_width, row_step
from .floats import truncate
from .gradient import stored_input
from .inputs import RoundedInput
from .result import Flags
from .statistics import SUM_BITS, GradientSums, channel_ranges
from .sweep_constants import sweep_constants
from .sweep_header import channel_c, channel_eps, check_fixed_words, check_sweep, chunks_of, read_sweep_header
from .sweep_lanes import SweepLanes

__all__ = ["SweepResult", "run_sweep"]


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What one sweep leaves.

    Attributes
    ----------
    values : float64 (n, channels), or None
        The result, decoded from storage; 0 in masked channels. None where the sweep has none.
    encoded : Encoded or None
        The result as stored.
    records : dict of arrays (channels,)
        By the names of ``bnforge.sweeps.words.record_words``: float64, exact in fp32; positions int64. 0 in masked
        channels; empty where the sweep sends no record.
    flags : Flags
        Of all tiles together.
    tile_flags : tuple of Flags
        Of each tile of ``config.lanes`` channels.
    """

    values: np.ndarray | None
    encoded: Encoded | None
    records: dict
    flags: Flags
    tile_flags: tuple


def run_sweep(config, sweep, params=None, *, operand=None, operand_codes=None, stored=None, gradient=None,
              activation=Activation.IDENTITY, eps=None, c=None, mask=None):
    """One sweep over any number of channel tiles.

    Parameters
    ----------
    config : Config
        Of a baseline.
    sweep : Sweep
        One that its algorithm has.
    params : dict of arrays (channels,)
        P words by the names of ``bnforge.sweeps.words.param_words``: real numbers, sent as fp32; positions are
        integers.
    operand : array of floats or integers, (n, channels)
        Rounded to ``config.x_format`` first, saturating; the core itself sees codes.
    operand_codes : array of integers, (n, channels)
        In place of ``operand``: codes of ``config.x_format``, NaN and infinity allowed.
    stored, gradient : Encoded
        The other inputs, in ``config.storage``. A sweep takes those of ``bnforge.sweeps.words.streams``.
    activation : Activation
    eps, c : float
        Sent as fp32; default: :func:`.sweep_header.channel_eps` and :func:`.sweep_header.channel_c`. c counts with
        range statistics only.
    mask : array of bool, (channels,)
        Enabled channels, at least one in each tile; default all.

    Returns
    -------
    SweepResult

    Raises
    ------
    ValueError
        "X must be ..., not Y", for what the core would refuse and for shapes that do not fit.
    """
    check_sweep(config, sweep)
    sources = _inputs(config, sweep, operand, operand_codes, stored, gradient)
    n, channels = next(iter(sources.values())).shape
    c = channel_c(n) if c is None and config.algorithm is Algorithm.RANGE else 1.0 if c is None else c
    eps = channel_eps(config, c) if eps is None else eps
    activation = check_fixed_words(config, n=n, activation=activation, eps=eps, c=c)
    mask = check_mask(config, mask, channels)
    header = read_sweep_header(config, sweep, params or {}, mask, eps, c)
    tile = _Tile(config, sweep, header, sources, activation, mask)
    tile.run()
    records, over = tile.records()
    saturated = tile.saturated | header.saturated | over
    flags, tile_flags = merge_flags(config, mask, _any(sources, "nan") | header.nan,
                                    _any(sources, "infinity") | header.infinity, saturated)
    store = tile.store
    return SweepResult(None if store is None else store.values, None if store is None else store.encoded,
                       {name: np.where(mask, value, 0) for name, value in records.items()}, flags, tile_flags)


def _any(sources, flag):
    return np.logical_or.reduce([getattr(source, flag) for source in sources.values()])


def _inputs(config, sweep, operand, operand_codes, stored, gradient):
    """The inputs of a sweep by the names of the streams, as values of X."""
    given = {"operand": operand if operand_codes is None else operand_codes, "stored": stored, "gradient": gradient}
    given = {name: value for name, value in given.items() if value is not None}
    wanted = streams(config, sweep)[0]
    if set(given) != set(wanted):
        raise ValueError(f"inputs must be {' and '.join(wanted)}, not {' and '.join(given) or 'none'}")
    sources = {}
    if "operand" in given:
        sources["operand"] = (float_input(config, "operand", operand) if operand_codes is None else
                              code_input(config, "operand_codes", operand_codes))
    for name in wanted:
        if name != "operand":
            shape = next(iter(sources.values())).shape if sources else np.shape(given[name].elements)
            sources[name] = RoundedInput(config.x_format, stored_input(config, given[name], shape))
    return sources


class _Tile:
    """One pass over the inputs.

    Attributes
    ----------
    store : Store or None
        Of the result.
    saturated : bool (channels,)
        Of all that the lanes and the storage have rounded.
    """

    def __init__(self, config, sweep, header, sources, activation, mask):
        self._config, self._sweep, self._header, self._sources = config, sweep, header, sources
        self._n, self._channels = n, channels = next(iter(sources.values())).shape
        self._width = padded_width(config, channels)
        self._activation = activation if sweep is Sweep.NORMALISE else Activation.IDENTITY
        self._lanes = SweepLanes(config, sweep, header.params, activation, self._padded(mask), n)
        self.store = Store(config.storage, n, channels, self._width) if streams(config, sweep)[1] else None
        self._sums = GradientSums(config, n, channels, config.x_format) if has_sums(config, sweep) else None
        # The ranges of a channel are taken when all of it is there.
        self._x = np.empty((n, channels)) if sweep is Sweep.COLLECT and config.algorithm is Algorithm.RANGE else None
        self.saturated = np.zeros(channels, bool)

    def _padded(self, values):
        spare = self._width - self._channels
        return np.pad(values, (*((0, 0),) * (values.ndim - 1), (0, spare))) if spare else values

    def run(self):
        """All rows; ``store`` and ``saturated`` are complete then."""
        step = max(1, row_step(self._width) // SUM_BLOCK) * SUM_BLOCK
        for first in range(0, self._n, step):
            last = min(first + step, self._n)
            rows = {name: self._padded(source.rows(first, last)) for name, source in self._sources.items()}
            result, factors, over = self._lanes(first, rows)
            self.saturated |= over[:self._channels]
            if self.store is not None:
                self.store.put(first, result, over, self._activation)
            if self._sums is not None:
                self._sums.add(*(factor[:, :self._channels] for factor in factors))
            if self._x is not None:
                self._x[first:last] = factors[0][:, :self._channels]
        for source in self._sources.values():
            self.saturated |= getattr(source, "saturated", False)
        if self.store is not None:
            self.saturated |= self.store.saturated

    def records(self):
        """The record by names, and a saturated mask, (channels,) each."""
        if self._sums is None:
            return {}, np.zeros(self._channels, bool)
        n_chunks, length = chunks_of(self._n)
        positions, range_sum = {}, np.zeros(self._channels)
        if self._x is not None:
            range_sum, *extrema = channel_ranges(self._x, length)
            for name, chunks in zip(("argmax", "argmin"), extrema, strict=True):
                chunks = np.pad(chunks, ((0, 0), (0, self._config.n_chunks - n_chunks)))
                positions |= {f"{name}{j}": chunks[:, j] for j in range(self._config.n_chunks)}
        first, second = self._sums.totals()
        constants, saturated = sweep_constants(
            self._config, self._sweep, self._header.params, self._n, self._header.eps, self._header.c, n_chunks,
            first, truncate(second, SUM_BITS), range_sum)
        return constants | positions, saturated
