"""Frontend: fetches the descriptors of all programs, checks them, and hands them to the midends."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..engine_config import COUNT_WIDTH, DESCRIPTOR_WORDS, Cause
from .layouts import LENGTH_WIDTH, beat_layout, row_layout

__all__ = ["DescriptorLoader", "DESCRIPTOR_BYTES"]

DESCRIPTOR_BYTES = 4 * DESCRIPTOR_WORDS
_LAST, _END = 0, 1
_FLAGS = 2


class DescriptorLoader(wiring.Component):
    """Keeps one descriptor of each channel's program ahead of its midend.

    Throughput: a descriptor takes the latency of memory, the time of its words, and ``check_cycles`` for the remainder
    of its length; while it works for one channel the others live on what they have.

    Parameters
    ----------
    bus : BusConfig
    beat_bytes : sequence of int
        Bytes of a beat of each channel's stream.

    Members
    -------
    i_start : strobe per channel, run the program at ``i_pointers``
    i_pointers : address of the next descriptor of each channel
    o_advance : strobe per channel, its pointer moves on by ``DESCRIPTOR_BYTES``
    o_row, i : a descriptor is wanted from memory; its words
    o : words of checked descriptors, per channel
    o_active : per channel, descriptors are still to come
    o_error, o_cause, o_channel, o_address : strobe, and what is wrong with the descriptor at the address
    """

    check_cycles = LENGTH_WIDTH + 1

    def __init__(self, bus, beat_bytes):
        self.bus, self.beat_bytes = bus, tuple(beat_bytes)
        n = len(self.beat_bytes)
        super().__init__({
            "i_start": In(n), "i_pointers": In(data.ArrayLayout(bus.address_width, n)), "o_advance": Out(n),
            "o_row": Out(stream.Signature(row_layout(bus))), "i": In(stream.Signature(beat_layout(4))),
            "o": Out(stream.Signature(32)).array(n), "o_active": Out(n), "o_error": Out(1), "o_cause": Out(Cause),
            "o_channel": Out(range(n)), "o_address": Out(bus.address_width)})

    def elaborate(self, platform):
        m = Module()
        n = len(self.beat_bytes)
        active = Signal(n)
        ready = Signal(n)  # the descriptor in the queue is checked
        queues = []
        for number in range(n):
            m.submodules[f"queue{number}"] = queue = fifo.SyncFIFO(width=32, depth=16)
            queues.append(queue)
            m.d.comb += [
                self.o[number].valid.eq(queue.r_rdy & ready[number]), self.o[number].payload.eq(queue.r_data),
                queue.r_en.eq(self.o[number].ready & ready[number]), queue.w_data.eq(self.i.payload.data)]
            with m.If(~queue.r_rdy):
                m.d.sync += ready[number].eq(0)
        empty = Cat(~queue.r_rdy for queue in queues)
        with m.If(self.i_start.any()):
            m.d.sync += active.eq(active | self.i_start)

        channel = Signal(range(n), reset_less=True)
        word = Signal(range(DESCRIPTOR_WORDS))
        row, here = self.o_row.payload, Array(self.i_pointers[number] for number in range(n))[channel]
        m.d.comb += [self.o_active.eq(active), self.o_channel.eq(channel), self.o_address.eq(here),
                     row.address.eq(here), row.length.eq(DESCRIPTOR_BYTES)]
        checker = _Checker(m, self, channel, word)
        with m.FSM():
            with m.State("CHOOSE"):
                for number in reversed(range(n)):
                    with m.If(active[number] & empty[number]):
                        m.d.sync += channel.eq(number)
                        m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.o_row.valid.eq(1)
                with m.If(self.o_row.ready):
                    m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.comb += [queue.w_en.eq(channel == number) for number, queue in enumerate(queues)]
                    m.d.sync += word.eq(word + 1)
                    with m.If(word == DESCRIPTOR_WORDS - 1):
                        m.d.sync += word.eq(0)
                        m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(checker.done):
                    with m.If(checker.cause != Cause.NONE):
                        m.d.comb += [self.o_error.eq(1), self.o_cause.eq(checker.cause)]
                        m.next = "REFUSED"
                    with m.Else():
                        m.d.comb += self.o_advance.eq(1 << channel)
                        m.d.sync += [ready.bit_select(channel, 1).eq(1),
                                     active.bit_select(channel, 1).eq(~checker.is_last)]
                        m.next = "CHOOSE"
            with m.State("REFUSED"):  # until the engine resets its channels
                pass
        return m


class _Checker:
    """What can be wrong with a descriptor by itself, from its words as they come."""

    def __init__(self, m, loader, channel, word):
        bus, value = loader.bus, loader.i.payload.data
        size = Array(Const(n_bytes, 8) for n_bytes in loader.beat_bytes)[channel]
        zero = Signal(reset_less=True)
        reserved = Signal(reset_less=True)
        length = Signal(LENGTH_WIDTH, reset_less=True)
        flags = Signal(_FLAGS, reset_less=True)
        remainder = Signal(8, reset_less=True)
        several = Signal(reset_less=True)
        steps = Signal(range(LENGTH_WIDTH + 1))
        high = bus.address_width - 32
        taken = comb(m, loader.i.valid & loader.i.ready, "taken")
        with m.If(taken):
            with m.Switch(word):
                with m.Case(0):
                    m.d.sync += [zero.eq(0), reserved.eq(0)]
                with m.Case(1):
                    m.d.sync += reserved.eq(value[high:].any())
                with m.Case(2):
                    m.d.sync += [length.eq(value), zero.eq(value == 0), remainder.eq(0), several.eq(0),
                                 steps.eq(LENGTH_WIDTH)]
                with m.Case(3):
                    m.d.sync += [flags.eq(value), reserved.eq(reserved | value[_FLAGS:].any() |
                                                              value[_LAST] & ~value[_END])]
                with m.Case(4, 6, 8):
                    m.d.sync += [zero.eq(zero | (value[:COUNT_WIDTH] == 0)),
                                 reserved.eq(reserved | value[COUNT_WIDTH:].any())]
        # length modulo the beat, one bit a cycle; ``several``: the length is at least a beat
        shifted = comb(m, Cat(length[-1], remainder), "shifted")
        fits = comb(m, shifted >= size, "fits")
        with m.If((steps != 0) & ~(taken & (word == 2))):
            m.d.sync += [steps.eq(steps - 1), length.eq(length << 1), several.eq(several | fits),
                         remainder.eq(Mux(fits, shifted - size, shifted))]
        self.done = comb(m, steps == 0, "checked")
        self.is_last = flags[_LAST]
        self.cause = Signal(Cause, name="cause")
        with m.If(zero):
            m.d.comb += self.cause.eq(Cause.DESCRIPTOR_ZERO)
        with m.Elif(reserved):
            m.d.comb += self.cause.eq(Cause.DESCRIPTOR_RESERVED)
        with m.Elif(several & (remainder != 0)):
            m.d.comb += self.cause.eq(Cause.DESCRIPTOR_LENGTH)
