"""An engine in simulation: its registers, and a memory behind its AXI4 port that may be slow, stalling or broken.

Every access to a register takes simulated cycles, in which the engine goes on. The bench checks the rules of AXI in
every cycle (``engine_monitor.h``); a broken one raises :class:`BrokenRule`.
"""

import ctypes
import dataclasses
import functools

import numpy as np

from bnforge import emit

from .build import DEFAULT_CACHE, load_library
from .engine_build import build_engine
from .engine_memory import CHANNELS, Counts, Fault, FaultKind, MemoryModel, Order, Region, Totals

__all__ = ["BrokenRule", "Refused", "Order", "MemoryModel", "Region", "Counts", "Totals", "FaultKind", "Fault",
           "EngineBench", "engine_verilog"]


class BrokenRule(AssertionError):
    """The engine broke a rule of its ports, or left the regions; the message names rule and cycle."""


class Refused(RuntimeError):
    """A register access was answered with an error."""


class _Settings(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_void_p), *((name, ctypes.c_uint64) for name in ("base", "size", "seed")),
                *((name, ctypes.c_uint32) for name in (
                    "max_burst", "outstanding", "read_latency", "write_latency", "jitter", "order", "after_valid",
                    "strict", "lite_delay")),
                ("stall", ctypes.c_uint32 * len(CHANNELS)), ("longest", ctypes.c_uint32 * len(CHANNELS))]


_HANDLE, _WORD, _LONG, _RESULT = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
_FUNCTIONS = {
    "make": (_HANDLE, [_WORD, ctypes.c_char_p]), "delete": (None, [_HANDLE]), "set": (None, [_HANDLE, _HANDLE]),
    "reset": (_RESULT, [_HANDLE, _WORD]), "step": (_RESULT, [_HANDLE, _LONG]), "wait": (_RESULT, [_HANDLE, _LONG]),
    "write": (_RESULT, [_HANDLE, _WORD, _WORD, _WORD]), "read": (_RESULT, [_HANDLE, _WORD]),
    "message": (ctypes.c_char_p, [_HANDLE]), "regions": (None, [_HANDLE, _WORD, _HANDLE, _HANDLE, _HANDLE]),
    "counts": (None, [_HANDLE, _WORD, _HANDLE]), "totals": (None, [_HANDLE, _HANDLE]),
    "fault": (None, [_HANDLE, _WORD, _WORD, _LONG, _WORD, _WORD, _LONG]), "heal": (None, [_HANDLE]),
    "struck": (_RESULT, [_HANDLE, _WORD, _HANDLE])}


@functools.cache
def engine_verilog(config):
    """SystemVerilog text of the engine that ``config`` describes."""
    from bnforge.engine import Engine
    return emit.component_verilog(Engine(config), config.name)


class EngineBench:
    """One engine out of reset, with ``size`` bytes of memory at the address ``base``.

    Parameters
    ----------
    config : bnforge.engine_config.EngineConfig
    size : int
        A multiple of 4096. The memory is ``memory``, a uint8 array, and starts as zeros; it may be written at any time.
    base : int
        A multiple of 4096. Addresses count modulo 2^address_width.
    model : MemoryModel
    seed : int
        Of all randomness, and of the registers' state before the first reset.
    verilog : str, optional
        Default: generated.
    cache : path
        Where compiled benches are kept.
    waves : path, optional
        VCD file to write (another, slower build).
    optimise : bool
        As :func:`.build_engine`.

    Raises
    ------
    bnforge_sim.build.BuildError
        A tool is missing or failed.
    ValueError
        A size or base that is no multiple of 4096.
    """

    def __init__(self, config, size, *, base=0, model=MemoryModel(), seed=0, verilog=None, cache=DEFAULT_CACHE,
                 waves=None, optimise=True):
        for name, value in (("size", size), ("base", base)):
            if value % 4096:
                raise ValueError(f"{name} must be a multiple of 4096, not {value!r}")
        verilog = engine_verilog(config) if verilog is None else verilog
        self._library = load_library(build_engine(config, verilog, cache=cache, waves=waves is not None,
                                                  optimise=optimise), "engine", _FUNCTIONS)
        self._handle = self._library.engine_make(seed & 0x7FFFFFFF, None if waves is None else str(waves).encode())
        if not self._handle:
            raise OSError(f"waves must be a file that can be written, not {str(waves)!r}")
        self.config, self.base = config, base
        self.memory = np.zeros(size, dtype=np.uint8)
        self._regions, self._faults = [], 0
        self.set_model(model, seed)
        self.reset()

    def __del__(self):
        if getattr(self, "_handle", None):
            self._library.engine_delete(self._handle)

    def set_model(self, model, seed=0):
        """Let the memory answer differently from now on, and start the random numbers from ``seed``."""
        stalls = [getattr(model, channel) for channel in CHANNELS]
        self.model = model
        self._library.engine_set(self._handle, ctypes.byref(_Settings(
            self.memory.ctypes.data, self.base, len(self.memory), seed, self.config.bus.max_burst,
            self.config.bus.outstanding, model.read_latency, model.write_latency, model.jitter, model.order,
            any(stall.after_valid for stall in stalls), model.strict, model.register_delay,
            (_WORD * len(CHANNELS))(*(int(stall.probability * 2**32) for stall in stalls)),
            (_WORD * len(CHANNELS))(*(stall.longest for stall in stalls)))))

    def _checked(self, result):
        if result == -1:
            raise BrokenRule(self._library.engine_message(self._handle).decode())
        return result

    # Time and registers.

    def reset(self, cycles=4):
        """Hold ``aresetn`` low; what the memory had not answered is forgotten."""
        self._checked(self._library.engine_reset(self._handle, cycles))

    def step(self, cycles=1):
        """Let cycles pass."""
        self._checked(self._library.engine_step(self._handle, cycles))

    def wait(self, timeout):
        """Whether ``irq`` is high within ``timeout`` cycles; returns as soon as it is."""
        return self._checked(self._library.engine_wait(self._handle, timeout)) != -2

    def access(self, offset, value=None, strobe=15):
        """Read the register at ``offset``, or write ``value``: (value, response)."""
        if value is None:
            answer = self._checked(self._library.engine_read(self._handle, offset))
            return answer & 0xFFFFFFFF, answer >> 32
        return value, self._checked(self._library.engine_write(self._handle, offset, value & 0xFFFFFFFF, strobe))

    def read(self, offset):
        """The register at ``offset``.

        Raises
        ------
        Refused
        """
        value, response = self.access(offset)
        if response:
            raise Refused(f"read of {offset:#x} was answered {response}")
        return value

    def write(self, offset, value, strobe=15):
        """Write a register.

        Raises
        ------
        Refused
        """
        _, response = self.access(offset, value, strobe)
        if response:
            raise Refused(f"write of {value:#x} to {offset:#x} was answered {response}")

    # Memory.

    def _offset(self, address):
        return (address - self.base) & ((1 << self.config.bus.address_width) - 1)

    def view(self, address, size):
        """The ``size`` bytes at ``address``, a view of ``memory``."""
        start = self._offset(address)
        if start + size > len(self.memory):
            raise ValueError(f"range must be in the memory, not {size} bytes at {address:#x}")
        return self.memory[start:start + size]

    def regions(self, regions):
        """Set the regions, and start all counts again."""
        self._regions = list(regions)
        starts = np.array([self._offset(region.start) for region in self._regions], dtype=np.uint64)
        sizes = np.array([region.end - region.start for region in self._regions], dtype=np.uint64)
        ends = starts + sizes
        access = np.array([region.read | region.write << 1 for region in self._regions], dtype=np.uint32)
        self._library.engine_regions(self._handle, len(self._regions), starts.ctypes.data, ends.ctypes.data,
                                     access.ctypes.data)

    def counts(self):
        """:class:`Counts` of every region by its name; "" is what is in none."""
        result = {}
        for index, name in enumerate(["", *(region.name for region in self._regions)]):
            values = np.zeros(len(dataclasses.fields(Counts)), dtype=np.uint64)
            self._library.engine_counts(self._handle, index, values.ctypes.data)
            result[name] = Counts(*values.tolist())
        return result

    def totals(self):
        """:class:`Totals`."""
        values = np.zeros(len(dataclasses.fields(Totals)), dtype=np.uint64)
        self._library.engine_totals(self._handle, values.ctypes.data)
        *rest, oldest = values.tolist()
        totals = Totals(*rest, None if oldest == 2**64 - 1 else oldest)
        return dataclasses.replace(totals, irq=bool(totals.irq))

    # Faults.

    def inject(self, fault):
        """Add a fault: its number, for :meth:`struck`."""
        names = [None, *(region.name for region in self._regions)]
        region = 2**32 - 1 if fault.region is None else names.index(fault.region)
        self._library.engine_fault(self._handle, fault.kind, region, fault.index,
                                   2**32 - 1 if fault.beat is None else fault.beat, fault.response, fault.cycles)
        self._faults += 1
        return self._faults - 1

    def struck(self, number=0):
        """The address of the first burst that a fault has struck, None before: 0 of a STOP_AR, STOP_AW or STOP_W."""
        address = ctypes.c_uint64()
        if not self._library.engine_struck(self._handle, number, ctypes.byref(address)):
            return None
        return address.value

    def heal(self):
        """Remove all faults; what they have withheld comes."""
        self._library.engine_heal(self._handle)
        self._faults = 0
