"""The configuration of a board's design: an engine, its memory and the serial line."""

import dataclasses
import json
import struct
import zlib
from dataclasses import dataclass, field

from ..config import require_identifier
from ..engine_config import EngineConfig
from ..formats import require_int
from .frames import PROTOCOL
from .uart import MIN_DIVISOR

__all__ = ["BoardConfig", "MAGIC", "IDENTITY_WORDS"]

MAGIC = 0x424E4642
"""The letters BNFB: first word of the identity."""
IDENTITY_WORDS = 8
"""Words of the identity before its text."""
_MAX_ERROR = 0.02
"""Of the baud rate: half a bit in 9.5 is 5 %, shared with the other side and the edges."""


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    """An engine with memory behind a serial line.

    Parameters
    ----------
    name : str
        Name of the top module: a Verilog identifier.
    engine : EngineConfig
    clock_hz : int
        Of the engine and everything else.
    baud : int
        Bits per second of the serial line.
    memory_bytes : int
        Block RAM that the engine and the host see: a multiple of 4096.
    memory_base : int
        Its address: a multiple of the power of two from ``memory_bytes`` on. No job may lie at 0.

    Raises
    ------
    ValueError
        With a message of the form "X must be ..., not Y".
    """

    name: str = "bnforge_board"
    engine: EngineConfig = field(default_factory=EngineConfig)
    clock_hz: int = 50_000_000
    baud: int = 1_000_000
    memory_bytes: int = 65536
    memory_base: int = 0x1000_0000

    def __post_init__(self):
        require_identifier("name", self.name)
        if not isinstance(self.engine, EngineConfig):
            raise ValueError(f"engine must be an EngineConfig, not {self.engine!r}")
        require_int("clock_hz", self.clock_hz, 1_000_000, 500_000_000)
        require_int("baud", self.baud, 300, 12_000_000)
        if self.divisor < MIN_DIVISOR or abs(self.clock_hz / self.divisor / self.baud - 1) > _MAX_ERROR:
            raise ValueError(f"baud must be a rate that {self.clock_hz / 1e6:g} MHz over a whole number, at least "
                             f"{MIN_DIVISOR}, comes within {_MAX_ERROR:.0%} of, not {self.baud}")
        require_int("memory_bytes", self.memory_bytes, 4096, 1 << 24)
        if self.memory_bytes % 4096:
            raise ValueError(f"memory_bytes must be a multiple of 4096, not {self.memory_bytes!r}")
        require_int("memory_base", self.memory_base, 4096, (1 << 32) - self.memory_bytes)
        if self.memory_base % (1 << self.address_bits):
            raise ValueError(f"memory_base must be a multiple of {1 << self.address_bits:#x}, not "
                             f"{self.memory_base:#x}")

    def replace(self, **changes):
        """This configuration with ``changes``, checked again."""
        return dataclasses.replace(self, **changes)

    @property
    def divisor(self):
        """Clock cycles of a bit on the line."""
        return round(self.clock_hz / self.baud)

    @property
    def address_bits(self):
        """Bits of a byte's place in the memory."""
        return (self.memory_bytes - 1).bit_length()

    def to_dict(self):
        """Plain data that :meth:`from_dict` reads back."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)} | {
            "engine": self.engine.to_dict()}

    @classmethod
    def from_dict(cls, data):
        """Configuration from plain data.

        Raises
        ------
        ValueError
            For a missing engine, an unknown parameter, or a value that is not allowed.
        """
        values = dict(data)
        unknown = set(values) - {item.name for item in dataclasses.fields(cls)}
        if unknown or "engine" not in values:
            raise ValueError(f"parameters must be an engine and those of a board, not {', '.join(sorted(values))}")
        return cls(**values | {"engine": EngineConfig.from_dict(values["engine"])})

    def identity(self):
        """32-bit words that say what was built: a list.

        :data:`MAGIC`, version of the protocol, clock in Hz, baud, base and bytes of the memory, bytes and CRC-32 of a
        text; then the text, this configuration as JSON (:meth:`to_dict`) in UTF-8, padded with zeros.
        """
        text = json.dumps(self.to_dict(), separators=(",", ":")).encode()
        padded = text + bytes(-len(text) % 4)
        return [MAGIC, PROTOCOL, self.clock_hz, self.baud, self.memory_base, self.memory_bytes, len(text),
                zlib.crc32(text), *struct.unpack(f"<{len(padded) // 4}I", padded)]
