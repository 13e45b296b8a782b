"""Tensors in the memory of an engine bench: a forward and a backward pass over them, and what must then be there."""

from concurrent.futures import ProcessPoolExecutor
from functools import cached_property

import numpy as np

from bnforge.config import Activation, Directions
from bnforge_model import Layout
from bnforge_model.floats import to_codes
from bnforge_model.memory import (
    gradient_size, operand_size, pack_gradients, pack_operand, pack_records, pack_stored, record_size, stored_size)

from .digits import FILTERS, convolve
from .driver import Driver
from .engine import EngineBench, Region
from .tensors import backward_tensor, forward_tensor
from .workspace import Pass, workspace, workspace_size

__all__ = ["FORWARD", "BACKWARD", "TensorRun", "drive", "register_driver", "random_tensors", "digits_tensors",
           "in_order"]

FORWARD, BACKWARD = "forward", "backward"
_ONLY_BACKWARD = ("dy", "dx", "gradients", BACKWARD)
"""Places that a forward pass does not use."""
HEAD_BYTES = 96
"""Bytes of a workspace before its programs: the job and the words of headers."""


def drive(coroutine):
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("the coroutine must not wait")


def in_order(jobs, function, tasks):
    """The results of ``function(*task)`` in order, from ``jobs`` processes; with one, this one."""
    if jobs == 1:
        yield from (function(*task) for task in tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for future in [pool.submit(function, *task) for task in tasks]:
            yield future.result()


def register_driver(bench):
    """The :class:`.Driver` of an :class:`.EngineBench`; :func:`drive` runs what it does."""
    async def read(offset):
        return bench.read(offset)

    async def write(offset, word):
        bench.write(offset, word)

    return Driver(bench.config, read, write)


def random_tensors(config, shape, seed):
    """Codes of x and dy, (N, H, W, C): normally distributed, channels of different mean and scale."""
    rng = np.random.default_rng([seed, 2])
    scale, mean = 2.0 ** rng.uniform(-3, 3, shape.channels), rng.uniform(-2, 2, shape.channels)
    fmt = config.core.x_format
    return [to_codes(fmt, values).astype(np.uint32) for values in (
        (rng.standard_normal(shape.dims) + mean) * scale, rng.standard_normal(shape.dims) * 2.0 ** rng.uniform(-4, 0))]


def digits_tensors(config, n_images, channels, seed):
    """Activations of digits images, and the gradient of a linear classifier of them (as in :mod:`.digits`)."""
    from sklearn.datasets import load_digits
    digits = load_digits()
    x = convolve(digits.images[:n_images], FILTERS[:channels])
    features = np.maximum((x - x.mean((0, 1, 2))) / x.std((0, 1, 2)), 0).reshape(n_images, -1)
    weights = np.random.default_rng(seed).standard_normal((features.shape[1], 10)) / np.sqrt(features.shape[1])
    exponentials = np.exp(features @ weights)
    error = exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(10)[digits.target[:n_images]]
    fmt = config.core.x_format
    return [to_codes(fmt, values).astype(np.uint32) for values in (x, (error @ weights.T).reshape(x.shape))]


class TensorRun:
    """A tensor with all that its two passes read and write, placed one after the other in memory.

    Parameters
    ----------
    config : bnforge.engine_config.EngineConfig
    shape : Shape
    layout : Layout
    activation : Activation
    frozen : bool
    base : int
        Address of the memory; no job may lie at 0.
    seed : int
        Of the codes, of the places, and of the noise in memory.
    alignment : int
        What everything begins at a multiple of; 0: at any byte, in random order, sometimes with nothing between.
    gap : int
        Bytes that are always between, at random places.
    tensors : pair of integer arrays, (N, H, W, C)
        Codes of x and dy; default :func:`random_tensors`.
    affine : pair of float32 arrays, (C,)
        gamma and beta; default: random.
    backward : bool
        Whether there is to be room for a backward pass.

    Attributes
    ----------
    places : dict of name to (address, bytes)
        ``forward`` and ``backward`` are the workspaces.
    size : int
        Bytes of the memory.
    """

    def __init__(self, config, shape, *, layout=Layout.BLOCKED, activation=Activation.RELU, frozen=False, base=4096,
                 seed=0, alignment=0, gap=0, tensors=None, affine=None, backward=True):
        self.config, self.shape, self.layout, self.base, self.seed = config, shape, layout, base, seed
        self.both = config.replace(core=config.core.replace(directions=Directions.BOTH))
        self.options = {"activation": activation, "frozen": frozen}
        self.x, self.dy = random_tensors(config, shape, seed) if tensors is None else tensors
        rng = np.random.default_rng([seed, 1])
        drawn = [rng.uniform(*ends, shape.channels).astype(np.float32) for ends in ((-2, 2), (-1, 1))]
        self.gamma, self.beta = drawn if affine is None else affine
        sizes = {"x": operand_size(config, shape), "y": stored_size(config, shape),
                 "records": record_size(config, shape.channels), "gamma": 4 * shape.channels,
                 "beta": 4 * shape.channels, "dy": operand_size(config, shape), "dx": stored_size(config, shape),
                 "gradients": gradient_size(shape.channels),
                 FORWARD: workspace_size(self.both, shape, False, frozen),
                 BACKWARD: workspace_size(self.both, shape, True, frozen)}
        if not backward:
            sizes = {name: size for name, size in sizes.items() if name not in _ONLY_BACKWARD}
        self.places, at = {}, base
        for name in sizes if alignment else rng.permutation(list(sizes)).tolist():
            at = -(-at // alignment) * alignment if alignment else at + gap + int(rng.integers(4) and rng.integers(300))
            self.places[name] = at, sizes[name]
            at += sizes[name]
        self.size = -(-(at - base) // 4096) * 4096

    def pass_of(self, direction):
        """The :class:`.Pass` of a direction."""
        at = {name: address for name, (address, _) in self.places.items()}
        options = {"shape": self.shape, "layout": self.layout, "records": at["records"], **self.options}
        if direction == FORWARD:
            return Pass(operand=at["x"], result=at["y"], gamma=at["gamma"], beta=at["beta"], **options)
        return Pass(backward=True, operand=at["dy"], result=at["dx"], stored=at["y"], gradients=at["gradients"],
                    **options)

    @cached_property
    def forward(self):
        """The model's :class:`.ForwardResult`."""
        return forward_tensor(self.both, self.x, self.gamma, self.beta, **self.options)

    @cached_property
    def backward(self):
        """The model's :class:`.BackwardResult`."""
        return backward_tensor(self.both, self.dy, self.forward.encoded, self.forward.records, **self.options)

    @cached_property
    def results(self):
        """What each pass must write: dict of direction to dict of name to bytes."""
        return {FORWARD: {"y": pack_stored(self.config, self.forward.encoded, self.shape, self.layout),
                          "records": pack_records(self.config, self.forward.records)},
                BACKWARD: {"dx": pack_stored(self.config, self.backward.encoded, self.shape, self.layout),
                           "gradients": pack_gradients(self.backward.dgamma, self.backward.dbeta)}}

    def inputs(self, direction, next_job=0):
        """What software puts into memory for a pass: dict of name to bytes; of a backward one, what the forward one
        has not left there."""
        if direction == FORWARD:
            tensors = {"x": pack_operand(self.config, self.x, self.layout), "gamma": self.gamma.astype("<f4").tobytes(),
                       "beta": self.beta.astype("<f4").tobytes()}
        else:
            tensors = {"dy": pack_operand(self.config, self.dy, self.layout)}
        return tensors | {direction: workspace(self.both, self.pass_of(direction), self.places[direction][0], next_job)}

    def image(self, *done, chained=False):
        """The memory with all inputs, with the results of the directions in ``done``, and noise elsewhere.

        ``chained``: the backward job follows the forward one.
        """
        memory = np.random.default_rng(self.seed).integers(256, size=self.size, dtype=np.uint8)
        parts = {}
        for direction in (FORWARD, BACKWARD):
            parts |= self.inputs(direction, self.places[BACKWARD][0] if chained and direction == FORWARD else 0)
        for direction in done:
            parts |= self.results[direction]
        for name, data in parts.items():
            address, size = self.places[name]
            assert len(data) == size
            memory[address - self.base:address - self.base + size] = np.frombuffer(data, np.uint8)
        return memory

    def regions(self, direction):
        """What a pass may read and write, by cause."""
        written = ("y", "records") if direction == FORWARD else ("dx", "gradients")
        regions = []
        for name in {FORWARD: ("x", "y", "records", "gamma", "beta"),
                     BACKWARD: ("dy", "y", "dx", "records", "gradients")}[direction]:
            address, size = self.places[name]
            regions.append(Region(name, address, address + size, read=name not in written, write=name in written))
        address, size = self.places[direction]
        return [*regions, Region("head", address, address + HEAD_BYTES),
                Region("descriptors", address + HEAD_BYTES, address + size)]

    def bench(self, **options):
        """A bench with room for the tensor; ``options`` as :class:`.EngineBench`."""
        bench = EngineBench(self.config, self.size, base=self.base, **options)
        drive(register_driver(bench).interrupts())
        return bench

    def start(self, bench, direction):
        """Start a pass; the memory must be there."""
        bench.regions(self.regions(direction))
        drive(register_driver(bench).start(self.places[direction][0]))

    def finish(self, bench, timeout=None):
        """Wait for the interrupt and clear it: :class:`.Status`; raises as :meth:`.Driver.wait`."""
        driver = register_driver(bench)
        if not bench.wait(self.patience(bench) if timeout is None else timeout):
            raise TimeoutError(f"irq must come, status {drive(driver.status())!r}, {bench.totals()}")
        try:
            return drive(driver.wait(polls=100))
        finally:
            drive(driver.clear())

    def patience(self, bench):
        """Cycles in which a pass must be done, whatever the stalls of the tests."""
        beats = 2 * sum(size for _, size in self.places.values()) // self.config.bus.bytes
        tiles = -(-self.shape.channels // self.config.core.lanes)
        return 40 * (beats + 2 * tiles * self.shape.n_positions) + 1000 * (20 + bench.model.read_latency) * tiles

    def run(self, bench, direction, timeout=None):
        """:meth:`start` and :meth:`finish`."""
        self.start(bench, direction)
        return self.finish(bench, timeout)

    def differences(self, bench, *done, **options):
        """Where the memory is not as after the passes in ``done``: list of text; ``options`` as :meth:`image`."""
        wrong = np.flatnonzero(bench.memory != self.image(*done, **options))
        found = []
        for name, (address, size) in self.places.items():
            inside = wrong[(wrong >= address - self.base) & (wrong < address - self.base + size)]
            if len(inside):
                found.append(f"{name}: {len(inside)} bytes of {size} differ, first {inside[0] - address + self.base}")
        if not found and len(wrong):
            found.append(f"{len(wrong)} bytes outside of all regions have changed, first at {wrong[0] + self.base:#x}")
        return found
