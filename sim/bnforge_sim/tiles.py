"""Tiles as the driver sees them: header, beats, and what must come out."""

from dataclasses import dataclass, field

import numpy as np

from bnforge.config import HEADER_FIXED_WORDS, Activation

from .files import Segment

__all__ = ["Tile", "header_words", "segment"]


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile, as codes.

    Parameters
    ----------
    x : uint32 array, shape (n, lanes)
        Codes of the input format, in forward order.
    gamma, beta : uint32 arrays, shape (lanes,)
        fp32 codes; a and b in frozen mode.
    c, eps : int
        fp32 codes.
    sample_len : int
    activation : Activation
    frozen : bool
    mask : int
        Bit i enables lane i; default all.
    """

    x: np.ndarray = field(repr=False)
    gamma: np.ndarray = field(repr=False)
    beta: np.ndarray = field(repr=False)
    c: int
    eps: int
    sample_len: int
    activation: Activation = Activation.RELU
    frozen: bool = False
    mask: int | None = None

    def __post_init__(self):
        if self.mask is None:
            object.__setattr__(self, "mask", (1 << self.x.shape[1]) - 1)


def header_words(config, tile):
    """The tile's header, docs/interfaces.md: uint32 array, shape (config.header_words,)."""
    words = np.zeros(config.header_words, dtype=np.uint32)
    words[0] = tile.activation << 1 | tile.frozen << 3 | tile.sample_len << 16
    words[1:HEADER_FIXED_WORDS] = tile.c, tile.eps, tile.mask
    words[HEADER_FIXED_WORDS::2] = tile.gamma
    words[HEADER_FIXED_WORDS + 1::2] = tile.beta
    return words


def _last(lengths):
    last = np.zeros(sum(lengths), dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    return last


def segment(config, tiles, **options):
    """``tiles`` back to back as one :class:`~bnforge_sim.files.Segment`; ``options`` are its other fields.

    ``header_wait`` may have the shape (tiles, words).
    """
    if options.get("header_wait") is not None:
        options["header_wait"] = np.asarray(options["header_wait"]).ravel()
    n_rec = sum(int(tile.mask).bit_count() for tile in tiles) * config.record_words
    return Segment(header=np.concatenate([header_words(config, tile) for tile in tiles]),
                   header_last=_last([config.header_words] * len(tiles)),
                   beats=np.concatenate([tile.x for tile in tiles]), last=_last([len(tile.x) for tile in tiles]),
                   **{"n_out": sum(len(tile.x) for tile in tiles), "n_rec": n_rec} | options)
