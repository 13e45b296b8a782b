"""Products of the array: the numpy model against fractions, exactly."""

from fractions import Fraction

import numpy as np
import pytest
import slow_array
from numpy.testing import assert_array_equal

from bnforge.array_config import ArrayConfig
from bnforge.formats import BF16, E4M3, E5M2, FP10, FP16, WORKING, BlockFormat, FloatFormat
from bnforge_model import Encoded, Flags, array as model, matmul, operands
from bnforge_model.array import finish, fold
from bnforge_model.blocks import element_dtype
from bnforge_model.floats import max_value, round_to

SMALL = ArrayConfig(rows=4, columns=4, storage=BlockFormat(4, 8), depth=4)
CONFIGS = {
    "default": SMALL,
    "bf16": SMALL.replace(storage=BF16),
    "fp16": SMALL.replace(storage=FP16, output=FP16),
    "fp16, wide sums": SMALL.replace(storage=FP16, output=WORKING, accumulate_fraction=23),
    "widest": SMALL.replace(storage=WORKING, output=WORKING, accumulate_fraction=23),
    "widest factors": SMALL.replace(storage=WORKING, accumulate_fraction=1),
    "e4m3": SMALL.replace(storage=E4M3, output=E4M3),
    "e5m2": SMALL.replace(storage=E5M2, output=FP10, accumulate_fraction=7),
    "1-2-1": SMALL.replace(storage=FloatFormat(2, 1), output=FloatFormat(2, 1), accumulate_fraction=4),
    "1-7-15": SMALL.replace(storage=FloatFormat(7, 15), output=FloatFormat(5, 15), accumulate_fraction=22),
    "narrow factors": SMALL.replace(storage=WORKING, operand_fraction=1, accumulate_fraction=5),
    "rounded blocks": SMALL.replace(storage=BlockFormat(2, 12), operand_fraction=4),
    "wide factors": SMALL.replace(storage=BF16, operand_fraction=15),
    "small blocks": SMALL.replace(storage=BlockFormat(1, 4, 4), output=E4M3),
    "wide blocks": SMALL.replace(storage=BlockFormat(2, 12, 5), accumulate_fraction=19),
}
"""Storage, factors, sums and results from end to end of their ranges."""


def _any(array, rng, shape):
    """Every code alike: subnormals, infinities, NaN, reserved exponents."""
    return _encoded(array, shape, lambda low, high, size: rng.integers(low, high, size))


def _extreme(array, rng, shape):
    """Smallest, largest and special codes."""
    def choose(low, high, size):
        top = (high - low) // 2 if array.is_block else array.storage.max_code
        near = [0, 1, top - 1, top, top + 1, high - 1, low, low + 1]
        return rng.choice([code for code in near if low <= code < high], size)
    return _encoded(array, shape, choose)


def _ordinary(array, rng, shape):
    """Values around 1, of both signs, some zero."""
    if array.is_block:
        encoded = _any(array, rng, shape)
        middle = array.storage.bias
        return Encoded(array.storage, encoded.elements, rng.integers(middle - 2, middle + 3, encoded.exponents.shape))
    fmt = array.storage
    exponents = rng.integers(max(1, fmt.bias - 2), min(fmt.bias + 3, (1 << fmt.exponent_width) - 1), shape)
    codes = exponents << fmt.fraction_width | rng.integers(1 << fmt.fraction_width, size=shape)
    return Encoded(fmt, (codes | rng.integers(2, size=shape) << (fmt.width - 1)) * (rng.random(shape) < 0.8))


def _encoded(array, shape, choose):
    fmt = array.storage
    if not array.is_block:
        return Encoded(fmt, choose(0, 1 << fmt.width, shape).astype(element_dtype(fmt)))
    half = 1 << (fmt.element_width - 1)
    exponents = choose(0, 1 << fmt.exponent_width, (shape[0], -(-shape[1] // 4) * 4 // fmt.group))
    return Encoded(fmt, choose(-half, half, shape).astype(element_dtype(fmt)), exponents.astype(np.uint8))


def _flags(*raised):
    return Flags(sum(flag for flag, up in zip(Flags, raised, strict=True) if up))


@pytest.mark.parametrize("stimulus", [_any, _extreme, _ordinary])
@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_slow_model(name, stimulus, seed):
    array, rng = CONFIGS[name], np.random.default_rng(seed)
    for m, k, n in ((3, 7, 4), (2, 1, 6), (1, 12, 1)):
        stored = stimulus(array, rng, (m, k)), stimulus(array, rng, (k, n))
        read = [operands(array, encoded) for encoded in stored]
        wanted = [slow_array.factors(array, encoded) for encoded in stored]
        for (values, flags), (rows, raised) in zip(read, wanted, strict=True):
            assert values.tolist() == rows and flags == _flags(*raised)
        result = matmul(array, *(values for values, _ in read))
        codes, saturated = slow_array.matmul(array, *(rows for rows, _ in wanted))
        assert result.codes.tolist() == codes and result.flags == _flags(False, False, saturated)
        assert_array_equal(result.values, slow_values(array, codes))


def slow_values(array, codes):
    return [[float(slow_array.sanitise(array.output, code)[0]) for code in row] for row in codes]


def _significands(bits, rng, count):
    """Odd and even ones, runs of ones and zeros at either end, powers of two: where ties and near-ties are."""
    few = rng.integers(1, 8, count)
    kinds = [1 + few * 2.0 ** (1 - bits), 2 - few * 2.0 ** (1 - bits), 1 + few / 8, rng.integers(1 << bits, size=count)
             * 2.0 ** -bits + 1, np.ones(count)]
    return round_to(FloatFormat(8, bits - 1), np.choose(rng.integers(len(kinds), size=count), kinds))[0]


NEAR_TIES = {(6, 15), (7, 15), (7, 14), (10, 15), (10, 20), (15, 15), (15, 23), (15, 1), (11, 23), (8, 17), (8, 18)}
"""Fraction bits of factors and sums: products of no more bits than sums have, and of more."""


def _near_ties(array, rng, count):
    """Sums and pairs of factors, where s + a·b is often within a hair of the middle of two values."""
    sums = _significands(array.accumulate.significand_width, rng, count)
    a, b = (_significands(array.operand.significand_width, rng, size) for size in (count, 4))
    exponents = rng.integers(-66, 67, count)
    sums *= rng.choice([-1.0, 1.0], count)
    return sums[:, None] * np.ones(4), (a * 2.0 ** exponents)[:, None], b[None]


@pytest.mark.parametrize("operand, total", sorted(NEAR_TIES))
def test_a_sum_is_rounded_once(operand, total, seed):
    array = SMALL.replace(storage=WORKING, operand_fraction=operand, accumulate_fraction=total)
    rng = np.random.default_rng(seed)
    for _ in range(8):
        sums, a, b = _near_ties(array, rng, 40)
        found, saturated = fold(array, a, b, sums)
        wanted = [[float(slow_array.accumulate(array, [(Fraction(p), Fraction(q))], Fraction(s))[0])
                   for s, q in zip(row, b[0], strict=True)] for row, p in zip(sums, a[:, 0], strict=True)]
        assert not saturated
        assert_array_equal(found, wanted)


@pytest.mark.parametrize("operand, total", sorted(NEAR_TIES))
def test_rounding_twice_is_wrong_exactly_where_care_is_taken(operand, total, seed, monkeypatch):
    """Rounding to odd is left out: then results differ where products have more bits than sums, and nowhere else."""
    array = SMALL.replace(storage=WORKING, operand_fraction=operand, accumulate_fraction=total)
    rng, wrong = np.random.default_rng(seed), False
    for _ in range(30):
        sums, a, b = _near_ties(array, rng, 2000)
        right, _ = fold(array, a, b, sums)
        with monkeypatch.context() as patch:
            patch.setattr(model, "_care", lambda *_: (False, True))
            wrong |= (fold(array, a, b, sums)[0] != right).any()
    assert wrong == (2 * (operand + 1) > total + 1)


@pytest.mark.parametrize("operand, total", sorted(NEAR_TIES))
def test_sums_that_float64_holds_need_no_care(operand, total, seed, monkeypatch):
    array = SMALL.replace(storage=WORKING, operand_fraction=operand, accumulate_fraction=total)
    for distance in range(-60, 61, 2):
        rng = np.random.default_rng(seed)
        sums = _significands(total + 1, rng, 400)[:, None] * rng.choice([-1.0, 1.0], (400, 1)) * 2.0 ** distance
        a, b = _significands(operand + 1, rng, 400)[:, None], _significands(operand + 1, rng, 1)[:, None]
        quick, _ = fold(array, a, b, sums)
        with monkeypatch.context() as patch:
            patch.setattr(model, "_care", lambda *_: (True, True))
            assert_array_equal(quick, fold(array, a, b, sums)[0])


@pytest.mark.parametrize("scale", [-140, -126, -120, -100, -63, -40, 0, 40, 60, 83, 84, 85, 86, 87, 88, 100])
@pytest.mark.parametrize("name", ["default", "widest", "widest factors"])
def test_limits_are_looked_at_wherever_sums_can_reach_them(name, scale, seed, monkeypatch):
    array, rng = CONFIGS[name], np.random.default_rng(seed)
    a, b = (round_to(array.operand, rng.standard_normal(shape) * 2.0 ** power)[0]
            for shape, power in (((4, 9), scale), ((9, 4), min(scale, 40))))
    quick, over = fold(array, a, b)
    monkeypatch.setattr(model, "_care", lambda *_: (True, True))
    slow, saturated = fold(array, a, b)
    assert_array_equal(quick, slow)
    assert over == saturated
    assert saturated or scale < 100
    assert not saturated or scale > 60


def _values(array, rng, *shape):
    return round_to(array.operand, rng.standard_normal(shape))[0]


@pytest.mark.parametrize("m, k, n", [(60, 3, 200), (9, 40, 1), (1, 40, 9), (500, 2, 3), (70, 1, 70)])
def test_every_element_is_a_sum_of_its_own(m, k, n, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    a, b = _values(SMALL, rng, m, k), _values(SMALL, rng, k, n)
    whole = matmul(SMALL, a, b)
    assert whole.codes.shape == whole.values.shape == (m, n)
    for i, j in {(0, 0), (m - 1, n - 1), *zip(rng.integers(m, size=8), rng.integers(n, size=8), strict=True)}:
        assert_array_equal(matmul(SMALL, a[i:i + 1], b[:, j:j + 1]).codes, whole.codes[i:i + 1, j:j + 1])
    monkeypatch.setattr(model, "_CHUNK", 1000)
    assert_array_equal(matmul(SMALL, a, b).codes, whole.codes)


def test_k_may_be_cut_and_padded_anywhere(seed):
    rng = np.random.default_rng(seed)
    a, b = _values(SMALL, rng, 5, 17), _values(SMALL, rng, 17, 6)
    whole, _ = fold(SMALL, a, b)
    for cut in range(18):
        first, _ = fold(SMALL, a[:, :cut], b[:cut])
        assert_array_equal(fold(SMALL, a[:, cut:], b[cut:], first)[0], whole)
        assert_array_equal(fold(SMALL, np.insert(a, cut, 0, axis=1), np.insert(b, cut, 3, axis=0))[0], whole)
        assert_array_equal(fold(SMALL, np.insert(a, cut, -3, axis=1), np.insert(b, cut, -0.0, axis=0))[0], whole)


def test_the_order_of_k_matters():
    """Or the tests above would prove little: 1 + 2^-16 + 2^-16 at 15 fraction bits."""
    a = np.array([[1, 2.0 ** -16, 2.0 ** -16]])
    assert fold(SMALL, a, np.ones((3, 1)))[0] == 1
    assert fold(SMALL, a[:, ::-1], np.ones((3, 1)))[0] == 1 + 2.0 ** -15


def test_the_arguments_stay_as_they_are(seed):
    rng = np.random.default_rng(seed)
    arrays = _values(SMALL, rng, 3, 4), _values(SMALL, rng, 4, 5), np.ones((3, 5))
    copies = [item.copy() for item in arrays]
    fold(SMALL, *arrays)
    for item, copy in zip(arrays, copies, strict=True):
        assert_array_equal(item, copy)


_FLOAT = SMALL.replace(storage=BF16)


@pytest.mark.parametrize("array, element, exponent, value, flags", [
    (SMALL, -128, 127, -2.0, Flags(0)),
    (SMALL, -128, 254, -max_value(SMALL.operand), Flags.SATURATED),
    (SMALL, 127, 254, 127 * 2.0 ** 121, Flags(0)),
    (SMALL, 64, 0, 0.0, Flags(0)),
    (SMALL, 64, 1, 2.0 ** -126, Flags(0)),
    (SMALL, 5, 255, 0.0, Flags.NAN),
    (SMALL.replace(operand_fraction=5), 127, 254, max_value(FloatFormat(8, 5)), Flags.SATURATED),
    (SMALL.replace(operand_fraction=5), 65, 127, 1.0, Flags(0)),
    (SMALL.replace(storage=BlockFormat(4, 8, 5)), 64, 31, 0.0, Flags.NAN),
    (_FLOAT, 0x7F80, None, max_value(BF16), Flags.INFINITY),
    (_FLOAT, 0xFF81, None, 0.0, Flags.NAN),
    (_FLOAT, 0x807F, None, 0.0, Flags(0)),
    (_FLOAT.replace(operand_fraction=6), 0xFF80, None, -max_value(FloatFormat(8, 6)), Flags.INFINITY | Flags.SATURATED),
    (SMALL.replace(storage=FP16), 0x0001, None, 2.0 ** -24, Flags(0)),
    (SMALL.replace(storage=E4M3), 0x7F, None, 0.0, Flags.NAN),
])
def test_a_factor_by_hand(array, element, exponent, value, flags):
    exponents = None if exponent is None else np.array([[exponent]], np.uint8)
    values, raised = operands(array, Encoded(array.storage, np.array([[element]]), exponents))
    assert (values.item(), raised) == (value, flags)


@pytest.mark.parametrize("changes, a, b, value, flags", [
    ({}, [2.0 ** 127, -2.0 ** 127], [1.0, 1.0], 0.0, Flags(0)),
    ({}, [2.0 ** 127, 2.0 ** 127, -2.0 ** 127], [1.0, 1.0, 1.0], (1 - 2.0 ** -15) * 2.0 ** 127, Flags.SATURATED),
    ({}, [2.0 ** 100, 1.0], [2.0 ** 100, 0.0], max_value(WORKING), Flags.SATURATED),
    ({"output": E4M3}, [256.0], [256.0], 448.0, Flags.SATURATED),
    ({}, [2.0 ** -100], [2.0 ** -100], 0.0, Flags(0)),
    ({}, [-2.0 ** -63, 2.0 ** -63], [2.0 ** -64, 2.0 ** -62], 2.0 ** -125, Flags(0)),
    ({"output": WORKING}, [-2.0 ** -63], [(2 - 2.0 ** -6) * 2.0 ** -64], 0.0, Flags(0)),
    ({"accumulate_fraction": 5}, [-2.0 ** -63], [(2 - 2.0 ** -6) * 2.0 ** -64], -2.0 ** -126, Flags(0)),
    ({}, [1.0, -1.0], [1.0, 1.0], 0.0, Flags(0)),
    ({}, [-1.0], [0.0], 0.0, Flags(0)),
])
def test_a_sum_by_hand(changes, a, b, value, flags):
    result = matmul(SMALL.replace(**{"output": WORKING} | changes), np.array([a]), np.array([b]).T)
    assert result.values.item() == value and np.signbit(result.values.item()) == (value < 0)
    assert result.flags == flags


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_that_was_at_its_limit(sign):
    largest = np.full((1, 1), sign * max_value(SMALL.accumulate))
    for term, over in ((2.0 ** 110, False), (2.0 ** 111, True)):
        sums, saturated = fold(SMALL, np.array([[term * 2.0 ** -60]]), np.array([[sign * 2.0 ** 60]]), largest)
        assert sums == largest and saturated == over


@pytest.mark.parametrize("scale, left", [(0, 0.0), (1, 2.0 ** -126)])
def test_a_difference_below_the_limit(scale, left):
    """(1 + 2^-6)^2 - (1 + 2^-5) = 2^-12, times 2^-115 or 2^-114."""
    a = np.array([[1 + 2.0 ** -6, 1 + 2.0 ** -5]]) * 2.0 ** (scale - 57)
    b = np.array([[1 + 2.0 ** -6], [-1.0]]) * 2.0 ** -58
    assert fold(SMALL, a, b)[0] == left


def test_a_sum_within_a_hair_of_the_middle():
    """A product of 32 bits is 2^-31 above the middle of two sums of 24, and the sum before takes all or nearly all."""
    array = SMALL.replace(storage=WORKING, accumulate_fraction=23)
    a, b = next((a, b) for a in range(0xF001, 0xFFFF, 2) for b in range(a, 0xFFFF, 2) if a * b & 0x1FF == 0x81)
    below, unit = a * b >> 8, 2.0 ** -23
    factors = np.array([[a * 2.0 ** -15]]), np.array([[b * 2.0 ** -16]])
    for before, after in ((-(1 - 2.0 ** -24), below + 1), (-1.0, below), (-(1 + 2.0 ** -23), below)):
        assert fold(array, *factors, np.array([[before * 2.0 ** -31]]))[0] == after * unit


def test_a_saturated_sum_is_remembered():
    assert finish(SMALL, np.ones((1, 1)), True).flags == Flags.SATURATED
    assert finish(SMALL, np.ones((1, 1))).flags == Flags(0)


@pytest.mark.parametrize("call, message", [
    (lambda: operands(SMALL, Encoded(BF16, np.zeros((1, 1), int))),
     "format must be the storage of the array, 4 x 8 bits, not 1-8-7"),
    (lambda: matmul(SMALL, np.zeros((2, 3)), np.zeros((2, 3))),
     r"factors must be of shapes \(M, K\) and \(K, N\), not \(2, 3\) and \(2, 3\)"),
    (lambda: fold(SMALL, np.zeros(3), np.zeros((3, 1))),
     r"factors must be of shapes \(M, K\) and \(K, N\), not \(3,\) and \(3, 1\)")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
