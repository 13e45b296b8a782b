"""Programs that do not fit what the core has or each other: told at once, without the watchdog."""

import numpy as np
import pytest
from bnforge.engine_config import DESCRIPTOR_WORDS, BusConfig, Cause, Channel, EngineConfig
from bnforge_model import Shape
from bnforge_sim.driver import EngineError
from bnforge_sim.engine import Region
from bnforge_sim.engine_runs import BACKWARD, FORWARD, TensorRun, drive, register_driver
from bnforge_sim.engine_soak import NARROW
from bnforge_sim.workspace import programs

CONFIG = EngineConfig(name="narrow_64", core=NARROW, bus=BusConfig(read_buffer=32, write_buffer=32))
LENGTH, FLAGS = 2, 3
pytestmark = pytest.mark.xdist_group("engine narrow_64")


@pytest.mark.parametrize("direction", [FORWARD, BACKWARD])
@pytest.mark.parametrize("channel", [Channel.RESULT, Channel.RECORD], ids=lambda channel: channel.name)
@pytest.mark.parametrize("beats", [1, 3, -1])
@pytest.mark.parametrize("part", [0, -1], ids=["first row", "last row"])
def test_a_row_of_another_length_is_misframed(direction, channel, beats, part, seed):
    run = TensorRun(CONFIG, Shape(3, 5, 4, 4), seed=seed, alignment=4096)
    bench = run.bench()
    bench.memory[:] = run.image(*([FORWARD] if direction == BACKWARD else []))
    address, _ = run.places[direction]
    listed = programs(CONFIG, run.pass_of(direction), address)
    before = sum(len(program) for number, program in listed.items() if number < channel)
    chosen = [index for index, item in enumerate(listed[channel]) if item.ends_tile or channel is Channel.RESULT][part]
    row = listed[channel][chosen]
    place = address + 96 + 4 * (DESCRIPTOR_WORDS * (before + chosen) + LENGTH)
    assert int.from_bytes(bytes(bench.view(place, 4)), "little") == row.length
    size = CONFIG.beat_bytes(channel)
    changed = row.length + beats * size if row.length > size else row.length + abs(beats) * size
    bench.view(place, 4)[:] = np.frombuffer(changed.to_bytes(4, "little"), np.uint8)
    bench.write(0x038, 0)  # no watchdog
    bench.regions([Region("all", run.base, run.base + run.size, write=True)])
    drive(register_driver(bench).start(address))
    with pytest.raises(EngineError) as error:
        run.finish(bench, timeout=4000)
    assert (error.value.cause, error.value.channel) == (Cause.FRAMING, channel)
    assert drive(register_driver(bench).counters())["jobs"] == 0


@pytest.mark.parametrize("direction", [FORWARD, BACKWARD])
def test_a_header_too_many_is_told_and_does_not_reach_the_next_job(direction, seed):
    run = TensorRun(CONFIG, Shape(3, 5, 4, 4), seed=seed, alignment=4096)
    bench = run.bench()
    done = [FORWARD] if direction == BACKWARD else []
    bench.memory[:] = run.image(*done)
    address, size = run.places[direction]
    good, at = bytes(bench.view(address, size)), address + 96
    for channel, program in programs(CONFIG, run.pass_of(direction), address).items():
        if channel is not Channel.HEADER:  # one tile only
            first = next(index for index, item in enumerate(program) if item.ends_tile)
            bench.view(at + 4 * (DESCRIPTOR_WORDS * first + FLAGS), 1)[:] = 3
        at += 4 * DESCRIPTOR_WORDS * len(program)
    bench.write(0x038, 0)  # no watchdog
    bench.regions([Region("all", run.base, run.base + run.size, write=True)])
    drive(register_driver(bench).start(address))
    with pytest.raises(EngineError) as error:
        run.finish(bench, timeout=4000)
    assert (error.value.cause, error.value.channel) == (Cause.FRAMING, Channel.HEADER)
    bench.view(address, size)[:] = np.frombuffer(good, np.uint8)
    run.run(bench, direction)
    assert run.differences(bench, *done, direction) == []
