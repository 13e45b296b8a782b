"""The configuration: one frozen, validated object that feeds generator and model."""

import dataclasses
import enum
import re
import tomllib
from dataclasses import dataclass

from .formats import BF16, FLOAT_FORMATS, WORKING, BlockFormat, FloatFormat, require_int
from .keywords import RESERVED

__all__ = ["Activation", "Algorithm", "Directions", "Extraction", "Multiplier", "Config", "TILES_IN_FLIGHT",
           "HEADER_FIXED_WORDS", "RECORD_SCALAR_WORDS", "GRADIENT_WORDS", "SUM_BLOCK", "CHANNEL_CHUNKS", "COUNT_WIDTH",
           "read_toml", "require_identifier", "require_power_of_two", "plain", "check_table", "format_from"]

TILES_IN_FLIGHT = 4
"""Tiles that may be between their opening and the last word of their records; tests/formal/control.py proves it."""
HEADER_FIXED_WORDS = 4
"""Words of a tile header before the per-lane gamma/beta pairs."""
RECORD_SCALAR_WORDS = 5
"""Words of a channel record before the positions: a, b, Rinv, mu, R."""

GRADIENT_WORDS = 2
"""Words of a gradient record: dgamma, dbeta."""
CHANNEL_CHUNKS = 8
"""Chunks into which range batch norm cuts a whole channel."""
COUNT_WIDTH = 20
"""Bits of n in the baselines."""
SUM_BLOCK = 128
"""Beats of a backward tile that a lane adds up before the shared unit takes the sums over."""


class Activation(enum.IntEnum):
    """Activation codes of the tile header."""

    IDENTITY = 0
    RELU = 1
    RELU6 = 2


class Multiplier(enum.Enum):
    """How a lane multiplies by ``a``."""

    FULL = "full"
    """An array multiplier of ``a_fraction + 1`` bits."""
    TWO_DIGIT = "two-digit"
    """Shift-add: ``a`` rounds to the nearest sum or difference of two powers of two within ``a_fraction`` bits."""


class Directions(enum.Enum):
    """Which tiles a core is built for."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "both"
    """Each tile's header chooses."""


class Extraction(enum.Enum):
    """What the lanes of a one-pass core are given: docs/arithmetic.md, "Constant extraction off"."""

    CONSTANTS = "constants"
    """Two narrow constants a and b, extracted once per channel: one multiply-add."""
    SHARED_DIVIDER = "shared-divider"
    """No extraction: each lane subtracts, scales, applies gamma and beta; the scale is a reciprocal."""
    LANE_DIVIDER = "lane-divider"
    """The same, but the scale is a divisor, and each lane has a divider."""


class Algorithm(enum.Enum):
    """What a core computes: docs/baselines.md."""

    ONE_PASS = "one-pass"
    """The one-pass normaliser: sampled range statistics."""
    RANGE = "range"
    """Range batch norm with statistics of the whole channel."""
    SINGLE_PASS = "single-pass"
    """Batch norm with mean and variance from one sweep."""
    TWO_PASS = "two-pass"
    """Batch norm with mean and variance from a sweep each."""


def require_identifier(name, value):
    """Raise ValueError unless ``value`` is a Verilog identifier."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value) or value in RESERVED:
        raise ValueError(f"{name} must be a Verilog identifier, not {value!r}")


def require_power_of_two(name, value, low, high):
    """Raise ValueError unless ``value`` is a power of two from ``low`` to ``high``."""
    require_int(name, value, low, high)
    if value & (value - 1):
        raise ValueError(f"{name} must be a power of two, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """One normaliser core.

    Parameters
    ----------
    name : str
        Name of the top module and of the generated files: a Verilog identifier.
    lanes : int
        Channels normalised side by side, 1 to 32.
    x_format : FloatFormat
        Input elements; at most 15 fraction bits.
    sample_depth : int
        S, the built sample depth in beats: a multiple of ``chunk_len``, at most 16384. With 0 no statistics are built:
        all tiles are frozen forward ones, their constants come with the header.
    chunk_len : int
        L, beats of one range chunk: a power of two from 4 to 4096, and at least ``lanes``, so that the
        extrema of a chunk have left when the next chunk ends.
    a_fraction : int
        Fraction bits of the scale a, 1 to 15 (2 to 8 for the two-digit multiplier).
    b_fraction : int
        Fraction bits of the shift b, 1 to 15.
    multiplier : Multiplier
        How a lane multiplies.
    storage : FloatFormat or BlockFormat
        How y is stored. A float format has at most 15 fraction bits and must hold 6.0; the group of a block divides
        ``lanes``.
    directions : Directions
        Forward tiles, backward tiles, or both. It changes no bit of what either computes.
    extraction : Extraction
        Whether constants are extracted per channel. Without, a, b and all that a lane computes have the working format:
        ``a_fraction`` and ``b_fraction`` say nothing, the multiplier is the full one, and there is no frozen mode.
    algorithm : Algorithm
        The one-pass normaliser, or a baseline to compare it with. Baselines use neither ``sample_depth`` nor
        ``chunk_len``; they are built for both directions, with signed or float storage and the full multiplier.
    clock_mhz : float
        The clock that the generated constraint asks for, in MHz, 0.001 to 100000. It changes nothing in the circuit.

    Raises
    ------
    ValueError
        With a message of the form "X must be ..., not Y".
    """

    name: str = "bnforge"
    lanes: int = 16
    x_format: FloatFormat = BF16
    sample_depth: int = 1024
    chunk_len: int = 128
    a_fraction: int = 4
    b_fraction: int = 6
    multiplier: Multiplier = Multiplier.FULL
    storage: FloatFormat | BlockFormat = BlockFormat(16, 8)
    directions: Directions = Directions.BOTH
    extraction: Extraction = Extraction.CONSTANTS
    algorithm: Algorithm = Algorithm.ONE_PASS
    clock_mhz: float = 100.0

    def __post_init__(self):
        require_identifier("name", self.name)
        require_int("lanes", self.lanes, 1, 32)
        if not isinstance(self.x_format, FloatFormat) or self.x_format.fraction_width > 15:
            raise ValueError(f"x_format must be a float format of at most 15 fraction bits, not {self.x_format}")
        require_power_of_two("chunk_len", self.chunk_len, 4, 4096)
        if self.chunk_len < self.lanes:
            raise ValueError(f"chunk_len must be at least lanes = {self.lanes}, not {self.chunk_len!r}")
        if self.sample_depth != 0 or isinstance(self.sample_depth, bool):
            require_int("sample_depth", self.sample_depth, 4, 16384)
        if self.sample_depth % self.chunk_len:
            raise ValueError(f"sample_depth must be a multiple of chunk_len = {self.chunk_len}, "
                             f"not {self.sample_depth!r}")
        if not isinstance(self.multiplier, Multiplier):
            raise ValueError(f"multiplier must be a Multiplier, not {self.multiplier!r}")
        if self.multiplier is Multiplier.TWO_DIGIT:
            require_int("a_fraction (two-digit multiplier)", self.a_fraction, 2, 8)
        require_int("a_fraction", self.a_fraction, 1, 15)
        require_int("b_fraction", self.b_fraction, 1, 15)
        if isinstance(self.storage, BlockFormat):
            if self.lanes % self.storage.group:
                raise ValueError(f"storage group must divide lanes = {self.lanes}, not {self.storage.group!r}")
        elif not isinstance(self.storage, FloatFormat) or self.storage.fraction_width > 15:
            raise ValueError(f"storage must be a float format of at most 15 fraction bits or a block format, "
                             f"not {self.storage}")
        elif self.storage.code_of_six is None:
            raise ValueError(f"storage must be a format that holds 6.0, not {self.storage}")
        if not isinstance(self.directions, Directions):
            raise ValueError(f"directions must be a Directions, not {self.directions!r}")
        self._check_extraction()
        self._check_algorithm()
        self._check_sample()
        if (not isinstance(self.clock_mhz, (int, float)) or isinstance(self.clock_mhz, bool) or
                not 0.001 <= self.clock_mhz <= 100_000):
            raise ValueError(f"clock_mhz must be a number from 0.001 to 100000, not {self.clock_mhz!r}")

    def _check_extraction(self):
        if not isinstance(self.extraction, Extraction):
            raise ValueError(f"extraction must be an Extraction, not {self.extraction!r}")
        if not self.extracts and self.multiplier is not Multiplier.FULL:
            raise ValueError(f"multiplier must be 'full' with extraction {self.extraction.value!r}, "
                             f"not {self.multiplier.value!r}")

    def _check_algorithm(self):
        if not isinstance(self.algorithm, Algorithm):
            raise ValueError(f"algorithm must be an Algorithm, not {self.algorithm!r}")
        if self.is_one_pass:
            if self.is_block and self.storage.second_largest:
                raise ValueError("second_largest must be false with the one-pass algorithm, not true: "
                                 "clipping can take a value out of the mask that storage has to keep")
            return
        name = self.algorithm.value
        if not self.extracts:
            raise ValueError(f"extraction must be 'constants' with algorithm {name!r}, not {self.extraction.value!r}")
        if self.directions is not Directions.BOTH:
            raise ValueError(f"directions must be 'both' with algorithm {name!r}, not {self.directions.value!r}")
        if self.multiplier is not Multiplier.FULL:
            raise ValueError(f"multiplier must be 'full' with algorithm {name!r}, not {self.multiplier.value!r}")
        if self.is_block and not self.storage.signed:
            raise ValueError(f"storage must be signed blocks or a float format with algorithm {name!r}, "
                             f"not {self.storage}")

    def _check_sample(self):
        if not self.has_statistics and not (self.is_one_pass and self.extracts and
                                            self.directions is Directions.FORWARD):
            raise ValueError("sample_depth must be at least 4 unless directions are 'forward', with algorithm "
                             "'one-pass' and extraction 'constants', not 0")

    def replace(self, **changes):
        """This configuration with ``changes``, checked again."""
        return dataclasses.replace(self, **changes)

    # What follows from the parameters.

    @property
    def is_one_pass(self):
        """Whether this is the product, not a baseline."""
        return self.algorithm is Algorithm.ONE_PASS

    @property
    def extracts(self):
        """Whether the lanes are given extracted constants."""
        return self.extraction is Extraction.CONSTANTS

    @property
    def has_statistics(self):
        """Whether statistics are taken; else all tiles are frozen."""
        return self.sample_depth > 0

    @property
    def has_forward(self):
        """Whether forward tiles are built."""
        return self.directions is not Directions.BACKWARD

    @property
    def has_backward(self):
        """Whether backward tiles are built."""
        return self.directions is not Directions.FORWARD

    @property
    def a_format(self):
        """Of word a of a record: the scale, or gamma."""
        return FloatFormat(WORKING.exponent_width, self.a_fraction) if self.extracts else WORKING

    @property
    def b_format(self):
        """Of word b of a record: the shift, or beta."""
        return FloatFormat(WORKING.exponent_width, self.b_fraction) if self.extracts else WORKING

    @property
    def is_block(self):
        """Whether y is stored as blocks."""
        return isinstance(self.storage, BlockFormat)

    @property
    def gradient_storage(self):
        """The format of dx: that of y, but unsigned blocks become signed ones of the same width."""
        return dataclasses.replace(self.storage, signed=True) if self.is_block else self.storage

    @property
    def n_groups(self):
        """Shared exponents per beat; 0 for float storage."""
        return self.lanes // self.storage.group if self.is_block else 0

    @property
    def element_width(self):
        """Bits of one stored element."""
        return self.storage.element_width if self.is_block else self.storage.width

    # Shapes of the streams (docs/interfaces.md).

    @property
    def n_chunks(self):
        """Chunks that fit in the built sample: S / L, the pairs of positions in a record; of whole channels, 8."""
        return self.sample_depth // self.chunk_len if self.is_one_pass else CHANNEL_CHUNKS

    @property
    def sum_terms(self):
        """Elements that an anchored accumulator adds up at most: a sample or a block of a sum; in baselines a block."""
        return max(self.sample_depth, SUM_BLOCK) if self.is_one_pass else SUM_BLOCK

    @property
    def sample_len_width(self):
        return self.sample_depth.bit_length()

    @property
    def position_width(self):
        """Bits of a chunk-relative position."""
        if self.is_one_pass:
            return self.chunk_len.bit_length() - 1
        return COUNT_WIDTH - (CHANNEL_CHUNKS.bit_length() - 1)

    @property
    def header_words(self):
        """32-bit words of the header of a forward tile."""
        return HEADER_FIXED_WORDS + 2 * self.lanes

    @property
    def positions_per_word(self):
        """Argmax/argmin pairs in a 32-bit record word: 2 of 8+8 bits up to L = 256, else 1 of 16+16 bits."""
        return 2 if self.position_width <= 8 else 1

    @property
    def record_words(self):
        """32-bit words of one channel record."""
        return RECORD_SCALAR_WORDS + -(-self.n_chunks // self.positions_per_word)

    def backward_header_words(self, n_enabled):
        """32-bit words of the header of a backward tile of ``n_enabled`` channels."""
        return HEADER_FIXED_WORDS + n_enabled * self.record_words

    # Files.

    def to_dict(self):
        """Plain data that :meth:`from_dict` reads back; the form of a TOML configuration."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, data):
        """Configuration from plain data; omitted parameters keep their defaults.

        Raises
        ------
        ValueError
            For an unknown parameter, or a value that is not allowed.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                raise ValueError(f"parameter must be one of {', '.join(known)}, not {key!r}")
        values = dict(data)
        for key in ("x_format", "storage"):
            if key in values:
                values[key] = format_from(key, values[key])
        for key, kind in (("multiplier", Multiplier), ("directions", Directions), ("extraction", Extraction),
                          ("algorithm", Algorithm)):
            if key in values:
                try:
                    values[key] = kind(values[key])
                except ValueError:
                    choices = " or ".join(repr(choice.value) for choice in kind)
                    raise ValueError(f"{key} must be {choices}, not {values[key]!r}") from None
        return cls(**values)

    @classmethod
    def from_toml(cls, path):
        """Configuration from a TOML file.

        Raises
        ------
        ValueError
            For a file that is not TOML, and as :meth:`from_dict`.
        OSError
            For a file that cannot be read.
        """
        return cls.from_dict(read_toml(path))


def read_toml(path):
    """The data of a TOML configuration; errors as :meth:`Config.from_toml`."""
    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"configuration file must be TOML: {error}") from None


def plain(value):
    """A parameter as plain data."""
    if isinstance(value, enum.Enum):
        return value.value
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value


def check_table(name, table, known):
    """Raise ValueError unless ``table`` is a dict with keys from ``known``: a table of a TOML configuration."""
    if not isinstance(table, dict):
        raise ValueError(f"{name} must be a table, not {table!r}")
    for key in table:
        if key not in known:
            raise ValueError(f"parameter of {name} must be one of {', '.join(known)}, not {key!r}")


def format_from(key, value):
    """A format from its name or from a table of its parameters."""
    if isinstance(value, str):
        if value not in FLOAT_FORMATS:
            raise ValueError(f"{key} must be one of {', '.join(FLOAT_FORMATS)} or a table, not {value!r}")
        return FLOAT_FORMATS[value]
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be a format name or a table, not {value!r}")
    kind = BlockFormat if "element_width" in value else FloatFormat
    known = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(kind)}
    for name in value:
        if name not in known:
            raise ValueError(f"{key} must have only {', '.join(known)}, not {name!r}")
    for name, required in known.items():
        if required and name not in value:
            raise ValueError(f"{key} must have {name}, not only {', '.join(value) or 'an empty table'}")
    return kind(**value)
