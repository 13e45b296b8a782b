"""Layers of a network, each a convolution and a normalisation: their shapes and plans, and what the model says of them
(docs/layers.md)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bnforge.config import Activation
from bnforge_model import BackwardResult, Encoded, Shape
from bnforge_model.array import Product, operands
from bnforge_model.blocks import encode_blocks, encode_floats
from bnforge_model.convolution import Convolution, convolve, convolve_data, convolve_weights, encode_weights
from bnforge_model.core import padded_width

from .plan import Plan, windows
from .tensors import backward_tensor, forward_tensor

__all__ = ["Layer", "LayerGradient", "Stack", "encode_images"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution without bias, normalisation, activation.

    Parameters
    ----------
    convolution : Convolution
    channels : int
        Of the result.
    activation : Activation
    """

    convolution: Convolution
    channels: int
    activation: Activation = Activation.RELU

    def __post_init__(self):
        if not isinstance(self.convolution, Convolution):
            raise ValueError(f"convolution must be a Convolution, not {self.convolution!r}")


@dataclass(frozen=True, eq=False)
class LayerGradient:
    """What :meth:`Stack.backward_layer` returns.

    Attributes
    ----------
    dy : integer array, (N, H, W, C)
        Codes of ``config.core.x_format``.
    result : BackwardResult
        Positions in memory order.
    weights : Product
        (kh, kw, C_in, C_out).
    """

    dy: np.ndarray
    result: BackwardResult
    weights: Product


def encode_images(config, images):
    """Images as an engine with an array reads them: rounded once to the storage format, infinities and NaN refused.

    Parameters
    ----------
    config : EngineConfig
    images : float array, (N, H, W, C)

    Returns
    -------
    Encoded
        Elements (N·H·W, C).
    """
    images, core = np.asarray(images, np.float64), config.core
    if images.ndim != 4 or not np.isfinite(images).all():
        raise ValueError(f"images must be finite numbers of shape (N, H, W, C), not of {images.shape}")
    channels = images.shape[3]
    rows = images.reshape(-1, channels)
    if not core.is_block:
        return Encoded(core.storage, encode_floats(core.storage, rows, Activation.IDENTITY)[0])
    padded = np.pad(rows, ((0, 0), (0, padded_width(core, channels) - channels)))
    elements, exponents, _, _ = encode_blocks(core.storage, padded, Activation.IDENTITY)
    return Encoded(core.storage, elements[:, :channels], exponents.astype(np.uint8))


class Stack:
    """Layers one after the other.

    Parameters
    ----------
    config : EngineConfig
        With an array.
    images : Shape
    layers : sequence of Layer
    frozen : bool
        Whether gamma and beta are a and b, and nothing is sampled.

    Attributes
    ----------
    shapes : list of Shape
        Of the images and of each layer's result: layer i reads ``shapes[i]`` and writes ``shapes[i + 1]``.
    windows : list of pairs of Window
        Of each layer's convolution.
    """

    def __init__(self, config, images, layers, frozen=False):
        if config.array is None:
            raise ValueError("config must be of an engine with an array, not without")
        if not layers:
            raise ValueError("layers must be at least one, not none")
        self.config, self.layers, self.frozen = config, list(layers), frozen
        self.shapes, self.windows = [images], []
        for layer in self.layers:
            before = self.shapes[-1]
            self.shapes.append(Shape(before.n_images, *layer.convolution.output(before.height, before.width),
                                     layer.channels))
            self.windows.append(windows(layer.convolution, before.height, before.width))

    @cached_property
    def plans(self):
        """The :class:`.Plan` of each layer's result."""
        depth = self.config.core.sample_depth
        return [Plan(shape, depth, before, after, self.frozen) for shape, before, after in
                zip(self.shapes[1:], self.windows, [*self.windows[1:], None], strict=True)]

    def kernel(self, index):
        """Shape of a layer's weights: (kh, kw, C_in, C_out)."""
        return *self.layers[index].convolution.kernel, self.shapes[index].channels, self.shapes[index + 1].channels

    def _factors(self, encoded, index):
        """A stored tensor as the array reads it, (N, H, W, C): the input of a layer."""
        return operands(self.config.array, encoded)[0].reshape(self.shapes[index].dims)

    def _weights(self, weights, data=False):
        return operands(self.config.array, encode_weights(self.config.array, weights, data))[0]

    def convolve_layer(self, index, x, weights):
        """Codes of the result of a layer's convolution, (N, H, W, C): x of its normalisation.

        Parameters
        ----------
        index : int
        x : Encoded
            The layer's input, positions in memory order.
        weights : float array, (kh, kw, C_in, C_out)
        """
        return convolve(self.config.array, self.layers[index].convolution, self._factors(x, index),
                        self._weights(weights)).codes

    def forward_layer(self, index, x, weights, gamma, beta, *, c=None, eps=None):
        """A layer's forward pass.

        Parameters
        ----------
        index, x, weights : as :meth:`convolve_layer`
        gamma, beta : arrays of real numbers, (C_out,)
            Where frozen, a and b.
        c, eps : float
            Default: :func:`.tile_programs.scale`.

        Returns
        -------
        ForwardResult
            Positions in memory order.
        """
        return forward_tensor(self.config, self.convolve_layer(index, x, weights), gamma, beta,
                              activation=self.layers[index].activation, c=c, eps=eps, frozen=self.frozen,
                              plan=self.plans[index])

    def differentiate_layer(self, index, dx, weights):
        """Codes of the data gradient of a layer's convolution, (N, H, W, C) of its input: dy of the layer before.

        Parameters
        ----------
        index : int
            At least 1.
        dx : Encoded
            Gradient of the convolution's result.
        weights : float array, (kh, kw, C_in, C_out)
        """
        before = self.shapes[index]
        return convolve_data(self.config.array, self.layers[index].convolution, self._factors(dx, index + 1),
                             self._weights(weights, data=True), (before.height, before.width)).codes

    def backward_layer(self, index, dy, x, y, records, *, c=None, eps=None):
        """A layer's backward pass: through the normalisation, and the weight gradient.

        Parameters
        ----------
        index : int
        dy : integer array, (N, H, W, C)
            Codes of ``config.core.x_format``: for all layers but the last :meth:`differentiate_layer` of the next.
        x, y : Encoded
            The layer's input and result.
        records : Records
        c, eps : float
            As of the forward pass.

        Returns
        -------
        LayerGradient
        """
        result = backward_tensor(self.config, dy, y, records, activation=self.layers[index].activation, c=c, eps=eps,
                                 frozen=self.frozen, plan=self.plans[index])
        weights = convolve_weights(self.config.array, self.layers[index].convolution, self._factors(x, index),
                                   self._factors(result.encoded, index + 1))
        return LayerGradient(dy, result, weights)
