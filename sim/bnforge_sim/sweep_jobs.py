"""Jobs of the baselines' engine: one for each sweep over a tensor (docs/baselines.md), channel-blocked and in order.

A workspace has the words of the job, then the headers of all tiles, then the programs of the channels. The P words of
the headers are gamma and beta and the words of earlier records, as software gathers them between two sweeps.
"""

from dataclasses import dataclass, field

import numpy as np

from bnforge.config import Activation, Algorithm
from bnforge.engine_config import Channel
from bnforge.sweeps.words import Sweep, fixed_words, param_words, record_words, streams
from bnforge_model import Shape, tile_slices
from bnforge_model.sweep_words import sweep_header_words

from .descriptors import DESCRIPTOR_BYTES, Descriptor
from .tile_programs import WORD_BYTES, record_row, tile_program

__all__ = ["SweepJob", "read_tensor", "result_tensor", "head_size", "sweep_programs", "sweep_workspace",
           "sweep_workspace_size"]

_RESULTS = {Sweep.COLLECT: "x'", Sweep.NORMALISE: "y", Sweep.COPY: "dy'", Sweep.SUMS: "g'", Sweep.GRADIENT: "dx"}


def result_tensor(sweep):
    """What a sweep writes: x', y, dy', g' or dx."""
    return _RESULTS[sweep]


def read_tensor(core, sweep, stream):
    """What a sweep reads as "operand", "stored" or "gradient": x or dy, x', y, dy' or g'."""
    if stream == "operand":
        return "x" if sweep is Sweep.COLLECT else "dy"
    if stream == "gradient":
        return "dy'" if core.algorithm is Algorithm.TWO_PASS else "g'"
    if core.algorithm is Algorithm.RANGE:
        return {Sweep.SUMS: "y", Sweep.GRADIENT: "g'"}.get(sweep, "x'")
    return "x'"


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """One sweep over a tensor.

    Parameters
    ----------
    sweep : Sweep
    shape : Shape
    activation : Activation
    eps, c : float
        c with range statistics only.
    params : dict of arrays, (channels,)
        P words by name.
    addresses : dict of str to int
        Of what the sweep reads and writes: "operand", "stored", "gradient", "result", "records".
    """

    sweep: Sweep
    shape: Shape
    activation: Activation
    eps: float
    c: float
    params: dict
    addresses: dict = field(default_factory=dict)


def _header_words(core, sweep, channels):
    return fixed_words(core) + len(param_words(core, sweep)) * channels


def head_size(config, sweep, channels):
    """Bytes of job and headers at the beginning of a workspace."""
    tiles = tile_slices(config.core, channels)
    words = sum(_header_words(config.core, sweep, tile.stop - tile.start) for tile in tiles)
    return WORD_BYTES * (config.job_words + words)


def _headers(config, job):
    """The words of each tile's header."""
    core, headers = config.core, []
    for tile in tile_slices(core, job.shape.channels):
        params = {name: np.asarray(values)[tile] for name, values in job.params.items()}
        headers.append(sweep_header_words(core, job.sweep, job.shape.n_positions, params, activation=job.activation,
                                          eps=job.eps, c=job.c, mask=np.ones(tile.stop - tile.start, bool)))
    return headers


def _tensor(config, shape, address, position_bytes):
    """Descriptors of each tile of the tensor at ``address``, positions in memory order."""
    sizes = [position_bytes(tile.stop - tile.start) for tile in tile_slices(config.core, shape.channels)]
    beat, total, before, tiles = position_bytes(config.core.lanes), sum(sizes), 0, []
    for size in sizes:
        first, images = address + shape.area * before, (shape.n_images, shape.area * total)
        if size < beat:
            row, dimensions = size, ((shape.area, size), images)
        elif size == total:
            row, dimensions = shape.n_positions * size, ()
        else:
            row, dimensions = shape.area * size, (images,)
        tiles.append([Descriptor(first, row, tuple(pair for pair in dimensions if pair[0] > 1))])
        before += size
    return tiles


def sweep_programs(config, job, base):
    """The descriptors of each channel that a sweep uses: dict of Channel to list.

    Parameters
    ----------
    config : EngineConfig
    job : SweepJob
    base : int
        Address of the workspace.
    """
    core, shape = config.core, job.shape
    inputs, has_result = streams(core, job.sweep)
    at, headers = base + WORD_BYTES * config.job_words, []
    slices = tile_slices(core, shape.channels)
    for tile in slices:
        size = WORD_BYTES * _header_words(core, job.sweep, tile.stop - tile.start)
        headers.append([Descriptor(at, size)])
        at += size
    tiles = {Channel.HEADER: headers}
    for stream in inputs:
        position_bytes = config.operand_bytes if stream == "operand" else config.stored_bytes
        tiles[Channel[stream.upper()]] = _tensor(config, shape, job.addresses[stream], position_bytes)
    if has_result:
        tiles[Channel.RESULT] = _tensor(config, shape, job.addresses["result"], config.stored_bytes)
    words = record_words(core, job.sweep)
    if words:
        tiles[Channel.RECORD] = [[record_row(job.addresses["records"], tile, len(words))] for tile in slices]
    return {channel: tile_program(parts) for channel, parts in tiles.items()}


def sweep_workspace_size(config, sweep, shape):
    """Bytes of the workspace of a sweep."""
    inputs, has_result = streams(config.core, sweep)
    n_channels = 1 + len(inputs) + has_result + bool(record_words(config.core, sweep))
    n_tiles = -(-shape.channels // config.core.lanes)
    return head_size(config, sweep, shape.channels) + DESCRIPTOR_BYTES * n_tiles * n_channels


def sweep_workspace(config, job, base):
    """The bytes of the workspace of a sweep, which begins with its job.

    Parameters
    ----------
    config : EngineConfig
        Its core is a baseline.
    job : SweepJob
    base : int
        Address where it will lie; not 0.
    """
    if base == 0:
        raise ValueError("base must not be 0, which stands for no job")
    channels = sweep_programs(config, job, base)
    starts, words = [0] * (config.job_words - 4), []
    at = base + head_size(config, job.sweep, job.shape.channels)
    for channel, program in channels.items():
        place = 2 * config.programs.index(channel)
        starts[place:place + 2] = at & 0xFFFFFFFF, at >> 32
        words += [word for descriptor in program for word in descriptor.words]
        at += DESCRIPTOR_BYTES * len(program)
    used = sum(1 << channel for channel in channels)
    parts = [np.array([0, 0, used, 0, *starts], "<u4"), *_headers(config, job), np.array(words, "<u4")]
    return np.concatenate(parts).astype("<u4").tobytes()
