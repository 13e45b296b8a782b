"""The configuration of a systolic array (docs/array.md)."""

import dataclasses
from dataclasses import dataclass

from .config import Config, check_table, format_from, plain, require_identifier, require_power_of_two
from .formats import BF16, WORKING, BlockFormat, FloatFormat, require_int

__all__ = ["ArrayConfig", "ARRAY_OPTIONS"]

ARRAY_OPTIONS = ("operand_fraction", "accumulate_fraction", "depth", "transposes")
"""Parameters of an array in an engine: they do not follow from the core."""


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """A weight-stationary systolic array.

    Parameters
    ----------
    name : str
        Name of the top module: a Verilog identifier.
    rows, columns : int
        Processing elements, 1 to 32 each: elements of a row of A, and of a row of B and C.
    storage : FloatFormat or BlockFormat
        How A and B are stored. A float format has at most 15 fraction bits; blocks are signed, and their group divides
        ``rows`` and ``columns``.
    output : FloatFormat
        Format of C: at most 15 fraction bits.
    operand_fraction : int or None
        Fraction bits of a factor, 1 to 15; None: as many as stored significands have.
    accumulate_fraction : int
        Fraction bits of a partial sum, 1 to 23.
    depth : int
        Rows of a block, whose partial sums the array keeps: a power of two from 4 to 4096, and at least ``rows`` if
        the array transposes.
    transposes : bool
        Whether A may come transposed.
    clock_mhz : float
        As of :class:`.Config`.

    Raises
    ------
    ValueError
        With a message of the form "X must be ..., not Y".
    """

    name: str = "bnforge_array"
    rows: int = 16
    columns: int = 16
    storage: FloatFormat | BlockFormat = BlockFormat(16, 8)
    output: FloatFormat = BF16
    operand_fraction: int | None = None
    accumulate_fraction: int = WORKING.fraction_width
    depth: int = 256
    transposes: bool = True
    clock_mhz: float = 100.0

    def __post_init__(self):
        require_identifier("name", self.name)
        for name in ("rows", "columns"):
            size = getattr(self, name)
            require_int(name, size, 1, 32)
            if isinstance(self.storage, BlockFormat) and size % self.storage.group:
                raise ValueError(f"{name} must be a multiple of the storage group = {self.storage.group}, not {size!r}")
        if isinstance(self.storage, BlockFormat):
            if not self.storage.signed:
                raise ValueError(f"storage must be signed blocks for an array, not {self.storage}")
        elif not isinstance(self.storage, FloatFormat) or self.storage.fraction_width > 15:
            raise ValueError(f"storage must be a float format of at most 15 fraction bits or a block format, "
                             f"not {self.storage}")
        if not isinstance(self.output, FloatFormat) or self.output.fraction_width > 15:
            raise ValueError(f"output must be a float format of at most 15 fraction bits, not {self.output}")
        if self.operand_fraction is not None:
            require_int("operand_fraction", self.operand_fraction, 1, 15)
        require_int("accumulate_fraction", self.accumulate_fraction, 1, 23)
        require_power_of_two("depth", self.depth, 4, 4096)
        if not isinstance(self.transposes, bool):
            raise ValueError(f"transposes must be true or false, not {self.transposes!r}")
        if self.transposes and self.depth < self.rows:
            raise ValueError(f"depth must be at least rows = {self.rows} for an array that transposes, "
                             f"not {self.depth!r}")
        Config(clock_mhz=self.clock_mhz)

    # Files.

    def to_dict(self):
        """Plain data that :meth:`from_dict` reads back: parameters of :class:`.Config`, and a table ``array``."""
        options = {name: getattr(self, name) for name in ("rows", *ARRAY_OPTIONS)}
        return {"name": self.name, "lanes": self.columns, "x_format": plain(self.output),
                "storage": plain(self.storage), "clock_mhz": self.clock_mhz,
                "array": {name: value for name, value in options.items() if value is not None}}

    @classmethod
    def from_dict(cls, data):
        """Configuration from plain data: parameters of :class:`.Config`, of which the array has ``lanes`` as its
        columns, ``storage``, ``x_format`` as its output, and ``clock_mhz``; ``name`` is that of the array. A table
        ``array`` has the others. Omitted parameters keep their defaults, and ``rows`` are as many as lanes.

        Raises
        ------
        ValueError
            For an unknown parameter, or a value that is not allowed.
        """
        values = dict(data)
        name, options = values.pop("name", cls.name), values.pop("array", {})
        check_table("array", options, ("rows", *ARRAY_OPTIONS))
        formats = {to: format_from(key, values.pop(key)) for key, to in (("storage", "storage"), ("x_format", "output"))
                   if key in values}
        core = Config.from_dict(values | {"storage": "bf16"})  # what an array stores need not suit a core
        return cls(**{"rows": core.lanes, **options}, **formats, name=name, columns=core.lanes,
                   clock_mhz=core.clock_mhz)

    @classmethod
    def of(cls, core, **options):
        """The array of an engine around ``core``: ``options`` are the parameters that do not follow from the core.

        It transposes, unless told otherwise, if the core has a backward pass.
        """
        return cls(**{"transposes": core.has_backward, **options}, rows=core.lanes, columns=core.lanes,
                   storage=core.storage, output=core.x_format)

    def replace(self, **changes):
        """This configuration with ``changes``, checked again."""
        return dataclasses.replace(self, **changes)

    @property
    def lanes(self):
        """Channels of a result: the columns."""
        return self.columns

    @property
    def is_block(self):
        """Whether A and B are stored as blocks."""
        return isinstance(self.storage, BlockFormat)

    @property
    def element_width(self):
        """Bits of one stored element."""
        return self.storage.element_width if self.is_block else self.storage.width

    def n_groups(self, elements):
        """Shared exponents of a beat of ``elements`` elements; 0 for float storage."""
        return elements // self.storage.group if self.is_block else 0

    @property
    def operand(self):
        """Format of a factor. Eight exponent bits: no subnormals inside of the array."""
        fraction = self.storage.fraction_width if self.operand_fraction is None else self.operand_fraction
        return FloatFormat(8, fraction)

    @property
    def accumulate(self):
        """Format of a partial sum."""
        return FloatFormat(8, self.accumulate_fraction)
