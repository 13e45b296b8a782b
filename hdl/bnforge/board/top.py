"""Serial line, bridge, memory and engine: what a bitstream holds, without pins and clocks."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from .bridge import Bridge
from .memory import BoardMemory
from .uart import UartReceiver, UartTransmitter

__all__ = ["BoardTop", "N_LEDS"]

N_LEDS = 4
_DOMAIN = "board"
"""Not "sync": the engine has a domain of that name, and what is around would be given to it."""
_PATIENCE = 0.1
"""Seconds between two bytes of a frame, at most; USB bridges hold bytes back for up to 16 ms."""
_FLASH = 0.05
"""Seconds that a light is on for an event."""


class BoardTop(wiring.Component):
    """An engine that a host drives over a serial line: docs/boards.md.

    Parameters
    ----------
    config : BoardConfig

    Members
    -------
    clk, rst : clock of ``config.clock_hz``, and synchronous reset, high while it resets
    rx, tx : the serial line, seen from the board
    leds : bit 0 blinks once in a second, 1 an answer to the host, 2 the engine uses the memory, 3 the last request
        failed
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"clk": In(1), "rst": In(1), "rx": In(1), "tx": Out(1), "leds": Out(N_LEDS)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.domains += ClockDomain(_DOMAIN, local=True)
        m.d.comb += [ClockSignal(_DOMAIN).eq(self.clk), ResetSignal(_DOMAIN).eq(self.rst)]
        receiver, transmitter = UartReceiver(config.divisor), UartTransmitter(config.divisor)
        bridge = Bridge(config.identity(), round(config.clock_hz * _PATIENCE))
        memory = BoardMemory(config.engine.bus, config.memory_base, config.memory_bytes)
        for name, part in (("receiver", receiver), ("transmitter", transmitter), ("bridge", bridge),
                           ("memory", memory)):
            m.submodules[name] = DomainRenamer(_DOMAIN)(part)
        m.submodules.engine = engine = Engine(config.engine)
        wiring.connect(m, bridge.o, transmitter.i)
        m.d.comb += [
            receiver.i_rx.eq(self.rx), self.tx.eq(transmitter.o_tx), engine.aclk.eq(self.clk),
            engine.aresetn.eq(~self.rst), bridge.i_valid.eq(receiver.o_valid), bridge.i_data.eq(receiver.o_data),
            bridge.i_error.eq(receiver.o_error), memory.i_read.eq(bridge.o_memory_read),
            memory.i_write.eq(bridge.o_memory_write), memory.i_address.eq(bridge.o_address),
            memory.i_data.eq(bridge.o_data), bridge.i_memory_done.eq(memory.o_done),
            bridge.i_memory_data.eq(memory.o_data), bridge.i_memory_outside.eq(memory.o_outside)]
        for other in (bridge, memory):
            for name, member in other.signature.members.items():
                if name.startswith(("s_axil_", "m_axi_")):
                    ours, its = getattr(other, name), getattr(engine, name)
                    m.d.comb += its.eq(ours) if member.flow is Out else ours.eq(its)
        self._lights(m, bridge, engine)
        return m

    def _lights(self, m, bridge, engine):
        """A light is on for as long as one can see after what it stands for."""
        seconds = Signal(range(self.config.clock_hz))
        m.d[_DOMAIN] += seconds.eq(Mux(seconds == self.config.clock_hz - 1, 0, seconds + 1))
        m.d.comb += [self.leds[0].eq(seconds < self.config.clock_hz // 2), self.leds[3].eq(bridge.o_failed)]
        cycles = round(self.config.clock_hz * _FLASH)
        for led, event in ((1, bridge.o_answered), (2, engine.m_axi_arvalid | engine.m_axi_awvalid)):
            left = Signal(range(cycles + 1), name=f"left{led}")
            m.d[_DOMAIN] += left.eq(Mux(event, cycles, left - (left != 0)))
            m.d.comb += self.leds[led].eq(left != 0)
