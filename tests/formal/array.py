"""The systolic array: partial sums in their places, weights and results in order."""

from unittest.mock import patch

from amaranth.asserts import AnySeq
from amaranth.hdl import Array, Cat, Const, Mux, Signal
from amaranth.lib import enum, memory
from bnforge.array import SystolicArray, control
from bnforge.array.column import Column
from bnforge.array.control import ResultQueue, RowControl, WeightControl

from .control import count, delayed
from .fifo import Order
from .runner import assume, check
from .units import Line, Specification, stream_held

__all__ = ["ResultsHold", "Frames", "RowOrder", "WeightOrder", "ResultOrder"]


class ResultsHold(Specification):
    """A row of C, once offered, stays on offer until taken."""

    def __init__(self, config):
        super().__init__(SystolicArray(config))

    def specify(self, m):
        check(m, stream_held(m, self.unit.o))
        self.witness = self.first & self.unit.i_a.valid


class Frames(Specification):
    """The rows that are let in, counted outside of the unit: a wrong frame is noticed, nothing else is, and no row
    enters any more.

    Attributes
    ----------
    place : of the row in its pass
    starts, closes : the pass is the first, the last of its block
    current : place of the last row of the block, once the first pass has come
    opens : the last row of a first pass enters
    ends_wrong : a row that enters in this cycle makes the frame wrong
    """

    def __init__(self, config):
        self.config = config
        super().__init__(RowControl(config))

    def specify(self, m):
        unit, depth = self.unit, self.config.depth
        self.place = place = Signal(range(depth), name="place")
        self.starts, self.was_closing = Signal(name="starts", init=1), Signal(name="was_closing")
        self.current = Signal(range(depth), name="current")
        self.closes = Mux(place == 0, unit.i_final, self.was_closing)
        self.opens = unit.o_go & unit.i_last & self.starts
        with m.If(unit.o_go):
            m.d.sync += [place.eq(Mux(unit.i_last, 0, place + 1)), self.was_closing.eq(self.closes)]
            with m.If(unit.i_last):
                m.d.sync += self.starts.eq(self.closes)
        with m.If(self.opens):
            m.d.sync += self.current.eq(place)
        length = Mux(self.starts, (place == depth - 1) & ~unit.i_last, unit.i_last != (place == self.current))
        self.ends_wrong = unit.o_go & (length | (unit.i_transpose & (unit.i_end != self.closes)))
        wrong = Signal(name="wrong")
        with m.If(self.ends_wrong):
            m.d.sync += wrong.eq(1)
        check(m, ~unit.o_go | (unit.i_valid & unit.o_ready), unit.o_swap == (unit.o_go & (place == 0)),
              ~unit.o_swap | unit.i_loaded, unit.o_misframed == wrong, ~wrong | ~unit.o_go)
        self.witness = [wrong & ~unit.i_transpose]


class RowOrder(Frames):
    """Partial sums in their places, and results in order, as long as frames are right.

    Of any place of the memory of partial sums: it is read when the sum has been written, and given to a row of a new
    block only when its result has gone out. Results go out row by row and block by block, the last of each marked; when
    one is complete, there is a place for it and no row reads its sum, one does. Idle is what it says.

    Proved by induction, hence with the whole reason: where every row is that has not gone out. Rows of the last pass of
    a block, *closing* rows, go out in the order in which they entered; ``sequence(n)`` is the place of the nth of them.
    """

    class State(enum.Enum, shape=2):
        EMPTY = 0
        UNDER_WAY = 1
        PARTIAL = 2
        COMPLETE = 3

    def specify(self, m):
        super().specify(m)
        assume(m, ~self.ends_wrong)
        unit, depth, go, place, starts = self.unit, self.config.depth, self.unit.o_go, self.place, self.starts
        lengths = Line(m, 2, enter=self.opens, entry=place, leave=unit.o_emit & unit.o_last, name="lengths")
        sent = Signal(range(depth), name="sent_rows")
        with m.If(unit.o_emit):
            m.d.sync += sent.eq(Mux(unit.o_last, 0, sent + 1))
        self.lengths, self.sent = lengths, sent
        check(m, ~unit.o_emit | (unit.o_last == ((lengths.count != 0) & (sent == lengths.oldest))),
              ~unit.o_idle | ((lengths.count == 0) & starts & (place == 0)))

        # What is under way, youngest first: stage 0 entered one cycle ago.
        entry = Cat(go, self.closes, place)
        stages = [delayed(m, entry, 1, name="stage_0")]
        for number in range(Column.write_latency(self.config) - 1):
            stages.append(delayed(m, stages[-1], 1, name=f"stage_{number + 1}"))
        self.stages = [(stage[0], stage[1], stage[2:]) for stage in stages]
        written, complete, target = self.stages[-1]
        self.states = [Signal(self.State, name=f"content_{number}") for number in range(depth)]
        for number, state in enumerate(self.states):
            enters, sends = go & (place == number), unit.o_emit & (sent == number)
            writes = written & (target == number)
            with m.If(writes):
                m.d.sync += state.eq(Mux(complete, self.State.COMPLETE, self.State.PARTIAL))
            with m.Elif(enters):
                m.d.sync += state.eq(self.State.UNDER_WAY)
            with m.Elif(sends):
                m.d.sync += state.eq(self.State.EMPTY)
            check(m, ~(enters & ~starts) | (state == self.State.PARTIAL), ~sends | (state == self.State.COMPLETE),
                  ~(enters & starts) | (state == self.State.EMPTY) | ((state == self.State.COMPLETE) & sends),
                  ~writes | (state == self.State.UNDER_WAY), ~unit.o_idle | (state == self.State.EMPTY),
                  (state != self.State.COMPLETE) | ~unit.i_free | (go & ~starts) | unit.o_emit)
        # The memory gets all of that one cycle later.
        control = unit.o_control
        now = delayed(m, Cat(go & ~starts, unit.o_emit, written, Mux(unit.o_emit, sent, place), target), 1, name="now")
        width = len(place)
        check(m, control.add == now[0], control.emit == now[1], control.write == now[2], ~(control.add & control.emit),
              ~(control.add | control.emit) | (control.address == now[3:3 + width]),
              ~control.write | (control.target == now[3 + width:]))
        self._invariant(m)
        self.witness = [unit.o_emit & go & (sent == place), unit.o_emit & unit.o_last & (sent == depth - 1),
                        lengths.count == 2]

    def _invariant(self, m):
        inside, states, depth, lengths = self.inside, self.State, self.config.depth, self.lengths
        place, sent, top, stages = self.place, self.sent, self.current, self.stages
        ready = count(*(state == states.COMPLETE for state in self.states))
        known = lengths.count != 0
        claims = [inside["row"] == place, inside["first"] == self.starts, inside["was_closing"] == self.was_closing,
                  inside["sent"] == sent, inside["ready"] == ready,
                  inside["under_way"] == count(*(valid for valid, _closing, _row in stages))]

        # The block that rows enter is the oldest that has not gone out, the one after it, or, before its first row,
        # after two of them.
        entering = Signal(2)
        m.d.comb += entering.eq(inside["block"] - inside["leaving"])
        begun = place != 0
        claims += [entering <= 2, (entering != 2) | (self.starts & ~begun),
                   lengths.count == Mux(self.starts, entering, entering + 1), ~begun | (entering != 2),
                   (entering + ~self.starts == 0) | (sent <= lengths.oldest), self.starts | (place <= top),
                   self.starts | (Array(lengths.entries)[entering[0]] == top)]
        for number in range(2):
            index = inside["leaving"][0] ^ number
            claims += [Array(inside["known"])[index] == (lengths.count > number),
                       ~(lengths.count > number) | (Array(inside["tops"])[index] == lengths.entries[number])]

        def sequence(number):
            beyond = known & (sent + number > lengths.oldest)
            return Mux(beyond, sent + number - lengths.oldest - 1, sent + number)

        older = ready
        for valid, closing, row in reversed(stages):
            claims += [~(valid & closing) | (row == sequence(older))]
            older = older + (valid & closing)
        claims += [~(ready > number) | (Array(self.states)[sequence(number)[:len(place)]] == states.COMPLETE)
                   for number in range(depth)]
        # All closing rows that have entered and not gone out.
        closing_now = begun & self.was_closing
        left = lengths.oldest - sent + 1
        claims += [
            (entering != 0) | (older + sent == Mux(closing_now, place, 0)),
            (entering != 1) | (older == left + Mux(closing_now, place, 0)),
            (entering != 2) | (older == left + lengths.entries[1] + 1)]
        # Youngest first: the rows of this pass, those of the pass before, then those of the block before.
        younger = Const(0)
        for valid, closing, row in stages:
            this, before = younger < place, ~self.starts & (younger <= top)
            claims += [~(valid & this) | ((row == place - 1 - younger) & (closing == self.was_closing)),
                       ~(valid & before & ~this) | ((row == place + top - younger) & ~closing),
                       ~(valid & ~this & ~before) | closing]
            younger = younger + valid
        for number, state in enumerate(self.states):
            here = count(*(valid & (row == number) for valid, _closing, row in stages))
            mine = (number < place) | (~self.starts & (number <= top))  # of the block that rows enter
            partial = mine & ~((number < place) & self.was_closing)
            claims += [here == (state == states.UNDER_WAY), ~mine | (entering != 1) | (number < sent),
                       (entering != 2) | (number > lengths.entries[1]) | (number < sent),
                       ~partial | (state == states.PARTIAL) | (state == states.UNDER_WAY),
                       partial | (state != states.PARTIAL)]
        check(m, *claims)


class WeightOrder(Specification):
    """Between two passes each row gets one weight, from the top, zeros after TLAST; no beat is taken after it."""

    def __init__(self, config):
        self.rows = config.rows
        super().__init__(WeightControl(config))

    def specify(self, m):
        unit = self.unit
        number, ended = Signal(range(self.rows + 1), name="number"), Signal(name="seen_last")
        taken, load = unit.i_valid & unit.o_ready, unit.o_load
        assume(m, ~unit.i_swap | unit.o_loaded)
        with m.If(unit.i_swap):
            m.d.sync += [number.eq(0), ended.eq(0)]
        with m.Elif(load.valid):
            m.d.sync += [number.eq(number + 1), ended.eq(ended | (taken & unit.i_last))]
        check(m, load.valid == (taken | (ended & (number < self.rows))), ~load.valid | (load.row == number),
              ~load.valid | (unit.o_zero == ended), unit.o_loaded == (number == self.rows),
              ~unit.o_loaded | (unit.o_final == ended), unit.o_idle == (number == 0),
              unit.o_ready == ((number < self.rows) & ~ended & ~unit.i_hold))
        self.witness = [unit.i_swap & ended & ~taken, *([load.valid & unit.o_zero] if self.rows > 1 else [])]


class ResultOrder(Specification):
    """The queues of two columns, the first and the last, give back what was put in, in order, and never overflow.

    Parameters
    ----------
    first, last : int
        Cycles from ``i_emit`` until the result is in the queue of the first column, and of the last.
    """

    depth = 4

    def __init__(self, config, first=1, last=3):
        self.first_column, self.last_column = first, last
        with patch.object(control, "queue_depth", lambda config: self.depth):
            super().__init__(ResultQueue(config), driven=["i_arrived"])

    def specify(self, m):
        unit, arrived, results = self.unit, [], []
        assume(m, ~unit.i_emit | unit.o_free)
        payload = AnySeq(1)
        for name, latency in (("near", self.first_column), ("far", self.last_column)):
            m.submodules[name] = ring = memory.Memory(shape=1, depth=self.depth, init=[])
            write, read, place = ring.write_port(), ring.read_port(), Signal(range(self.depth), name=f"{name}_place")
            arrived.append(delayed(m, unit.i_emit, latency, name=f"{name}_arrived"))
            m.d.sync += place.eq(place + arrived[-1])
            m.d.comb += [write.en.eq(arrived[-1]), write.addr.eq(place), read.en.eq(unit.o_take),
                         write.data.eq(delayed(m, payload, latency, name=f"{name}_payload")),
                         read.addr.eq(unit.o_address)]
            results.append(read.data)
        m.d.comb += unit.i_arrived.eq(arrived[-1])
        order = Order(m, enter=unit.i_emit, payload=Cat(unit.i_last, payload, payload),
                      leave=unit.o.valid & unit.o.ready, result=Cat(unit.o.payload, *results),
                      offered=unit.o.valid, watch=AnySeq(1), capacity=self.depth + 1)
        quiet = Signal(range(self.last_column + 3), name="quiet")
        m.d.sync += quiet.eq(Mux(unit.i_emit | unit.o.ready, 0, Mux(quiet == self.last_column + 2, quiet, quiet + 1)))
        check(m, stream_held(m, unit.o), unit.o_idle == (order.inside == 0),
              (quiet <= self.last_column + 1) | (unit.o.valid == (order.inside != 0)))
        self.witness = [order.arrives & (order.inside == self.depth + 1)]
