"""Plans: the order of a tensor's positions and what its pieces share, against the definitions written once more."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge_model import Shape
from bnforge_model.convolution import Convolution
from bnforge_sim.plan import Piece, Plan, Progression, Window, progressions, sampling, windows

GEOMETRIES = [Convolution(3, 1, 1), Convolution(3, 2, 1), Convolution((1, 5), (2, 3), (0, 2)), Convolution(1, 2, 0),
              Convolution((2, 4), (3, 1), (1, 2)), Convolution(1, 1, 1)]
SHAPES = [(2, 8, 8), (1, 1, 1), (3, 7, 5), (5, 9, 2), (40, 3, 4), (1, 2, 11)]
PLANS = list(itertools.product(SHAPES, GEOMETRIES, GEOMETRIES))


def fits(convolution, *sizes):
    return all(size + 2 * padding >= kernel for size, padding, kernel in
               zip(sizes, convolution.padding, convolution.kernel, strict=True))


def plans(frozen=False, depth=16):
    """Plans of results of one convolution that are inputs of another."""
    for (n_images, height, width), before, after in PLANS:
        if not fits(before, height, width):
            continue
        shape = Shape(n_images, *before.output(height, width), 4)
        if fits(after, shape.height, shape.width):
            yield Plan(shape, depth, windows(before, height, width), windows(after, shape.height, shape.width), frozen)


def positions(pieces):
    """(image, y, x) of the positions of pieces in order, (n, 3)."""
    return np.array([where for piece in pieces
                     for where in itertools.product(piece.images.numbers, piece.y.numbers, piece.x.numbers)])


def test_every_position_comes_once_and_the_sample_first():
    seen = 0
    for plan in plans():
        shape, grid = plan.shape, plan.sampling
        where = positions(plan.pieces())
        assert_array_equal(plan.order, where @ [shape.area, shape.width, 1])
        assert_array_equal(np.sort(plan.order), np.arange(shape.n_positions))
        sampled = set(itertools.product(range(grid.images), grid.y.numbers, grid.x.numbers))
        assert plan.sample_len == len(sampled)
        assert set(map(tuple, where[:plan.sample_len].tolist())) == sampled
        assert plan.pieces(backward=True) == plan.rest + plan.sample
        seen += 1
    assert seen > 100


def test_frozen_plans_have_no_sample():
    for plan in plans(frozen=True):
        assert plan.sample == () and plan.sample_len == 0
        assert {piece.images.count for piece in plan.pieces()} == {plan.shape.n_images}
        assert_array_equal(np.sort(plan.order), np.arange(plan.shape.n_positions))


def test_positions_of_a_piece_share_their_offsets_and_lie_evenly():
    """An input of each by the same offsets, and what they take and reach lies as evenly."""
    for plan in plans():
        for piece in plan.pieces():
            for before, after, places in zip(plan.before, plan.after, (piece.y, piece.x), strict=True):
                for k in range(before.kernel):
                    taken = [o * before.stride - before.padding + k for o in places.numbers]
                    inside = {0 <= where < before.size for where in taken}
                    assert inside == {k in before.taken(places.first)}
                    assert list(places.inputs(before, k).numbers) == taken
                for k in range(after.kernel):
                    reached = [o for where in places.numbers for o in range(after.results)
                               if o * after.stride + k - after.padding == where]
                    if k in after.given(places.first):
                        assert list(places.results(after, k).numbers) == reached and len(reached) == places.count
                    else:
                        assert not reached


@pytest.mark.parametrize("shape, depth, images, y, x", [
    ((32, 8, 8), 2048, 32, range(8), range(8)), ((32, 8, 8), 2047, 32, range(0, 8, 2), range(8)),
    ((32, 8, 8), 512, 32, range(0, 8, 2), range(0, 8, 2)), ((32, 8, 8), 256, 32, range(1, 8, 4), range(0, 8, 2)),
    ((64, 14, 14), 1024, 64, range(0, 14, 4), range(0, 14, 4)), ((2, 7, 3), 16, 2, range(0, 7, 2), range(0, 3, 2)),
    ((20, 5, 4), 16, 16, range(2, 3), range(1, 2)), ((1, 1, 1), 16, 1, range(1), range(1)),
    ((3, 1, 9), 16, 3, range(1), range(0, 9, 2))])
def test_grids(shape, depth, images, y, x):
    found = sampling(Shape(*shape, 1), depth)
    assert (found.images, list(found.y.numbers), list(found.x.numbers)) == (images, list(y), list(x))


def test_grids_fit_and_are_in_the_middle():
    for n_images, height, width, depth in itertools.product((1, 3, 16, 17), (1, 2, 5, 8), (1, 3, 7), (16, 64)):
        grid = sampling(Shape(n_images, height, width, 1), depth)
        assert grid.length <= depth
        if n_images * height * width <= depth:
            assert grid.length == n_images * height * width
        for places, size in ((grid.y, height), (grid.x, width)):
            after = size - 1 - places.numbers[-1]
            assert 0 <= after - places.first <= 1 and size <= places.step * places.count if places.count > 1 else True


def test_progressions():
    assert progressions((0, 2, 3, 4, 6, 7)) == (Progression(0, 2, 4), Progression(3, 4, 2))
    assert progressions((2, 3, 4, 6)) == (Progression(2, 1, 3), Progression(6, 1, 1))
    assert progressions((2, 3, 5, 6, 8, 9)) == (Progression(2, 3, 3), Progression(3, 3, 3))
    assert progressions(()) == () and progressions((4,)) == (Progression(4, 1, 1),)


def test_few_pieces():
    """What a 3 x 3 convolution with a border makes of a map that is all sample: corners, edges, and inside."""
    window = windows(Convolution(3, 1, 1), 8, 8)
    assert len(Plan(Shape(2, 8, 8, 1), 128, window).pieces()) == 9
    assert len(Plan(Shape(2, 8, 8, 1), 128, window, window).pieces()) == 9
    assert len(Plan(Shape(2, 8, 8, 1), 128).pieces()) == 1
    assert len(Plan(Shape(2, 8, 8, 1), 128, window, windows(Convolution(3, 2, 1), 8, 8)).pieces()) == 16


@pytest.mark.parametrize("depth", [1, 3, 4, 7, 12, 24, 1000])
def test_blocks(depth):
    """In order, none too long, as few as their kind allows, of nearly equal size."""
    piece = Piece(Progression(1, 1, 5), Progression(0, 2, 4), Progression(3, 3, 3))
    blocks = piece.blocks(depth)
    assert_array_equal(positions(blocks), positions([piece]))
    sizes = [block.n_positions for block in blocks]
    assert max(sizes) <= depth
    assert len(sizes) == {1: 60, 3: 20, 4: 20, 7: 10, 12: 5, 24: 3, 1000: 1}[depth]
    assert all(numbers.step == 1 or numbers.count > 1 for block in blocks for numbers in block[1:])


def test_windows_are_those_of_the_convolution():
    convolution = Convolution((3, 2), (2, 1), (1, 0))
    assert windows(convolution, 7, 5) == (Window(3, 2, 1, 7), Window(2, 1, 0, 5))
    assert tuple(window.results for window in windows(convolution, 7, 5)) == convolution.output(7, 5)


_WINDOWS = windows(Convolution(3, 1, 1), 4, 5)


@pytest.mark.parametrize("call, message", [
    (lambda: Plan((1, 4, 5, 1), 16), r"shape must be a Shape, not \(1, 4, 5, 1\)"),
    (lambda: Plan(Shape(1, 5, 4, 1), 16, _WINDOWS),
     r"results of the convolution before must be \(5, 4\), not \(4, 5\)"),
    (lambda: Plan(Shape(1, 4, 4, 1), 16, None, _WINDOWS),
     r"inputs of the convolution after must be \(4, 4\), not \(4, 5\)")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
