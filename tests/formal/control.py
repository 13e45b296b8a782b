"""What the parts of the core rely on each other for: queues with room, snapshots left alone, schedules that fit."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.config import TILES_IN_FLIGHT
from bnforge.constants import ConstantExtraction
from bnforge.divider import INTERVAL, Divider
from bnforge.normaliser import Normaliser

from .core import Core
from .runner import check, opened

__all__ = ["JobQueue", "TilesInFlight", "SumSnapshot", "RangeSnapshot", "RangeSums", "DividerUse", "LanePipeline"]


def delayed(m, value, n_cycles, *, reset_less=False):
    """``value`` as it was ``n_cycles`` ago."""
    for _ in range(n_cycles):
        before, value = value, Signal.like(value, reset_less=reset_less)
        m.d.sync += value.eq(before)
    return value


class JobQueue(Core):
    """The queue of tiles for the constant extraction, which has no way to stall its writer, always has room."""

    def specify(self, m):
        jobs = self.parts.jobs
        check(m, ~jobs.w_en | jobs.w_rdy)
        self.witness = jobs.level == jobs.depth


class TilesInFlight(Core):
    """At most four tiles are between their opening and the last word of their records.

    The position memory of the record unit has four slots, used in turn, so that no position is overwritten before it
    is read; header slots and pending records limit the tiles.
    """

    def specify(self, m):
        opens, records = self.parts.header.o_open, self.parts.records.o
        # The last word counts from its first cycle on offer: it has been read from the memories then.
        fresh = delayed(m, ~records.valid | records.ready, 1)
        recorded = records.valid & records.payload.last & fresh
        tiles = Signal(range(TILES_IN_FLIGHT + 2))
        now = tiles - recorded
        m.d.sync += tiles.eq(now + (opens.valid & opens.ready))
        check(m, now >= 0, now <= TILES_IN_FLIGHT)
        self.witness = now == TILES_IN_FLIGHT


class SumSnapshot(Core):
    """The constant extraction reads the sum of every lane as it was at the end of the sample it belongs to."""

    def specify(self, m):
        entry, constants = self.parts.input, self.parts.constants
        lanes = [self.parts[f"statistics{i}"] for i in range(self.config.lanes)]
        held, lane = Signal(), Signal(range(self.config.lanes + 1))
        with m.If(entry.o_sample_end):
            m.d.sync += [held.eq(1), lane.eq(0)]
        with m.Elif(constants.o_sum_shift):
            m.d.sync += lane.eq(lane + 1)
        with m.If(constants.o_sum_free):
            m.d.sync += held.eq(0)
        in_place = delayed(m, entry.o_sample_end, 2)
        shift = constants.o_sum_shift
        check(m, ~entry.o_sample_end | ~held, ~shift | held, ~shift | (lane < self.config.lanes))
        for i, unit in enumerate(lanes):
            copy = Signal.like(unit.o_sum.as_value(), name=f"copy{i}", reset_less=True)
            with m.If(in_place):
                m.d.sync += copy.eq(unit.o_sum)
            check(m, ~shift | (lane != i) | (lanes[0].o_sum.as_value() == copy))
        self.witness = constants.o_sum_free


class RangeSnapshot(Core):
    """The range unit reads the extrema of every lane as they were at the end of their chunk."""

    def specify(self, m):
        entry, ranges = self.parts.input, self.parts.ranges
        lanes = [self.parts[f"statistics{i}"] for i in range(self.config.lanes)]
        lane = Signal(range(self.config.lanes + 1), init=self.config.lanes)  # that leaves next
        gone = lane + ranges.o_shift
        m.d.sync += lane.eq(Mux(entry.o_chunk_end, 0, gone))
        in_place = delayed(m, entry.o_chunk_end, 1)
        check(m, ~entry.o_chunk_end | (gone == self.config.lanes), gone <= self.config.lanes)
        for i, unit in enumerate(lanes):
            copy = Signal.like(unit.o_extrema.as_value(), name=f"copy{i}", reset_less=True)
            with m.If(in_place):
                m.d.sync += copy.eq(unit.o_extrema)
            if i:  # lane 0 leaves in the first cycle
                check(m, ~ranges.o_shift | (lane != i) | (lanes[0].o_extrema.as_value() == copy))
        self.witness = entry.o_chunk_end & ranges.o_shift


class RangeSums(Core):
    """While a run of the constant extraction reads the sums of ranges of its tile, none of them is being changed."""

    def specify(self, m):
        constants, moved = self.parts.constants, self.parts.ranges.o_position
        job = constants.i_job
        lanes = self.config.lanes
        running, age = Signal(), Signal(range(lanes + 3))
        done = constants.o_r.valid & (constants.o_r.lane == lanes - 1)
        with m.If(running & (age != lanes + 2)):
            m.d.sync += age.eq(age + 1)
        with m.If(done):
            m.d.sync += running.eq(0)
        with m.If(job.valid & job.ready):
            m.d.sync += [running.eq(~job.payload.frozen), age.eq(0)]
        # The last chunk may still be on its way at the start of the run; it is in the memory long before it is read.
        settled = running & (age == lanes + 2)
        changes = self.parts.ranges.o_position_valid & (moved.tile[0] == constants.o_range_parity)
        check(m, ~settled | ~changes, ~constants.o_r.valid | settled)
        self.witness = done


class DividerUse(Core):
    """The constant extraction keeps the rules of its units, whatever tiles come.

    Divisions start at least ``INTERVAL`` cycles apart; the divisor C holds still until the last quotient; and no two
    of the three products meet in the register behind the multiplier.
    """

    def specify(self, m):
        constants = self.parts.constants
        over_c = self.inner.over_c
        for divider in (self.inner.reciprocal, over_c):
            recent = [delayed(m, divider.i_valid, 1 + i) for i in range(INTERVAL - 1)]
            for valid in recent:
                check(m, ~divider.i_valid | ~valid)
        busy, held = Signal(range(Divider.latency + 1)), Signal.like(over_c.i_divisor)
        m.d.sync += held.eq(over_c.i_divisor)
        with m.If(over_c.i_valid):
            m.d.sync += busy.eq(Divider.latency - 1)
        with m.Elif(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        check(m, (busy == 0) | (over_c.i_divisor == held))
        scaled = delayed(m, over_c.i_valid, 1)
        check(m, ~(constants.o_mu.valid & constants.o_r.valid), ~(constants.o_mu.valid & scaled),
              ~(constants.o_r.valid & scaled))
        self.witness = scaled


class LanePipeline(wiring.Component):
    """The normaliser keeps the contract of its output buffer: a beat arrives there exactly ``pipeline`` cycles after it
    was issued, with the ``last`` that it had, and it is issued only on credit.
    """

    def __init__(self, config):
        self.config = config
        self.dut = Normaliser(config)
        super().__init__({name: In(member.shape) for name, member in self.dut.signature.members.items()
                          if member.is_port and member.flow is In}
                         | {"valid": In(1), "last": In(1), "codes": In(config.lanes * config.x_format.width),
                            "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        buffer = opened(dut).submodules.buffer
        m.d.comb += [getattr(dut, name).eq(getattr(self, name)) for name in self.signature.members
                     if name in dut.signature.members]
        m.d.comb += [dut.i.valid.eq(self.valid), dut.i.payload.last.eq(self.last),
                     dut.i.payload.codes.eq(self.codes), dut.o.ready.eq(self.ready)]
        issued = dut.i.valid & dut.i.ready
        check(m, ~issued | buffer.o_credit, buffer.i_issue == issued,
              buffer.i_valid == delayed(m, issued, dut.pipeline),
              ~buffer.i_valid | (buffer.i_data.last == delayed(m, dut.i.payload.last, dut.pipeline)))
        self.witness = buffer.i_valid & buffer.i_data.last
        return m
