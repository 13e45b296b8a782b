"""What the parts of the core rely on each other for: queues with room, tiles in step, operators asked once.

Proved by induction, hence each specification states the whole reason, in terms of registers inside the parts. A
*tile* goes through header, input stage, job queue, scalar unit, normaliser and record unit. Its *number* is counted
modulo 4 by each of them. ``slot`` in the comments is one of the two header slots.
"""

from functools import reduce
from operator import add, or_

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value
from amaranth.lib import data
from bnforge.config import TILES_IN_FLIGHT, Activation
from bnforge.divider import INTERVAL
from bnforge.schedule import BackwardSchedule, ForwardSchedule, Schedule
from bnforge.streams import is_backward, job_layout

from .core import Core
from .runner import check, opened

__all__ = ["JobQueue", "TilesInFlight", "DividerUse", "OperatorUse", "delayed", "count"]


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
    """The queues of tiles for the scalar unit, which cannot stall their writer, always have room.

    Reason: a header slot is taken by at most one tile, and every tile up to the end of its run has one. What waits in
    the queue of finished tiles is a backward tile of the queue of jobs, or the one whose scales are loaded.
    """

    def specify(self, m):
        self.header, self.entry, self.scalar = (opened(self.parts[name]) for name in ("header", "input", "scalar"))
        self._runs(m)
        self._entry(m)
        self._queues(m)
        self._slots(m)
        self._in_step(m)
        self._ahead(m)
        self.witness = [self.parts.jobs.level == self.parts.jobs.depth,
                        *([self.parts.finishes.level != 0] if self.config.has_backward else [])]

    def _ahead(self, m):
        """Registers that say what others will say in the next cycle."""
        parts, entry = self.parts, self.entry
        fifo = opened(parts.sample_fifo)
        check(m, fifo["last"] == (fifo["waiting"] & (fifo["head"] == fifo["read"])),
              fifo["following"] == (fifo["read"] + 1)[:len(fifo["read"])],
              fifo["full"] == (fifo["level"] == parts.sample_fifo.depth), fifo["level"] <= parts.sample_fifo.depth)
        codes, ends = (getattr(fifo.submodules, name) for name in ("codes", "ends"))
        in_memory, bits = codes.level - codes.r_rdy, len(fifo["read"])
        check(m, fifo["level"] == codes.level + (fifo["arrives"] if parts.sample_fifo.late else 0),
              in_memory >= 0, in_memory < codes.depth)
        # An end waits for the register of the next one only in the cycle after it came, before its beat is on offer.
        ring = opened(ends).submodules.storage
        came = delayed(m, fifo["writes"], 1, name="came")
        check(m, (ring.write_ports[0].addr - ring.read_ports[0].addr)[:2] == ends.level[:2], ends.level <= ends.depth,
              (fifo["written"] - fifo["read"])[:bits] == fifo["level"],
              ~ends.r_rdy | fifo["waiting"] | (came & (ends.level == 1) & (
                  ends.r_data == (fifo["written"] - 1)[:bits])))
        counting = self.is_open & ~self.frozen & (entry["sample_len"] != 0)
        sample_len, count = entry["sample_len"], entry["count"]
        check(m, ~counting | (entry["at_end"] == (count + 1 == sample_len)),
              ~counting | (entry["at_len"] == (count == sample_len)), ~counting | (count <= sample_len),
              ~(counting & self.can_sample) | (count < sample_len), self.is_open | (count == 0))
        if self.config.has_backward:
            if self.config.has_forward:
                check(m, ~self.is_open | self.in_backward | (parts.input.o_activation == Activation.IDENTITY))
            todo = self.header["todo"]
            check(m, ~self.header["in_channels"] | (self.header["last_lane"] == ~todo[1:].any()))

    def _runs(self, m):
        """What the scalar unit is doing: one thing, for the tile ``number``."""
        unit, inside = self.parts.scalar, self.scalar
        lanes = self.config.lanes
        runs = unit.sequencer.runs if self.config.has_statistics else []
        running = {run.schedule: run.running for run in runs}
        self.forward, self.backward = (running.get(kind, Const(0)) for kind in (ForwardSchedule, BackwardSchedule))
        self.loading, self.awaiting, self.number = inside["loading"], inside["awaiting"], inside["number"]
        loading, awaiting, done = self.loading, self.awaiting, unit.o_done
        self.extracting = self.forward | self.backward | loading | awaiting | done
        if runs:
            sequencer = unit.sequencer
            self.time = sequencer.index * INTERVAL + sequencer.phase
        check(m, count(self.forward, self.backward, loading | awaiting, done) <= 1,
              ~unit.o_ready | Mux(unit.o_backward, awaiting & ~loading, done),
              ~(self.backward | awaiting) | unit.o_backward,
              ~self.forward | (~unit.o_backward & ~unit.o_frozen), ~loading | (awaiting == unit.o_backward),
              ~loading | unit.o_backward | unit.o_frozen)
        for schedule, on in running.items():
            check(m, ~on | ((sequencer.phase < INTERVAL) & (self.time < schedule.run_cycles(lanes))))
        index, loaded, lane = inside["load_index"], inside["loaded"], inside["loaded_lane"]
        check(m, ~loaded | loading, ~loading | (index <= lanes), ~loading | (loaded == (index != 0)),
              ~loaded | (lane == index - 1))
        # The lanes can begin with the tile that is being served.
        self.begun = unit.o_backward & ~unit.o_ready & (self.backward | (awaiting & ~loading) | done)

    def _entry(self, m):
        """The tile that is open at the input, before and after its job."""
        config, entry = self.config, self.entry
        self.is_open, self.first, self.count = entry["is_open"], entry["first"], entry["count"]
        self.in_backward, self.frozen = entry["backward"], entry["frozen"]
        early = self.in_backward | self.frozen
        sampling = entry["sampling"] if self.parts.input.samples else Const(1)
        waiting = Mux(early, self.first, sampling)
        self.before_job, self.after_job = self.is_open & waiting, self.is_open & ~waiting
        self.can_sample = self.is_open & sampling & ~early
        check(m, self.is_open | self.first, self.is_open | sampling, ~self.first | sampling,
              ~self.is_open | ~early | sampling)

    def _queues(self, m):
        """Contents of the two queues, oldest first: whether there is one, and what it is."""
        config, parts = self.config, self.parts
        layouts = {"jobs": job_layout(config), "finishes": config.sample_len_width}
        self.queued = {"finishes": []}
        for name, layout in layouts.items():
            if name == "finishes" and not config.has_backward:
                continue
            queue = parts[name]
            ring = opened(queue).submodules.storage
            produce, consume = ring.write_ports[0].addr, ring.read_ports[0].addr
            probe = ring.read_port(domain="comb")
            m.d.comb += probe.addr.eq(consume + 1)
            contents = (queue.r_data, probe.data)
            if not isinstance(layout, int):
                contents = tuple(data.View(layout, value) for value in contents)
            self.queued[name] = [(queue.level > place, value) for place, value in enumerate(contents)]
            check(m, queue.level <= 2, (consume ^ produce) == queue.level[0], ~queue.w_en | queue.w_rdy)
        if config.has_backward:
            jobs = [valid & is_backward(config, job) for valid, job in self.queued["jobs"]]
            check(m, parts.finishes.level + (self.is_open & self.in_backward & ~self.first) ==
                  count(*jobs, self.awaiting))

    def _slots(self, m):
        parts, header = self.parts, self.header
        slot, read_slot, write_slot = self.number[0], header["read_slot"], header["write_slot"]
        taken, complete, in_channels = header["taken"], parts.header.o_complete, header["in_channels"]
        begun = ~in_channels & (header["fixed"] != 0)
        check(m, count(taken[0], taken[1]) >= count(begun, parts.header.o_open.valid, self.before_job, self.extracting)
              + parts.jobs.level)
        check(m, slot == read_slot, ~in_channels | (header["fixed"] == 0),
              ~self.extracting | complete.bit_select(slot, 1),
              ~(begun | in_channels) | (~complete.bit_select(write_slot, 1) & taken.bit_select(write_slot, 1)),
              ~complete[0] | taken[0], ~complete[1] | taken[1])
        self.slot, self.write_slot, self.taken, self.begun_header = slot, write_slot, taken, begun

    def _in_step(self, m):
        """Numbers and kinds of tiles agree."""
        config, parts, unit = self.config, self.parts, self.parts.scalar
        self.tile = tile = parts.input.o_tile
        after = (self.number + self.extracting)[:2]
        check(m, (tile + self.after_job)[:2] == (after + parts.jobs.level)[:2])

        # The kind of each tile, from its first beat on.
        kinds = Array(Signal(2, name=f"kind{i}") for i in range(4))
        now = Cat(self.in_backward, self.frozen)
        with m.If(self.entry["take"]):
            m.d.sync += kinds[tile].eq(now)
        check(m, ~(self.is_open & ~self.first) | (kinds[tile] == now),
              ~self.extracting | (kinds[self.number] == Cat(unit.o_backward, unit.o_frozen)))
        for place, (valid, job) in enumerate(self.queued["jobs"]):
            check(m, ~valid | (kinds[(after + place)[:2]] == Cat(is_backward(config, job), job.frozen)),
                  ~valid | config.has_statistics | job.frozen)
        self.kinds = kinds


class TilesInFlight(JobQueue):
    """At most four tiles are between their opening and the last word of their records.

    So the four slots of the position memory are enough. Reason: two header slots, and two pending records. The scalars
    of a record are written to a slot of which nothing is pending.
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
        writing = self.extracting & ~(self.awaiting | (self.loading & self.parts.scalar.o_backward))
        check(m, pending <= 2, ~writing | (pending <= 1), ~busy | (pending != 0),
              (inside["tile"] + pending)[:2] == self.number,
              now == count(self.before_job, self.extracting) + self.parts.jobs.level + pending,
              now <= TILES_IN_FLIGHT)
        self.witness.append(now == TILES_IN_FLIGHT)


class DividerUse(JobQueue):
    """Divisions start at least ``INTERVAL`` cycles apart, and what the header says of a tile, C with it, holds still
    while the tile is served.
    """

    def specify(self, m):
        super().specify(m)
        self._divisions(m, "reciprocal", [
            (on, [Schedule.INV_SAMPLE, Schedule.INV_CHUNKS, *self._steps(step)]) for on, step in (
                (self.forward, ForwardSchedule.DIVIDE), (self.backward, BackwardSchedule.OVER_SCALE))])
        if self.config.has_forward:
            self._divisions(m, "over_c", [(self.forward, self._steps(ForwardSchedule.OVER_C))])

        # The slot of the tile that is served is complete; the header unit writes one that is not.
        now = Array(Value.cast(tile) for tile in self.parts.header.o_tiles)[self.slot]
        held = Signal(len(now), name="held_tile")
        m.d.sync += held.eq(now)
        serving = delayed(m, self.extracting & ~self.parts.scalar.o_done, 1, name="serving")
        check(m, ~serving | (now == held))

    def _steps(self, step):
        """The cycles of a step, lane by lane."""
        return [step + INTERVAL * lane for lane in range(self.config.lanes)]

    def _at(self, running, cycles):
        return running & reduce(or_, [self.time == cycle for cycle in cycles])

    def _divisions(self, m, name, starts):
        divider = self.scalar.submodules[name]
        for ago in range(1, INTERVAL):
            before = delayed(m, divider.i_valid, ago, name=f"{name}_{ago}")
            check(m, before == reduce(or_, [self._at(running, [start + ago for start in cycles])
                                            for running, cycles in starts]), ~divider.i_valid | ~before)
        self.witness.append(divider.i_valid & self._at(starts[-1][0], starts[-1][1][-1:]))


class OperatorUse(DividerUse):
    """Every operator of the scalar unit serves at most one step in a cycle, and works on the operands of that step.

    What the operands are made of is left free.
    """

    free = ("scalar.*_q", "scalar.reciprocal.o_quotient", "scalar.i_total", "normaliser.buffer.i_data", "header.narrow")

    def specify(self, m):
        super().specify(m)
        running = {run.schedule: run.running for run in self.parts.scalar.sequencer.runs}
        for name, uses in self.scalar["operators"]._uses.items():
            active = []
            for number, (run, step, assignments) in enumerate(uses):
                active.append(self._at(running[run.schedule], self._steps(step)))
                for place, assignment in enumerate(assignments):
                    wanted = Signal.like(assignment.lhs, name=f"{name}{number}_{place}")
                    m.d.comb += wanted.eq(assignment.rhs)
                    check(m, ~active[-1] | (assignment.lhs == wanted))
            check(m, count(*active, 0) <= 1)
            self.witness += active
