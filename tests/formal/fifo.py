"""First in, first out: the sample FIFO, and the output buffer behind a pipeline that cannot stall."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In
from bnforge.normaliser import OutputBuffer

from .runner import check, opened

__all__ = ["FifoContract", "OutputBufferContract", "Order"]

_WIDTH = 2
"""Payload bits. A payload only moves, all its bits alike, so the width does not matter."""


class Order:
    """The contract of a first-in first-out path, on any one beat.

    A free input chooses the beat that is *watched*. It is followed by counting: of the beats inside when it enters,
    each leaves before it. Since the watched beat may be any beat, what leaves is what entered, each once and in order.

    Parameters
    ----------
    enter, payload : a beat enters, and what it carries
    leave, result : a beat leaves, and what it carries
    offered : a beat is on offer at the output
    watch : watch the beat that enters in this cycle, unless one is watched already
    capacity : beats that the path holds at most
    """

    def __init__(self, m, *, enter, payload, leave, result, offered, watch, capacity):
        self.inside = inside = Signal(range(capacity + 2))  # one more than allowed, so that it can be seen
        self.ahead = ahead = Signal(range(capacity + 2))
        self.watching = watching = Signal()
        symbol = Signal.like(payload)
        m.d.sync += inside.eq(inside + enter - leave)
        with m.If(watching):
            m.d.sync += [ahead.eq(ahead - leave), watching.eq(~(leave & (ahead == 0)))]
        with m.Elif(enter & watch):
            m.d.sync += [watching.eq(1), ahead.eq(inside - leave), symbol.eq(payload)]
        self.arrives = leave & watching & (ahead == 0)
        check(m, inside <= capacity, ~watching | (ahead < inside),
              ~offered | (inside != 0),               # nothing is invented
              ~self.arrives | (result == symbol))     # the watched beat, unchanged and in its place
        self.symbol = symbol


class _Located:
    """Where the watched beat is inside a ``SyncFIFOBuffered``: the invariant that makes the contract inductive.

    The FIFO is a ring of ``depth - 1`` places and an output register. The beat with ``ahead`` beats before it is in the
    register, or that many places from where the ring is read.
    """

    def __init__(self, m, dut, order):
        ring = opened(dut).submodules.storage
        produce, consume = ring.write_ports[0].addr, ring.read_ports[0].addr
        probe = ring.read_port(domain="comb")
        places = dut.depth - 1
        used = dut.level - dut.r_rdy
        place = consume + order.ahead - dut.r_rdy
        held = Mux(dut.r_rdy & (order.ahead == 0), dut.r_data, probe.data)
        m.d.comb += probe.addr.eq(Mux(place >= places, place - places, place))
        check(m, (produce < places) & (consume < places) & (used >= 0) & (used <= places),
              (consume + used == produce) | (consume + used == produce + places),
              ~order.watching | (order.ahead >= dut.level) | (held == order.symbol))


class _Quiet:
    """Cycles, up to ``limit``, since something last happened."""

    def __init__(self, m, event, limit):
        self.count = Signal(range(limit + 1))
        with m.If(event):
            m.d.sync += self.count.eq(0)
        with m.Elif(self.count != limit):
            m.d.sync += self.count.eq(self.count + 1)
        self.reached = self.count == limit


def _holds(m, valid, ready, payload):
    """Assert that an offer and its payload hold until taken."""
    waiting, held = Signal(), Signal.like(payload)
    m.d.sync += [waiting.eq(valid & ~ready), held.eq(payload)]
    check(m, ~waiting | (valid & (payload == held)))


class FifoContract(wiring.Component):
    """``SyncFIFOBuffered`` as :class:`bnforge.top.Top` uses it."""

    def __init__(self, depth):
        self.depth = depth
        super().__init__({"w_en": In(1), "w_data": In(_WIDTH), "r_en": In(1), "watch": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = fifo.SyncFIFOBuffered(width=_WIDTH, depth=self.depth)
        m.d.comb += [dut.w_en.eq(self.w_en), dut.w_data.eq(self.w_data), dut.r_en.eq(self.r_en)]
        enter, leave = self.w_en & dut.w_rdy, self.r_en & dut.r_rdy
        order = Order(m, enter=enter, payload=self.w_data, leave=leave, result=dut.r_data, offered=dut.r_rdy,
                       watch=self.watch, capacity=self.depth)
        _Located(m, dut, order)
        quiet = _Quiet(m, enter | leave, 1)
        _holds(m, dut.r_rdy, self.r_en, dut.r_data)
        check(m, dut.level == order.inside,
              ~quiet.reached | (dut.r_rdy == (order.inside != 0)),            # nothing is lost
              dut.w_rdy | (order.inside >= self.depth - 1))
        self.witness = order.arrives & (order.inside == self.depth)
        return m


class OutputBufferContract(wiring.Component):
    """:class:`bnforge.normaliser.OutputBuffer` behind a pipeline of its length, fed on credit only."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        super().__init__({"issue": In(1), "payload": In(_WIDTH), "ready": In(1), "watch": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = OutputBuffer(data.ArrayLayout(1, _WIDTH), self.pipeline)
        inner = opened(dut)
        buffer, free = inner.submodules.fifo, inner["free"]
        enter, leave = self.issue & dut.o_credit, dut.o.valid & self.ready
        stages = [(enter, self.payload)]
        for stage in range(self.pipeline):
            stages.append((Signal(name=f"valid{stage}"), Signal(_WIDTH, name=f"payload{stage}")))
            m.d.sync += [now.eq(before) for now, before in zip(stages[-1], stages[-2])]
        valid, payload = stages[-1]
        m.d.comb += [dut.i_issue.eq(enter), dut.i_valid.eq(valid), dut.i_data.eq(payload), dut.o.ready.eq(self.ready)]

        order = Order(m, enter=enter, payload=self.payload, leave=leave, result=dut.o.payload.as_value(),
                       offered=dut.o.valid, watch=self.watch, capacity=dut.depth)
        _Located(m, buffer, order)
        older = buffer.level
        quiet = _Quiet(m, enter | leave, self.pipeline + 1)
        for stage, (valid_here, payload_here) in reversed(list(enumerate(stages))[1:]):
            watched = order.watching & valid_here & (order.ahead == older)
            check(m, ~watched | (payload_here == order.symbol), ~valid_here | (quiet.count < stage))
            older = older + valid_here
        check(m, order.inside == older, free == dut.depth - order.inside)
        _holds(m, dut.o.valid, self.ready, dut.o.payload.as_value())
        check(m, ~valid | buffer.w_rdy,                                       # never overflows
              dut.o_credit == (order.inside != dut.depth),                    # no credit is lost
              ~quiet.reached | (dut.o.valid == (order.inside != 0)))          # nor any beat
        self.witness = order.arrives & (order.inside == dut.depth)
        return m
