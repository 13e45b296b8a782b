"""Jobs of the array that do not fit: each ends the run with the right cause, and the next run is as ever."""

import itertools

import pytest
from bnforge.array_config import ArrayConfig
from bnforge.engine_config import TRANSPOSE, Cause, Channel, EngineConfig
from bnforge.presets import opn4
from bnforge_model import Shape
from bnforge_model.convolution import Convolution
from bnforge_sim.descriptors import Descriptor
from bnforge_sim.driver import EngineError, Status
from bnforge_sim.engine import Fault, FaultKind, Region
from bnforge_sim.engine_runs import drive, register_driver
from bnforge_sim.layer_runs import LayerRun
from bnforge_sim.layers import Layer

CONFIG = EngineConfig(core=opn4, array=ArrayConfig.of(opn4, depth=64))
"""The engine of test_layers_rtl.py."""
pytestmark = pytest.mark.xdist_group("engine array")
LAYERS = [Layer(convolution=Convolution(3, 1, 1), channels=6), Layer(convolution=Convolution(3, 2, 1), channels=5)]
JOBS = ["0.forward", "1.forward", "1.backward", "1.correlate", "0.backward", "0.correlate"]
WORD2, WORD3 = 8, 12
FLAGS = 12
NO_CHANNEL = 15


class Scene:
    """A network of which all jobs before ``job`` are done, and the memory to spoil."""

    def __init__(self, job, seed):
        self.run = LayerRun(CONFIG, Shape(2, 5, 6, 3), LAYERS, seed=seed)
        self.bench, self.job, self.done = self.run.bench(optimise=False), job, JOBS[:JOBS.index(job)]
        self.bench.memory[:] = self.run.image(*self.done)
        self.driver = register_driver(self.bench)
        self.start = self.run.network.link(self.bench.memory, [job])
        self.good = self.bench.memory.copy()

    def word(self, offset):
        """Address of a word of the job."""
        return self.start + offset

    def descriptor(self, channel, index, offset):
        """Address of a word of a descriptor."""
        pointer = self.bench.view(self.word(16 + 8 * CONFIG.programs.index(channel)), 8).view("<u8")[0]
        return int(pointer) + 40 * index + offset

    def set(self, address, value):
        self.bench.view(address, 4).view("<u4")[0] = value

    def get(self, address):
        return int(self.bench.view(address, 4).view("<u4")[0])

    def fails(self, watchdog=3000):
        """(cause, channel) of the run; then the job as it should be."""
        self.bench.write(0x038, watchdog)
        self.bench.regions([Region("all", self.run.base, self.run.base + self.run.size, write=True)])
        drive(self.driver.start(self.start))
        assert self.bench.wait(60_000)
        with pytest.raises(EngineError) as error:
            drive(self.driver.wait(polls=100))
        drive(self.driver.clear())
        self.bench.heal()
        self.bench.memory[:] = self.good
        self.run.run(self.bench, [self.job])
        assert self.run.differences(self.bench.memory, *self.done, self.job, linked=[[self.job]]) == []
        return error.value.cause, error.value.channel


@pytest.mark.parametrize("job", ["0.forward", "0.backward"])
def test_passes_of_unequal_length(job, seed):
    scene = Scene(job, seed)
    scene.set(scene.descriptor(Channel.ACTIVATION, 0, FLAGS), 0)  # the first pass goes on with the second one's rows
    assert scene.fails() == (Cause.ARRAY_FRAMING, Channel.ACTIVATION)


def test_a_pass_longer_than_the_array_keeps(seed):
    scene = Scene("0.forward", seed)
    for index in itertools.count():
        flags = scene.descriptor(Channel.ACTIVATION, index, FLAGS)
        if scene.get(flags) == 3:
            break
        scene.set(flags, 0)
    assert scene.fails() == (Cause.ARRAY_FRAMING, Channel.ACTIVATION)


def test_a_transposed_block_that_ends_early_on_one_stream(seed):
    scene = Scene("0.correlate", seed)
    count = scene.descriptor(Channel.ACTIVATION, 0, 16 + 8 * 2)
    scene.set(count, 1)  # of the images
    assert scene.fails() == (Cause.ARRAY_FRAMING, Channel.ACTIVATION)


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("job, channel", [("0.forward", Channel.RESULT), ("0.correlate", Channel.PRODUCT)])
def test_another_number_of_rows(job, channel, change, seed):
    scene = Scene(job, seed)
    scene.set(scene.word(WORD3), scene.get(scene.word(WORD3)) + change)
    assert scene.fails() == (Cause.FRAMING, channel)


def test_weights_that_no_row_needs(seed):
    """One tile more than there are passes: the job does not end with something in the array."""
    scene = Scene("0.forward", seed)
    pointer = scene.word(16 + 8 * CONFIG.programs.index(Channel.WEIGHT))
    old, new = scene.descriptor(Channel.WEIGHT, 0, 0), -(-scene.run.network.end // 8) * 8
    flags = [scene.get(old + 40 * index + FLAGS) for index in range(len(
        scene.run.network.steps["0.forward"].job.programs[Channel.WEIGHT]))]
    assert flags[-1] == 3 and new + 40 * (len(flags) + 1) <= scene.run.base + scene.run.size
    scene.bench.view(new, 40 * len(flags))[:] = scene.bench.view(old, 40 * len(flags))
    scene.set(new + 40 * (len(flags) - 1) + FLAGS, 2)
    extra = Descriptor(scene.run.network.places["0.weights"][0], CONFIG.beat_bytes(Channel.WEIGHT),
                       ((CONFIG.lanes, 0),), last=True, ends_tile=True)
    for index, word in enumerate(extra.words):
        scene.set(new + 40 * len(flags) + 4 * index, word)
    scene.set(pointer, new)
    assert scene.fails() == (Cause.STARVED, NO_CHANNEL)


@pytest.mark.parametrize("channel", [Channel.ACTIVATION, Channel.WEIGHT])
def test_a_descriptor_without_bytes(channel, seed):
    scene = Scene("0.forward", seed)
    scene.set(scene.descriptor(channel, 0, 8), 0)
    assert scene.fails() == (Cause.DESCRIPTOR_ZERO, channel)


def test_a_block_too_few(seed):
    scene = Scene("0.correlate", seed)
    scene.set(scene.descriptor(Channel.WEIGHT, 0, FLAGS), 3)  # the program ends with the first block
    assert scene.fails() == (Cause.STARVED, NO_CHANNEL)


@pytest.mark.parametrize("job", ["0.forward", "0.backward", "0.correlate"])
def test_no_rows(job, seed):
    scene = Scene(job, seed)
    scene.set(scene.word(WORD3), 0)
    assert scene.fails() == (Cause.DESCRIPTOR_RESERVED, Channel.FETCH)


@pytest.mark.parametrize("change", [1 << 5, 1 << 9, 1 << 17, TRANSPOSE, 1 << Channel.OPERAND, 1 << Channel.PRODUCT,
                                    1 << Channel.WEIGHT, 1 << Channel.STORED | 1 << Channel.HEADER])
def test_channels_that_make_no_job(change, seed):
    scene = Scene("0.forward", seed)
    scene.set(scene.word(WORD2), scene.get(scene.word(WORD2)) ^ change)
    assert scene.fails() == (Cause.DESCRIPTOR_RESERVED, Channel.FETCH)


def test_rows_of_a_job_without_the_array(seed):
    scene = Scene("1.backward", seed)
    scene.set(scene.word(WORD3), 1)
    assert scene.fails() == (Cause.DESCRIPTOR_RESERVED, Channel.FETCH)


def test_a_job_in_registers_has_no_program_of_the_array(seed):
    scene = Scene("0.forward", seed)
    job = bytes(scene.bench.view(scene.start, 56))
    drive(scene.driver.start_job(job))
    assert scene.bench.wait(1000)
    with pytest.raises(EngineError) as error:
        drive(scene.driver.wait(polls=100))
    assert (error.value.cause, error.value.channel, error.value.address) == (
        Cause.DESCRIPTOR_RESERVED, Channel.FETCH, 0)


@pytest.mark.parametrize("place, channel", [("images", Channel.ACTIVATION), ("0.weights", Channel.WEIGHT)])
def test_a_read_error(place, channel, seed):
    scene = Scene("0.forward", seed)
    address, size = scene.run.network.places[place]
    scene.bench.regions([Region(place, address, address + size), Region(
        "all", scene.run.base, scene.run.base + scene.run.size, write=True)])
    scene.bench.inject(Fault(FaultKind.READ_RESPONSE, region=place, index=3, response=2))
    scene.bench.write(0x038, 3000)
    drive(scene.driver.start(scene.start))
    assert scene.bench.wait(60_000)
    with pytest.raises(EngineError) as error:
        drive(scene.driver.wait(polls=100))
    assert (error.value.cause, error.value.channel) == (Cause.READ_SLVERR, channel)
    scene.bench.heal()
    drive(scene.driver.clear())
    scene.bench.memory[:] = scene.good
    scene.run.run(scene.bench, ["0.forward"])
    assert scene.run.differences(scene.bench.memory, "0.forward", linked=[["0.forward"]]) == []


@pytest.mark.parametrize("cycles", [50, 400, 900, 1500])
def test_an_abort_at_any_time(cycles, seed):
    scene = Scene("0.forward", seed)
    scene.bench.regions([Region("all", scene.run.base, scene.run.base + scene.run.size, write=True)])
    drive(scene.driver.start(scene.start))
    scene.bench.step(cycles)
    drive(scene.driver.abort())
    with pytest.raises(EngineError) as error:
        drive(scene.driver.wait(polls=1000))
    assert error.value.cause == Cause.ABORTED
    drive(scene.driver.clear())
    scene.bench.memory[:] = scene.good
    scene.run.run(scene.bench, ["0.forward"])
    assert scene.run.differences(scene.bench.memory, "0.forward", linked=[["0.forward"]]) == []


def test_numbers_without_a_value_are_told(seed):
    """NaN and infinity in the images reach the flags of STATUS."""
    scene = Scene("0.forward", seed)
    address, _ = scene.run.network.places["images"]
    scene.bench.view(address, 1)[0], scene.bench.view(address + 1, 1)[0] = 0xFF, 0xFF
    assert scene.run.run(scene.bench, ["0.forward"]) & (Status.NAN | Status.ERROR) == Status.NAN
