"""Trains a small convolutional net on the bundled digits, every convolution and norm of it on the simulated engine.

Forward and backward, each pass is one chain of jobs that the engine runs from memory; software does the linear layer,
the loss and SGD. Whatever the engine writes is compared with the model, bit for bit, at every step; the first
difference ends the run. Beside it the same training by the model alone, by the model with a wrong gradient, and in
PyTorch. docs/rtl_training.md has the result.

    python examples/train_digits_rtl.py --steps 5        # the first steps on the engine, and what they cost
    python examples/train_digits_rtl.py -o docs          # everything; writes docs/rtl_training.*
    python examples/train_digits_rtl.py --rates -o docs  # how the learning rate was chosen

The run on the engine goes on where it was interrupted. Needs scikit-learn; but for --steps torch (extra "train"); -o
also matplotlib.
"""

import argparse
import functools
import json
import math
import platform
import sys
import time
from pathlib import Path

import bnforge
import numpy as np
import rtl_report
import sklearn
from bnforge_sim.engine import engine_verilog
from rtl_machines import ComparedMachine, Difference, EngineMachine, ModelMachine
from rtl_task import TASK, digits
from rtl_training import Checkpoint, Training, train_standard

RATES = (0.05, 0.1, 0.2, 0.3)
SEED = 0
"""Of the run on the engine."""


class Progress:
    """A line on standard error."""

    def __init__(self, total, done=0):
        self.done, self.total, self.first, self.start = done, total, done, time.perf_counter()

    def step(self, text):
        """One of ``total`` is done."""
        self.done += 1
        seconds = time.perf_counter() - self.start
        left = seconds / (self.done - self.first) * (self.total - self.done)
        bar = "#" * (30 * self.done // self.total)
        print(f"\r[{bar:30}] {self.done}/{self.total} {seconds:5.0f} s, {left:5.0f} s to go  {text:48}",
              end="" if self.done < self.total else "\n", file=sys.stderr, flush=True)


def compared(task, n_images, **options):
    """The engine with the model beside it; ``options`` as of :class:`.EngineMachine`."""
    frozen = options.get("frozen", False)
    return ComparedMachine(EngineMachine(task, n_images, **options), ModelMachine(task, n_images, frozen))


def run_on_engine(task, seed, data, checkpoint=None, steps=None, bench=None):
    """Train on the engine; all that it writes is compared with the model.

    Parameters
    ----------
    task : Task
    seed : int
    data : pair of arrays
        Images and labels.
    checkpoint : Checkpoint
        Where to go on, and what to keep.
    steps : int
        How many to do; default all.
    bench : dict
        Options of :class:`.EngineBench`.

    Returns
    -------
    training : Training
    state : dict
        ``compared``: bytes; ``seconds``: of the processor; ``steps``: of each step, and of it of each START, cycles,
        bytes read and bytes written.
    """
    machine, training = compared(task, task.batch, bench=bench), Training(task, seed, *data)
    engine = machine.engine
    state = checkpoint and checkpoint.load(training) or {"compared": 0, "seconds": 0.0, "steps": []}
    last = task.steps if steps is None else min(steps, task.steps)
    progress = Progress(last, len(training.losses))
    while len(training.losses) < last:
        before = machine.compared, time.process_time()
        training.step(machine)
        state["compared"] += machine.compared - before[0]
        state["seconds"] += time.process_time() - before[1]
        state["steps"].append([[start[key] for key in ("cycles", "read", "written")] for start in engine.log])
        engine.log.clear()
        if checkpoint:
            checkpoint.save(training, state)
        progress.step(f"loss {training.losses[-1]:.3f}, {sum(start[0] for start in state['steps'][-1])} cycles a step")
    return training, state


def answer_on_engine(task, training, numbers, bench=None):
    """Answer images on the engine with running statistics, compared with the model: percent that are right."""
    progress = Progress(-(-len(numbers) // task.batch))
    return training.accuracy(functools.partial(compared, task, frozen=True, bench=bench), numbers,
                             lambda: progress.step("test images"))


def measure_jobs(task, data, bench=None):
    """Cycles, bytes and multiply-adds of every job when it is started alone, in the first step: list of dict."""
    machine = compared(task, task.batch, alone=True, bench=bench)
    Training(task, SEED, *data).step(machine)
    found = []
    for start in machine.engine.log:
        index, kind = start["jobs"][0].split(".")
        convolution = int(index) + (kind == "backward")
        products = 0
        if convolution < len(task.layers):
            taken = [sum(len(window.taken(place)) for place in range(window.results))
                     for window in machine.stack.windows[convolution]]
            products = task.batch * math.prod(taken) * math.prod(machine.stack.kernel(convolution)[2:])
        found.append({"job": start["jobs"][0], "products": products,
                      **{key: start[key] for key in ("cycles", "read", "written")}})
    return found


def train_model(task, seed, data, test, has_range_term=True):
    """One run of the model alone: dict of ``losses``, ``accuracy``, ``seconds`` of the processor."""
    start, training = time.process_time(), Training(task, seed, *data)
    machine = ModelMachine(task, task.batch, has_range_term=has_range_term)
    losses = [training.step(machine) for _ in range(task.steps)]
    accuracy = training.accuracy(functools.partial(ModelMachine, task, frozen=True), test)
    return {"losses": losses, "accuracy": accuracy, "seconds": time.process_time() - start}


RUNS = {"standard": train_standard, "one-pass": train_model,
        "no range term": functools.partial(train_model, has_range_term=False)}
"""Without the engine: convolutions and batch norm of PyTorch; the model, which is what the engine computes; T = 0."""


def compare(task, seeds, data, test, names=tuple(RUNS)):
    """Runs without the engine: dict of variant to dict of lists, an entry for each seed; the losses of the first."""
    found, progress = {}, Progress(len(seeds) * len(names))
    for name in names:
        runs = []
        for seed in seeds:
            runs.append(RUNS[name](task, seed, data, test))
            progress.step(f"{name} {runs[-1]['accuracy']:.1f} %")
        per_epoch = task.steps // task.epochs
        found[name] = {"accuracy": [round(run["accuracy"], 4) for run in runs],
                       "seconds": [round(run["seconds"], 1) for run in runs],
                       "loss": [round(float(np.mean(run["losses"][-per_epoch:])), 5) for run in runs],
                       "losses": [round(loss, 5) for loss in runs[0]["losses"]]}
    return found


def compare_rates(task, seeds, data):
    """Accuracy at every learning rate on the last quarter of the training images, which then does not train.

    Standard batch norm, for which the rate is chosen, with every seed; the model with the first two.
    """
    first = task.training_images - task.training_images // 4
    held_out = np.arange(first, task.training_images)
    found = {"standard": {}, "one-pass": {}}
    for name, chosen in (("standard", seeds), ("one-pass", seeds[:2])):
        for rate in RATES:
            runs = compare(task.replace(training_images=first, rate=rate), chosen, data, held_out, (name,))
            found[name][str(rate)] = runs[name]["accuracy"]
    return {"rates": {"seeds": list(seeds), "accuracy": found}}


def describe(task):
    """The task as docs/rtl_training.json has it."""
    names = ("layers", "size", "batch", "epochs", "rate", "momentum", "weight_decay", "running_momentum",
             "training_images")
    return {**{name: getattr(task, name) for name in names}, "engine": task.engine.to_dict()}


def versions():
    """What measures."""
    import torch
    return {"python": platform.python_version(), "bnforge": bnforge.__version__, "numpy": np.__version__,
            "torch": torch.__version__, "scikit-learn": sklearn.__version__}


def whole_run(task, data, test, path):
    """The run on the engine with its test: the parts ``engine`` and ``jobs`` of docs/rtl_training.json."""
    checkpoint = Checkpoint(path, json.dumps(describe(task)) + engine_verilog(task.engine))
    training, state = run_on_engine(task, SEED, data, checkpoint)
    accuracy, totals = answer_on_engine(task, training, test), np.array(state["steps"])
    cycles = totals[..., 0].sum(axis=1)
    forward, backward = totals.mean(axis=0).round(1).tolist()
    engine = {"seed": SEED, "steps": len(totals), "compared": state["compared"], "accuracy": round(accuracy, 4),
              "seconds": round(state["seconds"]), "forward": forward, "backward": backward,
              "cycles": [int(cycles.min()), int(cycles.max())],
              "losses": [round(loss, 5) for loss in training.losses]}
    return {"engine": engine, "jobs": measure_jobs(task, data)}


def main(arguments=None):
    """Print tables; write the files where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, help="only so many steps on the engine, and nothing else")
    parser.add_argument("--seeds", type=int, default=5, help="of the runs without the engine (default: %(default)s)")
    parser.add_argument("--rates", action="store_true", help="compare learning rates, on part of the training images")
    parser.add_argument("--state", type=Path, default=Path("build/rtl_training.npz"),
                        help="file that keeps the run (default: %(default)s); delete it to start again")
    parser.add_argument("-o", "--output", type=Path,
                        help="folder for rtl_training.json and .svg; the tables of an rtl_training.md there follow")
    chosen = parser.parse_args(arguments)
    for name, least in (("steps", chosen.steps), ("seeds", chosen.seeds)):
        if least is not None and least < 1:
            parser.error(f"{name} must be at least 1, not {least}")
    data = digits()
    test = np.arange(TASK.training_images, len(data[0]))
    try:
        if chosen.steps:
            training, state = run_on_engine(TASK, SEED, data, steps=chosen.steps)
            print(rtl_report.steps_table(training.losses, state["steps"], TASK.batch))
            print(f"\n{state['compared']:,} bytes as the model has them")
            return 0
        if chosen.rates:
            new = compare_rates(TASK, range(100, 100 + chosen.seeds), data)
            print(rtl_report.rates_table(new))
        else:
            new = {"task": describe(TASK), "versions": versions(), **whole_run(TASK, data, test, chosen.state),
                   "seeds": list(range(chosen.seeds)), "variants": compare(TASK, range(chosen.seeds), data, test)}
            print("\n\n".join(table(new) for name, table in rtl_report.TABLES.items() if name != "rates"))
    except Difference as difference:
        print(f"\n{difference}", file=sys.stderr)
        return 1
    if chosen.output:
        rtl_report.write(chosen.output, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
