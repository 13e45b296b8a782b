"""Whole tensors through generated engines: memory compared with the model, byte by byte, with faults and without."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from bnforge.config import Activation
from bnforge.engine_config import BusConfig, Cause, EngineConfig
from bnforge.presets import opn16
from bnforge_model import Layout, Shape
from bnforge_sim import engine_figures, engine_soak, faults
from bnforge_sim.driver import EngineError, Status
from bnforge_sim.engine import Fault, FaultKind, MemoryModel
from bnforge_sim.engine_figures import BYTES_CASES, Case, measure_case
from bnforge_sim.engine_runs import BACKWARD, FORWARD, TensorRun, digits_tensors, drive, in_order, register_driver
from bnforge_sim.engine_soak import NARROW, ODD, random_model, random_shape, run_case
from bnforge_sim.fault_classes import FAULT_CLASSES, ReadError, Stop
from bnforge_sim.fault_scenes import Expected, FaultClass
from bnforge_sim.faults import Failure, make_scene, run_fault

ROOT = Path(__file__).parent.parent
NARROW_64 = EngineConfig(name="narrow_64", core=NARROW, bus=BusConfig(read_buffer=32, write_buffer=32))
"""The engine of test_c_driver_rtl.py: built once for both."""
ODD_256 = EngineConfig(name="odd_256", core=ODD, bus=BusConfig(data_width=256, address_width=64, max_burst=8,
                                                               outstanding=2, read_buffer=8, write_buffer=16))
OPN16_64 = EngineConfig(name="opn16_64", core=opn16)
pytestmark = pytest.mark.xdist_group("engine narrow_64")
every_engine = pytest.mark.parametrize("config", [NARROW_64, ODD_256, OPN16_64], ids=lambda config: config.name)


def build(config):
    """How to build an engine: soon, but as the other module does."""
    return {"optimise": config is NARROW_64}


def run(config, shape, **options):
    """A run with its bench and everything but the results in memory."""
    tensors = TensorRun(config, shape, **options)
    bench = tensors.bench(**build(config))
    bench.memory[:] = tensors.image()
    return tensors, bench


@every_engine
@pytest.mark.parametrize("case", range(8))
def test_random_tensors(config, case, seed):
    rng = np.random.default_rng([seed, case])
    shape = random_shape(config, rng, 250 if config is OPN16_64 else 120)
    assert run_case(config, shape, rng, model=MemoryModel() if case == 0 else None, **build(config)) == []


@pytest.mark.parametrize("layout", Layout)
def test_digits(layout):
    tensors, bench = run(OPN16_64, Shape(4, 8, 8, 20), layout=layout, base=0x40000000,
                         tensors=digits_tensors(OPN16_64, 4, 20, 0))
    for direction in (FORWARD, BACKWARD):
        assert tensors.run(bench, direction) == Status.DONE
    assert tensors.differences(bench, FORWARD, BACKWARD) == []


@every_engine
def test_backward_follows_forward_in_a_chain(config, seed):
    rng = np.random.default_rng([seed, 100])
    tensors, bench = run(config, Shape(3, 4, 5, config.core.lanes + 1), seed=seed)
    bench.memory[:] = tensors.image(chained=True)
    bench.set_model(random_model(rng), seed)
    regions = {region.name: region for region in tensors.regions(FORWARD) + tensors.regions(BACKWARD)}
    shared = [regions.pop(name) for name in ("y", "records")]
    bench.regions([*regions.values(), *(type(item)(item.name, item.start, item.end, True, True) for item in shared),
                   *(type(regions["head"])(name, *_span(tensors.places[name])) for name in (FORWARD, BACKWARD))])
    driver = register_driver(bench)
    drive(driver.start(tensors.places[FORWARD][0]))
    assert tensors.finish(bench) == Status.DONE
    assert tensors.differences(bench, FORWARD, BACKWARD, chained=True) == []
    counters = drive(driver.counters())
    assert (counters["jobs"], counters["result_tiles"], counters["record_tiles"]) == (2, 4, 4)


def _span(place):
    return place[0], place[0] + place[1]


def test_many_runs_on_one_engine(seed):
    rng = np.random.default_rng([seed, 101])
    tensors, bench = run(NARROW_64, Shape(2, 3, 5, 4), seed=seed)
    for number in range(10):
        bench.set_model(random_model(rng), number)
        for direction in (FORWARD, BACKWARD)[:1 + number % 2]:
            tensors.run(bench, direction)
    assert tensors.differences(bench, FORWARD, BACKWARD) == []


def test_frozen_passes():
    tensors, bench = run(ODD_256, Shape(2, 3, 4, 7), frozen=True, activation=Activation.RELU6)
    for direction in (FORWARD, BACKWARD):
        tensors.run(bench, direction)
    assert tensors.differences(bench, FORWARD, BACKWARD) == []
    assert not bench.view(*tensors.places["records"]).reshape(7, -1)[:, 8:].any()


def test_counters_are_what_the_bench_saw(seed):
    tensors, bench = run(NARROW_64, Shape(3, 5, 7, 5), seed=seed)
    driver = register_driver(bench)
    slow, wild = MemoryModel(read_latency=40, write_latency=20), random_model(np.random.default_rng(seed))
    for model in (MemoryModel(), slow, wild):
        bench.set_model(model, seed)
        before = bench.totals().cycle
        tensors.run(bench, FORWARD)
        counters, totals = drive(driver.counters()), bench.totals()
        width = bench.config.bus.bytes
        assert counters["bytes_read"] == width * totals.read_beats == width * sum(
            item.read_beats for item in bench.counts().values())
        assert counters["bytes_written"] == width * totals.write_beats == width * totals.stored_beats
        assert (counters["read_wait"], counters["write_wait"]) == (totals.read_wait, totals.write_wait)
        assert counters["input_beats"] == counters["output_beats"] == 3 * 105
        assert (counters["result_tiles"], counters["record_tiles"]) == (3, 3)
        assert totals.last_activity - before < counters["cycles"] + 200 < totals.cycle - before + 200
        assert counters["read_wait"] + totals.read_beats <= counters["cycles"]


def test_written_bytes_are_those_of_the_results():
    tensors, bench = run(ODD_256, Shape(2, 3, 5, 8))
    tensors.run(bench, FORWARD)
    counts = bench.counts()
    assert {name: item.write_bytes for name, item in counts.items() if item.write_bytes} == {
        name: tensors.places[name][1] for name in ("y", "records")}
    assert bench.totals().write_gaps == 0


def test_interrupts():
    tensors, bench = run(NARROW_64, Shape(1, 2, 2, 2))
    driver = register_driver(bench)
    drive(driver.interrupts(done=False, error=False))
    tensors.start(bench, FORWARD)
    assert not bench.wait(20_000) and drive(driver.status()) == Status.DONE
    drive(driver.interrupts(done=False, error=True))
    assert not bench.wait(10)
    drive(driver.interrupts(done=True, error=False))
    assert bench.wait(10)
    drive(driver.clear(Status.DONE))
    bench.step(5)
    assert not bench.totals().irq
    bench.inject(Fault(FaultKind.READ_RESPONSE))
    drive(driver.interrupts(done=False, error=True))
    drive(driver.start(tensors.places[FORWARD][0]))
    assert bench.wait(2000)
    with pytest.raises(EngineError) as caught:
        drive(driver.wait(polls=100))
    assert (caught.value.cause, caught.value.channel) == (Cause.READ_SLVERR, 5)


def test_reads_are_reported_before_writes():
    tensors, bench = run(NARROW_64, Shape(4, 10, 10, 2))
    driver = register_driver(bench)
    drive(driver.watchdog(300))
    bench.regions(tensors.regions(FORWARD))
    for fault in (Fault(FaultKind.STOP_B), Fault(FaultKind.STOP_R, region="x", index=24)):
        bench.inject(fault)
    drive(driver.start(tensors.places[FORWARD][0]))
    assert bench.wait(5000)
    totals, error = bench.totals(), drive(driver.error())
    assert totals.reads and totals.writes
    assert (error.cause, error.channel, error.address) == (Cause.BUS_TIMEOUT, 1, totals.oldest)
    assert drive(driver.status()) == Status.BUSY | Status.DRAINING | Status.ERROR
    bench.heal()
    with pytest.raises(EngineError, match="BUS_TIMEOUT on channel 1"):
        drive(driver.wait(polls=100))


def test_addresses_reach_the_end_of_their_space():
    shape = Shape(1, 3, 4, 3)
    size = TensorRun(ODD_256, shape, seed=1).size
    tensors, bench = run(ODD_256, shape, base=2**64 - size, seed=1)
    for direction in (FORWARD, BACKWARD):
        tensors.run(bench, direction)
    assert tensors.differences(bench, FORWARD, BACKWARD) == []


def test_differences_are_seen():
    tensors, bench = run(NARROW_64, Shape(1, 2, 3, 2), gap=40)
    tensors.run(bench, FORWARD)
    assert tensors.differences(bench, FORWARD) == []
    address, size = tensors.places["y"]
    bench.view(address + 4, 1)[0] ^= 1
    bench.view(address - 1, 1)[0] ^= 1
    assert tensors.differences(bench, FORWARD) == [f"y: 1 bytes of {size} differ, first 4"]
    bench.view(address + 4, 1)[0] ^= 1
    assert tensors.differences(bench, FORWARD) == [
        f"1 bytes outside of all regions have changed, first at {address - 1:#x}"]


# Faults.

@pytest.fixture(scope="module")
def scenes(pytestconfig):
    """Scenes by engine and number, made once."""
    faults.ENGINES.update(narrow=NARROW_64, odd=ODD_256)
    made = {}

    def scene(name, number):
        key = name, number
        if key not in made:
            made[key] = make_scene(name, [pytestconfig.getoption("--seed"), number], positions=50,
                                   **build(faults.ENGINES[name]))
        return made[key]

    return scene


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", ["narrow", "odd"])
@pytest.mark.parametrize("kind", FAULT_CLASSES, ids=lambda kind: kind.__name__)
def test_fault_is_reported_and_the_next_run_is_right(scenes, kind, name, number):
    scene = scenes(name, number)
    if kind.fits(scene):
        try:
            assert run_fault(scene, kind) in ("reported", "unaffected")
        except Failure:
            faults.recover(scene)
            raise


class _Lies(ReadError):
    def expected(self):
        return Expected(frozenset({Cause.READ_DECERR, Cause.READ_SLVERR}), (14,))


class _Quiet(FaultClass):
    def expected(self):
        return Expected(frozenset({Cause.ABORTED}))


class _Spoils(FaultClass):
    def act(self):
        name = "gamma" if self.scene.direction == BACKWARD else "dy"
        self.bench.view(self.scene.place(name), 1)[0] ^= 1


class _Forgets(FaultClass):
    def conclude(self):
        error = super().conclude()
        for name in self.scene.run.results[self.scene.direction]:
            self.bench.view(*self.scene.run.places[name])[-1:] ^= 1
        return error

    def expected(self):
        return Expected(writes=False)


class _Hangs(Stop):
    def mend(self):
        pass


@pytest.mark.parametrize("kind, outcome", [
    (_Lies, "wrong report"), (_Quiet, "unreported"), (_Spoils, "memory"), (_Forgets, "memory"), (_Hangs, "hang")])
def test_the_campaign_sees_what_is_wrong(scenes, kind, outcome):
    scene = scenes("narrow", 9)
    with pytest.raises(Failure) as caught:
        run_fault(scene, kind)
    assert caught.value.outcome == outcome
    faults.recover(scene)
    assert run_fault(scene, FaultClass) == "unaffected"


def test_the_campaign_sees_a_later_run_that_is_wrong(scenes, monkeypatch):
    class Stays(FaultClass):
        def conclude(self):
            monkeypatch.setattr(self.bench, "heal", lambda: self.bench.inject(Fault(FaultKind.READ_RESPONSE)))
            return super().conclude()

    scene = scenes("narrow", 9)
    with pytest.raises(Failure, match="READ_SLVERR on channel 5") as caught:
        run_fault(scene, Stays)
    assert caught.value.outcome == "later run"
    monkeypatch.undo()
    faults.recover(scene)


def test_commands(scenes, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(faults, "make_scene", lambda name, seed, cache: scenes(name, 0))
    monkeypatch.setattr(faults, "EngineBench", lambda *_arguments, **_options: None)
    output = tmp_path / "faults.json"
    assert faults.main(["--engines", "narrow", "--scenes", "1", "--jobs", "1", "-o", str(output)]) == 0
    assert "ReadError" in capsys.readouterr().out and "Corrupt" in output.read_text()
    monkeypatch.setattr(engine_soak, "engines", lambda *_arguments: NARROW_64)
    monkeypatch.setattr(engine_soak, "run_case", lambda *_arguments, **_options: ["a message"])
    assert engine_soak.main(["--cores", "narrow", "--engines", "2", "--cases", "3", "--jobs", "1"]) == 1
    assert "2/2: narrow" in (printed := capsys.readouterr().out) and "6 tensors, 6 wrong" in printed


def test_figures_of_a_small_tensor():
    width, n = 8, 2 * 3 * 4
    result = measure_case(Case((2, 3, 4, 17)), optimise=False)
    forward, backward = result[FORWARD], result[BACKWARD]
    stored = n * (17 + 17)  # the last tile is one channel, and has a whole block
    assert forward["floor"] == (n * 17 * 2 + stored) / (n * 17)
    assert backward["floor"] == (n * 17 * 2 + 2 * stored) / (n * 17)
    for figures in (forward, backward):
        assert sum(figures["bytes_per_element"].values()) == pytest.approx(figures["total"], rel=1e-12)
        assert figures["total"] * n * 17 == pytest.approx(width * (figures["read_beats"] + figures["write_beats"]))
        assert figures["ideal"] < figures["cycles"] and 0 < figures["busy"] < 1
    assert forward["bytes_per_element"]["records"] * n * 17 >= 17 * 4 * opn16.record_words


def test_documented_figures_are_those_of_this_version():
    case = BYTES_CASES[0]
    row = json.loads((ROOT / "docs" / "engine.json").read_text())["bytes"][0]
    assert (tuple(row["shape"]), row["data_width"]) == (case.shape, 64)
    assert measure_case(case, optimise=False) == {direction: row[direction] for direction in (FORWARD, BACKWARD)}


def test_figures_are_drawn(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    rows = json.loads((ROOT / "docs" / "engine.json").read_text())["bytes"]
    monkeypatch.setattr(engine_figures, "measure_case", lambda case, **_options: {
        direction: rows[0][direction] for direction in (FORWARD, BACKWARD)})
    assert engine_figures.main(["-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "engine.json").read_text())["bytes"][0] == rows[0]
    assert "3.0625" in (svg := (tmp_path / "engine.svg").read_text()) and "</svg>" in svg
    assert "speed 24/24" in capsys.readouterr().out


def test_order_of_results():
    tasks = [(7, 2), (9, 4)]
    assert list(in_order(2, divmod, tasks)) == list(in_order(1, divmod, tasks)) == [(3, 1), (2, 1)]


def test_engines_of_the_soak_are_allowed():
    rng = np.random.default_rng(0)
    for name, width in itertools.product(engine_soak.CORES, (32, 64, 128, 256, 512)):
        config = engine_soak.engines(name, width, rng)
        core = engine_soak.CORES[name]
        assert (config.core.replace(name=core.name), config.bus.data_width) == (core, width)
        assert random_shape(config, rng).n_positions >= 1
