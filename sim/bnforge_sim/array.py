"""A systolic array alone in simulation: beats into its two streams, codes out of the third (docs/array.md)."""

import ctypes
import functools
from dataclasses import dataclass

import numpy as np

from bnforge import emit
from bnforge_model.words import pack_beats, unpack_beats

from .array_build import build_array
from .build import DEFAULT_CACHE, load_library
from .files import Stall

__all__ = ["BrokenRule", "Beats", "Outcome", "ArrayBench", "array_verilog"]

_PORTS = 3
_IDLE = 16


class BrokenRule(AssertionError):
    """The array broke a rule of its ports; the message names rule and cycle."""


@dataclass(frozen=True, eq=False)
class Beats:
    """Beats of ``s_axis_a`` or ``s_axis_w``.

    Attributes
    ----------
    elements : integer array, (n, rows or columns)
    exponents : integer array, (n, groups), or None with float storage
    last : bool array, (n,)
    """

    elements: np.ndarray
    exponents: np.ndarray | None
    last: np.ndarray

    @classmethod
    def joined(cls, parts):
        """One after the other."""
        exponents = None if parts[0].exponents is None else np.concatenate([part.exponents for part in parts])
        return cls(np.concatenate([part.elements for part in parts]), exponents,
                   np.concatenate([part.last for part in parts]))

    def packed(self, config):
        """(tdata, tuser, tlast) as arrays of uint8, one row per beat."""
        data = pack_beats(self.elements, config.element_width)
        user = np.zeros((len(data), 0), np.uint8)
        if self.exponents is not None:
            user = pack_beats(self.exponents, config.storage.exponent_width)
        return [np.ascontiguousarray(part, np.uint8) for part in (data, user, self.last)]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out.

    Attributes
    ----------
    codes : uint32 array, (n, columns)
    last : bool array, (n,)
    status : int
    stopped : bool
        Nothing moved any more before everything was taken and all results had come.
    length : int
        Cycles until idle; 0 where it stopped.
    a_cycles, w_cycles, c_cycles : int64 arrays
        In which each beat was taken, from the first cycle of the run on; as many as were taken.
    """

    codes: np.ndarray
    last: np.ndarray
    status: int
    stopped: bool
    length: int
    a_cycles: np.ndarray
    w_cycles: np.ndarray
    c_cycles: np.ndarray


class _Settings(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p * 2) for name in ("data", "user", "last")), ("count", ctypes.c_uint64 * 2),
                ("ends", ctypes.c_void_p), ("n_blocks", ctypes.c_uint64), ("results", ctypes.c_void_p),
                ("results_last", ctypes.c_void_p), ("cycles", ctypes.c_void_p * _PORTS),
                *((name, ctypes.c_uint64) for name in ("wanted", "room", "seed", "patience")),
                ("stall", ctypes.c_uint32 * _PORTS), ("longest", ctypes.c_uint32 * _PORTS),
                *((name, ctypes.c_uint32) for name in ("reset", "clear", "transpose"))]


_HANDLE, _WORD, _LONG = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
_FUNCTIONS = {"make": (_HANDLE, [_WORD, ctypes.c_char_p]), "delete": (None, [_HANDLE]),
              "run": (ctypes.c_int64, [_HANDLE, _HANDLE]), "message": (ctypes.c_char_p, [_HANDLE]),
              "taken": (_LONG, [_HANDLE, _WORD]), "length": (_LONG, [_HANDLE]), "status": (_WORD, [_HANDLE])}


@functools.cache
def array_verilog(config):
    """SystemVerilog text of the array that ``config`` describes."""
    from bnforge.array import SystolicArrayTop
    return emit.component_verilog(SystolicArrayTop(config), config.name)


class ArrayBench:
    """One array under Verilator.

    Parameters
    ----------
    config : bnforge.array_config.ArrayConfig
    seed : int
        Of the values that registers start at.
    verilog : str, optional
        Default: generated.
    cache : path
        Where the compiled simulation is kept.
    waves : path, optional
        VCD file.
    optimise : bool
        As :func:`.array_build.build_array`.
    """

    def __init__(self, config, *, seed=1, verilog=None, cache=DEFAULT_CACHE, waves=None, optimise=True):
        self.config = config
        text = array_verilog(config) if verilog is None else verilog
        self._library = load_library(build_array(config, text, cache=cache, waves=waves is not None, optimise=optimise),
                                     "array", _FUNCTIONS)
        self._handle = self._library.array_make(seed & 0x7fffffff, None if waves is None else str(waves).encode())
        if self._handle is None:
            raise OSError(f"waves must be the name of a file that can be written, not {waves!r}")
        self._fresh = True

    def close(self):
        """Free the simulation."""
        if self._handle:
            self._library.array_delete(self._handle)
            self._handle = None

    def run(self, a, w, n_results=None, *, ends=(), transpose=False, stalls=(Stall(),) * _PORTS, seed=1, reset=False,
            clear=True, patience=None):
        """Send all beats and receive results until everything has come and the array is idle, or nothing moves.

        Parameters
        ----------
        a, w : Beats
        n_results : int or None
            Results after which it is done; None: run until nothing moves.
        ends : sequence of (int, int, int)
            Beats of A, of W and results up to the end of each block; empty: not known.
        transpose : bool
        stalls : three of :class:`.files.Stall`
            Of ``s_axis_a``, ``s_axis_w`` and ``m_axis``.
        seed : int
            Of the stalls, and of the garbage on idle inputs.
        reset, clear : bool
            Reset before, always done for the first run and after one that stopped or broke a rule; clear the flags.
        patience : int or None
            Cycles without a transfer until it has stopped; None: more than the array may need.

        Returns
        -------
        Outcome

        Raises
        ------
        BrokenRule
        """
        config, room = self.config, len(a.last) * self.config.rows + 1
        n_bytes = -(-config.columns * config.output.width // 8)
        results, last = np.zeros((room, n_bytes), np.uint8), np.zeros(room, np.uint8)
        cycles = [np.zeros(n, np.uint64) for n in (len(a.last), len(w.last), room)]
        parts, marks = list(zip(a.packed(config), w.packed(config))), np.array(ends, np.uint64).reshape(-1, _PORTS)
        if patience is None:
            patience = 200 + 8 * (config.rows + config.columns) + 2 * max(stall.longest for stall in stalls)
        settings = _Settings(
            *((ctypes.c_void_p * 2)(*(part.ctypes.data for part in pair)) for pair in parts),
            (ctypes.c_uint64 * 2)(len(a.last), len(w.last)), marks.ctypes.data, len(marks), results.ctypes.data,
            last.ctypes.data, (ctypes.c_void_p * _PORTS)(*(times.ctypes.data for times in cycles)),
            (1 << 63) if n_results is None else n_results, room, seed, patience,
            (ctypes.c_uint32 * _PORTS)(*(int(stall.probability * 2.0 ** 32) for stall in stalls)),
            (ctypes.c_uint32 * _PORTS)(*(stall.longest for stall in stalls)), reset or self._fresh, clear, transpose)
        state = self._library.array_run(self._handle, ctypes.byref(settings))
        self._fresh = state != 0
        if state < 0:
            raise BrokenRule(self._library.array_message(self._handle).decode())
        taken = [self._library.array_taken(self._handle, port) for port in range(_PORTS)]
        codes = unpack_beats(results[:taken[-1]], config.columns, config.output.width)
        return Outcome(codes, last[:taken[-1]].astype(bool), self._library.array_status(self._handle) & ~_IDLE,
                       state == 1, 0 if state else self._library.array_length(self._handle),
                       *(times[:count].astype(np.int64) for times, count in zip(cycles, taken)))
