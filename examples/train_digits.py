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
from bnforge_model import backward
from bnforge_sim import digits_training, norms
from bnforge_sim.digits_training import BATCH, MOMENTUM, RATE, RUNNING_MOMENTUM, TRAINING_IMAGES, WEIGHT_DECAY, digits

VARIANTS = {"standard": "batch norm and ReLU of PyTorch",
            "one-pass": "the core in its default configuration, forward and backward",
            "no range term": "as one-pass, but T = 0 in dx",
            "constants": "as one-pass, but dx = a·g"}
"""What each norm with its ReLU is. The model itself computes the last two, from other inputs: where a record has argmin
= argmax the core adds -c in place of -c + t and -c - t; in a frozen backward tile it adds nothing. dgamma and dbeta
are those of one-pass."""
CONFIG = opn16
RATES = (0.02, 0.05, 0.1, 0.5, 1.0)


class OnePassNorm(norms.OnePassNorm):
    """The one-pass normaliser with the gradient of a variant."""

    def __init__(self, channels, variant):
        super().__init__(channels, CONFIG)
        self.variant = variant

    def backward_rows(self, dy, result):
        records = result.records
        if self.variant == "no range term":
            records = dataclasses.replace(records, argmin=records.argmax)
        return backward(CONFIG, dy, result.encoded, records, c=result.c, eps=result.eps, sample_len=result.sample_len,
                        frozen=self.variant == "constants")


def train(variant, seed, training, held_out, **options):
    """One run of a variant; parameters and result as :func:`bnforge_sim.digits_training.train`."""
    norm = None if variant == "standard" else functools.partial(OnePassNorm, variant=variant)
    return digits_training.train(norm, seed, training, held_out, **options)


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
        "task": {"images": len(images), "training_images": TRAINING_IMAGES, "size": digits_training.SIZE,
                 "layers": digits_training.LAYERS, "batch": BATCH, "epochs": epochs, "rate": RATE,
                 "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY, "running_momentum": RUNNING_MOMENTUM,
                 "core": CONFIG.to_dict()},
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
