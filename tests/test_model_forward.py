"""The numpy model against the slow model, exactly."""

import numpy as np
import pytest
import slow_model
from numpy.testing import assert_array_equal

from bnforge import presets
from bnforge.config import Activation, Config, Multiplier
from bnforge.formats import BF16, E4M3, E5M2, FP10_1_6_3, FP16, WORKING, BlockFormat, FloatFormat
from bnforge_model import Flags, expected_range, forward, forward_codes, tile_slices
from bnforge_model.floats import round_to, to_codes, truncate

IDENTITY, RELU, RELU6 = Activation
TINY = dict(lanes=3, sample_depth=24, chunk_len=8, storage=BlockFormat(3, 8))
CONFIGS = {
    **{name: preset for name, (preset, _) in presets.PRESETS.items()},
    "wide": Config(**TINY | {"x_format": WORKING, "a_fraction": 15, "b_fraction": 15, "storage": WORKING}),
    "narrow": Config(**TINY | {"x_format": E4M3, "a_fraction": 1, "b_fraction": 1, "storage": E4M3}),
    "e5m2": Config(**TINY | {"x_format": E5M2, "storage": E5M2}),
    "fp16": Config(**TINY | {"x_format": FP16, "storage": FP16, "a_fraction": 10, "b_fraction": 10}),
    "fp10_1_6_3": Config(**TINY | {"x_format": FP10_1_6_3, "storage": FP10_1_6_3}),
    "1-7-15": Config(**TINY | {"x_format": FloatFormat(7, 15), "storage": BF16, "a_fraction": 15}),
    "1-5-15": Config(**TINY | {"x_format": FloatFormat(5, 15), "storage": BlockFormat(1, 12), "b_fraction": 15}),
    "1-5-15 deep": Config(lanes=1, sample_depth=1024, chunk_len=256, x_format=FloatFormat(5, 15), storage=WORKING,
                          a_fraction=15, b_fraction=15),
    "1-8-1": Config(**TINY | {"x_format": FloatFormat(8, 1), "storage": FloatFormat(3, 1)}),
    "two-digit": Config(**TINY | {"multiplier": Multiplier.TWO_DIGIT, "a_fraction": 4}),
    "two-digit 8": Config(**TINY | {"multiplier": Multiplier.TWO_DIGIT, "a_fraction": 8, "x_format": WORKING}),
    "unsigned 8": Config(**TINY | {"storage": BlockFormat(3, 8, signed=False)}),
    "unsigned 4": Config(**TINY | {"storage": BlockFormat(1, 4, 4, signed=False)}),
    "exponent 4": Config(**TINY | {"storage": BlockFormat(3, 4, 4)}),
    "exponent 5": Config(lanes=4, sample_depth=32, chunk_len=8, storage=BlockFormat(2, 12, 5)),
}
"""Every preset, and formats and widths from end to end of their ranges."""


def _random_codes(fmt, rng, shape):
    """Every code alike: subnormals, infinities, NaN, both zeros."""
    return rng.integers(0, 1 << fmt.width, shape)


def _extreme_codes(fmt, rng, shape):
    """Largest, smallest, zeros and special codes of both signs."""
    codes = np.array([0, 1, (1 << fmt.fraction_width) - 1, 1 << fmt.fraction_width, fmt.max_code - 1, fmt.max_code,
                      fmt.max_code + 1, (1 << (fmt.width - 1)) - 1])
    return rng.choice(codes, shape) | rng.integers(0, 2, shape) << (fmt.width - 1)


def _near_one(fmt, rng, shape):
    """Exponents around that of 1: ordinary activations, with ties between equal values."""
    exponent = rng.integers(max(1, fmt.bias - 3), min(fmt.bias + 3, (1 << fmt.exponent_width) - 2) + 1, shape)
    fraction = rng.integers(0, 1 << fmt.fraction_width, shape)
    return rng.integers(0, 2, shape) << (fmt.width - 1) | exponent << fmt.fraction_width | fraction


def _constant(fmt, rng, shape):
    """One value per channel: R = 0."""
    return np.broadcast_to(_near_one(fmt, rng, shape[1:]), shape)


def _one_outlier(fmt, rng, shape):
    """Small values with a large one anywhere."""
    codes = rng.integers(0, 3 << fmt.fraction_width, shape)
    codes[rng.integers(0, shape[0]), :] = fmt.max_code - rng.integers(0, 1 << fmt.fraction_width, shape[1])
    return codes


def _rising(fmt, rng, shape):
    """Magnitudes that rise through the whole range: the anchor moves as often as it can."""
    codes = np.linspace(0, fmt.max_code, shape[0]).astype(np.int64)[:, None] + np.zeros(shape, np.int64)
    return codes | rng.integers(0, 2, shape) << (fmt.width - 1)


def _two_scales(fmt, rng, shape):
    """Positive: tiny ones among ordinary ones, so that ranges and sums lie just beside short numbers."""
    codes = _near_one(fmt, rng, shape) & ((1 << (fmt.width - 1)) - 1)
    return np.where(rng.random(shape) < 0.3, rng.integers(fmt.min_code, fmt.min_code + 3, shape), codes)


def _cancelling(fmt, rng, shape):
    """Large values whose sum is small: each is taken back later."""
    codes = rng.integers(0, fmt.max_code + 1, shape)
    half = shape[0] // 2
    codes[half:2 * half] = rng.permutation(codes[:half]) | 1 << (fmt.width - 1)
    return codes


INPUTS = [_near_one, _random_codes, _extreme_codes, _constant, _one_outlier, _rising, _two_scales, _cancelling]


def _header_values(rng, channels, kind):
    """gamma, beta, c, eps as float32, ordinary or any codes at all."""
    if kind == "ordinary":
        gamma = rng.uniform(-2, 2, channels) * (rng.random(channels) > 0.1)
        return (gamma.astype(np.float32), rng.normal(0, 2, channels).astype(np.float32),
                np.float32(rng.uniform(0.1, 1)), np.float32(rng.choice([0, 1e-3, 1e-2])))
    gamma, beta = rng.integers(0, 1 << 32, (2, channels), dtype=np.uint32).view(np.float32)
    specials = np.array([0, 1, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x80000000, 0xFF800000, 0x00800000], np.uint32)
    gamma, beta = (np.where(rng.random(channels) < 0.3, rng.choice(specials, channels).view(np.float32), v)
                   for v in (gamma, beta))
    c = rng.choice(np.array([0x3E455548, 0x7F7FFFFF, 0x7F800000, 0x00800000], np.uint32)).view(np.float32)
    eps = rng.choice(np.array([0, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x00800000, 0x80000000], np.uint32))
    return gamma, beta, c, eps.view(np.float32)


def _assert_equal_to_slow(config, codes, gamma, beta, mask, **options):
    """Every tile, element, exponent, record and flag of ``forward_codes`` against the slow model."""
    result = forward_codes(config, codes, gamma, beta, mask=mask, **options)
    for tile, channels in enumerate(tile_slices(config, codes.shape[1])):
        used = channels.stop - channels.start
        spare = config.lanes - used
        padded = np.pad(codes[:, channels], ((0, 0), (0, spare)))
        words = [np.pad(v[channels], (0, spare)).view(np.uint32).tolist() for v in (gamma, beta)]
        c, eps = (int(np.float32(options[name]).view(np.uint32)) for name in ("c", "eps"))
        want = slow_model.forward_tile(
            config, padded.tolist(), *words, activation=options["activation"], sample_len=options["sample_len"],
            c=c, eps=eps, frozen=options["frozen"], mask=[*mask[channels].tolist(), *[False] * spare])
        assert_array_equal(result.encoded.elements[:, channels], np.array(want["elements"])[:, :used])
        assert_array_equal(result.y[:, channels], np.array(want["values"], float)[:, :used])
        assert not np.signbit(result.y[result.y == 0]).any()
        if config.is_block:
            groups = slice(tile * config.n_groups, (tile + 1) * config.n_groups)
            assert_array_equal(result.encoded.exponents[:, groups], want["exponents"])
        got = result.records[channels]
        for i, name in enumerate(("a", "b", "rinv", "mu", "r")):
            assert_array_equal(getattr(got, name), [float(lane[i]) for lane in want["scalars"][:used]], err_msg=name)
        assert_array_equal(got.argmax, [lane[0] for lane in want["positions"][:used]])
        assert_array_equal(got.argmin, [lane[1] for lane in want["positions"][:used]])
        nan, infinity, saturated = want["flags"]
        assert result.tile_flags[tile] == nan * Flags.NAN | infinity * Flags.INFINITY | saturated * Flags.SATURATED
    assert result.flags == Flags(int(np.bitwise_or.reduce([int(f) for f in result.tile_flags])))
    assert_array_equal(result.encoded.decode(), result.y)


def _run(config, seed, inputs, header, n):
    """One random call: channels beyond one tile, masks, short samples, every activation."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    channels = config.lanes + int(rng.integers(0, config.lanes + 1)) if config.lanes <= 4 else config.lanes
    mask = rng.random(channels) < 0.8
    for tile in tile_slices(config, channels):
        mask[tile.start] = True
    gamma, beta, c, eps = _header_values(rng, channels, header)
    signed = not config.is_block or config.storage.signed
    activation = Activation(rng.choice([IDENTITY, RELU, RELU6] if signed else [RELU, RELU6]))
    sample_len = config.sample_depth if rng.random() < 0.6 else int(rng.integers(1, config.sample_depth + 1))
    _assert_equal_to_slow(config, inputs(config.x_format, rng, (n, channels)), gamma, beta, mask, c=c, eps=eps,
                          activation=activation, sample_len=sample_len, frozen=bool(rng.random() < 0.15))


@pytest.mark.parametrize("header", ["ordinary", "any codes"])
@pytest.mark.parametrize("inputs", INPUTS, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.sample_depth <= 64])
def test_equals_slow_model(name, inputs, header):
    config = CONFIGS[name]
    for seed in range(4):
        rng = np.random.default_rng([seed, 7])
        _run(config, seed, inputs, header, n=int(rng.choice([1, 2, 5, 8, 23, 24, 40])))


@pytest.mark.parametrize("inputs", INPUTS, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.sample_depth > 64])
def test_large_samples_equal_slow_model(name, inputs):
    config = CONFIGS[name]
    _run(config, 11, inputs, "ordinary", n=min(config.sample_depth + 3, 4 * config.chunk_len + 1))


WIDE = CONFIGS["wide"]


def test_divisor_is_truncated():
    """1/D next to a rounding boundary: there the truncation of R + eps to 32 bits shows."""
    rng = np.random.default_rng(9)
    for _ in range(200):
        target = 2.0 ** 16 / (2 * rng.integers(1 << 15, 1 << 16) + 1)
        r = truncate([target], 16)[0]
        codes = to_codes(WORKING, [0.0, r, r])[:, None] * np.ones(3, np.uint32)
        eps = np.float32(round_to(WORKING, np.array([target - r]))[0][0])
        ones = np.ones(3, np.float32)
        _assert_equal_to_slow(WIDE, codes, ones, ones, ones > 0, activation=RELU, sample_len=24, c=1, eps=eps,
                              frozen=False)


@pytest.mark.parametrize("name", ["opn16", "opn1_tiny", "wide", "1-8-1"])
@pytest.mark.parametrize("activation", [RELU, RELU6])
def test_flushed_y_is_not_active(name, activation):
    """y = x/2 below 2^-126 is 0, alone and beside larger values: the active-code rule does not raise it."""
    config, rng = CONFIGS[name], np.random.default_rng(12)
    fmt, shape = config.x_format, (40, config.lanes)
    codes = rng.integers(0, 4 << fmt.fraction_width, shape)
    codes[20:, 0] = rng.integers(fmt.bias - 100, fmt.bias, 20) << fmt.fraction_width
    half, zero = np.full(config.lanes, 0.5, np.float32), np.zeros(config.lanes, np.float32)
    for part in (codes[:20], codes[20:]):
        _assert_equal_to_slow(config, part, half, zero, zero == 0, activation=activation, sample_len=1, c=1, eps=0,
                              frozen=True)


def test_exact_sum_of_more_than_53_bits():
    """511 largest values, the smallest one, and 511 largest negative ones: the smallest is what remains."""
    config = CONFIGS["1-5-15 deep"]
    fmt = config.x_format
    codes = np.array([*[fmt.max_code] * 511, 1, *[fmt.max_code | 1 << 20] * 511, 0])[:, None]
    one = np.ones(1, np.float32)
    _assert_equal_to_slow(config, codes, one, one, one > 0, activation=RELU, sample_len=1024, c=1, eps=0, frozen=False)
    assert forward_codes(config, codes, one, one).records.mu == 2.0 ** (fmt.e_min - 15 - 10)


@pytest.mark.parametrize("beta", [-2.0 ** -100, 0, 2.0 ** -100])
def test_tiny_beta_breaks_a_tie_of_b(beta):
    """mu·a half way between two values of b: R = 4, a = 3/4, mu any odd multiple of 2^-15 in [1, 4/3)."""
    rng = np.random.default_rng(10)
    for _ in range(20):
        mu = 1 + (2 * rng.integers(0, 5461, 3) + 1) * 2.0 ** -15
        codes = to_codes(WORKING, np.stack([0 * mu, 0 * mu + 4, 4 * mu - 4, 0 * mu]))
        _assert_equal_to_slow(WIDE, codes, np.full(3, 3, np.float32), np.full(3, beta, np.float32), mu > 0,
                              activation=IDENTITY, sample_len=24, c=1, eps=0.0, frozen=False)


@pytest.mark.parametrize("b", [-2.0 ** -100, 0, 2.0 ** -100])
def test_tiny_b_breaks_ties_of_y(b):
    """a·x half way between two values of the working format: a = 3/2, x any odd multiple of 2^-15 in [1, 4/3)."""
    x = 1 + (2 * np.random.default_rng(11).integers(0, 5461, (100, 3)) + 1) * 2.0 ** -15
    _assert_equal_to_slow(WIDE, to_codes(WORKING, x), np.full(3, 1.5, np.float32), np.full(3, b, np.float32),
                          np.ones(3, bool), activation=IDENTITY, sample_len=24, c=1, eps=0.0, frozen=True)


def _call(**changes):
    arguments = {"config": presets.opn4, "x": np.zeros((10, 4)), "gamma": np.ones(4), "beta": np.ones(4)} | changes
    return forward(**arguments)


@pytest.mark.parametrize("changes, message", [
    ({"config": None}, "config must be a Config, not None"),
    ({"x": np.zeros(4)}, r"x must be of shape \(n, channels\) with n, channels >= 1, not \(4,\)"),
    ({"x": np.zeros((0, 4))}, r"x must be of shape \(n, channels\) with n, channels >= 1, not \(0, 4\)"),
    ({"x": np.zeros((10, 4), complex)}, "x must be an array of real numbers of at most 64 bits, not complex128"),
    ({"c": "1"}, "c must be a real number, not '1'"),
    ({"eps": np.zeros(4)}, "eps must be a real number, not array"),
    ({"gamma": np.ones(3)}, r"gamma must be of shape \(4,\), not \(3,\)"),
    ({"beta": np.ones((1, 4))}, r"beta must be of shape \(4,\), not \(1, 4\)"),
    ({"beta": np.ones(4) * 1j}, "beta must be an array of real numbers, not complex128"),
    ({"activation": 3}, "activation must be an Activation, not 3"),
    ({"activation": "relu"}, "activation must be an Activation, not 'relu'"),
    ({"sample_len": 0}, "sample_len must be an integer from 1 to 256, not 0"),
    ({"sample_len": 257}, "sample_len must be an integer from 1 to 256, not 257"),
    ({"sample_len": 2.0}, "sample_len must be an integer from 1 to 256, not 2.0"),
    ({"c": 0}, "c must be a positive fp32 number, not 0"),
    ({"c": np.nan}, "c must be a positive fp32 number, not nan"),
    ({"c": 1e-40}, "c must be a positive fp32 number, not 1e-40"),
    ({"eps": -1.0}, "eps must not be negative, not -1.0"),
    ({"frozen": 2}, "frozen must be true or false, not 2"),
    ({"mask": [1, 1, 1, 1]}, r"mask must be an array of bool of shape \(4,\), not int64 \(4,\)"),
    ({"mask": np.zeros(4, bool)}, "mask must enable a channel of every tile, not none of 0 ... 3"),
    ({"config": presets.opn4.replace(storage=BlockFormat(4, 8, signed=False)), "activation": IDENTITY},
     "activation must be RELU or RELU6 with unsigned blocks, not IDENTITY")])
def test_forward_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        _call(**changes)


@pytest.mark.parametrize("codes, message", [
    (np.zeros((10, 4)), "x_codes must be an array of integers, not float64"),
    (np.zeros((10, 0), int), r"x_codes must be of shape \(n, channels\) with n, channels >= 1, not \(10, 0\)"),
    (np.full((10, 4), 1024), "x_codes must be codes of 10 bits, not 1024 ... 1024"),
    (np.full((10, 4), -1), "x_codes must be codes of 10 bits, not -1 ... -1")])
def test_forward_codes_refuses(codes, message):
    with pytest.raises(ValueError, match=message):
        forward_codes(presets.opn4, codes, np.ones(4), np.ones(4))


def _assert_same(got, want):
    assert_array_equal(got.y, want.y)
    assert_array_equal(got.encoded.elements, want.encoded.elements)
    for field in ("a", "b", "rinv", "mu", "r", "argmax", "argmin"):
        assert_array_equal(getattr(got.records, field), getattr(want.records, field))
    assert got.tile_flags == want.tile_flags


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_real_input_is_rounded_to_codes(name, dtype):
    """Real numbers give what their codes give; special values and values out of range among them."""
    config, rng = CONFIGS[name], np.random.default_rng(5)
    channels = config.lanes + 1
    x = rng.standard_normal((300, channels)) * np.exp(rng.normal(0, 8, (300, channels)))
    x[:, ::2] = rng.standard_normal(x[:, ::2].shape)
    x[:, -1] *= np.finfo(dtype).smallest_normal
    x[rng.random(x.shape) < 0.002] = np.nan
    x[rng.random(x.shape) < 0.002] = -np.inf
    x[rng.random(x.shape) < 0.002] = 1e300
    x[rng.random(x.shape) < 0.002] = -1e-300
    x = x.astype(dtype)
    gamma, beta = rng.standard_normal((2, channels))
    _assert_same(forward(config, x, gamma, beta), forward_codes(config, to_codes(config.x_format, x), gamma, beta))


@pytest.mark.parametrize("name", CONFIGS)
def test_defaults(name):
    config = CONFIGS[name]
    for n in (1, 3, config.sample_depth + 9):
        x = np.random.default_rng(n).standard_normal((n, config.lanes))
        gamma, beta = np.ones(config.lanes), np.zeros(config.lanes)
        c = 1 / expected_range(max(2, min(config.chunk_len, n)))
        result = forward(config, x, gamma, beta)
        _assert_same(result, forward(config, x, gamma, beta, activation=RELU, c=c, eps=np.sqrt(1e-5) / c,
                                     sample_len=min(n, config.sample_depth)))
        assert (result.sample_len, result.c) == (min(n, config.sample_depth), c)


def test_row_blocks_do_not_show():
    """A tile longer and wider than the blocks that the model works on is that of its parts."""
    config, rng = presets.opn16, np.random.default_rng(6)
    x = rng.standard_normal((5000, 70)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, 70))
    whole = forward(config, x, gamma, beta)
    for tile in tile_slices(config, 70):
        part = forward(config, x[:, tile], gamma[tile], beta[tile])
        assert_array_equal(whole.y[:, tile], part.y)
        assert_array_equal(whole.encoded.elements[:, tile], part.encoded.elements)
        assert_array_equal(whole.records[tile].argmin, part.records.argmin)


def test_flags_name_their_tile():
    config = presets.opn4
    x = np.random.default_rng(8).standard_normal((20, 12))
    x[3, 1], x[19, 6], x[0, 11] = np.nan, np.inf, np.nan
    mask = np.arange(12) != 11
    result = forward(config, x, np.ones(12), np.zeros(12), mask=mask)
    assert result.tile_flags == (Flags.NAN, Flags.INFINITY, Flags(0))
    assert result.flags == Flags.NAN | Flags.INFINITY
    assert not result.y[:, 11].any() and result.records.a[11] == 0
    result = forward(config, x[:, 8:11], np.array([1, 1, 1e30]), np.array([np.inf, 0, np.nan]))
    assert result.flags == Flags.NAN | Flags.INFINITY | Flags.SATURATED
