"""Runs a generated core in the compiled bench, and compares it with the model bit for bit."""

import functools
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bnforge import emit

from .build import DEFAULT_CACHE, build_bench
from .expect import expect
from .files import Rule, State, Stalls, read_outcomes, write_stimulus
from .stimulus import axes, random_segment
from .sweep_stimulus import random_sweep_segment, sweep_axes
from .tiles import segment

__all__ = ["SimulationError", "Simulator", "Comparison", "compare", "simulate"]


class SimulationError(RuntimeError):
    """The bench itself failed."""


@functools.cache
def _verilog(config):
    return emit.verilog(config)


class Simulator:
    """One core, compiled once.

    Parameters
    ----------
    config : bnforge.config.Config
    verilog : str, optional
        Its SystemVerilog; default: generated.
    cache : path
        Where compiled benches are kept.
    waves : bool
        Whether a run can write a VCD file.

    Raises
    ------
    bnforge_sim.build.BuildError
        A tool is missing or failed.
    """

    def __init__(self, config, *, verilog=None, cache=DEFAULT_CACHE, waves=False):
        if verilog is None:
            verilog = _verilog(config)
        self.config = config
        self.executable = build_bench(config, verilog, cache=cache, waves=waves)

    def run_segments(self, segments, *, seed=0, waves=None):
        """Run segments one after the other, each from a reset.

        Parameters
        ----------
        segments : sequence of Segment
        seed : int
            Of the registers' state before the first reset.
        waves : path, optional
            VCD file to write.

        Returns
        -------
        list of Outcome
        """
        with tempfile.TemporaryDirectory(prefix="bnforge-") as directory:
            stimulus, result = Path(directory) / "stimulus", Path(directory) / "result"
            with open(stimulus, "wb") as file:
                write_stimulus(file, self.config, segments, seed)
            command = [str(self.executable), str(stimulus), str(result), *([str(waves)] if waves else [])]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SimulationError(f"bench failed with status {done.returncode}: {done.stderr.strip()[-2000:]}")
            with open(result, "rb") as file:
                return read_outcomes(file, self.config)

    def run(self, tiles, *, stalls=Stalls(), seed=0, waves=None, **options):
        """Outcome of ``tiles`` run back to back from a reset; ``options`` are further fields of ``Segment``."""
        return self.run_segments([segment(self.config, tiles, stalls=stalls, seed=seed, **options)], seed=seed,
                                 waves=waves)[0]


@dataclass
class Comparison:
    """Result of comparing outcomes with the model.

    Attributes
    ----------
    elements : int
        Stored elements compared, masked lanes included.
    mismatches : int
        Elements, exponents, TLAST bits, record words and status flags that differ, are missing or are too many.
    messages : list of str
        The first difference of each kind, per segment.
    """

    elements: int = 0
    mismatches: int = 0
    messages: list = field(default_factory=list)

    def add(self, other):
        self.elements += other.elements
        self.mismatches += other.mismatches
        self.messages += other.messages


def _differ(comparison, what, got, wanted):
    """Count where two arrays of rows differ; rows that only one of them has differ in every column."""
    common = min(len(got), len(wanted))
    wrong = got[:common] != wanted[:common]
    count = int(wrong.sum()) + abs(len(got) - len(wanted)) * (got[:1].size or wanted[:1].size)
    if not count:
        return
    if wrong.any():
        at = tuple(int(index) for index in np.argwhere(wrong)[0])
        detail = f"first at {at}: {got[at]}, not {wanted[at]}"
    else:
        detail = f"{len(got)} came, not {len(wanted)}"
    comparison.mismatches += count
    comparison.messages.append(f"{what}: {count} differ, {detail}")


def compare(config, tiles, outcome, *, state=State.FINISHED, status=None, cleared=0):
    """Compare a segment with the model, bit for bit.

    Parameters
    ----------
    config : bnforge.config.Config
    tiles : sequence of Tile
        The tiles that must come out.
    outcome : Outcome
    state : State
        How the segment must have ended.
    status, cleared : int
        The flags that must be set at the end and after ``status_clear``; default: those of ``tiles``, and none.

    Returns
    -------
    Comparison
        Elements, exponents, TLAST of both streams, record words, and the status flags.
    """
    wanted = [expect(config, tile) for tile in tiles]
    comparison = Comparison(elements=sum(item.elements.size for item in wanted))
    if outcome.state is not state:
        comparison.mismatches += 1
        why = f"{outcome.rule.name} on {outcome.port}" if outcome.rule is not Rule.NONE else outcome.state.name
        comparison.messages.append(f"ended as {why} in cycle {outcome.cycles}")
    _differ(comparison, "elements", outcome.elements, np.concatenate([item.elements for item in wanted]))
    if config.is_block:
        _differ(comparison, "exponents", outcome.exponents, np.concatenate([item.exponents for item in wanted]))
    _differ(comparison, "TLAST", outcome.last, np.concatenate([item.last for item in wanted]))
    _differ(comparison, "record words", outcome.records, np.concatenate([item.records for item in wanted]))
    _differ(comparison, "record TLAST", outcome.record_last, np.concatenate([item.record_last for item in wanted]))
    if status is None:
        status = int(np.bitwise_or.reduce([item.status for item in wanted]))
    _differ(comparison, "status", np.array([outcome.status]), np.array([status]))
    _differ(comparison, "status after clear", np.array([outcome.cleared]), np.array([cleared]))
    return comparison


def _stimulus(config):
    """The axes of random cases, and what makes tiles and segment of one."""
    if config.is_one_pass:
        return axes(config), random_segment
    return sweep_axes(config), lambda config, case, rng: random_sweep_segment(config, [case], rng)


def simulate(config, *, elements=200_000, seed=0, cache=DEFAULT_CACHE, waves=None, report=print):
    """Random tiles through the core, compared with the model: the ``simulate`` verb.

    Parameters
    ----------
    config : bnforge.config.Config
    elements : int
        Stop after the case in which this many stored elements have been compared.
    seed : int
    cache : path
    waves : path, optional
        VCD file of the first case; only that one runs.
    report : callable
        Gets lines of text.

    Returns
    -------
    Comparison
    """
    simulator = Simulator(config, cache=cache, waves=waves is not None)
    rng = np.random.default_rng(seed)
    space, make = _stimulus(config)
    total, busy, cycles = Comparison(), 0.0, 0
    while total.elements < elements:
        case = {axis: values[rng.integers(len(values))] for axis, values in space.items()}
        tiles, stretch = make(config, case, rng)
        start = time.perf_counter()
        outcome, = simulator.run_segments([stretch], seed=seed, waves=waves)
        busy += time.perf_counter() - start
        cycles += outcome.cycles
        result = compare(config, tiles, outcome)
        total.add(result)
        for message in result.messages:
            report(f"  {case}: {message}")
        if waves is not None:
            report(f"waves of {outcome.cycles} cycles in {waves}")
            break
    report(f"{config.name}: seed {seed}, {total.elements} elements compared, {total.mismatches} mismatches, "
           f"{cycles} cycles, {total.elements / busy:.3g} elements/s in simulation")
    return total
