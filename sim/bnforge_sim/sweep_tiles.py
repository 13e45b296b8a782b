"""Sweeps of a baseline as the driver sees them: header, beats, and the segments made of them."""

from dataclasses import dataclass, field

import numpy as np

from bnforge.config import Activation
from bnforge.sweeps.words import Sweep, record_words, streams
from bnforge_model import Encoded
from bnforge_model.blocks import element_dtype
from bnforge_model.sweep_words import sweep_header_words, sweep_record_words
from bnforge_model.sweeps import run_sweep

from .files import Segment

__all__ = ["Stored", "SweepTile", "sweep_result", "sweep_words", "sweep_segment"]


@dataclass(frozen=True, eq=False)
class Stored:
    """What is stored, as on the ports: elements uint32 (n, lanes); exponents uint32 (n, n_groups), None for floats."""

    elements: np.ndarray
    exponents: np.ndarray | None

    @classmethod
    def of(cls, config, encoded):
        """A result of the model."""
        elements = encoded.elements.astype(np.int64) & ((1 << config.element_width) - 1)
        return cls(elements.astype(np.uint32), encoded.exponents.astype(np.uint32) if config.is_block else None)

    def encoded(self, config):
        """As the model takes it."""
        elements = self.elements.astype(np.int64)
        if config.is_block:
            elements -= (elements >> (config.element_width - 1)) << config.element_width
        return Encoded(config.storage, elements.astype(element_dtype(config.storage)),
                       self.exponents.astype(np.uint8) if config.is_block else None)


@dataclass(frozen=True, eq=False)
class SweepTile:
    """One sweep over one tile.

    Parameters
    ----------
    sweep : Sweep
    params : dict of arrays, shape (lanes,)
        By the names of the P words: float32, of which the bits count, NaN included; positions int64.
    operand : uint32 array, shape (n, lanes), or None
        Codes of the input format.
    stored, gradient : Stored or None
    eps, c : float32
        c with range statistics only.
    activation : Activation
    mask : int
        Bit i enables lane i.
    """

    sweep: Sweep
    params: dict = field(repr=False)
    operand: np.ndarray | None = field(repr=False)
    stored: Stored | None = field(repr=False)
    gradient: Stored | None = field(repr=False)
    eps: np.float32
    c: np.float32
    activation: Activation
    mask: int

    @property
    def n(self):
        """Beats."""
        return len(self.operand if self.operand is not None else self.stored.elements)


def _mask(config, tile):
    return np.array([tile.mask >> lane & 1 for lane in range(config.lanes)], dtype=bool)


def sweep_result(config, tile):
    """The model's :class:`~bnforge_model.sweeps.SweepResult` of a tile, and its record words."""
    mask = _mask(config, tile)
    with np.errstate(invalid="ignore"):  # signalling NaN
        result = run_sweep(config, tile.sweep, tile.params, operand_codes=tile.operand,
                           **{name: stored.encoded(config) for name, stored in
                              (("stored", tile.stored), ("gradient", tile.gradient)) if stored is not None},
                           activation=tile.activation, eps=tile.eps, c=tile.c, mask=mask)
        return result, sweep_record_words(config, tile.sweep, result.records, mask)


def sweep_words(config, tile):
    """The words of the tile's header: uint32 array."""
    return sweep_header_words(config, tile.sweep, tile.n, tile.params, activation=tile.activation, eps=tile.eps,
                              c=tile.c, mask=_mask(config, tile))


def _last(lengths):
    last = np.zeros(sum(lengths), dtype=bool)
    last[np.cumsum(lengths, dtype=int) - 1] = True
    return last


def _port(name, config, tensors):
    """The fields of a segment that hold one stored stream."""
    elements = np.concatenate([np.zeros((0, config.lanes), np.uint32), *(tensor.elements for tensor in tensors)])
    fields = {name: elements, f"{name}_last": _last([len(tensor.elements) for tensor in tensors])}
    if config.is_block and tensors:
        fields[f"{name}_exponents"] = np.concatenate([tensor.exponents for tensor in tensors])
    return fields


def sweep_segment(config, tiles, **options):
    """``tiles`` one after the other as one :class:`~bnforge_sim.files.Segment`; ``options`` are its other fields."""
    headers = [sweep_words(config, tile) for tile in tiles]
    operands = [tile.operand for tile in tiles if tile.operand is not None]
    n_out = sum(tile.n for tile in tiles if streams(config, tile.sweep)[1])
    n_rec = sum(len(record_words(config, tile.sweep)) * tile.mask.bit_count() for tile in tiles)
    return Segment(**{
        "header": np.concatenate(headers), "header_last": _last([len(words) for words in headers]),
        "beats": np.concatenate([np.zeros((0, config.lanes), np.uint32), *operands]),
        "last": _last([len(beats) for beats in operands]), "n_out": n_out, "n_rec": n_rec}
        | _port("y", config, [tile.stored for tile in tiles if tile.stored is not None])
        | _port("gradient", config, [tile.gradient for tile in tiles if tile.gradient is not None]) | options)
