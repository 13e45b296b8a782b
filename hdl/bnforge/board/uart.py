"""A serial line, 8 bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "MIN_DIVISOR"]

MIN_DIVISOR = 4
"""Clock cycles of a bit, at least: a bit is sampled in its middle, to a cycle."""
_BITS = 8


class UartReceiver(wiring.Component):
    """Bytes from a line.

    The line passes two registers; a bit is sampled ``divisor // 2`` cycles after its beginning, to a cycle. A byte
    of which the stop bit is low is an error; then the line must be high again before the next start bit counts.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit, at least :data:`MIN_DIVISOR`.

    Members
    -------
    i_rx : the line, asynchronous, high while idle
    o_valid, o_data : strobe, a byte has come
    o_error : strobe, something else has come
    """

    def __init__(self, divisor):
        if divisor < MIN_DIVISOR:
            raise ValueError(f"divisor must be at least {MIN_DIVISOR}, not {divisor!r}")
        self.divisor = divisor
        super().__init__({"i_rx": In(1, init=1), "o_valid": Out(1), "o_data": Out(_BITS), "o_error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchroniser = cdc.FFSynchronizer(self.i_rx, rx, init=1)
        cycles = Signal(range(self.divisor))
        bits_left = Signal(range(_BITS + 1))
        with m.If(cycles != 0):
            m.d.sync += cycles.eq(cycles - 1)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(~rx):
                    m.d.sync += [cycles.eq(self.divisor // 2 - 1), bits_left.eq(_BITS)]
                    m.next = "START"
            with m.State("START"):
                with m.If(cycles == 0):
                    m.d.sync += cycles.eq(self.divisor - 1)
                    m.next = "BITS"
                    with m.If(rx):  # shorter than half a bit
                        m.next = "IDLE"
            with m.State("BITS"):
                with m.If(cycles == 0):
                    m.d.sync += [self.o_data.eq(Cat(self.o_data[1:], rx)), cycles.eq(self.divisor - 1),
                                 bits_left.eq(bits_left - 1)]
                    with m.If(bits_left == 1):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(cycles == 0):
                    m.d.comb += [self.o_valid.eq(rx), self.o_error.eq(~rx)]
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(rx):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line.

    Throughput: a byte in ``10 * divisor`` cycles.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit.

    Members
    -------
    i : bytes
    o_tx : the line
    """

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(_BITS)), "o_tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        cycles = Signal(range(self.divisor))
        bits_left = Signal(range(_BITS + 3))
        rest = Signal(_BITS + 1, reset_less=True)  # the stop bit is the last
        m.d.comb += self.i.ready.eq(bits_left == 0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.o_tx.eq(0), rest.eq(Cat(self.i.payload, 1)), bits_left.eq(_BITS + 2),
                         cycles.eq(self.divisor - 1)]
        with m.Elif(cycles != 0):
            m.d.sync += cycles.eq(cycles - 1)
        with m.Elif(bits_left != 0):
            m.d.sync += [bits_left.eq(bits_left - 1), cycles.eq(self.divisor - 1)]
            with m.If(bits_left != 1):
                m.d.sync += [self.o_tx.eq(rest[0]), rest.eq(Cat(rest[1:], 1))]
        return m
