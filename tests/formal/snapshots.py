"""What passes from the lanes to the shared units: snapshots that are left alone until they have been read.

Proved by induction, like :mod:`.control`.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Const, Mux, Signal
from bnforge.divider import INTERVAL
from bnforge.recovery import RecoveryLane
from bnforge.schedule import BackwardSchedule, ForwardSchedule
from bnforge.streams import is_backward
from bnforge.totals import TotalsUnit

from .control import JobQueue, count, delayed
from .runner import check, opened

_READ_STAGE, _LAST_STAGE = 2, 7
"""Stages of the totals unit in which the total so far is read, and the new one written."""

__all__ = ["SumSnapshot", "TotalsRead", "SampleLength", "RangeSnapshot", "RangeSums"]


def since(m, event, limit, name):
    """Cycles since ``event`` last held, from 1 in the cycle after it up to ``limit``."""
    cycles = Signal(range(limit + 1), init=limit, name=name)
    m.d.sync += cycles.eq(Mux(event, 1, Mux(cycles == limit, limit, cycles + 1)))
    check(m, cycles != 0, cycles <= limit)
    return cycles


class SumSnapshot(JobQueue):
    """Of every lane the scalar unit reads the sum as it was at the end of its sample, the totals unit both sums as they
    were at the end of their block.

    Reason: a sum ends only when the snapshots of the last one have been read, so at most one tile that is not frozen,
    or one block, is between its end and the reading of its sums.
    """

    def specify(self, m):
        super().specify(m)
        config, entry, unit = self.config, self.parts.input, self.parts.scalar
        lanes, busy = config.lanes, self.entry["sum_busy"]
        reads = [ForwardSchedule.MAGNITUDE + INTERVAL * i for i in range(lanes)]
        unread = self.forward & (self.time <= reads[-1])
        self.age = age = since(m, entry.o_sum_end, 2 * lanes + RecoveryLane.latency + 1, "sum_age")
        queued = [valid & ~is_backward(config, job) & ~job.frozen for valid, job in self.queued["jobs"]]
        waits, turn = Const(0), Const(0)  # for the totals unit; its step, two per lane
        reading = Const(0)
        if config.has_backward:
            totals = opened(self.parts.totals)
            wait, reading, lane, is_product = (totals[name] for name in ("wait", "reading", "lane", "is_product"))
            waits, turn = wait != 0, 2 * lane + is_product
            check(m, ~waits | (age == RecoveryLane.latency - wait),
                  Mux(reading, (age == RecoveryLane.latency + turn) & (lane < lanes), turn == 0))
        check(m, busy == count(*queued, unread, waits, reading))
        check(m, ~(busy & unread) | (age == 2 * lanes + RecoveryLane.latency + 1) | (age >= self.time + 2),
              (age != 1) | queued[0] | queued[1] | waits,
              (age >= RecoveryLane.latency + 2 * lanes) | busy)

        # When lane i is read; until then its copy is in the chain, one place further with every read.
        read_forward = [self.forward & (self.time == read) for read in reads]
        shift = reduce(or_, read_forward)
        check(m, ~shift | busy)
        if config.has_forward:
            check(m, unit.o_sum_shift == delayed(m, shift, 1, name="sum_shift"))
        still = queued[0] | queued[1] | waits
        for i in range(lanes):
            total = self.parts[f"sum{i}"]
            late = int(config.has_backward)  # the elements come from the recovery lanes
            chains = [("sum", 2 + late, Const(1))]
            check(m, opened(opened(total).submodules.sum)["end"] == (age == 1 + late))
            if config.has_backward:
                chains.append(("recovery", RecoveryLane.latency, waits | reading))
                recovery = opened(self.parts[f"recovery{i}"])
                check(m, recovery["flags"][-1] == (age == RecoveryLane.latency - 2),
                      opened(recovery.submodules.sum)["end"] == (age == RecoveryLane.latency - 1))
            for name, in_place, relevant in chains:
                chain = [self.parts[f"{name}{j}"].o_sum.as_value() for j in range(i + 1)]
                copy = Signal.like(chain[i], name=f"{name}_copy{i}", reset_less=True)
                with m.If(age == in_place):
                    m.d.sync += copy.eq(chain[i])
                for passed in range(i + 1):
                    # The chain moves a cycle after the read.
                    now = self.forward & (self.time <= reads[passed] + 1)
                    if passed:
                        now = now & (self.time > reads[passed - 1] + 1)
                    else:
                        now = now | still
                    now = now | (reading & (turn >> 1 == passed))
                    check(m, ~busy | ~now | ~relevant | (age <= in_place) | (chain[i - passed] == copy))
        self.sum_busy, self.waits, self.reading = busy, waits, reading
        self.witness += [*([unit.o_sum_free] if config.has_forward else []),
                         *([self.parts.totals.o_free] if config.has_backward else [])]


class TotalsRead(SumSnapshot):
    """The scalar unit reads a total when it is complete, and nothing is added to it meanwhile.

    Reason: the run starts two cycles after the last beat of its tile at the earliest; the next tile adds to the other
    half of the memory, and the one after that opens only when the slot is free. Two additions to one total are never
    under way together.
    """

    def specify(self, m):
        super().specify(m)
        unit, totals, lanes = self.parts.scalar, self.parts.totals, self.config.lanes
        inside = opened(totals)
        limit = TotalsUnit.latency + 2 * lanes
        ages = Array(since(m, totals.i_block_end & (totals.i_parity == parity), limit, f"block_age{parity}")
                     for parity in range(2))
        first_read = RecoveryLane.latency
        check(m, ~(self.waits | self.reading) | (ages[inside["parity"]] == self.age),
              *(age >= self.age for age in ages))
        for stage in range(1, _LAST_STAGE + 1):
            address = inside["addresses"][stage]
            turn, parity = address[:-1], address[-1]
            # The last sums of a block may be on their way when the next block ends.
            check(m, ~inside["valid"][stage] | (turn < 2 * lanes),
                  ~inside["valid"][stage] | (ages[parity] == first_read + stage + turn) |
                  (ages[parity] + 2 * lanes <= stage + turn))
            for later in range(stage + 1, _LAST_STAGE + 1) if stage >= _READ_STAGE else ():
                check(m, ~inside["valid"][stage] | ~inside["valid"][later] | (address != inside["addresses"][later]))
        age = ages[self.slot]
        check(m, ~self.backward | (age == limit) | (age >= self.time + 2))
        # Written in the cycle before the one from which the totals unit says that it can be read, or sooner.
        write = inside["addresses"][_LAST_STAGE]
        check(m, ~inside["valid"][_LAST_STAGE] | (ages[write[-1]] < TotalsUnit.latency + 2 * (write[:-1] >> 1)))
        for step, product in ((BackwardSchedule.READ_G, 0), (BackwardSchedule.READ_PRODUCT, 1)):
            for lane in range(lanes):
                reads = self.backward & (self.time == step + INTERVAL * lane)
                check(m, ~reads | ((unit.o_slot == self.slot) & (unit.o_total_lane == lane) &
                                   (unit.o_total_product == product) & (age >= TotalsUnit.latency + 2 * lane)))
        self.witness.append(self.backward & (self.time == BackwardSchedule.READ_PRODUCT))


class SampleLength(JobQueue):
    """The sample length of an open tile is what the header unit let through, and not exceeded."""

    def specify(self, m):
        super().specify(m)
        opens, tile = self.parts.header.o_open, self.parts.input.o_tile[0] ^ self.is_open
        write_slot, stopped, in_channels = self.write_slot, self.header["stopped"], self.header["in_channels"]

        def good(frozen, sample_len):
            return frozen | ((sample_len != 0) & (sample_len <= self.config.sample_depth))

        slots = Array(good(slot.frozen, slot.sample_len) for slot in self.parts.header.o_tiles)
        check(m, stopped | ((write_slot ^ in_channels) == (tile ^ opens.valid)),
              stopped | ~(self.begun_header | in_channels) | slots[write_slot],
              ~opens.valid | ((opens.payload == tile) & slots[tile] & self.taken.bit_select(tile, 1)))
        beats, sample_len = self.count, self.entry["sample_len"]
        gradient = self.is_open & self.in_backward & ~self.frozen
        check(m, ~self.is_open | good(self.frozen, sample_len), ~self.can_sample | (beats < sample_len),
              ~gradient | (beats <= sample_len),
              ~(self.is_open & self.frozen) | (beats == 0), self.is_open | (beats == 0), ~self.first | (beats == 0))
        self.gradient = gradient
        self.witness.append(gradient & (beats == sample_len) if self.config.has_backward else self.can_sample)


class RangeSnapshot(SampleLength, SumSnapshot):
    """The range unit reads the extrema of every lane as they were at the end of their chunk.

    Reason: the next chunk ends ``chunk_len`` beats later, or with a sample that has to wait for the sums.
    """

    def specify(self, m):
        super().specify(m)
        config, entry, ranges = self.config, self.parts.input, self.parts.ranges
        lanes = [self.parts[f"extrema{i}"] for i in range(config.lanes)]
        inside = opened(ranges)
        remaining, loading = inside["remaining"], inside["loading"]
        position, chunk = self.count[:config.position_width], self.count[config.position_width:]

        late = int(config.has_backward)  # the elements come from the recovery lanes
        limit = config.lanes + 2 + late
        age = since(m, entry.o_chunk_end, limit, "chunk_age")
        check(m, ~entry.o_chunk_end | (age >= min(config.chunk_len, limit)))
        check(m, (age == limit) | ~self.can_sample | (position < age),
              (age == limit) | (self.can_sample & (chunk != 0)) | (self.sum_busy & (self.age <= age)))
        # A chain starts two or three cycles after its chunk ended; of the one before, at most the last lane is left.
        check(m, loading == (age == 1 + late), (age != 1 + late) | (remaining <= 1),
              ranges.i_load == (age == 1) if late else Const(1),
              (age < 2 + late) | (remaining == Mux(age == limit, 0, limit - age)))
        for i in range(config.lanes):
            check(m, opened(lanes[i])["chunk_end"] == loading)
            copy = Signal.like(lanes[i].o_extrema.as_value(), name=f"extrema_copy{i}", reset_less=True)
            with m.If(age == 2 + late):
                m.d.sync += copy.eq(lanes[i].o_extrema)
            for gone in range(1, i + 1):
                check(m, (remaining != config.lanes - gone) | (lanes[i - gone].o_extrema.as_value() == copy))
        check(m, ~ranges.o_position_valid | (ranges.o_position.lane == config.lanes - remaining))
        self.chunk_age, self.remaining = age, remaining
        self.witness.append(entry.o_chunk_end & ~entry.o_sum_end)


class RangeSums(RangeSnapshot):
    """While a run of the scalar unit reads the sums of ranges of its tile, none of them is being changed.

    Reason: the run starts after the last chunk of its tile has ended, the next tile adds to the other half of the
    memory, and the one after that opens only when the slot is free.
    """

    def specify(self, m):
        super().specify(m)
        config, unit, ranges = self.config, self.parts.scalar, self.parts.ranges
        inside = opened(ranges)
        tile, next_tile = inside["tile"], inside["next_tile"]
        same = ranges.o_position_valid & (tile[0] == unit.o_range_parity)
        late = int(config.has_backward)
        coming = (self.chunk_age == 1 + late) & (next_tile[0] == unit.o_range_parity)
        if late:
            coming = coming | ((self.chunk_age == 1) & (ranges.i_tile[0] == unit.o_range_parity))
        # The chain of the run's own tile started before the run.
        check(m, ~self.forward | ~coming | (self.time == 0),
              ~self.forward | ~same | (self.remaining + self.time <= config.lanes + late))
        first = ForwardSchedule.TIMES_RANGE - 1  # the sum of lane 0 is read
        written = 7                              # cycles from a move of the chain until its sum can be read
        reading = self.forward & (self.time >= first - written) & (
            self.time <= first + INTERVAL * (config.lanes - 1))
        check(m, ~reading | ~(same | coming))
        self.witness.append(unit.o_r.valid)
