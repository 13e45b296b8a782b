"""The register table of the engine, as plain data. Everything that says something about registers is made from it."""

import enum
import re
from dataclasses import dataclass

from .. import __version__
from ..config import Algorithm, Multiplier
from ..engine_config import JOB_WORDS

__all__ = ["Access", "Field", "Register", "ADDRESS_WIDTH", "ID", "WATCHDOG_RESET", "registers"]

ADDRESS_WIDTH = 12
"""Bits of a register's byte address."""
ID = int.from_bytes(b"BNF1", "big")
"""What the first register reads."""
WATCHDOG_RESET = 1 << 20
"""Cycles without progress after which a run ends, until software says otherwise."""


class Access(enum.Enum):
    """What software may do with a field."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    PULSE = "pulse"
    """Writing 1 does something, once; reads 0."""
    CLEAR_BY_ONE = "w1c"
    """A flag that hardware sets; writing 1 clears it."""
    EXTERNAL = "rw, external"
    """As READ_WRITE, but stored outside of the register block."""


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Parameters
    ----------
    name : str
        Lower case.
    lsb, width : int
        Place of the lowest bit, number of bits.
    access : Access
    reset : int or None
        Value after reset; None where it depends on the build and the table is that of no build in particular.
    description : str
        For software, without a full stop at its end.
    locked : bool
        A write that reaches the field while the engine is busy is refused as a whole; with PULSE, one that writes 1.
    constant : bool
        Always reads its reset value.
    """

    name: str
    lsb: int
    width: int
    access: Access
    reset: int | None
    description: str
    locked: bool = False
    constant: bool = False

    @property
    def mask(self):
        """The bits of the field in its register."""
        return ((1 << self.width) - 1) << self.lsb

    @property
    def is_writable(self):
        return self.access is not Access.READ_ONLY


@dataclass(frozen=True)
class Register:
    """A 32-bit register.

    Parameters
    ----------
    name : str
        Upper case. The halves of a 64-bit register end in _LOW and _HIGH.
    offset : int
        Byte address.
    description : str
    fields : tuple of Field
        From the lowest bit up. Bits of no field read 0, and what is written to them is ignored.
    """

    name: str
    offset: int
    description: str
    fields: tuple

    @property
    def is_writable(self):
        """Whether a write is answered OKAY at all."""
        return any(field.is_writable for field in self.fields)

    @property
    def reset(self):
        """Value after reset; None where it depends on the build."""
        values = [field.reset for field in self.fields]
        return None if None in values else sum(field.reset << field.lsb for field in self.fields)


def _version():
    return [int(part) for part in re.match(r"(\d+)\.(\d+)\.(\d+)", __version__).groups()]


def _build(config):
    """Values of the fields that depend on the build, register and field to value."""
    core, bus, array = config.core, config.bus, config.array
    storage = core.storage
    major, minor, patch = _version()
    return {
        "VERSION": {"patch": patch, "minor": minor, "major": major},
        "CORE": {"lanes": core.lanes, "forward": int(core.has_forward), "backward": int(core.has_backward),
                 "block": int(core.is_block), "signed": int(not core.is_block or storage.signed),
                 "two_digit": int(core.multiplier is Multiplier.TWO_DIGIT),
                 "a_fraction": core.a_fraction, "b_fraction": core.b_fraction,
                 "algorithm": list(Algorithm).index(core.algorithm)},
        "SAMPLE": {"depth": core.sample_depth, "chunk_log2": core.position_width} if core.is_one_pass else {
            "depth": 0, "chunk_log2": 0},
        "FORMATS": {"x_exponent": core.x_format.exponent_width, "x_fraction": core.x_format.fraction_width,
                    "exponent": storage.exponent_width, "element": core.element_width,
                    "group": storage.group if core.is_block else 0},
        "BUS": {"bytes_log2": bus.offset_width, "address_width": bus.address_width,
                "burst_log2": bus.max_burst.bit_length() - 1, "outstanding": bus.outstanding},
        "BEATS": {"operand_bytes": config.operand_bytes(core.lanes), "stored_bytes": config.stored_bytes(core.lanes),
                  "record_words": core.record_words if core.is_one_pass else 0},
        "ARRAY": {"rows": 0, "depth_log2": 0, "operand_fraction": 0, "accumulate_fraction": 0, "transposes": 0}
        if array is None else {
            "rows": array.rows, "depth_log2": array.depth.bit_length() - 1,
            "operand_fraction": array.operand.fraction_width, "accumulate_fraction": array.accumulate_fraction,
            "transposes": int(array.transposes)},
    }


def _build_registers(config):
    values = None if config is None else _build(config)

    def register(name, offset, description, *fields):
        return Register(name, offset, description, tuple(
            Field(field, lsb, width, Access.READ_ONLY, values and values[name][field], text, constant=True)
            for field, lsb, width, text in fields))

    return [
        Register("ID", 0x000, "The letters BNF1: this is an engine of bnforge", (
            Field("id", 0, 32, Access.READ_ONLY, ID, "always this value", constant=True),)),
        register("VERSION", 0x004, "Version of the generator",
                 ("patch", 0, 16, "third number"), ("minor", 16, 8, "second number"),
                 ("major", 24, 8, "first number")),
        register("CORE", 0x008, "What the core can do",
                 ("lanes", 0, 6, "channels side by side"), ("forward", 8, 1, "forward tiles are built"),
                 ("backward", 9, 1, "backward tiles are built"), ("block", 10, 1, "y is stored in blocks"),
                 ("signed", 11, 1, "elements of y have a sign; those of dx always do"),
                 ("two_digit", 12, 1, "a is rounded to two digits"),
                 ("a_fraction", 16, 4, "fraction bits of a"), ("b_fraction", 20, 4, "fraction bits of b"),
                 ("algorithm", 24, 2, "0 one-pass; baselines: 1 range, 2 single-pass, 3 two-pass")),
        register("SAMPLE", 0x00C, "The sample",
                 ("depth", 0, 16, "S, beats of the longest sample"), ("chunk_log2", 16, 4, "log2 of the chunk L")),
        register("FORMATS", 0x010, "Number formats",
                 ("x_exponent", 0, 4, "exponent bits of x and dy"), ("x_fraction", 4, 4, "fraction bits of x and dy"),
                 ("exponent", 8, 4, "exponent bits of y and dx, of an element or of a block"),
                 ("element", 12, 5, "bits of an element of y and dx"),
                 ("group", 17, 6, "elements of a block; 0: y is not stored in blocks")),
        register("BUS", 0x014, "The AXI4 manager port",
                 ("bytes_log2", 0, 4, "log2 of the bytes of a beat"), ("address_width", 8, 7, "bits of an address"),
                 ("burst_log2", 16, 4, "log2 of the beats of the longest burst"),
                 ("outstanding", 24, 8, "bursts that may wait for their answer, in each direction")),
        register("BEATS", 0x018, "Shapes in memory",
                 ("operand_bytes", 0, 8, "bytes of a position of a full tile of x or dy"),
                 ("stored_bytes", 8, 8, "bytes of a position of a full tile of y or dx"),
                 ("record_words", 16, 16, "32-bit words of a channel record")),
        register("ARRAY", 0x01C, "The systolic array; 0: there is none",
                 ("rows", 0, 6, "rows and columns"), ("depth_log2", 8, 4, "log2 of the rows of the longest block"),
                 ("operand_fraction", 16, 4, "fraction bits of a factor"),
                 ("accumulate_fraction", 20, 5, "fraction bits of a partial sum"),
                 ("transposes", 25, 1, "activations may come transposed")),
    ]


def _control_registers():
    def flag(name, bit, text):
        return Field(name, bit, 1, Access.CLEAR_BY_ONE, 0, text)

    return [
        Register("CONTROL", 0x020, "Commands; they may be given at any time, but for start", (
            Field("start", 0, 1, Access.PULSE, 0, "run the job in JOB0 and on, and those it is chained to; clears "
                  "done, error, CAUSE, ERROR_ADDRESS and the counters", locked=True),
            Field("abort", 1, 1, Access.PULSE, 0, "end the run with cause ABORTED; nothing while idle"),
            Field("reset", 2, 1, Access.PULSE, 0, "end the bursts on the bus, then put the engine and all registers in "
                  "their reset state"))),
        Register("IRQ_ENABLE", 0x024, "Events that raise the interrupt for as long as their flag is set", (
            Field("done", 0, 1, Access.READ_WRITE, 0, "STATUS.done"),
            Field("error", 1, 1, Access.READ_WRITE, 0, "STATUS.error"))),
        Register("STATUS", 0x028, "State and events", (
            Field("busy", 0, 1, Access.READ_ONLY, 0, "a run is going on"),
            Field("draining", 1, 1, Access.READ_ONLY, 0, "the run has ended early; bursts on the bus are being ended"),
            flag("done", 4, "the last job has ended and all it wrote is answered"),
            flag("error", 5, "the run has ended early: CAUSE says why"),
            flag("nan", 8, "a NaN or a reserved exponent came in; it counted as 0"),
            flag("infinity", 9, "an infinity came in; it counted as the largest finite value"),
            flag("saturated", 10, "a rounding or a block exponent saturated"),
            flag("refused", 12, "an access to the registers was refused"))),
        Register("CAUSE", 0x02C, "The first error of the run", (
            Field("code", 0, 8, Access.READ_ONLY, 0, "what happened; 0: nothing"),
            Field("channel", 8, 4, Access.READ_ONLY, 0, "to which channel; 15: to none"))),
        *_wide("ERROR_ADDRESS", 0x030, "address", "Where the first error of the run was"),
        Register("WATCHDOG", 0x038, "Limit of waiting", (
            Field("cycles", 0, 32, Access.READ_WRITE, WATCHDOG_RESET, "cycles without an answer or without progress "
                  "after which a run ends; 0: it waits for ever", locked=True),)),
    ]


def _wide(name, offset, field, description):
    """Two registers of 64 read-only bits."""
    return [Register(f"{name}_{half}", offset + 4 * i, f"{description}, {text} half", (
        Field(field, 0, 32, Access.READ_ONLY, 0, f"bits {32 * i + 31}:{32 * i}"),))
            for i, (half, text) in enumerate([("LOW", "low"), ("HIGH", "high")])]


def _job_registers():
    def text(i):
        if i < 2:
            return f"address of the next job, {('low', 'high')[i]} half; 0: none"
        if i < 4:
            return ("channels used: bit i is channel i; those of an array only in jobs in memory", "0")[i - 2]
        return f"address of the program of channel {(i - 4) // 2}, {('low', 'high')[i % 2]} half"

    return [Register(f"JOB{i}", 0x040 + 4 * i, f"Word {i} of the job", (
        Field("word", 0, 32, Access.EXTERNAL, 0, text(i), locked=True),)) for i in range(JOB_WORDS)]


def _counters():
    def counter(name, offset, description):
        return Register(name, offset, description, (Field("count", 0, 32, Access.READ_ONLY, 0, "since START"),))

    return [
        *_wide("CYCLES", 0x080, "count", "Cycles that the engine was busy"),
        *_wide("BYTES_READ", 0x088, "count", "Bytes of the bus beats read"),
        *_wide("BYTES_WRITTEN", 0x090, "count", "Bytes of the bus beats written and acknowledged"),
        counter("READ_WAIT", 0x098, "Cycles with a read outstanding and no RVALID"),
        counter("WRITE_WAIT", 0x09C, "Cycles with WVALID and not WREADY"),
        counter("INPUT_BEATS", 0x0A0, "Operand beats that the core took"),
        counter("INPUT_STALLS", 0x0A4, "Cycles that an operand beat waited for the core"),
        counter("OUTPUT_BEATS", 0x0A8, "Result beats taken from the core"),
        counter("OUTPUT_STALLS", 0x0AC, "Cycles that a result beat waited for the bus"),
        counter("JOBS", 0x0B0, "Jobs that have ended"),
        counter("RESULT_TILES", 0x0B4, "Tiles of results that memory has acknowledged"),
        counter("RECORD_TILES", 0x0B8, "Tiles of records that memory has acknowledged"),
    ]


def registers(config=None):
    """The registers of an engine, in the order of their offsets.

    Parameters
    ----------
    config : EngineConfig, optional
        Without one, reset values that depend on the build are None; nothing else depends on it.

    Returns
    -------
    tuple of Register
    """
    return (*_build_registers(config), *_control_registers(), *_job_registers(), *_counters())
