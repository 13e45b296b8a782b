"""Whole tensors: an engine in software that follows the descriptors tile by tile, against the model of all at once."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bnforge.config import HEADER_FIXED_WORDS, Activation, Config
from bnforge.engine_config import JOB_WORDS, Channel, EngineConfig
from bnforge.formats import E5M2, FP10, BlockFormat
from bnforge_model import Encoded, Layout, Shape, backward_codes, backward_order, forward_codes
from bnforge_model.floats import to_codes
from bnforge_model.memory import (
    pack_gradients,
    pack_operand,
    pack_records,
    pack_stored,
    unpack_operand,
    unpack_stored,
)
from bnforge_model.words import gradient_words, parse_header, parse_records, record_words
from bnforge_sim.descriptors import descriptors
from bnforge_sim.tensors import backward_tensor, forward_tensor, frozen_affine, running_statistics
from bnforge_sim.workspace import Pass, workspace

CORES = {"blocks": Config(lanes=4, sample_depth=16, chunk_len=4, storage=BlockFormat(2, 8)),
         "odd blocks": Config(lanes=6, x_format=FP10, sample_depth=48, chunk_len=16, storage=BlockFormat(3, 11, 5)),
         "unsigned": Config(lanes=4, sample_depth=16, chunk_len=4, storage=BlockFormat(1, 5, 4, signed=False)),
         "floats": Config(lanes=5, x_format=FP10, sample_depth=24, chunk_len=8, storage=E5M2)}
SHAPES = [Shape(2, 5, 3, 4), Shape(3, 7, 7, 9), Shape(40, 2, 1, 3), Shape(2, 2, 2, 13), Shape(1, 1, 1, 1)]
AT = {"base": 0x1001, "operand": 0x4003, "result": 0x8005, "stored": 0xC002, "records": 0x10001, "gradients": 0x12003,
      "gamma": 0x14000, "beta": 0x13F81}
"""Where everything lies in a memory of 2^17 bytes."""


def rows_of(memory, job, channel):
    """For each tile of a channel, the (address, length) of its rows."""
    address = np.frombuffer(memory, "<u8", 1, job + 16 + 8 * channel)[0]
    tiles = [[]]
    for part in descriptors(memoryview(memory)[int(address):]):
        tiles[-1] += [(address, part.length) for address in part.row_addresses().tolist()]
        if part.ends_tile:
            tiles.append([])
    return tiles[:-1]


def beats_of(memory, rows, size):
    """What the core gets of a tile: a short beat is filled with zeros."""
    return b"".join(bytes(memory[address:address + length]).ljust(size, b"\0") for address, length in rows)


def put(memory, rows, size, data):
    """Write the beats of a tile: of a short one the beginning."""
    for address, length in rows:
        memory[address:address + length], data = data[:length], data[max(size, length):]
    assert not data


def run(config, memory, job):
    """The engine: a job on a memory, the tiles through the model one by one with all lanes, missing ones masked."""
    core = config.core
    assert len(memory) >= job + 4 * JOB_WORDS
    used = memory[job + 8]
    tiles = {channel: rows_of(memory, job, channel) for channel in Channel if used >> channel & 1}
    for index, header_rows in enumerate(tiles[Channel.HEADER]):
        words = np.frombuffer(beats_of(memory, header_rows, 4), "<u4")
        data = beats_of(memory, tiles[Channel.OPERAND][index], config.beat_bytes(Channel.OPERAND))
        shape = Shape(1, 1, len(data) // config.beat_bytes(Channel.OPERAND), core.lanes)
        beats = unpack_operand(config, data, shape).reshape(-1, core.lanes)
        if words[0] & 1:
            stored = beats_of(memory, tiles[Channel.STORED][index], config.beat_bytes(Channel.STORED))
            encoded, records = backward_tile(core, words, beats, unpack_stored(config, stored, shape))
        else:
            encoded, records = forward_tile(core, words, beats)
        put(memory, tiles[Channel.RESULT][index], config.beat_bytes(Channel.RESULT),
            pack_stored(config, encoded, shape))
        put(memory, tiles[Channel.RECORD][index], 4, records.astype("<u4").tobytes())


def forward_tile(core, words, beats):
    header = parse_header(core, words)
    frozen = {} if header.frozen else {"c": header.c, "eps": header.eps, "sample_len": header.sample_len}
    result = forward_codes(core, beats, header.gamma, header.beta, activation=header.activation, mask=header.mask,
                           frozen=header.frozen, **frozen)
    return result.encoded, record_words(core, result.records, header.mask)


def backward_tile(core, words, beats, encoded):
    first, mask = int(words[0]), int(words[3]) >> np.arange(core.lanes) & 1 == 1
    c, eps = words[1:3].view(np.float32)
    frozen, n = bool(first >> 3 & 1), len(beats)
    sample_len = 0 if frozen else first >> 16
    order = backward_order(n, sample_len)
    forward = np.argsort(order)
    records = parse_records(core, words[HEADER_FIXED_WORDS:], mask)
    result = backward_codes(core, beats[forward], rows_in(encoded, forward), records, activation=first >> 1 & 3,
                            sample_len=sample_len, c=c, eps=eps, frozen=frozen, mask=mask)
    return rows_in(result.encoded, order), gradient_words(result.dgamma, result.dbeta, mask)


def rows_in(encoded, order):
    exponents = None if encoded.exponents is None else encoded.exponents[order]
    return Encoded(encoded.format, encoded.elements[order], exponents)


def place(memory, **pieces):
    for name, data in pieces.items():
        assert not any(memory[AT[name]:AT[name] + len(data)])
        memory[AT[name]:AT[name] + len(data)] = data


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape.dims)))
@pytest.mark.parametrize("name", CORES)
def test_an_engine_in_software(name, shape, layout, frozen, seed):
    """Both passes write exactly the bytes that the model says of the whole tensor, and no others."""
    core, rng, n_channels = CORES[name], np.random.default_rng(seed), shape.channels
    config, memory = EngineConfig(core=core), bytearray(1 << 17)
    x, dy = rng.standard_normal((2, *shape.dims))
    dy *= 2.0 ** rng.uniform(-20, 20, shape.dims)  # so that the order of the sums shows in them
    x, dy = (to_codes(core.x_format, values).astype(np.uint32) for values in (x * 3 + 1, dy))
    gamma, beta = rng.standard_normal((2, n_channels)).astype("<f4")
    more = {"activation": Activation.RELU6, "frozen": frozen}
    addresses = {key: AT[key] for key in ("operand", "result", "records")}
    job = Pass(shape=shape, layout=layout, **addresses, gamma=AT["gamma"], beta=AT["beta"], **more)
    place(memory, operand=pack_operand(config, x, layout), gamma=gamma.tobytes(), beta=beta.tobytes(),
          base=workspace(config, job, AT["base"]))
    wanted = bytearray(memory)
    forward = forward_tensor(config, x, gamma, beta, **more)
    stored, records = pack_stored(config, forward.encoded, shape, layout), pack_records(config, forward.records)
    wanted[AT["result"]:AT["result"] + len(stored)] = stored
    wanted[AT["records"]:AT["records"] + len(records)] = records
    run(config, memory, AT["base"])
    assert memory == wanted

    memory = bytearray(1 << 17)
    job = Pass(shape=shape, layout=layout, backward=True, **addresses, stored=AT["stored"], gradients=AT["gradients"],
               **more)
    place(memory, operand=pack_operand(config, dy, layout), stored=stored, records=records,
          base=workspace(config, job, AT["base"]))
    wanted = bytearray(memory)
    backward = backward_tensor(config, dy, forward.encoded, forward.records, **more)
    result = pack_stored(config, backward.encoded, shape, layout)
    wanted[AT["result"]:AT["result"] + len(result)] = result
    gradients = pack_gradients(backward.dgamma, backward.dbeta)
    wanted[AT["gradients"]:AT["gradients"] + len(gradients)] = gradients
    run(config, memory, AT["base"])
    assert memory == wanted


def test_tensors_are_in_memory_order():
    """Where x is by far the largest, y is; where dy is, dx is. Decoded they are as stored."""
    config, rng, ones = EngineConfig(core=CORES["blocks"]), np.random.default_rng(2), np.ones(2)
    for position in itertools.product((0, 2), (0, 3, 6), (1, 5)):
        plain, peak = (rng.standard_normal((3, 7, 7, 2)) for _ in range(2))
        peak[(*position, 1)] = 100
        plain, peak = (to_codes(config.core.x_format, values) for values in (plain, peak))
        forward = forward_tensor(config, peak, ones, ones)
        stored = forward_tensor(config, plain, ones, ones, activation=Activation.IDENTITY)
        backward = backward_tensor(config, peak, stored.encoded, stored.records, activation=Activation.IDENTITY)
        for values in (forward.y, forward.encoded.decode(), backward.dx, backward.encoded.decode()):
            assert np.unravel_index(values.argmax(), peak.shape) == (*position, 1)


def test_running_statistics():
    """Those of normal data with mean 3 and deviation 2 lead there; one step is exact."""
    config, rng = EngineConfig(), np.random.default_rng(1)
    x = to_codes(config.core.x_format, rng.standard_normal((16, 8, 8, 4)) * 2 + 3)
    result = forward_tensor(config, x, np.ones(4), np.zeros(4))
    assert result.c == np.float32(result.c)
    mean, variance = running_statistics(np.zeros(4), np.ones(4), result.records, result.c, 1.0)
    assert_allclose(mean, 3, atol=0.3)      # four deviations of a mean of 1024: 4 · 2 / 32, and rounding
    assert_allclose(variance, 4, rtol=0.3)  # chunks of 128 have a range of 10 % deviation, eight of them 4 %
    mean, variance = running_statistics(mean, variance, result.records, result.c, 0.25)
    assert mean.dtype == variance.dtype == np.float32
    assert_array_equal(mean, result.records.mu.astype(np.float32))
    records = result.records[:1]
    mean, variance = running_statistics([1.0], [2.0], records, 0.3, 0.5)
    assert mean == np.float32(1 + 0.5 * (records.mu - 1))
    assert variance == np.float32(2 + 0.5 * ((float(np.float32(0.3)) * records.r) ** 2 - 2))


def test_frozen_affine():
    """Beside float64 batch norm, whose eps is under the root."""
    a, b = frozen_affine([2.0, -1.0], [0.5, 3.0], [1.0, -2.0], [4.0, 0.0])
    assert a.dtype == b.dtype == np.float32
    assert_array_equal(a, np.float32([2 / (2 + np.sqrt(1e-5)), -1 / np.sqrt(1e-5)]))
    assert_array_equal(b, np.float32([0.5 - 2 / (2 + np.sqrt(1e-5)), 3 - 2 / np.sqrt(1e-5)]))
    gamma, beta, mean, variance = np.random.default_rng(1).random((4, 100))
    scale = gamma / (np.sqrt(variance) + np.sqrt(1e-5))
    assert_array_equal(frozen_affine(gamma, beta, mean, variance), np.float32([scale, beta - mean * scale]))


@pytest.mark.parametrize("call, message", [
    (lambda c: forward_tensor(c, np.zeros((2, 3), int), np.ones(3), np.ones(3)),
     r"codes must be of shape \(N, H, W, C\), not \(2, 3\)"),
    (lambda c: forward_tensor(c, np.zeros((1, 1, 1, 3), int), np.ones(3), np.ones(3), c=0.0),
     "c must be a positive fp32 number, not 0.0")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call(EngineConfig())
