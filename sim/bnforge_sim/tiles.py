"""Tiles as the driver sees them: header and beats of both directions, and the segments made of them."""

from dataclasses import dataclass, field

import numpy as np

from bnforge.config import GRADIENT_WORDS, HEADER_FIXED_WORDS, Activation
from bnforge_model import backward_order

from .files import Segment

__all__ = ["Tile", "BackwardTile", "header_words", "enabled_lanes", "segment"]


@dataclass(frozen=True, eq=False)
class Tile:
    """One forward tile, as codes.

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

    @property
    def beats(self):
        """What goes to ``s_axis``, in stream order: codes, shape (n, lanes)."""
        return self.x


@dataclass(frozen=True, eq=False)
class BackwardTile:
    """One backward tile, as codes; all arrays in forward order.

    Parameters
    ----------
    dy : uint32 array, shape (n, lanes)
        Codes of the input format.
    elements : uint32 array, shape (n, lanes)
        The stored y, as the forward tile gave it on ``m_axis_tdata``.
    exponents : uint32 array, shape (n, n_groups), or None
        As on ``m_axis_tuser``; None with float storage.
    records : uint32 array, shape (enabled lanes · record_words,)
        As on ``m_axis_rec``.
    c, eps : int
        fp32 codes.
    sample_len : int
        Of the forward tile. A frozen tile has no sample: any number, and the stream order is the forward order.
    activation : Activation
    frozen : bool
    mask : int
        Bit i enables lane i; default all.
    """

    dy: np.ndarray = field(repr=False)
    elements: np.ndarray = field(repr=False)
    exponents: np.ndarray | None = field(repr=False)
    records: np.ndarray = field(repr=False)
    c: int
    eps: int
    sample_len: int
    activation: Activation = Activation.RELU
    frozen: bool = False
    mask: int | None = None

    def __post_init__(self):
        if self.mask is None:
            object.__setattr__(self, "mask", (1 << self.dy.shape[1]) - 1)

    @property
    def n_sample(self):
        """S_eff; 0 in frozen mode."""
        return 0 if self.frozen else min(self.sample_len, len(self.dy))

    @property
    def order(self):
        """Forward index of each beat of the stream: the sample last."""
        return backward_order(len(self.dy), self.n_sample)

    @property
    def beats(self):
        """What goes to ``s_axis``, in stream order: codes, shape (n, lanes)."""
        return self.dy[self.order]


def enabled_lanes(tile, lanes):
    """The lane mask as bool, shape (lanes,)."""
    return np.array([tile.mask >> lane & 1 for lane in range(lanes)], dtype=bool)


def header_words(config, tile):
    """The tile's header, docs/interfaces.md: uint32 array."""
    backward = isinstance(tile, BackwardTile)
    fixed = np.zeros(HEADER_FIXED_WORDS, dtype=np.uint32)
    fixed[0] = backward | tile.activation << 1 | tile.frozen << 3 | tile.sample_len << 16
    fixed[1:] = tile.c, tile.eps, tile.mask
    rest = tile.records if backward else np.stack([tile.gamma, tile.beta], axis=1).ravel()
    return np.concatenate([fixed, rest.astype(np.uint32)])


def _result_words(config, tile):
    """Words that a tile gives on ``m_axis_rec``."""
    per_lane = GRADIENT_WORDS if isinstance(tile, BackwardTile) else config.record_words
    return int(tile.mask).bit_count() * per_lane


def _last(lengths):
    last = np.zeros(sum(lengths), dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    return last


def _stored(tiles):
    """The fields of a segment that hold the y of its backward tiles, in stream order."""
    backward = [tile for tile in tiles if isinstance(tile, BackwardTile)]
    if not backward:
        return {}
    exponents = None
    if backward[0].exponents is not None:
        exponents = np.concatenate([tile.exponents[tile.order] for tile in backward])
    return {"y": np.concatenate([tile.elements[tile.order] for tile in backward]), "y_exponents": exponents,
            "y_last": _last([len(tile.dy) for tile in backward])}


def segment(config, tiles, **options):
    """``tiles`` of either direction back to back as one :class:`~bnforge_sim.files.Segment`.

    ``options`` are its other fields; ``header_wait`` may be a list of arrays, one per tile.
    """
    if options.get("header_wait") is not None:
        options["header_wait"] = np.concatenate([np.ravel(wait) for wait in options["header_wait"]])
    headers = [header_words(config, tile) for tile in tiles]
    beats = [tile.beats for tile in tiles]
    return Segment(header=np.concatenate(headers), header_last=_last([len(words) for words in headers]),
                   beats=np.concatenate(beats), last=_last([len(codes) for codes in beats]),
                   **{"n_out": sum(len(codes) for codes in beats),
                      "n_rec": sum(_result_words(config, tile) for tile in tiles)} | _stored(tiles) | options)
