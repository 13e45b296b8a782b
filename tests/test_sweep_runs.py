"""Tensors through the engine of a baseline, sweep by sweep; most tests have the model in place of the engine."""

import numpy as np
import pytest
from bnforge.config import Algorithm, Config
from bnforge.engine_config import EngineConfig
from bnforge.formats import BlockFormat
from bnforge.sweeps.words import Sweep, fixed_words, param_words, sweeps_of
from bnforge_model import Shape, tile_slices
from bnforge_model.sweep_words import sweep_header_words
from bnforge_sim.sweep_runs import SweepRun

ALGORITHMS = [Algorithm.RANGE, Algorithm.SINGLE_PASS, Algorithm.TWO_PASS]
SHAPE = Shape(2, 3, 5, 3)


def run_of(algorithm, shape=SHAPE):
    return SweepRun(EngineConfig(core=Config(lanes=2, storage=BlockFormat(2, 8), algorithm=algorithm)), shape)


class Memory:
    """What a run uses of a bench."""

    def __init__(self, run):
        self.base, self.memory = run.base, np.random.default_rng(1).integers(256, size=run.size, dtype=np.uint8)

    def view(self, address, size):
        return self.memory[address - self.base:address - self.base + size]


def headers(run, bench, sweep):
    """Header words of a sweep's job as they are in memory."""
    core, at = run.config.core, run.places[f"job {sweep.name}"][0] + 4 * run.config.job_words
    found = []
    for tile in tile_slices(core, run.shape.channels):
        words = fixed_words(core) + len(param_words(core, sweep)) * (tile.stop - tile.start)
        found.append(bench.view(at, 4 * words).view("<u4"))
        at += 4 * words
    return found


@pytest.fixture(params=ALGORITHMS, ids=lambda algorithm: algorithm.value)
def modelled(request, monkeypatch):
    """A run whose engine is the model, and its memory."""
    def perfect(self, bench, sweep, address):
        assert address == self.places[f"job {sweep.name}"][0]
        for name, data in self.written(sweep).items():
            self._write(bench, name, data)

    monkeypatch.setattr(SweepRun, "_drive", perfect)
    run = run_of(request.param)
    return run, Memory(run)


def test_headers_come_from_the_records_that_are_in_memory(modelled):
    run, bench = modelled
    core, words = run.config.core, {"gamma": run.gamma, "beta": run.beta}
    for sweep in run.sweeps:
        run.run(bench, sweep)
        for tile, found in zip(tile_slices(core, run.shape.channels), headers(run, bench, sweep), strict=True):
            wanted = sweep_header_words(
                core, sweep, run.shape.n_positions, {name: words[name][tile] for name in param_words(core, sweep)},
                activation=run.activation, eps=run.eps, c=run.c, mask=np.ones(tile.stop - tile.start, bool))
            assert found.tolist() == wanted.tolist()
        words |= run.results[sweep].records


@pytest.mark.parametrize("place", ["y", "records SUMS", "x"])
def test_a_byte_that_is_not_as_the_model_says_is_found(modelled, monkeypatch, place):
    run, bench = modelled
    right = SweepRun._drive

    def wrong(self, bench, sweep, address):
        right(self, bench, sweep, address)
        if sweep is (Sweep.SUMS if place.startswith("records") else Sweep.NORMALISE):
            bench.view(*self.places[place])[1] ^= 4

    monkeypatch.setattr(SweepRun, "_drive", wrong)
    with pytest.raises(RuntimeError, match=f"(SUMS|NORMALISE): memory must be .* not another in 1 bytes of {place}$"):
        for sweep in run.sweeps:
            run.run(bench, sweep)


def test_every_sweep_may_touch_only_what_it_names(modelled):
    run, _ = modelled
    for sweep in run.sweeps:
        regions = {region.name: region for region in run.regions(sweep)}
        written = {name for name, region in regions.items() if region.write}
        assert written == set(run.written(sweep)) and not any(regions[name].read for name in written)
        assert {"head", "descriptors"} <= regions.keys()


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.value)
def test_the_engine_writes_what_the_model_says(algorithm):
    run = run_of(algorithm)
    bench = run.bench(optimise=False)
    for sweep in sweeps_of(run.config.core):
        run.run(bench, sweep)
    assert run.results[Sweep.GRADIENT].values.any()
