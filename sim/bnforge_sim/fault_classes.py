"""What can go wrong around an engine, and what it must then report: the classes of :mod:`bnforge_sim.faults`."""

import numpy as np

from bnforge.engine_config import JOB_WORDS, Cause, Channel

from .driver import Status
from .engine import Fault, FaultKind
from .engine_runs import FORWARD, drive
from .fault_scenes import READS, WATCHDOG, WRITES, Expected, FaultClass, Hang

__all__ = ["FAULT_CLASSES"]

_NONE = 15
_MISFIT = frozenset({Cause.FRAMING, Cause.HEADER_REFUSED, Cause.HEADER_MISFRAMED, Cause.STORED_FRAMING, Cause.STARVED})
"""What programs that do not fit each other may be reported as."""


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
    """Some channel of the bus stands still for good, until it is mended after the report."""

    def prepare(self):
        self.kind = self.pick([kind for kind in FaultKind if kind.name.startswith("STOP")])
        side = int(self.kind in (FaultKind.STOP_B, FaultKind.STOP_AW, FaultKind.STOP_W))
        total = sum(pair[side] for pair in self.scene.bursts.values())
        self.number = self.bench.inject(Fault(self.kind, int(self.rng.integers(total)), cycles=self.length()))

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
    """The same, and the engine is reset by register while it drains."""

    def mend(self):
        drive(self.driver.reset())
        self.bench.step(100)
        self.bench.heal()

    def idle(self):
        super().idle()
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
        return int(self.rng.integers(1, WATCHDOG // 2)) * (4 if self.off else 1)

    def idle(self):
        error = super().idle()
        drive(self.driver.watchdog(WATCHDOG))
        return error

    def expected(self):
        return Expected()


class Corrupt(FaultClass):
    """Some word of some descriptor is one that is refused."""

    def prepare(self):
        channel, program = self.pick(list(self.scene.descriptors().items()))
        self.address, descriptor = self.pick(program)
        self.channel = channel
        beat = self.bench.config.beat_bytes(channel)
        choices = ["zero length", "zero count", "wide count", "reserved flag"]
        choices += ["address"] * (self.bench.config.bus.address_width < 64) + ["length"] * (beat > 1)
        choice = self.pick(choices)
        word = {"zero length": 2, "reserved flag": 3, "address": 1, "length": 2}.get(choice, self.pick([4, 6, 8]))
        old = self.scene.get(self.address + 4 * word)
        value = {"zero length": 0, "zero count": 0, "wide count": old | 1 << int(self.rng.integers(24, 32)),
                 "reserved flag": old | 1 << int(self.rng.integers(2, 32)),
                 "address": old | 1 << int(self.rng.integers(min(31, self.bench.config.bus.address_width - 32), 32)),
                 "length": beat * int(self.rng.integers(1, 50)) + int(self.rng.integers(1, max(2, beat)))}[choice]
        self.scene.put(self.address + 4 * word, value)
        cause = (Cause.DESCRIPTOR_ZERO if "zero" in choice else Cause.DESCRIPTOR_LENGTH if choice == "length" else
                 Cause.DESCRIPTOR_RESERVED)
        self.result = Expected(frozenset({cause}), (channel,), self.address)


class MissingEnd(FaultClass):
    """Some descriptor does not end the tile though it should."""

    @classmethod
    def fits(cls, scene):
        return len(scene.descriptors()[Channel.RECORD]) > 1

    def prepare(self):
        _, program = self.pick(list(self.scene.descriptors().items()))
        address, _ = self.pick([pair for pair in program if pair[1].ends_tile and not pair[1].last])
        self.scene.put(address + 12, 0)
        self.result = Expected(_MISFIT, true=False)


class EarlyEnd(FaultClass):
    """Some descriptor ends the tile though it should not."""

    @classmethod
    def fits(cls, scene):
        return any(not item.ends_tile for program in scene.descriptors().values() for _, item in program)

    def prepare(self):
        address, _ = self.pick([pair for program in self.scene.descriptors().values() for pair in program
                                if not pair[1].ends_tile])
        self.scene.put(address + 12, 2)
        self.result = Expected(_MISFIT, true=False)


class ShortProgram(FaultClass):
    """Some program ends before its last descriptor."""

    @classmethod
    def fits(cls, scene):
        return any(len(program) > 1 for program in scene.descriptors().values())

    def prepare(self):
        program = self.pick([program for program in self.scene.descriptors().values() if len(program) > 1])
        address, _ = self.pick(program[:-1])
        self.scene.put(address + 12, 3)
        self.result = Expected(_MISFIT, true=False)


class LongProgram(FaultClass):
    """Some program does not end where it should: what lies behind it is taken for descriptors."""

    strict = False

    def prepare(self):
        program = self.pick(list(self.scene.descriptors().values()))
        self.scene.put(program[-1][0] + 12, 2)
        wild = {Cause.DESCRIPTOR_ZERO, Cause.DESCRIPTOR_RESERVED, Cause.DESCRIPTOR_LENGTH, Cause.READ_DECERR}
        self.result = Expected(_MISFIT | wild, true=False)


class WrongChannels(FaultClass):
    """The job uses channels that make no pass, or has bits or addresses that it must not have."""

    def prepare(self):
        config = self.bench.config
        good = [0, 0b11011, *([0b11111] if config.core.has_backward else [])]
        word = self.pick([2, 3, *([5, 13] if config.bus.address_width < 64 else [])])
        low = {2: 0, 3: 0}.get(word, config.bus.address_width - 32)
        value = 1 << int(self.rng.integers(low, 32))
        if word == 2 and self.rng.integers(2):
            value = int(self.pick([mask for mask in range(32) if mask not in good]))
        self.scene.put(self.scene.place() + 4 * word, value)
        self.result = Expected(frozenset({Cause.DESCRIPTOR_RESERVED}), (Channel.FETCH,), self.scene.place())


class WrongDirection(FaultClass):
    """The channels of the job are those of the other direction."""

    strict = False

    @classmethod
    def fits(cls, scene):
        return scene.bench.config.core.has_backward

    def prepare(self):
        used = 0b11111 if self.scene.direction == FORWARD else 0b11011
        self.scene.put(self.scene.place() + 8, used)
        wild = {Cause.DESCRIPTOR_ZERO, Cause.DESCRIPTOR_RESERVED, Cause.DESCRIPTOR_LENGTH, Cause.READ_DECERR}
        self.result = Expected(_MISFIT | (wild if self.scene.direction == FORWARD else frozenset()), true=False)


class BadHeader(FaultClass):
    """Some word of the header is one that the core refuses."""

    def prepare(self):
        scene, core = self.scene, self.bench.config.core
        full = scene.run.shape.channels > core.lanes
        address = scene.place() + (56 if full else 72)
        choices = [(0, 3 << 1, 0), (0, 1 << int(self.rng.integers(4, 16)), 0), (3, 0, None)]
        if core.lanes < 32:
            choices.append((3, 1 << int(self.rng.integers(core.lanes, 32)), 0))
        if not scene.run.options["frozen"]:
            choices += [(0, 0, 0xFFFF), (0, 0xFFFF << 16, 0), (1, 0, None), (1, 0xBF800000, None),
                        (2, 0xBF800000, None)]
        word, ones, zeros = self.pick(choices)
        old = scene.get(address + 4 * word)
        scene.put(address + 4 * word, ones if zeros is None else old & ~(zeros << 16) | ones)
        self.result = Expected(frozenset({Cause.HEADER_REFUSED}), (Channel.HEADER,))


class MisframedHeader(FaultClass):
    """TLAST comes in the middle of a header."""

    def prepare(self):
        program = self.scene.descriptors()[Channel.HEADER]
        address, _ = self.pick([pair for pair in program if not pair[1].ends_tile])
        self.scene.put(address + 12, 2)
        self.result = Expected(frozenset({Cause.HEADER_MISFRAMED}), (Channel.HEADER,))


class BadNext(FaultClass):
    """The address of the next job is outside of the memory, or of the address space."""

    strict = False

    def prepare(self):
        width, place = self.bench.config.bus.address_width, self.scene.place()
        bad = width < 64 and bool(self.rng.integers(2))
        far = self.bench.base + len(self.bench.memory) + int(self.rng.integers(4096))
        address = (1 << int(self.rng.integers(width, 64))) if bad else far & ((1 << width) - 1)
        self.scene.put(place, address)
        self.scene.put(place + 4, address >> 32)
        self.result = (Expected(frozenset({Cause.DESCRIPTOR_RESERVED}), (Channel.FETCH,), place) if bad else
                       Expected(frozenset({Cause.READ_DECERR}), (Channel.FETCH,),
                                address - address % self.bench.config.bus.bytes, done=True))


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
    """``CONTROL.reset`` at any time, sometimes after an abort."""

    def act(self):
        self.bench.step(int(self.rng.integers(self.pick([5, 100, self.scene.cycles]))))
        if self.rng.integers(3) == 0:
            drive(self.driver.abort())
        drive(self.driver.reset())

    def conclude(self):
        self.idle()
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


class Fuzz(FaultClass):
    """Some bits of the workspace are wrong; if that keeps the engine busy for long, it is aborted."""

    strict = False

    def prepare(self):
        address, size = self.scene.run.places[self.scene.direction]
        for _ in range(int(self.rng.integers(1, 4))):
            self.bench.view(address + int(self.rng.integers(size)), 1)[0] ^= 1 << int(self.rng.integers(8))
        self.result = Expected(frozenset(Cause) - {Cause.NONE}, may_pass=True, writes=False, wild=True)

    def conclude(self):
        if not self.bench.wait(self.scene.bound // 4):
            drive(self.driver.abort())
        return super().conclude()


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


FAULT_CLASSES = [ReadError, WriteError, JobReadError, Stop, StopThenReset, Pause, Impatient, Corrupt, MissingEnd,
                 EarlyEnd, ShortProgram, LongProgram, WrongChannels, WrongDirection, BadNext, BadHeader,
                 MisframedHeader, Fuzz, Abort, Loop, SoftReset, HardReset, BusyWrites, Nothing]
