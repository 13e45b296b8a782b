"""Random products for an array alone: matrices as stored, cut into beats, and what must come out."""

from dataclasses import dataclass

import numpy as np

from bnforge_model.array import matmul, operands
from bnforge_model.blocks import Encoded, element_dtype
from bnforge_model.result import Flags

from .array import Beats
from .files import Stall

__all__ = ["STALLS", "DATA", "Case", "random_stored", "random_case", "run_cases", "differences"]

STALLS = (Stall(), Stall(), Stall(0.02, 60), Stall(0.3, 5), Stall(0.5, 2), Stall(0.9, 3))
DATA = ("near", "wide", "few", "tiny", "huge", "limits", "any")
"""How elements are drawn: exponents of neighbouring size; of any size; few values, that cancel; products and sums near
the smallest and near the largest number; first and last codes; any bits."""


@dataclass(frozen=True, eq=False)
class Case:
    """One product.

    Attributes
    ----------
    a : Encoded
        (M, K) with K a multiple of ``rows``; of a transposed product (K, rows).
    b : Encoded
        (K, columns); fewer rows than ``a`` needs where TLAST comes early.
    blocks : tuple of int
        Rows of each block; of a transposed product ``rows``, once.
    transpose : bool
    """

    a: Encoded
    b: Encoded
    blocks: tuple
    transpose: bool

    def beats(self, config):
        """(a, w) : Beats, as the array takes them."""
        if self.transpose:
            return _beats(self.a), _beats(self.b)
        a, w, first = [], [], 0
        for length in self.blocks:
            rows = slice(first, first + length)
            for k in range(0, self.a.elements.shape[1], config.rows):
                a.append(_beats(_tile(self.a, rows, k, config.rows)))
            w.append(_beats(self.b))
            first += length
        return Beats.joined(a), Beats.joined(w)

    def counts(self, config):
        """Beats of A, of W and results of each block."""
        n_w = len(self.b.elements)
        if self.transpose:
            return [(len(self.a.elements), n_w, config.rows)]
        return [(length * (self.a.elements.shape[1] // config.rows), n_w, length) for length in self.blocks]

    def expected(self, config):
        """(codes, last, flags) of the results."""
        (a, a_flags), (b, b_flags) = operands(config, self.a), operands(config, self.b)
        a = a.T if self.transpose else a
        k = min(a.shape[1], len(b))
        product = matmul(config, a[:, :k], b[:k])
        last = np.zeros(len(a), bool)
        last[np.cumsum(self.blocks) - 1] = True
        return product.codes, last, a_flags | b_flags | product.flags


def _beats(encoded):
    last = np.zeros(len(encoded.elements), bool)
    last[-1] = True
    return Beats(encoded.elements, encoded.exponents, last)


def _tile(encoded, rows, k, width):
    """Columns ``k ... k + width - 1`` of ``rows``."""
    exponents = None
    if encoded.exponents is not None:
        group = encoded.format.group
        exponents = encoded.exponents[rows, k // group:(k + width) // group]
    return Encoded(encoded.format, encoded.elements[rows, k:k + width], exponents)


def random_stored(config, shape, data, rng):
    """Stored elements (n, channels) of the class ``data``."""
    fmt, (n, channels) = config.storage, shape
    if config.is_block:
        width, exponent_shape = fmt.element_width, (n, channels // fmt.group)
        elements = rng.integers(-1 << width - 1, 1 << width - 1, shape)
        if data in ("few", "limits"):
            most = 1 << width - 1
            elements = rng.choice([0, most // 2, -most // 2] if data == "few" else [0, 1, -1, most - 1, -most], shape)
        exponents = _exponents(fmt.bias, (1 << fmt.exponent_width) - 1, exponent_shape, data, rng)
        return Encoded(fmt, elements.astype(element_dtype(fmt)), exponents.astype(np.uint8))
    fraction = rng.integers(1 << fmt.fraction_width, size=shape)
    top = (1 << fmt.exponent_width) - 1
    exponents = _exponents(fmt.bias, top, shape, data, rng)
    if data == "few":
        fraction, exponents = fraction * 0, np.where(rng.random(shape) < 0.3, 0, fmt.bias)
    elif data == "limits":
        fraction = rng.choice([0, 1, (1 << fmt.fraction_width) - 1], shape)
    codes = rng.integers(2, size=shape) << fmt.width - 1 | exponents << fmt.fraction_width | fraction
    return Encoded(fmt, codes.astype(element_dtype(fmt)))


def _exponents(bias, top, shape, data, rng):
    """Exponent codes from 0 to ``top``; that is reserved, and only comes in classes of any and of the last codes."""
    if data == "any":
        return rng.integers(top + 1, size=shape)
    if data == "limits":
        return rng.choice([0, 1, bias, top - 1, top - 1, top], shape)
    if data == "few":
        return np.full(shape, bias)
    centre = {"tiny": bias // 2, "huge": bias + bias // 2 + 1}.get(data, bias)
    spread = 2 if data == "near" else 12
    return np.clip(centre + rng.integers(-spread, spread + 1, shape), 0, top - 1)


def random_case(config, rng, *, transpose=None, data=None, most_passes=5):
    """A product of random shape: one pass or several, full tiles or not, blocks of any lengths."""
    transpose = config.transposes and bool(rng.integers(2)) if transpose is None else transpose
    rows, passes = config.rows, int(rng.choice([1, 1, 2, 3, most_passes]))
    kinds = [DATA[rng.integers(len(DATA))] for _ in range(2)] if data is None else [data] * 2
    n_w = (passes - 1) * rows + (rows if rng.integers(2) else int(rng.integers(1, rows + 1)))
    b = random_stored(config, (n_w, config.columns), kinds[0], rng)
    if transpose:
        n_a = (passes - 1) * rows + (rows if rng.integers(2) else int(rng.integers(1, rows + 1)))
        return Case(random_stored(config, (n_a, rows), kinds[1], rng), b, (rows,), True)
    lengths = (1, 2, rows, rows + 1, rows + 2, rows + 3, config.depth, int(rng.integers(1, config.depth + 1)))
    blocks = tuple(min(config.depth, int(rng.choice(lengths))) for _ in range(rng.integers(1, 4)))
    return Case(random_stored(config, (sum(blocks), passes * rows), kinds[1], rng), b, blocks, False)


def run_cases(bench, cases, **options):
    """Products one after the other in one run, all transposed or none: the :class:`.Outcome`."""
    config = bench.config
    a, w = (Beats.joined(parts) for parts in zip(*(case.beats(config) for case in cases)))
    counts = np.cumsum([row for case in cases for row in case.counts(config)], axis=0)
    return bench.run(a, w, int(counts[-1, 2]), ends=counts, transpose=cases[0].transpose, **options)


def differences(config, cases, outcome):
    """How ``outcome`` differs from the model: list of str."""
    wanted = [case.expected(config) for case in cases]
    codes, last = (np.concatenate(parts) for parts in list(zip(*wanted))[:2])
    flags = Flags(0)
    for _codes, _last, more in wanted:
        flags |= more
    found = ["stopped"] if outcome.stopped else []
    if len(outcome.codes) != len(codes):
        return [*found, f"{len(outcome.codes)} results, not {len(codes)}"]
    if (outcome.codes != codes).any():
        row, column = np.argwhere(outcome.codes != codes)[0]
        found.append(f"{(outcome.codes != codes).sum()} codes differ, first [{row}, {column}]: "
                     f"{outcome.codes[row, column]:#x}, not {codes[row, column]:#x}")
    if (outcome.last != last).any():
        found.append(f"TLAST at {np.flatnonzero(outcome.last).tolist()}, not {np.flatnonzero(last).tolist()}")
    if outcome.status != int(flags):
        found.append(f"status {outcome.status}, not {int(flags)}")
    return found
