"""Descriptors and workspaces, against docs/engine.md written down once more."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge.config import Activation, Config, Directions
from bnforge.engine_config import BusConfig, Channel, EngineConfig
from bnforge.formats import BlockFormat
from bnforge.presets import opn1_tiny, opn4, opn16
from bnforge_model import Layout, Records, Shape, default_c, default_eps
from bnforge_model.memory import pack_records
from bnforge_model.words import backward_header_words, header_words
from bnforge_sim.descriptors import Descriptor, descriptors, expand
from bnforge_sim.grid import grid_order
from bnforge_sim.workspace import Pass, Sample, default_scale, programs, workspace, workspace_size

SMALL = EngineConfig(core=Config(lanes=4, sample_depth=16, chunk_len=4, storage=BlockFormat(2, 8)))
WIDE = SMALL.replace(bus=BusConfig(address_width=40))
BASE = 0x8000_1003
FORWARD = {"operand": 0x9000_0001, "result": 0xA000_0007, "records": 0xB000_0000, "gamma": 0xC000_1000,
           "beta": 0xC000_0100}
BACKWARD = {"operand": 0x9000_0001, "result": 0xA000_0007, "records": 0xB000_0002, "stored": 0xC000_0005,
            "gradients": 0xD000_0001}
PASSES = [pytest.param(layout, backward, frozen, id=f"{layout.value}, {'backward' if backward else 'forward'}"
                       f"{', frozen' * frozen}")
          for layout, backward, frozen in itertools.product(Layout, (False, True), (False, True))]
MAPS = [(2, 5, 3), (1, 7, 7), (3, 7, 7), (4, 2, 2), (5, 1, 1), (20, 1, 1), (19, 2, 3), (16, 4, 4), (1, 1, 1), (3, 1, 2),
        (2, 1, 9), (17, 7, 7)]


def make_pass(shape, layout=Layout.BLOCKED, backward=False, frozen=False, **changes):
    return Pass(shape=shape, layout=layout, backward=backward, frozen=frozen,
                **{**(BACKWARD if backward else FORWARD), **changes})


def beginnings(job, address, position_bytes, lanes, depth):
    """(address, bytes) of the positions of each tile in stream order, by the formulas of the memory layout."""
    n_images, height, width, channels = job.shape.dims
    area = height * width
    sizes = [position_bytes(min(lanes, channels - first)) for first in range(0, channels, lanes)]
    order, sample_len = grid_order(n_images, height, width, depth)
    if job.frozen:
        order = np.arange(len(order))
    elif job.backward:
        order = np.roll(order, -sample_len)
    image, position = np.divmod(order, area)
    for t, k in enumerate(sizes):
        if job.layout is Layout.BLOCKED:
            yield address + image * area * sum(sizes) + area * sum(sizes[:t]) + position * k, k
        else:
            yield address + (image * area + position) * sum(sizes) + sum(sizes[:t]), k


def tiles_of(program):
    """The descriptors of each tile."""
    tiles = [[]]
    for descriptor in program:
        tiles[-1].append(descriptor)
        if descriptor.ends_tile:
            tiles.append([])
    assert not tiles.pop()
    return tiles


def check_tensors(config, job):
    """Every position of every tile once, in the order of the grid, in rows that the engine takes."""
    core = config.core
    found = programs(config, job, BASE)
    tensors = {Channel.OPERAND: (job.operand, config.operand_bytes), Channel.RESULT: (job.result, config.stored_bytes)}
    if job.backward:
        tensors[Channel.STORED] = job.stored, config.stored_bytes
    for channel, (address, position_bytes) in tensors.items():
        tiles = tiles_of(found[channel])
        wanted = list(beginnings(job, address, position_bytes, core.lanes, core.sample_depth))
        assert len(tiles) == len(wanted)
        for tile, (starts, k) in zip(tiles, wanted, strict=True):
            rows = [(descriptor.row_addresses()[:, np.newaxis] + np.arange(0, descriptor.length, k, dtype=np.uint64))
                    for descriptor in tile]
            assert_array_equal(np.concatenate([row.ravel() for row in rows]), starts)
            whole = k == position_bytes(core.lanes)
            assert all(descriptor.length % k == 0 if whole else descriptor.length == k for descriptor in tile)


@pytest.mark.parametrize("layout, backward, frozen", PASSES)
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_tensors_are_visited_in_grid_order(maps, layout, backward, frozen):
    for channels in (1, 3, 4, 6, 9):
        check_tensors(SMALL, make_pass(Shape(*maps, channels), layout, backward, frozen))


@pytest.mark.parametrize("layout, backward, frozen", PASSES)
@pytest.mark.parametrize("core", [opn16, opn4, opn1_tiny], ids=lambda core: core.name)
def test_presets(core, layout, backward, frozen):
    for shape in (Shape(3, 14, 14, core.lanes), Shape(2, 40, 40, 2 * core.lanes + 1)):
        check_tensors(EngineConfig(core=core), make_pass(shape, layout, backward, frozen))


@pytest.mark.parametrize("layout, channels, rows", [(Layout.BLOCKED, 4, [33]), (Layout.NHWC, 4, [33]),
                                                    (Layout.BLOCKED, 3, [147]), (Layout.BLOCKED, 9, [33, 33, 147]),
                                                    (Layout.NHWC, 9, [147, 147, 147])])
def test_rows_are_as_long_as_they_can_be(layout, channels, rows):
    """Of each image of 49: five samples, the head, four runs between samples, the tail."""
    program = programs(SMALL, make_pass(Shape(3, 7, 7, channels), layout), BASE)[Channel.OPERAND]
    assert [sum(len(part.row_addresses()) for part in tile) for tile in tiles_of(program)] == rows


def test_random_tensors(seed):
    rng = np.random.default_rng(seed)
    for _ in range(80):
        shape = Shape(*(int(size) for size in rng.integers(1, [24, 12, 12, 10])))
        layout, (backward, frozen) = list(Layout)[rng.integers(2)], rng.random(2) < [0.5, 0.2]
        check_tensors(SMALL, make_pass(shape, layout, bool(backward), bool(frozen)))


@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_sample_is_that_of_the_grid(maps):
    for depth in (4, 16, 1024):
        order, sample_len = grid_order(*maps, depth)
        sample, area = Sample.of(Shape(*maps, 1), depth), maps[1] * maps[2]
        images, steps = np.meshgrid(np.arange(sample.images), np.arange(sample.per_image), indexing="ij")
        assert sample.length == sample_len
        assert_array_equal((images * area + sample.first + steps * sample.spacing).ravel(), order[:sample_len])


def test_default_scale():
    """C of a chunk, or of a shorter sample, and eps of the C that is not rounded yet; or as given."""
    for shape, length in ((Shape(3, 1, 1, 4), 3), (Shape(9, 7, 7, 4), 4)):
        c = default_c(SMALL.core, length)
        sample_len, *scale = default_scale(SMALL, shape)
        assert sample_len == grid_order(*shape.dims[:3], 16)[1]
        assert scale == [np.float32(c), np.float32(default_eps(c))]
    assert default_scale(SMALL, shape, 0.3)[1:] == (np.float32(0.3), np.float32(default_eps(0.3)))
    assert default_scale(SMALL, shape, 0.3, 0.7)[1:] == (np.float32(0.3), np.float32(0.7))


def memory_of(pieces):
    """A function that reads rows from (address, bytes) pieces."""
    def read(rows):
        for address, length in rows:
            start, data = next((start, data) for start, data in pieces if start <= address < start + len(data))
            assert address + length <= start + len(data)
            yield data[address - start:address - start + length]
    return lambda rows: b"".join(read(rows))


def sub_programs(data, base=BASE):
    """The program of each channel in a workspace, as bytes from its beginning on."""
    job = np.frombuffer(data[:56], "<u4").astype(np.int64)
    return {Channel(i): data[int(job[4 + 2 * i] | job[5 + 2 * i] << 32) - base:]
            for i in range(5) if job[2] >> i & 1}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("channels", [1, 4, 6, 9])
def test_headers_are_what_the_core_expects(channels, frozen):
    core, shape, rng = SMALL.core, Shape(3, 7, 7, channels), np.random.default_rng(channels)
    gamma, beta = rng.standard_normal((2, channels)).astype("<f4")
    job = make_pass(shape, frozen=frozen, activation=Activation.RELU6)
    data = workspace(SMALL, job, BASE)
    read = memory_of([(BASE, data), (job.gamma, gamma.tobytes()), (job.beta, beta.tobytes())])
    sample_len, c, eps = default_scale(SMALL, shape)
    assert (c, eps) == tuple(np.float32([default_c(core, sample_len), default_eps(default_c(core, sample_len))]))
    fields = {"activation": Activation.RELU6, "sample_len": sample_len, "c": c, "eps": eps, "frozen": frozen}
    wanted = [header_words(core, gamma[first:first + 4], beta[first:first + 4], **fields)
              for first in range(0, channels, 4)]
    assert read(expand(sub_programs(data)[Channel.HEADER])) == np.concatenate(wanted).astype("<u4").tobytes()
    tiles = tiles_of(descriptors(sub_programs(data)[Channel.HEADER]))
    assert [sum(part.length * len(part.row_addresses()) for part in tile) for tile in tiles] == [48] * len(wanted)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("channels", [1, 4, 6, 9])
def test_backward_headers_are_what_the_core_expects(channels, frozen):
    core, shape, rng = SMALL.core, Shape(3, 7, 7, channels), np.random.default_rng(channels)
    scalars = rng.random((5, channels)).astype(np.float32).astype(np.float64)
    records = Records(*scalars, *rng.integers(4, size=(2, channels, core.n_chunks)))
    job = make_pass(shape, backward=True, frozen=frozen, activation=Activation.IDENTITY, c=0.3, eps=0.01)
    data = workspace(SMALL, job, BASE)
    read = memory_of([(BASE, data), (job.records, pack_records(SMALL, records))])
    fields = {"activation": Activation.IDENTITY, "c": 0.3, "eps": 0.01, "frozen": frozen,
              "sample_len": grid_order(3, 7, 7, 16)[1]}
    wanted = [backward_header_words(core, records[first:first + 4], **fields) for first in range(0, channels, 4)]
    assert read(expand(sub_programs(data)[Channel.HEADER])) == np.concatenate(wanted).astype("<u4").tobytes()
    tiles = tiles_of(descriptors(sub_programs(data)[Channel.HEADER]))
    assert [sum(part.length for part in tile) for tile in tiles] == [4 * len(words) for words in wanted]


@pytest.mark.parametrize("backward", [False, True])
def test_records_are_a_row_a_tile(backward):
    job = make_pass(Shape(2, 3, 3, 10), backward=backward)
    program = programs(SMALL, job, BASE)[Channel.RECORD]
    address, size = (job.gradients, 8) if backward else (job.records, 4 * SMALL.core.record_words)
    assert [(part.address, part.length, part.ends_tile, part.last) for part in program] == [
        (address, 4 * size, True, False), (address + 4 * size, 4 * size, True, False),
        (address + 8 * size, 2 * size, True, True)]


def test_workspace_by_hand():
    """Two images of 3 x 3, one channel: p = 2, and q' = 4 positions of an image from p0 = 1; all parts but rest."""
    config = EngineConfig(core=opn1_tiny)
    job = Pass(shape=Shape(2, 3, 3, 1), operand=0x20000, result=0x20100, records=0x20200, gamma=0x20300, beta=0x20280)
    data = workspace(config, job, 0x10000, 0x12000)
    words = ["12000 0 1b 0", "10060 0 100b0 0 0 0 10150 0 101f0 0",            # the job
             "80002 3ef8b1cb 3bd554b4 1", "80002 3ef8b1cb 3bd554b4 1", "0 0",  # fixed words of full and of last tile
             "10048 0 10 0 1 0 1 0 1 0", "20300 0 4 3 2 ffffff80 1 0 1 0",     # header
             "20002 0 2 0 4 4 2 12 1 0", "20000 0 2 0 2 12 1 0 1 0",           # operand: sample, head
             "20004 0 2 0 3 4 2 12 1 0", "20010 0 2 3 2 12 1 0 1 0",           # runs, tail
             "20102 0 2 0 4 4 2 12 1 0", "20100 0 2 0 2 12 1 0 1 0",           # result
             "20104 0 2 0 3 4 2 12 1 0", "20110 0 2 3 2 12 1 0 1 0",
             "20200 0 1c 3 1 0 1 0 1 0"]                                       # records
    assert [f"{word:x}" for word in np.frombuffer(data, "<u4")] == " ".join(words).split()


@pytest.mark.parametrize("layout, backward, frozen", PASSES)
def test_workspaces_are_in_order_and_canonical(layout, backward, frozen):
    for maps, channels in itertools.product(MAPS, (1, 4, 6)):
        job = make_pass(Shape(*maps, channels), layout, backward, frozen)
        data, wanted = workspace(SMALL, job, BASE), programs(SMALL, job, BASE)
        assert list(wanted) == [channel for channel in SMALL.programs if backward or channel is not Channel.STORED]
        assert len(data) == workspace_size(SMALL, job.shape, backward, frozen)
        found = sub_programs(data)
        assert {channel: list(descriptors(program)) for channel, program in found.items()} == wanted
        begin = [len(data) - len(program) for program in found.values()]
        assert begin == [96 + 40 * sum(map(len, list(wanted.values())[:i])) for i in range(len(wanted))]
        for program in wanted.values():
            for descriptor in program:
                counts, strides = zip(*descriptor.dimensions, strict=True)
                used = sum(count > 1 for count in counts)
                assert all(count > 1 for count in counts[:used]) and not any(strides[used:])


def test_addresses_of_64_bits_and_the_next_job():
    high = 0x12_0000_0000
    job = make_pass(Shape(2, 3, 3, 5), **{name: high + address for name, address in FORWARD.items()})
    words = np.frombuffer(workspace(WIDE, job, high + BASE, high + 64), "<u4")
    assert words[:3].tolist() == [64, 0x12, 0b11011]
    assert words[[5, 7, 9, 11, 13]].tolist() == [0x12, 0x12, 0, 0x12, 0x12]
    assert words[4] == BASE + 96 and (words[25::10] == 0x12).all()


def test_rows_count_modulo_the_address_width():
    program = np.array(Descriptor(0xFFFFFFF8, 4, ((3, 4), (2, -16)), last=True).words * 2, "<u4").tobytes()
    assert list(expand(program)) == [(address, 4) for address in (0xFFFFFFF8, 0xFFFFFFFC, 0, 0xFFFFFFE8, 0xFFFFFFEC,
                                                                  0xFFFFFFF0)]
    assert [address for address, _ in expand(program, 34)][2] == 1 << 32


def test_descriptors_come_back_from_their_words():
    some = Descriptor(1 << 40 | 5, 2**32 - 1, ((2**24 - 1, -2**31), (2, 2**31 - 1), (3, -1)), ends_tile=True)
    assert Descriptor.from_words(some.words) == some
    assert some.words == [5, 256, 0xFFFFFFFF, 2, 0xFFFFFF, 0x80000000, 2, 0x7FFFFFFF, 3, 0xFFFFFFFF]


_WORDS = Descriptor(0, 1, last=True).words


@pytest.mark.parametrize("call, message", [
    (lambda: Descriptor(-1, 1), "address must be an integer from 0 to 18446744073709551615, not -1"),
    (lambda: Descriptor(0, 0), "length must be an integer from 1 to 4294967295, not 0"),
    (lambda: Descriptor(0, 1, ((0, 4),)), "n1 must be an integer from 1 to 16777215, not 0"),
    (lambda: Descriptor(0, 1, ((1, 0), (2, 2**31))),
     "s2 must be an integer from -2147483648 to 2147483647, not 2147483648"),
    (lambda: Descriptor(0, 1, ((2, 4),) * 4), "dimensions must be at most 3, not 4"),
    (lambda: list(expand(np.array([*_WORDS[:3], 5, *_WORDS[4:]], "<u4").tobytes())),
     "bits 31:2 of word 3 must be 0, not 0x1"),
    (lambda: list(expand(bytes(np.array([*_WORDS[:3], 0, *_WORDS[4:]], "<u4")))),
     "program must have a last descriptor in its 40 bytes"),
    (lambda: make_pass((1, 1, 1, 1)), r"shape must be a Shape, not \(1, 1, 1, 1\)"),
    (lambda: make_pass(Shape(1, 1, 1, 1), "nhwc"), "layout must be a Layout, not 'nhwc'"),
    (lambda: make_pass(Shape(1, 1, 1, 1), backward=1), "backward must be a bool, not 1"),
    (lambda: make_pass(Shape(1, 1, 1, 1), stored=5), "stored must be left out of a forward pass, not 5"),
    (lambda: make_pass(Shape(1, 1, 1, 1), backward=True, gamma=5), "gamma must be left out of a backward pass, not 5"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1), gamma=None), 64),
     r"gamma must be an address with 4 bytes below 2\^32, not None"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 2, 5), operand=2**32 - 19), 64),
     r"operand must be an address with 20 bytes below 2\^32, not 4294967277"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 2, 5), backward=True, gradients=2**32), 64),
     r"gradients must be an address with 40 bytes below 2\^32, not 4294967296"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1)), 0), "base must not be 0, which stands for no job"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1)), 2**32 - 335),
     r"base must be an address with 336 bytes below 2\^32, not 4294966961"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1)), 64, -1),
     r"next_job must be an address with 56 bytes below 2\^32, not -1"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1), gamma=0, beta=2**31), 64),
     "beta - gamma must be an integer from -2147483648 to 2147483647, not 2147483648"),
    (lambda: workspace(WIDE, make_pass(Shape(1, 1, 2**29, 4), frozen=True), 64),
     "length must be an integer from 1 to 4294967295, not 4294967296"),
    (lambda: workspace(WIDE, make_pass(Shape(2, 1, 2**28, 4), frozen=True), 64),
     "s1 must be an integer from -2147483648 to 2147483647, not 2147483648"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 2**24, 3), operand=0, result=0, frozen=True), 64),
     "n1 must be an integer from 1 to 16777215, not 16777216"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1), c=0.0), 64), "c must be a positive fp32 number, not 0.0"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1), eps=-1.0), 64), "eps must not be negative, not -1.0"),
    (lambda: workspace(SMALL, make_pass(Shape(1, 1, 1, 1), activation=3), 64),
     "activation must be an Activation, not 3"),
    (lambda: workspace(EngineConfig(core=SMALL.core.replace(directions=Directions.FORWARD)),
                       make_pass(Shape(1, 1, 1, 1), backward=True), 64),
     "backward must be a direction that is built, forward, not True")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
