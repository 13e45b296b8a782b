"""The network that train_digits_rtl.py trains, and what software does of it: images, batches, head, loss and SGD.

Everything here is numpy, fp32 where it is kept. Convolutions, norms and ReLU are those of a machine (rtl_machines.py).
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from bnforge.array_config import ArrayConfig
from bnforge.config import Config
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.formats import BlockFormat
from bnforge_model import Shape
from bnforge_model.convolution import Convolution
from bnforge_sim.layers import Layer

__all__ = ["Task", "TASK", "SMALLEST_GAMMA", "digits", "batches", "initial_parameters", "head", "Sgd"]

_CORE = Config(lanes=8, sample_depth=512, chunk_len=64, storage=BlockFormat(8, 8))
SMALLEST_GAMMA = np.float32(2.0 ** -6)
"""Software keeps |gamma| at least here: gamma = 0 gives dgamma = 0."""
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained, on what, and how long.

    Parameters
    ----------
    engine : EngineConfig
    layers : tuple of (int, int)
        Channels and stride of each 3x3 convolution, padded by one.
    size : int
        Height and width of the images.
    batch, epochs : int
        A last batch that is short is dropped.
    rate : float
        Learning rate of the first step; it falls linearly to 0.
    momentum, weight_decay, running_momentum : float
    training_images : int
        The first images train, the others test.
    """

    engine: EngineConfig = EngineConfig(core=_CORE, bus=BusConfig(data_width=128),
                                        array=ArrayConfig.of(_CORE, depth=1024))
    layers: tuple = ((8, 1), (32, 2), (32, 2))
    size: int = 8
    batch: int = 32
    epochs: int = 10
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 6e-3
    running_momentum: float = 0.1
    training_images: int = 898

    def replace(self, **changes):
        """This task with ``changes``."""
        return dataclasses.replace(self, **changes)

    def images(self, n_images):
        """The :class:`.Shape` of so many images."""
        return Shape(n_images, self.size, self.size, 1)

    @property
    def stack(self):
        """The :class:`.Layer` list of :class:`.Stack` and :class:`.Network`."""
        return [Layer(convolution=Convolution(3, stride, 1), channels=channels) for channels, stride in self.layers]

    @property
    def steps(self):
        """Of the whole run."""
        return self.epochs * (self.training_images // self.batch)


TASK = Task()


def digits():
    """Images (1797, 8, 8, 1) from 0 to 1, float32, and labels (1797,), in the order of the data set."""
    from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32).reshape(-1, 8, 8, 1), labels


def batches(task, seed):
    """The training images of every step, an array of their numbers for each: every epoch in another random order."""
    rng = np.random.default_rng([seed, 1])
    per_epoch = task.training_images // task.batch
    for _ in range(task.epochs):
        yield from rng.permutation(task.training_images)[:per_epoch * task.batch].reshape(per_epoch, task.batch)


def initial_parameters(task, seed):
    """Dict of name to float32 array: of layer l ``l.weights`` (kh, kw, C_in, C_out), ``l.gamma``, ``l.beta``; of the
    linear layer ``head.weights`` (C, 10), ``head.bias``. Weights are uniform, as those of PyTorch are at first."""
    rng = np.random.default_rng([seed, 0])
    parameters, before = {}, 1
    for index, (channels, _) in enumerate(task.layers):
        bound = 1 / np.sqrt(9 * before)
        parameters |= {f"{index}.weights": rng.uniform(-bound, bound, (3, 3, before, channels)),
                       f"{index}.gamma": np.ones(channels), f"{index}.beta": np.zeros(channels)}
        before = channels
    bound = 1 / np.sqrt(before)
    parameters |= {"head.weights": rng.uniform(-bound, bound, (before, CLASSES)),
                   "head.bias": rng.uniform(-bound, bound, CLASSES)}
    return {name: values.astype(np.float32) for name, values in parameters.items()}


def head(parameters, y, labels):
    """Mean of each map, linear layer, softmax and cross entropy.

    Parameters
    ----------
    parameters : dict
    y : float64 (N, H, W, C)
    labels : integers (N,)

    Returns
    -------
    loss : float
        The mean.
    answers : integers (N,)
    dy : float64 (N, H, W, C)
    gradients : dict
        Of ``head.weights`` and ``head.bias``.
    """
    features, weights = y.mean(axis=(1, 2)), parameters["head.weights"].astype(np.float64)
    logits = features @ weights + parameters["head.bias"]
    logits -= logits.max(axis=1, keepdims=True)
    logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    error = (np.exp(logarithms) - np.eye(CLASSES)[labels]) / len(labels)
    dy = (error @ weights.T)[:, None, None, :] / (y.shape[1] * y.shape[2])
    loss = -float(np.take_along_axis(logarithms, labels[:, None], 1).mean())
    return (loss, logits.argmax(axis=1), np.broadcast_to(dy, y.shape),
            {"head.weights": features.T @ error, "head.bias": error.sum(axis=0)})


class Sgd:
    """Momentum and weight decay as of PyTorch; the rate falls linearly to 0. Parameters change in place."""

    def __init__(self, task, parameters):
        self.task, self.parameters = task, parameters
        self.velocity = {name: np.zeros_like(values) for name, values in parameters.items()}

    def step(self, number, gradients):
        """Step ``number`` of ``task.steps``, from 0."""
        rate = np.float32(self.task.rate * (1 - number / self.task.steps))
        for name, values in self.parameters.items():
            velocity = self.velocity[name]
            velocity *= np.float32(self.task.momentum)
            velocity += gradients[name].astype(np.float32) + np.float32(self.task.weight_decay) * values
            values -= rate * velocity
        for name, gamma in self.parameters.items():
            if name.endswith(".gamma"):
                gamma[:] = np.where(gamma < 0, -1, 1) * np.maximum(np.abs(gamma), SMALLEST_GAMMA)
