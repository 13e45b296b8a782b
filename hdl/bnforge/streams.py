"""The streams and shapes that cross block boundaries inside the core."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from .config import Activation
from .formats import WORKING

__all__ = ["tile_layout", "job_layout", "FLAGS", "lane_width"]

FLAGS = data.StructLayout({"nan": 1, "infinity": 1, "saturated": 1})
"""Sticky events of docs/interfaces.md, status bits 0 to 2."""


def lane_width(config):
    """Bits of a lane index."""
    return max(1, (config.lanes - 1).bit_length())


def tile_layout(config):
    """What a header says of a tile, apart from gamma and beta."""
    return data.StructLayout({
        "activation": Activation, "frozen": 1, "sample_len": config.sample_len_width,
        "c": WORKING.width, "eps": WORKING.width, "mask": config.lanes})


def job_layout(config):
    """One tile's turn in the constant extraction."""
    return data.StructLayout({"frozen": 1, "sample_len": unsigned(config.sample_len_width)})
