"""Real input: activations of a convolution over the digits images that scikit-learn bundles.

1797 images of 8×8 pixels, 0 … 16 (Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI). The 3×3
filters are outer products of six one-dimensional kernels: smoothing, gradients and second differences.
"""

import numpy as np

from bnforge.config import Activation
from bnforge.formats import require_int
from bnforge_model import default_c, default_eps
from bnforge_model.constants import fp32_code
from bnforge_model.floats import to_codes

from .grid import grid_order
from .tiles import Tile

__all__ = ["FILTERS", "convolve", "digits_activations", "digits_tile"]

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
    """One channel tile of activations, in the order of the default grid.

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
    order, sample_len = grid_order(*images.shape, config.sample_depth)
    return to_codes(config.x_format, activations.reshape(-1, config.lanes)[order]).astype(np.uint32), sample_len


def digits_tile(config, n_images=128, activation=Activation.RELU):
    """The activations as a tile: gamma 1, beta 0, C and eps as a driver sets them."""
    codes, sample_len = digits_activations(config, n_images)
    c = default_c(config, len(codes), sample_len)
    return Tile(codes, fp32_code(np.ones(config.lanes)), fp32_code(np.zeros(config.lanes)), int(fp32_code(c)),
                int(fp32_code(default_eps(c))), sample_len, activation)
