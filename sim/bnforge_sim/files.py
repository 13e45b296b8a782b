"""What goes into the bench and what comes out: segments of tiles, and their binary files.

A file is a sequence of little-endian 32-bit words and byte arrays. Stimulus: magic, seed, number of segments; per
segment seed, number of header words, of beats, of beats of y, of the gradient, of expected output beats, of expected
record words, stop cycle (0: none), drain, idle limit; per port the stall probability · 2^32, the longest stall, 1 for
ready after valid; header words, their TLAST bytes, their waits; beats, TLAST bytes, waits; beats of y (data, user),
TLAST bytes, waits; the same of the gradient. Result, per segment: magic, state, rule, port, cycles, status, status
after a clear, items taken on each port, status changes; the cycle of each transfer on each port; (cycle, status) pairs;
output beats (data, user, last), record words (word, last).
"""

import enum
from dataclasses import dataclass, field

import numpy as np

from bnforge.sweeps.words import reads_gradient
from bnforge_model.words import pack_beats, unpack_beats

__all__ = ["Stall", "Stalls", "Segment", "State", "Rule", "Outcome", "write_stimulus", "read_outcomes"]

MAGIC = 0x31464E42
PORTS = ("header", "data", "y", "gradient", "output", "record")
"""The streams, in the order of the files."""


@dataclass(frozen=True)
class Stall:
    """How one port stalls: outside a stall each cycle starts one with ``probability``, of 1 … ``longest`` cycles.

    ``after_valid`` (outputs only) raises TREADY only in answer to TVALID, within the cycle, which is legal, and checks
    that TVALID does not depend on it.
    """

    probability: float = 0.0
    longest: int = 1
    after_valid: bool = False

    def __post_init__(self):
        if not 0 <= self.probability < 1:
            raise ValueError(f"probability must be from 0 to below 1, not {self.probability!r}")
        if self.longest < 1:
            raise ValueError(f"longest must be at least 1, not {self.longest!r}")


@dataclass(frozen=True)
class Stalls:
    """The stalls of the streams."""

    header: Stall = Stall()
    data: Stall = Stall()
    y: Stall = Stall()
    output: Stall = Stall()
    record: Stall = Stall()
    gradient: Stall = Stall()


@dataclass
class Segment:
    """One stretch of simulation: a reset, then tiles back to back.

    Parameters
    ----------
    header : uint32 array, shape (words,)
    header_last : bool array, shape (words,)
    beats : uint32 array, shape (beats, lanes)
        Codes of x, or of dy in backward tiles.
    last : bool array, shape (beats,)
    n_out, n_rec : int
        Output beats and record words after which the segment is complete.
    stalls : Stalls
    seed : int
        Of the stalls and of the garbage on idle inputs.
    y : uint32 array, shape (y beats, lanes), optional
        Stored elements on ``s_axis_y``, as on ``m_axis``: the beats of all backward tiles.
    y_exponents : uint32 array, shape (y beats, n_groups), optional
        Only with block storage.
    y_last : bool array, shape (y beats,), optional
    gradient, gradient_exponents, gradient_last : arrays, optional
        The same of ``s_axis_g``, which only baselines have.
    header_wait, wait, y_wait, gradient_wait : uint32 arrays
        Idle cycles before each header word and each beat, counted from when the previous one was taken. Default: none.
    stop_cycle : int or None
        Stop there, whatever has come.
    drain : int
        Cycles to go on after completion, in which surplus output would show.
    idle_limit : int
        Cycles without any transfer after which the segment ends as :attr:`State.IDLE`.
    """

    header: np.ndarray
    header_last: np.ndarray
    beats: np.ndarray
    last: np.ndarray
    n_out: int
    n_rec: int
    stalls: Stalls = Stalls()
    seed: int = 0
    y: np.ndarray | None = None
    y_exponents: np.ndarray | None = None
    y_last: np.ndarray | None = None
    gradient: np.ndarray | None = None
    gradient_exponents: np.ndarray | None = None
    gradient_last: np.ndarray | None = None
    header_wait: np.ndarray | None = None
    wait: np.ndarray | None = None
    y_wait: np.ndarray | None = None
    gradient_wait: np.ndarray | None = None
    stop_cycle: int | None = None
    drain: int = 40
    idle_limit: int = 20000


class State(enum.IntEnum):
    """How a segment ended."""

    FINISHED = 0
    STOPPED = 1
    IDLE = 2
    VIOLATION = 3


class Rule(enum.IntEnum):
    """The stream rule that an output port broke."""

    NONE = 0
    VALID_DROPPED = 1
    PAYLOAD_CHANGED = 2
    VALID_IN_RESET = 3
    VALID_WAITS_FOR_READY = 4


@dataclass
class Outcome:
    """What came out of one segment. ``cycles`` and all cycle numbers count from the end of the reset.

    Attributes
    ----------
    state : State
    rule : Rule
        With :attr:`State.VIOLATION`: what was broken, on ``port``.
    port : str
    cycles : int
        Cycles simulated.
    status, cleared : int
        The status flags at the end, and after one pulse of ``status_clear``.
    status_log : int array, shape (changes, 2)
        Cycle and new value of each change.
    header_cycles, data_cycles, y_cycles, gradient_cycles, output_cycles, record_cycles : int arrays
        Cycle of each transfer.
    elements : uint32 array, shape (beats, lanes)
    exponents : uint32 array, shape (beats, n_groups), or None for float storage
    last : bool array, shape (beats,)
    records : uint32 array, shape (words,)
    record_last : bool array, shape (words,)
    """

    state: State
    rule: Rule
    port: str
    cycles: int
    status: int
    cleared: int
    status_log: np.ndarray = field(repr=False)
    header_cycles: np.ndarray = field(repr=False)
    data_cycles: np.ndarray = field(repr=False)
    y_cycles: np.ndarray = field(repr=False)
    gradient_cycles: np.ndarray = field(repr=False)
    output_cycles: np.ndarray = field(repr=False)
    record_cycles: np.ndarray = field(repr=False)
    elements: np.ndarray = field(repr=False)
    exponents: np.ndarray | None = field(repr=False)
    last: np.ndarray = field(repr=False)
    records: np.ndarray = field(repr=False)
    record_last: np.ndarray = field(repr=False)


def write_stimulus(file, config, segments, seed=0):
    """Write ``segments`` to the binary file object ``file``; ``seed`` sets the registers' state before reset."""
    def words(*values):
        file.write(np.array(values, dtype="<u4").tobytes())

    words(MAGIC, seed & 0xFFFFFFFF, len(segments))
    for item in segments:
        rng = np.random.default_rng(item.seed)
        y, y_last = _stored_beats(config, "y", config.has_backward, item, rng)
        gradient, gradient_last = _stored_beats(config, "gradient", reads_gradient(config), item, rng)
        words(item.seed & 0xFFFFFFFF, len(item.header), len(item.beats), len(y), len(gradient), item.n_out, item.n_rec,
              item.stop_cycle or 0, item.drain, item.idle_limit)
        for port in PORTS:
            stall = getattr(item.stalls, port)
            words(int(stall.probability * 2**32), stall.longest, stall.after_valid)
        for payload, last, wait in (
            (np.asarray(item.header, dtype="<u4"), item.header_last, item.header_wait),
            (_padded_beats(item.beats, config.x_format.width, rng), item.last, item.wait),
            (y, y_last, item.y_wait),
            (gradient, gradient_last, item.gradient_wait),
        ):
            lengths = len(payload), len(last), len(payload if wait is None else wait)
            if len(set(lengths)) > 1:
                raise ValueError("payload, last and wait must have one length, not {}, {} and {}".format(*lengths))
            file.write(payload.tobytes())
            file.write(np.asarray(last, dtype=np.uint8).tobytes())
            file.write(np.zeros(len(payload), "<u4").tobytes() if wait is None else np.asarray(wait, "<u4").tobytes())


def _padded_beats(codes, width, rng):
    """Beats as bytes, with garbage in the pad bits: these are not read."""
    beats = pack_beats(codes, width)
    used = codes.shape[1] * width % 8
    if used:
        beats[:, -1] |= rng.integers(1 << (8 - used), size=len(beats), dtype=np.uint8) << np.uint8(used)
    return beats


def _stored_beats(config, port, exists, item, rng):
    """The beats of y or of the gradient as bytes, TDATA and TUSER side by side, and their TLAST bits."""
    elements = getattr(item, port)
    if elements is None or not len(elements):
        return np.zeros((0, 0), dtype=np.uint8), np.zeros(0, dtype=bool)
    if not exists:
        raise ValueError(f"{port} must be empty in a core that does not read it, not {len(elements)} beats")
    parts = [_padded_beats(elements, config.element_width, rng)]
    if config.is_block:
        parts.append(pack_beats(getattr(item, f"{port}_exponents"), config.storage.exponent_width))
    return np.concatenate(parts, axis=1), getattr(item, f"{port}_last")


def read_outcomes(file, config):
    """The outcomes in the binary file object ``file``: list of :class:`Outcome`."""
    data = file.read()
    outcomes, position = [], 0
    out_bytes = -(-config.lanes * config.element_width // 8)
    user_bytes = -(-config.n_groups * config.storage.exponent_width // 8) if config.is_block else 0

    def take(dtype, count, columns=None):
        nonlocal position
        values = np.frombuffer(data, dtype, count * (columns or 1), position)
        position += values.nbytes
        return values.reshape(count, columns) if columns else values

    while position < len(data):
        (magic, state, rule, port, cycles, status, cleared, *counts, n_changes) = take("<u4", 8 + len(PORTS)).tolist()
        if magic != MAGIC:
            raise ValueError("result must be a file written by the bench")
        transfers = [take("<u4", count).astype(np.int64) for count in counts]
        status_log = take("<u4", n_changes, 2).astype(np.int64)
        beats = take(np.uint8, counts[PORTS.index("output")], out_bytes + user_bytes + 1)
        words = take(np.uint8, counts[PORTS.index("record")], 5)
        exponents = None
        if user_bytes:
            user = beats[:, out_bytes:out_bytes + user_bytes]
            exponents = unpack_beats(user, config.n_groups, config.storage.exponent_width)
        outcomes.append(Outcome(
            State(state), Rule(rule), PORTS[port], cycles, status, cleared, status_log, *transfers,
            unpack_beats(beats[:, :out_bytes], config.lanes, config.element_width), exponents,
            beats[:, -1].astype(bool), np.ascontiguousarray(words[:, :4]).view("<u4").reshape(-1),
            words[:, 4].astype(bool)))
    return outcomes
