"""Words and bytes of the ports against docs/interfaces.md, and back."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge import presets
from bnforge.config import Activation, Config
from bnforge.formats import FP10, WORKING, BlockFormat
from bnforge_model import backward, forward
from bnforge_model.words import (
    backward_header_words,
    gradient_words,
    header_words,
    pack_beats,
    pack_x,
    pack_y,
    parse_gradients,
    parse_header,
    parse_records,
    record_words,
    unpack_beats,
    unpack_y,
)

CONFIGS = {**{name: preset for name, (preset, _) in presets.PRESETS.items()},
           "long chunks": Config(lanes=3, sample_depth=1536, chunk_len=512, storage=WORKING),
           "odd widths": Config(lanes=6, sample_depth=48, chunk_len=16, x_format=FP10,
                                storage=BlockFormat(2, 11, 5)),
           "unsigned": Config(lanes=3, sample_depth=24, chunk_len=8, storage=BlockFormat(3, 8, signed=False))}


def test_header_by_hand():
    config = presets.opn4
    words = header_words(config, [1.0, -2.0, 0.5], [0.0, 3.0, np.nan], activation=Activation.RELU6, sample_len=200,
                         c=0.25, eps=1.5, mask=np.array([True, False, True]))
    nan = int(np.float32(np.nan).view(np.uint32))
    assert words.dtype == np.uint32
    assert_array_equal(words, [200 << 16 | 2 << 1, 0x3E800000, 0x3FC00000, 0b0101, 0x3F800000, 0, 0xC0000000,
                               0x40400000, 0x3F000000, nan, 0, 0])


def test_frozen_header_needs_no_statistics():
    words = header_words(presets.opn1_tiny, [1.0], [2.0], activation=Activation.IDENTITY, frozen=True)
    assert_array_equal(words, [1 << 3, 0, 0, 1, 0x3F800000, 0x40000000])


@pytest.mark.parametrize("name", CONFIGS)
def test_header_round_trip(name):
    config, rng = CONFIGS[name], np.random.default_rng(1)
    gamma, beta = rng.standard_normal((2, config.lanes)).astype(np.float32)
    mask = rng.random(config.lanes) < 0.7
    mask[-1] = True
    header = parse_header(config, header_words(config, gamma, beta, sample_len=7, c=0.2, eps=1e-3, mask=mask))
    assert (header.backward, header.activation, header.frozen, header.sample_len) == (False, 1, False, 7)
    assert (header.c, header.eps) == (np.float32(0.2), np.float32(1e-3))
    for got, want in ((header.mask, mask), (header.gamma, gamma), (header.beta, beta)):
        assert_array_equal(got, want)


def _result(config, channels, mask=None):
    rng = np.random.default_rng(2)
    n = config.sample_depth + 5
    return forward(config, rng.standard_normal((n, channels)), rng.standard_normal(channels),
                   rng.standard_normal(channels), mask=mask)


def test_records_by_hand():
    """Two chunks a word up to L = 256, lower bits first; one above."""
    config = presets.opn4
    records = _result(config, 4).records
    words = record_words(config, records).reshape(4, 6)
    assert_array_equal(words[:, 0].view(np.float32), records.a)
    assert_array_equal(words[:, 4].view(np.float32), records.r)
    (max0, max1), (min0, min1) = records.argmax[2], records.argmin[2]
    assert words[2, 5] == max0 | min0 << 8 | max1 << 16 | min1 << 24
    config = CONFIGS["long chunks"]
    records = _result(config, 3).records
    words = record_words(config, records).reshape(3, 8)
    assert_array_equal(words[:, 5:], records.argmax | records.argmin << 16)


@pytest.mark.parametrize("name", CONFIGS)
def test_records_round_trip(name):
    config = CONFIGS[name]
    mask = np.arange(config.lanes) % 3 != 1
    records = _result(config, config.lanes, mask).records
    words = record_words(config, records, mask)
    assert words.shape == (mask.sum() * config.record_words,)
    again = parse_records(config, words, mask)
    for field in ("a", "b", "rinv", "mu", "r", "argmax", "argmin"):
        assert_array_equal(getattr(again, field), getattr(records, field))


@pytest.mark.parametrize("frozen", [False, True])
def test_backward_header_by_hand(frozen):
    """The fixed words, then the records of the enabled channels as the core gave them."""
    config, mask = presets.opn4, np.array([True, False, True])
    records = _result(config, 3, mask).records
    words = backward_header_words(config, records, activation=Activation.RELU6, c=0.25, eps=1.5, frozen=frozen,
                                  sample_len=None if frozen else 200, mask=mask)
    assert words.dtype == np.uint32 and words.shape == (config.backward_header_words(2),)
    first = 1 << 3 | 2 << 1 | 1 if frozen else 200 << 16 | 2 << 1 | 1
    assert_array_equal(words[:4], [first, 0x3E800000, 0x3FC00000, 0b0101])
    assert_array_equal(words[4:], record_words(config, records, mask))


def test_gradients_by_hand():
    words = gradient_words(np.array([1.0, 7.0, -2.0]), np.array([0.5, 7.0, 0.0]), np.array([True, False, True]))
    assert_array_equal(words, [0x3F800000, 0x3F000000, 0xC0000000, 0])
    assert_array_equal(parse_gradients(words, np.array([True, False, True])), [[1, 0, -2], [0.5, 0, 0]])


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_and_dx_round_trip(name):
    config, rng = CONFIGS[name], np.random.default_rng(3)
    forward_result = _result(config, config.lanes)
    result = backward(config, rng.standard_normal(forward_result.y.shape), forward_result.encoded,
                      forward_result.records)
    words = gradient_words(result.dgamma, result.dbeta)
    assert words.shape == (2 * config.lanes,)
    assert_array_equal(parse_gradients(words), [result.dgamma, result.dbeta])
    again = unpack_y(config, *pack_y(config, result.encoded), config.gradient_storage)
    assert again.format == config.gradient_storage
    assert_array_equal(again.decode(), result.dx)


@pytest.mark.parametrize("width", [4, 7, 8, 10, 12, 16, 21, 24, 32])
def test_beats_hold_lane_i_at_i_times_width(width):
    codes = np.random.default_rng(width).integers(0, 1 << width, (9, 5))
    data = pack_beats(codes, width)
    assert data.shape == (9, -(-5 * width // 8))
    for beat, row in zip(data, codes, strict=True):
        assert int.from_bytes(beat.tobytes(), "little") == sum(int(c) << i * width for i, c in enumerate(row))
    assert_array_equal(unpack_beats(data, 5, width), codes)


@pytest.mark.parametrize("width", [4, 8, 11])
def test_signed_beats_are_twos_complement(width):
    codes = np.arange(-(1 << (width - 1)), 1 << (width - 1)).reshape(-1, 4)
    assert_array_equal(unpack_beats(pack_beats(codes, width), 4, width, signed=True), codes)
    assert_array_equal(unpack_beats(pack_beats(codes, width), 4, width), codes % (1 << width))


@pytest.mark.parametrize("name", CONFIGS)
def test_stored_beats_round_trip(name):
    config = CONFIGS[name]
    encoded = _result(config, config.lanes).encoded
    tdata, tuser = pack_y(config, encoded)
    again = unpack_y(config, tdata, tuser)
    assert_array_equal(again.elements, encoded.elements)
    assert_array_equal(again.decode(), encoded.decode())
    assert (tuser is None) == (not config.is_block)


def test_missing_lanes_are_zero():
    config = presets.opn4
    assert_array_equal(unpack_beats(pack_x(config, np.array([[1, 2, 3]])), 4, 10), [[1, 2, 3, 0]])
    tdata, _ = pack_y(config, _result(config, 3).encoded)
    assert not unpack_beats(tdata, 4, 10)[:, 3].any()


@pytest.mark.parametrize("call, message", [
    (lambda c: header_words(c, np.ones(5), np.ones(5), sample_len=1, c=1, eps=0),
     r"gamma and beta must be of one shape \(1 ... 4,\), not \(5,\) and \(5,\)"),
    (lambda c: header_words(c, np.ones(4), np.ones(4), c=1, eps=0),
     "sample_len, c and eps must be given unless frozen, not None, 1, 0"),
    (lambda c: parse_header(c, np.zeros(5)), r"words must be of shape \(12,\), not \(5,\)"),
    (lambda c: parse_records(c, np.zeros(5)), r"words must be of shape \(24,\), not \(5,\)"),
    (lambda c: record_words(c, dataclasses.replace(_result(c, 4).records, argmax=np.full((4, 2), 128))),
     "records.argmax must be from 0 to 127, not 128 ... 128"),
    (lambda c: backward_header_words(c, _result(c, 4).records, c=1, eps=0),
     r"sample_len \(unless frozen\), c and eps must be given, not None, 1, 0"),
    (lambda c: backward_header_words(c, _result(c, 4).records, frozen=True, c=1),
     r"sample_len \(unless frozen\), c and eps must be given, not None, 1, None"),
    (lambda c: backward_header_words(c, _result(c, 4).records, frozen=True, c=1, eps=-1),
     "eps must not be negative, not -1"),
    (lambda c: gradient_words(np.ones(3), np.ones(3), np.ones(4, bool)),
     r"mask must be an array of bool of shape \(3,\), not bool \(4,\)"),
    (lambda c: parse_gradients(np.zeros(5)), r"words must be of shape \(4,\), not \(5,\)"),
    (lambda c: unpack_y(c, np.zeros((1, 5)), fmt=WORKING),
     "fmt must be a storage format of the configuration, not 1-8-15"),
    (lambda c: record_words(presets.opn1_tiny, _result(c, 4).records), "records must be of 1 to 1 channels, not 4"),
    (lambda c: unpack_beats(np.zeros((2, 4)), 4, 10), r"data must be of shape \(n, 5\), not \(2, 4\)")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(presets.opn4)


def test_record_bits_that_the_core_does_not_read_are_not_read():
    words = np.array([0, 0, 0, 0, 0, 0xFF0C02F1, 0x12345678], np.uint32)  # opn1_tiny: L = 4, two bits a position
    records = parse_records(presets.opn1_tiny, words)
    assert records.argmax.tolist() == [[1, 0, 0, 0]] and records.argmin.tolist() == [[2, 3, 2, 2]]
