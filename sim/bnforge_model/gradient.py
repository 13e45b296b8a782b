"""The backward pass of the core in numpy."""

import numpy as np

from bnforge.config import SUM_BLOCK, Activation

from .blocks import Encoded, Store, is_active
from .constants import backward_constants, read_backward_header
from .core import (
    check_header,
    check_mask,
    check_vector,
    code_input,
    default_c,
    default_eps,
    float_input,
    lanes,
    merge_flags,
    padded_width,
    row_step,
)
from .definition import definition_gradients, evaluate, scale_of
from .inputs import BlockInput, CodeInput
from .result import BackwardResult, Records
from .statistics import GradientSums, chunk_shape

__all__ = ["backward", "backward_codes", "backward_order", "check_records"]


def backward(config, dy, encoded, records, gamma=None, beta=None, *, activation=Activation.RELU, sample_len=None,
             c=None, eps=None, frozen=False, mask=None):
    """The gradient of a forward tile as the core computes it, bit for bit (docs/arithmetic.md).

    dx = a·g + addend per channel, with g = dy where the activation passes it and addends in the sample only. All arrays
    are in forward order, as :func:`bnforge_model.forward` takes and returns them.

    Parameters
    ----------
    config : Config
        Of either or both directions.
    dy : array of floats or integers, (n, channels)
        Rounded to ``config.x_format`` first, saturating; the core itself sees codes.
    encoded : Encoded
        The stored y, in ``config.storage``; any elements and exponents that the ports can carry.
    records : Records
        Of the forward tile. Sent as fp32 and narrowed as the header of a forward tile is: a to its format, b to its
        format, the others to the working format.
    gamma, beta : arrays of real numbers, (channels,)
        Not used: a, b and the records say what the core needs of them. Here so that both passes are called alike.
    activation, c, eps, mask : as :func:`bnforge_model.forward`
        Those of the forward tile. c and eps are 1 by default in frozen mode, where they count for dgamma.
    sample_len : int
        That of the forward tile. In frozen mode it is not sent, and says only in which order the sums are taken.
    frozen : bool
        Add nothing to a·g.

    Returns
    -------
    BackwardResult

    Raises
    ------
    ValueError
        "X must be ..., not Y", for what the core would refuse and for shapes that do not fit.
    """
    return _backward(config, float_input(config, "dy", dy), encoded, records, gamma, beta, activation, sample_len, c,
                     eps, frozen, mask)


def backward_codes(config, dy_codes, encoded, records, gamma=None, beta=None, *, activation=Activation.RELU,
                   sample_len=None, c=None, eps=None, frozen=False, mask=None):
    """:func:`backward` with dy as codes of ``config.x_format``: integers (n, channels), NaN and infinity allowed."""
    return _backward(config, code_input(config, "dy_codes", dy_codes), encoded, records, gamma, beta, activation,
                     sample_len, c, eps, frozen, mask)


def backward_order(n, sample_len):
    """The forward index of each beat of the backward stream, int64 (n,): the sample comes last."""
    return np.roll(np.arange(n), -min(n, sample_len))


def _require_codes(name, values, low, high):
    if values.size and (values.min() < low or values.max() > high):
        raise ValueError(f"{name} must be from {low} to {high}, not {values.min()} ... {values.max()}")


def stored_input(config, encoded, shape):
    """The input of what is stored: an :class:`Encoded` of ``shape`` in the storage format."""
    if not isinstance(encoded, Encoded):
        raise ValueError(f"encoded must be an Encoded, not {encoded!r}")
    fmt = config.storage
    if encoded.format != fmt:
        raise ValueError(f"encoded must be in the storage format {fmt}, not {encoded.format}")
    elements = np.asarray(encoded.elements)
    if elements.shape != shape or elements.dtype.kind not in "iu":
        raise ValueError(f"encoded elements must be integers of shape {shape}, not {elements.dtype} {elements.shape}")
    top = 1 << config.element_width
    if not config.is_block:
        _require_codes("encoded elements", elements, 0, top - 1)
        return CodeInput(fmt, elements)
    _require_codes("encoded elements", elements, *((-top // 2, top // 2 - 1) if fmt.signed else (0, top - 1)))
    exponents, expected = np.asarray(encoded.exponents), (shape[0], padded_width(config, shape[1]) // fmt.group)
    if exponents.shape != expected or exponents.dtype.kind not in "iu":
        raise ValueError(f"encoded exponents must be integers of shape {expected}, "
                         f"not {exponents.dtype} {exponents.shape}")
    _require_codes("encoded exponents", exponents, 0, (1 << fmt.exponent_width) - 1)
    return BlockInput(fmt, elements, exponents)


def check_records(config, records, channels):
    """Refuse records that are none of ``channels`` channels of this configuration.

    Raises
    ------
    ValueError
        "X must be ..., not Y".
    """
    if not isinstance(records, Records):
        raise ValueError(f"records must be Records, not {records!r}")
    for name in ("a", "b", "rinv", "mu", "r"):
        check_vector(f"records.{name}", getattr(records, name), channels)
    for name in ("argmax", "argmin"):
        positions, expected = np.asarray(getattr(records, name)), (channels, config.n_chunks)
        if positions.shape != expected or positions.dtype.kind not in "iu":
            raise ValueError(f"records.{name} must be integers of shape {expected}, "
                             f"not {positions.dtype} {positions.shape}")
        _require_codes(f"records.{name}", positions, 0, config.chunk_len - 1)


def _backward(config, source, encoded, records, gamma, beta, activation, sample_len, c, eps, frozen, mask):
    n, channels = source.shape
    sample_len = min(n, config.sample_depth) if sample_len is None else sample_len
    activation = check_header(config, activation=activation, sample_len=sample_len, c=1.0 if c is None else c,
                              eps=0.0 if eps is None else eps, frozen=frozen, backward=True)
    if c is None:
        c = 1.0 if frozen else default_c(config, n, sample_len)
    if eps is None:
        eps = 1.0 if frozen else default_eps(c)
    for name, value in (("gamma", gamma), ("beta", beta)):
        if value is not None:
            check_vector(name, value, channels)
    mask = check_mask(config, mask, channels)
    stored = stored_input(config, encoded, source.shape)
    check_records(config, records, channels)
    header = read_backward_header(config, records, c, eps)
    for name in ("rinv", "r"):
        negative = mask & (getattr(header, name) < 0)
        if negative.any():
            raise ValueError(f"records.{name} must not be negative, not {getattr(header, name)[negative][0]}")
    effective = min(n, int(sample_len))
    scales = (header.a,)
    if not config.extracts:
        scales = scale_of(config, header.r, header.rinv, header.c, header.eps)[0], header.a
    tile = _Tile(config, source, stored, np.where(mask, scales, 0.0), activation, 0 if frozen else effective)
    sums = tile.run(effective % n)
    constants = (backward_constants(config, header, sums, effective, frozen) if config.extracts else
                 definition_gradients(config, header, sums, effective))
    if not frozen:
        base, *others = (np.where(mask, value, 0.0) for value in (constants.base, constants.plus, constants.minus))
        mean, base = (0.0, base) if config.extracts else (base, np.zeros_like(base))
        tile.put(0, tile.sample, _sample_addends(config, records, effective, base, *others), mean)
    store = tile.store
    flags, tile_flags = merge_flags(config, mask, source.nan | header.nan | stored.nan,
                                    source.infinity | header.infinity | stored.infinity,
                                    store.saturated | header.saturated | constants.saturated)
    dgamma, dbeta = (np.where(mask, value, 0.0) for value in (constants.dgamma, constants.dbeta))
    return BackwardResult(store.values, dgamma, dbeta, store.encoded, flags, tile_flags, int(sample_len), float(c),
                          float(eps))


class _Tile:
    """What one pass over the stream leaves: dx of the beats outside the sample, g of those in it.

    Parameters
    ----------
    config : Config
    source, stored : inputs of dy and y
    scales : float64 (1, channels), a; or (2, channels), h or d, and gamma
    activation : Activation
    sample_len : int
        Beats with an addend: the first ones of the forward order.

    Attributes
    ----------
    store : Store
        Of dx.
    sample : float64 (sample_len, channels)
        g of the sample.
    """

    def __init__(self, config, source, stored, scales, activation, sample_len):
        self._config, self._source, self._stored, self._activation = config, source, stored, activation
        n, channels = source.shape
        self._width = padded_width(config, channels)
        self._scales = np.pad(scales, ((0, 0), (0, self._width - channels)))
        self.store = Store(config.gradient_storage, n, channels, self._width)
        self.sample = np.empty((sample_len, channels))

    def run(self, start):
        """One pass, from forward element ``start`` round to the one before it; returns (Sg, Sgy)."""
        n, channels = self._source.shape
        sums = GradientSums(self._config, n, channels)
        step = max(1, row_step(self._width) // SUM_BLOCK) * SUM_BLOCK
        for first in range(start, start + n, step):
            last = min(first + step, start + n)
            if first < n < last:
                parts = self._rows(first, n), self._rows(0, last - n)
                sums.add(*(np.concatenate(pair) for pair in zip(*parts, strict=True)))
            else:
                sums.add(*self._rows(first % n, first % n + last - first))
        return sums.totals()

    def _rows(self, first, last):
        """g and y of forward elements that are all in the sample or all outside."""
        dy, y = self._source.rows(first, last), self._stored.rows(first, last)
        g = dy if self._activation == Activation.IDENTITY else dy * is_active(self._activation, y)
        if first < len(self.sample):
            self.sample[first:last] = g
        else:
            self.put(first, g, None)
        return g, y

    def put(self, first, g, addend, mean=0.0):
        """Store dx of the rows from ``first`` on; ``addend`` is (rows, channels), or None for 0; ``mean`` (channels,)
        is subtracted from g, without constant extraction."""
        step = row_step(self._width)
        spare = ((0, 0), (0, self._width - g.shape[1]))
        mean = np.pad(np.broadcast_to(mean, g.shape[1]), spare[1])
        for at in range(0, len(g), step):
            part = np.pad(g[at:at + step], spare) if spare[1][1] else g[at:at + step]
            more = None if addend is None else np.pad(addend[at:at + step], spare)
            self.store.put(first + at, *self._elements(part, mean, more), Activation.IDENTITY)

    def _elements(self, g, mean, addend):
        if self._config.extracts:
            return lanes(self._config, g, *self._scales, addend, Activation.IDENTITY)
        return evaluate(self._config, g, mean, *self._scales, 0.0 if addend is None else addend, Activation.IDENTITY)


def _sample_addends(config, records, sample_len, base, plus, minus):
    """What the beats of the sample add to a·g, float64 (sample_len, channels)."""
    addend = np.tile(base, (sample_len, 1))
    n_chunks, length = chunk_shape(config, sample_len)
    beats = [np.asarray(positions)[:, :n_chunks] + np.arange(n_chunks) * config.chunk_len
             for positions in (records.argmax, records.argmin)]
    for own, other, value in ((*beats, plus), (*beats[::-1], minus)):
        channel, chunk = np.nonzero((own != other) & (own < n_chunks * length))
        addend[own[channel, chunk], channel] = value[channel]
    return addend
