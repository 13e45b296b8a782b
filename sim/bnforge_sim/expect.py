"""What the model says must come out of the core for one tile."""

from dataclasses import dataclass

import numpy as np

from bnforge_model import Encoded, backward_codes, forward_codes
from bnforge_model.blocks import element_dtype
from bnforge_model.words import gradient_words, parse_records, record_words

from .sweep_tiles import SweepTile, sweep_result
from .tiles import BackwardTile, enabled_lanes

__all__ = ["Expected", "expect"]


@dataclass(frozen=True, eq=False)
class Expected:
    """The output of one tile.

    Attributes
    ----------
    elements : uint32 array, shape (n, lanes)
        As on the port, in stream order: two's complement elements or float codes.
    exponents : uint32 array, shape (n, n_groups), or None
    last : bool array, shape (n,)
    records : uint32 array
    record_last : bool array
    status : int
        Flags that the tile sets, bits as on the port.
    """

    elements: np.ndarray
    exponents: np.ndarray | None
    last: np.ndarray
    records: np.ndarray
    record_last: np.ndarray
    status: int


def _ends(count):
    last = np.zeros(count, dtype=bool)
    last[-1:] = True
    return last


def _fp32(codes):
    """The float64 values of fp32 codes, NaN and infinities included."""
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.asarray(codes, dtype=np.uint32).view(np.float32).astype(np.float64)


def expect(config, tile):
    """:class:`Expected` of a tile of the core, from ``bnforge_model``; or of a sweep of a baseline."""
    if isinstance(tile, SweepTile):
        return _sweep(config, tile)
    result, records, order = (_backward if isinstance(tile, BackwardTile) else _forward)(config, tile)
    elements = result.encoded.elements[order].astype(np.int64) & ((1 << config.element_width) - 1)
    exponents = result.encoded.exponents[order].astype(np.uint32) if config.is_block else None
    return Expected(elements.astype(np.uint32), exponents, _ends(len(elements)), records, _ends(len(records)),
                    int(result.flags))


def _sweep(config, tile):
    result, words = sweep_result(config, tile)
    elements, exponents = np.zeros((0, config.lanes), np.uint32), np.zeros((0, config.n_groups), np.uint32)
    if result.encoded is not None:
        elements = (result.encoded.elements.astype(np.int64) & ((1 << config.element_width) - 1)).astype(np.uint32)
        exponents = result.encoded.exponents.astype(np.uint32) if config.is_block else None
    return Expected(elements, exponents, _ends(len(elements)), words, _ends(len(words)), int(result.flags))


def _fields(config, tile):
    return {"activation": tile.activation, "c": float(_fp32(tile.c)), "eps": float(_fp32(tile.eps)),
            "frozen": tile.frozen, "mask": enabled_lanes(tile, config.lanes)}


def _forward(config, tile):
    fields = _fields(config, tile)
    result = forward_codes(config, tile.x, _fp32(tile.gamma), _fp32(tile.beta), sample_len=tile.sample_len, **fields)
    return result, record_words(config, result.records, fields["mask"]), slice(None)


def _backward(config, tile):
    fields = _fields(config, tile)
    fmt = config.storage
    elements = tile.elements.astype(np.int64)
    if config.is_block and fmt.signed:
        elements -= (elements >> (fmt.element_width - 1)) << fmt.element_width
    encoded = Encoded(fmt, elements.astype(element_dtype(fmt)),
                      tile.exponents.astype(np.uint8) if config.is_block else None)
    with np.errstate(invalid="ignore"):  # signalling NaN
        records = parse_records(config, tile.records, fields["mask"])
        # A frozen tile comes in forward order, as if it had no sample.
        result = backward_codes(config, tile.dy, encoded, records, sample_len=0 if tile.frozen else tile.sample_len,
                                **fields)
    return result, gradient_words(result.dgamma, result.dbeta, fields["mask"]), tile.order
