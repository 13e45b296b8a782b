"""``python -m bnforge_sim.faults``: a fault in every run, its report checked, then a healthy run on the same engine.

A *scene* is an engine, a tensor and a memory, all drawn from the seed. In it every class of fault
(:mod:`bnforge_sim.fault_classes`) has its run. After each the engine must be idle within a bound and have reported what
was wrong, or have done its work; nothing may have changed in memory outside of the results, and the tiles that the
registers count must be there. Then the pass is started again, without a reset, and must be right to the byte.
"""

import argparse
import collections
import json
import sys
import time
from pathlib import Path

import numpy as np

from bnforge.config import Activation
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge_model import Layout
from bnforge_model.core import tile_slices

from .build import DEFAULT_CACHE
from .engine import BrokenRule, EngineBench
from .engine_runs import BACKWARD, FORWARD, TensorRun, drive, in_order
from .engine_soak import CORES, random_model, random_shape
from .fault_classes import FAULT_CLASSES
from .fault_scenes import Hang, Scene

__all__ = ["ENGINES", "OUTCOMES", "make_scene", "run_fault", "recover", "main"]

ENGINES = {
    "tiny": EngineConfig(name="tiny", core=CORES["opn1_tiny"], bus=BusConfig(max_burst=4, outstanding=4, read_buffer=8,
                                                                             write_buffer=8)),
    "narrow": EngineConfig(name="narrow32", core=CORES["narrow"], bus=BusConfig(
        data_width=32, address_width=64, max_burst=16, outstanding=2, read_buffer=16, write_buffer=32)),
    "odd": EngineConfig(name="odd128", core=CORES["odd"], bus=BusConfig(data_width=128, address_width=40, max_burst=8)),
    "opn4": EngineConfig(name="opn4_256", core=CORES["opn4"], bus=BusConfig(data_width=256)),
    "opn16": EngineConfig(name="opn16_64", core=CORES["opn16"])}
"""The engines of the campaign."""
OUTCOMES = ("reported", "unaffected", "hang", "unreported", "wrong report", "broken rule", "memory", "not idle",
            "counters", "later run")
"""What a run can come to; all but the first two are bugs."""


class Failure(Exception):
    """An outcome that is a bug: its name, and what happened."""

    def __init__(self, outcome, message):
        super().__init__(f"{outcome}: {message}")
        self.outcome = outcome


def make_scene(name, seed, cache=DEFAULT_CACHE, positions=120, **options):
    """A :class:`.Scene` after its healthy run; ``options`` as :class:`.EngineBench`."""
    config, rng = ENGINES[name], np.random.default_rng(seed)
    shape = random_shape(config, rng, positions)
    signed = not config.core.is_block or config.core.storage.signed
    run = TensorRun(config, shape, layout=list(Layout)[rng.integers(2)], seed=int(rng.integers(2**31)), gap=64,
                    frozen=bool(rng.integers(6) == 0), activation=Activation(int(rng.integers(0 if signed else 1, 3))),
                    base=4096 * int(rng.integers(1, 2 ** min(config.bus.address_width - 13, 40))))
    bench = run.bench(model=random_model(rng), seed=int(rng.integers(2**31)), cache=cache,
                      **options)
    scene = Scene(run, bench, [FORWARD, BACKWARD][rng.integers(2)], rng)
    scene.enable()
    _fill(scene)
    start = bench.totals().cycle
    run.run(bench, scene.direction)
    scene.cycles = bench.totals().cycle - start
    scene.bursts = {name: (counts.read_bursts, counts.write_bursts) for name, counts in bench.counts().items()}
    found = run.differences(bench, *_done(scene))
    if found:
        raise Failure("later run", f"before any fault: {found}")
    return scene


def _done(scene, after=True):
    """The passes whose results are in memory before, or after, that of the scene."""
    return [FORWARD][:scene.direction == BACKWARD] + [scene.direction] * after


def _fill(scene):
    scene.bench.memory[:] = scene.run.image(*_done(scene, after=False))


def run_fault(scene, kind):
    """A run with a fault of a class, and a healthy one after it: "reported" or "unaffected".

    Raises
    ------
    Failure
    """
    bench = scene.bench
    _fill(scene)
    bench.heal()
    model = bench.model
    bench.set_model(type(model)(**{**vars(model), "strict": kind.strict}), int(scene.rng.integers(2**31)))
    bench.regions(scene.run.regions(scene.direction))
    fault = kind(scene)
    try:
        fault.prepare()
        before = bench.memory.copy()
        fault.start()
        fault.act()
        error = fault.conclude()
    except Hang as hang:
        raise Failure("hang", hang) from None
    except BrokenRule as broken:
        raise Failure("broken rule", broken) from None
    outcome = _judge(scene, fault.expected(), error, before)
    bench.heal()
    drive(scene.driver.clear())
    _rest(scene)
    _again(scene, model)
    return outcome


def _judge(scene, expected, error, before):
    bench, driver = scene.bench, scene.driver
    counters, totals = drive(driver.counters()), bench.totals()
    beats = {"bytes_read": totals.read_beats, "bytes_written": totals.stored_beats}
    if error is None:
        if expected.causes and not expected.may_pass:
            raise Failure("unreported", f"the run ended well, not with one of {_names(expected.causes)}")
    else:
        _check_report(expected, error)
    if expected.wild:
        return "unaffected" if error is None else "reported"
    if expected.writes if error is None else expected.done:
        # All but what the fault itself has changed.
        changed = before != scene.run.image(*_done(scene, after=False))
        if np.any((bench.memory != scene.run.image(*_done(scene))) & ~changed):
            raise Failure("memory", scene.run.differences(bench, *_done(scene)))
    outside = np.ones(len(before), dtype=bool)
    for region in scene.run.regions(scene.direction):
        if region.write:
            outside[region.start - bench.base:region.end - bench.base] = False
    if np.any((bench.memory != before) & outside):
        raise Failure("memory", "bytes outside of the results have changed")
    for name, count in beats.items():
        if counters["cycles"] and counters[name] != count * bench.config.bus.bytes:
            raise Failure("counters", f"{name} is {counters[name]}, on the bus there were {count} beats")
    if expected.true:
        _check_tiles(scene, counters)
    return "unaffected" if error is None else "reported"


def _names(causes):
    return ", ".join(sorted(cause.name for cause in causes))


def _check_report(expected, error):
    right = (error.cause in expected.causes and (expected.channels is None or error.channel in expected.channels) and
             (expected.address is None or error.address == expected.address))
    if not right:
        address = "" if expected.address is None else f" at {expected.address:#x}"
        raise Failure("wrong report", f"{error}, not {_names(expected.causes) or 'nothing'} on channel "
                                      f"{expected.channels}{address}")


def _tile_bytes(scene, tile):
    """Where a tile of the result and of its records lies: two arrays of offsets in their parts."""
    run, config = scene.run, scene.bench.config
    slices, shape = tile_slices(config.core, run.shape.channels), run.shape
    sizes = [config.stored_bytes(part.stop - part.start) for part in slices]
    image, position = np.divmod(np.arange(shape.n_positions), shape.area)
    if run.layout is Layout.NHWC:
        start = np.arange(shape.n_positions) * sum(sizes) + sum(sizes[:tile])
    else:
        start = image * shape.area * sum(sizes) + shape.area * sum(sizes[:tile]) + position * sizes[tile]
    words = 2 if scene.direction == BACKWARD else config.core.record_words
    return (start[:, np.newaxis] + np.arange(sizes[tile])).ravel(), np.arange(4 * words * slices[tile].start,
                                                                              4 * words * slices[tile].stop)


def _check_tiles(scene, counters):
    for index, name in enumerate(scene.run.results[scene.direction]):
        count = counters["record_tiles" if index else "result_tiles"]
        wanted = np.frombuffer(scene.run.results[scene.direction][name], np.uint8)
        found = scene.bench.view(*scene.run.places[name])
        if count > len(tile_slices(scene.bench.config.core, scene.run.shape.channels)):
            raise Failure("counters", f"{count} tiles of {name} are said to be written")
        for tile in range(count):
            where = _tile_bytes(scene, tile)[index]
            if not np.array_equal(found[where], wanted[where]):
                raise Failure("memory", f"tile {tile} of {name} is said to be written, and is not there")


def _rest(scene):
    """The engine must be idle, and stay so."""
    before = scene.bench.totals()
    try:
        scene.bench.step(200)
    except BrokenRule as broken:
        raise Failure("broken rule", broken) from None
    after = scene.bench.totals()
    if after.reads or after.writes or after.last_activity > before.cycle:
        raise Failure("not idle", after)


def _again(scene, model):
    """The healthy run."""
    bench = scene.bench
    bench.set_model(model, int(scene.rng.integers(2**31)))
    _fill(scene)
    try:
        scene.run.run(bench, scene.direction, scene.bound)
    except Exception as error:  # whatever it is, the engine has not recovered
        raise Failure("later run", f"{type(error).__name__}: {error}") from None
    found = scene.run.differences(bench, *_done(scene))
    if found:
        raise Failure("later run", found)


def recover(scene):
    """Reset the engine after a bug."""
    scene.bench.heal()
    scene.bench.reset()
    scene.enable()


def run_scene(name, seed, cache=DEFAULT_CACHE, kinds=FAULT_CLASSES):
    """One fault of every class in a scene: Counter of (class, outcome), and messages.

    After a bug the engine is reset, so that the next class starts well.
    """
    counts, messages = collections.Counter(), []
    try:
        scene = make_scene(name, seed, cache)
    except Exception as error:
        return collections.Counter({("(no fault)", "later run"): 1}), [f"{name}, seed {seed}: {error}"]
    for kind in scene.rng.permutation(kinds):
        if not kind.fits(scene):
            continue
        try:
            outcome = run_fault(scene, kind)
        except Failure as failure:
            outcome = failure.outcome
            messages.append(f"{name}, seed {seed}, {scene.direction} {scene.run.shape} {scene.run.layout} "
                            f"{scene.bench.model}, {kind.__name__}: {failure}")
            recover(scene)
        counts[kind.__name__, outcome] += 1
    return counts, messages


def table(counts):
    """Text: classes and outcomes."""
    shown = [outcome for outcome in OUTCOMES if any(counts[key] for key in counts if key[1] == outcome)]
    lines = ["".join(f"{head:>14}" for head in ["", *shown])]
    for kind in sorted({key[0] for key in counts}):
        lines.append("".join(f"{cell:>14}" for cell in [kind[:14], *(counts[kind, outcome] for outcome in shown)]))
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.faults", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scenes", type=int, default=60, help="scenes of each engine (default: %(default)s)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="default: all")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another campaign (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--cache", default=DEFAULT_CACHE, help="compiled benches (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the counts")
    chosen = parser.parse_args(arguments)
    for name in chosen.engines:
        print(f"building {name}", flush=True)
        EngineBench(ENGINES[name], 4096, cache=chosen.cache)
    tasks = [(name, [chosen.seed, index, scene], chosen.cache) for scene in range(chosen.scenes)
             for index, name in enumerate(chosen.engines)]
    total, start, bugs = collections.Counter(), time.perf_counter(), 0
    for index, (counts, messages) in enumerate(in_order(chosen.jobs, run_scene, tasks), 1):
        total += counts
        bugs += len(messages)
        for message in messages:
            print(f"\n{message}", flush=True)
        sys.stderr.write(f"\r{index}/{len(tasks)} scenes, {total.total()} faults, {bugs} bugs, "
                         f"{time.perf_counter() - start:.0f} s")
    sys.stderr.write("\n")
    print(table(total))
    if chosen.output:
        rows = {kind: {outcome: total[kind, outcome] for outcome in OUTCOMES if total[kind, outcome]}
                for kind in sorted({key[0] for key in total})}
        results = {"seed": chosen.seed, "scenes": len(tasks), "faults": rows}
        chosen.output.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if bugs else 0


if __name__ == "__main__":
    sys.exit(main())
