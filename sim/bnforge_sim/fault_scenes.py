"""A pass that is to go wrong, and what must come of it: what the classes of :mod:`.fault_classes` are made of."""

from dataclasses import dataclass, field

import numpy as np

from bnforge.engine_config import Channel
from bnforge.registers import registers

from .descriptors import DESCRIPTOR_BYTES
from .driver import Status
from .engine_runs import BACKWARD, FORWARD, drive, register_driver
from .workspace import programs

__all__ = ["WATCHDOG", "READS", "WRITES", "Hang", "Scene", "Expected", "FaultClass"]

WATCHDOG = 3000
"""Cycles: more than the memory of the campaign ever takes."""
READS = {FORWARD: {"x": Channel.OPERAND, "gamma": Channel.HEADER, "beta": Channel.HEADER,
                   "descriptors": Channel.FETCH},
         BACKWARD: {"dy": Channel.OPERAND, "y": Channel.STORED, "records": Channel.HEADER,
                    "descriptors": Channel.FETCH}}
WRITES = {FORWARD: {"y": Channel.RESULT, "records": Channel.RECORD},
          BACKWARD: {"dx": Channel.RESULT, "gradients": Channel.RECORD}}
"""The channels that read and write the regions of a pass."""


class Hang(Exception):
    """The engine did not become idle."""


@dataclass
class Scene:
    """A pass that is about to run, and what is known of it from a healthy run.

    Attributes
    ----------
    bursts : dict of region name to (read bursts, write bursts)
    cycles : int
        From start to interrupt.
    """

    run: object
    bench: object
    direction: str
    rng: np.random.Generator
    bursts: dict = field(repr=False, default_factory=dict)
    cycles: int = 0

    @property
    def driver(self):
        return register_driver(self.bench)

    def as_reset(self):
        """Raise :class:`Hang` unless all registers have their reset values."""
        for register in registers(self.bench.config):
            word = self.bench.read(register.offset)
            if None not in [item.reset for item in register.fields] and word != register.reset:
                raise Hang(f"after a reset {register.name} is {word:#x}, not {register.reset:#x}")

    def enable(self):
        """Set the interrupts and the watchdog, which a reset clears."""
        drive(self.driver.interrupts())
        drive(self.driver.watchdog(WATCHDOG))

    @property
    def bound(self):
        """Cycles in which any run must have ended."""
        return 20 * self.cycles + 20_000 + 3 * WATCHDOG

    def channel_of(self, address):
        """The channel that reads or writes there, or None."""
        for region in self.run.regions(self.direction):
            if region.start - self.bench.config.bus.bytes < address < region.end:
                return (READS[self.direction] | WRITES[self.direction]).get(region.name)
        return None

    def place(self, name=None):
        """Address of a part of the run; default its workspace."""
        return self.run.places[name or self.direction][0]

    def descriptors(self):
        """Address and content of the descriptors of each channel."""
        found = {}
        for channel, program in programs(self.bench.config, self.run.pass_of(self.direction), self.place()).items():
            start = self.get(self.place() + 16 + 8 * channel) | self.get(self.place() + 20 + 8 * channel) << 32
            found[channel] = [(start + DESCRIPTOR_BYTES * index, item) for index, item in enumerate(program)]
        return found

    def put(self, address, value):
        """Write a 32-bit word to memory."""
        self.bench.view(address, 4)[:] = np.frombuffer(int(value & 0xFFFFFFFF).to_bytes(4, "little"), np.uint8)

    def get(self, address):
        """A 32-bit word of memory."""
        return int.from_bytes(self.bench.view(address, 4).tobytes(), "little")


@dataclass(frozen=True)
class Expected:
    """What a run must have ended as: one of ``causes``, or, with ``may_pass`` or no causes, as if nothing had been.

    ``channels`` and ``address`` are those of the report, None where they are not certain. ``writes`` says whether a run
    that ends well has done its work, ``done`` that it has in spite of the report, ``wild`` that it may have written
    anywhere, ``true`` that what it has written is what the model says: not where it was told to do something else.
    """

    causes: frozenset = frozenset()
    channels: tuple | None = None
    address: int | None = None
    may_pass: bool = False
    writes: bool = True
    done: bool = False
    wild: bool = False
    true: bool = True


class FaultClass:
    """A fault: ``prepare`` and ``start``, ``act`` while the engine runs, ``expected`` when it has ended.

    ``strict`` says whether the regions hold; what leaves them is then a broken rule.
    """

    strict = True

    def __init__(self, scene):
        self.scene, self.bench, self.rng, self.driver = scene, scene.bench, scene.rng, scene.driver
        self.result = Expected()

    @classmethod
    def fits(cls, scene):
        """Whether there is such a fault in this scene."""
        return True

    def prepare(self):
        pass

    def start(self):
        drive(self.driver.start(self.scene.place()))

    def act(self):
        pass

    def conclude(self):
        """Wait for the end: the :class:`.EngineError`, or None."""
        if not self.bench.wait(self.scene.bound):
            raise Hang(f"no interrupt, status {drive(self.driver.status())!r}")
        return self.idle()

    def idle(self):
        for _ in range(self.scene.bound // 50):
            status = drive(self.driver.status())
            if not status & Status.BUSY:
                return drive(self.driver.error()) if status & Status.ERROR else None
            self.bench.step(50)
        raise Hang(f"not idle, status {status!r}")

    def expected(self):
        return self.result

    def pick(self, items):
        return items[self.rng.integers(len(items))]
