"""The descriptor loader: good descriptors reach their midend word by word, bad ones end the run."""

from unittest.mock import patch

from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Cat, Mux, Signal
from bnforge.dma import DescriptorLoader, loader
from bnforge.dma.loader import DESCRIPTOR_BYTES
from bnforge.engine_config import COUNT_WIDTH, DESCRIPTOR_WORDS, Cause

from .runner import assume, check, opened
from .units import Contents, Specification, held, state_of, stream_held

__all__ = ["LoaderContract", "LoaderWords"]

SIZES = (4, 3)
"""Bytes of a beat of each channel."""


class _Loader(Specification):
    """The loader between memory that answers what it is asked, and midends.

    Programs are started only when none runs, and pointers of programs that run move only when told.
    """

    length_width = 3
    """Replaces ``LENGTH_WIDTH``."""

    def __init__(self, bus):
        super().__init__(DescriptorLoader(bus, SIZES))

    def elaborate(self, platform):
        with patch.object(loader, "LENGTH_WIDTH", self.length_width):
            return super().elaborate(platform)

    def specify(self, m):
        unit = self.unit
        pointers = Signal(len(unit.i_pointers.as_value()))
        moved, before = Signal(), Signal(len(SIZES))
        m.d.sync += [pointers.eq(unit.i_pointers), moved.eq(unit.o_advance.any()), before.eq(unit.o_active)]
        self.asked, self.taken = unit.o_row.valid & unit.o_row.ready, unit.i.valid & unit.i.ready
        self.owed = owed = Signal(range(DESCRIPTOR_WORDS + 1))
        self.channel, self.number = Signal(range(len(SIZES)), name="asked_for"), (DESCRIPTOR_WORDS - owed)[:4]
        m.d.sync += owed.eq(owed + Mux(self.asked, DESCRIPTOR_WORDS, 0) - self.taken)
        with m.If(self.asked):
            m.d.sync += self.channel.eq(unit.o_channel)
        left = [stream.valid for stream in unit.o]
        assume(m, stream_held(m, unit.i), ~unit.i.valid | (owed != 0), moved | ~before.any() |
               (unit.i_pointers.as_value() == pointers), ~unit.i_start.any() | ~(unit.o_active.any() | Cat(left).any()))


class LoaderContract(_Loader):
    """What is asked for, what is found wrong with it, and who gets it. Lengths are those of few bits."""

    def specify(self, m):
        super().specify(m)
        unit, owed, channel, value = self.unit, self.owed, self.channel, self.unit.i.payload.data
        size = Array(SIZES)[channel]
        active, checked = Signal(len(SIZES), name="is_active"), Signal(len(SIZES), name="is_checked")
        zero, reserved, length, last, dead = Signal(name="bad_zero"), Signal(name="bad_reserved"), Signal(
            self.length_width, name="row_length"), Signal(name="is_last"), Signal(name="after_error")
        with m.If(self.asked):
            m.d.sync += [zero.eq(0), reserved.eq(0)]
        with m.Elif(self.taken):
            with m.Switch(self.number):
                with m.Case(1):
                    m.d.sync += reserved.eq((value >> (unit.bus.address_width - 32)).any())
                with m.Case(2):
                    m.d.sync += zero.eq(value == 0)
                with m.Case(3):
                    m.d.sync += reserved.eq(reserved | (value > 3) | (value[:2] == 1))
                with m.Case(4, 6, 8):
                    m.d.sync += [zero.eq(zero | (value[:COUNT_WIDTH] == 0)),
                                 reserved.eq(reserved | (value >> COUNT_WIDTH).any())]
            with m.If(self.number == 2):
                m.d.sync += length.eq(value)
            with m.If(self.number == 3):
                m.d.sync += last.eq(value[0])
        assume(m, ~(self.taken & (self.number == 2)) | (value < 1 << self.length_width))
        uneven = Signal()
        m.d.comb += uneven.eq((length >= size) & Mux(channel, length % SIZES[1], length % SIZES[0]).any())
        wrong = Mux(zero, Cause.DESCRIPTOR_ZERO, Mux(reserved, Cause.DESCRIPTOR_RESERVED, Mux(
            uneven, Cause.DESCRIPTOR_LENGTH, Cause.NONE)))
        delivered = [Signal(range(DESCRIPTOR_WORDS), name=f"delivered{number}") for number in range(len(SIZES))]
        for number, (stream, count) in enumerate(zip(unit.o, delivered)):
            moved = stream.valid & stream.ready
            ends = moved & (count == DESCRIPTOR_WORDS - 1)
            m.d.sync += [count.eq(Mux(ends, 0, count + moved)), checked[number].eq(
                unit.o_advance[number] | (checked[number] & ~ends))]
            check(m, held(m, stream.valid, stream.ready), stream.valid == checked[number],
                  ~(unit.o_row.valid & (unit.o_channel == number)) | (active[number] & ~checked[number]))
        m.d.sync += [active.eq((active | unit.i_start) & ~Mux(last, unit.o_advance, 0)), dead.eq(dead | unit.o_error)]

        deciding, decided = Signal(), unit.o_advance.any() | unit.o_error
        waited = Signal(range(unit.check_cycles + 2))
        with m.If(decided):
            m.d.sync += deciding.eq(0)
        with m.Elif(self.taken & (owed == 1)):
            m.d.sync += deciding.eq(1)
        m.d.sync += waited.eq(Mux(deciding & ~decided, waited + 1, 0))
        row = unit.o_row.payload
        check(m, stream_held(m, unit.o_row), unit.i.ready == (owed != 0), unit.o_active == active,
              ~decided | (deciding & (unit.o_channel == channel)), ~unit.o_error | (unit.o_cause == wrong),
              ~unit.o_advance.any() | (unit.o_advance == 1 << channel),
              ~decided | (unit.o_error == (wrong != Cause.NONE)),
              waited <= self.length_width, ~(dead & (decided | unit.o_row.valid)), ~deciding | (owed == 0),
              ~unit.o_row.valid | ((row.length == DESCRIPTOR_BYTES) & ~row.end & (
                  row.address == Array(unit.i_pointers[number] for number in range(len(SIZES)))[unit.o_channel])),
              *(queue.w_rdy | ~queue.w_en for queue in self.queues()))
        self.witness = [unit.o_advance[0] & last, unit.o_advance[1] & (length == 6) & checked[0],
                        *(unit.o_error & (unit.o_cause == cause) for cause in (
                            Cause.DESCRIPTOR_ZERO, Cause.DESCRIPTOR_RESERVED, Cause.DESCRIPTOR_LENGTH))]

    def queues(self):
        return [self.inside.submodules[f"queue{number}"] for number in range(len(SIZES))]


class LoaderWords(_Loader):
    """The words that a midend gets are those that came from memory for its channel, in their order.

    A free number chooses the word of every descriptor that is watched.
    """

    def specify(self, m):
        super().specify(m)
        unit, value, at = self.unit, self.unit.i.payload.data, state_of(self.unit)
        watch = AnyConst(range(DESCRIPTOR_WORDS))
        assume(m, watch < DESCRIPTOR_WORDS)
        inside = self.inside
        check(m, at("RECEIVE") == (self.owed != 0), inside["word"] == Mux(at("RECEIVE"), self.number, 0),
              at("CHOOSE") | at("REFUSED") | at("ASK") | (inside["channel"] == self.channel),
              self.owed <= DESCRIPTOR_WORDS,
              inside["channel"] < len(SIZES), at("CHOOSE") | at("REFUSED") | at("ASK") | at("CHECK") | at("RECEIVE"))
        for number, stream in enumerate(unit.o):
            known, came, went = Signal(32, name=f"known{number}"), *(
                Signal(range(DESCRIPTOR_WORDS + 1), name=f"{name}{number}") for name in ("came", "went"))
            moved = stream.valid & stream.ready
            mine = self.taken & (self.channel == number)
            ends = moved & (went == DESCRIPTOR_WORDS - 1)
            m.d.sync += [came.eq(Mux(ends, 0, came + mine)), went.eq(Mux(ends, 0, went + moved))]
            with m.If(mine & (self.number == watch)):
                m.d.sync += known.eq(value)
            check(m, stream_held(m, stream), ~(moved & (went == watch)) | (stream.payload == known))
            # Invariant
            queue = inside.submodules[f"queue{number}"]
            Contents(m, queue, 0)
            ring = opened(queue).submodules.storage
            probe = ring.read_port(domain="comb")
            m.d.comb += probe.addr.eq((ring.read_ports[0].addr + watch - went)[:4])
            here = inside["channel"] == number
            check(m, queue.level == came - went, went <= came, went < DESCRIPTOR_WORDS, came <= DESCRIPTOR_WORDS,
                  (went == 0) | (came == DESCRIPTOR_WORDS), ~stream.valid | (came == DESCRIPTOR_WORDS),
                  (came == 0) | (came == DESCRIPTOR_WORDS) | (at("RECEIVE") & here),
                  ~(at("ASK") & here) | (~inside["ready"][number] & (came == 0)),
                  ~(at("RECEIVE") & here) | (~inside["ready"][number] & (came == self.number)),
                  ~(at("CHECK") & here) | (~inside["ready"][number] & (came == DESCRIPTOR_WORDS)),
                  (watch < went) | (watch >= came) | (probe.data == known))
            self.witness.append(moved & (went == watch) & (stream.payload == 0x12345678))
