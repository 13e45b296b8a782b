"""What can go wrong around an engine, and what it must then report: the classes of :mod:`bnforge_sim.faults`."""

import numpy as np

from bnforge.engine_config import JOB_WORDS, Cause, Channel

from .driver import Status
from .engine import Fault, FaultKind
from .engine_runs import drive
from .fault_programs import PROGRAM_FAULTS
from .fault_scenes import READS, WATCHDOG, WRITES, Expected, FaultClass, Hang

__all__ = ["FAULT_CLASSES"]

_NONE = 15
"""The channel of an error that belongs to none."""


class ReadError(FaultClass):
    """SLVERR or DECERR on some beat of some read burst, or on all of its beats."""

    kind, channels, side = FaultKind.READ_RESPONSE, READS, 0
    causes = {2: Cause.READ_SLVERR, 3: Cause.READ_DECERR}

    def prepare(self):
        scene = self.scene
        regions = [name for name in self.channels[scene.direction] if scene.bursts[name][self.side]]
        self.name, self.response = self.pick(regions), int(self.rng.integers(2, 4))
        self.bench.inject(Fault(self.kind, int(self.rng.integers(scene.bursts[self.name][self.side])), self.name,
                                self.pick([None, 0]), self.response))

    def expected(self):
        address = self.bench.struck()
        channel = self.channels[self.scene.direction][self.name]
        return Expected(frozenset({self.causes[self.response]}), (channel,), address)


class WriteError(ReadError):
    """SLVERR or DECERR as the answer to some write burst."""

    kind, channels, side = FaultKind.WRITE_RESPONSE, WRITES, 1
    causes = {2: Cause.WRITE_SLVERR, 3: Cause.WRITE_DECERR}


class JobReadError(FaultClass):
    """An error where the job or the fixed words of a header are read."""

    def prepare(self):
        self.bench.inject(Fault(FaultKind.READ_RESPONSE, int(self.rng.integers(self.scene.bursts["head"][0])), "head"))

    def expected(self):
        return Expected(frozenset({Cause.READ_SLVERR}), (Channel.FETCH, Channel.HEADER), self.bench.struck())


class Stop(FaultClass):
    """One or two channels of the bus stand still for good, until they are mended after the report."""

    def prepare(self):
        kinds = [kind for kind in FaultKind if kind.name.startswith("STOP")]
        for kind in self.rng.choice(kinds, self.rng.integers(1, 3), replace=False):
            side = int(kind in (FaultKind.STOP_B, FaultKind.STOP_AW, FaultKind.STOP_W))
            total = sum(pair[side] for pair in self.scene.bursts.values())
            self.bench.inject(Fault(FaultKind(kind), int(self.rng.integers(total)), cycles=self.length()))

    def length(self):
        return 0

    def conclude(self):
        if not self.bench.wait(self.scene.bound):
            raise Hang(f"no interrupt, status {drive(self.driver.status())!r}")
        status = drive(self.driver.status())
        if status & Status.ERROR:
            if not status & Status.DRAINING or not status & Status.BUSY:
                raise Hang(f"a burst is outstanding, but the status is {status!r}")
            self.oldest = self.bench.totals().oldest
            self.bench.step(int(self.rng.integers(500)))
            self.mend()
        return self.idle()

    def mend(self):
        self.bench.heal()

    def expected(self):
        channel = self.scene.channel_of(self.oldest)
        return Expected(frozenset({Cause.BUS_TIMEOUT}), None if channel is None else (channel,), self.oldest)


class StopThenReset(Stop):
    """The same, and the engine is reset by register while it drains: then all registers are as at first."""

    def mend(self):
        drive(self.driver.reset())
        self.bench.step(100)
        self.bench.heal()

    def idle(self):
        super().idle()
        self.scene.as_reset()
        self.scene.enable()

    def expected(self):
        return Expected(writes=False)


class Pause(Stop):
    """Some channel of the bus stands still for less time than the watchdog has, or for longer when it is off."""

    def prepare(self):
        self.off = bool(self.rng.integers(2))
        super().prepare()
        if self.off:
            drive(self.driver.watchdog(0))

    def length(self):
        return int(self.rng.integers(1, WATCHDOG // 3)) * (6 if self.off else 1)

    def idle(self):
        error = super().idle()
        drive(self.driver.watchdog(WATCHDOG))
        return error

    def expected(self):
        return Expected()


class Abort(FaultClass):
    """``CONTROL.abort`` at any time, often at the very start, sometimes twice."""

    def act(self):
        self.bench.step(int(self.rng.integers(self.pick([5, 100, self.scene.cycles]))))
        for _ in range(int(self.rng.integers(1, 3))):
            drive(self.driver.abort())
        self.result = Expected(frozenset({Cause.ABORTED}), (_NONE,), may_pass=True)


class Loop(FaultClass):
    """A job that is followed by itself, until it is aborted."""

    def prepare(self):
        self.scene.put(self.scene.place(), self.scene.place())
        self.scene.put(self.scene.place() + 4, self.scene.place() >> 32)
        self.result = Expected(frozenset({Cause.ABORTED}), (_NONE,), true=False)

    def act(self):
        self.bench.step(int(self.rng.integers(4 * self.scene.cycles)))
        drive(self.driver.abort())


class SoftReset(FaultClass):
    """``CONTROL.reset`` at any time, sometimes after an abort: then all registers are as at first."""

    def act(self):
        self.bench.step(int(self.rng.integers(self.pick([5, 100, self.scene.cycles]))))
        if self.rng.integers(3) == 0:
            drive(self.driver.abort())
        drive(self.driver.reset())

    def conclude(self):
        self.idle()
        self.scene.as_reset()
        self.scene.enable()

    def expected(self):
        return Expected(writes=False)


class HardReset(SoftReset):
    """``aresetn`` at any time, of the memory too."""

    def act(self):
        self.bench.step(int(self.rng.integers(self.pick([5, 100, self.scene.cycles]))))
        self.bench.reset(int(self.rng.integers(1, 5)))


class Impatient(FaultClass):
    """A watchdog that has less time than the memory needs."""

    def prepare(self):
        drive(self.driver.watchdog(int(self.rng.integers(1, self.pick([4, 30, 200])))))
        self.result = Expected(frozenset({Cause.BUS_TIMEOUT, Cause.STARVED}), may_pass=True)

    def idle(self):
        error = super().idle()
        drive(self.driver.watchdog(WATCHDOG))
        return error


class BusyWrites(FaultClass):
    """Registers are written that must not be, and any are read, while the engine is busy."""

    @classmethod
    def fits(cls, scene):
        return scene.cycles > 1000

    def act(self):
        for _ in range(5):
            offset = int(self.pick([0x20, 0x38, *range(0x40, 0x78, 4), 0x00, 0x2C, 0x80, 0xB8, 0xC0, 0xFFC]))
            _, response = self.bench.access(offset, 1 if offset == 0x20 else int(self.rng.integers(2**32)))
            status = drive(self.driver.status())
            if response != 2 or not status & Status.REFUSED or not status & Status.BUSY:
                raise Hang(f"a write to {offset:#x} while busy was answered {response}, status {status!r}")
            self.bench.access(int(self.pick(range(0, 0xBC, 4))))
        drive(self.driver.clear(Status.REFUSED))


class Nothing(FaultClass):
    """A job without channels."""

    def start(self):
        self.bench.regions([])
        drive(self.driver.start_job(np.zeros(JOB_WORDS, "<u4").tobytes()))

    def expected(self):
        return Expected(writes=False)


FAULT_CLASSES = [ReadError, WriteError, JobReadError, Stop, StopThenReset, Pause, Abort, Loop, SoftReset, HardReset,
                 Impatient, BusyWrites, Nothing, *PROGRAM_FAULTS]
