"""Serial line, bridge, memory, and engine or core: what a bitstream holds, without pins and clocks."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..core import core
from ..engine import Engine
from .bridge import Bridge
from .memory import BoardMemory
from .tiles import TileRunner
from .uart import UartReceiver, UartTransmitter

__all__ = ["BoardTop", "N_LEDS"]

N_LEDS = 4
_DOMAIN = "board"
"""Not "sync": engine and core have a domain of that name, and what is around would be given to it."""
_PATIENCE = 0.1
"""Seconds between two bytes of a frame, at most; USB bridges hold bytes back for up to 16 ms."""
_FLASH = 0.05
"""Seconds that a light is on for an event."""


class BoardTop(wiring.Component):
    """An engine, or a core, that a host drives over a serial line: docs/boards.md.

    Parameters
    ----------
    config : BoardConfig

    Members
    -------
    clk, rst : clock of ``config.clock_hz``, and synchronous reset, high while it resets
    rx, tx : the serial line, seen from the board
    leds : bit 0 blinks once in a second, 1 an answer to the host, 2 the engine uses the memory, or the core runs, 3 the
        last request failed
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
        for name, part in (("receiver", receiver), ("transmitter", transmitter), ("bridge", bridge)):
            m.submodules[name] = DomainRenamer(_DOMAIN)(part)
        memory, design, reset, works = (self._engine if config.has_engine else self._core)(m)
        wiring.connect(m, bridge.o, transmitter.i)
        m.d.comb += [
            receiver.i_rx.eq(self.rx), self.tx.eq(transmitter.o_tx), design.aclk.eq(self.clk),
            design.aresetn.eq(~reset), bridge.i_valid.eq(receiver.o_valid), bridge.i_data.eq(receiver.o_data),
            bridge.i_error.eq(receiver.o_error), memory.i_read.eq(bridge.o_memory_read),
            memory.i_write.eq(bridge.o_memory_write), memory.i_address.eq(bridge.o_address),
            memory.i_data.eq(bridge.o_data), bridge.i_memory_done.eq(memory.o_done),
            bridge.i_memory_data.eq(memory.o_data), bridge.i_memory_outside.eq(memory.o_outside)]
        _join(m, bridge, design if config.has_engine else memory, "s_axil_")
        _join(m, memory, design, "m_axi_", "s_axis_", "m_axis_")
        self._lights(m, bridge, works)
        return m

    def _engine(self, m):
        """The memory, the engine, what resets it, and whether it uses the memory."""
        config = self.config
        memory = BoardMemory(config.engine.bus, config.memory_base, config.memory_bytes)
        m.submodules.memory = DomainRenamer(_DOMAIN)(memory)
        m.submodules.engine = engine = Engine(config.engine)
        return memory, engine, self.rst, engine.m_axi_arvalid | engine.m_axi_awvalid

    def _core(self, m):
        """What runs the tiles of the core and has the memory, the core, what resets it, and whether a tile runs."""
        runner = TileRunner(self.config)
        m.submodules.runner = DomainRenamer(_DOMAIN)(runner)
        m.submodules.core = normaliser = core(self.config.core)
        m.d.comb += runner.i_status.eq(normaliser.status)
        return runner, normaliser, self.rst | runner.o_reset, runner.o_busy

    def _lights(self, m, bridge, works):
        """A light is on for as long as one can see after what it stands for."""
        seconds = Signal(range(self.config.clock_hz))
        m.d[_DOMAIN] += seconds.eq(Mux(seconds == self.config.clock_hz - 1, 0, seconds + 1))
        m.d.comb += [self.leds[0].eq(seconds < self.config.clock_hz // 2), self.leds[3].eq(bridge.o_failed)]
        cycles = round(self.config.clock_hz * _FLASH)
        for led, event in ((1, bridge.o_answered), (2, works)):
            left = Signal(range(cycles + 1), name=f"left{led}")
            m.d[_DOMAIN] += left.eq(Mux(event, cycles, left - (left != 0)))
            m.d.comb += self.leds[led].eq(left != 0)


def _join(m, one, other, *prefixes):
    """Connect the ports of the same names."""
    for name, member in one.signature.members.items():
        if name.startswith(prefixes):
            ours, its = getattr(one, name), getattr(other, name)
            m.d.comb += its.eq(ours) if member.flow is Out else ours.eq(its)
