"""The ``host`` verb: identify a board, test it, run tensors through it."""

import contextlib
from pathlib import Path

import numpy as np
from bnforge.board import Space, Status
from bnforge.tools import MissingTool, ToolError
from bnforge_model import Shape
from bnforge_model.memory import unpack_gradients, unpack_stored
from bnforge_sim.build import DEFAULT_CACHE
from bnforge_sim.driver import EngineError
from bnforge_sim.engine_runs import BACKWARD, FORWARD

from .device import Device
from .link import Link, LinkError, Refused
from .progress import Bar
from .tensors import run_pass, tensor_run
from .tiles import core_run, run_tiles

__all__ = ["SIMULATED", "connected", "identify", "self_test", "load", "run_tensor"]

SIMULATED = "sim"
"""The port that is a simulated board."""
_SIMULATED_PATIENCE = 120.0
"""Seconds; a simulation is hundreds of times slower than a board."""
_PATIENCE = 2.0
_GREETING_BITS = 50_000
"""More than the longest that the host sends before it listens."""


def _port(name, baud, patience):
    """The open serial port."""
    try:
        import serial
    except ImportError:
        raise MissingTool("the host needs the Python package 'pyserial': pip install 'bnforge[host]'") from None
    try:
        return serial.Serial(name, baud, timeout=0.05, write_timeout=patience)
    except (OSError, ValueError) as error:
        raise ToolError(f"port must be a serial port that can be opened at {baud} baud, not {name!r}: "
                        f"{str(error).splitlines()[0]}") from None


@contextlib.contextmanager
def connected(port, config, baud=None, cache=DEFAULT_CACHE, report=print):
    """A :class:`.Device`, as a context.

    Parameters
    ----------
    port : str
        A serial port, or :data:`SIMULATED`.
    config : BoardConfig
        What is simulated; a board says itself what it is, and then only the baud is taken from here.
    baud : int, optional
        Default: that of ``config``.
    cache : path
        Of compiled simulations.
    report : function of a line of text

    Raises
    ------
    ToolError
        The port cannot be opened, or the simulation not be built.
    LinkError
        Nothing, or something else, answers.
    """
    with contextlib.ExitStack() as stack:
        simulated = port == SIMULATED
        baud = config.baud if baud is None else baud
        patience = _SIMULATED_PATIENCE if simulated else _PATIENCE + _GREETING_BITS / baud
        if simulated:
            from .simulated import SimulatedPort
            report("building the simulation of the board (once; a minute or two)")
            port = stack.enter_context(SimulatedPort(config, cache=cache)).name
        line = stack.enter_context(_port(port, baud, patience))
        link = Link(line, patience)
        link.open()
        yield Device(link)


def identify(device, report=print):
    """Print what was built; checks the engine's registers against it."""
    config, core = device.config, device.config.core
    version = device.identify()
    report(f"bnforge {'.'.join(map(str, version)) + ' ' if version else ''}at {config.clock_hz / 1e6:g} MHz, "
           f"{config.baud} baud")
    directions = " and ".join(["forward"] * core.has_forward + ["backward"] * core.has_backward)
    sample = f"{core.sample_depth} in chunks of {core.chunk_len}" if core.has_statistics else "none"
    bus = f", bus: {config.engine.bus.data_width} bits" if config.has_engine else ""
    report(f"{'engine' if config.has_engine else 'core'}: {directions}, lanes: {core.lanes}, x: {core.x_format}, y: "
           f"{core.storage}, sample: {sample}{bus}")
    report(f"memory: {config.memory_bytes >> 10} KiB at {config.memory_base:#x}")


def self_test(device, seed=0, progress=Bar, report=print):
    """Registers, refusals, every word of memory, and a random tensor; the number of failures.

    Raises
    ------
    LinkError
        When the line fails.
    """
    config, failures = device.config, []
    identify(device, report)
    rng = np.random.default_rng(seed)
    data = rng.integers(256, size=config.memory_bytes, dtype=np.uint8).tobytes()
    with progress("memory: write", len(data)) as bar:
        device.write(config.memory_base, data, bar)
    with progress("memory: read", len(data)) as bar:
        back = device.read(config.memory_base, len(data), bar)
    wrong = np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(back, np.uint8))
    if len(wrong):
        failures.append(f"memory: {len(wrong)} of {len(data)} bytes differ, the first at "
                        f"{config.memory_base + int(wrong[0]):#x}")
    for space, address, status in (
            (Space.MEMORY, device.end, Status.BAD_ADDRESS), (Space.MEMORY, 0, Status.BAD_ADDRESS),
            (Space.REGISTERS, 0xFFC, Status.REFUSED), (Space.MEMORY, 2, Status.BAD_REQUEST)):
        try:
            device.link.read(space, address, 1)
            failures.append(f"read of {space.name.lower()} at {address:#x} must be refused, and was not")
        except Refused as refused:
            if refused.status is not status:
                failures.append(f"read of {space.name.lower()} at {address:#x} must be answered {status.name}, not "
                                f"{refused.status.name}")
    core = config.core
    if core.is_one_pass and core.has_forward:
        channels = core.lanes + 1  # a full tile and a short one
        x, dy = rng.standard_normal((2, 2, 5, 5, channels))
        gamma, beta = rng.uniform(-2, 2, channels), rng.uniform(-1, 1, channels)
        if config.has_engine:
            run = tensor_run(config, x, dy if core.has_backward else None, gamma=gamma, beta=beta)
            failures += _passes(device, run, core.has_backward, progress, report)[0]
        else:
            failures += _tiles(device, core_run(config, x, gamma=gamma, beta=beta), progress, report)[0]
    for failure in failures:
        report(f"  {failure}")
    report(f"self-test: {len(failures)} failures" if failures else "self-test: passed")
    return len(failures)


def _passes(device, run, backward, progress, report):
    """(Differences, what was written) of the passes of a run."""
    differences, written = [], {}
    for direction in (FORWARD, BACKWARD)[:1 + backward]:
        try:
            done, found = run_pass(device, run, direction, progress)
        except EngineError as error:
            raise LinkError(f"{direction}: the engine ended the run early: {error}") from None
        differences += done.differences
        written |= found
        _say(done, "engine", report)
    return differences, written


def _tiles(device, run, progress, report):
    """(Differences, y) of a run without an engine."""
    done, y = run_tiles(device, run, progress)
    _say(done, "core", report)
    return done.differences, y


def _say(done, where, report):
    report(f"{done.direction}: {done.elements} elements, {done.n_bytes} bytes "
           f"{'differ from' if done.differences else 'equal to'} the model; {done.cycles} cycles, "
           f"{done.engine_seconds * 1e3:.3f} ms in the {where}, {done.line_seconds:.1f} s with the line")


def load(path):
    """An array from a ``.npy`` file, None for None.

    Raises
    ------
    OSError, ValueError
        Which say what is wrong with it.
    """
    if path is None:
        return None
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a .npy file of numbers: {str(error).splitlines()[0]}") from None


def run_tensor(device, x, dy=None, gamma=None, beta=None, output=None, progress=Bar, report=print):
    """Run a tensor forward, and with ``dy`` backward; the number of differences from the model.

    Parameters
    ----------
    x, dy, gamma, beta : arrays, (N, H, W, C) and (C,)
    output : path, optional
        Directory for what the board wrote: ``y.npy``, ``dx.npy`` (float32, (N, H, W, C)), ``dgamma.npy``,
        ``dbeta.npy``.

    Raises
    ------
    ValueError
        For arrays of other shapes, or too large for the memory of the build.
    LinkError
    """
    arrays = {}
    if device.config.has_engine:
        config = device.config.engine
        run = tensor_run(device.config, x, dy, gamma=gamma, beta=beta)
        differences, written = _passes(device, run, dy is not None, progress, report)
        shape = Shape(*run.x.shape)
        arrays["y"] = unpack_stored(config, written["y"], shape).decode().reshape(shape.dims)
        if dy is not None:
            dx = unpack_stored(config, written["dx"], shape, fmt=config.core.gradient_storage).decode()
            arrays["dx"] = dx.reshape(shape.dims)
            arrays["dgamma"], arrays["dbeta"] = unpack_gradients(written["gradients"])
    else:
        if dy is not None:
            raise ValueError("dy must be left out: the build has no backward pass")
        run = core_run(device.config, x, gamma=gamma, beta=beta)
        differences, arrays["y"] = _tiles(device, run, progress, report)
    if output is not None:
        output = Path(output)
        output.mkdir(parents=True, exist_ok=True)
        for name, values in arrays.items():
            np.save(output / f"{name}.npy", values.astype(np.float32))
            report(f"{output / name}.npy")
    for line in differences:
        report(f"  {line}")
    return len(differences)
