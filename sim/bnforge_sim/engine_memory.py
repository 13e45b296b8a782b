"""The memory behind an engine in simulation: how it answers, what is counted, and what goes wrong."""

import enum
from dataclasses import dataclass

from .files import Stall

__all__ = ["CHANNELS", "Order", "MemoryModel", "Region", "Counts", "Totals", "FaultKind", "Fault"]

CHANNELS = ("ar", "r", "aw", "w", "b")
"""Those of AXI, in the order of engine_memory.h."""


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
