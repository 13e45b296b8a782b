"""Tensors through a board without an engine, tile by tile, and what the model says of them."""

import time
from dataclasses import dataclass

import numpy as np
from bnforge.streams import whole_bytes
from bnforge_model import Shape, default_c, default_eps, tile_slices
from bnforge_model.constants import fp32_code
from bnforge_model.floats import decode, to_codes
from bnforge_model.frozen import frozen_affine
from bnforge_model.words import pack_beats, unpack_y
from bnforge_sim.engine_runs import FORWARD
from bnforge_sim.expect import expect
from bnforge_sim.grid import grid_order
from bnforge_sim.tiles import Tile, header_words

from .progress import Bar
from .tensors import PassReport, affine_vectors, float_tensor

__all__ = ["CoreRun", "core_run", "run_tiles"]

_WORD_BYTES = 4


@dataclass(frozen=True, eq=False)
class CoreRun:
    """A tensor as forward tiles.

    Attributes
    ----------
    shape : Shape
    order : int array, (N·H·W,)
        Position in memory order of each beat.
    slices : list of slice
        Channels of each tile.
    tiles : list of Tile
    wanted : list of Expected
        What the model says of each.
    """

    shape: Shape
    order: np.ndarray
    slices: list
    tiles: list
    wanted: list


def core_run(config, x, *, gamma=None, beta=None):
    """A :class:`CoreRun` of a tensor; relu.

    A core with statistics samples the default grid. Without, mean and variance of the tensor come from the host, by
    :func:`~bnforge_model.frozen.frozen_affine`.

    Parameters
    ----------
    config : BoardConfig
        Without an engine.
    x : float array, (N, H, W, C)
        Rounded to the core's input format.
    gamma, beta : float arrays, (C,)
        Default: ones and zeros.

    Raises
    ------
    ValueError
        For arrays of other shapes, not numbers, or more positions than the memory holds.
    """
    core = config.core
    x = float_tensor("x", x)
    shape = Shape(*x.shape)
    gamma, beta = affine_vectors(shape.channels, gamma, beta)
    if shape.n_positions > config.places.capacity:
        raise ValueError(f"tensor must have at most {config.places.capacity} positions (N·H·W) with the "
                         f"{config.memory_bytes} bytes of memory of this build, not {shape.n_positions}")
    codes = to_codes(core.x_format, x.reshape(shape.n_positions, shape.channels)).astype(np.uint32)
    order, sample_len = np.arange(len(codes)), 0
    if core.has_statistics:
        order, sample_len = grid_order(shape.n_images, shape.height, shape.width, core.sample_depth)
    else:
        gamma, beta = frozen_affine(decode(core.x_format, codes), gamma, beta)
    c = default_c(core, len(codes), sample_len or None)
    slices, tiles = tile_slices(core, shape.channels), []
    for channels in slices:
        n = channels.stop - channels.start
        beats, words = np.zeros((len(codes), core.lanes), np.uint32), np.zeros((2, core.lanes), np.uint32)
        beats[:, :n] = codes[order, channels]
        words[:, :n] = fp32_code(gamma[channels]), fp32_code(beta[channels])
        tiles.append(Tile(beats, *words, int(fp32_code(c)), int(fp32_code(default_eps(c))), sample_len,
                          frozen=not core.has_statistics, mask=(1 << n) - 1))
    return CoreRun(shape, order, slices, tiles, [expect(core, tile) for tile in tiles])


def run_tiles(device, run, progress=Bar):
    """Run all tiles, and compare every word that the core wrote with the model.

    Parameters
    ----------
    device : Device
        Without an engine.
    run : CoreRun
    progress : Bar or alike

    Returns
    -------
    (PassReport, float array, (N, H, W, C))
        And y as the core stored it. Bytes that are compared are those of whole words; a status that differs is a
        difference, too.

    Raises
    ------
    LinkError
    """
    config, core, places = device.config, device.config.core, device.config.places
    started, differences, cycles, n_words, status = time.monotonic(), [], 0, 0, 0
    y = np.empty((run.shape.n_positions, run.shape.channels))
    sent = sum(len(header_words(core, tile)) + len(tile.x) for tile in run.tiles)
    got = sum(len(wanted.records) + len(wanted.elements) for wanted in run.wanted)
    with progress(f"{FORWARD}: tiles", _WORD_BYTES * (sent + got)) as bar:
        for channels, tile, wanted in zip(run.slices, run.tiles, run.wanted, strict=True):
            device.write_words(places.header, header_words(core, tile), bar)
            device.write_words(places.beats, _words(pack_beats(tile.x, core.x_format.width)), bar)
            took, flags = device.run_tile(len(tile.x))
            results = device.read_words(places.beats, len(tile.x), bar)
            records = device.read_words(places.records, len(wanted.records), bar)
            name = f"channels {channels.start} to {channels.stop - 1}"
            for what, found, right in (("y", results, _stored_words(core, wanted)),
                                       ("records", records, wanted.records)):
                wrong = np.flatnonzero(found != right)
                if len(wrong):
                    differences.append(f"{what} of {name}: {len(wrong)} of {len(right)} words differ from the model, "
                                       f"the first at {wrong[0]}")
            if flags != wanted.status:
                differences.append(f"status of {name} must be {wanted.status:#x}, not {flags:#x}")
            cycles, status = cycles + took, status | flags
            n_words += len(results) + len(records)
            y[run.order, channels] = _decoded(core, results)[:, :channels.stop - channels.start]
    report = PassReport(FORWARD, y.size, differences, _WORD_BYTES * n_words, cycles, cycles / config.clock_hz,
                        time.monotonic() - started, {}, status)
    return report, y.reshape(run.shape.dims)


def _words(*parts):
    """The bytes of beats as 32-bit words, the first part lowest."""
    data = np.concatenate(parts, axis=1)
    return np.pad(data, ((0, 0), (0, _WORD_BYTES - data.shape[1]))).view("<u4")[:, 0]


def _stored_words(core, wanted):
    exponents = [pack_beats(wanted.exponents, core.storage.exponent_width)] if core.is_block else []
    return _words(pack_beats(wanted.elements, core.element_width), *exponents)


def _decoded(core, words):
    """Values of results: float64 (n, lanes)."""
    data = np.ascontiguousarray(words).view(np.uint8).reshape(-1, _WORD_BYTES)
    elements, exponents = whole_bytes(core.lanes * core.element_width) // 8, None
    if core.is_block:
        exponents = data[:, elements:elements + whole_bytes(core.n_groups * core.storage.exponent_width) // 8]
    return unpack_y(core, data[:, :elements], exponents).decode()
