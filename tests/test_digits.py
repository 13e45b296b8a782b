"""Real activations through the generated core."""

import numpy as np
import pytest

from bnforge.presets import PRESETS
from bnforge_sim import Simulator, compare
from bnforge_sim.digits import FILTERS, convolve, digits_tile


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
    result = compare(config, [tile], Simulator(config).run([tile]))
    assert result.messages == []
    assert result.elements == 128 * 64 * config.lanes
