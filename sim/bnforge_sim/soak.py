"""``python -m bnforge_sim.soak``: the full product of the coverage space, from many seeds, resumable.

One round is every combination of preset, activation, shape, stalls and input class; the other axes are drawn per
combination. Rounds go on with new seeds until the target is reached.
"""

import argparse
import hashlib
import itertools
import json
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import numpy as np

from bnforge import emit
from bnforge.presets import PRESETS

from .build import DEFAULT_CACHE
from .simulator import Simulator, compare
from .stimulus import axes, random_segment

__all__ = ["main"]

PRODUCT_AXES = ("activation", "shape", "stalls", "inputs")
BATCH = 24
"""Cases per run of the bench."""


def product_cases(config, seed):
    """The full product over :data:`PRODUCT_AXES` in a seeded order, other axes random: list of dict."""
    space = axes(config)
    rng = np.random.default_rng(seed)
    cases = []
    for values in itertools.product(*(space[axis] for axis in PRODUCT_AXES)):
        case = dict(zip(PRODUCT_AXES, values))
        for axis in space:
            if axis not in case:
                case[axis] = space[axis][rng.integers(len(space[axis]))]
        cases.append(case)
    return [cases[index] for index in rng.permutation(len(cases))]


def _batches(seed):
    """Endless (preset name, seed, case list), all presets in turn, round after round."""
    for round_number in itertools.count():
        cases = {name: product_cases(config, [seed, round_number]) for name, (config, _) in PRESETS.items()}
        longest = max(map(len, cases.values()))
        for start in range(0, longest, BATCH):
            for name, listed in cases.items():
                if start < len(listed):
                    yield round_number, name, [seed, round_number, start], listed[start:start + BATCH]


def run_batch(name, seed, cases, cache=DEFAULT_CACHE):
    """Run cases of one preset: (elements, mismatches, messages, cycles, seconds in simulation)."""
    config = PRESETS[name][0]
    simulator = Simulator(config, cache=cache)
    rng = np.random.default_rng(seed)
    pairs = [random_segment(config, case, rng) for case in cases]
    start = time.perf_counter()
    outcomes = simulator.run_segments([stretch for _, stretch in pairs], seed=sum(seed))
    seconds = time.perf_counter() - start
    elements, mismatches, messages = 0, 0, []
    for case, (tiles, _), outcome in zip(cases, pairs, outcomes, strict=True):
        result = compare(config, tiles, outcome)
        elements += result.elements
        mismatches += result.mismatches
        messages += [f"{name}, seed {seed}, {case}: {message}" for message in result.messages]
    return elements, mismatches, messages, sum(outcome.cycles for outcome in outcomes), seconds


class Progress:
    """What has been done, kept in a file so that an interrupted soak goes on where it stopped.

    Another seed, or another design, starts again.
    """

    def __init__(self, path, seed, design):
        self.path = path
        self.state = {"seed": seed, "design": design, "batches": [], "elements": {name: 0 for name in PRESETS},
                      "mismatches": 0, "cycles": 0, "simulation_seconds": 0.0}
        if path.exists():
            stored = json.loads(path.read_text())
            if (stored["seed"], stored["design"]) == (seed, design):
                self.state = stored

    @property
    def elements(self):
        return sum(self.state["elements"].values())

    def add(self, index, name, elements, mismatches, cycles, seconds):
        state = self.state
        state["batches"].append(index)
        state["elements"][name] += elements
        state["mismatches"] += mismatches
        state["cycles"] += cycles
        state["simulation_seconds"] = round(state["simulation_seconds"] + seconds, 3)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(state))
        new.replace(self.path)


def _bar(progress, target, started, fresh):
    share = min(1.0, progress.elements / target)
    rate = fresh / max(time.perf_counter() - started, 1e-9)
    return (f"[{'#' * int(30 * share):<30}] {progress.elements:.3e} of {target:.1e} elements, "
            f"{progress.state['mismatches']} mismatches, {rate:.3g} elements/s")


def soak(target, seed, jobs, state_file, cache=DEFAULT_CACHE, report=print, progress_stream=sys.stderr):
    """Run batches until ``target`` elements have been compared and one whole round is done; returns the state."""
    design = hashlib.sha256()
    for name, (config, _) in PRESETS.items():
        report(f"building {name}")
        verilog = emit.verilog(config)
        design.update(verilog.encode())
        Simulator(config, verilog=verilog, cache=cache)
    progress = Progress(state_file, seed, design.hexdigest())
    started, before = time.perf_counter(), progress.elements
    done = set(progress.state["batches"])
    todo = ((index, *batch) for index, batch in enumerate(_batches(seed)) if index not in done)
    with ProcessPoolExecutor(jobs) as pool:
        running = {}
        while True:
            while len(running) < 2 * jobs:
                index, round_number, name, batch_seed, cases = next(todo)
                if round_number and progress.elements >= target:
                    break
                running[pool.submit(run_batch, name, batch_seed, cases, cache)] = index, name
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, name = running.pop(future)
                elements, mismatches, messages, cycles, seconds = future.result()
                progress.add(index, name, elements, mismatches, cycles, seconds)
                for message in messages:
                    report(message)
            progress_stream.write("\r" + _bar(progress, target, started, progress.elements - before))
            progress_stream.flush()
    progress_stream.write("\n")
    return progress.state


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--elements", type=float, default=1e8, help="stored elements to compare (default 1e8)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another run (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--state", type=Path, default=Path("build/soak.json"),
                        help="file that keeps the progress (default build/soak.json); delete it to start again")
    chosen = parser.parse_args(arguments)
    state = soak(chosen.elements, chosen.seed, chosen.jobs, chosen.state)
    total = sum(state["elements"].values())
    print(f"seed {chosen.seed}: {total} elements compared, {state['mismatches']} mismatches, {state['cycles']} cycles, "
          f"{total / max(state['simulation_seconds'], 1e-9):.3g} elements/s of simulation time")
    for name, count in state["elements"].items():
        print(f"  {name}: {count} elements")
    return 1 if state["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())
