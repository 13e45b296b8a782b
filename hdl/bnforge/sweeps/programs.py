"""The programs of the serial unit: "Constants" of docs/baselines.md, line by line, for one accumulator.

Plain data: no Amaranth here. Every instruction ends with the accumulator cut to 24 significant bits. Only LOAD reads
from outside; other operands are registers.
"""

import enum
from dataclasses import dataclass

from ..config import Algorithm
from .words import Sweep, has_sums, param_words, record_words, sweeps_of

__all__ = ["Op", "Source", "Format", "Instruction", "Register", "LEAST_SCALE_LOG2", "INDEX_WIDTH", "Programs"]


class Op(enum.IntEnum):
    """What an instruction does to the accumulator."""

    LOAD = 0
    """From a source, or a register."""
    MULTIPLY = 1
    ADD = 2
    DIVIDE = 3
    """By the operand; 0 where that is 0."""
    ROOT = 4
    """The square root, 0 of what is negative; no operand."""
    ROUND = 5
    """Rounded to a format, and sent to a word of the record; no operand."""
    GREATER = 6
    """The greater magnitude, with the sign of the accumulator."""
    ZERO_IF = 7
    """0 where the operand is 0."""
    CLIP = 8
    """0 where the accumulator is negative; no operand."""
    END = 9
    """Of the prologue, or of a lane."""


class Source(enum.IntEnum):
    """What can be loaded."""

    REGISTER = 0
    PARAM = 1
    EPS = 2
    C = 3
    FIRST = 4
    SECOND = 5
    RANGE = 6
    COUNT = 7
    CHUNKS = 8
    ONE = 9
    LEAST = 10
    """The least gamma', 2^LEAST_SCALE_LOG2."""
    STEP = 11
    """2^-(M + 1), half a step of the storage at 1."""


class Format(enum.IntEnum):
    """What a number is rounded to."""

    A = 0
    B = 1
    WORKING = 2
    FP32 = 3


LEAST_SCALE_LOG2 = -6

class Register(enum.IntEnum):
    """Numbers that are kept: for the tile, P words, and what is computed."""

    INV_N = 0
    EPS = 1
    A = 2
    GAMMA = 2
    B = 3
    BETA = 3
    MU = 4
    RECIPROCAL = 5
    """1 / deviation, or 1 / R."""
    MEAN_TERM = 6
    """-a·S1/n."""
    DIFFERENCE = 7
    """p, and what else is soon used."""
    SUM = 8
    """S1."""
    INV_CHUNKS = 9
    C = 10
    LEAST = 11
    RANGE = 12
    """R; T."""
    FLOOR = 13
    """beta'; the floor of gamma'; gamma'."""


INDEX_WIDTH = 4
"""Bits of the number of a register, of a P word or of a word of a record."""


@dataclass(frozen=True)
class Instruction:
    """One step.

    Parameters
    ----------
    op : Op
    source : Source or Format
        Of what is loaded; the format of a rounding.
    index : int
        Number of the register or parameter that is read, or of the word of the record; of an end, lanes to move on.
    negative : bool
        What is read is taken with the other sign.
    target : Register, optional
        What keeps the result.
    """

    op: Op
    source: Source | Format = Source.REGISTER
    index: int = 0
    negative: bool = False
    target: Register | None = None


class _Writer:
    """Instructions with the names of the words of a sweep."""

    def __init__(self, config, sweep):
        self.params = param_words(config, sweep)
        self.words = record_words(config, sweep)

    def load(self, what, keep=None, *, negative=False):
        """``what``: a source, a register, or the name of a parameter."""
        if isinstance(what, Source):
            return Instruction(Op.LOAD, what, 0, negative, keep)
        if isinstance(what, Register):
            return Instruction(Op.LOAD, Source.REGISTER, what, negative, keep)
        return Instruction(Op.LOAD, Source.PARAM, self.params.index(what), negative, keep)

    def times(self, register, keep=None, *, negative=False):
        return Instruction(Op.MULTIPLY, index=register, negative=negative, target=keep)

    def plus(self, register, keep=None):
        return Instruction(Op.ADD, index=register, target=keep)

    def over(self, register, keep=None):
        return Instruction(Op.DIVIDE, index=register, target=keep)

    def round(self, fmt, word, keep=None):
        return Instruction(Op.ROUND, fmt, self.words.index(word), target=keep)

    def reciprocal(self, register, keep=None):
        """1 / register."""
        return [self.load(Source.ONE), self.over(register, keep)]


def _affine(w):
    """a from the accumulator, b = beta - mu·a."""
    return [w.round(Format.A, "a"), w.times(Register.MU, negative=True), w.plus(Register.BETA), w.round(Format.B, "b")]


def _load_affine(w):
    return [w.load("gamma", Register.GAMMA), w.load("beta", Register.BETA)]


def _mean(w):
    return [w.load(Source.FIRST), w.times(Register.INV_N), w.round(Format.WORKING, "mu", Register.MU)]


def _deviation(w):
    """1 / sqrt(v + eps) and a, before its rounding, from v."""
    return [w.plus(Register.EPS), Instruction(Op.ROOT, target=Register.DIFFERENCE),
            *w.reciprocal(Register.DIFFERENCE), w.round(Format.WORKING, "rstd"), w.times(Register.GAMMA)]


def _collect_single_pass(w):
    return [*_load_affine(w), *_mean(w), w.times(Register.MU, Register.DIFFERENCE, negative=True),
            w.load(Source.SECOND), w.times(Register.INV_N), w.plus(Register.DIFFERENCE), Instruction(Op.CLIP),
            *_deviation(w), *_affine(w)]


def _variance(w):
    return [*_load_affine(w), w.load("mu"), w.round(Format.WORKING, "mu", Register.MU), w.load(Source.SECOND),
            w.times(Register.INV_N), *_deviation(w), *_affine(w)]


def _collect_range(w):
    return [*_load_affine(w), *_mean(w), w.load(Source.RANGE), w.times(Register.INV_CHUNKS),
            w.round(Format.WORKING, "r", Register.RANGE), w.plus(Register.EPS, Register.DIFFERENCE),
            *w.reciprocal(Register.DIFFERENCE), Instruction(Op.ZERO_IF, index=Register.RANGE),
            w.round(Format.WORKING, "rinv"), w.times(Register.GAMMA), w.over(Register.C), *_affine(w)]


def _mean_term(w):
    """dbeta; -a·S1/n."""
    return [w.load("a", Register.A), w.load(Source.FIRST, Register.SUM), w.round(Format.FP32, "dbeta"),
            w.load(Register.SUM), w.times(Register.INV_N), w.times(Register.A, Register.MEAN_TERM, negative=True)]


def _sums_variance(w, centred):
    """p is S2 - mu·S1, or S2 where the products have been centred."""
    params = [w.load("rstd", Register.RECIPROCAL)] + ([] if centred else [w.load("mu", Register.MU)])
    p = [w.load(Source.SECOND)] if centred else [
        w.times(Register.SUM, Register.DIFFERENCE, negative=True), w.load(Source.SECOND), w.plus(Register.DIFFERENCE)]
    p += [w.times(Register.RECIPROCAL, Register.DIFFERENCE), w.round(Format.WORKING, "dgamma")]
    slope = [w.load(Register.DIFFERENCE), w.times(Register.INV_N, Register.DIFFERENCE),
             w.load(Register.A, negative=True), w.times(Register.RECIPROCAL), w.times(Register.DIFFERENCE),
             w.round(Format.A, "e")]
    shift = [w.load(Register.MEAN_TERM)] if centred else [
        w.times(Register.MU, negative=True), w.plus(Register.MEAN_TERM)]
    return [*_mean_term(w), *params, *p, *slope, *shift, w.round(Format.B, "c")]


def _sums_range(w):
    params = [w.load("b", Register.B), w.load("rinv", Register.RECIPROCAL), w.load("r", Register.RANGE)]
    scale = [w.load(Register.EPS), w.plus(Register.RANGE), w.times(Register.C),
             w.times(Register.A), Instruction(Op.GREATER, index=Register.LEAST, target=Register.RANGE)]
    centre = [w.load("mu"), w.times(Register.A), w.plus(Register.B, Register.FLOOR)]
    p = [w.times(Register.SUM, Register.DIFFERENCE, negative=True), w.load(Source.SECOND),
         w.plus(Register.DIFFERENCE, Register.DIFFERENCE)]
    floor = [w.load(Source.STEP), w.times(Register.FLOOR, Register.FLOOR), w.load(Register.RANGE),
             Instruction(Op.GREATER, index=Register.FLOOR, target=Register.FLOOR)]
    dgamma = [w.load(Register.DIFFERENCE), w.over(Register.FLOOR), Instruction(Op.ZERO_IF, index=Register.A),
              w.round(Format.WORKING, "dgamma")]
    term = [w.load(Register.DIFFERENCE), w.times(Register.RECIPROCAL),
            w.times(Register.INV_CHUNKS, Register.RANGE, negative=True)]
    addends = [w.plus(Register.MEAN_TERM), w.round(Format.B, "plus"), w.load(Register.RANGE, negative=True),
               w.plus(Register.MEAN_TERM), w.round(Format.B, "minus")]
    return [*_mean_term(w), w.round(Format.B, "base"), *params, *scale, *centre, *p, *floor, *dgamma, *term, *addends]


def _lane_program(config, sweep):
    w = _Writer(config, sweep)
    is_range, centred = (config.algorithm is kind for kind in (Algorithm.RANGE, Algorithm.TWO_PASS))
    if sweep is Sweep.SUMS:
        return _sums_range(w) if is_range else _sums_variance(w, centred)
    if sweep is Sweep.VARIANCE:
        return _variance(w)
    return _mean(w) if centred else _collect_range(w) if is_range else _collect_single_pass(w)


def _prologue(config):
    """What is the same for all lanes: eps, 1/n, and with range statistics C and 1/K."""
    w = _Writer(config, sweeps_of(config)[0])
    steps = [w.load(Source.EPS, Register.EPS), w.load(Source.COUNT, Register.INV_N),
             *w.reciprocal(Register.INV_N, Register.INV_N)]
    if config.algorithm is Algorithm.RANGE:
        steps += [w.load(Source.C, Register.C), w.load(Source.LEAST, Register.LEAST),
                  w.load(Source.CHUNKS, Register.INV_CHUNKS),
                  *w.reciprocal(Register.INV_CHUNKS, Register.INV_CHUNKS)]
    return steps


class Programs:
    """All programs of the algorithm of ``config``.

    Attributes
    ----------
    code : tuple of Instruction
        The prologue from address 0 on, then the programs of a lane, each with its end.
    starts : dict
        Address of the program of each sweep that takes sums.
    """

    def __init__(self, config):
        code = [*_prologue(config), Instruction(Op.END)]
        self.starts = {}
        for sweep in sweeps_of(config):
            if has_sums(config, sweep):
                self.starts[sweep] = len(code)
                code += [*_lane_program(config, sweep), Instruction(Op.END, index=1)]
        self.code = tuple(code)

    def part(self, address):
        """The instructions from ``address`` up to the next end, without it."""
        end = next(at for at in range(address, len(self.code)) if self.code[at].op is Op.END)
        return self.code[address:end]

    @property
    def ops(self):
        return {step.op for step in self.code}

    @property
    def sources(self):
        """All sources of what is loaded."""
        return {step.source for step in self.code if step.op is Op.LOAD}

    @property
    def n_registers(self):
        return 1 + max(step.target for step in self.code if step.target is not None)
