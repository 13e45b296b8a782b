"""The workspace of a pass: what the engine needs in memory beside the tensors, as the driver writes it.

It begins with the job, the fixed header words of a full tile and of the last tile, and a zero word, padded to 96 bytes;
then the programs of the channels, in the order of :class:`~bnforge.engine_config.Channel` (docs/engine.md).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bnforge.config import GRADIENT_WORDS, Activation
from bnforge.engine_config import JOB_WORDS, Channel
from bnforge_model import Layout, Shape, tile_slices
from bnforge_model.core import check_header
from bnforge_model.memory import gradient_size, operand_size, record_size, stored_size

from .descriptors import DESCRIPTOR_BYTES, Descriptor
from .tile_programs import FIXED_BYTES, WORD_BYTES, fixed_words, header_tiles, record_row, scale, tile_program

__all__ = ["Sample", "Pass", "default_scale", "programs", "workspace", "workspace_size"]

_JOB_BYTES = WORD_BYTES * JOB_WORDS
_FULL = _JOB_BYTES
"""Where the fixed words of full tiles lie in a workspace; those of the last tile and the zero word follow."""
_LAST = _FULL + FIXED_BYTES
_ZERO = _LAST + FIXED_BYTES
_PROGRAMS = 96
"""Where the programs begin."""


class Sample(NamedTuple):
    """The grid of :func:`.grid_order` in numbers."""

    images: int
    """N': images with a sample, the first ones."""
    first: int
    """p0: the first sampled position of an image."""
    spacing: int
    """p."""
    per_image: int
    """q'."""

    @classmethod
    def of(cls, shape, sample_depth):
        """The sample of a tensor."""
        spacing = -(-shape.area // max(1, sample_depth // shape.n_images))
        while math.gcd(spacing, shape.width) > 1:
            spacing += 1
        first = spacing // 2
        return cls(min(shape.n_images, sample_depth), first, spacing, -(-(shape.area - first) // spacing))

    @property
    def length(self):
        """sample_len, which is S_eff: never more than the positions."""
        return self.images * self.per_image


def default_scale(config, shape, c=None, eps=None):
    """(sample_len, C, eps) of a pass: those of the grid, or C and eps as given."""
    sample_len = Sample.of(shape, config.core.sample_depth).length
    return sample_len, *scale(config.core, sample_len, c, eps)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass of the engine over a tensor, forward or backward, with the addresses of what it reads and writes.

    Parameters
    ----------
    shape : Shape
    layout : Layout
        Of all its tensors.
    backward, frozen : bool
    activation : Activation
    c, eps : float
        Default: :func:`default_scale`. A backward pass has those of its forward pass; what they mean in a frozen one:
        docs/interfaces.md, Backward tiles.
    operand, result : int
        x and y, or dy and dx.
    records : int
        The channel records: written by a forward pass, read by a backward one.
    gamma, beta : int
        Arrays of C fp32 codes, only forward; a and b where frozen.
    stored, gradients : int
        y, and the gradient records, only backward.
    """

    shape: Shape
    layout: Layout = Layout.BLOCKED
    backward: bool = False
    frozen: bool = False
    activation: Activation = Activation.RELU
    c: float | None = None
    eps: float | None = None
    operand: int
    result: int
    records: int
    gamma: int | None = None
    beta: int | None = None
    stored: int | None = None
    gradients: int | None = None

    def __post_init__(self):
        for name, kind in (("shape", Shape), ("layout", Layout), ("backward", bool)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be a {kind.__name__}, not {getattr(self, name)!r}")
        direction = "backward" if self.backward else "forward"
        for name in ("gamma", "beta") if self.backward else ("stored", "gradients"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} must be left out of a {direction} pass, not {getattr(self, name)!r}")


def _check(config, job):
    """Refuse a pass that this engine cannot run; returns its (sample_len, C, eps)."""
    core, shape, channels = config.core, job.shape, job.shape.channels
    if not (core.has_backward if job.backward else core.has_forward):
        raise ValueError(f"backward must be a direction that is built, {core.directions.value}, not {job.backward}")
    sample_len, c, eps = default_scale(config, shape, job.c, job.eps)
    check_header(core, activation=job.activation, sample_len=sample_len, c=c, eps=eps, frozen=job.frozen,
                 backward=job.backward)
    stored, records, affine = stored_size(config, shape), record_size(config, channels), WORD_BYTES * channels
    sizes = {"operand": operand_size(config, shape), "result": stored, "records": records}
    sizes |= ({"stored": stored, "gradients": gradient_size(channels)} if job.backward else
              {"gamma": affine, "beta": affine})
    for name, size in sizes.items():
        _require_room(config, name, getattr(job, name), size)
    return sample_len, c, eps


def _require_room(config, name, address, size):
    width = config.bus.address_width
    if not isinstance(address, int) or isinstance(address, bool) or not 0 <= address <= 2**width - size:
        raise ValueError(f"{name} must be an address with {size} bytes below 2^{width}, not {address!r}")


class _Part(NamedTuple):
    """A row of the table in docs/engine.md, How a tensor becomes descriptors."""

    first: int
    positions: int
    count: int
    stride: int
    image: int
    images: int


def _parts(config, job):
    """The parts with positions, in stream order."""
    area, n_images = job.shape.area, job.shape.n_images
    if job.frozen:
        return [_Part(0, area, 1, 0, 0, n_images)]
    images, p0, p, q = Sample.of(job.shape, config.core.sample_depth)
    p1 = p0 + (q - 1) * p
    sample = _Part(p0, 1, q, p, 0, images) if p > 1 else _Part(p0, q, 1, 0, 0, images)
    others = [_Part(0, p0, 1, 0, 0, images), _Part(p0 + 1, p - 1, q - 1, p, 0, images),
              _Part(p1 + 1, area - 1 - p1, 1, 0, 0, images), _Part(0, area, 1, 0, images, n_images - images)]
    order = [*others, sample] if job.backward else [sample, *others]
    return [part for part in order if part.positions * part.count * part.images]


def _tensor(config, job, address, position_bytes):
    """Descriptors of each tile of the tensor at ``address``."""
    shape, parts = job.shape, _parts(config, job)
    sizes = [position_bytes(tile.stop - tile.start) for tile in tile_slices(config.core, shape.channels)]
    beat, total, before = position_bytes(config.core.lanes), sum(sizes), 0
    tiles = []
    for size in sizes:
        step, tile = (total, before) if job.layout is Layout.NHWC else (size, shape.area * before)
        alone = step != size or size < beat
        tiles.append([])
        for part in parts:
            dimensions = [(part.positions, step)] * alone + [(part.count, part.stride * step),
                                                             (part.images, shape.area * total)]
            first = address + part.image * shape.area * total + tile + part.first * step
            tiles[-1].append(Descriptor(first, size if alone else part.positions * size,
                                        tuple(pair for pair in dimensions if pair[0] > 1)))
        before += size
    return tiles


def programs(config, job, base):
    """The descriptors of each channel that a pass uses: dict of :class:`~bnforge.engine_config.Channel` to list.

    Parameters
    ----------
    config : EngineConfig
    job : Pass
    base : int
        Address of the workspace.
    """
    _check(config, job)
    records = job.gradients if job.backward else job.records
    words = GRADIENT_WORDS if job.backward else config.core.record_words
    tiles = {Channel.HEADER: header_tiles(config, job, base + _FULL, base + _LAST, base + _ZERO),
             Channel.OPERAND: _tensor(config, job, job.operand, config.operand_bytes)}
    if job.backward:
        tiles[Channel.STORED] = _tensor(config, job, job.stored, config.stored_bytes)
    tiles[Channel.RESULT] = _tensor(config, job, job.result, config.stored_bytes)
    tiles[Channel.RECORD] = [[record_row(records, tile, words)]
                             for tile in tile_slices(config.core, job.shape.channels)]
    return {channel: tile_program(parts) for channel, parts in tiles.items()}


def workspace_size(config, shape, backward=False, frozen=False):
    """Bytes of the workspace of a pass; the layout does not change it."""
    n_tiles, short = -(-shape.channels // config.core.lanes), shape.channels % config.core.lanes > 0
    job = Pass(shape=shape, backward=backward, frozen=frozen, operand=0, result=0, records=0)
    n_tensors = 3 if backward else 2
    n_descriptors = n_tiles * (3 + n_tensors * len(_parts(config, job))) + (short and not backward)
    return _PROGRAMS + DESCRIPTOR_BYTES * n_descriptors


def workspace(config, job, base, next_job=0):
    """The bytes of the workspace of a pass, which begins with its job.

    Parameters
    ----------
    config : EngineConfig
    job : Pass
    base : int
        Address where it will lie; not 0.
    next_job : int
        Address of the job to run after it, 0: none.

    Raises
    ------
    ValueError
        "X must be ..., not Y", for what the engine would refuse and for what does not fit addresses, counts, strides.
    """
    core, shape = config.core, job.shape
    sample_len, c, eps = _check(config, job)
    if base == 0:
        raise ValueError("base must not be 0, which stands for no job")
    _require_room(config, "base", base, workspace_size(config, shape, job.backward, job.frozen))
    _require_room(config, "next_job", next_job, _JOB_BYTES)
    fixed = fixed_words(core, job, sample_len, c, eps)
    starts, words, at = [0] * (JOB_WORDS - 4), [], base + _PROGRAMS
    channels = programs(config, job, base)
    for channel, program in channels.items():
        starts[2 * channel:2 * channel + 2] = at & 0xFFFFFFFF, at >> 32
        words += [word for descriptor in program for word in descriptor.words]
        at += DESCRIPTOR_BYTES * len(program)
    used = sum(1 << channel for channel in channels)
    head = [next_job & 0xFFFFFFFF, next_job >> 32, used, 0, *starts, *fixed]
    head += [0] * (_PROGRAMS // WORD_BYTES - len(head))
    return np.array(head + words, "<u4").tobytes()
