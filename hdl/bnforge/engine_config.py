"""The configuration of an engine: a core, the bus it is put on, and the shapes of what it reads from memory."""

import dataclasses
import enum
from dataclasses import dataclass, field

from .array_config import ARRAY_OPTIONS, ArrayConfig
from .config import Algorithm, Config, check_table, require_identifier, require_power_of_two
from .formats import require_int
from .sweeps.words import has_sums, streams

__all__ = ["BusConfig", "EngineConfig", "configuration", "Channel", "Cause", "DESCRIPTOR_WORDS", "JOB_WORDS",
           "ARRAY_JOB_WORDS", "DIMENSIONS", "COUNT_WIDTH", "TRANSPOSE", "ARRAY_CHANNELS"]

DIMENSIONS = 3
"""Dimensions of a transfer descriptor beyond the bytes of a row."""
DESCRIPTOR_WORDS = 4 + 2 * DIMENSIONS
"""32-bit words of a transfer descriptor."""
JOB_WORDS = 14
"""32-bit words of a job."""
ARRAY_JOB_WORDS = JOB_WORDS + 6
"""The same of an engine with an array."""
COUNT_WIDTH = 24
"""Bits of a count in a transfer descriptor."""


class Channel(enum.IntEnum):
    """The engine's users of the bus: the streams of the core, the descriptor fetch, the streams of the array, and a
    second stored stream that some baselines read."""

    HEADER = 0
    OPERAND = 1
    STORED = 2
    RESULT = 3
    RECORD = 4
    FETCH = 5
    ACTIVATION = 6
    WEIGHT = 7
    PRODUCT = 8
    GRADIENT = 9


ARRAY_CHANNELS = (Channel.ACTIVATION, Channel.WEIGHT, Channel.PRODUCT)
"""Only in engines with an array."""
TRANSPOSE = 1 << 16
"""Bit of a job's word 2: the activations come transposed."""


class Cause(enum.IntEnum):
    """Why a run ended early (docs/engine.md, Errors)."""

    NONE = 0
    READ_SLVERR = 1
    READ_DECERR = 2
    WRITE_SLVERR = 3
    WRITE_DECERR = 4
    DESCRIPTOR_ZERO = 5
    DESCRIPTOR_RESERVED = 6
    DESCRIPTOR_LENGTH = 7
    FRAMING = 8
    HEADER_REFUSED = 9
    HEADER_MISFRAMED = 10
    STORED_FRAMING = 11
    BUS_TIMEOUT = 12
    STARVED = 13
    ABORTED = 14
    ARRAY_FRAMING = 15


@dataclass(frozen=True, kw_only=True)
class BusConfig:
    """An AXI4 manager port and the buffers behind it.

    Parameters
    ----------
    data_width : int
        Bits of the data channels: a power of two from 32 to 512.
    address_width : int
        Bits of an address, 32 to 64.
    max_burst : int
        Beats of the longest burst: a power of two from 1 to 256, of at most 4096 bytes. No burst crosses a multiple of
        its bytes.
    outstanding : int
        Bursts that may wait for their answer, in each direction: a power of two from 2 to 128.
    read_buffer : int
        Bus beats that the operand and the stored tensor may each have asked for ahead of the core: a power of two, at
        least ``max_burst``, at most 4096. Where it exceeds the latency of the memory in cycles, reads are back to back.
    write_buffer : int
        Bus beats of the result that are collected into bursts: a power of two from 2·``max_burst`` to 4096.

    Raises
    ------
    ValueError
        With a message of the form "X must be ..., not Y".
    """

    data_width: int = 64
    address_width: int = 32
    max_burst: int = 16
    outstanding: int = 32
    read_buffer: int = 256
    write_buffer: int = 64

    def __post_init__(self):
        require_power_of_two("data_width", self.data_width, 32, 512)
        require_int("address_width", self.address_width, 32, 64)
        require_power_of_two("max_burst", self.max_burst, 1, min(256, 4096 // self.bytes))
        require_power_of_two("outstanding", self.outstanding, 2, 128)
        require_power_of_two("read_buffer", self.read_buffer, max(2, self.max_burst), 4096)
        require_power_of_two("write_buffer", self.write_buffer, 2 * self.max_burst, 4096)

    def replace(self, **changes):
        """This configuration with ``changes``, checked again."""
        return dataclasses.replace(self, **changes)

    @property
    def bytes(self):
        """Bytes of a bus beat."""
        return self.data_width // 8

    @property
    def offset_width(self):
        """Bits of a byte's place in a bus beat."""
        return self.bytes.bit_length() - 1


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """A core with its DMA engine and registers.

    Parameters
    ----------
    name : str
        Name of the top module and of the generated files: a Verilog identifier.
    core : Config
        Its name does not matter, and becomes the default.
    bus : BusConfig
    array : ArrayConfig or None
        A systolic array in front of the core, as :meth:`.ArrayConfig.of` makes it from the core. Its name and clock do
        not matter, and become the default.

    Raises
    ------
    ValueError
        With a message of the form "X must be ..., not Y".
    """

    name: str = "bnforge_engine"
    core: Config = field(default_factory=Config)
    bus: BusConfig = field(default_factory=BusConfig)
    array: ArrayConfig | None = None

    def __post_init__(self):
        require_identifier("name", self.name)
        for key, kind in (("core", Config), ("bus", BusConfig)):
            if not isinstance(getattr(self, key), kind):
                raise ValueError(f"{key} must be a {kind.__name__}, not {getattr(self, key)!r}")
        if not self.core.has_statistics:
            raise ValueError("sample_depth must be at least 4 in an engine, not 0")
        object.__setattr__(self, "core", self.core.replace(name=Config.name))
        if self.array is not None:
            if not self.core.is_one_pass:
                raise ValueError(f"array must be left out with algorithm {self.core.algorithm.value!r}, "
                                 f"not {self.array!r}")
            if not isinstance(self.array, ArrayConfig):
                raise ValueError(f"array must be an ArrayConfig or left out, not {self.array!r}")
            array = ArrayConfig.of(self.core, **{name: getattr(self.array, name) for name in ARRAY_OPTIONS})
            for key in ("rows", "columns", "storage", "output"):
                wanted, value = getattr(array, key), getattr(self.array, key)
                if value != wanted:
                    raise ValueError(f"{key} of the array must be {wanted}, as the core has it, not {value}")
            object.__setattr__(self, "array", array)

    def replace(self, **changes):
        """This configuration with ``changes``, checked again."""
        return dataclasses.replace(self, **changes)

    @property
    def clock_mhz(self):
        """As of the core; for the constraint only."""
        return self.core.clock_mhz

    @property
    def lanes(self):
        """As of the core."""
        return self.core.lanes

    @property
    def job_words(self):
        """32-bit words of a job."""
        if self.has_gradient:
            return JOB_WORDS + 2
        return JOB_WORDS if self.array is None else ARRAY_JOB_WORDS

    @property
    def programs(self):
        """The channels that have a program, in the order of a job's words."""
        return (*(channel for channel in Channel if channel < Channel.FETCH),
                *(() if self.array is None else ARRAY_CHANNELS), *([Channel.GRADIENT] * self.has_gradient))

    @property
    def has_gradient(self):
        """Whether the core reads a second stored stream: batch norm with a variance, docs/baselines.md."""
        return self.core.algorithm in (Algorithm.SINGLE_PASS, Algorithm.TWO_PASS)

    def sweep_channels(self, sweep):
        """The channels that a sweep of a baseline uses."""
        inputs, has_result = streams(self.core, sweep)
        outputs = [Channel.RESULT] * has_result + [Channel.RECORD] * has_sums(self.core, sweep)
        return frozenset((Channel.HEADER, *(Channel[name.upper()] for name in inputs), *outputs))

    # Files.

    def to_dict(self):
        """Plain data that :meth:`from_dict` reads back: the form of a TOML configuration with a table ``bus``, and a
        table ``array`` if there is one."""
        data = {**self.core.to_dict(), "name": self.name, "bus": dataclasses.asdict(self.bus)}
        if self.array is not None:
            values = {name: getattr(self.array, name) for name in ARRAY_OPTIONS}
            data["array"] = {name: value for name, value in values.items() if value is not None}
        return data

    @classmethod
    def from_dict(cls, data):
        """Configuration from plain data: parameters of :class:`.Config`, but ``name`` is that of the engine, a table
        ``bus``, and with an array a table ``array``. Omitted parameters keep their defaults.

        Raises
        ------
        ValueError
            For an unknown parameter, or a value that is not allowed.
        """
        values = dict(data)
        name, bus, array = values.pop("name", cls.name), values.pop("bus", {}), values.pop("array", None)
        check_table("bus", bus, [item.name for item in dataclasses.fields(BusConfig)])
        core = Config.from_dict(values)
        if array is not None:
            check_table("array", array, ARRAY_OPTIONS)
            array = ArrayConfig.of(core, **array)
        return cls(name=name, core=core, bus=BusConfig(**bus), array=array)

    # Bytes in memory (docs/engine.md, Memory layout).

    def operand_bytes(self, channels):
        """Bytes of one position of ``channels`` channels, at most ``lanes``, of x or dy."""
        return -(-channels * self.core.x_format.width // 8)

    def stored_bytes(self, channels):
        """The same of y or dx: whole blocks, or the elements alone with float storage."""
        core = self.core
        if not core.is_block:
            return -(-channels * core.element_width // 8)
        blocks = -(-channels // core.storage.group)
        return -(-blocks * (core.storage.group * core.element_width + core.storage.exponent_width) // 8)

    def beat_bytes(self, channel):
        """Bytes of a full beat of a channel's stream."""
        if channel in (Channel.OPERAND, Channel.PRODUCT):
            return self.operand_bytes(self.core.lanes)
        if channel in (Channel.STORED, Channel.RESULT, Channel.ACTIVATION, Channel.WEIGHT, Channel.GRADIENT):
            return self.stored_bytes(self.core.lanes)
        return 4


def configuration(data, *, engine=False, array=False):
    """What plain data describe: an :class:`EngineConfig` if they have a table ``bus``, or are to be one; else an
    :class:`.ArrayConfig` if they have a table ``array``, or are to be one; else a :class:`.Config`.

    Parameters
    ----------
    data : dict
    engine : bool
        It is to be an engine.
    array : bool
        It is to have an array, or to be one.

    Raises
    ------
    ValueError
        For an unknown parameter, or a value that is not allowed.
    """
    if array:
        data = {"array": {}} | data
    if engine or "bus" in data:
        return EngineConfig.from_dict(data)
    return ArrayConfig.from_dict(data) if "array" in data else Config.from_dict(data)
