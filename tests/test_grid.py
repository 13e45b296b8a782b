"""The default sample order, against the words of the design contract."""

import math

import numpy as np
import pytest

from bnforge_sim.grid import grid_order

SIZES = [(64, 14, 14, 1024), (64, 56, 56, 1024), (128, 8, 8, 1024), (1, 1, 1, 16), (3, 5, 1, 16), (16, 8, 8, 1024),
         (17, 8, 8, 1024), (2000, 4, 4, 1024), (1024, 6, 5, 1024), (7, 3, 9, 16), (1025, 1, 1, 1024), (5, 2, 2, 3)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_position_once(size):
    order, sample_len = grid_order(*size)
    assert sorted(order) == list(range(math.prod(size[:3])))
    assert 1 <= sample_len <= min(len(order), size[3])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sample_is_the_grid(size):
    n_images, height, width, depth = size
    area, per_image = height * width, max(1, depth // n_images)
    order, sample_len = grid_order(*size)
    image, position = np.divmod(order[:sample_len], area)
    sampled = position[image == 0]
    assert np.array_equal(image, np.repeat(np.arange(min(n_images, depth)), len(sampled)))
    assert np.array_equal(position, np.tile(sampled, min(n_images, depth)))
    if per_image >= area:
        assert np.array_equal(sampled, np.arange(area))
        return
    spacing = next(p for p in range(math.ceil(area / per_image), 2 * area + 2) if math.gcd(p, width) == 1)
    assert np.array_equal(sampled, np.arange(spacing // 2, area, spacing))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rest_is_head_runs_tail(size):
    n_images, height, width, depth = size
    area = height * width
    order, sample_len = grid_order(*size)
    sampled = order[:sample_len][order[:sample_len] < area]
    first, last = sampled[0], sampled[-1]
    image, position = np.divmod(order[sample_len:], area)
    part = np.select([image >= depth, position < first, position < last], [3, 0, 1], 2)
    assert np.array_equal(part, np.sort(part))
    assert all(np.array_equal(order[sample_len:][part == p], np.sort(order[sample_len:][part == p])) for p in range(4))


def test_refuses_an_empty_map():
    with pytest.raises(ValueError, match="height must be an integer from 1 to 2147483648, not 0"):
        grid_order(1, 0, 3)
