"""The C driver: its workspaces against those of the Python driver, its use of the registers, its refusals."""

import ctypes
import dataclasses
import re
import subprocess
from ctypes import byref

import numpy as np
import pytest
from c_driver import (
    BUSY, DONE, DRAINING, ERROR, FLUSH, READ, WAIT, WRITE, CShape, Handle, Result, Scale, Work, c_shape, c_work, load,
    place)
from numpy.testing import assert_array_equal

import bnforge
from bnforge.config import Activation, Config, Directions
from bnforge.engine_config import BusConfig, Cause, EngineConfig
from bnforge.formats import FP10, WORKING, BlockFormat
from bnforge.presets import opn1_tiny, opn4, opn16, opn32_mx
from bnforge.registers import registers
from bnforge_model import Layout, Records, Shape, default_c, default_eps
from bnforge_model.memory import gradient_size, operand_size, pack_records, record_size, stored_size
from bnforge_sim.driver_size import DRIVER, WARNINGS, compile_driver
from bnforge_sim.driver_size import main as print_sizes
from bnforge_sim.tensors import frozen_affine, running_statistics
from bnforge_sim.workspace import Pass, workspace, workspace_size

_OFFSETS = {register.name: register.offset for register in registers()}
_NAMES = {offset: name for name, offset in _OFFSETS.items()}
_ERRORS = {name: int(code) for name, code in
           re.findall(r"BNFORGE_(?:ERROR_)?(OK|(?<=ERROR_)\w+) = (-?\d+)", (DRIVER / "bnforge.h").read_text())}
@pytest.fixture(scope="session")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("driver") / "driver.so"
    compile_driver(path, "-O1", "-shared", "-fPIC")
    return load(path)


class Device:
    """An engine that is only registers: what it is asked is kept in ``log``; ``status`` is what STATUS reads in turn.

    The last value of ``status`` stays.
    """

    def __init__(self, library, config, *, wait=False, **changes):
        self.library, self.config, self.log, self.flushed, self.status = library, config, [], [], [0]
        self.values = {register.name: register.reset for register in registers(config)} | changes
        self.handle = Handle(None, READ(self._read), WRITE(self._write),
                             WAIT(lambda context: self.log.append("wait")) if wait else WAIT(),
                             FLUSH(lambda context, memory, size: self.flushed.append((memory, size))))
        self.opened = self.call("open")

    def _read(self, context, offset):
        name = _NAMES[offset]
        value = self.values[name]
        if name == "STATUS":
            value = self.status[0]
            del self.status[:len(self.status) > 1]
        self.log.append(f"{name} = {value:#x}")
        return value

    def _write(self, context, offset, value):
        self.log.append(f"{_NAMES[offset]} := {value:#x}")

    def call(self, name, *arguments):
        """bnforge_NAME of this device."""
        return getattr(self.library, f"bnforge_{name}")(byref(self.handle), *arguments)

    def prepare(self, job, base):
        """(error, bytes of the workspace), which is as large as the driver says."""
        work, direction = c_work(job), int(job.backward)
        size = self.call("workspace_bytes", byref(work), direction)
        buffer, memory = place(base, size)
        return self.call("prepare", byref(work), direction, byref(memory)), bytes(buffer)


def some_pass(config, shape, rng, **options):
    """A pass over arrays anywhere in the first GB."""
    backward = options.get("backward", False)
    names = ("operand", "result", "records", *(("stored", "gradients") if backward else ("gamma", "beta")))
    return Pass(shape=shape, **options, **{name: int(rng.integers(2**30)) for name in names})


# Workspaces.

_SMALL = Config(lanes=6, x_format=FP10, sample_depth=48, chunk_len=16, storage=BlockFormat(3, 11, 5))
CORES = [opn16, opn4, opn1_tiny, opn32_mx, _SMALL, opn1_tiny.replace(lanes=3, chunk_len=8, storage=WORKING),
         opn1_tiny.replace(lanes=4, storage=BlockFormat(2, 8, 7, signed=False)),
         opn4.replace(directions=Directions.FORWARD), opn4.replace(directions=Directions.BACKWARD)]
CONFIGS = [EngineConfig(core=core, bus=BusConfig(address_width=width))
           for core, width in zip(CORES, (32, 40, 64, 33, 32, 64, 32, 48, 32), strict=True)]
SHAPES = {"more images than sample": (1030, 2, 2, 16), "more images, odd": (19, 3, 1, 5), "everything sampled":
          (2, 3, 5, 7), "7x7": (8, 7, 7, 20), "1x1": (40, 1, 1, 33), "1x1, one": (1, 1, 1, 1), "one image":
          (1, 56, 56, 16), "spacing beyond the width": (64, 14, 14, 32), "one row": (3, 1, 100, 6), "one tile":
          (4, 9, 9, 4), "last image has no sample": (17, 2, 3, 1)}


def assert_same_workspace(device, job, base):
    error, data = device.prepare(job, base)
    assert error == 0
    assert len(data) == workspace_size(device.config, job.shape, job.backward, job.frozen)
    assert data == workspace(device.config, job, base)


def directions(config):
    return [backward for backward, built in ((False, config.core.has_forward), (True, config.core.has_backward))
            if built]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.core.name}, {config.core.lanes} lanes, "
                         f"{config.core.storage}, {config.core.directions.value}")
def test_workspaces_are_those_of_the_python_driver(library, config, seed):
    rng = np.random.default_rng(seed)
    device = Device(library, config)
    high = 2**config.bus.address_width - 2**30
    shapes = list(SHAPES.values()) + [tuple(rng.integers(1, (40, 20, 20, 3 * config.core.lanes + 1)).tolist())
                                      for _ in range(12)]
    for index, dims in enumerate(shapes):
        for backward in directions(config):
            for layout in Layout:
                given = {"c": float(rng.uniform(0.1, 1)), "eps": float(rng.choice([0, 0.01]))} if index % 3 else {}
                job = some_pass(config, Shape(*dims), rng, backward=backward, layout=layout,
                                frozen=bool(rng.integers(4) == 0), activation=Activation(rng.integers(1, 3)), **given)
                assert_same_workspace(device, job, int(rng.choice([1, high])) + int(rng.integers(2**29)))


def test_beta_may_lie_before_gamma_and_identity_is_an_activation_of_signed_blocks(library, seed):
    device, rng = Device(library, CONFIGS[0]), np.random.default_rng(seed)
    job = some_pass(device.config, Shape(2, 5, 5, 20), rng, activation=Activation.IDENTITY)
    for gamma, beta in ((100, 0), (2**31, 0), (0, 2**31 - 1), (64, 64)):
        assert_same_workspace(device, dataclasses.replace(job, gamma=gamma, beta=beta), 4096)


def test_the_largest_counts_rows_strides_and_addresses_fit(library):
    for config, job in boundary_passes():
        assert_same_workspace(Device(library, config), job, 4096)


def test_chain_writes_the_next_job_and_both_tell_what_they_wrote(library, seed):
    device, rng = Device(library, CONFIGS[1]), np.random.default_rng(seed)
    job = some_pass(device.config, Shape(1, 4, 4, 4), rng)
    work = c_work(job)
    size = device.call("workspace_bytes", byref(work), 0)
    buffer, memory = place(64, size + 10)
    assert device.call("prepare", byref(work), 0, byref(memory)) == 0
    assert device.call("chain", byref(memory), ctypes.c_uint64(0x12_3456_789A)) == 0
    assert bytes(buffer) == workspace(device.config, job, 64, next_job=0x12_3456_789A) + bytes(10)
    assert device.flushed == [(memory.memory, size), (memory.memory, 56)]


# Refusals.

def boundary_passes():
    """Passes at the limits of counts, rows, strides and addresses, all in one image or two."""
    wide, shape = CONFIGS[0].replace(bus=BusConfig(address_width=40)), Shape(1, 1, 1, 16)
    job = Pass(shape=shape, frozen=True, operand=0, result=0, records=0, gamma=0, beta=0)
    replace = dataclasses.replace
    yield wide, replace(job, shape=Shape(1, 4095, 4097, 3))                          # 2^24 - 1 rows
    yield wide, replace(job, shape=Shape(1, 1, 2**27 - 1, 16))                       # rows of 2^32 - 32 bytes
    yield wide, replace(job, shape=Shape(2, 1, 2**26 - 1, 16))                       # images of 2^31 - 32 bytes
    yield wide, replace(job, operand=2**40 - 32, result=2**40 - 17, gamma=2**40 - 64, beta=2**40 - 64,
                        records=2**40 - 16 * 36)


def refused_passes():
    """(error, configuration, a pass that the Python driver refuses, too)."""
    plain, unsigned, forward, backward = CONFIGS[0], CONFIGS[6], CONFIGS[7], CONFIGS[8]
    wide, shape = plain.replace(bus=BusConfig(address_width=40)), Shape(2, 3, 4, 5)
    job = Pass(shape=shape, operand=0, result=0, records=0, gamma=0, beta=0)
    back = Pass(shape=shape, operand=0, result=0, records=0, stored=0, gradients=0, backward=True)
    replace = dataclasses.replace
    yield "DIRECTION", backward, job
    yield "DIRECTION", forward, back
    yield "IDENTITY", unsigned, replace(job, activation=Activation.IDENTITY)
    yield "IDENTITY", unsigned, replace(back, activation=Activation.IDENTITY)
    yield "COUNT", wide, replace(job, shape=Shape(1, 4096, 4096, 3), frozen=True)
    yield "COUNT", wide, replace(job, shape=Shape(2**24, 1, 1, 3), frozen=True)
    yield "LENGTH", wide, replace(job, shape=Shape(1, 1, 2**27, 16), frozen=True)
    yield "STRIDE", wide, replace(job, shape=Shape(2, 1, 2**26, 16), frozen=True)
    yield "STRIDE", wide, replace(job, beta=2**31)
    yield "STRIDE", wide, replace(job, gamma=2**31 + 1)
    for scale in ((0.0, 0.1), (-1.0, 0.1), (float("nan"), 0.1), (1e-39, 0.1), (0.5, -0.1)):
        yield "SCALE", plain, replace(job, c=scale[0], eps=scale[1])
    operand, stored, records = operand_size(plain, shape), stored_size(plain, shape), record_size(plain, 5)
    for item, sizes in ((job, dict(operand=operand, result=stored, records=records, gamma=20, beta=20)),
                        (back, dict(operand=operand, result=stored, stored=stored, records=records, gradients=40))):
        for name, size in sizes.items():
            yield "ADDRESS", plain, replace(item, **{name: 2**32 - size + 1})


@pytest.mark.parametrize("name, config, job", [pytest.param(*case, id=f"{index}, {case[0]}")
                                               for index, case in enumerate(refused_passes())])
def test_both_drivers_refuse(library, name, config, job):
    assert Device(library, config).prepare(job, 4096)[0] == _ERRORS[name]
    with pytest.raises(ValueError):
        workspace(config, job, 4096)


def broken_works():
    """(error, what to change in the structures of a correct pass) beyond what the Python driver can say."""
    names = ("images", "height", "width", "channels")
    for size in names:
        yield "SHAPE", lambda work, memory, size=size: setattr(work.shape, size, 0)
    yield "ARGUMENT", lambda work, memory: setattr(work.shape, "layout", 2)
    yield "ARGUMENT", lambda work, memory: setattr(work, "activation", 3)
    for c, eps in ((float("inf"), 1), (1, float("inf")), (1, float("nan")), (1, 1e-39)):
        yield "SCALE", lambda work, memory, c=c, eps=eps: setattr(work, "scale", ctypes.pointer(Scale(c, eps)))
    yield "WORKSPACE", lambda work, memory: setattr(memory, "bytes", memory.bytes - 1)
    yield "ADDRESS", lambda work, memory: setattr(memory, "address", 2**32 - memory.bytes + 1)
    yield "ADDRESS", lambda work, memory: setattr(memory, "address", 0)
    huge = Work(CShape(*[2**32 - 1] * len(names)), Activation.RELU)  # sizes beyond 64 bits, from address 0 on
    yield "ADDRESS", lambda work, memory: ctypes.memmove(byref(work), byref(huge), ctypes.sizeof(huge))


@pytest.mark.parametrize("name, change", [pytest.param(*case, id=f"{index}, {case[0]}")
                                          for index, case in enumerate(broken_works())])
@pytest.mark.parametrize("address_width", [32, 64])
def test_broken_work_is_refused(library, name, change, address_width):
    config = CONFIGS[0].replace(bus=BusConfig(address_width=address_width))
    device, job = Device(library, config), some_pass(config, Shape(2, 3, 4, 5), np.random.default_rng(1))
    work, size = c_work(job), workspace_size(config, job.shape)
    buffer, memory = place(4096, size)
    assert device.call("prepare", byref(work), 0, byref(memory)) == 0
    assert device.call("prepare", byref(work), 2, byref(memory)) == _ERRORS["ARGUMENT"]
    prepared = bytes(buffer)
    change(work, memory)
    if address_width == 32 or memory.address != 2**32 - size + 1:
        assert device.call("prepare", byref(work), 0, byref(memory)) == _ERRORS[name]
        assert bytes(buffer) == prepared
    if name == "SHAPE":
        assert device.call("workspace_bytes", byref(work), 0) == 0
        assert device.call("default_scale", byref(work), byref(Scale())) == _ERRORS["SHAPE"]


def test_jobs_at_0_or_beyond_the_address_width_are_refused(library):
    device = Device(library, CONFIGS[0])
    buffer, memory = place(64, 56)
    for address in (0, 2**32 - 55, 2**32):
        assert device.call("start", ctypes.c_uint64(address)) == _ERRORS["ADDRESS"]
        assert device.call("chain", byref(memory), ctypes.c_uint64(address)) == (_ERRORS["ADDRESS"] if address else 0)
    assert bytes(buffer) == bytes(56)


@pytest.mark.parametrize("name, changes", [
    ("OK", {}), ("ID", {"ID": 0}), ("VERSION", {"VERSION": 0xFF000000}), ("VERSION", {"VERSION": 1 << 24}),
    ("OK", {"VERSION": 0x00FFFFFF}), ("BUILD", {"CORE": 0}), ("BUILD", {"CORE": 33}), ("BUILD", {"SAMPLE": 0}),
    ("BUILD", {"BUS": 0}), ("BUILD", {"BUS": 65 << 8}), ("BUILD", {"FORMATS": 0}), ("BUILD", {"FORMATS": 0x0FFFFFFF}),
    ("OK", {"BEATS": 9 << 16 | 17 << 8 | 32}), ("BUILD", {"BEATS": 9 << 16 | 18 << 8 | 32}),
    ("BUILD", {"BEATS": 9 << 16 | 17 << 8 | 31}), ("BUILD", {"CORE": 0, "BEATS": 0}),
    ("BUILD", {"CORE": 33, "BEATS": 9 << 16 | 51 << 8 | 66})])
def test_open_checks_what_it_reads(library, name, changes):
    assert Device(library, CONFIGS[0], **changes).opened == _ERRORS[name]


def test_open_knows_the_version_of_the_generator(library):
    header = (DRIVER / "bnforge.h").read_text()
    assert re.search(r"define BNFORGE_MAJOR (\d+)u", header)[1] == bnforge.__version__.split(".")[0]


def test_every_error_of_the_header_is_reached():
    reached = {case[0] for cases in (refused_passes(), broken_works()) for case in cases}
    elsewhere = {"OK", "ID", "VERSION", "BUILD", "VALUE", "BUSY", "TIMEOUT", "ENGINE"}  # tests above and below
    assert reached | elsewhere == set(_ERRORS) and len(_ERRORS) == 18


# Numbers.

@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.core.lanes}, {config.core.storage}")
def test_build_parameters_and_sizes(library, config):
    device, core = Device(library, config), config.core
    handle, storage = device.handle, core.storage
    assert (handle.lanes, handle.sample_depth, handle.chunk_len) == (core.lanes, core.sample_depth, core.chunk_len)
    assert (handle.has_forward, handle.has_backward) == (core.has_forward, core.has_backward)
    assert (handle.group, handle.is_signed) == ((storage.group, storage.signed) if core.is_block else (0, True))
    assert (handle.record_words, handle.address_width) == (core.record_words, config.bus.address_width)
    for dims in [*SHAPES.values(), (2**16, 2**10, 2**10, 1000)]:
        shape = Shape(*dims)
        sizes = [device.call(f"{name}_bytes", byref(c_shape(shape))) for name in ("operand", "stored")]
        assert sizes == [operand_size(config, shape), stored_size(config, shape)]
        assert device.call("record_bytes", shape.channels) == record_size(config, shape.channels)
        assert library.bnforge_gradient_bytes(shape.channels) == gradient_size(shape.channels)


def test_default_c_and_eps(library):
    config = EngineConfig(core=Config(lanes=1, sample_depth=8192, chunk_len=4096, storage=BlockFormat(1, 8)))
    device, scale = Device(library, config), Scale()
    for n in [*range(1, 20), 64, 100, 127, 128, 777, 1024, 2048, 4095, 4096, 5000]:
        work = Work(CShape(1, 1, n, 1, 0))
        assert device.call("default_scale", byref(work), byref(scale)) == 0
        c = default_c(config.core, n)
        assert (scale.c, scale.eps) == (np.float32(c), np.float32(default_eps(c)))


@pytest.mark.parametrize("config", CONFIGS[:3], ids=lambda config: config.core.name)
def test_running_statistics_and_frozen_affine(library, config, seed):
    rng, n, device = np.random.default_rng(seed), 37, Device(library, config)
    mu, r = rng.normal(0, 3, n).astype("f4"), rng.uniform(0, 9, n).astype("f4")
    zeros, positions = np.zeros(n), np.zeros((n, config.core.n_chunks), np.int64)
    records = Records(zeros, zeros, zeros, mu.astype(float), r.astype(float), positions, positions)
    mean, var = rng.normal(size=n).astype("f4"), 10.0 ** rng.uniform(-9, 9, n).astype("f4")
    var[:3] = 0, 1e-45, 3.4e38
    expected = running_statistics(mean, var, records, 0.3, float(np.float32(0.1)))
    pointer = ctypes.POINTER(ctypes.c_float)
    new_mean, new_var = mean.copy(), var.copy()
    library.bnforge_update_running(byref(device.handle), pack_records(config, records), n, ctypes.c_float(0.3),
                                   ctypes.c_float(0.1), new_mean.ctypes.data_as(pointer),
                                   new_var.ctypes.data_as(pointer))
    assert_array_equal([new_mean, new_var], expected)

    gamma, beta = rng.normal(size=(2, n)).astype("<f4")
    expected = frozen_affine(gamma, beta, mean, var)
    arrays = [array.ctypes.data_as(pointer) for array in (gamma, beta, mean, var)]
    assert library.bnforge_fold(n, *arrays, *arrays[:2]) == 0
    assert_array_equal([gamma, beta], expected)
    for value in (-1, np.inf, np.nan):
        var[n - 1] = value
        assert library.bnforge_fold(n, *arrays, *arrays[:2]) == _ERRORS["VALUE"]
    assert_array_equal([gamma, beta], expected)


# Registers.

START = ["STATUS = {status:#x}", "IRQ_ENABLE := {enable:#x}", "JOB0 := 0x89abcdef", "JOB1 := 0x67", "JOB2 := 0x0",
         "JOB3 := 0x0", "CONTROL := 0x1"]
RESULTS = ["CAUSE = {cause:#x}", "ERROR_ADDRESS_LOW = 0x1", "ERROR_ADDRESS_HIGH = 0x2", "CYCLES_LOW = 0x3",
           "CYCLES_HIGH = 0x4", "BYTES_READ_LOW = 0x5", "BYTES_READ_HIGH = 0x6", "BYTES_WRITTEN_LOW = 0x7",
           "BYTES_WRITTEN_HIGH = 0x8", "READ_WAIT = 0x9", "WRITE_WAIT = 0xa", "INPUT_BEATS = 0xb",
           "INPUT_STALLS = 0xc", "OUTPUT_BEATS = 0xd", "OUTPUT_STALLS = 0xe", "JOBS = 0xf", "RESULT_TILES = 0x10",
           "RECORD_TILES = 0x11"]
VALUES = {line.split()[0]: int(line.split()[2], 0) for line in RESULTS[1:]}


def run(library, status, *, wait=False, limit=0, cause=0, backward=False):
    """One call of a pass at 0x6789abcdef: (error, result, log, the workspace and what it must be)."""
    config = CONFIGS[0].replace(bus=BusConfig(address_width=40))
    device = Device(library, config, wait=wait, CAUSE=cause, **VALUES)
    job = some_pass(config, Shape(1, 3, 3, 5), np.random.default_rng(1), backward=backward)
    work, result, size = c_work(job), Result(), workspace_size(config, job.shape, backward)
    buffer, memory = place(0x6789ABCDEF, size)
    device.log.clear()
    device.status = list(status)
    error = device.call("backward" if backward else "forward", byref(work), byref(memory), limit, byref(result))
    return error, result, device.log, (bytes(buffer), workspace(config, job, 0x6789ABCDEF))


@pytest.mark.parametrize("backward", [False, True])
def test_a_run_is_this_sequence(library, backward):
    error, result, log, (data, expected) = run(library, [ERROR | 0x1700, BUSY, BUSY, DONE | 0x100], backward=backward)
    assert error == 0 and data == expected
    assert log == [*(line.format(status=0x1720, enable=0) for line in START), "STATUS = 0x1", "STATUS = 0x1",
                   "STATUS = 0x110", "CAUSE = 0x0", "STATUS = 0x110", "STATUS = 0x110",
                   *(line.format(cause=0) for line in RESULTS), "STATUS := 0x110"]
    values = [getattr(result, name) for name, _ in Result._fields_]
    assert values == [0x110, 0, 0, 2 << 32 | 1, 4 << 32 | 3, 6 << 32 | 5, 8 << 32 | 7, *range(9, 18)]


def test_a_run_waits_for_the_interrupt(library):
    error, _, log, _ = run(library, [0, BUSY, BUSY, DONE], wait=True)
    assert error == 0
    assert log[:12] == [*(line.format(status=0, enable=3) for line in START), "STATUS = 0x1", "wait", "STATUS = 0x1",
                        "wait", "STATUS = 0x10"]


def test_a_run_that_fails_tells_the_cause_when_the_bus_is_quiet(library):
    ending, cause = BUSY | DRAINING | ERROR, 3 << 8 | Cause.FRAMING
    error, result, log, _ = run(library, [0, ending, ending, ending, ERROR], cause=cause)
    assert error == _ERRORS["ENGINE"]
    assert log[len(START):-len(RESULTS) - 1] == ["STATUS = 0x23", "CAUSE = 0x308", *["STATUS = 0x23"] * 2,
                                                 "STATUS = 0x20", "STATUS = 0x20"]
    assert (result.cause, result.channel, result.error_address) == (Cause.FRAMING, 3, 2 << 32 | 1)
    assert run(library, [0, ending], cause=cause, limit=5)[0] == _ERRORS["TIMEOUT"]


def test_a_dead_memory_is_not_waited_for(library):
    error, result, log, _ = run(library, [0, BUSY | DRAINING | ERROR], cause=3 << 8 | Cause.BUS_TIMEOUT)
    assert error == _ERRORS["ENGINE"] and result.cause == Cause.BUS_TIMEOUT and log[-1] == "STATUS := 0x23"


@pytest.mark.parametrize("status", [BUSY, DRAINING, DRAINING | ERROR])
def test_nothing_is_written_while_busy(library, status):
    error, _, log, _ = run(library, [status], limit=9)
    assert error == _ERRORS["BUSY"] and log == [f"STATUS = {status:#x}"]


def test_waiting_has_a_limit(library):
    error, _, log, _ = run(library, [0, BUSY], limit=5)
    assert error == _ERRORS["TIMEOUT"] and log[len(START):] == ["STATUS = 0x1"] * 5


def test_finish_abort_and_reset(library):
    device = Device(library, CONFIGS[0], wait=True)
    device.log.clear()
    device.status = [BUSY]
    assert device.call("finish", byref(Result())) == _ERRORS["BUSY"]
    device.call("abort")
    assert device.call("reset", 2) == _ERRORS["TIMEOUT"]
    device.status = [BUSY | DRAINING, DRAINING, DONE]
    assert device.call("reset", 0) == 0
    assert device.log == ["STATUS = 0x1", "CONTROL := 0x2", "CONTROL := 0x4", "STATUS = 0x1", "STATUS = 0x1",
                          "CONTROL := 0x4", "STATUS = 0x3", "STATUS = 0x2", "STATUS = 0x10"]


def test_registers_in_memory(library):
    table = registers(CONFIGS[0])
    space = (ctypes.c_uint32 * 48)(*[0] * 48)
    for register in table:
        space[register.offset // 4] = register.reset
    handle = Handle(ctypes.addressof(space), ctypes.cast(library.bnforge_mmio_read32, READ),
                    ctypes.cast(library.bnforge_mmio_write32, WRITE))
    assert library.bnforge_open(byref(handle)) == 0
    assert (handle.lanes, handle.version) == (16, space[1])
    assert library.bnforge_start(byref(handle), ctypes.c_uint64(0x1234)) == 0
    assert [space[_OFFSETS[name] // 4] for name in ("JOB0", "JOB1", "CONTROL")] == [0x1234, 0, 1]


# The compiled driver.

def test_it_needs_no_library_and_is_small(tmp_path, capsys):
    compile_driver(tmp_path / "driver.o", "-ffreestanding", "-Os", "-c")
    undefined = subprocess.run(["nm", "-u", str(tmp_path / "driver.o")], check=True, capture_output=True, text=True)
    assert undefined.stdout == ""
    print_sizes(["gcc"])
    code, data, zeroed = map(int, re.findall(r"\d+", capsys.readouterr().out))
    assert 2000 < code < 10000 and (data, zeroed) == (0, 0)


def test_its_header_is_good_in_cpp():
    flags = [flag for flag in WARNINGS if "-std" not in flag]
    subprocess.run(["g++", "-std=c++11", *flags, "-fsyntax-only", "-x", "c++", str(DRIVER / "bnforge.h")], check=True)


def test_the_example_of_its_readme_compiles_without_a_warning():
    code = re.search(r"```c\n(.*?)```", (DRIVER / "README.md").read_text(), re.S)[1]
    subprocess.run(["gcc", *WARNINGS, "-I", str(DRIVER), "-fsyntax-only", "-x", "c", "-"], input=code, text=True,
                   check=True)
