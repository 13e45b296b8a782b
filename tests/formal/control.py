"""What the parts of the core rely on each other for: queues with room, snapshots left alone, schedules that fit.

Proved by induction, hence each specification states the whole reason, in terms of registers inside the parts. A
*tile* goes through header, input stage, job queue, constant extraction and record unit. ``slot`` in the comments is
one of the two header slots.
"""

from functools import reduce
from operator import add, or_

from amaranth.hdl import Array, Mux, Signal, Value
from bnforge.config import HEADER_FIXED_WORDS, TILES_IN_FLIGHT
from bnforge.constants import Schedule
from bnforge.divider import INTERVAL, Divider

from .core import Core
from .runner import check, opened

__all__ = ["JobQueue", "TilesInFlight", "SumSnapshot", "RangeSnapshot", "RangeSums", "DividerUse", "ControlRules"]


def delayed(m, value, n_cycles, *, name="delayed"):
    """``value`` as it was ``n_cycles`` ago, as a register per cycle; 0 after the reset."""
    line = [value]
    for cycle in range(n_cycles):
        line.append(Signal(Value.cast(value).shape(), name=f"{name}_{cycle + 1}"))
        m.d.sync += line[-1].eq(line[-2])
    return line[-1]


def count(*conditions):
    """How many conditions hold."""
    return reduce(add, [Value.cast(condition).bool() for condition in conditions])


class JobQueue(Core):
    """The queue of tiles for the constant extraction, which cannot stall its writer, always has room.

    Reason: a header slot is taken by at most one tile, and every tile up to the end of its constant extraction has one.
    """

    def specify(self, m):
        parts = self.parts
        self.header, self.entry = (opened(parts[name]) for name in ("header", "input"))
        self.constants = opened(parts.constants)
        unit, entry = parts.constants, parts.input

        # The run of the constant extraction.
        self.running, self.loading = unit._running, unit._loading
        loaded = self.constants["loaded"]
        self.extracting = self.running | self.loading | unit.o_ready
        self.time = time = unit._index * INTERVAL + unit._phase
        last = Schedule.STORE_B + INTERVAL * (self.config.lanes - 1)
        check(m, count(self.running, self.loading, unit.o_ready) <= 1, ~loaded | self.loading,
              ~self.running | ((unit._phase < INTERVAL) & (time <= last)))

        # The tile that is open at the input, before and after its job.
        is_open, frozen, first, sampling = (self.entry[name] for name in (
            "is_open", "frozen", "first", "sampling"))
        waiting = Mux(frozen, first, sampling)
        self.before_job, self.after_job = is_open & waiting, is_open & ~waiting
        self.can_sample = is_open & sampling & ~frozen
        check(m, is_open | first, is_open | sampling, ~first | sampling)

        # The slots.
        slot, read_slot = self.constants["slot"], self.header["read_slot"]
        taken, index = self.header["taken"], self.header["index"]
        begun = (index != 0) & (index < HEADER_FIXED_WORDS)
        check(m, index < self.config.header_words)
        check(m, count(taken[0], taken[1]) >= count(begun, parts.header.o_open.valid, self.before_job, self.extracting)
              + parts.jobs.level)
        ring = opened(parts.jobs).submodules.storage
        produce, consume = ring.write_ports[0].addr, ring.read_ports[0].addr
        check(m, parts.jobs.level <= 2, (consume ^ produce) == parts.jobs.level[0],
              ~parts.jobs.w_en | parts.jobs.w_rdy)

        complete, write_slot = parts.header.o_complete, self.header["write_slot"]
        check(m, ~self.extracting | complete.bit_select(slot, 1),
              (index == 0) | (~complete.bit_select(write_slot, 1) & taken.bit_select(write_slot, 1)),
              ~complete[0] | taken[0], ~complete[1] | taken[1])

        # Tiles are counted in step, modulo 2.
        tile = entry.o_tile[0]
        check(m, slot == read_slot, (tile ^ slot) == (parts.jobs.level[0] ^ self.extracting ^ self.after_job))
        self.is_open, self.slot, self.write_slot, self.index, self.taken = is_open, slot, write_slot, index, taken
        self.witness = parts.jobs.level == parts.jobs.depth


class TilesInFlight(JobQueue):
    """At most four tiles are between their opening and the last word of their records.

    So the four slots of the position memory are enough. Reason: two header slots, and two pending records.
    """

    def specify(self, m):
        super().specify(m)
        opens, records = self.parts.header.o_open, self.parts.records.o
        inside = opened(self.parts.records)
        pending, busy = inside["pending"], inside["busy"]
        # The last word counts from its first cycle on offer: it has been read from the memories then.
        fresh = delayed(m, ~records.valid | records.ready, 1)
        tiles = Signal(range(TILES_IN_FLIGHT + 2))
        now = tiles - (records.valid & records.payload.last & fresh)
        m.d.sync += tiles.eq(now + (opens.valid & opens.ready))
        check(m, pending <= 2, ~self.extracting | (pending <= 1), ~busy | (pending != 0),
              now == count(self.before_job, self.extracting) + self.parts.jobs.level + pending,
              now <= TILES_IN_FLIGHT)
        self.witness = now == TILES_IN_FLIGHT


class SumSnapshot(JobQueue):
    """The constant extraction reads the sum of every lane as it was at the end of the sample it belongs to.

    Reason: a sample ends only when the snapshots of the last one have been read, so at most one tile that is not frozen
    is between the end of its sample and the reading of its sums.
    """

    def specify(self, m):
        super().specify(m)
        config, entry, unit, jobs = self.config, self.parts.input, self.parts.constants, self.parts.jobs
        lanes = [self.parts[f"statistics{i}"] for i in range(config.lanes)]
        busy = self.entry["sum_busy"]
        reads = [Schedule.MAGNITUDE + INTERVAL * i for i in range(config.lanes)]
        unread = self.running & (self.time <= reads[-1])

        # Jobs with sums, in the queue and running.
        ring = opened(jobs).submodules.storage
        probe = ring.read_port(domain="comb")
        m.d.comb += probe.addr.eq(ring.read_ports[0].addr + 1)
        queued = [(jobs.level > 0) & ~jobs.r_data[0], (jobs.level > 1) & ~probe.data[0]]
        check(m, busy == count(*queued, unread))

        # Cycles since the sample ended, and since its last chunk did. The snapshot is in place after two.
        limit = config.lanes + 4
        self.age = age = Signal(range(limit + 1), init=limit)
        m.d.sync += age.eq(Mux(entry.o_sample_end, 1, Mux(age == limit, limit, age + 1)))
        in_place = age == 2
        check(m, age != 0, age <= limit, ~(busy & unread) | (age == limit) | (age >= self.time + 2),
              (age != 1) | (queued[0] | queued[1]), (age > 2) | busy)
        for lane in lanes:
            check(m, opened(lane)["end"] == (age == 1))

        # Lane i is read at reads[i]; until then its copy is in the chain, one place further with every read.
        shift = unit.o_sum_shift
        check(m, ~shift | busy, shift == (self.running & reduce(or_, [self.time == read for read in reads])))
        for i in range(config.lanes):
            copy = Signal.like(lanes[i].o_sum.as_value(), name=f"sum_copy{i}", reset_less=True)
            with m.If(in_place):
                m.d.sync += copy.eq(lanes[i].o_sum)
            for passed in range(i + 1):
                here = (queued[0] | queued[1]) if passed == 0 else 0
                now = self.running & (self.time <= reads[passed])
                if passed:
                    now = now & (self.time > reads[passed - 1])
                check(m, ~busy | ~(here | now) | (age <= 2) | (lanes[i - passed].o_sum.as_value() == copy))
        self.sum_busy = busy
        self.witness = unit.o_sum_free


class RangeSnapshot(SumSnapshot):
    """The range unit reads the extrema of every lane as they were at the end of their chunk.

    Reason: the next chunk ends ``chunk_len`` beats later, or with a sample that has to wait for the sums.
    """

    def _sample_len(self, m):
        """The sample length of an open tile is what the header unit let through, and not yet reached."""
        opens, tile = self.parts.header.o_open, self.parts.input.o_tile[0] ^ self.is_open
        write_slot, stopped = self.write_slot, self.header["stopped"]

        def good(frozen, sample_len):
            return frozen | ((sample_len != 0) & (sample_len <= self.config.sample_depth))

        slots = Array(good(slot.frozen, slot.sample_len) for slot in self.parts.header.o_tiles)
        check(m, stopped | ((write_slot ^ (self.index >= HEADER_FIXED_WORDS)) == (tile ^ opens.valid)),
              stopped | (self.index == 0) | (slots[write_slot] & self.taken.bit_select(write_slot, 1)),
              ~opens.valid | ((opens.payload == tile) & slots[tile] & self.taken.bit_select(tile, 1)))
        frozen, beats, sample_len = (self.entry[name] for name in ("frozen", "count", "sample_len"))
        check(m, ~self.is_open | good(frozen, sample_len), ~self.can_sample | (beats < sample_len),
              self.can_sample | ~self.entry["sampling"] | (beats == 0))

    def specify(self, m):
        super().specify(m)
        self._sample_len(m)
        config, entry, ranges = self.config, self.parts.input, self.parts.ranges
        lanes = [self.parts[f"statistics{i}"] for i in range(config.lanes)]
        inside = opened(ranges)
        remaining, loading = inside["remaining"], inside["loading"]
        beats, sampling = self.entry["count"], self.entry["sampling"]
        position, chunk = beats[:config.position_width], beats[config.position_width:]

        limit = config.lanes + 2
        since = Signal(range(limit + 1), init=limit)  # cycles since a chunk ended
        m.d.sync += since.eq(Mux(entry.o_chunk_end, 1, Mux(since == limit, limit, since + 1)))
        free = since >= config.lanes
        check(m, ~entry.o_chunk_end | free)
        check(m, since != 0, since <= limit, (since == limit) | ~sampling | (position < since),
              (since == limit) | (chunk != 0) | ~sampling | (self.sum_busy & (self.age <= since)))
        # A chain starts two cycles after its chunk ended; of the one before, at most the last lane is left then.
        check(m, loading == (since == 1), (since != 1) | (remaining <= 1),
              (since < 2) | (remaining == Mux(since == limit, 0, limit - since)))
        for i in range(config.lanes):
            check(m, opened(lanes[i])["chunk_end"] == loading)
            copy = Signal.like(lanes[i].o_extrema.as_value(), name=f"extrema_copy{i}", reset_less=True)
            with m.If(since == 2):
                m.d.sync += copy.eq(lanes[i].o_extrema)
            for gone in range(1, i + 1):
                check(m, (remaining != config.lanes - gone) | (lanes[i - gone].o_extrema.as_value() == copy))
        check(m, ~ranges.o_position_valid | (ranges.o_position.lane == config.lanes - remaining))
        self.since, self.remaining = since, remaining
        self.witness = entry.o_chunk_end & ~entry.o_sample_end


class RangeSums(RangeSnapshot):
    """While a run of the constant extraction reads the sums of ranges of its tile, none of them is being changed.

    Reason: the run starts after the last chunk of its tile has ended, the next tile adds to the other half of the
    memory, and the one after that opens only when the slot is free.
    """

    def specify(self, m):
        super().specify(m)
        config, unit, ranges = self.config, self.parts.constants, self.parts.ranges
        inside = opened(ranges)
        tile, next_tile = inside["tile"], inside["next_tile"]
        same = ranges.o_position_valid & (tile[0] == unit.o_range_parity)
        coming = (self.since == 1) & (next_tile[0] == unit.o_range_parity)
        # The chain of the run's own tile started before the run.
        check(m, ~self.running | ~coming | (self.time == 0),
              ~self.running | ~same | (self.remaining + self.time <= config.lanes))
        first = Schedule.TIMES_RANGE - 1  # the sum of lane 0 is read
        written = 3                       # cycles from a move of the chain until its sum can be read
        reading = self.running & (self.time >= first - written) & (
            self.time <= first + INTERVAL * (config.lanes - 1))
        check(m, ~reading | ~(same | coming))
        self.witness = unit.o_r.valid


class DividerUse(JobQueue):
    """The constant extraction keeps the rules of its units.

    Divisions start at least ``INTERVAL`` cycles apart; C holds still from the first to the last quotient; and the
    register behind the multiplier holds one product at a time: of mu, of R, or of a.
    """

    def specify(self, m):
        super().specify(m)
        unit, lanes = self.parts.constants, self.config.lanes
        reciprocal, over_c = self.constants.submodules.reciprocal, self.constants.submodules.over_c
        uses = ((reciprocal, [Schedule.INV_SAMPLE, Schedule.INV_CHUNKS,
                              *(Schedule.DENOMINATOR + INTERVAL * i for i in range(lanes))]),
                (over_c, [Schedule.OVER_C + INTERVAL * i for i in range(lanes)]))
        for number, (divider, starts) in enumerate(uses):
            for ago in range(1, INTERVAL):
                before = delayed(m, divider.i_valid, ago, name=f"divide{number}_{ago}")
                check(m, before == (self.running & reduce(or_, [self.time == start + ago for start in starts])),
                      ~divider.i_valid | ~before)
        products = [self.running & reduce(or_, [self.time == step + 1 + INTERVAL * i for i in range(lanes)])
                    for step in (Schedule.TIMES_SUM, Schedule.TIMES_RANGE, Schedule.TIMES_GAMMA)]
        check(m, count(*products) <= 1, products[2] == over_c.i_valid)
        for write, product, age in ((unit.o_mu, products[0], 1), (unit.o_r, products[1], 1)):
            check(m, write.valid == delayed(m, product, age, name="product"))

        # C: the run reads the slot of a complete header, the header unit writes that of an incomplete one.
        held = Signal.like(over_c.i_divisor)
        m.d.sync += held.eq(over_c.i_divisor)
        end = Schedule.OVER_C + INTERVAL * (lanes - 1) + Divider.latency
        check(m, ~self.running | (self.time == 0) | (self.time > end) | (over_c.i_divisor == held))
        self.witness = products[2]


class ControlRules(RangeSums, TilesInFlight, DividerUse):
    """All of them in one proof."""
