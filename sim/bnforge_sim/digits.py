"""Real input: activations of a convolution over the digits images that scikit-learn bundles.

1797 images of 8×8 pixels, 0 … 16 (Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI). The 3×3
filters are outer products of six one-dimensional kernels: smoothing, gradients and second differences. Their
gradient is that of a linear classifier of the normalised maps, at random weights.
"""

import numpy as np

from bnforge.config import Activation
from bnforge.formats import require_int
from bnforge_model import default_c, default_eps, forward_codes
from bnforge_model.constants import fp32_code
from bnforge_model.floats import decode, to_codes
from bnforge_model.frozen import frozen_affine

from .figures import backward_of
from .grid import grid_order
from .tiles import Tile

__all__ = ["FILTERS", "convolve", "digits_activations", "digits_tile", "digits_backward_tile"]

_KERNELS = np.array([[1, 2, 1], [1, 0, -1], [1, -2, 1], [0, 1, 0], [1, 1, 0], [0, 1, -1]]) / 4
_ORDER = sorted(((row, column) for row in range(6) for column in range(6)), key=lambda pair: (max(pair), pair))
FILTERS = np.array([np.outer(_KERNELS[row], _KERNELS[column]) for row, column in _ORDER])
"""The filters, shape (36, 3, 3); the first 16 use the first four kernels."""


def convolve(images, filters):
    """Cross-correlation with zero padding, so that the maps keep their size.

    Parameters
    ----------
    images : array, shape (N, H, W)
    filters : array, shape (channels, 3, 3)

    Returns
    -------
    float64 array, shape (N, H, W, channels)
    """
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("nhwij,cij->nhwc", windows, filters)


def digits_activations(config, n_images=128):
    """One channel tile of activations, in the order of the default grid; without statistics in that of memory.

    Parameters
    ----------
    config : bnforge.config.Config
        Gives the channels (``lanes``), the input format and the sample depth.
    n_images : int
        Images, from the first on; 1 … 1797.

    Returns
    -------
    codes : uint32 array, shape (n_images·64, lanes)
        Codes of ``config.x_format``.
    sample_len : int
    """
    from sklearn.datasets import load_digits
    require_int("n_images", n_images, 1, 1797)
    images = load_digits().images[:n_images]
    activations = convolve(images, FILTERS[:config.lanes])
    order, sample_len = np.arange(images.size), 0
    if config.has_statistics:
        order, sample_len = grid_order(*images.shape, config.sample_depth)
    return to_codes(config.x_format, activations.reshape(-1, config.lanes)[order]).astype(np.uint32), sample_len


def digits_tile(config, n_images=128, activation=Activation.RELU):
    """The activations as a tile: gamma 1, beta 0, C and eps as a driver sets them.

    Without statistics a frozen one, a and b by :func:`~bnforge_model.frozen.frozen_affine`.
    """
    codes, sample_len = digits_activations(config, n_images)
    c = default_c(config, len(codes), sample_len or None)
    affine = np.ones(config.lanes), np.zeros(config.lanes)
    if not config.has_statistics:
        affine = frozen_affine(decode(config.x_format, codes))
    return Tile(codes, *map(fp32_code, affine), int(fp32_code(c)), int(fp32_code(default_eps(c))), sample_len,
                activation, frozen=not config.has_statistics)


def digits_backward_tile(config, tile, seed=0):
    """The backward tile of :func:`digits_tile`: dy is the gradient of a classifier's loss.

    The classifier is linear, with normally distributed weights: logits = W·y over the 64·lanes values of y of an image.
    dy = (softmax(logits) - one-hot label) · W, of the sum of the images' cross entropies.

    Parameters
    ----------
    config : bnforge.config.Config
    tile : Tile
        From :func:`digits_tile`.
    seed : int
        Of the weights.
    """
    from sklearn.datasets import load_digits
    n_images = len(tile.x) // 64
    digits = load_digits()
    order, _ = grid_order(n_images, 8, 8, config.sample_depth)
    y = np.empty(tile.x.shape)
    y[order] = forward_codes(config, tile.x, np.ones(config.lanes), np.zeros(config.lanes), activation=tile.activation,
                             sample_len=tile.sample_len).y
    features = y.reshape(n_images, -1)
    weights = np.random.default_rng(seed).standard_normal((features.shape[1], 10)) / np.sqrt(features.shape[1])
    exponentials = np.exp(features @ weights)
    error = exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(10)[digits.target[:n_images]]
    dy = (error @ weights.T).reshape(tile.x.shape)[order]
    return backward_of(config, tile, to_codes(config.x_format, dy).astype(np.uint32))
