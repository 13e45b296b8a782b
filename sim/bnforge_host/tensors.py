"""Tensors through a board, and what the model says of them."""

import time
from dataclasses import dataclass

import numpy as np
from bnforge_model import Shape
from bnforge_model.floats import to_codes
from bnforge_sim.engine_runs import BACKWARD, FORWARD, TensorRun, drive

from .progress import Bar

__all__ = ["PassReport", "tensor_run", "run_pass", "float_tensor", "affine_vectors"]

_ALIGNMENT = 64
_OUTPUTS = {FORWARD: ("y", "records"), BACKWARD: ("dx", "gradients")}


@dataclass(frozen=True)
class PassReport:
    """One pass of a tensor.

    Attributes
    ----------
    direction : str
    elements : int
    differences : list of str
        Where memory is not as the model says, one line for each place; empty when every byte is equal.
    n_bytes : int
        Compared.
    cycles : int
        Of the engine, or of the core's tiles.
    engine_seconds : float
        The same at the clock of the board.
    line_seconds : float
        Of the transfers over the line and the run between them.
    counters : dict
        All counters of the engine; none without one.
    status : Status
    """

    direction: str
    elements: int
    differences: list
    n_bytes: int
    cycles: int
    engine_seconds: float
    line_seconds: float
    counters: dict
    status: int


def tensor_run(config, x, dy=None, *, gamma=None, beta=None, seed=0, **options):
    """A :class:`~bnforge_sim.engine_runs.TensorRun` with its places in the memory of a board.

    Parameters
    ----------
    config : BoardConfig
    x, dy : float arrays, (N, H, W, C)
        Rounded to the core's input format. Without ``dy`` there will be no backward pass.
    gamma, beta : float arrays, (C,)
        Default: ones and zeros.
    seed : int
    options
        Of :class:`~bnforge_sim.engine_runs.TensorRun`.

    Raises
    ------
    ValueError
        For arrays of other shapes, not numbers, a direction that is not built, or too little memory.
    """
    core = config.engine.core
    if not core.is_one_pass:
        raise ValueError(f"algorithm must be 'one-pass' for the host, not {core.algorithm.value!r}")
    x = float_tensor("x", x)
    if dy is not None:
        dy = float_tensor("dy", dy)
        if dy.shape != x.shape:
            raise ValueError(f"dy must be of the shape of x, {x.shape}, not {dy.shape}")
        if not core.has_backward:
            raise ValueError("dy must be left out: the build has no backward pass")
    shape = Shape(*x.shape)
    affine = affine_vectors(shape.channels, gamma, beta)
    codes = [to_codes(core.x_format, np.zeros_like(x) if values is None else values).astype(np.uint32)
             for values in (x, dy)]
    run = TensorRun(config.engine, shape, base=config.memory_base, alignment=_ALIGNMENT, tensors=codes, affine=affine,
                    backward=dy is not None, seed=seed, **options)
    address, size = max(run.places.values())
    needed = address + size - config.memory_base
    if needed > config.memory_bytes:
        raise ValueError(f"tensor must fit the {config.memory_bytes} bytes of memory of this build with all that its "
                         f"passes need, not {needed} bytes: {'x, dy' if dy is not None else 'x'} of {x.shape}")
    return run


def float_tensor(name, values):
    """An array of numbers of shape (N, H, W, C) as float64; else ValueError."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be an array of numbers, not {values.dtype}")
    if values.ndim != 4 or 0 in values.shape:
        raise ValueError(f"{name} must be of shape (N, H, W, C), not {values.shape}")
    return values.astype(np.float64)


def affine_vectors(channels, gamma, beta):
    """gamma and beta, ones and zeros for None, as float32 arrays (channels,); else ValueError."""
    return [_vector(name, values, fill, channels) for name, values, fill in (
        ("gamma", gamma, 1.0), ("beta", beta, 0.0))]


def _vector(name, values, fill, channels):
    if values is None:
        return np.full(channels, fill, np.float32)
    values = np.asarray(values)
    if values.shape != (channels,) or values.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers of shape ({channels},), not {values.dtype} of {values.shape}")
    return values.astype(np.float32)


def run_pass(device, run, direction, progress=Bar):
    """Send what a pass needs, run it, read what it wrote, and compare every byte with the model.

    Parameters
    ----------
    device : Device
    run : TensorRun
        As :func:`tensor_run` makes it.
    direction : str
        ``FORWARD`` or, after it, ``BACKWARD``.
    progress : Bar or alike

    Returns
    -------
    (PassReport, dict of name to bytes)
        And what the engine wrote.

    Raises
    ------
    LinkError
    bnforge_sim.driver.EngineError
        When the engine ended the run early.
    """
    started = time.monotonic()
    inputs, wanted = run.inputs(direction), run.results[direction]
    with progress(f"{direction}: send", sum(map(len, inputs.values()))) as bar:
        for name, data in inputs.items():
            device.write(run.places[name][0], data, bar)
    drive(device.driver.clear())
    status = drive(device.driver.run(run.places[direction][0]))
    counters = drive(device.driver.counters())
    with progress(f"{direction}: read", sum(map(len, wanted.values()))) as bar:
        found = {name: device.read(run.places[name][0], len(wanted[name]), bar) for name in _OUTPUTS[direction]}
    seconds = time.monotonic() - started
    differences = []
    for name, data in found.items():
        wrong = np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(wanted[name], np.uint8))
        if len(wrong):
            differences.append(f"{name}: {len(wrong)} of {len(data)} bytes differ from the model, the first at "
                               f"{wrong[0]}")
    cycles = counters["cycles"]
    return PassReport(direction, run.x.size, differences, sum(map(len, found.values())), cycles,
                      cycles / device.config.clock_hz, seconds, counters, status), found
