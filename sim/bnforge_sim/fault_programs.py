"""What can be wrong in the memory that an engine is told to work from: classes of :mod:`bnforge_sim.faults`."""

from bnforge.engine_config import Cause, Channel

from .engine_runs import FORWARD, drive
from .fault_scenes import Expected, FaultClass

__all__ = ["PROGRAM_FAULTS"]

_MISFIT = frozenset({Cause.FRAMING, Cause.HEADER_REFUSED, Cause.HEADER_MISFRAMED, Cause.STORED_FRAMING, Cause.STARVED})
"""What programs that do not fit each other may be reported as."""
_WILD = frozenset({Cause.DESCRIPTOR_ZERO, Cause.DESCRIPTOR_RESERVED, Cause.DESCRIPTOR_LENGTH, Cause.READ_DECERR})
"""What noise that is taken for a descriptor may be reported as, besides."""


class Corrupt(FaultClass):
    """Some word of some descriptor is one that is refused."""

    def prepare(self):
        channel, program = self.pick(list(self.scene.descriptors().items()))
        place, _ = self.pick(program)
        beat = self.bench.config.beat_bytes(channel)
        choices = ["zero length", "zero count", "wide count", "reserved flag"]
        choices += ["address"] * (self.bench.config.bus.address_width < 64) + ["length"] * (beat > 1)
        choice = self.pick(choices)
        word = {"zero length": 2, "reserved flag": 3, "address": 1, "length": 2}.get(choice, self.pick([4, 6, 8]))
        old = self.scene.get(place + 4 * word)
        value = {"zero length": 0, "zero count": 0, "wide count": old | 1 << int(self.rng.integers(24, 32)),
                 "reserved flag": old | 1 << int(self.rng.integers(2, 32)),
                 "address": old | 1 << int(self.rng.integers(min(31, self.bench.config.bus.address_width - 32), 32)),
                 "length": beat * int(self.rng.integers(1, 50)) + int(self.rng.integers(1, max(2, beat)))}[choice]
        self.scene.put(place + 4 * word, value)
        cause = (Cause.DESCRIPTOR_ZERO if "zero" in choice else Cause.DESCRIPTOR_LENGTH if choice == "length" else
                 Cause.DESCRIPTOR_RESERVED)
        self.result = Expected(frozenset({cause}), (channel,), place)


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


class FewerTiles(FaultClass):
    """Some program ends a tile early or more."""

    fits = MissingEnd.fits

    def prepare(self):
        program = self.pick(list(self.scene.descriptors().values()))
        address, _ = self.pick([pair for pair in program if pair[1].ends_tile and not pair[1].last])
        self.scene.put(address + 12, 3)
        self.result = Expected(_MISFIT)


class LongProgram(FaultClass):
    """Some program does not end where it should: what lies behind it is taken for descriptors."""

    strict = False

    def prepare(self):
        program = self.pick(list(self.scene.descriptors().values()))
        self.scene.put(program[-1][0] + 12, 2)
        self.result = Expected(_MISFIT | _WILD, true=False)


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
        self.result = Expected(_MISFIT | (_WILD if self.scene.direction == FORWARD else frozenset()), true=False)


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


PROGRAM_FAULTS = [Corrupt, MissingEnd, EarlyEnd, ShortProgram, FewerTiles, LongProgram, WrongChannels, WrongDirection,
                  BadNext, BadHeader, MisframedHeader, Fuzz]
