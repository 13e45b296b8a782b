"""Tensors in memory, against the bit strings and offsets of docs/engine.md written down once more, and back."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge.config import Config
from bnforge.engine_config import EngineConfig
from bnforge.formats import E4M3, FP10, FP16, WORKING, BlockFormat, FloatFormat
from bnforge.presets import PRESETS
from bnforge_model import Encoded, Layout, Records, Shape, forward
from bnforge_model.blocks import element_dtype
from bnforge_model.memory import (
    gradient_size,
    operand_size,
    pack_gradients,
    pack_operand,
    pack_records,
    pack_stored,
    record_size,
    stored_size,
    unpack_gradients,
    unpack_operand,
    unpack_records,
    unpack_stored,
)
from bnforge_model.words import gradient_words, record_words

_SMALL = Config(lanes=4, sample_depth=16, chunk_len=4, storage=BlockFormat(2, 8))
CORES = {**{name: preset for name, (preset, _) in PRESETS.items()},
         "fp10, five lanes": Config(lanes=5, x_format=FP10, sample_depth=16, chunk_len=8, storage=WORKING),
         "four bits": _SMALL.replace(x_format=FloatFormat(2, 1), storage=BlockFormat(4, 4, 8)),
         "e4m3": _SMALL.replace(x_format=E4M3, storage=E4M3),
         "two groups": _SMALL,
         "two groups of odd width": Config(lanes=6, x_format=FP10, sample_depth=48, chunk_len=16,
                                           storage=BlockFormat(3, 11, 5)),
         "bytes only together": _SMALL.replace(lanes=3, storage=BlockFormat(3, 4, 4)),
         "groups of one": _SMALL.replace(storage=BlockFormat(1, 5, 4)),
         "unsigned": _SMALL.replace(x_format=FP16, storage=BlockFormat(2, 8, 7, signed=False)),
         "whole bytes": _SMALL.replace(storage=BlockFormat(2, 12, 8)),
         "unsigned whole bytes": _SMALL.replace(storage=BlockFormat(4, 8, signed=False))}
CASES = [pytest.param(EngineConfig(core=core), layout, id=f"{name}, {layout.value}")
         for name, core in CORES.items() for layout in Layout]


def shapes(config):
    """Last tiles of one channel to all."""
    lanes = config.core.lanes
    return [Shape(2, 3, 2, channels) for channels in sorted({1, max(1, lanes - 1), lanes, lanes + 1, 3 * lanes - 2})]


def bit_string(fields):
    """Little-endian bytes of (value, width) one after the other."""
    value = at = 0
    for code, width in fields:
        value |= (int(code) & ((1 << width) - 1)) << at
        at += width
    return value.to_bytes(-(-at // 8), "little")


def placed(config, shape, layout, position):
    """A tensor of the bytes ``position(flat position, first channel, channels)``, where docs/engine.md puts them."""
    lanes, area = config.core.lanes, shape.height * shape.width
    tiles = [(first, min(lanes, shape.channels - first)) for first in range(0, shape.channels, lanes)]
    sizes = [len(position(0, *tile)) for tile in tiles]
    memory = bytearray(shape.n_images * area * sum(sizes))
    for t, tile in enumerate(tiles):
        before, k = sum(sizes[:t]), sizes[t]
        for i in range(shape.n_images):
            for p in range(area):
                blocked = i * area * sum(sizes) + area * before + p * k
                at = blocked if layout is Layout.BLOCKED else (i * area + p) * sum(sizes) + before
                assert not any(memory[at:at + k])
                memory[at:at + k] = position(i * area + p, *tile)
    return bytes(memory)


def random_codes(config, shape, rng):
    return rng.integers(1, 1 << config.core.x_format.width, shape.dims, dtype=np.uint32)


def random_encoded(config, shape, fmt, rng):
    """Any elements; the exponents of blocks without a channel are 0."""
    core, n = config.core, shape.n_positions
    if not core.is_block:
        return Encoded(fmt, rng.integers(1 << fmt.width, size=(n, shape.channels)).astype(element_dtype(fmt)))
    low = -(1 << (fmt.element_width - 1)) if fmt.signed else 0
    elements = rng.integers(low, low + (1 << fmt.element_width), (n, shape.channels)).astype(element_dtype(fmt))
    exponents = rng.integers(1 << fmt.exponent_width, size=(n, -(-shape.channels // core.lanes) * core.n_groups))
    exponents[:, -(-shape.channels // fmt.group):] = 0
    return Encoded(fmt, elements, exponents.astype(np.uint8))


@pytest.mark.parametrize("config, layout", CASES)
def test_operand_bytes(config, layout):
    width = config.core.x_format.width
    for shape in shapes(config):
        codes = random_codes(config, shape, np.random.default_rng(shape.channels))
        flat = codes.reshape(-1, shape.channels)
        wanted = placed(config, shape, layout, lambda position, first, channels: bit_string(
            [(code, width) for code in flat[position, first:first + channels]]))
        data = pack_operand(config, codes, layout)
        assert data == wanted and len(data) == operand_size(config, shape)
        again = unpack_operand(config, bytearray(data), shape, layout)
        assert again.dtype == np.uint32
        assert_array_equal(again, codes)


@pytest.mark.parametrize("config, layout", CASES)
def test_stored_bytes(config, layout):
    core = config.core
    for shape in shapes(config):
        for fmt in (core.storage, core.gradient_storage):
            encoded = random_encoded(config, shape, fmt, np.random.default_rng(shape.channels))

            def position(at, first, channels):
                elements = encoded.elements[at, first:first + channels]
                if not core.is_block:
                    return bit_string([(element, fmt.width) for element in elements])
                fields = []
                for block in range(0, channels, fmt.group):
                    own = [*elements[block:block + fmt.group], *[0] * fmt.group][:fmt.group]
                    fields += [(element, fmt.element_width) for element in own]
                    fields.append((encoded.exponents[at, (first + block) // fmt.group], fmt.exponent_width))
                return bit_string(fields)

            data = pack_stored(config, encoded, shape, layout)
            assert data == placed(config, shape, layout, position)
            assert len(data) == stored_size(config, shape)
            again = unpack_stored(config, data, shape, layout, fmt)
            assert (again.format, again.elements.dtype) == (fmt, encoded.elements.dtype)
            assert_array_equal(again.elements, encoded.elements)
            assert_array_equal(again.exponents, encoded.exponents)
            dims = dataclasses.replace(encoded, elements=encoded.elements.reshape(shape.dims))
            assert pack_stored(config, dims, shape, layout) == data


def test_a_position_by_hand():
    """Six channels of FP10 are five bytes and three; twenty of opn16 twice 16 elements and an exponent."""
    config, shape = EngineConfig(core=PRESETS["opn4"][0]), Shape(1, 1, 2, 6)
    codes = np.array([[1, 2, 3, 4, 5, 6], [0x3FF, 0, 0, 0, 0, 0x3FF]]).reshape(shape.dims)
    first, second = [["01 08 30 00 01", "05 18 00"], ["ff 03 00 00 00", "00 fc 0f"]]
    assert pack_operand(config, codes) == bytes.fromhex("".join([first[0], second[0], first[1], second[1]]))
    assert pack_operand(config, codes, Layout.NHWC) == bytes.fromhex("".join([*first, *second]))
    config, shape = EngineConfig(core=PRESETS["opn16"][0]), Shape(1, 1, 1, 20)
    encoded = Encoded(config.core.storage, np.arange(-1, 19).reshape(1, 20), np.array([[0x7F, 0x80]]))
    assert pack_stored(config, encoded, shape) == (bytes([255, *range(15), 0x7F]) +
                                                   bytes([15, 16, 17, 18, *[0] * 12, 0x80]))


@pytest.mark.parametrize("name", CORES)
def test_records_of_all_channels_follow_each_other(name):
    config, rng = EngineConfig(core=CORES[name]), np.random.default_rng(4)
    core, channels = config.core, 2 * CORES[name].lanes + 1
    scalars = rng.standard_normal((5, channels)).astype(np.float32).astype(np.float64)
    records = Records(*scalars, *rng.integers(core.chunk_len, size=(2, channels, core.n_chunks)))
    data = pack_records(config, records)
    size = record_size(config, 1)
    assert len(data) == record_size(config, channels) == channels * size
    for channel in range(channels):
        words = record_words(core, records[channel:channel + 1])
        assert data[channel * size:(channel + 1) * size] == words.astype("<u4").tobytes()
    again = unpack_records(config, memoryview(data))
    for field in dataclasses.fields(Records):
        assert_array_equal(getattr(again, field.name), getattr(records, field.name))


def test_gradients_follow_each_other():
    dgamma, dbeta = np.arange(20.0), -np.arange(20.0)
    data = pack_gradients(dgamma, dbeta)
    assert data[:12] == bytes.fromhex("00000000 00000080 0000803f")
    assert data == gradient_words(dgamma, dbeta).astype("<u4").tobytes() and len(data) == gradient_size(20)
    assert_array_equal(unpack_gradients(data), [dgamma, dbeta])


@pytest.mark.parametrize("name", CORES)
def test_what_the_model_stores_comes_back(name):
    core = CORES[name]
    shape = Shape(2, 2, 3, core.lanes + 1)
    rng = np.random.default_rng(5)
    result = forward(core, rng.standard_normal((12, shape.channels)), np.ones(shape.channels), np.zeros(shape.channels))
    config = EngineConfig(core=core)
    again = unpack_stored(config, pack_stored(config, result.encoded, shape), shape)
    assert_array_equal(again.decode(), result.y)
    assert_array_equal(again.exponents, result.encoded.exponents)


_OPN16, _OPN4 = (EngineConfig(core=PRESETS[name][0]) for name in ("opn16", "opn4"))
_SHAPE = Shape(1, 1, 1, 3)


@pytest.mark.parametrize("call, message", [
    (lambda: Shape(1, 0, 1, 1), "height must be an integer from 1 to 2147483648, not 0"),
    (lambda: Shape(1, 1, 1, 2.0), "channels must be an integer from 1 to 2147483648, not 2.0"),
    (lambda: pack_operand(_OPN4, np.zeros((2, 3), int)),
     r"codes must be integers of shape \(N, H, W, C\), not int64 \(2, 3\)"),
    (lambda: pack_operand(_OPN4, np.zeros((1, 1, 1, 3))),
     r"codes must be integers of shape \(N, H, W, C\), not float64 \(1, 1, 1, 3\)"),
    (lambda: pack_operand(_OPN4, np.full((1, 1, 1, 3), 1024)), r"codes must be from 0 to 1023, not 1024 \.\.\. 1024"),
    (lambda: pack_operand(_OPN4, np.zeros((1, 1, 1, 3), int), "nhwc"), "layout must be a Layout, not 'nhwc'"),
    (lambda: unpack_operand(_OPN4, bytes(5), _SHAPE), "data must be of 4 bytes, not 5"),
    (lambda: unpack_stored(_OPN16, bytes(16), _SHAPE), "data must be of 17 bytes, not 16"),
    (lambda: unpack_stored(_OPN16, bytes(17), _SHAPE, fmt=FP10),
     "format must be a storage format of the configuration, not 1-5-4"),
    (lambda: pack_stored(_OPN16, Encoded(FP10, np.zeros((1, 3), int)), _SHAPE),
     "format must be a storage format of the configuration, not 1-5-4"),
    (lambda: pack_stored(_OPN4, Encoded(FP10, np.zeros((3, 1), int)), _SHAPE),
     r"encoded elements must be integers of shape \(1, 3\) or \(1, 1, 1, 3\), not int64 \(3, 1\)"),
    (lambda: pack_stored(_OPN4, Encoded(FP10, np.full((1, 3), -1)), _SHAPE),
     r"encoded elements must be from 0 to 1023, not -1 \.\.\. -1"),
    (lambda: pack_stored(_OPN16, Encoded(_OPN16.core.storage, np.full((1, 3), 128), np.zeros((1, 1), int)), _SHAPE),
     r"encoded elements must be from -128 to 127, not 128 \.\.\. 128"),
    (lambda: pack_stored(_OPN16, Encoded(_OPN16.core.storage, np.zeros((1, 3), int), np.zeros((1, 2), int)), _SHAPE),
     r"encoded exponents must be integers of shape \(1, 1\), not int64 \(1, 2\)"),
    (lambda: pack_stored(_OPN16, Encoded(_OPN16.core.storage, np.zeros((1, 3), int), np.full((1, 1), 256)), _SHAPE),
     r"encoded exponents must be from 0 to 255, not 256 \.\.\. 256"),
    (lambda: unpack_records(_OPN4, bytes(25)), "data must be of a multiple of 24 bytes, not 25"),
    (lambda: unpack_gradients(b""), "data must be of a multiple of 8 bytes, not 0")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
