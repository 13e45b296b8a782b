"""The configuration of a board's design: an engine or a core, its memory and the serial line."""

import dataclasses
import enum
import json
import struct
import zlib
from dataclasses import dataclass, field

from ..config import Config, Directions, require_identifier
from ..engine_config import EngineConfig
from ..formats import require_int
from .frames import PROTOCOL
from .uart import MIN_DIVISOR

__all__ = ["BoardConfig", "TilePlaces", "TileRegister", "MAGIC", "IDENTITY_WORDS"]

MAGIC = 0x424E4642
"""The letters BNFB: first word of the identity."""
IDENTITY_WORDS = 8
"""Words of the identity before its text."""
_MAX_ERROR = 0.02
"""Of the baud rate: half a bit in 9.5 is 5 %, shared with the other side and the edges."""


_WORD_BITS = 32


class TileRegister(enum.IntEnum):
    """Registers of a board without an engine, by their offsets."""

    RUN = 0x0
    """Written: beats of a tile, 1 to the capacity; it is run. SLVERR for another number, or while one runs."""
    STATUS = 0x4
    """Read-only: bit 0 a tile runs; bits 13:8 the status of the core (docs/interfaces.md)."""
    CYCLES = 0x8
    """Read-only: from the beginning of the last run on, until it ended."""


@dataclass(frozen=True)
class TilePlaces:
    """Where a tile lies in the memory of a board without an engine, in 32-bit words.

    Attributes
    ----------
    header, records, beats : int
        First words. Records come behind the header; a result comes in the place of its beat, elements in the low bits
        and exponents above them.
    capacity : int
        Beats that there is room for.
    """

    header: int
    records: int
    beats: int
    capacity: int


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    """An engine with memory behind a serial line; or, where none fits, a core that runs a tile at a time.

    Parameters
    ----------
    name : str
        Name of the top module: a Verilog identifier.
    engine : EngineConfig or Config
        A core is built without engine: forward tiles, with beats of at most 32 bits in and out.
    clock_hz : int
        Of everything.
    baud : int
        Bits per second of the serial line.
    memory_bytes : int
        Block RAM that the host and the engine or core see: a multiple of 4096.
    memory_base : int
        Its address: a multiple of the power of two from ``memory_bytes`` on. No job may lie at 0.

    Raises
    ------
    ValueError
        With a message of the form "X must be ..., not Y".
    """

    name: str = "bnforge_board"
    engine: EngineConfig | Config = field(default_factory=EngineConfig)
    clock_hz: int = 50_000_000
    baud: int = 1_000_000
    memory_bytes: int = 65536
    memory_base: int = 0x1000_0000

    def __post_init__(self):
        require_identifier("name", self.name)
        if not isinstance(self.engine, (EngineConfig, Config)):
            raise ValueError(f"engine must be an EngineConfig or a Config, not {self.engine!r}")
        if not self.has_engine:
            self._check_core()
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

    def _check_core(self):
        core = self.core
        if not core.is_one_pass or core.directions is not Directions.FORWARD:
            raise ValueError("core must be a one-pass normaliser for forward tiles without an engine, not "
                             f"{core.algorithm.value!r} for {core.directions.value!r}")
        exponents = core.n_groups * core.storage.exponent_width if core.is_block else 0
        for name, width in (("x", core.lanes * core.x_format.width),
                            ("y", -(-core.lanes * core.element_width // 8) * 8 + exponents)):
            if width > _WORD_BITS:
                raise ValueError(f"beat of {name} must be of at most {_WORD_BITS} bits without an engine, not {width}")

    def replace(self, **changes):
        """This configuration with ``changes``, checked again."""
        return dataclasses.replace(self, **changes)

    @property
    def has_engine(self):
        """Whether the host drives an engine, not a core."""
        return isinstance(self.engine, EngineConfig)

    @property
    def core(self):
        """The core, of the engine or alone: a Config."""
        return self.engine.core if self.has_engine else self.engine

    @property
    def places(self):
        """:class:`TilePlaces` of a board without an engine."""
        header = self.core.header_words
        beats = header + self.core.lanes * self.core.record_words
        return TilePlaces(0, header, beats, self.memory_bytes // 4 - beats)

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
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["engine"] = self.engine.to_dict()
        return values if self.has_engine else {{"engine": "core"}.get(name, name): value
                                               for name, value in values.items()}

    @classmethod
    def from_dict(cls, data):
        """Configuration from plain data.

        Raises
        ------
        ValueError
            For neither engine nor core, an unknown parameter, or a value that is not allowed.
        """
        values = dict(data)
        kinds = {"engine": EngineConfig, "core": Config}
        found = [kind for kind in kinds if kind in values]
        unknown = set(values) - {item.name for item in dataclasses.fields(cls)} - set(kinds)
        if unknown or len(found) != 1:
            raise ValueError("parameters must be an engine or a core, and those of a board, not "
                             f"{', '.join(sorted(values))}")
        design = values.pop(found[0])
        return cls(**values, engine=kinds[found[0]].from_dict(design))

    def identity(self):
        """32-bit words that say what was built: a list.

        :data:`MAGIC`, version of the protocol, clock in Hz, baud, base and bytes of the memory, bytes and CRC-32 of a
        text; then the text, this configuration as JSON (:meth:`to_dict`) in UTF-8, padded with zeros.
        """
        text = json.dumps(self.to_dict(), separators=(",", ":")).encode()
        padded = text + bytes(-len(text) % 4)
        return [MAGIC, PROTOCOL, self.clock_hz, self.baud, self.memory_base, self.memory_bytes, len(text),
                zlib.crc32(text), *struct.unpack(f"<{len(padded) // 4}I", padded)]
