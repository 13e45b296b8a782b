"""A tensor and its gradient through the engine of a baseline, sweep by sweep, and what must then be in memory."""

from functools import cached_property

import numpy as np

from bnforge.config import Activation
from bnforge.sweeps.words import param_words, record_words, streams, sweeps_of
from bnforge_model.memory import operand_size, pack_operand, pack_stored, stored_size
from bnforge_model.sweep_header import channel_c, channel_eps
from bnforge_model.sweep_words import is_position, sweep_record_words
from bnforge_model.sweeps import run_sweep

from .engine import EngineBench, Region
from .engine_runs import drive, random_tensors, register_driver
from .sweep_jobs import SweepJob, head_size, read_tensor, result_tensor, sweep_workspace, sweep_workspace_size

__all__ = ["SweepRun"]


class SweepRun:
    """A tensor, the gradient of its normalised form, and all that the sweeps of a baseline read and write.

    Parameters
    ----------
    config : bnforge.engine_config.EngineConfig
        Its core is a baseline.
    shape : Shape
    activation : Activation
    base : int
        Address of the memory.
    seed : int
        Of the tensors, gamma and beta.

    Attributes
    ----------
    sweeps : tuple of Sweep
    places : dict of name to (address, bytes)
        Tensors by their names in docs/baselines.md; ``records COLLECT`` and ``job COLLECT`` of each sweep.
    """

    def __init__(self, config, shape, *, activation=Activation.RELU, base=4096, seed=0):
        core = config.core
        self.config, self.shape, self.activation, self.base = config, shape, activation, base
        self.sweeps = sweeps_of(core)
        self.c = channel_c(shape.n_positions)
        self.eps = channel_eps(core, self.c)
        self.x, self.dy = random_tensors(config, shape, seed)
        rng = np.random.default_rng([seed, 1])
        self.gamma, self.beta = (rng.uniform(*ends, shape.channels).astype(np.float32) for ends in ((-2, 2), (-1, 1)))
        sizes = {"x": operand_size(config, shape), "dy": operand_size(config, shape)}
        for sweep in self.sweeps:
            if streams(core, sweep)[1]:
                sizes[result_tensor(sweep)] = stored_size(config, shape)
            if words := record_words(core, sweep):
                sizes[f"records {sweep.name}"] = 4 * len(words) * shape.channels
            sizes[f"job {sweep.name}"] = sweep_workspace_size(config, sweep, shape)
        self.places, at = {}, base
        for name, size in sizes.items():
            self.places[name] = at, size
            at += -(-size // 4096) * 4096
        self.size = at - base

    @cached_property
    def results(self):
        """What the model says of each sweep, one after the other: dict of Sweep to SweepResult."""
        core, found = self.config.core, {}
        words = {"gamma": self.gamma, "beta": self.beta}
        tensors = {name: codes.reshape(-1, self.shape.channels) for name, codes in (("x", self.x), ("dy", self.dy))}
        for sweep in self.sweeps:
            inputs = {"operand_codes" if stream == "operand" else stream: tensors[read_tensor(core, sweep, stream)]
                      for stream in streams(core, sweep)[0]}
            found[sweep] = result = run_sweep(
                core, sweep, {name: words[name] for name in param_words(core, sweep)}, activation=self.activation,
                eps=self.eps, c=self.c, **inputs)
            words |= result.records
            if result.encoded is not None:
                tensors[result_tensor(sweep)] = result.encoded
        return found

    def written(self, sweep):
        """What a sweep must write: dict of the place's name to bytes."""
        core, result, parts = self.config.core, self.results[sweep], {}
        if result.encoded is not None:
            parts[result_tensor(sweep)] = pack_stored(self.config, result.encoded, self.shape)
        if record_words(core, sweep):
            mask = np.ones(self.shape.channels, bool)
            parts[f"records {sweep.name}"] = sweep_record_words(core, sweep, result.records, mask).tobytes()
        return parts

    def bench(self, **options):
        """A bench with x and dy in memory; ``options`` as :class:`.EngineBench`."""
        bench = EngineBench(self.config, self.size, base=self.base, **options)
        drive(register_driver(bench).interrupts())
        for name, codes in (("x", self.x), ("dy", self.dy)):
            self._write(bench, name, pack_operand(self.config, codes))
        return bench

    def _write(self, bench, name, data):
        address, size = self.places[name]
        assert len(data) == size
        bench.view(address, size)[:] = np.frombuffer(data, np.uint8)

    def _gathered(self, bench, sweep):
        """The words that are in memory before a sweep, by name: gamma, beta, and those of the records."""
        words = {"gamma": self.gamma, "beta": self.beta}
        for earlier in self.sweeps[:self.sweeps.index(sweep)]:
            names = record_words(self.config.core, earlier)
            if names:
                rows = bench.view(*self.places[f"records {earlier.name}"]).view("<u4").reshape(-1, len(names))
                words |= {name: rows[:, index] if is_position(name) else rows[:, index].copy().view("<f4")
                          for index, name in enumerate(names)}
        return words

    def regions(self, sweep):
        """What a sweep may read and write."""
        core = self.config.core
        reads = [read_tensor(core, sweep, stream) for stream in streams(core, sweep)[0]]
        found = []
        for name in (*reads, *self.written(sweep)):
            address, size = self.places[name]
            found.append(Region(name, address, address + size, read=name in reads, write=name not in reads))
        address, size = self.places[f"job {sweep.name}"]
        head = address + head_size(self.config, sweep, self.shape.channels)
        return [*found, Region("head", address, head), Region("descriptors", head, address + size)]

    def run(self, bench, sweep):
        """Run a sweep after those before it, and wait for its end: :class:`.Status`.

        Raises
        ------
        TimeoutError, EngineError
        RuntimeError
            The memory is then not as the model says; the message says where.
        """
        core, (address, _) = self.config.core, self.places[f"job {sweep.name}"]
        gathered = self._gathered(bench, sweep)
        addresses = {stream: self.places[read_tensor(core, sweep, stream)][0] for stream in streams(core, sweep)[0]}
        for name in self.written(sweep):
            addresses["records" if name.startswith("records") else "result"] = self.places[name][0]
        job = SweepJob(sweep=sweep, shape=self.shape, activation=self.activation, eps=self.eps, c=self.c,
                       params={name: gathered[name] for name in param_words(core, sweep)}, addresses=addresses)
        self._write(bench, f"job {sweep.name}", sweep_workspace(self.config, job, address))
        wanted = bench.memory.copy()
        for name, data in self.written(sweep).items():
            first, size = self.places[name]
            wanted[first - self.base:first - self.base + size] = np.frombuffer(data, np.uint8)
        status = self._drive(bench, sweep, address)
        wrong = np.flatnonzero(bench.memory != wanted)
        if len(wrong):
            places = {name for name, (first, size) in self.places.items()
                      if np.any((wrong >= first - self.base) & (wrong < first - self.base + size))}
            raise RuntimeError(f"{sweep.name}: memory must be as the model says, not another in {len(wrong)} bytes of "
                               f"{', '.join(sorted(places)) or 'no region'}")
        return status

    def _drive(self, bench, sweep, address):
        driver = register_driver(bench)
        bench.regions(self.regions(sweep))
        drive(driver.start(address))
        tiles = -(-self.shape.channels // self.config.core.lanes)
        beats = 4 * sum(size for _, size in self.places.values()) // self.config.bus.bytes
        if not bench.wait(40 * (beats + tiles * self.shape.n_positions) + 50_000 * tiles):
            raise TimeoutError(f"{sweep.name}: irq must come, status {drive(driver.status())!r}, {bench.totals()}")
        try:
            return drive(driver.wait(polls=100))
        finally:
            drive(driver.clear())
