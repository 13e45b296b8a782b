"""Formats: limits and refusals, decode and encode of every code, the rounder, and other libraries (docs/formats.md)."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import slow_model
from numpy.testing import assert_array_equal

from bnforge.config import Activation, Config, Multiplier
from bnforge.formats import BF16, E4M3, E5M2, FLOAT_FORMATS, FP16, FP32, WORKING, BlockFormat, FloatFormat
from bnforge_model import blocks, floats

OTHERS = {"bf16": (BF16, ml_dtypes.bfloat16), "fp16": (FP16, np.float16), "e4m3": (E4M3, ml_dtypes.float8_e4m3fn),
          "e5m2": (E5M2, ml_dtypes.float8_e5m2)}
ALL = {**FLOAT_FORMATS, "1-2-1": FloatFormat(2, 1), "1-3-1": FloatFormat(3, 1), "1-7-8": FloatFormat(7, 8),
       "1-8-1": FloatFormat(8, 1), "1-5-15": FloatFormat(5, 15), "fp32": FP32}
SMALL = {name: fmt for name, fmt in ALL.items() if fmt.width <= 16}


@pytest.fixture(params=OTHERS)
def other(request):
    """A format, the dtype of another library, and the finite codes."""
    fmt, dtype = OTHERS[request.param]
    codes = np.arange(1 << fmt.width).astype(floats.code_dtype(fmt.width))
    magnitude = codes & ((1 << (fmt.width - 1)) - 1)
    return fmt, dtype, codes[magnitude <= fmt.max_code]


def test_every_finite_code_decodes_alike(other):
    fmt, dtype, codes = other
    want = codes.view(dtype).astype(np.float64)
    if not fmt.has_subnormals:
        want[np.abs(want) < 2.0 ** fmt.e_min] = 0
    assert_array_equal(floats.decode(fmt, codes), want)


def test_values_in_range_round_alike(other):
    """Every value, every midpoint, and both float32 neighbours of each."""
    fmt, dtype, codes = other
    values = np.unique(floats.decode(fmt, codes))
    middle = (values[1:] + values[:-1]) / 2
    points = np.concatenate([values, middle, 2.0 ** fmt.e_min * np.linspace(0.9, 1.1, 101)]).astype(np.float32)
    points = np.concatenate([points, np.nextafter(points, np.float32(0)),
                             np.nextafter(points, np.copysign(np.float32(np.inf), points))])
    points = points[np.abs(points) <= values[-1]]
    want = points.astype(dtype)
    got = floats.to_codes(fmt, points)
    if not fmt.has_subnormals:
        want[np.abs(points) < (1 - 2.0 ** -(fmt.fraction_width + 2)) * 2.0 ** fmt.e_min] = 0
    want = (want.astype(np.float32) + np.float32(0)).astype(dtype)  # -0 to +0
    assert_array_equal(got, want.view(got.dtype))


def test_difference_flush():
    """With eight exponent bits subnormal codes decode to 0, and what rounds below 2^-126 becomes +0.

    The significand is rounded first, as if there were no least exponent: from (1 - 2^-9)·2^-126 on the result is
    2^-126, below it is 0. IEEE rounds to the subnormal grid.
    """
    assert (np.array([1, 0x7F, 0x807F], np.uint16).view(ml_dtypes.bfloat16).astype(float) != 0).all()
    assert_array_equal(floats.decode(BF16, [1, 0x7F, 0x807F]), [0, 0, 0])
    values = np.array([1, -1, 511 / 512, -511 / 512, 511 / 512 - 2.0 ** -40, -255 / 256, 0.5]) * 2.0 ** -126
    assert_array_equal(floats.to_codes(BF16, values), [0x80, 0x8080, 0x80, 0x8080, 0, 0, 0])
    assert (values.astype(np.float32).astype(ml_dtypes.bfloat16).astype(float) != 0).all()


def test_difference_saturation(other):
    """Beyond the largest finite value: that value; the other libraries give infinity or NaN."""
    fmt, dtype, _ = other
    top = floats.max_value(fmt)
    for value in (top * 1.25, top * 2, 1e300):
        values, saturated = floats.round_to(fmt, np.array([value, -value]))
        assert_array_equal(values, [top, -top])
        assert saturated.all()
        with np.errstate(over="ignore"):
            assert not np.isfinite(np.array(value).astype(dtype).astype(float))
    half_way = top * (1 + 2.0 ** -(fmt.fraction_width + 2))
    assert_array_equal(floats.round_to(fmt, np.array([half_way])), [[top], [0]])


def test_difference_special_inputs():
    """At an input NaN counts as 0, infinity as the largest finite value, -0 as +0; the first two are flagged."""
    for fmt, dtype in OTHERS.values():
        specials = [np.nan, np.inf, -np.inf] if fmt is not E4M3 else [np.nan]
        codes = np.array(specials).astype(dtype).view(floats.code_dtype(fmt.width))
        values, nan, infinity = floats.sanitise(fmt, codes)
        top = floats.max_value(fmt)
        assert_array_equal(values, [0, top, -top][:len(specials)])
        assert_array_equal(nan, [True, False, False][:len(specials)])
        assert_array_equal(infinity, [False, True, True][:len(specials)])
        zero, nan, infinity = floats.sanitise(fmt, [1 << (fmt.width - 1)])
        assert (zero == 0) and not np.signbit(zero) and not nan and not infinity


def test_to_codes_keeps_special_values():
    """A driver's tensor: NaN stays NaN, infinity stays infinity where the format has one."""
    for fmt, dtype in OTHERS.values():
        codes = floats.to_codes(fmt, [np.nan, np.inf, -np.inf, 1.0])
        want = np.array([np.nan, np.inf, -np.inf, 1.0])
        if fmt is E4M3:
            want[1:3] = 448, -448
        assert_array_equal(codes.view(dtype).astype(float), want)


@pytest.mark.parametrize("name", SMALL)
def test_every_code_equals_slow_model(name):
    fmt = SMALL[name]
    codes = np.arange(1 << fmt.width)
    values, nan, infinity = floats.sanitise(fmt, codes)
    step = max(1, len(codes) // 4096)
    want = [slow_model.sanitise(fmt, int(code)) for code in codes[::step]]
    assert_array_equal(values[::step], [float(value) for value, _, _ in want])
    assert_array_equal(nan[::step], [flag for _, flag, _ in want])
    assert_array_equal(infinity[::step], [flag for _, _, flag in want])
    assert_array_equal(floats.decode_table(fmt), values)
    plain = ~nan & ~infinity & ((values != 0) | (codes == 0))
    assert_array_equal(floats.encode(fmt, values[plain]), codes[plain])


def _wide_values(rng, fmt, count=3000):
    """Values around every binade, short significands (ties) among them."""
    low, high = fmt.e_min - fmt.fraction_width - 3, fmt.e_max + 3
    significand = rng.integers(1, 1 << 53, count) >> rng.integers(0, 52, count)
    values = np.ldexp(significand / 2.0 ** 52, rng.integers(low, high, count))
    return np.concatenate([[0.0, -0.0], values * rng.choice([-1, 1], count)])


@pytest.mark.parametrize("name", ALL)
def test_rounder_equals_slow_model(name):
    fmt, values = ALL[name], _wide_values(np.random.default_rng(1), ALL[name])
    got, saturated = floats.round_to(fmt, values)
    want = [slow_model.rounder(fmt, Fraction(value)) for value in values]
    assert_array_equal(got, [float(value) for value, _ in want])
    assert_array_equal(saturated, [flag for _, flag in want])
    assert not np.signbit(got[got == 0]).any()
    assert 0 < saturated.sum() < len(values)


@pytest.mark.parametrize("fraction_width", range(2, 9))
def test_two_digit_rounding_equals_slow_model(fraction_width):
    config = Config(multiplier=Multiplier.TWO_DIGIT, a_fraction=fraction_width)
    grid = floats.two_digit_significands(fraction_width)
    assert len(grid) == 2 * fraction_width + 1
    middle = (grid[1:] + grid[:-1]) / 2
    edges = np.concatenate([grid, middle, np.nextafter(middle, 0), np.nextafter(middle, 2)])
    values = np.concatenate([edges, edges * 2.0 ** 127, edges * 2.0 ** -127, -edges * 2.0 ** -126,
                             _wide_values(np.random.default_rng(2), config.a_format, 500)])
    got, saturated = floats.round_scale(config.a_format, values, two_digit=True)
    want = [slow_model.round_a(config, Fraction(value)) for value in values]
    assert_array_equal(got, [float(value) for value, _ in want])
    assert_array_equal(saturated, [flag for _, flag in want])


def _pairs():
    """Sums of every exponent distance from none to beyond the significand, of both signs."""
    rng = np.random.default_rng(3)
    p, q = (np.ldexp(rng.integers(1, 1 << 32, 4000).astype(float), rng.integers(-60, 60, 4000)) for _ in range(2))
    powers = np.ldexp(1.0, rng.integers(-70, 70, 1000))
    p, q = np.concatenate([p, powers, p[:500]]), np.concatenate([q, powers[::-1], p[:500]])
    return p * rng.choice([-1, 1], len(p)), q * rng.choice([-1, 1], len(q))


def test_odd_sums_round_once():
    """A sum rounded to odd gives every later rounding the result of the exact sum."""
    p, q = _pairs()
    total = floats.add_odd(p, q)
    for fmt in (WORKING, FloatFormat(8, 1), BF16):
        want = [slow_model.rounder(fmt, Fraction(u) + Fraction(v))[0] for u, v in zip(p, q, strict=True)]
        assert_array_equal(floats.round_to(fmt, total)[0], [float(value) for value in want])


def test_truncated_sums_are_those_of_the_exact_sum():
    p, q = _pairs()
    for bits in (24, 32):
        got = floats.truncate(floats.add_toward_zero(p, q), bits)
        want = [slow_model.truncate(Fraction(u) + Fraction(v), bits) for u, v in zip(p, q, strict=True)]
        assert_array_equal(got, [float(value) for value in want])


@pytest.mark.parametrize("fmt", [BlockFormat(1, 8), BlockFormat(1, 8, signed=False), BlockFormat(1, 4, 4),
                                 BlockFormat(1, 12, 8)], ids=str)
def test_every_block_code_decodes(fmt):
    """element · 2^(code - bias - M), the most negative element included; the all-ones exponent code is zeros."""
    width = fmt.element_width
    elements = np.arange(-(1 << (width - 1)), 1 << (width - 1)) if fmt.signed else np.arange(1 << width)
    codes = np.arange(1 << fmt.exponent_width)
    values, reserved = blocks.decode_blocks(fmt, np.tile(elements, (len(codes), 1)),
                                            np.tile(codes[:, None], len(elements)))
    want = np.outer(np.ldexp(1.0, codes - fmt.bias - fmt.fraction_width), elements)
    want[-1] = 0
    assert_array_equal(values, want)
    assert reserved[-1].all() and not reserved[:-1].any()


def test_mx_scale_is_e8m0():
    """Shared exponents of eight bits are the scales of OCP MX, the reserved code aside."""
    codes = np.arange(255, dtype=np.uint8)
    values, _ = blocks.decode_blocks(BlockFormat(1, 8), np.full((255, 1), 64), codes[:, None])
    assert_array_equal(values[:, 0], codes.view(ml_dtypes.float8_e8m0fnu).astype(float))


@pytest.mark.parametrize("fmt", [BlockFormat(4, 8), BlockFormat(4, 4, 4), BlockFormat(4, 12, 5),
                                 BlockFormat(3, 6)], ids=str)
@pytest.mark.parametrize("activation", Activation)
def test_blocks_equal_slow_model(fmt, activation):
    rng = np.random.default_rng(4)
    y = floats.round_to(WORKING, rng.standard_normal((400, fmt.group)) * np.ldexp(1.0, rng.integers(-20, 20, (400, 1)))
                        * np.ldexp(1.0, rng.integers(-9, 1, (400, fmt.group))))[0]
    y[:100] = floats.round_to(WORKING, rng.uniform(5.9, 6.1, (100, fmt.group)))[0]
    y = {Activation.IDENTITY: y, Activation.RELU: np.maximum(y, 0), Activation.RELU6: np.clip(y, 0, 6)}[activation]
    elements, exponents, saturated, values = blocks.encode_blocks(fmt, y, activation)
    want = [slow_model.store_block(fmt, [Fraction(v) for v in row], activation) for row in y]
    assert_array_equal(elements, [block[0] for block in want])
    assert_array_equal(exponents[:, 0], [block[1] for block in want])
    assert_array_equal(values, [[float(v) for v in block[2]] for block in want])
    assert_array_equal(saturated[:, 0], [block[3] for block in want])


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp10", "fp10_1_6_3", "e4m3", "e5m2", "working", "1-3-1"])
@pytest.mark.parametrize("activation", Activation)
def test_stored_floats_equal_slow_model(name, activation):
    fmt, rng = ALL[name], np.random.default_rng(5)
    y = floats.round_to(WORKING, _wide_values(rng, fmt, 1000))[0]
    y = np.concatenate([y, floats.round_to(WORKING, rng.uniform(5, 7, 1000))[0]])
    y = {Activation.IDENTITY: y, Activation.RELU: np.maximum(y, 0), Activation.RELU6: np.clip(y, 0, 6)}[activation]
    codes, saturated, values = blocks.encode_floats(fmt, y, activation)
    want = [slow_model.store_float(fmt, Fraction(v), activation) for v in y]
    assert_array_equal(codes, [code for code, _, _ in want])
    assert_array_equal(values, [float(value) for _, value, _ in want])
    assert_array_equal(saturated, [flag for _, _, flag in want])


@pytest.mark.parametrize("change, message", [
    ({"exponent_width": 1}, "exponent_width must be an integer from 2 to 8, not 1"),
    ({"exponent_width": 9}, "exponent_width must be an integer from 2 to 8, not 9"),
    ({"fraction_width": 0}, "fraction_width must be an integer from 1 to 23, not 0"),
    ({"fraction_width": True}, "fraction_width must be an integer from 1 to 23, not True")])
def test_float_format_refuses(change, message):
    with pytest.raises(ValueError) as error:
        FloatFormat(**{"exponent_width": 5, "fraction_width": 4} | change)
    assert str(error.value) == message


@pytest.mark.parametrize("change, message", [
    ({"group": 33}, "group must be an integer from 1 to 32, not 33"),
    ({"element_width": 3}, "element_width must be an integer from 4 to 12, not 3"),
    ({"exponent_width": 3}, "exponent_width must be an integer from 4 to 8, not 3"),
    ({"signed": 1}, "signed must be true or false, not 1")])
def test_block_format_refuses(change, message):
    with pytest.raises(ValueError) as error:
        BlockFormat(**{"group": 16, "element_width": 8} | change)
    assert str(error.value) == message


@pytest.mark.parametrize("name", ALL)
def test_limits_of_formats(name):
    """max_code, min_code, e_max, e_min and code_of_six name the values they promise."""
    fmt = ALL[name]
    if fmt.width <= 16:
        values = floats.decode_table(fmt)
        assert values.max() == floats.decode(fmt, fmt.max_code) == floats.max_value(fmt)
        assert values[values > 0].min() == floats.decode(fmt, fmt.min_code) == floats.min_value(fmt)
    assert 2.0 ** fmt.e_max <= floats.max_value(fmt) < 2.0 ** (fmt.e_max + 1)
    assert floats.decode(fmt, 1 << fmt.fraction_width) == 2.0 ** fmt.e_min
    assert (fmt.code_of_six is None) == (floats.max_value(fmt) < 6)
    if fmt.code_of_six is not None:
        assert floats.decode(fmt, fmt.code_of_six) == 6
