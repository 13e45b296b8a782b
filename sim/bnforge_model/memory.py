"""Tensors in the memory of an engine, byte by byte (docs/engine.md, Memory layout), and back.

All functions take an :class:`~bnforge.engine_config.EngineConfig`, pack into ``bytes`` and unpack from anything with a
buffer: bytes, bytearray, memoryview, arrays.
"""

import enum
import math
from dataclasses import dataclass, fields

import numpy as np

from bnforge.config import GRADIENT_WORDS
from bnforge.formats import require_int

from .blocks import Encoded, element_dtype
from .core import padded_width, tile_slices
from .result import Records
from .words import gradient_words, pack_beats, parse_gradients, parse_records, record_words, unpack_beats

__all__ = ["Layout", "Shape", "operand_size", "stored_size", "record_size", "gradient_size", "pack_operand",
           "unpack_operand", "pack_stored", "unpack_stored", "pack_records", "unpack_records", "pack_gradients",
           "unpack_gradients"]

_WORD_BYTES = 4


class Layout(enum.Enum):
    """Where the channel tiles of a tensor lie."""

    BLOCKED = "blocked"
    """One after the other inside an image: nChw{lanes}c."""
    NHWC = "nhwc"
    """Side by side at each position."""


@dataclass(frozen=True)
class Shape:
    """N images of H·W positions and C channels, each at least 1."""

    n_images: int
    height: int
    width: int
    channels: int

    def __post_init__(self):
        for field in fields(self):
            require_int(field.name, getattr(self, field.name), 1, 2**31)

    @property
    def area(self):
        """Positions of an image."""
        return self.height * self.width

    @property
    def n_positions(self):
        """Positions of a channel: N·H·W."""
        return self.n_images * self.area

    @property
    def dims(self):
        """(N, H, W, C)."""
        return self.n_images, self.height, self.width, self.channels


def _tiles(config, channels):
    """(channels, blocks) of each tile as slices: blocks are those with a channel in them."""
    group = config.core.storage.group if config.core.is_block else 1
    return [(tile, slice(tile.start // group, -(-tile.stop // group))) for tile in tile_slices(config.core, channels)]


def _sizes(config, position_bytes, channels):
    """k of each tile."""
    return [position_bytes(tile.stop - tile.start) for tile in tile_slices(config.core, channels)]


def operand_size(config, shape):
    """Bytes of a tensor x or dy."""
    return shape.n_positions * sum(_sizes(config, config.operand_bytes, shape.channels))


def stored_size(config, shape):
    """Bytes of a tensor y or dx."""
    return shape.n_positions * sum(_sizes(config, config.stored_bytes, shape.channels))


def record_size(config, channels):
    """Bytes of the channel records of ``channels`` channels."""
    return channels * config.core.record_words * _WORD_BYTES


def gradient_size(channels):
    """Bytes of the gradient records of ``channels`` channels."""
    return channels * GRADIENT_WORDS * _WORD_BYTES


def _rows(shape, layout):
    """In how many parts of a tensor its tiles lie one after the other: images, or positions."""
    if not isinstance(layout, Layout):
        raise ValueError(f"layout must be a Layout, not {layout!r}")
    return shape.n_positions if layout is Layout.NHWC else shape.n_images


def _join(tiles, shape, layout):
    """The bytes of a tensor from those of its tiles, (positions, k_t) each."""
    rows = _rows(shape, layout)
    return np.concatenate([tile.reshape(rows, -1) for tile in tiles], axis=1).tobytes()


def _split(data, sizes, shape, layout):
    """The opposite of :func:`_join`: an array (positions, k_t) of each tile."""
    data, rows, n = np.frombuffer(data, np.uint8), _rows(shape, layout), shape.n_positions
    if len(data) != n * sum(sizes):
        raise ValueError(f"data must be of {n * sum(sizes)} bytes, not {len(data)}")
    parts = np.split(data.reshape(rows, -1), np.cumsum(sizes)[:-1] * (n // rows), axis=1)
    return [part.reshape(n, size) for part, size in zip(parts, sizes, strict=True)]


def pack_operand(config, codes, layout=Layout.BLOCKED):
    """x or dy as it lies in memory.

    Parameters
    ----------
    config : EngineConfig
    codes : integer array, (N, H, W, C)
        Codes of ``config.core.x_format``.
    layout : Layout

    Returns
    -------
    bytes
    """
    codes, width = np.asarray(codes), config.core.x_format.width
    if codes.ndim != 4 or codes.dtype.kind not in "iu":
        raise ValueError(f"codes must be integers of shape (N, H, W, C), not {codes.dtype} {codes.shape}")
    shape = Shape(*codes.shape)
    _require_range("codes", codes, 0, (1 << width) - 1)
    codes = codes.reshape(shape.n_positions, shape.channels)
    return _join([pack_beats(codes[:, tile], width) for tile, _ in _tiles(config, shape.channels)], shape, layout)


def unpack_operand(config, data, shape, layout=Layout.BLOCKED):
    """The codes of x or dy, uint32 (N, H, W, C); the opposite of :func:`pack_operand`."""
    tiles = tile_slices(config.core, shape.channels)
    parts = _split(data, _sizes(config, config.operand_bytes, shape.channels), shape, layout)
    codes = [unpack_beats(part, tile.stop - tile.start, config.core.x_format.width)
             for part, tile in zip(parts, tiles, strict=True)]
    return np.concatenate(codes, axis=1).reshape(shape.dims)


def pack_stored(config, encoded, shape, layout=Layout.BLOCKED):
    """y or dx as it lies in memory.

    Parameters
    ----------
    config : EngineConfig
    encoded : Encoded
        In ``config.core.storage`` or ``gradient_storage``, positions in memory order (not forward order): elements
        (N·H·W, C) or (N, H, W, C), exponents of full tiles, as the model gives them. The exponents of blocks without
        a channel have no place in memory.
    shape : Shape
    layout : Layout

    Returns
    -------
    bytes
    """
    fmt, core, n = _stored_format(config, encoded.format), config.core, shape.n_positions
    elements = np.asarray(encoded.elements)
    if elements.shape not in ((n, shape.channels), shape.dims) or elements.dtype.kind not in "iu":
        raise ValueError(f"encoded elements must be integers of shape {(n, shape.channels)} or {shape.dims}, "
                         f"not {elements.dtype} {elements.shape}")
    top = 1 << core.element_width
    signed = core.is_block and fmt.signed
    _require_range("encoded elements", elements, -top // 2 if signed else 0, top // 2 - 1 if signed else top - 1)
    elements = elements.reshape(n, shape.channels)
    if not core.is_block:
        tiles = [pack_beats(elements[:, tile], core.element_width) for tile, _ in _tiles(config, shape.channels)]
        return _join(tiles, shape, layout)
    exponents, expected = np.asarray(encoded.exponents), padded_width(core, shape.channels) // fmt.group
    if exponents.dtype.kind not in "iu" or exponents.size != n * expected or exponents.shape[-1] != expected:
        raise ValueError(f"encoded exponents must be integers of shape {(n, expected)}, "
                         f"not {exponents.dtype} {exponents.shape}")
    _require_range("encoded exponents", exponents, 0, (1 << fmt.exponent_width) - 1)
    exponents = exponents.reshape(n, expected)
    tiles = [_pack_blocks(fmt, elements[:, tile], exponents[:, blocks])
             for tile, blocks in _tiles(config, shape.channels)]
    return _join(tiles, shape, layout)


def unpack_stored(config, data, shape, layout=Layout.BLOCKED, fmt=None):
    """The :class:`.Encoded` of y or dx, positions in memory order; the opposite of :func:`pack_stored`.

    Elements are (N·H·W, C); the exponents of blocks without a channel are 0.

    Parameters
    ----------
    config : EngineConfig
    data : buffer
    shape : Shape
    layout : Layout
    fmt : FloatFormat or BlockFormat
        ``config.core.storage`` (the default), or ``gradient_storage`` for dx.
    """
    core = config.core
    fmt = _stored_format(config, core.storage if fmt is None else fmt)
    parts = _split(data, _sizes(config, config.stored_bytes, shape.channels), shape, layout)
    elements = np.empty((shape.n_positions, shape.channels), element_dtype(fmt))
    tiles = _tiles(config, shape.channels)
    if not core.is_block:
        for part, (tile, _) in zip(parts, tiles, strict=True):
            elements[:, tile] = unpack_beats(part, tile.stop - tile.start, core.element_width)
        return Encoded(fmt, elements)
    exponents = np.zeros((shape.n_positions, padded_width(core, shape.channels) // fmt.group), np.uint8)
    for part, (tile, blocks) in zip(parts, tiles, strict=True):
        found, exponents[:, blocks] = _unpack_blocks(fmt, part, blocks.stop - blocks.start)
        elements[:, tile] = found[:, :tile.stop - tile.start]
    return Encoded(fmt, elements, exponents)


def _stored_format(config, fmt):
    if fmt not in (config.core.storage, config.core.gradient_storage):
        raise ValueError(f"format must be a storage format of the configuration, not {fmt}")
    return fmt


def _require_range(name, values, low, high):
    if values.min() < low or values.max() > high:
        raise ValueError(f"{name} must be from {low} to {high}, not {values.min()} ... {values.max()}")


def _pack_blocks(fmt, elements, exponents):
    """Bytes (n, k) of the blocks of a tile: of each its elements, then its exponent; a last one is filled with 0."""
    n, blocks = exponents.shape
    elements = np.pad(elements, ((0, 0), (0, blocks * fmt.group - elements.shape[1])))
    parts = ((elements.reshape(-1, fmt.group), fmt.element_width), (exponents.reshape(-1, 1), fmt.exponent_width))
    packed = [pack_beats(codes, width) for codes, width in parts]
    if _is_whole_bytes(fmt):
        return np.concatenate(packed, axis=1).reshape(n, -1)
    bits = [np.unpackbits(data, axis=1, count=codes.shape[1] * width, bitorder="little")
            for data, (codes, width) in zip(packed, parts, strict=True)]
    return np.packbits(np.concatenate(bits, axis=1).reshape(n, -1), axis=1, bitorder="little")


def _unpack_blocks(fmt, data, blocks):
    """(elements, exponents) of the blocks of a tile: the opposite of :func:`_pack_blocks`."""
    n, width = len(data), fmt.group * fmt.element_width
    if _is_whole_bytes(fmt):
        parts = np.split(data.reshape(n * blocks, -1), [width // 8], axis=1)
    else:
        bits = np.unpackbits(data, axis=1, count=blocks * (width + fmt.exponent_width), bitorder="little")
        parts = [np.packbits(part, axis=1, bitorder="little")
                 for part in np.split(bits.reshape(n * blocks, -1), [width], axis=1)]
    elements = unpack_beats(parts[0], fmt.group, fmt.element_width, fmt.signed)
    exponents = unpack_beats(parts[1], 1, fmt.exponent_width)
    return elements.reshape(n, -1), exponents.reshape(n, -1)


def _is_whole_bytes(fmt):
    """Whether elements and exponent of a block each fill bytes."""
    return math.gcd(fmt.group * fmt.element_width, fmt.exponent_width) % 8 == 0


def pack_records(config, records):
    """Channel records of any number of channels as they lie in memory: (C, record_words) little-endian words."""
    words = [record_words(config.core, records[tile]) for tile in tile_slices(config.core, len(records.a))]
    return np.concatenate(words).astype("<u4").tobytes()


def unpack_records(config, data):
    """The :class:`.Records` in memory; the opposite of :func:`pack_records`."""
    words = _words(data, config.core.record_words).reshape(-1, config.core.record_words)
    parts = [parse_records(config.core, words[tile].ravel(), np.ones(tile.stop - tile.start, bool))
             for tile in tile_slices(config.core, len(words))]
    return Records(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Records)))


def pack_gradients(dgamma, dbeta):
    """Gradient records as they lie in memory: dgamma, dbeta of each channel."""
    return gradient_words(dgamma, dbeta).astype("<u4").tobytes()


def unpack_gradients(data):
    """(dgamma, dbeta) in memory, float64 (C,); the opposite of :func:`pack_gradients`."""
    return parse_gradients(_words(data, GRADIENT_WORDS))


def _words(data, per_channel):
    data = np.frombuffer(data, np.uint8)
    if not len(data) or len(data) % (per_channel * _WORD_BYTES):
        raise ValueError(f"data must be of a multiple of {per_channel * _WORD_BYTES} bytes, not {len(data)}")
    return data.view("<u4").astype(np.uint32)
