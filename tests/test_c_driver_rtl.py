"""The C driver runs the generated engine: registers through ctypes, memory as the bench has it."""

import ctypes
from ctypes import byref

import numpy as np
import pytest
from bnforge.config import Activation
from bnforge.engine_config import BusConfig, Cause, EngineConfig
from bnforge_model import Layout, Shape
from bnforge_sim.driver_size import compile_driver
from bnforge_sim.engine import Fault, FaultKind, MemoryModel, Region
from bnforge_sim.engine_runs import BACKWARD, FORWARD, TensorRun
from bnforge_sim.engine_soak import NARROW
from bnforge_sim.files import Stall
from c_driver import FLUSH, READ, WAIT, WRITE, Handle, Memory, Result, c_work, load

CONFIG = EngineConfig(name="narrow_64", core=NARROW, bus=BusConfig(read_buffer=32, write_buffer=32))
STALLS = MemoryModel(read_latency=7, write_latency=5, **dict.fromkeys(("ar", "r", "aw", "w", "b"), Stall(0.2, 4)))
LIMIT = 1000
"""Looks at STATUS; between two of them pass up to 1000 cycles."""
pytestmark = pytest.mark.xdist_group("engine narrow_64")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("driver") / "driver.so"
    compile_driver(path, "-O1", "-shared", "-fPIC")
    return load(path)


class System:
    """An engine, its memory, and a processor that runs the C driver."""

    def __init__(self, library, run, model=MemoryModel()):
        self.library, self.run, self.bench = library, run, run.bench(model=model)
        self.bench.memory[:] = run.image()
        self.handle = Handle(None, READ(lambda context, offset: self.bench.read(offset)),
                             WRITE(lambda context, offset, value: self.bench.write(offset, value)),
                             WAIT(lambda context: self.bench.wait(1000)), FLUSH())
        assert self.call("open") == 0

    def call(self, name, *arguments):
        return getattr(self.library, f"bnforge_{name}")(byref(self.handle), *arguments)

    def memory(self, direction):
        """The workspace of a direction, in the memory of the bench, with the noise of an unused one."""
        address, size = self.run.places[direction]
        view = self.bench.view(address, size)
        view[:] = np.random.default_rng(0).integers(256, size=size)
        return Memory(view.ctypes.data, address, size)

    def pass_over(self, direction):
        """Run one pass: the error code, and the result."""
        result = Result()
        self.bench.regions(self.run.regions(direction))
        work, memory = c_work(self.run.pass_of(direction)), self.memory(direction)
        return self.call(direction, byref(work), byref(memory), LIMIT, byref(result)), result


@pytest.mark.parametrize("model", [MemoryModel(), STALLS], ids=["at once", "stalls"])
@pytest.mark.parametrize("dims", [(3, 5, 4, 5), (20, 2, 3, 2), (2, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("layout", Layout)
def test_forward_then_backward_leave_the_bytes_of_the_model(library, model, dims, layout, seed):
    run = TensorRun(CONFIG, Shape(*dims), layout=layout, seed=seed, activation=Activation.RELU6)
    system = System(library, run, model)
    for number, direction in enumerate((FORWARD, BACKWARD)):
        error, result = system.pass_over(direction)
        tiles = -(-dims[3] // CONFIG.core.lanes)
        assert (error, result.cause, result.jobs, result.result_tiles, result.record_tiles) == (0, 0, 1, tiles, tiles)
        assert run.differences(system.bench, *(FORWARD, BACKWARD)[:number + 1]) == []


def test_a_pass_that_is_already_chained_runs_without_software_between(library, seed):
    run = TensorRun(CONFIG, Shape(2, 4, 4, 3), seed=seed)
    system = System(library, run)
    system.bench.regions([Region("all", run.base, run.base + run.size, write=True)])
    memories = {direction: system.memory(direction) for direction in (FORWARD, BACKWARD)}
    for number, direction in enumerate((FORWARD, BACKWARD)):
        work = c_work(run.pass_of(direction))
        assert system.call("prepare", byref(work), number, byref(memories[direction])) == 0
    assert system.call("chain", byref(memories[FORWARD]), ctypes.c_uint64(memories[BACKWARD].address)) == 0
    assert system.call("start", ctypes.c_uint64(memories[FORWARD].address)) == 0
    assert system.call("wait", LIMIT) == 0
    result = Result()
    assert system.call("finish", byref(result)) == 0 and result.jobs == 2
    written = {name: data for direction in (FORWARD, BACKWARD) for name, data in run.results[direction].items()}
    for name, data in written.items():
        assert bytes(system.bench.view(*run.places[name])) == data


def test_an_error_is_told_and_the_next_pass_is_right(library, seed):
    run = TensorRun(CONFIG, Shape(3, 5, 4, 5), seed=seed)
    system = System(library, run)
    system.bench.inject(Fault(FaultKind.READ_RESPONSE, index=20, response=3))
    error, result = system.pass_over(FORWARD)
    assert (error, result.cause) == (-17, Cause.READ_DECERR)
    assert system.bench.struck() == result.error_address
    system.bench.heal()
    assert system.pass_over(FORWARD)[0] == 0
    assert run.differences(system.bench, FORWARD) == []


def test_abort_and_reset_from_c(library, seed):
    run = TensorRun(CONFIG, Shape(3, 5, 4, 5), seed=seed)
    system = System(library, run)
    work, memory = c_work(run.pass_of(FORWARD)), system.memory(FORWARD)
    system.bench.regions(run.regions(FORWARD))
    assert system.call("prepare", byref(work), 0, byref(memory)) == 0
    for end, expected in (("abort", Cause.ABORTED), ("reset", Cause.NONE)):
        assert system.call("start", ctypes.c_uint64(memory.address)) == 0
        system.bench.step(150)
        result = Result()
        if end == "abort":
            system.call("abort")
            assert system.call("wait", 1000) == 0 and system.call("finish", byref(result)) == -17
            assert result.cause == expected
        else:
            assert system.call("reset", 1000) == 0
            assert system.call("finish", byref(result)) == -15
    assert system.pass_over(FORWARD)[0] == 0
    assert run.differences(system.bench, FORWARD) == []
