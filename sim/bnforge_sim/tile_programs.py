"""What the jobs of all kinds of pass have in common: the headers and records of their tiles (docs/engine.md)."""

from dataclasses import replace

import numpy as np

from bnforge.config import HEADER_FIXED_WORDS
from bnforge.formats import require_int
from bnforge_model import default_c, default_eps, tile_slices
from bnforge_model.constants import fp32_code

from .descriptors import STRIDE_LIMIT, Descriptor

__all__ = ["WORD_BYTES", "FIXED_BYTES", "scale", "fixed_words", "header_tiles", "record_row", "tile_program"]

WORD_BYTES = 4
FIXED_BYTES = WORD_BYTES * HEADER_FIXED_WORDS
"""Bytes of the fixed words of a header."""


def scale(core, sample_len, c=None, eps=None):
    """C and eps of a pass whose sample has that length, or as given; both are numbers of fp32."""
    if c is not None and not c > 0:
        raise ValueError(f"c must be a positive fp32 number, not {c!r}")
    c = default_c(core, sample_len) if c is None else c
    eps = default_eps(c) if eps is None else eps
    return tuple(fp32_code([c, eps]).view(np.float32).tolist())


def fixed_words(core, job, sample_len, c, eps):
    """The fixed header words of full tiles, then those of the last tile; ``job`` as :func:`header_tiles`."""
    first = job.backward | job.activation << 1 | job.frozen << 3 | sample_len << 16
    channels = job.shape.channels
    last = channels - (channels - 1) // core.lanes * core.lanes
    return [word for enabled in (core.lanes, last)
            for word in (first, *fp32_code([c, eps]).tolist(), (1 << enabled) - 1)]


def header_tiles(config, job, full, last, zero):
    """Descriptors of each tile's header.

    Parameters
    ----------
    config : EngineConfig
    job : Pass, or what has its shape, backward, records, gamma and beta
    full, last, zero : int
        Addresses of the fixed words of full tiles, of those of the last tile, and of a word of zeros.
    """
    core, tiles = config.core, []
    slices = tile_slices(core, job.shape.channels)
    if not job.backward:
        require_int("beta - gamma", job.beta - job.gamma, -STRIDE_LIMIT, STRIDE_LIMIT - 1)
    for tile in slices:
        channels = tile.stop - tile.start
        fixed = Descriptor(last if tile is slices[-1] else full, FIXED_BYTES)
        if job.backward:
            rest = [record_row(job.records, tile, core.record_words)]
        else:
            pairs = [(2, job.beta - job.gamma)] + [(channels, WORD_BYTES)] * (channels > 1)
            rest = [Descriptor(job.gamma + WORD_BYTES * tile.start, WORD_BYTES, tuple(pairs))]
            if channels < core.lanes:
                rest.append(Descriptor(zero, WORD_BYTES, ((2 * (core.lanes - channels), 0),)))
        tiles.append([fixed, *rest])
    return tiles


def record_row(address, tile, words):
    """The records of a tile as one row."""
    size = WORD_BYTES * words
    return Descriptor(address + size * tile.start, size * (tile.stop - tile.start))


def tile_program(tiles):
    """The descriptors of the tiles as one list, with their flags."""
    program = [replace(part, ends_tile=index == len(tile)) for tile in tiles for index, part in enumerate(tile, 1)]
    return [*program[:-1], replace(program[-1], last=True)]
