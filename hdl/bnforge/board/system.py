"""A board's design with its clock and its reset; and with its pins, on a platform of amaranth-boards."""

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from .top import BoardTop

__all__ = ["PinTop", "System"]

_RESET_CYCLES_LOG2 = 10
"""Cycles of reset after the clock is stable. The block RAM of an iCE40 reads wrong for some microseconds at first."""


class PinTop(wiring.Component):
    """:class:`.BoardTop` behind the pins of a board: PLL and reset.

    The reset begins with configuration, with a lost lock of the PLL, and with the button of the board; it ends, in step
    with the clock, 2^10 cycles after all of these. The count needs registers that start at 0, as those of FPGAs do.

    Parameters
    ----------
    board : Board
    config : BoardConfig
    inverted : bool
        Whether lights and button have the polarity of the board's pins; else 1 is lit and pressed.

    Members
    -------
    clk : the oscillator, ``board.oscillator_hz``
    button : asynchronous reset; without a button of the board it is to be tied to 0
    rx, tx, leds : as of :class:`.BoardTop`, of its lights as many as the board has
    """

    def __init__(self, board, config, *, inverted=False):
        self.board, self.config, self.inverted = board, config, inverted
        super().__init__({"clk": In(1), "button": In(1), "rx": In(1), "tx": Out(1), "leds": Out(len(board.lights))})

    def elaborate(self, platform):
        m = Module()
        board, clock = self.board, Signal(name="pll_clk")
        m.submodules.top = top = BoardTop(self.config)
        running = Const(1)
        if board.pll is None:
            m.d.comb += clock.eq(self.clk)
        else:
            running = board.pll(board.oscillator_hz, board.clock_hz).add(m, self.clk, clock)
        m.domains += ClockDomain("start", local=True)
        m.d.comb += ClockSignal("start").eq(clock)
        m.submodules.start = ResetSynchronizer(~running | (self.button ^ (self.inverted and board.button_inverted)),
                                               domain="start")
        count, reset = Signal(_RESET_CYCLES_LOG2), Signal(init=1)
        m.d.start += [count.eq(count + ~count.all()), reset.eq(~count.all())]
        m.d.comb += [top.clk.eq(clock), top.rst.eq(reset), top.rx.eq(self.rx), self.tx.eq(top.tx),
                     self.leds.eq(~top.leds if self.inverted and board.lights_inverted else top.leds)]
        return m


class System(Elaboratable):
    """:class:`PinTop` with the pins of amaranth-boards, which know their polarity.

    Parameters
    ----------
    board : Board
    config : BoardConfig
    """

    def __init__(self, board, config):
        self.board, self.config = board, config

    def elaborate(self, platform):
        m = Module()
        m.submodules.pins = pins = PinTop(self.board, self.config)
        m.d.comb += pins.clk.eq(platform.request(platform.default_clk).i)
        if self.board.button is not None:
            m.d.comb += pins.button.eq(platform.request(*self.board.button).i)
        serial = platform.request("uart")
        m.d.comb += [pins.rx.eq(serial.rx.i), serial.tx.o.eq(pins.tx)]
        for number, (name, index, part) in enumerate(self.board.lights):
            light = platform.request(name, index)
            m.d.comb += (getattr(light, part) if part else light).o.eq(pins.leds[number])
        return m
