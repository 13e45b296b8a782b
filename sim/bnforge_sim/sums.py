"""What the array reads for a convolution and its two gradients: its activation and weight programs (docs/layers.md)."""

import itertools

from bnforge.engine_config import Channel

from .descriptors import Descriptor
from .lattices import lattice
from .plan import Progression
from .tile_programs import tile_program

__all__ = ["convolution", "data_gradient", "weight_gradient"]


def convolution(config, plan, source, weights, zeros):
    """The results of the convolution before the tensor of a plan, in forward order.

    Parameters
    ----------
    config : EngineConfig
    plan : Plan
    source : Tensor
        The convolution's input.
    weights : int
        Address of its weights.
    zeros : int
        Address of a beat of zeros.

    Returns
    -------
    dict of Channel to list of Descriptor
    """
    def read(window, places):
        return {k: places.inputs(window, k) for k in window.taken(places.first)}

    return _sums(config, plan.before, plan, plan.pieces(), source, weights, zeros, read)


def data_gradient(config, plan, source, weights, zeros):
    """The data gradient of the convolution after the tensor of a plan, in backward order.

    ``source`` is the gradient of that convolution's result, ``weights`` those for the data gradient; else as
    :func:`convolution`.
    """
    def read(window, places):
        return {k: places.results(window, k) for k in window.given(places.first)}

    return _sums(config, plan.after, plan, plan.pieces(backward=True), source, weights, zeros, read)


def _sums(config, windows, plan, pieces, source, weights, zeros, read):
    """``read(window, places)``: by offset where the inputs are that are added up at these places."""
    beat, kernel = config.beat_bytes(Channel.WEIGHT), [window.kernel for window in windows]
    contracted = source.n_tiles * config.array.rows * beat
    passes, sweeps = [], []
    for block in (block for piece in pieces for block in piece.blocks(config.array.depth)):
        ys, xs = (read(window, places) for window, places in zip(windows, (block.y, block.x), strict=True))
        if ys and xs:
            passes += [source.lattice(tile, block.images, y, x) for y, x in itertools.product(ys.values(), xs.values())
                       for tile in range(source.n_tiles)]
            (y0, sy, ny), (x0, sx, nx) = _steps(ys), _steps(xs)
            sweeps.append(((y0 * kernel[1] + x0) * contracted,
                           [(nx, sx * contracted), (ny, sy * kernel[1] * contracted)]))
        else:
            passes.append(lattice(zeros, beat, beat, [(block.n_positions, 0)]))
            sweeps.append(None)
    n_tiles, whole = -(-plan.shape.channels // config.core.lanes), kernel[0] * kernel[1] * contracted
    rows = [[Descriptor(zeros, beat) if sweep is None else
             lattice(weights + tile * whole + sweep[0], contracted, contracted, sweep[1])]
            for tile in range(n_tiles) for sweep in sweeps]
    return {Channel.ACTIVATION: tile_program([[row] for row in passes] * n_tiles), Channel.WEIGHT: tile_program(rows)}


def _steps(offsets):
    """(first, step, count) of offsets, which are a progression."""
    offsets = list(offsets)
    return offsets[0], offsets[1] - offsets[0] if len(offsets) > 1 else 1, len(offsets)


def weight_gradient(config, windows, source, gradient, zeros):
    """The weight gradient of a convolution: a block for each tile of its results, offset and tile of its inputs.

    Parameters
    ----------
    config : EngineConfig
    windows : pair of Window
        Of the convolution, for y and x.
    source : Tensor
        Its input.
    gradient : Tensor
        The gradient of its result.
    zeros : int
        Address of a beat of zeros.

    Returns
    -------
    dict of Channel to list of Descriptor
    """
    images, beat = Progression(0, 1, source.shape.n_images), config.beat_bytes(Channel.WEIGHT)
    activations, weights = [], []
    for tile in range(gradient.n_tiles):
        for offsets in itertools.product(*(range(window.kernel) for window in windows)):
            results = [_reached(window, k) for window, k in zip(windows, offsets, strict=True)]
            if None in results:
                activations += [[Descriptor(zeros, beat)]] * source.n_tiles
                weights += [[Descriptor(zeros, beat)]] * source.n_tiles
                continue
            inputs = [places.inputs(*pair) for places, *pair in zip(results, windows, offsets, strict=True)]
            activations += [[source.lattice(other, images, *inputs)] for other in range(source.n_tiles)]
            weights += [[gradient.lattice(tile, images, *results)]] * source.n_tiles
    return {Channel.ACTIVATION: tile_program(activations), Channel.WEIGHT: tile_program(weights)}


def _reached(window, k):
    """The results that take an input by the offset k, a progression; None if there are none."""
    first = max(0, -(-(window.padding - k) // window.stride))
    last = min(window.results - 1, (window.size - 1 + window.padding - k) // window.stride)
    return Progression(first, 1, last - first + 1) if last >= first else None
