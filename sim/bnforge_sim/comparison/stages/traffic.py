"""Bytes and cycles of the engine around a core, measured in simulation; memory is compared with the model."""

from dataclasses import asdict
from math import prod

from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.sweeps.words import streams
from bnforge_model import Shape

from ...engine import MemoryModel
from ...engine_runs import BACKWARD, FORWARD, TensorRun, drive, register_driver
from ...sweep_jobs import read_tensor
from ...sweep_runs import SweepRun
from ..transfers import accesses, analytic_bytes, direction_of

__all__ = ["run"]

LATENCY = 30
"""Of the memory's reads and writes, in cycles."""
CHANNELS = 16
_MANY = 50_000
"""Positions of a tensor from which on it pays to compile an engine for speed."""


def _counted(counts, width, operand):
    """Bytes of bus beats and written bytes of one job by region, apart from those of ``operand``."""
    if counts[""].read_beats or counts[""].write_beats:
        raise RuntimeError(f"no byte must move outside of the regions, not {counts['']}")
    moved = {name: (count.read_beats + count.write_beats) * width for name, count in counts.items() if name}
    unused = sum(count.write_beats * width - count.write_bytes for count in counts.values())
    return {"operand": moved.pop(operand, 0), "moved": moved, "strobed_off": unused}


def _measure_one_pass(config, shape, optimise):
    """Jobs by direction, of the one-pass engine."""
    run = TensorRun(config, shape, alignment=4096)
    bench = run.bench(model=MemoryModel(read_latency=LATENCY, write_latency=LATENCY), optimise=optimise)
    bench.memory[:] = run.image()
    jobs, done = {}, []
    for direction, operand in ((FORWARD, "x"), (BACKWARD, "dy")):
        run.run(bench, direction)
        done.append(direction)
        if wrong := run.differences(bench, *done):
            raise RuntimeError(f"{shape}, {direction}: memory must be as the model says: {wrong}")
        cycles = drive(register_driver(bench).counters())["cycles"]
        jobs[direction] = [{"job": direction, "cycles": cycles,
                            **_counted(bench.counts(), config.bus.bytes, operand)}]
    return jobs


def _measure_sweeps(config, shape, optimise):
    """The same of the engine of a baseline."""
    run = SweepRun(config, shape)
    bench = run.bench(model=MemoryModel(read_latency=LATENCY, write_latency=LATENCY), optimise=optimise)
    jobs = {FORWARD: [], BACKWARD: []}
    for sweep in run.sweeps:
        run.run(bench, sweep)
        cycles = drive(register_driver(bench).counters())["cycles"]
        operand = next((read_tensor(config.core, sweep, stream) for stream in streams(config.core, sweep)[0]
                        if stream == "operand"), None)
        jobs[direction_of(sweep)].append({"job": sweep.name.lower(), "cycles": cycles,
                                          **_counted(bench.counts(), config.bus.bytes, operand)})
    return jobs


def _row(config, shape, jobs):
    """Figures of both directions of a case."""
    elements, analytic = shape.n_positions * shape.channels, analytic_bytes(config.core)
    row = {"shape": list(shape.dims), "data_width": config.bus.data_width}
    for direction, done in jobs.items():
        total = sum(sum(job["moved"].values()) for job in done)
        row[direction] = {
            "bytes_per_element": total / elements, "analytic": analytic[direction],
            "strobed_bytes_per_element": (total - sum(job["strobed_off"] for job in done)) / elements,
            "operand_bytes_per_element": sum(job["operand"] for job in done) / elements,
            "cycles_per_element": sum(job["cycles"] for job in done) / shape.n_positions, "jobs": done}
    return row


def run(config, cases):
    """Traffic of both directions.

    Parameters
    ----------
    config : Config
    cases : list of [N, H, W, bits of the bus]

    Returns
    -------
    dict
        ``accesses``, and ``rows``: of each case and direction ``bytes_per_element``, bus beats over the elements of
        the tensor, the operand stream excluded; ``analytic``, the same of the accesses alone;
        ``cycles_per_element``, cycles of all jobs over the elements of a channel.
    """
    rows = []
    fast = {case[3] for case in cases if prod(case[:3]) >= _MANY}
    for n_images, height, width, data_width in cases:
        engine = EngineConfig(name=f"engine_{data_width}", core=config, bus=BusConfig(data_width=data_width))
        shape = Shape(n_images, height, width, CHANNELS)
        measure = _measure_one_pass if config.is_one_pass else _measure_sweeps
        rows.append(_row(engine, shape, measure(engine, shape, optimise=data_width in fast)))
    return {"accesses": [asdict(access) for access in accesses(config)], "rows": rows}
