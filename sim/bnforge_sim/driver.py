"""The engine's registers as a driver uses them, with whatever bus there is between (docs/engine.md)."""

import enum
from dataclasses import dataclass

import numpy as np

from bnforge.engine_config import Cause
from bnforge.registers import registers

__all__ = ["Driver", "EngineError", "Status", "EVENTS"]


class Status(enum.IntFlag):
    """The bits of STATUS."""

    BUSY = 1 << 0
    DRAINING = 1 << 1
    DONE = 1 << 4
    ERROR = 1 << 5
    NAN = 1 << 8
    INFINITY = 1 << 9
    SATURATED = 1 << 10
    REFUSED = 1 << 12


EVENTS = Status.DONE | Status.ERROR | Status.NAN | Status.INFINITY | Status.SATURATED | Status.REFUSED
"""Those that stay until they are cleared."""


@dataclass(eq=False)
class EngineError(Exception):
    """A run ended early.

    Attributes
    ----------
    cause : Cause
    channel : int
        15: none in particular.
    address : int
    """

    cause: Cause
    channel: int
    address: int

    def __str__(self):
        return f"{self.cause.name} on channel {self.channel}, address {self.address:#x}"


class Driver:
    """An engine behind two coroutine functions; with ones that never wait, ``asyncio.run`` runs its methods.

    Parameters
    ----------
    config : EngineConfig
    read : coroutine function of a byte offset
        An AXI4-Lite read: returns the word.
    write : coroutine function of a byte offset and a word
        An AXI4-Lite write.
    """

    def __init__(self, config, read, write):
        self._config, self._read, self._write = config, read, write
        self._table = {register.name: register for register in registers(config)}

    async def read(self, name):
        """A register by its name; a pair NAME_LOW, NAME_HIGH by NAME, as one number."""
        if name in self._table:
            return await self._read(self._table[name].offset)
        low, high = [await self._read(self._table[name + half].offset) for half in ("_LOW", "_HIGH")]
        return high << 32 | low

    async def write(self, name, word):
        """Write a register by its name."""
        await self._write(self._table[name].offset, word)

    async def identify(self):
        """Check that this is an engine of this configuration; returns the version of its generator, (x, y, z).

        Raises
        ------
        ValueError
            "REGISTER must be ..., not ...".
        """
        for name, register in self._table.items():
            if name != "VERSION" and all(field.constant for field in register.fields):
                word = await self.read(name)
                if word != register.reset:
                    raise ValueError(f"{name} must be {register.reset:#010x}, not {word:#010x}")
        version = await self.read("VERSION")
        return version >> 24, version >> 16 & 0xFF, version & 0xFFFF

    async def start(self, address):
        """Start the job at an address in memory, and those it is chained to."""
        await self.start_job(np.array([address & 0xFFFFFFFF, address >> 32, 0, 0], "<u4").tobytes())

    async def start_job(self, job):
        """Start a job given as its words in bytes, at most 14; registers beyond keep what they have."""
        for index, word in enumerate(np.frombuffer(job, "<u4").tolist()):
            await self.write(f"JOB{index}", word)
        await self.write("CONTROL", self._bit("CONTROL", "start"))

    async def status(self):
        """STATUS."""
        return Status(await self.read("STATUS"))

    async def wait(self, irq=None, polls=None):
        """Until the engine is idle.

        Parameters
        ----------
        irq : awaitable
            Awaited first: ends when the interrupt, which :meth:`interrupts` enables, is high. By default STATUS is read
            all the while.
        polls : int
            How often STATUS is read at most; default: without end.

        Returns
        -------
        Status

        Raises
        ------
        TimeoutError
            When the engine is still busy then.
        EngineError
            When the run ended early.
        """
        if irq is not None:
            await irq
        status = await self.status()
        while status & Status.BUSY:
            polls = None if polls is None else polls - 1
            if polls == 0:
                raise TimeoutError(f"STATUS must be idle, not {status!r}")
            status = await self.status()
        if status & Status.ERROR:
            raise await self.error()
        return status

    async def error(self):
        """The :class:`EngineError` that the registers describe."""
        cause = await self.read("CAUSE")
        return EngineError(Cause(cause & 0xFF), cause >> 8 & 0xF, await self.read("ERROR_ADDRESS"))

    async def run(self, address, irq=None, polls=None):
        """:meth:`start` and :meth:`wait`."""
        await self.start(address)
        return await self.wait(irq, polls)

    async def interrupts(self, *, done=True, error=True):
        """Enable interrupts."""
        await self.write("IRQ_ENABLE", done * self._bit("IRQ_ENABLE", "done") |
                         error * self._bit("IRQ_ENABLE", "error"))

    async def clear(self, events=EVENTS):
        """Clear events of STATUS."""
        await self.write("STATUS", int(events))

    async def abort(self):
        """End the run; :meth:`wait` tells when it has ended, and raises ABORTED."""
        await self.write("CONTROL", self._bit("CONTROL", "abort"))

    async def reset(self):
        """Put the engine into its reset state, once the bursts on the bus have ended."""
        await self.write("CONTROL", self._bit("CONTROL", "reset"))

    async def watchdog(self, cycles):
        """Cycles without progress after which a run ends; 0: never."""
        await self.write("WATCHDOG", cycles)

    async def counters(self):
        """The counters of the run, dict of name in lower case to number; only while idle."""
        names = [name.removesuffix("_LOW") for name, register in self._table.items()
                 if register.fields[0].name == "count" and not name.endswith("_HIGH")]
        return {name.lower(): await self.read(name) for name in names}

    def _bit(self, name, field):
        return next(item.mask for item in self._table[name].fields if item.name == field)
