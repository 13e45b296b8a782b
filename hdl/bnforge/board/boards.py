"""The boards that `bnforge build` knows. Pins come from amaranth-boards."""

import importlib
from dataclasses import dataclass

from ..config import Config
from ..engine_config import BusConfig, EngineConfig
from .config import BoardConfig
from .pll import ecp5_pll, xilinx7_pll

__all__ = ["Board", "BOARDS", "BUS", "board"]

BUS = BusConfig(data_width=32, max_burst=16, outstanding=4, read_buffer=32, write_buffer=32)
"""Of every board: block RAM answers in a cycle, so that small buffers do."""

_SIMULATED_DIVISOR = 5
"""Clock cycles of a bit of a simulated board: as few as its receiver takes well, because a cycle takes long."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """An FPGA board.

    Attributes
    ----------
    name, text : str
    platform : str
        Class of amaranth-boards, ``module:class``.
    family : str
        ``ecp5``, ``ice40`` or ``xilinx``.
    oscillator_hz, clock_hz : int
        Of the clock pin, and of the design behind the PLL.
    pll : function or None
        What makes one of the other, of :mod:`.pll`; None where they are the same.
    memory_bytes : int
        Block RAM for tensors.
    preset : str
        Built by default.
    lights : tuple of (str, int, str)
        Resource, its number and its subsignal ("" for none), of the lights in the order of :attr:`.BoardTop.leds`;
        as many as there are.
    baud : int
        By default.
    button : (str, int) or None
        Resource that resets while it is active.
    has_engine : bool
        Whether engines are built; else cores alone.
    lights_inverted, button_inverted : bool
        Whether a pin is low then.
    """

    name: str
    text: str
    platform: str
    family: str
    oscillator_hz: int
    clock_hz: int
    pll: object
    memory_bytes: int
    preset: str
    lights: tuple
    baud: int = 1_000_000
    button: tuple | None = None
    has_engine: bool = True
    lights_inverted: bool = False
    button_inverted: bool = False

    @property
    def simulated_baud(self):
        """Of the same design in simulation."""
        return self.clock_hz // _SIMULATED_DIVISOR

    def load(self):
        """The platform class.

        Raises
        ------
        ImportError
            amaranth-boards is not installed.
        """
        module, name = self.platform.split(":")
        return getattr(importlib.import_module(f"amaranth_boards.{module}"), name)

    def config(self, engine, *, baud=None, memory_bytes=None):
        """:class:`.BoardConfig` of an engine on this board.

        Parameters
        ----------
        engine : EngineConfig or Config
            A core gets the bus :data:`BUS`, on boards with engines.

        Raises
        ------
        ValueError
        """
        if isinstance(engine, Config) and self.has_engine:
            engine = EngineConfig(core=engine, bus=BUS)
        if not (isinstance(engine, Config) or self.has_engine):
            raise ValueError(f"bus must be left out for {self.name}, which is too small for an engine")
        return BoardConfig(name="bnforge_board", engine=engine, clock_hz=self.clock_hz,
                           baud=self.baud if baud is None else baud,
                           memory_bytes=self.memory_bytes if memory_bytes is None else memory_bytes)


def _rgb(count):
    return tuple(("rgb_led", number, "g") for number in range(count))


def _leds(count):
    return tuple(("led", number, "") for number in range(count))


def _ulx3s(size, memory_kib, preset):
    return Board(name=f"ulx3s-{size}", text=f"Radiona ULX3S, Lattice LFE5U-{size.upper()}",
                 platform=f"ulx3s:ULX3S_{size.upper()}_Platform", family="ecp5", pll=ecp5_pll,
                 oscillator_hz=25_000_000, clock_hz=50_000_000,
                 memory_bytes=memory_kib << 10, preset=preset, lights=_leds(4), button=("button_fire", 0))


def _ecpix5(size, memory_kib, preset):
    return Board(name=f"ecpix5-{size}f", text=f"LambdaConcept ECPIX-5, Lattice LFE5UM5G-{size}F",
                 platform=f"ecpix5:ECPIX5{size}Platform", family="ecp5", pll=ecp5_pll, lights_inverted=True,
                 button_inverted=True, oscillator_hz=100_000_000, clock_hz=50_000_000,
                 memory_bytes=memory_kib << 10, preset=preset, lights=_rgb(4), button=("rst", 0))


def _arty(size, memory_kib, preset):
    return Board(name=f"arty-a7-{size}", text=f"Digilent Arty A7-{size}, AMD XC7A{size}T; project files for Vivado",
                 platform=f"arty_a7:ArtyA7_{size}Platform", family="xilinx", pll=xilinx7_pll, button_inverted=True,
                 oscillator_hz=100_000_000, clock_hz=50_000_000,
                 memory_bytes=memory_kib << 10, preset=preset, lights=_leds(4), button=("rst", 0))


_ICEBREAKER = Board(
    name="icebreaker", text="1BitSquared iCEBreaker, Lattice iCE40UP5K", platform="icebreaker:ICEBreakerPlatform",
    family="ice40", pll=None, oscillator_hz=12_000_000, clock_hz=12_000_000, memory_bytes=8 << 10, preset="opn2_frozen",
    lights=(("led", 1, ""), ("led", 0, "")), lights_inverted=True, button=("button", 0), button_inverted=True,
    has_engine=False)

BOARDS = {board.name: board for board in (
    _ulx3s("12f", 64, "opn1_tiny"), _ulx3s("25f", 64, "opn1_tiny"), _ulx3s("45f", 128, "opn4"),
    _ulx3s("85f", 256, "opn16"),
    _ecpix5("45", 128, "opn4"), _ecpix5("85", 256, "opn16"), _ICEBREAKER, _arty("35", 128, "opn1_tiny"),
    _arty("100", 256, "opn16"))}
"""By name."""


def board(name):
    """The board of a name.

    Raises
    ------
    ValueError
    """
    if name not in BOARDS:
        raise ValueError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]
