"""Training of a small convolutional net on the bundled digits, any core's numpy model in place of its batch norms.

Convolutions, loss and SGD are PyTorch's, fp32. Runs of one seed share initial weights and batches. docs/training.md
says what the task is, and how the learning rate was chosen. Needs torch (extra "train") and scikit-learn.
"""

import functools
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

__all__ = ["SIZE", "LAYERS", "TRAINING_IMAGES", "BATCH", "RATE", "MOMENTUM", "WEIGHT_DECAY", "RUNNING_MOMENTUM", "EPS",
           "to_rows", "to_maps", "ModelNorm", "network", "digits", "train"]

SIZE = 16
"""Height and width of the images, enlarged from 8."""
LAYERS = ((16, 1), (16, 1), (32, 2), (32, 1), (32, 2), (32, 1))
"""Channels and stride of each 3x3 convolution."""
TRAINING_IMAGES = 898
"""The first images train, the other 899 test."""
BATCH = 64
RATE = 0.05
"""Learning rate of the first step; it falls linearly to 0."""
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
RUNNING_MOMENTUM = 0.1
"""Of the running statistics, as of PyTorch's."""
EPS = 1e-5
"""Added to the variance."""
SMALLEST_GAMMA = 2.0 ** -6
"""The driver keeps |gamma| at least here: gamma = 0 gives dgamma = 0."""


def to_rows(maps, order):
    """A tensor (N, C, H, W) as the stream of the core, an array (n, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).numpy()[order]


def to_maps(rows, order, shape):
    """The stream as a tensor of ``shape`` (N, C, H, W), fp32, which holds a stored value exactly."""
    n_images, channels, height, width = shape
    flat = np.empty(rows.shape, np.float32)
    flat[order] = rows
    return torch.from_numpy(flat.reshape(n_images, height, width, channels)).permute(0, 3, 1, 2)


class _Function(torch.autograd.Function):
    """relu(norm(x)) of a layer in training and its gradients, by the layer's model."""

    @staticmethod
    def forward(ctx, x, gamma, beta, layer):
        order, sample_len = layer.positions(x.shape[0], *x.shape[2:])
        start = time.process_time()
        result = layer.forward_rows(to_rows(x, order), gamma.numpy(), beta.numpy(), sample_len)
        mean, square = layer.statistics(result)
        layer.mean += RUNNING_MOMENTUM * (mean - layer.mean)
        layer.square += RUNNING_MOMENTUM * (square - layer.square)
        layer.seconds += time.process_time() - start
        ctx.layer, ctx.order, ctx.result = layer, order, result
        return to_maps(result.y, order, x.shape)

    @staticmethod
    def backward(ctx, dy):
        start = time.process_time()
        gradient = ctx.layer.backward_rows(to_rows(dy, ctx.order), ctx.result)
        ctx.layer.seconds += time.process_time() - start
        dgamma, dbeta = (torch.from_numpy(value).float() for value in (gradient.dgamma, gradient.dbeta))
        return to_maps(gradient.dx, ctx.order, dy.shape), dgamma, dbeta, None


class ModelNorm(nn.Module):
    """Norm and ReLU by a model, with what a driver does: running statistics for evaluation.

    Subclasses give :meth:`positions`, :meth:`forward_rows`, :meth:`backward_rows`, :meth:`statistics` and
    :meth:`frozen_rows`.

    Attributes
    ----------
    gamma, beta : parameters (channels,)
    mean, square : float64 (channels,)
        Running mean and variance, or what stands for it.
    seconds : float
        Of the processor, spent in the model.
    """

    def __init__(self, channels):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean, self.square = np.zeros(channels), np.ones(channels)
        self.seconds = 0.0

    def affine(self):
        """gamma and beta, float64."""
        return (value.detach().double().numpy() for value in (self.gamma, self.beta))

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.gamma.copy_(torch.where(self.gamma < 0, -1, 1) * self.gamma.abs().clamp(min=SMALLEST_GAMMA))
            return _Function.apply(x, self.gamma, self.beta, self)
        start = time.process_time()
        order = np.arange(x.numel() // x.shape[1])
        y = self.frozen_rows(to_rows(x, order))
        self.seconds += time.process_time() - start
        return to_maps(y, order, x.shape)


def network(norm=None):
    """Convolutions, each with norm and ReLU, then the mean of each map and one linear layer.

    Parameters
    ----------
    norm : function
        From a number of channels to a :class:`ModelNorm`; default: batch norm and ReLU of PyTorch.
    """
    layers, before = [], 1
    for channels, stride in LAYERS:
        layers.append(nn.Conv2d(before, channels, 3, stride, padding=1, bias=False))
        layers += [nn.BatchNorm2d(channels, EPS, RUNNING_MOMENTUM), nn.ReLU()] if norm is None else [norm(channels)]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


@functools.cache
def _digits(size):
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 8 - 1
    return (nn.functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False),
            torch.from_numpy(labels))


def digits():
    """Images (1797, 1, SIZE, SIZE) from -1 to 1, and labels (1797,), in the order of the data set."""
    return _digits(SIZE)


def train(norm, seed, training, held_out, *, epochs, rate=RATE, double=False):
    """One run.

    Parameters
    ----------
    norm : function or None
        As of :func:`network`.
    seed : int
        Of initial weights and batches.
    training, held_out : pairs of tensors
        Images and labels.
    epochs : int
    rate : float
    double : bool
        Whether all of the net is float64; without a model only.

    Returns
    -------
    dict
        ``accuracy`` on ``held_out`` after the last step, percent; ``loss``: mean training loss of the last epoch;
        ``seconds`` of the processor, and of these ``model_seconds`` in the model.
    """
    start = time.process_time()
    torch.manual_seed(seed)
    net = network(norm)
    if double:
        net, training, held_out = net.double(), (training[0].double(), training[1]), (held_out[0].double(), held_out[1])
    optimiser = torch.optim.SGD(net.parameters(), rate, MOMENTUM, weight_decay=WEIGHT_DECAY)
    batches = torch.Generator().manual_seed(seed)
    per_epoch = len(training[0]) // BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / (epochs * per_epoch))
    for _ in range(epochs):
        losses = []
        for batch in torch.randperm(len(training[0]), generator=batches)[:per_epoch * BATCH].split(BATCH):
            images, labels = (part[batch] for part in training)
            loss = nn.functional.cross_entropy(net(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(part).argmax(dim=1) for part in held_out[0].split(256)])
    return {"accuracy": 100 * (answers == held_out[1]).double().mean().item(), "loss": float(np.mean(losses)),
            "seconds": time.process_time() - start,
            "model_seconds": sum(layer.seconds for layer in net if isinstance(layer, ModelNorm))}
