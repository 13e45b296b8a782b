"""An engine in simulation: its registers, and a memory behind its AXI4 port that may be slow, stalling or broken.

Every access to a register takes simulated cycles, in which the engine goes on. The bench checks the rules of AXI in
every cycle (``engine_monitor.h``); a broken one raises :class:`BrokenRule`.
"""

import ctypes
import dataclasses
import enum
import functools
from dataclasses import dataclass

import numpy as np

from bnforge import emit

from .build import DEFAULT_CACHE
from .engine_build import build_engine
from .files import Stall

__all__ = ["BrokenRule", "Refused", "Order", "MemoryModel", "Region", "Counts", "Totals", "FaultKind", "Fault",
           "EngineBench", "engine_verilog"]

CHANNELS = ("ar", "r", "aw", "w", "b")


class BrokenRule(AssertionError):
    """The engine broke a rule of its ports, or left the regions; the message names rule and cycle."""


class Refused(RuntimeError):
    """A register access was answered with an error."""


class Order(enum.IntEnum):
    """What the memory makes AW and W wait for."""

    ANY = 0
    AW_AFTER_W = 1
    """AWREADY only once data of the burst is there, which a subordinate may ask for."""
    W_AFTER_AW = 2
    """WREADY only once an address is there."""


@dataclass(frozen=True)
class MemoryModel:
    """How the memory answers.

    Parameters
    ----------
    read_latency, write_latency : int
        Cycles from an AR taken to the first data, from the last data of a write taken to its answer; at least 1.
    jitter : int
        Each burst waits up to so many cycles more, at random.
    ar, r, aw, w, b : Stall
        Random stalls of the channels. ``after_valid`` of any of ar, aw and w is that of all.
    order : Order
    strict : bool
        Whether an access outside the regions is a broken rule; else, beyond the memory, it is answered DECERR.
    register_delay : int
        Longest random wait of each channel of the register port.
    """

    read_latency: int = 1
    write_latency: int = 1
    jitter: int = 0
    ar: Stall = Stall()
    r: Stall = Stall()
    aw: Stall = Stall()
    w: Stall = Stall()
    b: Stall = Stall()
    order: Order = Order.ANY
    strict: bool = True
    register_delay: int = 0


@dataclass(frozen=True)
class Region:
    """A part of memory: transfers are counted by region, and strict memory allows no others.

    Parameters
    ----------
    name : str
    start, end : int
        Addresses, the end excluded.
    read, write : bool
        What is allowed.
    """

    name: str
    start: int
    end: int
    read: bool = True
    write: bool = False


@dataclass(frozen=True)
class Counts:
    """Transfers of a region: bursts, data beats, and bytes with their strobe set."""

    read_bursts: int
    read_beats: int
    write_bursts: int
    write_beats: int
    write_bytes: int


@dataclass(frozen=True)
class Totals:
    """State of the bench. Beats and gaps count from the last :meth:`EngineBench.regions` on.

    Attributes
    ----------
    cycle : int
    irq : bool
    read_beats, write_beats : int
    first_read, last_read, first_write, last_write : int
        Cycles of the first and last data beats; meaningless where there are none.
    write_gaps : int
        Cycles within a write burst, after its first data, without WVALID.
    read_wait, write_wait : int
        Cycles with a read burst outstanding or offered and no RVALID; with WVALID and no WREADY.
    last_activity : int
        Cycle of the last transfer on the manager port.
    stored_beats : int
        Beats of the writes that have been answered without an error.
    reads, writes : int
        Bursts outstanding.
    oldest : int or None
        Address of the oldest burst that has no answer, reads first.
    """

    cycle: int
    irq: bool
    read_beats: int
    first_read: int
    last_read: int
    write_beats: int
    first_write: int
    last_write: int
    write_gaps: int
    read_wait: int
    write_wait: int
    last_activity: int
    stored_beats: int
    reads: int
    writes: int
    oldest: int | None


class FaultKind(enum.IntEnum):
    """What the memory does wrong."""

    READ_RESPONSE = 0
    WRITE_RESPONSE = 1
    STOP_R = 2
    STOP_B = 3
    STOP_AR = 4
    STOP_AW = 5
    STOP_W = 6


@dataclass(frozen=True)
class Fault:
    """A fault of the memory; stops last from their first victim on.

    Parameters
    ----------
    kind : FaultKind
    index : int
        Which burst, counted from 0 from when the fault is injected; a stop begins there.
    region : str, optional
        Count only bursts that begin in this region. Not for STOP_AR, STOP_AW and STOP_W.
    beat : int, optional
        Which beat of a burst, where a read is concerned or STOP_W; None (only READ_RESPONSE): all.
    response : int
        The answer: 2 SLVERR, 3 DECERR.
    cycles : int
        How long a stop lasts; 0: until :meth:`EngineBench.heal`.
    """

    kind: FaultKind
    index: int = 0
    region: str | None = None
    beat: int | None = 0
    response: int = 2
    cycles: int = 0


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
def _library(path):
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, f"engine_{name}")
        function.restype, function.argtypes = result, arguments
    return library


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
        self._library = _library(build_engine(config, verilog, cache=cache, waves=waves is not None,
                                              optimise=optimise))
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
