"""The jobs of a layer on an engine with an array: what each of its channels reads and writes (docs/layers.md).

A job's *area* in memory is its words, the fixed header words of full tiles and of the last tile, a beat of zeros, and
the programs of its channels in the order of a job's words.
"""

from dataclasses import dataclass

import numpy as np

from bnforge.config import GRADIENT_WORDS, Activation
from bnforge.engine_config import TRANSPOSE, Channel, EngineConfig
from bnforge_model import tile_slices

from .descriptors import DESCRIPTOR_BYTES, Descriptor
from .lattices import Tensor
from .plan import Plan
from .tile_programs import FIXED_BYTES, WORD_BYTES, fixed_words, header_tiles, record_row, tile_program

__all__ = ["Head", "LayerJob", "Normalisation", "fused_job", "memory_job", "product_job", "gradient_job"]

_ALIGNMENT = 16


class Head:
    """Addresses at the beginning of a job's area, which lies at ``base``."""

    def __init__(self, config, base):
        self.full = base + WORD_BYTES * config.job_words
        """Fixed header words of full tiles."""
        self.last = self.full + FIXED_BYTES
        """Those of the last tile."""
        self.zeros = self.last + FIXED_BYTES
        """A beat of zeros."""
        size = self.zeros + max(WORD_BYTES, config.beat_bytes(Channel.STORED)) - base
        self.programs = base - -size // _ALIGNMENT * _ALIGNMENT


@dataclass(frozen=True, kw_only=True)
class LayerJob:
    """A job with all that lies in its area.

    Parameters
    ----------
    config : EngineConfig
    base : int
        Address of the area, which is that of the job; not 0.
    programs : dict of Channel to list of Descriptor
    rows : int
        Word 3.
    fixed : list of int
        Header words of full tiles and of the last tile.
    transpose : bool
    """

    config: EngineConfig
    base: int
    programs: dict
    rows: int = 0
    fixed: tuple = ()
    transpose: bool = False

    @property
    def size(self):
        """Bytes of the area."""
        return Head(self.config, 0).programs + DESCRIPTOR_BYTES * sum(map(len, self.programs.values()))

    def area(self, next_job=0):
        """The bytes of the area; ``next_job`` is the address of the job after it, 0: none."""
        at, used, starts, words = Head(self.config, self.base).programs, 0, [], []
        for channel in self.config.programs:
            program = self.programs.get(channel)
            starts += [at & 0xFFFFFFFF, at >> 32] if program else [0, 0]
            if program:
                used |= 1 << channel
                words += [word for descriptor in program for word in descriptor.words]
                at += DESCRIPTOR_BYTES * len(program)
        head = [next_job & 0xFFFFFFFF, next_job >> 32, used | TRANSPOSE * self.transpose, self.rows, *starts,
                *self.fixed]
        head += [0] * (Head(self.config, 0).programs // WORD_BYTES - len(head))
        return np.array(head + words, "<u4").tobytes()


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """A pass of the core over the tensor of a plan.

    Parameters
    ----------
    plan : Plan
    activation : Activation
    c, eps : float
        As :func:`.tile_programs.scale` gives them.
    result : Tensor
        y, or dx.
    records : int
        Address of the channel records.
    gamma, beta : int
        Addresses, only forward.
    stored : Tensor
        y, only backward.
    gradients : int
        Address of the gradient records, only backward.
    """

    plan: Plan
    activation: Activation
    c: float
    eps: float
    result: Tensor
    records: int
    gamma: int | None = None
    beta: int | None = None
    stored: Tensor | None = None
    gradients: int | None = None

    @property
    def shape(self):
        """Of the tensor."""
        return self.plan.shape

    @property
    def frozen(self):
        """Whether nothing is sampled."""
        return self.plan.frozen

    @property
    def backward(self):
        """Whether it is a backward pass."""
        return self.gradients is not None


def _normalise(config, base, norm, operand=None):
    """The core's part of a job: (programs, fixed header words); without ``operand`` x or dy come from the array."""
    core, head, pieces = config.core, Head(config, base), norm.plan.pieces(norm.backward)
    address, words = (norm.gradients, GRADIENT_WORDS) if norm.backward else (norm.records, core.record_words)
    tensors = {Channel.OPERAND: operand, Channel.STORED: norm.stored, Channel.RESULT: norm.result}
    tiles = {channel: [tensor.pieces(tile, pieces) for tile in range(tensor.n_tiles)]
             for channel, tensor in tensors.items() if tensor is not None}
    tiles[Channel.HEADER] = header_tiles(config, norm, head.full, head.last, head.zeros)
    tiles[Channel.RECORD] = [[record_row(address, tile, words)] for tile in tile_slices(core, norm.shape.channels)]
    fixed = fixed_words(core, norm, norm.plan.sampling.length, norm.c, norm.eps)
    return {channel: tile_program(parts) for channel, parts in tiles.items()}, tuple(fixed)


def _job(config, base, *parts, fixed=(), rows=0, transpose=False):
    programs = {channel: program for part in parts for channel, program in part.items()}
    return LayerJob(config=config, base=base, programs=programs, rows=rows, fixed=fixed, transpose=transpose)


def fused_job(config, base, norm, sums):
    """What the array adds up goes straight into the core.

    Parameters
    ----------
    config : EngineConfig
    base : int
        Address of the job's area.
    norm : Normalisation
    sums : dict of Channel to list of Descriptor
        The array's programs: :func:`.sums.convolution`, :func:`.sums.data_gradient`.

    Returns
    -------
    LayerJob
    """
    programs, fixed = _normalise(config, base, norm)
    return _job(config, base, programs, sums, fixed=fixed, rows=norm.shape.n_positions)


def memory_job(config, base, norm, operand):
    """x or dy is read from memory."""
    programs, fixed = _normalise(config, base, norm, operand)
    return _job(config, base, programs, fixed=fixed)


def product_job(config, base, plan, sums, result, backward=False):
    """What the array adds up is written to memory: x or dy, to be read by a :func:`memory_job`."""
    tiles = [result.pieces(tile, plan.pieces(backward)) for tile in range(result.n_tiles)]
    return _job(config, base, {Channel.PRODUCT: tile_program(tiles)}, sums, rows=plan.shape.n_positions)


def gradient_job(config, base, sums, address, size):
    """A weight gradient, written to ``size`` bytes at ``address``; ``sums`` as :func:`.sums.weight_gradient` has it."""
    program = [Descriptor(address, size, last=True, ends_tile=True)]
    return _job(config, base, {Channel.PRODUCT: program}, sums, rows=size // config.beat_bytes(Channel.PRODUCT),
                transpose=True)
