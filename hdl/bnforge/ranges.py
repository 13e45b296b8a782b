"""Range unit: drains the extrema of a chunk lane by lane, and adds up the ranges of each lane."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .arith import Unpacked, add_ordered, comb, decode, exponent_range, exponent_shape, order
from .extrema import code_of, extrema_layout
from .streams import lane_width

__all__ = ["RangeUnit", "SUM_WIDTH", "range_sum_layout", "position_layout"]

SUM_WIDTH = 24
"""Significant bits that a sum keeps when it leaves its accumulator, and that the sum of ranges keeps."""


def range_sum_layout(config):
    """Sum of the ranges of one lane: normalised, never negative."""
    low, high = exponent_range(config.x_format)
    exponent = exponent_shape(low - config.x_format.fraction_width, high + 2 + config.n_chunks.bit_length())
    return data.StructLayout({"sig": SUM_WIDTH, "exponent": exponent})


def position_layout(config):
    """One pair of positions on its way to the records."""
    return data.StructLayout({
        "tile": 2, "lane": lane_width(config), "chunk": range(max(2, config.n_chunks)),
        "argmax": config.position_width, "argmin": config.position_width})


class RangeUnit(wiring.Component):
    """``sum_j (max_j - min_j)`` per lane, each difference and each partial sum truncated to 24 significant bits.

    After ``i_load`` it takes one lane per cycle from the snapshot chain, so a new chunk may end ``lanes`` cycles later.

    Latency: the sum of lane i can be read from cycle ``latency + i`` after ``i_load`` on.

    Members
    -------
    i_load : a chunk ends; with it ``i_chunk``, ``i_tile`` (tile number modulo 4)
    i_extrema : snapshot of lane 0
    o_position_valid, o_position : positions for the record
    i_read_parity, i_read_lane : what to read (tile number modulo 2)
    o_sum : the sum of ranges, one cycle later
    """

    latency = 10

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_load": In(1), "i_chunk": In(range(max(2, config.n_chunks))), "i_tile": In(2),
            "i_extrema": In(extrema_layout(config)),
            "o_position_valid": Out(1), "o_position": Out(position_layout(config)),
            "i_read_parity": In(1), "i_read_lane": In(lane_width(config)), "o_sum": Out(range_sum_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        remaining = Signal(range(config.lanes + 1))
        lane = Signal(lane_width(config))
        chunk = Signal.like(self.i_chunk)
        tile = Signal(2)
        # One cycle after ``i_load`` the lanes take their snapshots; from the next on lane after lane leaves.
        loading = Signal()
        next_chunk = Signal.like(self.i_chunk)
        next_tile = Signal(2)
        m.d.sync += [loading.eq(self.i_load), next_chunk.eq(self.i_chunk), next_tile.eq(self.i_tile)]
        leaving = comb(m, remaining != 0, "leaving")
        with m.If(leaving):
            m.d.sync += [remaining.eq(remaining - 1), lane.eq(lane + 1)]
        with m.If(loading):
            m.d.sync += [remaining.eq(config.lanes), lane.eq(0), chunk.eq(next_chunk), tile.eq(next_tile)]
        position = self.o_position
        m.d.comb += [
            self.o_position_valid.eq(leaving), position.tile.eq(tile), position.lane.eq(lane),
            position.chunk.eq(chunk), position.argmax.eq(self.i_extrema.argmax),
            position.argmin.eq(self.i_extrema.argmin)]

        # Stages 1 and 2: the exact difference.
        fmt = config.x_format
        greatest = decode(m, fmt, code_of(self.i_extrema.max), name="max")
        least = decode(m, fmt, code_of(self.i_extrema.min), name="min")
        s1 = _Stage(m, 1, leaving, lane, chunk == 0, tile[0])
        operands = order(m, greatest, least.negated(), SUM_WIDTH, name="range").registered(m, "s1")
        s2 = s1.following(m)
        raw = add_ordered(m, operands, name="range").unbiased(m, "range").registered(m, "s2")

        # Stages 3 and 4: normalise and truncate; the sum so far is being read.
        sums = range_sum_layout(config)
        s3 = s2.following(m)
        s4 = s3.following(m)
        addend = raw.normalised_late(m, "range").truncated(SUM_WIDTH).registered(m, "s4")

        # Stages 5 to 7: add, normalise and write back.
        m.submodules.sums = mem = memory.Memory(shape=sums, depth=2 << lane_width(config), init=[])
        write, own, other = mem.write_port(), mem.read_port(), mem.read_port()
        m.d.comb += own.addr.eq(Cat(s3.lane, s3.parity))
        so_far = Unpacked(Const(0, 1), own.data.exponent, comb(m, own.data.sig & (~s4.is_first).replicate(SUM_WIDTH),
                                                               "so_far"))
        operands = order(m, so_far, Unpacked(Const(0, 1), addend.exponent, addend.sig), SUM_WIDTH, name="total")
        s5 = s4.following(m)
        s6 = s5.following(m)
        total = add_ordered(m, operands.registered(m, "s5"), name="total").registered(m, "s6")
        total = total.normalised(m, "total", limit=1).truncated(SUM_WIDTH).unbiased(m, "total")
        m.d.comb += [
            write.en.eq(s6.valid), write.addr.eq(Cat(s6.lane, s6.parity)),
            write.data.sig.eq(total.sig), write.data.exponent.eq(total.exponent),
            other.addr.eq(Cat(self.i_read_lane, self.i_read_parity)), self.o_sum.eq(other.data)]
        return m


class _Stage:
    """What accompanies a lane through the pipeline, registered."""

    def __init__(self, m, number, valid, lane, is_first, parity):
        self.number = number
        self.valid = Signal(name=f"s{number}_valid")
        self.lane = Signal(len(lane), name=f"s{number}_lane", reset_less=True)
        self.is_first = Signal(name=f"s{number}_is_first", reset_less=True)
        self.parity = Signal(name=f"s{number}_parity", reset_less=True)
        m.d.sync += [self.valid.eq(valid), self.lane.eq(lane), self.is_first.eq(is_first), self.parity.eq(parity)]

    def following(self, m):
        """The same one stage later."""
        return _Stage(m, self.number + 1, self.valid, self.lane, self.is_first, self.parity)
