"""The cores as layers of a net in training: the one-pass normaliser and the baselines, by their numpy models."""

import functools
import math

import numpy as np

from bnforge.config import Activation, Algorithm, Extraction
from bnforge.sweeps.words import Sweep, param_words
from bnforge_model import backward, forward
from bnforge_model.baseline import baseline_backward, baseline_forward
from bnforge_model.floats import round_to
from bnforge_model.sweeps import run_sweep

from .digits_training import EPS, ModelNorm
from .grid import grid_order

__all__ = ["OnePassNorm", "BaselineNorm", "norm_of"]


@functools.cache
def _grid(n_images, height, width, depth):
    return grid_order(n_images, height, width, depth)


class OnePassNorm(ModelNorm):
    """The one-pass normaliser; ``square`` is the running mean of (C·R)².

    Evaluation is by frozen tiles. A core without constant extraction has none: there those of the core with it.
    """

    def __init__(self, channels, config):
        super().__init__(channels)
        self.config = config

    def positions(self, n_images, height, width):
        """Order of the positions in the stream, and the length of the sample."""
        return _grid(n_images, height, width, self.config.sample_depth)

    def forward_rows(self, x, gamma, beta, sample_len):
        return forward(self.config, x, gamma, beta, sample_len=sample_len)

    def backward_rows(self, dy, result):
        return backward(self.config, dy, result.encoded, result.records, c=result.c, eps=result.eps,
                        sample_len=result.sample_len)

    def statistics(self, result):
        return result.records.mu, (result.c * result.records.r) ** 2

    @property
    def frozen_config(self):
        return self.config.replace(extraction=Extraction.CONSTANTS)

    def frozen_constants(self):
        """a and b of the running statistics; b for the rounded a, as in the core."""
        gamma, beta = self.affine()
        a, _ = round_to(self.frozen_config.a_format, gamma / (np.sqrt(self.square) + math.sqrt(EPS)))
        return a, beta - self.mean * a

    def frozen_rows(self, x):
        return forward(self.frozen_config, x, *self.frozen_constants(), frozen=True).y


class BaselineNorm(ModelNorm):
    """A baseline; ``square`` is the running variance, or with range statistics the running mean of (C·R)²."""

    def __init__(self, channels, config):
        super().__init__(channels)
        self.config = config
        self._ranges = config.algorithm is Algorithm.RANGE

    def positions(self, n_images, height, width):
        """Memory order; all positions count."""
        n = n_images * height * width
        return np.arange(n), n

    def forward_rows(self, x, gamma, beta, sample_len):
        return baseline_forward(self.config, x, gamma, beta)

    def backward_rows(self, dy, result):
        return baseline_backward(self.config, dy, result)

    def statistics(self, result):
        if self._ranges:
            return result.records["mu"], (result.c * result.records["r"]) ** 2
        return result.records["mu"], result.records["rstd"] ** -2.0 - result.eps

    def frozen_rows(self, x):
        gamma, beta = self.affine()
        spread = np.sqrt(self.square) + math.sqrt(EPS) if self._ranges else np.sqrt(self.square + EPS)
        a, _ = round_to(self.config.a_format, gamma / spread)
        stored = run_sweep(self.config, Sweep.COLLECT, {name: value for name, value in zip(
            param_words(self.config, Sweep.COLLECT), (gamma, beta))}, operand=x)
        return run_sweep(self.config, Sweep.NORMALISE, {"a": a, "b": beta - self.mean * a}, stored=stored.encoded,
                         activation=Activation.RELU).values


def norm_of(config):
    """What makes a layer of ``config`` from a number of channels."""
    return functools.partial(OnePassNorm if config.is_one_pass else BaselineNorm, config=config)
