"""Trains a small convolutional net on the bundled digits with the bit-exact normaliser in the loop.

Every batch norm with its ReLU is one of four (VARIANTS): PyTorch's, the numpy model of the core, and that model with a
wrong gradient in two degrees. Convolutions, loss and SGD are PyTorch's, fp32 on one thread of the CPU. Runs of one seed
share initial weights and batches. docs/training.md has the result and what was chosen how.

    python examples/train_digits.py -o docs              # the table; writes docs/training.*
    python examples/train_digits.py --rates -o docs      # how the learning rate was chosen, and how little it matters

Needs torch (extra "train") and scikit-learn; -o also matplotlib.
"""

import argparse
import dataclasses
import functools
import math
import platform
import sys
import time
from pathlib import Path

import bnforge
import numpy as np
import sklearn
import torch
import training_report
from bnforge.presets import opn16
from bnforge_model import backward, forward
from bnforge_model.floats import round_to
from bnforge_sim.grid import grid_order
from sklearn.datasets import load_digits
from torch import nn

VARIANTS = {"standard": "batch norm and ReLU of PyTorch",
            "one-pass": "the core in its default configuration, forward and backward",
            "no range term": "as one-pass, but T = 0 in dx",
            "constants": "as one-pass, but dx = a·g"}
"""What each norm with its ReLU is. The model itself computes the last two, from other inputs: where a record has argmin
= argmax the core adds -c in place of -c + t and -c - t; in a frozen backward tile it adds nothing. dgamma and dbeta
are those of one-pass."""
CONFIG = opn16
SIZE = 16
"""Height and width of the images, enlarged from 8."""
LAYERS = ((16, 1), (16, 1), (32, 2), (32, 1), (32, 2), (32, 1))
"""Channels and stride of each 3x3 convolution."""
TRAINING_IMAGES = 898
"""The first images train, the other 899 test."""
BATCH = 64
RATE = 0.05
"""Learning rate of the first step; it falls linearly to 0."""
RATES = (0.02, 0.05, 0.1, 0.5, 1.0)
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
RUNNING_MOMENTUM = 0.1
"""Of running mean and (C·R)², as of PyTorch's running mean and variance."""
EPS = 1e-5
"""Added to the variance; its root is added to C·R."""
SMALLEST_GAMMA = 2.0 ** -6
"""The driver keeps |gamma| at least here: gamma = 0 gives dgamma = 0."""


@functools.cache
def positions(n_images, height, width):
    """Order of the positions in the stream, and the length of the sample."""
    return grid_order(n_images, height, width, CONFIG.sample_depth)


def to_rows(maps, order):
    """A tensor (N, C, H, W) as the stream of the core, an array (n, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).numpy()[order]


def to_maps(rows, order, shape):
    """The stream as a tensor of ``shape`` (N, C, H, W), fp32, which holds a stored value exactly."""
    n_images, channels, height, width = shape
    flat = np.empty(rows.shape, np.float32)
    flat[order] = rows
    return torch.from_numpy(flat.reshape(n_images, height, width, channels)).permute(0, 3, 1, 2)


class OnePass(torch.autograd.Function):
    """relu(norm(x)) of a layer in training and its gradients, by the model."""

    @staticmethod
    def forward(ctx, x, gamma, beta, layer):
        order, sample_len = positions(x.shape[0], *x.shape[2:])
        result = layer.run(forward, to_rows(x, order), gamma.numpy(), beta.numpy(), sample_len=sample_len)
        layer.update(result)
        ctx.layer, ctx.order, ctx.result = layer, order, result
        return to_maps(result.y, order, x.shape)

    @staticmethod
    def backward(ctx, dy):
        result, records = ctx.result, ctx.result.records
        if ctx.layer.variant == "no range term":
            records = dataclasses.replace(records, argmin=records.argmax)
        gradient = ctx.layer.run(backward, to_rows(dy, ctx.order), result.encoded, records, c=result.c, eps=result.eps,
                                 sample_len=result.sample_len, frozen=ctx.layer.variant == "constants")
        dgamma, dbeta = (torch.from_numpy(value).float() for value in (gradient.dgamma, gradient.dbeta))
        return to_maps(gradient.dx, ctx.order, dy.shape), dgamma, dbeta, None


class OnePassNorm(nn.Module):
    """Norm and ReLU by the model, with what a driver does: running statistics, frozen tiles for evaluation.

    Attributes
    ----------
    gamma, beta : parameters (channels,)
    mean, square : float64 (channels,)
        Running mean and (C·R)².
    seconds : float
        Of the processor, spent in the model.
    """

    def __init__(self, channels, variant):
        super().__init__()
        self.variant = variant
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean, self.square = np.zeros(channels), np.ones(channels)
        self.seconds = 0.0

    def run(self, function, *arguments, **options):
        """One call of the model, timed."""
        start = time.process_time()
        result = function(CONFIG, *arguments, **options)
        self.seconds += time.process_time() - start
        return result

    def update(self, result):
        """Running statistics after a forward pass."""
        self.mean += RUNNING_MOMENTUM * (result.records.mu - self.mean)
        self.square += RUNNING_MOMENTUM * ((result.c * result.records.r) ** 2 - self.square)

    def frozen_constants(self):
        """a and b of the running statistics; b for the rounded a, as in the core."""
        gamma, beta = (value.detach().double().numpy() for value in (self.gamma, self.beta))
        a, _ = round_to(CONFIG.a_format, gamma / (np.sqrt(self.square) + math.sqrt(EPS)))
        return a, beta - self.mean * a

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.gamma.copy_(torch.where(self.gamma < 0, -1, 1) * self.gamma.abs().clamp(min=SMALLEST_GAMMA))
            return OnePass.apply(x, self.gamma, self.beta, self)
        order = np.arange(x.numel() // x.shape[1])
        return to_maps(self.run(forward, to_rows(x, order), *self.frozen_constants(), frozen=True).y, order, x.shape)


def network(variant):
    """Convolutions, each with norm and ReLU, then the mean of each map and one linear layer."""
    layers, before = [], 1
    for channels, stride in LAYERS:
        layers.append(nn.Conv2d(before, channels, 3, stride, padding=1, bias=False))
        layers += ([nn.BatchNorm2d(channels, EPS, RUNNING_MOMENTUM), nn.ReLU()] if variant == "standard"
                   else [OnePassNorm(channels, variant)])
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def digits():
    """Images (1797, 1, SIZE, SIZE) from -1 to 1, and labels (1797,), in the order of the data set."""
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 8 - 1
    return (nn.functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False),
            torch.from_numpy(labels))


def train(variant, seed, training, held_out, *, epochs, rate=RATE):
    """One run.

    Parameters
    ----------
    variant : str
        Of VARIANTS.
    seed : int
        Of initial weights and batches.
    training, held_out : pairs of tensors
        Images and labels.
    epochs : int
    rate : float

    Returns
    -------
    dict
        ``accuracy`` on ``held_out`` after the last step, percent; ``loss``: mean training loss of the last epoch;
        ``seconds`` of the processor, and of these ``model_seconds`` in the model.
    """
    start = time.process_time()
    torch.manual_seed(seed)
    net = network(variant)
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
            "model_seconds": sum(layer.seconds for layer in net if isinstance(layer, OnePassNorm))}


def collect(runs):
    """Results of :func:`train` as one dict of lists, rounded for the file."""
    return {key: [round(run[key], 4) for run in runs] for key in runs[0]}


class Progress:
    """A line on standard error."""

    def __init__(self, total):
        self.done, self.total, self.start = 0, total, time.perf_counter()

    def step(self, name):
        """One of ``total`` runs is done."""
        self.done += 1
        bar = "#" * (30 * self.done // self.total)
        print(f"\r[{bar:30}] {self.done}/{self.total} {time.perf_counter() - self.start:5.0f} s  {name:24}",
              end="" if self.done < self.total else "\n", file=sys.stderr, flush=True)


def compare(seeds, epochs):
    """Every variant with every seed; the data of docs/training.json."""
    images, labels = digits()
    training = images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES]
    test = images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:]
    runs = {variant: [] for variant in VARIANTS}
    progress = Progress(len(seeds) * len(VARIANTS))
    for seed in seeds:
        for variant, results in runs.items():
            results.append(train(variant, seed, training, test, epochs=epochs))
            progress.step(f"{variant} {results[-1]['accuracy']:.1f}")
    return {
        "task": {"images": len(images), "training_images": TRAINING_IMAGES, "size": SIZE, "layers": LAYERS,
                 "batch": BATCH, "epochs": epochs, "rate": RATE, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY,
                 "running_momentum": RUNNING_MOMENTUM, "core": CONFIG.to_dict()},
        "versions": {"python": platform.python_version(), "bnforge": bnforge.__version__, "numpy": np.__version__,
                     "torch": torch.__version__, "scikit-learn": sklearn.__version__},
        "seeds": list(seeds), "variants": {variant: collect(results) for variant, results in runs.items()},
        "seconds": round(sum(run["seconds"] for results in runs.values() for run in results), 1)}


def compare_rates(seeds, epochs):
    """Every variant at every learning rate, on the last quarter of the training images, which then does not train.

    Standard batch norm, for which the rate is chosen, with every seed; the others with the first two.
    """
    images, labels = digits()
    first = TRAINING_IMAGES - TRAINING_IMAGES // 4
    training = images[:first], labels[:first]
    held_out = images[first:TRAINING_IMAGES], labels[first:TRAINING_IMAGES]
    seeds_of = {variant: seeds if variant == "standard" else seeds[:2] for variant in VARIANTS}
    progress = Progress(len(RATES) * sum(map(len, seeds_of.values())))
    variants = {}
    for variant, chosen in seeds_of.items():
        variants[variant] = {}
        for rate in RATES:
            runs = []
            for seed in chosen:
                runs.append(train(variant, seed, training, held_out, epochs=epochs, rate=rate))
                progress.step(f"{variant}, rate {rate}")
            variants[variant][str(rate)] = [round(run["accuracy"], 4) for run in runs]
    return {"rates": {"seeds": list(seeds), "epochs": epochs, "accuracy": variants}}


def main(arguments=None):
    """Print a table; write the files where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, help="runs of each variant (default: 8, with --rates 5)")
    parser.add_argument("--epochs", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--rates", action="store_true", help="compare learning rates, on part of the training images")
    parser.add_argument("-o", "--output", type=Path,
                        help="folder for training.json and training.svg; the tables of a training.md there follow")
    chosen = parser.parse_args(arguments)
    for name, least in (("seeds", chosen.seeds), ("epochs", chosen.epochs)):
        if least is not None and least < 1:
            parser.error(f"{name} must be at least 1, not {least}")
    torch.set_num_threads(1)
    if chosen.rates:
        data = compare_rates(range(100, 100 + (chosen.seeds or 5)), chosen.epochs)
        print(training_report.rates_table(data))
    else:
        data = compare(range(chosen.seeds or 8), chosen.epochs)
        print(training_report.accuracy_table(data))
        print(f"\n{data['seconds']:.0f} s of the processor")
    if chosen.output:
        training_report.write(chosen.output, data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
