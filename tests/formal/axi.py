"""The AXI4 manager port: what its wires do, for any requests that keep the rules of streams and any memory."""

from amaranth.hdl import Array, Cat, Mux, Signal, Value
from amaranth.lib import data
from bnforge.dma import ReadPort, WritePort

from .runner import assume, check
from .units import Contents, Line, Specification, held, stream_held

__all__ = ["ReadPortContract", "WritePortContract"]

N_CHANNELS = 2
"""Of a port; the lower one goes first."""


class _Address:
    """AR or AW: what is granted is issued in the next cycle and stays until taken.

    Attributes
    ----------
    granted, channel, request : a request is taken from its channel in this cycle
    fresh : a burst shows on the bus for the first time
    """

    def __init__(self, m, spec, prefix):
        unit, bus = spec.unit, spec.unit.bus
        wire = {name: getattr(unit, f"m_axi_{prefix}{name}") for name in
                ("id", "addr", "len", "size", "burst", "cache", "prot", "valid", "ready")}
        assume(m, *(stream_held(m, item) for item in unit.i_request))
        for item in unit.i_request:  # as BurstSplitter makes them
            end = (item.payload.address & (bus.max_burst - 1)) + item.payload.more
            assume(m, item.payload.more < bus.max_burst, end < bus.max_burst)
        taken = [item.valid & item.ready for item in unit.i_request]
        self.granted = granted = Signal(name=f"{prefix}_spec_granted")
        self.channel = Signal(range(len(taken)), name=f"{prefix}_spec_channel")
        layout = unit.i_request[0].payload.shape()
        self.request = data.View(layout, Array(Value.cast(item.payload) for item in unit.i_request)[self.channel])
        m.d.comb += [granted.eq(Cat(taken).any()),
                     self.channel.eq(sum(Mux(line, number, 0) for number, line in enumerate(taken)))]
        first_valid = sum((~Cat(other.valid for other in unit.i_request[:number]).any() & line) for number, line in
                          enumerate(taken))
        check(m, first_valid == granted, ~granted | ~unit.i_halt)  # one at a time, the first; none while halted

        before, request = Signal(name=f"{prefix}_granted_before"), Signal(layout, name=f"{prefix}_asked")
        waiting = Signal(name=f"{prefix}_waiting")
        m.d.sync += [before.eq(granted), waiting.eq(wire["valid"] & ~wire["ready"]), request.eq(self.request)]
        self.fresh = wire["valid"] & ~waiting
        check(m, held(m, *(wire[name] for name in ("valid", "ready", "id", "addr", "len", "size", "burst", "cache",
                                                   "prot"))),
              ~(spec.first & wire["valid"]), self.fresh == before,
              ~before | ((wire["addr"] == request.address << bus.offset_width) & (wire["len"] == request.more)),
              *(~wire["valid"] | claim for claim in (
                  wire["len"] < bus.max_burst, 1 << wire["size"] == bus.bytes, wire["burst"] == 1,
                  wire["addr"] % bus.bytes == 0, wire["addr"][:12] + (wire["len"] + 1) * bus.bytes <= 4096)),
              wire["id"] == 0, wire["cache"] == 0b0011, wire["prot"] == 0)
        # Of the invariant: the register of the channel, also while it waits.
        end = (wire["addr"] >> bus.offset_width & (bus.max_burst - 1)) + wire["len"]
        check(m, ~wire["valid"] | (end < bus.max_burst))


class ReadPortContract(Specification):
    """The read channels.

    Memory answers bursts that it took, in their order, with LEN + 1 beats, the last of them marked; nothing else is
    assumed of it.
    """

    def __init__(self, bus):
        super().__init__(ReadPort(bus, N_CHANNELS))

    def specify(self, m):
        unit, bus = self.unit, self.unit.bus
        address = _Address(m, self, "ar")
        valid, last = unit.m_axi_rvalid, unit.m_axi_rlast
        entry = Cat(address.channel, address.request.address, address.request.more)
        line = Line(m, bus.outstanding, enter=address.granted, entry=entry, leave=valid & last, name="burst")
        channel, place, more = _split(line.oldest, address)
        number = Signal(8, name="beats_before")
        with m.If(valid):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        assume(m, ~valid | ((line.count > unit.m_axi_arvalid) & (last == (number == more))))

        check(m, unit.m_axi_rready | self.first,
              unit.o_valid == Mux(valid, 1 << channel, 0), unit.o_beat.data == unit.m_axi_rdata,
              unit.o_error == (valid & unit.m_axi_rresp[1]), unit.o_response == unit.m_axi_rresp,
              unit.o_idle == (line.count == 0), unit.o_wait == ((line.count != 0) & ~valid),
              unit.o_moved == (address.granted | valid),
              unit.o_idle | ((unit.o_oldest.channel == channel) &
                             (unit.o_oldest.address == place << bus.offset_width)))
        # Invariant
        fifo = Contents(m, self.inside.submodules.outstanding)
        check(m, fifo.level == line.count, line.count >= unit.m_axi_arvalid)
        for (there, item), known in zip(fifo.items, line.entries):
            check(m, ~there | (item == known[:len(item)]))
        self.witness = [valid & last & (number == bus.max_burst - 1) & (line.count == bus.outstanding),
                        unit.m_axi_arvalid & (line.count == bus.outstanding) & unit.i_halt]


def _split(entry, address):
    """Channel, address and number of further beats of an entry."""
    sizes = [len(address.channel), len(address.request.address), len(address.request.more)]
    return entry[:sizes[0]], entry[sizes[0]:sizes[0] + sizes[1]], entry[-sizes[2]:]


class WritePortContract(Specification):
    """The write channels.

    A channel that has been granted a burst offers the beats of it without a gap, as :class:`.dma.WriteChannelContract`
    proves. Memory answers bursts of which it took the address and all data, in their order.
    """

    def __init__(self, bus):
        super().__init__(WritePort(bus, N_CHANNELS))

    def specify(self, m):
        unit, bus = self.unit, self.unit.bus
        address = _Address(m, self, "aw")
        assume(m, *(stream_held(m, item) for item in unit.i_beat))
        wires = [unit.m_axi_wdata, unit.m_axi_wstrb, unit.m_axi_wlast]
        valid, last = unit.m_axi_wvalid, unit.m_axi_wlast
        sent = valid & unit.m_axi_wready
        check(m, held(m, valid, unit.m_axi_wready, *wires), ~(self.first & valid))

        # Bursts whose data is due, as the wires show them: from the cycle of AWVALID to the last beat of W.
        source = Signal.like(address.channel, name="aw_source")
        with m.If(address.granted):
            m.d.sync += source.eq(address.channel)
        issued = Cat(source, unit.m_axi_awlen)
        number = Signal(8, name="beats_before")
        due = Line(m, bus.outstanding, enter=address.fresh, entry=issued, leave=sent & last, name="due")
        channel, more = due.oldest[:len(source)], due.oldest[len(source):]
        with m.If(sent):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        check(m, ~valid | ((due.count != 0) & (last == (number == more))))

        # The beats are those of the channel that asked for the burst, and only as many as it was granted.
        owed = [Signal(range(bus.outstanding * bus.max_burst + 1), name=f"owed{i}") for i in range(N_CHANNELS)]
        beat, origin, moved = Signal(len(Cat(wires[:2]))), Signal.like(source, name="origin"), Signal(name="beat_moved")
        for index, (count, item) in enumerate(zip(owed, unit.i_beat)):
            taken = item.valid & item.ready
            granted = address.granted & (address.channel == index)
            m.d.sync += count.eq(count + Mux(granted, address.request.more + 1, 0) - taken)
            assume(m, (count == 0) | item.valid)
            check(m, ~taken | (count != 0))
            with m.If(taken):
                m.d.sync += [origin.eq(index), beat.eq(item.payload)]
        m.d.sync += moved.eq(Cat(item.valid & item.ready for item in unit.i_beat).any())
        check(m, ~moved | valid, ~valid | ((origin == channel) & (Cat(wires[:2]) == beat)))
        # W never waits for the stream.
        idle, was_due, is_due = Signal(), Signal(), Cat(count != 0 for count in owed).any()
        m.d.sync += [idle.eq(~valid | sent), was_due.eq(is_due)]
        check(m, ~(idle & was_due) | valid)

        # Answers
        answered = unit.m_axi_bvalid
        entry = Cat(address.channel, address.request.end, address.request.address, address.request.more)
        line = Line(m, bus.outstanding, enter=address.granted, entry=entry, leave=answered, name="burst")
        complete = Signal(range(bus.outstanding + 1))  # data sent, not yet answered
        m.d.sync += complete.eq(complete + (sent & last) - answered)
        assume(m, ~answered | ((complete != 0) & (line.count > unit.m_axi_awvalid)))
        oldest = line.oldest
        failed = unit.m_axi_bresp[1]
        check(m, unit.m_axi_bready | self.first, unit.o_response == unit.m_axi_bresp,
              unit.o_error == (answered & failed), unit.o_acknowledged == (answered & ~failed),
              unit.o_idle == (line.count == 0), unit.o_wait == (valid & ~unit.m_axi_wready),
              unit.o_moved == (address.granted | answered | sent),
              unit.o_idle | ((unit.o_oldest.channel == oldest[:len(source)]) & (unit.o_end == oldest[len(source)]) &
                             (unit.o_oldest.address == oldest[len(source) + 1:-8] << bus.offset_width) &
                             (unit.o_bytes == (oldest[-8:] + 1) * bus.bytes)),
              # Nothing is on the way when it says idle.
              ~unit.o_idle | ~(unit.m_axi_awvalid | valid | (due.count != 0) | is_due))
        self._invariant(m, address, due, line, owed, complete, number, source, issued)
        self.witness = [answered & (line.count == bus.outstanding), sent & last & (number == bus.max_burst - 1),
                        valid & unit.m_axi_awvalid & ~unit.m_axi_awready & (channel == source),
                        unit.i_halt & sent & ~last]

    def _invariant(self, m, address, due, line, owed, complete, number, source, issued):
        unit, bus = self.unit, self.unit.bus
        valid, last = unit.m_axi_wvalid, unit.m_axi_wlast
        order = Contents(m, self.inside.submodules.data_order)
        outstanding = Contents(m, self.inside.submodules.outstanding)
        check(m, outstanding.level == line.count, line.count >= unit.m_axi_awvalid,
              line.count == due.count + address.fresh + complete,
              order.level == due.count + address.fresh - (valid & last))
        for (there, item), known in zip(outstanding.items, line.entries):
            parts = Cat(known[:len(source)], known[-8:], known[len(source)], known[len(source) + 1:-8])
            check(m, ~there | (item == parts))
        # ``due``, with the burst that is being issued, without one of which only the last beat is on W.
        known = [Mux(due.count == place, issued, entry) for place, entry in enumerate([*due.entries, issued])]
        beats = []
        for place, (there, item) in enumerate(order.items[:bus.outstanding]):
            wanted = Mux(valid & last, known[place + 1], known[place])
            check(m, ~there | (item == wanted), ~there | (wanted[len(source):] < bus.max_burst))
            beats.append((there, item[:len(source)], item[len(source):]))
        inner = self.inside["number"]
        there, _channel, more = beats[0]
        check(m, inner == Mux(valid, Mux(last, 0, number + 1), number), Mux(there, inner <= more, inner == 0))
        for index, count in enumerate(owed):
            mine = [(there & (channel == index), more) for there, channel, more in beats]
            check(m, count + Mux(mine[0][0], inner, 0) == sum(Mux(its, more + 1, 0) for its, more in mine))
