"""Weights and weight gradients in the memory of an engine with an array, and back (docs/layers.md).

Both lie in tiles of ``lanes`` columns one after the other. Of a tile: for each ky, for each kx, for each row of that
tap, as many as lanes or a multiple, a full beat; rows and columns beyond the matrix are zeros.
"""

import numpy as np

from .blocks import Encoded
from .memory import Shape, operand_size, pack_stored, stored_size, unpack_operand

__all__ = ["weights_size", "pack_weights", "products_size", "unpack_products"]


def _shape(config, kernel, contracted, columns):
    """The tensor that the matrix of so many contracted channels and columns, both padded, lies like."""
    lanes = config.core.lanes
    return Shape(1, 1, kernel[0] * kernel[1] * -(-contracted // lanes) * lanes, -(-columns // lanes) * lanes)


def weights_size(config, kernel, contracted, columns):
    """Bytes of the weights of a product: (C_in, C_out) of a forward convolution, (C_out, C_in) of a data gradient."""
    return stored_size(config, _shape(config, kernel, contracted, columns))


def pack_weights(config, encoded, kernel):
    """Weights as they lie in memory.

    Parameters
    ----------
    config : EngineConfig
    encoded : Encoded
        Of :func:`.convolution.encode_weights`: elements (kh·kw·contracted, columns).
    kernel : (int, int)

    Returns
    -------
    bytes
    """
    taps, (k, columns) = kernel[0] * kernel[1], encoded.elements.shape
    if not k or k % taps:
        raise ValueError(f"encoded elements must have a multiple of {taps} rows, not {k}")
    shape = _shape(config, kernel, k // taps, columns)
    missing = shape.n_positions // taps - k // taps

    def padded(values, width):
        values = values.reshape(taps, k // taps, -1)
        return np.pad(values, ((0, 0), (0, missing), (0, width - values.shape[2]))).reshape(-1, width)

    elements, exponents = padded(encoded.elements, shape.channels), encoded.exponents
    if exponents is not None:
        exponents = padded(exponents, exponents.shape[1])
    return pack_stored(config, Encoded(encoded.format, elements, exponents), shape)


def products_size(config, kernel, c_in, c_out):
    """Bytes of a weight gradient, padded rows and columns included."""
    return operand_size(config, _shape(config, kernel, c_in, c_out))


def unpack_products(config, data, kernel, c_in, c_out):
    """The codes of a weight gradient, uint32 (kh, kw, C_in, C_out); rows and columns beyond it are not looked at."""
    codes = unpack_operand(config, data, _shape(config, kernel, c_in, c_out))
    return codes.reshape(*kernel, -1, codes.shape[3])[:, :, :c_in, :c_out]
