"""A board's design in simulation, with a serial adapter at its line; :mod:`bnforge_host.simulated` is a port."""

import ctypes
import functools

from bnforge import emit
from bnforge.board import BoardTop

from .build import DEFAULT_CACHE, BenchKind, build_design, load_library

__all__ = ["BoardBench", "board_verilog"]

BOARD_BENCH = BenchKind(("board.cpp", "board.h", "design.h", "verilated_design.h"), "board_core.cpp", "bench.so",
                        ("-shared",))
_RESET_CYCLES = 4
_HANDLE, _LONG = ctypes.c_void_p, ctypes.c_uint64
_FUNCTIONS = {
    "make": (_HANDLE, [ctypes.c_uint32, ctypes.c_char_p]), "delete": (None, [_HANDLE]),
    "reset": (None, [_HANDLE, ctypes.c_uint32]), "run": (None, [_HANDLE, _LONG]),
    "bit": (None, [_HANDLE, ctypes.c_double]), "send": (None, [_HANDLE, ctypes.c_char_p, _LONG]),
    "receive": (_LONG, [_HANDLE, ctypes.c_char_p, _LONG]), "waiting": (_LONG, [_HANDLE]),
    "leds": (ctypes.c_uint32, [_HANDLE])}


@functools.cache
def board_verilog(config):
    """SystemVerilog text of the design that a :class:`.BoardConfig` describes."""
    return emit.component_verilog(BoardTop(config), config.name)


class BoardBench:
    """A board's design out of reset.

    Parameters
    ----------
    config : bnforge.board.BoardConfig
    baud : float
        Of the adapter; default: that of the board.
    seed : int
        Of the registers' state before the reset.
    verilog : str, optional
        Default: generated.
    cache : path
        Where compiled benches are kept.
    waves : path, optional
        VCD file to write (another, slower build).

    Raises
    ------
    bnforge_sim.build.BuildError
        A tool is missing or failed.
    """

    def __init__(self, config, *, baud=None, seed=0, verilog=None, cache=DEFAULT_CACHE, waves=None):
        verilog = board_verilog(config) if verilog is None else verilog
        self.config = config
        self._library = load_library(build_design(BOARD_BENCH, config.name, verilog, [], cache=cache,
                                                  waves=waves is not None), "board", _FUNCTIONS)
        self._handle = self._library.board_make(seed & 0x7FFFFFFF, None if waves is None else str(waves).encode())
        if not self._handle:
            raise OSError(f"waves must be a file that can be written, not {str(waves)!r}")
        self.set_baud(config.baud if baud is None else baud)
        self._library.board_reset(self._handle, _RESET_CYCLES)

    def __del__(self):
        if getattr(self, "_handle", None):
            self._library.board_delete(self._handle)

    def set_baud(self, baud):
        """Bits per second of the adapter from now on."""
        self._library.board_bit(self._handle, self.config.clock_hz / baud)

    def run(self, cycles):
        """Let clock cycles pass."""
        self._library.board_run(self._handle, cycles)

    def send(self, data):
        """Give bytes to the adapter, which sends them one after the other as cycles pass."""
        self._library.board_send(self._handle, data, len(data))

    @property
    def n_waiting(self):
        """Bytes that the adapter has yet to send."""
        return self._library.board_waiting(self._handle)

    def receive(self):
        """The bytes that have come from the board since the last call."""
        room = ctypes.create_string_buffer(65536)
        count = self._library.board_receive(self._handle, room, len(room))
        return room.raw[:count]

    @property
    def leds(self):
        """The lights, as an integer."""
        return self._library.board_leds(self._handle)
