"""The order of a tensor's positions between two convolutions: pieces that an engine with an array reads and writes as
lattices (docs/layers.md)."""

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bnforge_model import Shape

__all__ = ["Window", "Progression", "Piece", "Sampling", "Plan", "windows", "progressions", "sampling"]


class Window(NamedTuple):
    """One axis of a convolution: result o is the sum over k of input o·stride + k - padding, inside 0 ... size - 1."""

    kernel: int
    stride: int
    padding: int
    size: int
    """Inputs."""

    @property
    def results(self):
        """How many there are."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    def taken(self, result):
        """The offsets k whose input is no padding, rising."""
        first = result * self.stride - self.padding
        return tuple(k for k in range(self.kernel) if 0 <= first + k < self.size)

    def given(self, position):
        """The offsets k by which an input reaches a result, rising: those that its gradient is summed over."""
        return tuple(k for k in range(self.kernel) if (position + self.padding - k) % self.stride == 0 and
                     0 <= (position + self.padding - k) // self.stride < self.results)


@dataclass(frozen=True, order=True)
class Progression:
    """first, first + step, ...: ``count`` numbers; a single one has step 1."""

    first: int
    step: int
    count: int

    @property
    def numbers(self):
        """As a range."""
        return range(self.first, self.first + self.step * self.count, self.step)

    def part(self, start, stop):
        """The numbers with these indices."""
        return _progression(self.first + self.step * start, self.step, stop - start)

    def inputs(self, window, k):
        """What results at these places take by the offset k."""
        return _progression(self.first * window.stride + k - window.padding, self.step * window.stride, self.count)

    def results(self, window, k):
        """Which results inputs at these places reach by the offset k."""
        return _progression((self.first + window.padding - k) // window.stride, self.step // window.stride, self.count)


def _progression(first, step, count):
    return Progression(first, step if count > 1 else 1, count)


class Piece(NamedTuple):
    """Positions y × x of some images, images outermost, then y, then x. All reach and take by the same offsets."""

    images: Progression
    y: Progression
    x: Progression

    @property
    def n_positions(self):
        return self.images.count * self.y.count * self.x.count

    def blocks(self, depth):
        """The piece in order in parts of at most ``depth`` positions, of nearly equal size: of whole images, of whole
        rows of one, or of a row."""
        cuts = (_cut(self.images, depth // (self.y.count * self.x.count)), _cut(self.y, depth // self.x.count),
                _cut(self.x, depth))
        return [Piece(*parts) for parts in itertools.product(*cuts)]


def _cut(numbers, longest):
    """A progression in the fewest parts of at most ``longest`` numbers, or of one, nearly equal."""
    n_parts = -(-numbers.count // max(1, longest))
    ends = [index * numbers.count // n_parts for index in range(n_parts + 1)]
    return [numbers.part(*pair) for pair in itertools.pairwise(ends)]


@functools.lru_cache(256)
def progressions(numbers):
    """A rising tuple of numbers in progressions, sorted: always the longest of what remains, of those the one with the
    smallest step, of those the first."""
    left, found = set(numbers), []
    while left:
        best = Progression(min(left), 1, 1)
        for first, second in sorted(itertools.combinations(sorted(left), 2), key=lambda pair: pair[1] - pair[0]):
            count = 2
            while first + count * (second - first) in left:
                count += 1
            if count > best.count:
                best = Progression(first, second - first, count)
        left -= set(best.numbers)
        found.append(best)
    return tuple(sorted(found))


class Sampling(NamedTuple):
    """The grid of sampled positions: of the first ``images`` images the rows ``y`` and in them the columns ``x``."""

    images: int
    y: Progression
    x: Progression

    @property
    def length(self):
        """sample_len, which is S_eff: never more than the positions."""
        return self.images * self.y.count * self.x.count


def _spread(size, step):
    """Every ``step``-th of 0 ... size - 1, as many as fit, in the middle."""
    count = -(-size // step)
    return Progression((size - 1 - (count - 1) * step) // 2, step if count > 1 else 1, count)


def sampling(shape, sample_depth):
    """The grid of a tensor: of the steps in y and x with at most max(1, S // N) positions the ones with most; of those
    the ones whose larger step is smallest, of those the one with the smallest step in x. One position of each of the
    first S images where N > S."""
    most = max(1, sample_depth // shape.n_images)
    pairs = [(y, x) for y in _steps(shape.height) for x in _steps(shape.width)
             if -(-shape.height // y) * -(-shape.width // x) <= most]
    y, x = min(pairs, key=lambda steps: (-(-(-shape.height // steps[0]) * -(-shape.width // steps[1])), max(steps),
                                         steps[1]))
    return Sampling(min(shape.n_images, sample_depth), _spread(shape.height, y), _spread(shape.width, x))


def _steps(size):
    """The smallest step for every number of positions."""
    return sorted({-(-size // count) for count in range(1, size + 1)})


def windows(convolution, height, width):
    """The :class:`Window` of each axis of a :class:`.Convolution` of maps of this size."""
    axes = zip(convolution.kernel, convolution.stride, convolution.padding, (height, width), strict=True)
    return tuple(Window(*axis) for axis in axes)


class Plan:
    """The order of the positions of a tensor, and the pieces that it is made of.

    Each axis is cut where the offsets change by which positions take from the convolution before (``taken``) or give to
    the one after (``given``); and where positions are sampled or not.

    Parameters
    ----------
    shape : Shape
    sample_depth : int
        S.
    before, after : pair of Window, for y and x; or None
        Axes of the convolution whose result the tensor is, and of the one that it is the input of.
    frozen : bool
        Nothing is sampled first.

    Attributes
    ----------
    sampling : Sampling
    sample, rest : tuple of Piece
        In forward order: the sample, which comes first, and what follows.
    sample_len : int
        As :func:`bnforge_model.forward_codes` takes it: 0 where frozen.
    """

    def __init__(self, shape, sample_depth, before=None, after=None, frozen=False):
        if not isinstance(shape, Shape):
            raise ValueError(f"shape must be a Shape, not {shape!r}")
        sizes = shape.height, shape.width
        for name, axes, wanted in (("results of the convolution before", before, "results"),
                                   ("inputs of the convolution after", after, "size")):
            found = sizes if axes is None else tuple(getattr(window, wanted) for window in axes)
            if found != sizes:
                raise ValueError(f"{name} must be {sizes}, not {found}")
        self.shape, self.before, self.after, self.frozen = shape, before, after, frozen
        self.sampling = sampling(shape, sample_depth)
        self.sample_len = 0 if frozen else self.sampling.length
        n_sampled = 0 if frozen else self.sampling.images
        first, others = Progression(0, 1, n_sampled), Progression(n_sampled, 1, shape.n_images - n_sampled)
        (y, rest_y, every_y), (x, rest_x, every_x) = self._groups(0, self.sampling.y), self._groups(1, self.sampling.x)
        self.sample = _pieces(first, y, x)
        self.rest = _pieces(first, y, rest_x) + _pieces(first, rest_y, every_x) + _pieces(others, every_y, every_x)

    def _groups(self, axis, sampled):
        """Progressions of equal offsets: of the sampled positions of an axis, of the others, and of all."""
        groups, size = ({}, {}, {}), (self.shape.height, self.shape.width)[axis]
        for position in range(size):
            offsets = (self.before and self.before[axis].taken(position),
                       self.after and self.after[axis].given(position))
            for group in (groups[position not in sampled.numbers], groups[2]):
                group.setdefault(offsets, []).append(position)
        return [sorted(part for numbers in parts.values() for part in progressions(tuple(numbers))) for parts in groups]

    def pieces(self, backward=False):
        """The pieces in the order of a pass: the sample comes first, or backward last."""
        return self.rest + self.sample if backward else self.sample + self.rest

    @functools.cached_property
    def order(self):
        """Forward order of the positions, flat in (N, H, W): int64 (N·H·W,)."""
        area, width = self.shape.area, self.shape.width
        parts = [(np.array(piece.images.numbers) * area, np.array(piece.y.numbers) * width, np.array(piece.x.numbers))
                 for piece in self.pieces()]
        return np.concatenate([(images[:, None, None] + y[:, None] + x).ravel() for images, y, x in parts])


def _pieces(images, rows, columns):
    return tuple(Piece(images, y, x) for y, x in itertools.product(rows, columns)) if images.count else ()
