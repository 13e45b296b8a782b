"""The cores of the baselines, generated, compiled and driven with random sweeps: bit-exact with the model."""

from dataclasses import replace

import numpy as np
import pytest

from bnforge.config import Activation, Algorithm, Config
from bnforge.formats import BF16, E4M3, E5M2, FP10, FP10_1_6_3, FP16, WORKING, BlockFormat
from bnforge.sweeps.words import Sweep, fixed_words, param_words, streams
from bnforge_sim import Simulator, compare
from bnforge_sim.files import Stall, Stalls, State
from bnforge_sim.pairwise import pairwise, uncovered
from bnforge_sim.sweep_stimulus import random_sweep_segment, random_sweeps, sweep_axes
from bnforge_sim.sweep_tiles import sweep_segment, sweep_words

RANGE, SINGLE, TWO = Algorithm.RANGE, Algorithm.SINGLE_PASS, Algorithm.TWO_PASS
RANGE_CORE = Config(name="range_second_largest", algorithm=RANGE, lanes=3, x_format=FP10,
                    storage=BlockFormat(3, 6, 5, second_largest=True))
SINGLE_CORE = Config(name="single_pass_blocks", algorithm=SINGLE, lanes=1, storage=BlockFormat(1, 8))
TWO_CORE = Config(name="two_pass_bf16", algorithm=TWO, lanes=1, storage=BF16)
MORE = [
    {"name": "blocks_16", "lanes": 16},
    {"name": "second_largest", "lanes": 4, "x_format": FP10, "storage": BlockFormat(4, 6, 5, second_largest=True)},
    {"name": "bf16", "lanes": 2, "storage": BF16},
    {"name": "fp16", "lanes": 1, "x_format": FP16, "storage": FP16, "a_fraction": 10, "b_fraction": 10},
    {"name": "widest", "lanes": 3, "x_format": WORKING, "storage": BlockFormat(3, 12, 4), "a_fraction": 15,
     "b_fraction": 15},
    {"name": "narrow", "lanes": 1, "x_format": E5M2, "storage": WORKING, "a_fraction": 1, "b_fraction": 1},
    {"name": "five_lanes", "lanes": 5, "x_format": FP10_1_6_3, "storage": E4M3},
    {"name": "three_of_five", "lanes": 10, "storage": BlockFormat(5, 4, 5, second_largest=True)},
]
"""Only with --all-engines."""
PER_SEGMENT = 4
REFUSED, MISFRAMED, UNEQUAL = 8, 16, 32
MINUS_ONE, NAN = 0xBF800000, 0x7FC00000


def assert_equals_model(config, seed, count=None):
    """All of a pairwise covering array or its first cases, a few after one reset."""
    rng = np.random.default_rng(seed)
    cases = pairwise(sweep_axes(config), rng)
    assert not uncovered(sweep_axes(config), cases)
    cases = cases[:count]
    groups = [cases[first:first + PER_SEGMENT] for first in range(0, len(cases), PER_SEGMENT)]
    pairs = [random_sweep_segment(config, group, rng) for group in groups]
    outcomes = Simulator(config).run_segments([segment for _, segment in pairs], seed=seed)
    results = [compare(config, tiles, outcome) for (tiles, _), outcome in zip(pairs, outcomes, strict=True)]
    assert [f"{group}: {message}" for group, result in zip(groups, results) for message in result.messages] == []
    assert sum(result.elements for result in results) > 10_000


@pytest.mark.parametrize("config", [RANGE_CORE, SINGLE_CORE, TWO_CORE], ids=lambda config: config.name)
def test_core_equals_model(config, seed):
    assert_equals_model(config, seed, 32)


@pytest.mark.parametrize("options", MORE, ids=lambda options: options["name"])
@pytest.mark.parametrize("algorithm", [RANGE, SINGLE, TWO], ids=lambda algorithm: algorithm.value)
def test_more_cores_equal_model(algorithm, options, seed):
    name = f"{algorithm.name.lower()}_{options['name']}"
    assert_equals_model(Config(algorithm=algorithm, **options | {"name": name}), seed)


PLAIN = {"activation": Activation.RELU, "length": "n to 64", "stalls": "none", "inputs": "normal", "gradient": "normal",
         "gamma": "positive", "eps": "default", "mask": "full", "stored": "forward", "params": "chain"}


def plain_sweeps(config, rng, n_at_least=16):
    while True:
        tiles = random_sweeps(config, PLAIN, rng)
        if tiles[0].n >= n_at_least:
            return tiles


def word_is(index, value):
    def change(words, last):
        words[index] = value
    return change


def plus(index, value):
    def change(words, last):
        words[index] = (int(words[index]) + value) % 2**32
    return change


def last_at(index):
    def change(words, last):
        last[:] = False
        if index is not None:
            last[index] = True
    return change


def param(config, sweep, name, lane=0):
    """Where a P word stands."""
    names = param_words(config, sweep)
    return fixed_words(config) + lane * len(names) + names.index(name)


BAD_HEADERS = [
    *[(f"sweep {code}", RANGE_CORE, Sweep.NORMALISE, word_is(0, code), REFUSED) for code in (1, 3, 6, 7)],
    ("variance", SINGLE_CORE, Sweep.NORMALISE, word_is(0, 1), REFUSED),
    ("activation 3", RANGE_CORE, Sweep.NORMALISE, word_is(0, 2 | 3 << 3), REFUSED),
    ("relu6 of single pass", SINGLE_CORE, Sweep.NORMALISE, word_is(0, 2 | 2 << 3), REFUSED),
    ("relu6 of two passes, copy", TWO_CORE, Sweep.COPY, word_is(0, 3 | 2 << 3), REFUSED),
    ("bit 5", RANGE_CORE, Sweep.SUMS, plus(0, 1 << 5), REFUSED),
    ("bit 31", RANGE_CORE, Sweep.COLLECT, plus(0, 1 << 31), REFUSED),
    ("n 0", TWO_CORE, Sweep.COPY, word_is(1, 0), REFUSED),
    ("n 2^20", TWO_CORE, Sweep.COPY, word_is(1, 1 << 20), REFUSED),
    ("eps negative", SINGLE_CORE, Sweep.GRADIENT, word_is(2, MINUS_ONE), REFUSED),
    ("no lane", RANGE_CORE, Sweep.SUMS, word_is(3, 0), REFUSED),
    ("lane not built", SINGLE_CORE, Sweep.SUMS, word_is(3, 2), REFUSED),
    ("c 0", RANGE_CORE, Sweep.COLLECT, word_is(4, 0), REFUSED),
    ("c NaN", RANGE_CORE, Sweep.GRADIENT, word_is(4, NAN), REFUSED),
    ("c negative", RANGE_CORE, Sweep.NORMALISE, word_is(4, MINUS_ONE), REFUSED),
    ("L + 1", RANGE_CORE, Sweep.COLLECT, plus(5, 1), REFUSED),
    ("L - 1", RANGE_CORE, Sweep.COLLECT, plus(5, -1), REFUSED),
    ("bit 17 of L", RANGE_CORE, Sweep.COLLECT, plus(5, 1 << 17), REFUSED),
    ("K 0", RANGE_CORE, Sweep.NORMALISE, plus(5, -(8 << 24)), REFUSED),
    ("K 9", RANGE_CORE, Sweep.NORMALISE, plus(5, 1 << 24), REFUSED),
    ("bit 28 of K", RANGE_CORE, Sweep.NORMALISE, plus(5, 1 << 28), REFUSED),
    ("K 7", RANGE_CORE, Sweep.COLLECT, plus(5, -(1 << 24)), MISFRAMED),
    ("rinv negative", RANGE_CORE, Sweep.SUMS, word_is(param(RANGE_CORE, Sweep.SUMS, "rinv", 1), MINUS_ONE), REFUSED),
    ("r negative", RANGE_CORE, Sweep.SUMS, word_is(param(RANGE_CORE, Sweep.SUMS, "r"), MINUS_ONE), REFUSED),
    ("rstd negative", TWO_CORE, Sweep.SUMS, word_is(param(TWO_CORE, Sweep.SUMS, "rstd"), MINUS_ONE), REFUSED),
    ("position 2^17", RANGE_CORE, Sweep.GRADIENT,
     word_is(param(RANGE_CORE, Sweep.GRADIENT, "argmin7", 1), 1 << 17), REFUSED),
    ("last early", SINGLE_CORE, Sweep.COLLECT, last_at(2), MISFRAMED),
    ("last before the parameters", SINGLE_CORE, Sweep.COLLECT, last_at(3), MISFRAMED),
    ("last missing", SINGLE_CORE, Sweep.SUMS, last_at(None), MISFRAMED),
    ("last missing without parameters", TWO_CORE, Sweep.COPY, last_at(None), MISFRAMED),
    ("a lane too few", RANGE_CORE, Sweep.NORMALISE, word_is(3, 1), MISFRAMED),
    ("n too large", SINGLE_CORE, Sweep.NORMALISE, plus(1, 1), MISFRAMED),
    ("n too small", SINGLE_CORE, Sweep.NORMALISE, plus(1, -1), MISFRAMED),
]


def stopped(config, stretch, status, seed):
    """The outcome of a segment in which something is wrong, and the flag that says so."""
    stretch.idle_limit = 3000
    outcome, = Simulator(config).run_segments([stretch], seed=seed)
    assert outcome.state is State.IDLE
    assert outcome.status & ~7 == outcome.cleared == status
    return outcome


def results_of(config, tiles):
    """Beats that come out."""
    return sum(tile.n for tile in tiles if streams(config, tile.sweep)[1])


@pytest.mark.parametrize("name, config, sweep, change, status", BAD_HEADERS, ids=[case[0] for case in BAD_HEADERS])
def test_bad_header_stops_the_core(name, config, sweep, change, status, seed):
    """What went before comes out, of the sweep itself nothing, or the beats before the end that is wrong."""
    tiles = plain_sweeps(config, np.random.default_rng(seed))
    victim = next(index for index, tile in enumerate(tiles) if tile.sweep is sweep)
    for tiles, victim in ((tiles, victim), (tiles[victim:], 0)):
        stretch = sweep_segment(config, tiles, stalls=Stalls(output=Stall(0.2, 5)), seed=seed)
        first = sum(len(sweep_words(config, tile)) for tile in tiles[:victim])
        at = slice(first, first + len(sweep_words(config, tiles[victim])))
        change(stretch.header[at], stretch.header_last[at])
        outcome = stopped(config, stretch, status, seed)
        taken = {"n too large": tiles[victim].n - 1, "n too small": tiles[victim].n - 2, "K 7": tiles[victim].n - 1}
        beats = results_of(config, tiles[:victim])
        assert len(outcome.last) - beats == (taken[name] if name in taken else 0)
        assert len(outcome.header_cycles) <= at.stop + (name in taken)
        if victim and name not in taken:
            kept = outcome.status  # the header itself may have set flags
            before = compare(config, tiles[:victim], outcome, state=State.IDLE, status=kept, cleared=status)
            assert before.messages == []


@pytest.mark.parametrize("port", ["last", "y_last"])
@pytest.mark.parametrize("at", [None, 0, 5])
def test_ends_that_differ_stop_the_core(port, at, seed):
    """TLAST of one of two streams missing, or early."""
    tile, = [tile for tile in plain_sweeps(SINGLE_CORE, np.random.default_rng(seed)) if tile.sweep is Sweep.SUMS]
    stretch = sweep_segment(SINGLE_CORE, [tile])
    getattr(stretch, port)[:] = False
    if at is not None:
        getattr(stretch, port)[at] = True
    outcome = stopped(SINGLE_CORE, stretch, UNEQUAL, seed)
    assert len(outcome.last) == (tile.n - 1 if at is None else at) and len(outcome.records) == 0


def test_what_a_header_may_say(seed):
    """NaN and infinities are flagged and count as 0 and the largest number; -0 is 0."""
    rng = np.random.default_rng(seed)
    for name, code, flag in (("eps", NAN, 1), ("eps", 0x80000000, 0), ("eps", 0x7F800000, 2), ("c", 0x7F800000, 2)):
        tiles = plain_sweeps(RANGE_CORE, rng)
        value = np.uint32(code).view(np.float32)
        changed = [replace(tile, **{name: value}) for tile in tiles]
        outcome, = Simulator(RANGE_CORE).run_segments([sweep_segment(RANGE_CORE, changed)], seed=seed)
        assert compare(RANGE_CORE, changed, outcome).messages == []
        assert outcome.status & 3 == flag
