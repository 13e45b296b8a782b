"""The streams and shapes that cross block boundaries inside the core."""

from amaranth.hdl import Const, unsigned
from amaranth.lib import data

from .config import Activation, Directions
from .formats import WORKING

__all__ = ["tile_layout", "job_layout", "stored_layout", "is_backward", "FLAGS", "lane_width",
           "whole_bytes"]

FLAGS = data.StructLayout({"nan": 1, "infinity": 1, "saturated": 1})
"""Sticky events of docs/interfaces.md, status bits 0 to 2."""


def whole_bytes(width):
    """``width`` padded to whole bytes, in bits."""
    return -(-width // 8) * 8


def lane_width(config):
    """Bits of a lane index."""
    return max(1, (config.lanes - 1).bit_length())


def tile_layout(config):
    """What a header says of a tile, apart from gamma and beta."""
    scale = {"c": WORKING.width, "eps": WORKING.width} if config.has_statistics else {}
    return data.StructLayout({
        "activation": Activation, "frozen": 1, "sample_len": config.sample_len_width, **scale, "mask": config.lanes,
        **_backward(config)})


def stored_layout(config):
    """A stored beat, of y or of dx."""
    return data.StructLayout({
        "elements": data.ArrayLayout(config.element_width, config.lanes),
        "exponents": data.ArrayLayout(config.storage.exponent_width if config.is_block else 1, config.n_groups),
        "last": 1})


def job_layout(config):
    """One tile's turn in the scalar unit; S_eff is only known of forward tiles."""
    return data.StructLayout({"frozen": 1, "sample_len": unsigned(config.sample_len_width), **_backward(config)})


def is_backward(config, description):
    """Whether a tile, or its job, is a backward one."""
    return description.backward if config.directions is Directions.BOTH else Const(config.has_backward, 1)


def _backward(config):
    """The direction of a tile, a bit only where both are built."""
    return {"backward": 1} if config.directions is Directions.BOTH else {}
