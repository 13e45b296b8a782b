"""The numpy model's backward pass against the slow model, exactly, and against itself."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import slow_model
from numpy.testing import assert_array_equal
from test_model_forward import CONFIGS, INPUTS, TINY, _header_values, _near_one

from bnforge import presets
from bnforge.config import SUM_BLOCK, Activation, Directions
from bnforge.formats import BF16, WORKING, BlockFormat
from bnforge_model import (
    Encoded,
    Flags,
    Records,
    backward,
    backward_codes,
    backward_order,
    expected_range,
    forward,
    forward_codes,
    tile_slices,
)
from bnforge_model.blocks import element_dtype
from bnforge_model.constants import fp32_code
from bnforge_model.floats import decode, max_value, to_codes

IDENTITY, RELU, RELU6 = Activation
SCALARS = ("a", "b", "rinv", "mu", "r")


def _activations(config):
    return [IDENTITY, RELU, RELU6] if not config.is_block or config.storage.signed else [RELU, RELU6]


def _random_encoded(config, rng, n, channels, spread):
    """Any element bits, and exponent codes within ``spread`` of 1.0, or any at all, the reserved one among them."""
    fmt = config.storage
    groups = -(-channels // config.lanes) * config.n_groups
    if not config.is_block:
        codes = rng.integers(0, 1 << fmt.width, (n, channels))
        if spread is not None:
            codes = (codes & ~(((1 << fmt.exponent_width) - 1) << fmt.fraction_width)
                     | rng.integers(max(0, fmt.bias - spread), fmt.bias + 2, (n, channels)) << fmt.fraction_width)
        return Encoded(fmt, codes.astype(element_dtype(fmt)))
    low = -(1 << (fmt.element_width - 1)) if fmt.signed else 0
    elements = rng.integers(low, low + (1 << fmt.element_width), (n, channels))
    elements[rng.random((n, channels)) < 0.1] = low
    exponents = rng.integers(0, 1 << fmt.exponent_width, (n, groups))
    if spread is not None:
        exponents = rng.integers(max(0, fmt.bias - spread), fmt.bias + 2, (n, groups))
        exponents[rng.random((n, groups)) < 0.01] = fmt.max_exponent_code + 1
    return Encoded(fmt, elements.astype(element_dtype(fmt)), exponents.astype(np.uint8))


def _random_records(config, rng, channels, header):
    """Records as a forward pass leaves them, or of any header words at all that are not refused."""
    gamma, beta, _, _ = _header_values(rng, channels, header)
    rinv, mu, r = (_header_values(rng, channels, header)[1] for _ in range(3))
    rinv, r = np.abs(rinv), np.abs(r)
    positions = rng.integers(0, config.chunk_len, (2, channels, config.n_chunks))
    positions[1] = np.where(rng.random(positions[1].shape) < 0.2, positions[0], positions[1])
    return Records(gamma, beta, rinv, mu, r, *positions)


def _assert_equal_to_slow(config, codes, encoded, records, mask, **options):
    """Every tile, element, exponent, gradient and flag of ``backward_codes`` against the slow model."""
    n, channels = codes.shape
    options = {"c": np.float32(1), "eps": np.float32(0), "sample_len": config.sample_depth, "frozen": False} | options
    result = backward_codes(config, codes, encoded, records, mask=mask, **options)
    order = backward_order(n, options["sample_len"])
    elements = encoded.elements.astype(np.int64)[order]
    for tile, part in enumerate(tile_slices(config, channels)):
        used = part.stop - part.start
        spare = config.lanes - used

        def padded(array):
            return np.pad(array[:, part], ((0, 0), (0, spare))).tolist()

        groups = slice(tile * config.n_groups, (tile + 1) * config.n_groups)
        header_flags, scalars = _sanitised_records(records[part], mask[part])
        want = slow_model.backward_tile(
            config, padded(codes[order]), padded(elements),
            encoded.exponents[order][:, groups].tolist() if config.is_block else [],
            scalars + [(Fraction(0),) * 5] * spare,
            [*zip(records.argmax[part].tolist(), records.argmin[part].tolist(), strict=True)] + [([], [])] * spare,
            mask=[*mask[part].tolist(), *[False] * spare], activation=options["activation"],
            sample_len=options["sample_len"], frozen=options["frozen"],
            **{name: int(fp32_code(options[name])) for name in ("c", "eps")})
        assert_array_equal(result.encoded.elements[order][:, part], np.array(want["elements"])[:, :used])
        assert_array_equal(result.dx[order][:, part], np.array(want["values"], float)[:, :used])
        if config.is_block:
            assert_array_equal(result.encoded.exponents[order][:, groups], want["exponents"])
        for i, name in enumerate(("dgamma", "dbeta")):
            got = getattr(result, name)[part]
            assert_array_equal(got, [float(lane[i]) for lane in want["gradients"][:used]], err_msg=name)
            assert_array_equal(got.astype(np.float32), got)
        flags = [a or b for a, b in zip(header_flags, want["flags"], strict=True)]
        assert result.tile_flags[tile] == sum(bit * flag for bit, flag in zip(Flags, flags, strict=True))
    assert result.flags == Flags(int(np.bitwise_or.reduce([int(f) for f in result.tile_flags])))
    assert result.encoded.format == config.gradient_storage
    assert_array_equal(result.encoded.decode(), result.dx)
    for array in (result.dx, result.dgamma, result.dbeta):
        assert not np.signbit(array[array == 0]).any()
    return result


def _sanitised_records(records, mask):
    """What the header words of records are worth, and the (nan, infinity, saturated) that reading them raises."""
    flags, scalars = [False] * 3, []
    for channel, enabled in enumerate(mask):
        values = []
        for name in SCALARS:
            value, nan, infinity = slow_model.sanitise(slow_model.FP32, int(fp32_code(getattr(records, name)[channel])))
            flags[0] |= enabled and nan
            flags[1] |= enabled and infinity
            values.append(value)
        scalars.append(tuple(values))
    return flags, scalars


def _run(config, seed, inputs, header, n, encoded_kind):
    """One random call: channels beyond one tile, masks, short samples, every activation."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    channels = config.lanes + int(rng.integers(0, config.lanes + 1)) if config.lanes <= 4 else config.lanes
    mask = rng.random(channels) < 0.8
    for tile in tile_slices(config, channels):
        mask[tile.start] = True
    gamma, beta, c, eps = _header_values(rng, channels, header)
    activation = Activation(rng.choice(_activations(config)))
    sample_len = config.sample_depth if rng.random() < 0.6 else int(rng.integers(1, config.sample_depth + 1))
    frozen = bool(rng.random() < 0.15)
    codes = inputs(config.x_format, rng, (n, channels))
    if encoded_kind == "forward":
        result = forward_codes(config, _near_one(config.x_format, rng, (n, channels)), gamma, beta, c=c, eps=eps,
                               activation=activation, sample_len=sample_len, frozen=frozen, mask=mask)
        encoded, records = result.encoded, result.records
    else:
        encoded = _random_encoded(config, rng, n, channels, {"near": 3, "any": None}[encoded_kind])
        records = _random_records(config, rng, channels, header)
        if sample_len < config.chunk_len or n < config.chunk_len:
            records.argmax[...] %= min(n, sample_len)
            records.argmin[...] %= min(n, sample_len)
    return _assert_equal_to_slow(config, codes, encoded, records, mask, c=c, eps=eps, activation=activation,
                                 sample_len=sample_len, frozen=frozen)


SMALL = [name for name, config in CONFIGS.items() if config.sample_depth <= 64]


@pytest.mark.parametrize("kind", ["forward", "near", "any"])
@pytest.mark.parametrize("inputs", INPUTS, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("name", SMALL)
def test_equals_slow_model(name, inputs, kind):
    """y of a forward pass, random y near 1, and any bits at all; n up to more than a block of the sums."""
    seed = [SMALL.index(name), INPUTS.index(inputs), len(kind)]
    header = ("ordinary", "any codes")[sum(seed) % 2]
    n = int(np.random.default_rng(seed).choice([1, 2, 5, 8, 23, 24, 40, 150]))
    _run(CONFIGS[name], seed, inputs, header, n, encoded_kind=kind)


@pytest.mark.parametrize("kind", ["forward", "near"])
@pytest.mark.parametrize("inputs", INPUTS, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("name", ["opn4", "1-5-15 deep"])
def test_large_samples_equal_slow_model(name, inputs, kind):
    config = CONFIGS[name]
    _run(config, 11, inputs, "ordinary", n=config.sample_depth + 150, encoded_kind=kind)


@pytest.mark.parametrize("name", ["opn16", "opn32_mx"])
def test_wide_tiles_equal_slow_model(name):
    for seed, kind in enumerate(["forward", "near", "any"]):
        _run(CONFIGS[name], seed, _near_one, "ordinary", n=140, encoded_kind=kind)


def _signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def _scales(fmt, rng, n):
    """Magnitudes for dy and y: (rising, falling, scattered, two far apart) through the exponents of the format."""
    low, high = (fmt.e_min, fmt.e_max) if not isinstance(fmt, BlockFormat) else (2 - fmt.bias, fmt.bias - 2)
    steps = np.linspace(low, high, n)
    return [np.exp2(np.floor(v)) for v in (steps, steps[::-1], rng.uniform(low, high, n),
                                           np.where(rng.random(n) < 0.1, high, low))]


@pytest.mark.parametrize("name", ["wide", "1-8-1", "1-7-15", "fp10_1_6_3", "e5m2", "two-digit 8", "unsigned 8"])
def test_sums_over_all_exponents(name):
    """dy and y that each rise, fall, jump: the anchors of both sums move as often and as far as they can."""
    config, rng, n = CONFIGS[name], np.random.default_rng(1), 2 * SUM_BLOCK + 30
    signs = 1 if config.is_block and not config.storage.signed else _signs(rng, (n, 3))
    activation = _activations(config)[0]
    ones = np.ones(3, np.float32)
    zeros = np.zeros((3, config.n_chunks), np.int64)
    for sizes in zip(_scales(config.x_format, rng, n), _scales(config.storage, rng, n)[::-1], strict=True):
        dy, y = (size[:, None] * rng.uniform(1, 1.99, (n, 3)) for size in sizes)
        codes = to_codes(config.x_format, dy * _signs(rng, (n, 3)))
        encoded = forward(config.replace(x_format=WORKING), y * signs, ones, 0 * ones, activation=activation,
                          frozen=True).encoded
        records = Records(ones, 0 * ones, ones, 0 * ones, ones, zeros, zeros + 1)
        _assert_equal_to_slow(config, codes, encoded, records, ones > 0, activation=activation)


def test_block_sums_that_cancel():
    """Blocks of opposite sums of very different size: the total cuts what a float64 sum would round."""
    config, rng = CONFIGS["wide"], np.random.default_rng(2)
    size = np.repeat(2.0 ** np.array([100, -20, 60, 100, 3, -90]), SUM_BLOCK)[:, None]
    sign = np.repeat([1.0, -1, 1, -1, -1, 1], SUM_BLOCK)[:, None]
    dy = size * sign * np.tile(rng.uniform(1, 2, (SUM_BLOCK, 3)), (6, 1))
    ones, zeros = np.ones(3, np.float32), np.zeros((3, config.n_chunks), np.int64)
    encoded = forward(config, 0 * dy + 1, ones, 0 * ones, activation=IDENTITY, frozen=True).encoded
    records = Records(ones, ones / 3, ones, ones, ones, zeros, zeros + 1)
    _assert_equal_to_slow(config, to_codes(WORKING, dy), encoded, records, ones > 0, activation=IDENTITY)


def _sums_of(config, dy, y=None, **changes):
    """dgamma and dbeta of one frozen channel with a = 1, b = 0, C·(R + eps) = 1: Σg·y and Σg."""
    n = len(dy)
    config = config.replace(**TINY | {"lanes": 1, "storage": WORKING, "sample_depth": 1024} | changes)
    y = np.ones(n) if y is None else y
    encoded = forward(config.replace(x_format=WORKING), np.asarray(y, float)[:, None], [1.0], [0.0],
                      activation=IDENTITY, frozen=True).encoded
    one, zero = np.ones(1), np.zeros(1)
    positions = np.zeros((1, config.n_chunks), np.int64)
    result = backward(config, np.asarray(dy, float)[:, None], encoded,
                      Records(one, zero, zero, zero, zero, positions, positions), activation=IDENTITY, frozen=True)
    return result.dgamma[0], result.dbeta[0]


def test_what_is_cut_by_hand():
    """bf16, S = 1024: G = 18, so that 1.0 (E = 127, A = 15) sets the unit to 2^(120 - 127 - 7 - 18) = 2^-32.

    A tiny negative number before it is then shifted towards minus infinity, to one unit, and 1 - 2^-32 is cut to 24
    bits; after it, its magnitude is shifted, to 0. The next block starts anew.
    """
    assert _sums_of(presets.opn16, [-2.0 ** -100, 1])[1] == 1 - 2.0 ** -24
    assert _sums_of(presets.opn16, [1, -2.0 ** -100])[1] == 1
    assert _sums_of(presets.opn16, [*[0] * 127, -2.0 ** -100, 1])[1] == 1 - 2.0 ** -24
    assert _sums_of(presets.opn16, [*[0] * 127, 1, -2.0 ** -100])[1] == 1 - 2.0 ** -24


def test_products_are_anchored_by_the_exponents_of_their_factors():
    """3 · 1.5 has e(g) + e(y) = 1, E = 255, A = 31, though it is above 4: the unit is 2^(248 - 254 - 22) = 2^-28.

    4 · 1 has E = 256, A = 32, and the unit is 2^-20.
    """
    assert _sums_of(presets.opn16, [3, -3, 2.0 ** -24], [1.5, 1.5, 1])[0] == 2.0 ** -24
    assert _sums_of(presets.opn16, [4, -4, 2.0 ** -24])[0] == 0
    assert _sums_of(presets.opn16, [4, -4, 2.0 ** -20])[0] == 2.0 ** -20


def test_sums_are_those_of_integers():
    """Small integers: every sum is exact."""
    rng = np.random.default_rng(4)
    dy, y = rng.integers(-8, 9, (2, 1000))
    dgamma, dbeta = _sums_of(presets.opn16, dy, y)
    assert (dgamma, dbeta) == (np.sum(dy * y), np.sum(dy))


def test_order_of_the_stream():
    assert_array_equal(backward_order(5, 2), [2, 3, 4, 0, 1])
    for sample_len in (5, 9):
        assert_array_equal(backward_order(5, sample_len), np.arange(5))
    assert backward_order(3, 1).dtype == np.int64


def _pair(config, seed=5, n=None, channels=None, **options):
    """A forward pass of random data and a random dy."""
    rng = np.random.default_rng(seed)
    shape = n or config.sample_depth + 9, channels or config.lanes
    gamma, beta = rng.standard_normal((2, shape[1]))
    result = forward(config, rng.standard_normal(shape), gamma, beta, **options)
    return result, rng.standard_normal(shape).astype(np.float32)


def _assert_same(first, second):
    assert_array_equal(first.encoded.elements, second.encoded.elements)
    if first.encoded.exponents is not None:
        assert_array_equal(first.encoded.exponents, second.encoded.exponents)
    for name in ("dx", "dgamma", "dbeta"):
        assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    for name in ("flags", "tile_flags", "sample_len", "c", "eps"):
        assert getattr(first, name) == getattr(second, name), name


@pytest.mark.parametrize("name", CONFIGS)
def test_floats_are_codes_and_defaults_are_those_of_forward(name):
    config = CONFIGS[name]
    result, dy = _pair(config)
    c = 1 / expected_range(config.chunk_len)
    got = backward(config, dy, result.encoded, result.records)
    _assert_same(got, backward_codes(config, to_codes(config.x_format, dy), result.encoded, result.records,
                                     activation=RELU, c=c, eps=np.sqrt(1e-5) / c, sample_len=config.sample_depth))
    assert (got.sample_len, got.c, got.eps) == (result.sample_len, result.c, result.eps)


@pytest.mark.parametrize("directions", Directions)
def test_directions_change_no_bit(directions):
    result, dy = _pair(presets.opn4)
    config = presets.opn4.replace(directions=directions)
    _assert_same(backward(config, dy, result.encoded, result.records),
                 backward(presets.opn4, dy, result.encoded, result.records, np.ones(4), np.zeros(4)))


def test_row_blocks_do_not_show():
    """A tile longer and wider than what the model works on at a time is that of its parts."""
    config = presets.opn16
    result, dy = _pair(config, n=5000, channels=70)
    whole = backward(config, dy, result.encoded, result.records)
    for tile in tile_slices(config, 70):
        group = tile.start // 16
        part = Encoded(config.storage, result.encoded.elements[:, tile], result.encoded.exponents[:, group:group + 1])
        got = backward(config, dy[:, tile], part, result.records[tile])
        assert_array_equal(whole.dx[:, tile], got.dx)
        assert_array_equal(whole.encoded.elements[:, tile], got.encoded.elements)
        assert_array_equal(whole.dgamma[tile], got.dgamma)
        assert_array_equal(whole.dbeta[tile], got.dbeta)


def test_frozen_tiles_add_nothing():
    config = CONFIGS["wide"]
    result, dy = _pair(config, frozen=True, activation=IDENTITY)
    got = backward(config, dy, result.encoded, result.records, activation=IDENTITY, frozen=True)
    product = result.records.a * decode(WORKING, to_codes(WORKING, dy))
    assert_array_equal(got.dx, decode(WORKING, to_codes(WORKING, product)))
    assert (got.c, got.eps) == (1, 1)
    short = backward(config, dy, result.encoded, result.records, activation=IDENTITY, frozen=True, sample_len=0)
    assert_array_equal(short.dx, got.dx)


def test_corrections_are_in_the_sample_only():
    config = presets.opn4
    result, dy = _pair(config, n=400)
    got = backward(config, dy, result.encoded, result.records, sample_len=256)
    frozen = backward(config, dy, result.encoded, result.records, frozen=True)
    assert_array_equal(got.dx[256:], frozen.dx[256:])
    assert np.mean(got.dx[:256] != frozen.dx[:256]) > 0.5


def test_floor_of_gamma():
    """gamma' = a·C·(R + eps) = 2^-10 counts as 2^-6, with its sign; beyond |beta'| = 2^(M+1-6) the floor is larger."""
    config = presets.opn1_tiny.replace(storage=WORKING)
    zero, positions = np.zeros(1), np.zeros((1, config.n_chunks), np.int64)
    encoded = forward(config, np.ones((4, 1)), [1.0], [0.0], activation=IDENTITY, frozen=True).encoded
    for a, b, want in ((2.0 ** -10, 0, 4 * 64), (-2.0 ** -10, 0, -4 * 64), (2.0 ** -10, 2.0 ** 16, (4 - 2.0 ** 18)),
                       (2.0 ** -5, 0, 4 * 32), (0, 0, 0)):
        records = Records(zero + a, zero + b, zero, zero, zero, positions, positions)
        got = backward(config, np.ones((4, 1)), encoded, records, activation=IDENTITY, frozen=True)
        assert (got.dgamma, got.dbeta) == (want, 4)


def test_flags_name_their_tile():
    config = presets.opn4.replace(storage=BlockFormat(2, 8))
    result, dy = _pair(config, n=20, channels=12)
    mask = ~np.isin(np.arange(12), [6, 7, 11])
    dy[3, 1], dy[19, 5], dy[0, 11] = np.nan, np.inf, np.nan
    encoded = result.encoded
    encoded.exponents[7, 3] = config.storage.max_exponent_code + 1
    got = backward(config, dy, encoded, result.records, mask=mask)
    assert got.tile_flags == (Flags.NAN, Flags.INFINITY, Flags(0))
    assert not got.dx[:, ~mask].any() and not got.dgamma[~mask].any() and not got.dbeta[~mask].any()
    encoded.exponents[7, 5] = config.storage.max_exponent_code + 1
    assert backward(config, dy, encoded, result.records, mask=mask).tile_flags[2] == Flags.NAN
    records = dataclasses.replace(result.records, mu=np.where(np.arange(12) == 6, np.inf, result.records.mu))
    assert backward(config, dy[:2], Encoded(encoded.format, encoded.elements[:2], encoded.exponents[:2]), records,
                    mask=mask).tile_flags[1] == Flags(0)


def test_tiny_terms_break_ties():
    """-c half way between two values of b's format with t = ±2^-100 of it, and b + mu·a just beside b."""
    config = CONFIGS["wide"]
    ones, zeros = np.ones(3, np.float32), np.zeros((3, config.n_chunks), np.int64)
    encoded = forward(config, np.ones((2, 3)), ones, 0 * ones, activation=IDENTITY, frozen=True).encoded
    rng = np.random.default_rng(3)
    for _ in range(20):
        half = (2 * rng.integers(0, 1 << 15, 3) + 1) * 2.0 ** -16
        codes = to_codes(WORKING, np.stack([1 + 0 * half, half]))
        for sign in (1, -1):
            records = Records(2 * ones, 0 * ones, ones * 2.0 ** -100, 0 * ones, ones, zeros, zeros + 1)
            _assert_equal_to_slow(config, codes, encoded, records, ones > 0, activation=IDENTITY)
            records = Records(ones, ones, ones, sign * ones * 2.0 ** -60, ones, zeros, zeros + 1)
            _assert_equal_to_slow(config, codes, encoded, records, ones > 0, activation=IDENTITY)


def test_largest_gradients():
    """All of the largest value: sums of 2^135 and 2^262, constants far beyond fp32, and no warning of numpy."""
    config = CONFIGS["wide"]
    ones, zeros = np.ones(3, np.float32), np.zeros((3, config.n_chunks), np.int64)
    top = np.full((300, 3), max_value(WORKING))
    encoded = forward(config, top, ones, 0 * ones, activation=IDENTITY, frozen=True).encoded
    for big in (max_value(BF16), -max_value(BF16), 2.0 ** -126):
        scalars = (ones * np.float32(big), ones * np.float32(big), ones * np.float32(abs(big)))
        records = Records(*scalars, scalars[0], scalars[2], zeros, zeros + 1)
        for sign in (1, -1):
            result = _assert_equal_to_slow(config, to_codes(WORKING, top * sign), encoded, records, ones > 0,
                                           activation=IDENTITY, c=np.float32(abs(big)), eps=np.float32(abs(big)))
            assert result.flags == Flags.SATURATED


RESULT, DY = _pair(presets.opn4, n=40)


def _changed(**changes):
    return dataclasses.replace(RESULT.records, **changes)


@pytest.mark.parametrize("changes, message", [
    ({"config": None}, "config must be a Config, not None"),
    ({"dy": DY[0]}, r"dy must be of shape \(n, channels\) with n, channels >= 1, not \(4,\)"),
    ({"dy": DY.astype(complex)}, "dy must be an array of real numbers of at most 64 bits, not complex128"),
    ({"encoded": None}, "encoded must be an Encoded, not None"),
    ({"config": presets.opn4.replace(storage=BF16)}, "encoded must be in the storage format 1-8-7, not 1-5-4"),
    ({"dy": DY[:9]}, r"encoded elements must be integers of shape \(9, 4\), not uint16 \(40, 4\)"),
    ({"encoded": Encoded(presets.opn4.storage, RESULT.encoded.elements | 1 << 10)},
     "encoded elements must be from 0 to 1023, not 10.. ... "),
    ({"records": None}, "records must be Records, not None"),
    ({"records": RESULT.records[:3]}, r"records.a must be of shape \(4,\), not \(3,\)"),
    ({"records": _changed(mu=None)}, "records.mu must be an array of real numbers, not object"),
    ({"records": _changed(argmin=RESULT.records.argmin[:, :1])},
     r"records.argmin must be integers of shape \(4, 2\), not int64 \(4, 1\)"),
    ({"records": _changed(argmax=RESULT.records.argmax + 128)}, "records.argmax must be from 0 to 127, not"),
    ({"records": _changed(r=-RESULT.records.r)}, "records.r must not be negative, not -"),
    ({"records": _changed(rinv=-RESULT.records.rinv), "frozen": True}, "records.rinv must not be negative, not -"),
    ({"gamma": np.ones(3)}, r"gamma must be of shape \(4,\), not \(3,\)"),
    ({"beta": 1j * np.ones(4)}, "beta must be an array of real numbers, not complex128"),
    ({"activation": 3}, "activation must be an Activation, not 3"),
    ({"sample_len": 257}, "sample_len must be an integer from 1 to 256, not 257"),
    ({"sample_len": 0}, "sample_len must be an integer from 1 to 256, not 0"),
    ({"frozen": True, "sample_len": None, "c": 0.0}, "c must be a positive fp32 number, not 0.0"),
    ({"frozen": True, "sample_len": -1}, "sample_len must be an integer from 0 to 65535, not -1"),
    ({"eps": -1.0}, "eps must not be negative, not -1.0"),
    ({"mask": np.zeros(4, bool)}, "mask must enable a channel of every tile, not none of 0 ... 3")])
def test_backward_refuses(changes, message):
    arguments = {"config": presets.opn4, "dy": DY, "encoded": RESULT.encoded, "records": RESULT.records} | changes
    with pytest.raises(ValueError, match=message):
        backward(**arguments)


@pytest.mark.parametrize("changes, message", [
    ({"elements": 128}, "encoded elements must be from -128 to 127, not 128 ... 128"),
    ({"elements": 0.5}, r"encoded elements must be integers of shape \(2, 1\), not float64 \(2, 1\)"),
    ({"exponents": -1}, "encoded exponents must be from 0 to 255, not -1 ... -1"),
    ({"exponents": None}, r"encoded exponents must be integers of shape \(2, 1\), not object \(\)")])
def test_stored_blocks_that_are_refused(changes, message):
    config = presets.opn1_tiny
    result, dy = _pair(config, n=2)
    fields = {name: value if value is None else np.full((2, 1), value)
              for name, value in ({"elements": 0, "exponents": 0} | changes).items()}
    with pytest.raises(ValueError, match=message):
        backward(config, dy, Encoded(config.storage, **fields), result.records)


@pytest.mark.parametrize("codes, message", [
    (np.zeros((40, 4)), "dy_codes must be an array of integers, not float64"),
    (np.full((40, 4), 1 << 16), "dy_codes must be codes of 10 bits, not 65536 ... 65536")])
def test_backward_codes_refuses(codes, message):
    with pytest.raises(ValueError, match=message):
        backward_codes(presets.opn4, codes, RESULT.encoded, RESULT.records)


def test_identity_with_unsigned_blocks_is_refused():
    config = CONFIGS["unsigned 8"]
    result, dy = _pair(config)
    with pytest.raises(ValueError, match="activation must be RELU or RELU6 with unsigned blocks, not IDENTITY"):
        backward(config, dy, result.encoded, result.records, activation=IDENTITY)
