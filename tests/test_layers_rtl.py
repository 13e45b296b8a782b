"""Chains of jobs on generated engines with an array: the whole memory is compared with the model's, byte by byte."""

import numpy as np
import pytest

from bnforge.array_config import ArrayConfig
from bnforge.config import Activation
from bnforge.engine_config import EngineConfig
from bnforge.presets import opn4
from bnforge_model import Shape
from bnforge_model.convolution import Convolution
from bnforge_sim import layer_soak
from bnforge_sim.driver import Status
from bnforge_sim.engine import MemoryModel
from bnforge_sim.engine_soak import random_model
from bnforge_sim.layer_runs import LayerRun
from bnforge_sim.layer_soak import CORES, engine, main, random_layers, run_case
from bnforge_sim.layers import Layer

OPN4 = EngineConfig(core=opn4, array=ArrayConfig.of(opn4, depth=64))
"""The engine of test_example_rtl.py: built once for both."""
pytestmark = pytest.mark.xdist_group("engine array")
BUILD = {"optimise": False}
LAYERS = [Layer(convolution=Convolution(3, 1, 1), channels=6),
          Layer(convolution=Convolution(3, 2, 1), channels=5, activation=Activation.RELU6)]


@pytest.mark.parametrize("case", range(6))
def test_random_layers(case, seed):
    model = MemoryModel() if case == 0 else None
    assert run_case(OPN4, np.random.default_rng([seed, case]), positions=60, model=model, **BUILD) == []


def test_every_job_writes_its_own_places_only(seed):
    """Job by job, each with the rights to read and write that it has."""
    run = LayerRun(OPN4, Shape(2, 5, 6, 3), LAYERS, scattered=True, seed=seed)
    bench, network, done = run.bench(model=random_model(np.random.default_rng(seed)), **BUILD), run.network, []
    for name in network.forward_chain + network.backward_chain:
        assert run.run(bench, [name]) & (Status.DONE | Status.ERROR | Status.BUSY) == Status.DONE
        done.append(name)
        assert run.differences(bench.memory, *done, linked=[[job] for job in done]) == []


def test_fused_layers_need_fewer_bytes_and_cycles():
    """The result of the convolution is neither written nor read."""
    needed = {}
    for fused in (True, False):
        run = LayerRun(OPN4, Shape(4, 6, 6, 4), LAYERS[:1], fused=fused)
        bench = run.bench(**BUILD)
        before = bench.totals().cycle
        run.run(bench, run.network.forward_chain)
        counts = bench.counts()
        assert counts["0.y"].write_bytes == run.network.places["0.y"][1]
        needed[fused] = bench.totals().cycle - before, bench.totals().read_beats + bench.totals().write_beats
        if not fused:
            size = run.network.places["0.x"][1]
            assert counts["0.x"].write_bytes == size and counts["0.x"].read_beats * OPN4.bus.bytes >= size
    assert all(fused < unfused for fused, unfused in zip(needed[True], needed[False], strict=True))


@pytest.mark.parametrize("name", CORES)
def test_engines_of_the_soak(name, seed, request):
    """Their configurations and layers are allowed; with --all-engines each is built, and runs some."""
    rng = np.random.default_rng([seed, 9])
    config = engine(name, rng)
    images, layers = random_layers(config, rng)
    assert images.channels <= 2 * config.lanes + 1 and 1 <= len(layers) <= 3
    if request.config.getoption("--all-engines"):
        assert [message for _ in range(10) for message in run_case(config, rng, **BUILD)] == []


def test_the_soak_reports_what_differs(monkeypatch, capsys):
    monkeypatch.setattr(layer_soak, "run_case", lambda *_arguments, **_options: ["a message"])
    assert main(["--cores", "opn4", "--engines", "2", "--cases", "3", "--jobs", "1"]) == 1
    assert "2/2: opn4, 6 networks, 6 wrong" in (printed := capsys.readouterr().out) and "a message" in printed
