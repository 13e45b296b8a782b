"""Real activations, and their gradient, through the generated core."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bnforge.formats import FloatFormat
from bnforge.presets import PRESETS
from bnforge_model.floats import decode
from bnforge_sim import Simulator, compare
from bnforge_sim.digits import FILTERS, convolve, digits_backward_tile, digits_tile
from bnforge_sim.grid import grid_order


def test_convolution_by_definition():
    images = np.random.default_rng(0).standard_normal((2, 5, 4))
    result = convolve(images, FILTERS[:3])
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    for n, h, w, c in np.ndindex(result.shape):
        assert result[n, h, w, c] == pytest.approx(np.sum(padded[n, h:h + 3, w:w + 3] * FILTERS[c]))


def test_filters_differ():
    assert len(np.unique(FILTERS.reshape(len(FILTERS), -1), axis=0)) == 36


@pytest.mark.parametrize("name", ["opn16", "opn4"])
def test_digits_equal_model(name):
    config = PRESETS[name][0]
    tile = digits_tile(config)
    tiles = [tile, digits_backward_tile(config, tile)]
    result = compare(config, tiles, Simulator(config).run(tiles))
    assert result.messages == []
    assert result.elements == 2 * 128 * 64 * config.lanes


def test_gradient_is_that_of_the_loss():
    """Against differences of the sum of cross entropies when a stored y changes."""
    config = PRESETS["opn4"][0].replace(x_format=FloatFormat(8, 15))
    tile = digits_tile(config, 8)
    backward = digits_backward_tile(config, tile)
    order, _ = grid_order(8, 8, 8, config.sample_depth)
    y, dy = np.empty((2, *tile.x.shape))
    y[order], dy[order] = decode(config.storage, backward.elements), decode(config.x_format, backward.dy)
    weights = np.random.default_rng(0).standard_normal((64 * config.lanes, 10)) / np.sqrt(64 * config.lanes)
    labels = load_digits().target[:8]

    def loss(values):
        logits = values.reshape(8, -1) @ weights
        return np.sum(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(8), labels])

    for at in ((0, 0), (100, 2), (511, 3)):
        step = np.zeros(y.shape)
        step[at] = 1e-3
        assert dy[at] == pytest.approx((loss(y + step) - loss(y - step)) / 2e-3, rel=1e-4)
