"""Convolutions and their gradients as products of the array, bit-exact (docs/array.md, docs/layers.md).

Tensors are factors (:func:`.array.operands`) of shape (N, H, W, C), positions in memory order. The weights of a
forward convolution are a matrix (kh·kw·C_in, C_out), k = (ky·kw + kx)·C_in + c; those of a data gradient
(kh·kw·C_out, C_in) in the same order of (ky, kx). What padding and stride leave out is zero, which adds nothing.
"""

import functools
import operator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bnforge.config import Activation
from bnforge.formats import require_int

from .array import Product, finish, fold, matmul
from .blocks import Encoded, encode_blocks, encode_floats

__all__ = ["Convolution", "encode_weights", "convolve", "convolve_data", "convolve_weights"]

_CHUNK = 1 << 22
"""Elements of a patch matrix that is made at a time."""


@dataclass(frozen=True)
class Convolution:
    """Geometry of a two-dimensional convolution. An int stands for the same along y and x.

    Parameters
    ----------
    kernel : int or (int, int)
        kh, kw, 1 to 255.
    stride : int or (int, int)
        1 to 255.
    padding : int or (int, int)
        Zeros on either side, 0 to 255.

    Raises
    ------
    ValueError
        With a message of the form "X must be ..., not Y".
    """

    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self):
        for name, low in (("kernel", 1), ("stride", 1), ("padding", 0)):
            value = getattr(self, name)
            pair = value if isinstance(value, tuple) else (value, value)
            if len(pair) != 2:
                raise ValueError(f"{name} must be an integer or a pair, not {value!r}")
            for item in pair:
                require_int(name, item, low, 255)
            object.__setattr__(self, name, pair)

    def output(self, height, width):
        """(oh, ow): positions of the result along y and x.

        Raises
        ------
        ValueError
            Where the kernel is larger than the padded map.
        """
        for name, size, kernel, padding in zip(("height", "width"), (height, width), self.kernel, self.padding,
                                               strict=True):
            require_int(name, size, max(1, kernel - 2 * padding), 2**31)
        return tuple((size + 2 * padding - kernel) // stride + 1 for size, kernel, stride, padding
                     in zip((height, width), self.kernel, self.stride, self.padding, strict=True))


def encode_weights(array, weights, data=False):
    """Weights as the array reads them, rounded once to its storage, blocks along the columns.

    Parameters
    ----------
    array : ArrayConfig
    weights : float (kh, kw, C_in, C_out)
        Finite; below 2^-126 counts as 0.
    data : bool
        For the data gradient, not the forward convolution.

    Returns
    -------
    Encoded
        Elements (kh·kw·C_in, C_out), or (kh·kw·C_out, C_in); exponents of full tiles of ``columns``.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 4:
        raise ValueError(f"weights must be of shape (kh, kw, C_in, C_out), not {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError(f"weights must be finite, not {weights[~np.isfinite(weights)][0]}")
    if data:
        weights = weights.swapaxes(2, 3)
    channels = weights.shape[3]
    matrix = np.ascontiguousarray(weights).reshape(-1, channels)
    if not array.is_block:
        return Encoded(array.storage, encode_floats(array.storage, matrix, Activation.IDENTITY)[0])
    matrix = np.pad(matrix, ((0, 0), (0, -channels % array.columns)))
    elements, exponents, _, _ = encode_blocks(array.storage, matrix, Activation.IDENTITY)
    return Encoded(array.storage, elements[:, :channels], exponents.astype(np.uint8))


def convolve(array, convolution, x, weights):
    """The forward convolution.

    Parameters
    ----------
    array : ArrayConfig
    convolution : Convolution
    x : float64 (N, H, W, C_in)
    weights : float64 (kh·kw·C_in, C_out)
        Values of ``array.operand``.

    Returns
    -------
    Product
        (N, oh, ow, C_out).
    """
    n, *size, channels = _dims("x", x)
    _require_weights(convolution, weights, channels)
    patches = _Patches(convolution, size, channels)
    parts = [matmul(array, patches.forward(x[images]).T, weights) for images in patches.groups(n)]
    return _joined(parts, (n, *patches.output, weights.shape[1]))


def convolve_data(array, convolution, dx, weights, size):
    """The data gradient: of the convolution's input, from that of its result.

    Parameters
    ----------
    array : ArrayConfig
    convolution : Convolution
    dx : float64 (N, oh, ow, C_out)
        Gradient of the result.
    weights : float64 (kh·kw·C_out, C_in)
        Values of ``array.operand``.
    size : (int, int)
        H, W of the convolution's input.

    Returns
    -------
    Product
        (N, H, W, C_in).
    """
    n, *output, channels = _dims("dx", dx)
    _require_weights(convolution, weights, channels)
    patches = _Patches(convolution, size, channels)
    patches.require_output(output)
    parts = [matmul(array, patches.data(dx[images]).T, weights) for images in patches.groups(n)]
    return _joined(parts, (n, *size, weights.shape[1]))


def convolve_weights(array, convolution, x, dx):
    """The weight gradient: sums over the positions (image, oy, ox) in natural order.

    Parameters
    ----------
    array : ArrayConfig
    convolution : Convolution
    x : float64 (N, H, W, C_in)
        What the convolution read.
    dx : float64 (N, oh, ow, C_out)
        Gradient of its result.

    Returns
    -------
    Product
        (kh, kw, C_in, C_out).
    """
    (n, *size, c_in), (n_dx, *output, c_out) = _dims("x", x), _dims("dx", dx)
    patches = _Patches(convolution, size, c_in)
    patches.require_output(output)
    if n_dx != n:
        raise ValueError(f"dx must be of {n} images, as x, not {n_dx}")
    sums, saturated = None, False
    for images in patches.groups(n):
        sums, over = fold(array, patches.forward(x[images]), dx[images].reshape(-1, c_out), sums)
        saturated |= over
    product = finish(array, sums, saturated)
    return _joined([product], (*convolution.kernel, c_in, c_out))


class _Patches:
    """What a row of the product meets, as matrices (kh·kw·channels, positions)."""

    def __init__(self, convolution, size, channels):
        self.convolution, self.size, self.channels = convolution, tuple(size), channels
        self.output = convolution.output(*size)

    def require_output(self, found):
        """Check the size of a gradient."""
        if tuple(found) != self.output:
            raise ValueError(f"dx must be of {self.output} positions an image, not {tuple(found)}")

    def groups(self, n):
        """Slices of the images, as many at a time as memory should hold."""
        positions = max(self.output[0] * self.output[1], self.size[0] * self.size[1])
        step = max(1, _CHUNK // (positions * self.channels * self.convolution.kernel[0] * self.convolution.kernel[1]))
        return [slice(first, first + step) for first in range(0, n, step)]

    def forward(self, x):
        """Of position (image, oy, ox): x at (oy·stride + ky - padding, ox·stride + kx - padding)."""
        (py, px), (sy, sx) = self.convolution.padding, self.convolution.stride
        padded = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)))
        windows = sliding_window_view(padded, self.convolution.kernel, axis=(1, 2))
        return self._matrix(windows[:, ::sy, ::sx])

    def data(self, dx):
        """Of position (image, y, x): dx at ((y + padding - ky) / stride, (x + padding - kx) / stride), or 0."""
        (py, px), (sy, sx), (kh, kw) = (self.convolution.padding, self.convolution.stride, self.convolution.kernel)
        (height, width), (oh, ow) = self.size, self.output
        spread = np.zeros((len(dx), height + 2 * py + kh, width + 2 * px + kw, self.channels))
        spread[:, kh - 1:kh + (oh - 1) * sy:sy, kw - 1:kw + (ow - 1) * sx:sx] = dx
        used = spread[:, py:py + height + kh - 1, px:px + width + kw - 1]
        return self._matrix(sliding_window_view(used, (kh, kw), axis=(1, 2))[..., ::-1, ::-1])

    def _matrix(self, windows):
        """(kh·kw·channels, positions) of windows (N, rows, columns, channels, kh, kw)."""
        kh, kw = self.convolution.kernel
        return windows.transpose(4, 5, 3, 0, 1, 2).reshape(kh * kw * self.channels, -1)


def _dims(name, tensor):
    if tensor.ndim != 4:
        raise ValueError(f"{name} must be of shape (N, H, W, C), not {tensor.shape}")
    return tensor.shape


def _require_weights(convolution, weights, channels):
    kh, kw = convolution.kernel
    if weights.ndim != 2 or len(weights) != kh * kw * channels:
        raise ValueError(f"weights must be a matrix of {kh * kw * channels} rows, not of shape {weights.shape}")


def _joined(parts, shape):
    """One :class:`.Product` of those of groups of images."""
    flags = functools.reduce(operator.or_, [part.flags for part in parts])
    return Product(np.concatenate([part.codes for part in parts]).reshape(shape),
                   np.concatenate([part.values for part in parts]).reshape(shape), flags)
