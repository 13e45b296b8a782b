"""The way of a gradient through the core: passes, the sample, its constants and the positions of its extrema.

Proved by induction, like :mod:`.control`. ``out`` in the comments is the tile whose beats leave the sample FIFO.
"""

from amaranth.hdl import Array, Cat, Mux, Signal
from bnforge.schedule import BackwardSchedule
from bnforge.streams import is_backward

from .control import count
from .runner import assume, check, opened
from .snapshots import SampleLength

__all__ = ["TilesInside", "GradientPasses", "GradientConstants", "PositionSets"]


class TilesInside(SampleLength):
    """At most four tiles have beats in the sample FIFO or are open, and every part agrees on their kinds.

    Taken for granted: the FIFO is one (:class:`.fifo.FifoContract`), hence a beat that leaves it is the last of its
    tile when the tile has ended and no other beat of it is inside.
    """

    def specify(self, m):
        super().specify(m)
        unit, normaliser, tile = self.parts.scalar, self.parts.normaliser, self.tile
        self.normaliser = inside = opened(normaliser)
        self.order = opened(inside.submodules.order)
        self.out = out = self.order["tile"]
        next_valid, active = inside["next_valid"], inside["active"]
        loads = self.forward | self.loading | unit.o_ready
        check(m, ~loads | ~next_valid)
        for valid, kind, number in ((next_valid, inside["next_tile"], out + active), (active, inside["present"], out)):
            check(m, ~valid | (Cat(kind.backward, kind.frozen) == self.kinds[number[:2]]))
        self.ready = active + next_valid - self.begun  # tiles ready for the lanes, less those of which the number knows

        # How many tiles have ended at the input and not at the FIFO's end.
        self.ahead = ahead = Signal(range(8), name="ahead")
        exact = self.extracting + self.parts.jobs.level - self.after_job + self.ready
        m.d.comb += ahead.eq(exact)
        check(m, exact >= 0, exact <= 4, (exact != 4) | ~self.is_open, (out + ahead)[:2] == tile)

        # Their beats inside.
        depth = self.core.fifo_depth
        self.beats = beats = Array(Signal(range(depth + 2), name=f"beats{i}") for i in range(4))
        self.closed = [(i - out)[:2] < ahead for i in range(4)]
        self.opened = [self.is_open & (tile == i) for i in range(4)]
        issue = inside["issue"]
        for i in range(4):
            m.d.sync += beats[i].eq(beats[i] + (self.entry["take"] & (tile == i)) - (issue & (out == i)))
            check(m, ~self.closed[i] | (beats[i] != 0), self.closed[i] | self.opened[i] | (beats[i] == 0))
        assume(m, *(inside <= depth for inside in beats), ~normaliser.i.valid | (
            (beats[out] != 0) & (normaliser.i.payload.last == ((beats[out] == 1) & (ahead != 0)))))
        self.issue = issue
        self.witness.append((ahead == 3) & self.is_open & normaliser.i.valid)


class GradientPasses(TilesInside):
    """The counts of passes: neither too many nor too few beats of a gradient leave before its sample.

    What is inside of a backward tile is its passes and its sample so far. S_eff goes with the tile through queue,
    scalar unit and lanes. The claims are inductive together with those of :class:`GradientConstants`.
    """

    def specify(self, m):
        super().specify(m)
        config, order = self.config, self.order
        finish = self.parts.input.o_finish
        self.sizes = sizes = Array(Signal(config.sample_len_width, name=f"size{i}") for i in range(4))
        with m.If(finish.valid):
            m.d.sync += sizes[self.tile].eq(finish.payload)

        counts, owners = order["counts"], order["owners"]
        self.in_sample = in_sample = order["sample"]
        now = Cat(self.in_backward, self.frozen)
        self.gradients = []
        for i in range(4):
            kind = Signal(2, name=f"kind_now{i}")
            m.d.comb += kind.eq(Mux(self.opened[i], now, self.kinds[i]))
            passes, inside = Mux(owners[i % 2] == i, counts[i % 2], 0), self.opened[i] | self.closed[i]
            beats, size = self.beats[i], sizes[i]
            gradient = kind == 1
            leaves = in_sample & (self.out == i)
            check(m, ~(inside & (kind == 3)) | (beats == passes),
                  inside & kind[0] | (passes == 0),
                  ~(self.opened[i] & gradient) | (beats == passes + self.count),
                  ~(self.closed[i] & gradient) | ((size != 0) & (size <= config.sample_depth) & Mux(
                      leaves, (passes == 0) & (beats <= size), beats == passes + size)))
            self.gradients.append(self.closed[i] & gradient)
        for some, passes in zip(order["some"], counts):
            check(m, passes <= self.core.fifo_depth, some == (passes != 0))
        entry = self.parts.input
        check(m, ~entry.o_pass | entry.i_pass_free)

        # S_eff of the tiles that wait for their run, in order.
        after = (self.number + self.extracting)[:2]
        jobs = [valid & is_backward(config, job) for valid, job in self.queued["jobs"]]
        second = Mux(self.awaiting & jobs[0], after, (after + 1)[:2])
        first = Mux(self.awaiting, self.number, Mux(jobs[0], after, (after + 1)[:2]))
        for (valid, size), number in zip(self.queued["finishes"], (first, second)):
            check(m, ~valid | (size == sizes[number]))
        check(m, ~self.backward | (self.scalar["sample_len"] == sizes[self.number]))

        # Which beats meet an addend.
        out, order_unit = self.out, self.normaliser.submodules.order
        active = self.normaliser["active"]
        size, beats = sizes[out], self.beats[out]
        in_tile = self.issue & active
        gradient = Array(self.gradients)[out]
        is_sample = gradient & (beats <= size)
        self.index = index = (size - beats)[:config.sample_len_width]
        self.chunks = self._chunks(size)
        backward = self.normaliser["present"].backward
        check(m, ~(in_tile & backward) | (order_unit.o_adds == is_sample),
              ~(in_tile & backward & is_sample) | (
                  (order_unit.o_position == index[:config.position_width]) &
                  (order_unit.o_matches == ((index >> config.position_width) < self.chunks))))
        self.witness.append(in_tile & order_unit.o_matches & (index == 1))

    def _chunks(self, size):
        whole = size >> self.config.position_width
        return Mux(whole == 0, 1, whole)


class GradientConstants(GradientPasses):
    """A sample leaves with the constants of its tile, and none are overwritten before they are used."""

    def specify(self, m):
        super().specify(m)
        config, unit, order, out = self.config, self.parts.scalar, self.order, self.out
        end = BackwardSchedule.cycles(config.lanes)
        waiting, load = order["waiting"], order["load"]
        check(m, unit.o_gradient_ready == (self.backward & (self.time == end) & ~unit.o_frozen))
        check(m, unit.o_gradient_start == (self.backward & (self.time == 0) & ~unit.o_frozen))
        self.owner = owner = Signal(2, name="announced_tile")
        with m.If(unit.o_gradient_start):
            m.d.sync += owner.eq(unit.o_tile)
        running = self.backward & ~unit.o_frozen & (self.time != 0) & (self.time <= end)
        self.announced = waiting | running
        check(m, ~running | (owner == self.number), ~self.announced | Array(self.gradients)[owner])

        # How many tiles, from ``out`` on, have been given their constants.
        given = self.ready + ((self.backward & (self.time > end)) | (unit.o_done & unit.o_backward))
        gradients = Array(self.gradients)
        after = (out + 1)[:2]
        here, there = gradients[out], (self.ahead > 1) & gradients[after]
        present = order["loaded"]
        first, second = waiting & (owner == out), waiting & (owner == after)
        check(m, given <= 2, (given >= 0) | unit.o_frozen, ~(here & ~present) | ((given >= 1) == first), ~there |
              ((given >= 2) == second), ~present | (here & self.normaliser["active"] & (given >= 1)),
              ~waiting | (first & here & ~present & (given >= 1)) | (
                  second & there & (given >= 2) & (present | ~here)),
              ~(self.backward & ~unit.o_frozen & (self.time <= end)) | ~waiting,
              ~(self.forward | (self.loading & ~unit.o_backward)) | ~waiting,
              ~load | (self.announced & (owner == (out + order["tile_end"])[:2])))
        check(m, ~waiting | (order["waiting_chunks"] == self._chunks(self.sizes[owner])),
              ~present | (order["n_chunks"] == self.chunks))

        # Place in the sample.
        chunk, position = order["chunk"], order["position"]
        whole = self.index >> config.position_width
        leaves = self.in_sample
        check(m, ~leaves | (position == self.index[:config.position_width]),
              ~leaves | (chunk == Mux(whole < self.chunks, whole, self.chunks)),
              leaves | ((position == 0) & (chunk == 0)))

        # The chains of the lanes.
        next_valid, next_tile = self.normaliser["next_valid"], self.normaliser["next_tile"]
        lane = self.normaliser.submodules.lane0
        shifts = lane.i_b_shift | lane.i_plus_shift | lane.i_minus_shift
        check(m, ~lane.i_a_shift | ~next_valid,
              ~shifts | (~waiting & ~(next_valid & ~next_tile.backward) & ~lane.i_b_swap))
        self.witness.append(load)


class PositionSets(GradientConstants):
    """The beats of a chunk meet the positions of that chunk; positions are kept until they have been used.

    Reason: the sets that the order unit still needs are those in the lanes and those that the loader still has to
    bring. Of tiles whose positions may be needed, at most four have headers.
    """

    def specify(self, m):
        super().specify(m)
        order, out, owner = self.order, self.out, self.owner
        loader, inside = self.parts.positions, opened(self.parts.positions)
        waiting, present, chunk = self.announced, order["loaded"], order["chunk"]
        n_chunks, waiting_chunks = order["n_chunks"], self._chunks(self.sizes[owner])
        loading, to_load = inside["loading"], inside["waiting"]
        active, complete = order["positions_active"], loader.o_valid

        check(m, ~to_load | (waiting & (inside["waiting_tile"] == owner) & (
            inside["waiting_chunks"] == waiting_chunks)), ~loader.i_start | ~to_load)
        of_waiting = waiting & ~to_load
        its = Mux(of_waiting, (inside["tile"] == owner) & (inside["n_chunks"] == waiting_chunks),
                  present & (inside["tile"] == out) & (inside["n_chunks"] == n_chunks))
        check(m, ~loading | its, ~loading | (inside["chunk"] < inside["n_chunks"]),
              inside["lane"] < self.config.lanes)
        needed = Mux(present, n_chunks - chunk, 0) + Mux(waiting, waiting_chunks, 0)
        missing = Mux(loading, inside["n_chunks"] - inside["chunk"], 0) + Mux(to_load, inside["waiting_chunks"], 0)
        check(m, needed == missing + active + complete, ~present | (chunk <= n_chunks))

        # Which set is where: (tile, chunk).
        coming = Cat(inside["tile"], inside["chunk"])
        held, used = Signal(len(coming), name="held_set"), Signal(len(coming), name="used_set")
        with m.If(inside["set_end"]):
            m.d.sync += held.eq(coming)
        with m.If(loader.i_swap):
            m.d.sync += used.eq(held)

        def place(number):
            """Of a set in the row of those that will be used; the sample's first one is number 0."""
            own = present & (number[:2] == out)
            return Mux(own, 0, Mux(present, n_chunks, 0)) + number[2:], Mux(
                own, number[2:] < n_chunks, waiting & (number[:2] == owner) & (number[2:] < waiting_chunks))

        now = Mux(present, chunk, 0)
        for valid, number, wanted in ((active, used, now), (complete, held, now + active),
                                      (loading, coming, now + active + complete)):
            at, exists = place(number)
            check(m, ~valid | (exists & (at == wanted)))
        unit = self.normaliser.submodules.order
        check(m, ~(self.issue & unit.o_matches) | (active & (used == Cat(out, (
            self.index >> self.config.position_width)[:len(coming) - 2]))))

        # Positions are written ahead of use.
        header, sent = self.header, self.parts.header.o_positions
        slots = self.parts.header.o_complete
        n_complete = count(slots[0], slots[1])
        written = n_complete + self.ready
        check(m, header["stopped"] | (header["number"] == (self.number + n_complete)[:2]),
              ~sent.valid | ((written >= 0) & (written <= 3) & (sent.tile == (out + written)[:2])))
        for busy, tile in ((loading, inside["tile"]), (to_load, inside["waiting_tile"])):
            check(m, ~(sent.valid & busy) | (sent.tile != tile))
        self.witness.append(active & complete & loading & present if self.config.n_chunks > 2 else active & complete)
