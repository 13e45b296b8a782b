"""The example that trains on the simulated engine: its committed result, and a few steps of a tiny network."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge.array_config import ArrayConfig
from bnforge.engine_config import EngineConfig
from bnforge.presets import opn4

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "examples"))

import rtl_machines
import rtl_report
import train_digits_rtl
from rtl_machines import Difference, EngineMachine, ModelMachine
from rtl_task import TASK, Sgd, digits, head, initial_parameters
from rtl_training import Checkpoint, Training

DATA = json.loads((ROOT / "docs" / "rtl_training.json").read_text(encoding="utf-8"))
TINY = TASK.replace(engine=EngineConfig(core=opn4, array=ArrayConfig.of(opn4, depth=64)), layers=((4, 1), (6, 2)),
                    size=4, batch=3, epochs=1, training_images=9)
"""Three steps; the engine of test_layers_rtl.py, built once for both."""
IMAGES, LABELS = digits()
CROPPED = IMAGES[:30, 2:6, 2:6], LABELS[:30]
BENCH = {"optimise": False}
pytestmark = pytest.mark.xdist_group("engine array")


def test_page_has_the_committed_figures():
    text = (ROOT / "docs" / "rtl_training.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in rtl_report.TABLES)
    assert rtl_report.with_tables(text, DATA) == text, "run python examples/rtl_report.py"


def test_the_committed_run_is_whole_and_good_enough():
    """Every step was compared, the losses are those of the model alone, and the range term is needed."""
    engine, variants = DATA["engine"], DATA["variants"]
    assert DATA["task"] == json.loads(json.dumps(train_digits_rtl.describe(TASK)))
    assert engine["steps"] == len(engine["losses"]) == TASK.steps
    assert engine["losses"] == variants["one-pass"]["losses"]
    assert engine["accuracy"] == variants["one-pass"]["accuracy"][engine["seed"]] >= 95
    assert len(variants["one-pass"]["accuracy"]) >= 5
    assert np.mean(variants["no range term"]["accuracy"]) < np.mean(variants["one-pass"]["accuracy"]) - 1
    assert min(variants["no range term"]["loss"]) > max(variants["one-pass"]["loss"])


def test_the_learning_rate_is_the_best_of_standard_batch_norm():
    means = {float(rate): round(np.mean(runs), 2) for rate, runs in DATA["rates"]["accuracy"]["standard"].items()}
    assert max(means, key=means.get) == TASK.rate


def test_the_jobs_are_those_of_a_step():
    """Started alone they move the same bytes as in their chains, and need a little more time."""
    both = np.array(DATA["engine"]["forward"]) + DATA["engine"]["backward"]
    alone = np.array([sum(job[key] for job in DATA["jobs"]) for key in ("cycles", "read", "written")])
    assert_array_equal(alone[1:], both[1:])
    assert both[0] < alone[0] < 1.05 * both[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(training, state) of three steps on the engine, interrupted after two; the checkpoint."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("run") / "state.npz", "a design")
    train_digits_rtl.run_on_engine(TINY, 1, CROPPED, checkpoint, steps=2, bench=BENCH)
    return *train_digits_rtl.run_on_engine(TINY, 1, CROPPED, checkpoint, bench=BENCH), checkpoint


def test_an_interrupted_run_on_the_engine_is_that_of_the_model(tiny):
    training, state, _ = tiny
    model, machine = Training(TINY, 1, *CROPPED), ModelMachine(TINY, TINY.batch)
    losses = [model.step(machine) for _ in range(TINY.steps)]
    assert training.losses == losses and len(losses) == 3
    for name, values in model.parameters.items():
        assert_array_equal(training.parameters[name], values)
        assert (values != initial_parameters(TINY, 1)[name]).any()
    for found, expected in zip(training.statistics, model.statistics, strict=True):
        assert_array_equal(found, expected)
    assert state["compared"] == 3 * sum(map(len, (machine.forward(*_arguments(model)) | machine.backward(
        np.zeros(machine.stack.shapes[-1].dims, int))).values()))
    assert len(state["steps"]) == 3 and state["seconds"] > 0


def _arguments(training):
    """What a forward pass takes."""
    names = range(len(TINY.layers))
    return (training.images[:TINY.batch], [training.parameters[f"{index}.weights"] for index in names],
            [(training.parameters[f"{index}.gamma"], training.parameters[f"{index}.beta"]) for index in names])


def test_every_step_needs_the_same_bytes(tiny):
    steps = np.array(tiny[1]["steps"])
    assert steps.shape == (3, 2, 3) and (steps[:, :, 1:] == steps[0, :, 1:]).all() and (steps > 0).all()


def test_test_images_are_answered_on_the_engine(tiny):
    """In two sizes: of a batch, and what is left."""
    training, numbers = tiny[0], np.arange(20, 25)
    expected = training.accuracy(lambda n_images: ModelMachine(TINY, n_images, frozen=True), numbers)
    assert train_digits_rtl.answer_on_engine(TINY, training, numbers, BENCH) == expected


def test_jobs_are_measured_one_by_one():
    jobs = train_digits_rtl.measure_jobs(TINY, CROPPED, BENCH)
    assert [job["job"] for job in jobs] == ["0.forward", "1.forward", "1.backward", "1.correlate", "0.backward",
                                            "0.correlate"]
    # Of three offsets along an axis, all but those that meet padding: 3 · 4 - 2, and with stride 2 3 · 2 - 1.
    first, second = 3 * 10**2 * 4, 3 * 5**2 * 4 * 6
    assert [job["products"] for job in jobs] == [first, second, 0, second, second, first]


@pytest.mark.parametrize("place", ["1.y", "0.records", "1.gradients", "0.dx", "0.products"])
def test_a_difference_ends_the_run(place, monkeypatch):
    """One bit of what the engine has written."""
    start = EngineMachine._start

    def flip(machine, jobs):
        start(machine, jobs)
        if any(place in machine.network.steps[job].writes for job in jobs):
            machine.network.view(machine.bench.memory, place)[-1] ^= 1

    monkeypatch.setattr(EngineMachine, "_start", flip)
    with pytest.raises(Difference, match=rf"^{re.escape(place)}: 1 of \d+ bytes differ from the model, the first at"):
        train_digits_rtl.run_on_engine(TINY, 0, CROPPED, steps=1, bench=BENCH)


def test_what_the_engine_does_not_write_is_noticed(monkeypatch):
    """The memory of the results is filled with noise before each pass."""
    monkeypatch.setattr(EngineMachine, "_start", lambda *_arguments: None)
    with pytest.raises(Difference, match=r"^0\.y: "):
        train_digits_rtl.run_on_engine(TINY, 0, CROPPED, steps=1, bench=BENCH)


def test_an_engine_that_does_not_end_is_told(monkeypatch):
    monkeypatch.setattr(rtl_machines, "PATIENCE", 100)
    with pytest.raises(TimeoutError, match="irq must come within 100 cycles"):
        train_digits_rtl.run_on_engine(TINY, 0, CROPPED, steps=1, bench=BENCH)


def test_command_prints_the_first_steps_or_the_difference(monkeypatch, capsys):
    monkeypatch.setattr(train_digits_rtl, "TASK", TINY)
    monkeypatch.setattr(train_digits_rtl, "digits", lambda: CROPPED)
    monkeypatch.setattr(train_digits_rtl, "compared", lambda task, n_images, bench: rtl_machines.ComparedMachine(
        EngineMachine(task, n_images, bench=BENCH), ModelMachine(task, n_images)))
    assert train_digits_rtl.main(["--steps", "1"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^\| 0 \| \d\.\d{4} \| [\d,]+ \| ", out, re.M) and "bytes as the model has them" in out
    monkeypatch.setattr(ModelMachine, "forward", lambda *_arguments: {})
    assert train_digits_rtl.main(["--steps", "1"]) == 1
    assert "the engine must write" in capsys.readouterr().err


def test_another_design_starts_again(tiny):
    training, _, checkpoint = tiny
    fresh = Training(TINY, 1, *CROPPED)
    assert Checkpoint(checkpoint.path, "another design").load(fresh) is None and fresh.losses == []
    assert checkpoint.load(fresh)["compared"] and fresh.losses == training.losses


def test_gradients_of_the_head_are_those_of_its_loss():
    """Against central differences in float64 with the step h. Their error is below h² times the third derivative along
    one coordinate, for a cross entropy at most 1 times the cube of what multiplies the coordinate, here below 4; and
    2^-53·8 / h from rounding losses below 8."""
    rng, h = np.random.default_rng(0), 2.0 ** -14
    parameters = {"head.weights": rng.standard_normal((3, 10)), "head.bias": rng.standard_normal(10)}
    y, labels = rng.uniform(0, 1, (2, 2, 2, 3)), np.array([3, 7])
    _, _, dy, gradients = head(parameters, y, labels)
    for values, gradient in ((y, dy), *((parameters[name], gradients[name]) for name in parameters)):
        for index in np.ndindex(values.shape):
            losses = []
            for sign in (1, -1):
                kept, values[index] = values[index], values[index] + sign * h
                losses.append(head(parameters, y, labels)[0])
                values[index] = kept
            assert abs((losses[0] - losses[1]) / (2 * h) - gradient[index]) < 64 * (h**2 + 2.0 ** -53 / h)


def test_command_refuses_no_steps(capsys):
    with pytest.raises(SystemExit):
        train_digits_rtl.main(["--steps", "0"])
    assert "steps must be at least 1, not 0" in capsys.readouterr().err


if importlib.util.find_spec("torch"):
    import torch

    def test_sgd_is_that_of_pytorch():
        """In fp32: the order of the operations is the same, so the results are."""
        parameters = {"0.gamma": np.float32([1, -1, 2]), "head.bias": np.float32([0.5, 0.25, -3])}
        ours = {name: values.copy() for name, values in parameters.items()}
        theirs = [torch.nn.Parameter(torch.from_numpy(values.copy())) for values in parameters.values()]
        sgd = Sgd(TINY, ours)
        optimiser = torch.optim.SGD(theirs, TINY.rate, TINY.momentum, weight_decay=TINY.weight_decay)
        rng = np.random.default_rng(0)
        for _ in range(3):
            gradients = {name: rng.standard_normal(3).astype(np.float32) for name in ours}
            for parameter, gradient in zip(theirs, gradients.values(), strict=True):
                parameter.grad = torch.from_numpy(gradient)
            optimiser.step()
            sgd.step(0, gradients)
        for values, parameter in zip(ours.values(), theirs, strict=True):
            # Each of 3 steps rounds some 4 times, magnitudes below 8: less than 12 · 8 · 2^-24 apart.
            assert np.abs(values - parameter.detach().numpy()).max() < 96 * 2.0 ** -24
