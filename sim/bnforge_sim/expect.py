"""What the model says must come out of the core for one tile."""

from dataclasses import dataclass

import numpy as np

from bnforge_model import forward_codes
from bnforge_model.words import record_words

__all__ = ["Expected", "expect"]


@dataclass(frozen=True, eq=False)
class Expected:
    """The output of one tile.

    Attributes
    ----------
    elements : uint32 array, shape (n, lanes)
        As on the port: two's complement elements or float codes.
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
    """:class:`Expected` of a tile, from ``bnforge_model.forward_codes``."""
    enabled = np.array([tile.mask >> lane & 1 for lane in range(config.lanes)], dtype=bool)
    result = forward_codes(config, tile.x, _fp32(tile.gamma), _fp32(tile.beta),
                           activation=tile.activation, sample_len=tile.sample_len,
                           c=float(_fp32(tile.c)), eps=float(_fp32(tile.eps)),
                           frozen=tile.frozen, mask=enabled)
    elements = result.encoded.elements.astype(np.int64) & ((1 << config.element_width) - 1)
    exponents = result.encoded.exponents.astype(np.uint32) if config.is_block else None
    records = record_words(config, result.records, enabled)
    return Expected(elements.astype(np.uint32), exponents, _ends(len(elements)), records, _ends(len(records)),
                    int(result.flags))
