"""The parts of the DMA engine before the port: rows, bursts, and the buffers of the channels."""

from amaranth.hdl import Mux, Signal
from amaranth.lib import data
from bnforge.dma import BurstSplitter, ReadChannel, WriteChannel
from bnforge.dma.layouts import request_layout

from .runner import assume, check, opened
from .units import Contents, Specification, stream_held

__all__ = ["SplitterContract", "ReadChannelContract", "WriteChannelContract"]


class SplitterContract(Specification):
    """The bursts of a row are the bytes of the row, in order, each once, cut at the multiples of the longest burst
    and nowhere else.

    Rows are those of checked descriptors: not empty.
    """

    def __init__(self, bus, beat_bytes=3, max_burst=None):
        super().__init__(BurstSplitter(bus, beat_bytes, max_burst or bus.max_burst))

    def specify(self, m):
        unit, bus, longest = self.unit, self.unit.bus, self.unit.max_burst
        row, burst = unit.i.payload, unit.o.payload
        assume(m, stream_held(m, unit.i), row.length != 0)
        holding, first, end, short = (Signal(name=f"row_{name}") for name in ("held", "first", "end", "short"))
        to_come, place = Signal(len(row.length) + 1), Signal(bus.address_width)  # bytes to come, address of the next
        n_bytes = (burst.more << bus.offset_width) + burst.stop + 1 - burst.start
        with m.If(unit.i.valid & unit.i.ready):
            m.d.sync += [holding.eq(1), first.eq(1), end.eq(row.end), short.eq(row.length < unit.beat_bytes),
                         to_come.eq(row.length), place.eq(row.address)]
        with m.Elif(unit.o.valid & unit.o.ready):
            m.d.sync += [holding.eq(~burst.last), first.eq(0), to_come.eq(to_come - n_bytes), place.eq(place + n_bytes)]
        cut = (burst.address & (longest - 1)) + burst.more + 1  # where the burst ends, from a multiple of the longest
        check(m, stream_held(m, unit.o), unit.o.valid == holding, unit.o_idle == ~holding,
              unit.i.ready == (~holding | (unit.o.ready & burst.last)),
              *(~holding | claim for claim in (
                  (burst.address << bus.offset_width) + burst.start == place, n_bytes > 0, n_bytes <= to_come,
                  burst.last == (n_bytes == to_come), burst.first == first, burst.short == short,
                  burst.end == (end & burst.last), cut <= longest,
                  burst.last | ((cut == longest) & (burst.stop == bus.bytes - 1)))))
        # Invariant
        inside, n_left = self.inside, Signal(len(to_come) + 1)
        m.d.comb += n_left.eq(to_come + inside["start"])
        room = longest - (burst.address & (longest - 1))
        check(m, ~holding | ((to_come != 0) & (inside["end"] == end) &
                              (inside["stop"] == (n_left - 1)[:bus.offset_width]) &
                              (inside["beats_more"] == (n_left - 1) >> bus.offset_width) &
                              (inside["last"] == (inside["beats_more"] < room)) &
                              (burst.more == Mux(inside["last"], inside["beats_more"], room - 1))))
        self.witness = [holding & ~first & ~burst.last, holding & burst.last & first & burst.end & (burst.start != 0),
                        holding & (place == 0) & ~first]


class ReadChannelContract(Specification):
    """What has been asked for fits into the buffer, whenever memory answers; offers hold."""

    def __init__(self, bus, beat_bytes=3):
        super().__init__(ReadChannel(bus, beat_bytes, bus.max_burst, bus.read_buffer))

    def specify(self, m):
        unit, inside = self.unit, self.inside
        request = unit.o_request
        assume(m, stream_held(m, unit.i))
        granted = request.valid & request.ready
        owed = Signal(range(unit.buffer + 2))
        m.d.sync += owed.eq(owed + Mux(granted, request.payload.more + 1, 0) - unit.i_valid)
        assume(m, ~unit.i_valid | (owed != 0))
        beats, number = inside.submodules.beats, inside["number"]
        check(m, stream_held(m, unit.o), stream_held(m, request),
              ~request.valid | (request.payload.more < unit.max_burst),
              ~unit.i_valid | beats.w_rdy,
              ~unit.o_idle | ((owed == 0) & (beats.level == 0) & ~unit.o.valid & ~request.valid))
        # Invariant: what has room, is under way or is in the buffer, and the bursts that it belongs to.
        bursts = [(there, item[:8]) for there, item in Contents(m, inside.submodules.bursts).items]
        came = Signal()
        m.d.sync += came.eq(unit.i_valid)
        there, more = bursts[0]
        check(m, inside["free"] + owed + beats.level == unit.buffer, beats.r_rdy | (beats.level <= came),
              sum(Mux(there, more + 1, 0) for there, more in bursts) - number == owed + beats.level,
              Mux(there, number <= more, number == 0))
        self.witness = [unit.i_valid & (owed == unit.buffer), came & (beats.level == unit.buffer)]


class WriteChannelContract(Specification):
    """A burst is on offer only when all of its bus beats are in the buffer: from being granted on they stay on offer
    without a gap. Offers hold.

    The port takes no beats but those of the bursts that it was granted, as :class:`.axi.WritePortContract` proves.
    """

    def __init__(self, bus, beat_bytes=3):
        super().__init__(WriteChannel(bus, beat_bytes, bus.max_burst, bus.write_buffer))

    def specify(self, m):
        unit, inside = self.unit, self.inside
        request = unit.o_request
        assume(m, stream_held(m, unit.i_row), stream_held(m, unit.i))
        granted = request.valid & request.ready
        owed = Signal(range(unit.buffer + 2))
        m.d.sync += owed.eq(owed + Mux(granted, request.payload.more + 1, 0) - (unit.o.valid & unit.o.ready))
        assume(m, ~unit.o.ready | (owed != 0))
        parts = inside.submodules
        check(m, stream_held(m, unit.o), stream_held(m, request),
              ~request.valid | (request.payload.more < unit.max_burst),
              (owed == 0) | unit.o.valid, ~parts.beats.w_en | parts.beats.w_rdy,
              ~parts.complete.w_en | parts.complete.w_rdy,
              ~unit.o_idle | ((owed == 0) & ~unit.o.valid & ~request.valid & (self._partial(m) == 0)))
        self._invariant(m, owed)
        self.witness = [(owed == unit.buffer), granted & (owed != 0)]

    def _partial(self, m):
        """Beats in the buffer of the burst that is being collected."""
        self.partial = partial = Signal(8)
        with m.If(self.inside["emit"]):
            m.d.sync += partial.eq(Mux(self.inside["target"].burst_last, 0, partial + 1))
        return partial

    def _invariant(self, m, owed):
        inside, partial, longest = self.inside, self.partial, self.unit.max_burst
        parts, target, wanted, number = inside.submodules, inside["target"], inside["wanted"], opened(
            inside.submodules.plan)["number"]
        beats, shape = parts.beats, parts.plan.shape
        complete, planned = Contents(m, parts.complete), Contents(m, parts.planned)
        requests = [(there, data.View(request_layout(self.unit.bus), item)) for there, item in complete.items]
        bursts = [(there, data.View(shape, item)) for there, item in planned.items]
        check(m, *(~there | (item.more < longest) for there, item in (*requests, *bursts)),
              beats.level == owed + partial + sum(Mux(there, item.more + 1, 0) for there, item in requests),
              beats.level <= self.unit.buffer)
        # The beat to fill, and the one after it.
        head, following = bursts[0]
        place = Mux(wanted, Mux(target.burst_last, 0, partial + 1), partial)
        check(m, number == place, (place == 0) | head, ~head | (place <= following.more),
              ~wanted | ((target.burst_last == (partial == target.burst.more)) & (partial <= target.burst.more)
                         & (target.burst.more < longest)),
              ~(wanted & ~target.burst_last) | (following.more == target.burst.more))
        # A beat shows at the output one cycle after it is in the buffer, as early as its burst may be granted.
        emitted = Signal()
        m.d.sync += emitted.eq(inside["emit"])
        check(m, beats.r_rdy | (beats.level <= emitted), ~emitted | (partial != 0) | (complete.level != 0))
