"""Specifications of single units: what they have in common."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Fragment, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.engine_config import BusConfig

from .runner import check, opened

__all__ = ["Narrow", "Specification", "state_of", "held", "stream_held", "Line", "Contents"]


@dataclass(frozen=True, kw_only=True)
class Narrow(BusConfig):
    """A bus for proofs, without the limits of a real one: addresses and data only move, so that few bits of them are
    enough; a page of 4 KiB has 12."""

    data_width: int = 16
    address_width: int = 13
    max_burst: int = 2
    outstanding: int = 2
    read_buffer: int = 4
    write_buffer: int = 4

    def __post_init__(self):
        pass


class Specification(wiring.Component):
    """A specification of one unit, of which all inputs are free but those that ``driven`` names. What derives from it
    says the rest in ``specify``.

    Attributes
    ----------
    unit : the unit
    inside : :class:`.runner.Opened`
    first : the first cycle after the reset
    """

    def __init__(self, unit, driven=()):
        self.unit = unit
        self._links, members = [], {}
        for path, member, value in unit.signature.flatten(unit):
            if member.flow == In and path[0] not in driven:
                name = "__".join(map(str, path))
                members[name] = In(len(Value.cast(value)))
                self._links.append((name, Value.cast(value)))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self.placed()
        m.d.comb += [value.eq(getattr(self, name)) for name, value in self._links]
        self.inside = opened(self.unit)
        self.witness = []
        self.first = Signal(init=1)
        m.d.sync += self.first.eq(0)
        self.specify(m)
        return m

    def placed(self):
        """The unit as it is put below the specification."""
        return self.unit


def state_of(unit, name="fsm"):
    """A function that tells whether the state machine of a unit is in a state."""
    machine = Fragment.get(unit, None).generated[name]
    return lambda state: machine.state == machine.encoding[state]


def held(m, valid, ready, *payload):
    """Whether an offer that was not taken is still there, unchanged."""
    now = Cat(payload)
    waiting, before = Signal(name="waiting"), Signal(len(now), name="before", reset_less=True)
    m.d.sync += [waiting.eq(valid & ~ready), before.eq(now)]
    return ~waiting | (valid & (now == before))


def stream_held(m, stream):
    """The same of a stream."""
    return held(m, stream.valid, stream.ready, stream.payload)


class Line:
    """A reference for what is under way, oldest first; it claims that this is never more than ``depth`` entries.

    Attributes
    ----------
    entries, count : the first ``count`` entries mean something
    oldest : the first
    """

    def __init__(self, m, depth, *, enter, entry, leave, name):
        self.entries = [Signal(len(entry), name=f"{name}{place}", reset_less=True) for place in range(depth)]
        self.oldest = self.entries[0]
        self.count = count = Signal(range(depth + 2), name=f"{name}_count")
        m.d.sync += count.eq(count + enter - leave)
        kept = Mux(leave, count - 1, count)
        for place, item in enumerate(self.entries):
            following = self.entries[place + 1] if place + 1 < depth else item
            m.d.sync += item.eq(Mux(enter & (kept == place), entry, Mux(leave, following, item)))
        check(m, ~leave | (count != 0), count <= depth)


class Contents:
    """What a ``SyncFIFO`` holds, oldest first; its depth is a power of two.

    Attributes
    ----------
    items : pairs, whether there is an entry, and the entry
    """

    def __init__(self, m, fifo, n_items=None):
        ring = opened(fifo).submodules.storage
        produce, consume = ring.write_ports[0].addr, ring.read_ports[0].addr
        self.level, self.items = fifo.level, []
        for place in range(fifo.depth if n_items is None else n_items):
            probe = ring.read_port(domain="comb")
            m.d.comb += probe.addr.eq(consume + place)
            self.items.append((fifo.level > place, probe.data))
        check(m, fifo.level <= fifo.depth, (consume + fifo.level)[:len(consume)] == produce)
