"""The array alone under Verilator, bit by bit against bnforge_model.array, and cycle by cycle against docs/array.md."""

import functools

import numpy as np
import pytest
from amaranth.hdl import Fragment
from bnforge.array import SystolicArray
from bnforge.array_config import ArrayConfig
from bnforge.formats import BF16, FP10, FP16, BlockFormat
from bnforge_model.blocks import Encoded
from bnforge_sim import array_simulate
from bnforge_sim.array import ArrayBench, Beats
from bnforge_sim.array_cases import DATA, Case, differences, random_stored, run_cases
from bnforge_sim.array_simulate import run_random, simulate_array
from bnforge_sim.array_soak import random_array
from bnforge_sim.files import Stall

BLOCKS = ArrayConfig(name="blocks", rows=4, columns=2, storage=BlockFormat(2, 8), depth=16)
FLOATS = ArrayConfig(name="floats", rows=3, columns=4, storage=FP10, output=FP16, operand_fraction=2,
                     accumulate_fraction=6, depth=8)
ONE = ArrayConfig(name="one", rows=1, columns=1, storage=BF16, accumulate_fraction=23, depth=4, transposes=False)
NAN, INFINITY, SATURATED, MISFRAMED = 1, 2, 4, 8
NO_STALLS = (Stall(),) * 3


def arrays(*configs):
    """Configurations as parameters of a test; those of one are run by one worker."""
    return pytest.mark.parametrize("config", [
        pytest.param(config, id=config.name, marks=pytest.mark.xdist_group(config.name)) for config in configs])


every_array = arrays(BLOCKS, FLOATS, ONE)


@functools.cache
def array(config):
    """The component, for what it says of its timing; elaborated, so that Amaranth does not report it as unused."""
    component = SystolicArray(config)
    Fragment.get(component, None)
    return component


@pytest.fixture
def bench(config, seed):
    """An array in simulation."""
    result = ArrayBench(config, seed=seed, optimise=False)
    yield result
    result.close()


def product(config, rng, m, k, data="near", blocks=None):
    """A product of (m, k) and (k, columns)."""
    padded = -(-k // config.rows) * config.rows
    return Case(random_stored(config, (m, padded), data, rng), random_stored(config, (k, config.columns), data, rng),
                blocks or (m,), False)


def transposed(config, rng, n_a, n_w, data="near"):
    """A transposed product of ``n_a`` beats of A and ``n_w`` of B."""
    return Case(random_stored(config, (n_a, config.rows), data, rng),
                random_stored(config, (n_w, config.columns), data, rng), (config.rows,), True)


def uniform(config, n, channels, element, exponent=0):
    """Elements that are all the same."""
    groups = config.n_groups(channels)
    dtype = np.int8 if config.is_block else np.uint16
    return Encoded(config.storage, np.full((n, channels), element, dtype),
                   np.full((n, groups), exponent, np.uint8) if groups else None)


@every_array
def test_random_products_are_those_of_the_model(bench, config, seed):
    assert [message for number in range(120) for message in run_random(bench, [seed, number])[1]] == []


@every_array
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_blocks_of_every_length_after_every_other(bench, config, passes, seed):
    rng, each = np.random.default_rng([seed, passes]), range(1, config.depth + 1)
    lengths = [length for first in each for second in each for length in (first, second)]
    case = product(config, rng, sum(lengths), passes * config.rows, blocks=tuple(lengths))
    for stalls in (NO_STALLS, (Stall(), Stall(0.1, 9), Stall(0.5, 2))):
        assert differences(config, [case], run_cases(bench, [case], stalls=stalls)) == []


@every_array
@pytest.mark.parametrize("data", DATA)
def test_one_sum_over_many_passes(bench, config, data, seed):
    case = product(config, np.random.default_rng(seed), config.depth, 60 * config.rows - config.rows // 2, data)
    assert differences(config, [case], run_cases(bench, [case])) == []


@arrays(BLOCKS, FLOATS)
def test_last_squares_and_tiles_of_any_size(bench, config, seed):
    rng, rows = np.random.default_rng(seed), config.rows
    cases = [transposed(config, rng, tile * rows + n_a, tile * rows + n_w)
             for tile in range(3) for n_a in range(1, rows + 1) for n_w in range(1, rows + 1)]
    for stalls in (NO_STALLS, (Stall(0.5, 3),) * 3, (Stall(), Stall(), Stall(0.9, 3))):
        assert differences(config, cases, run_cases(bench, cases, stalls=stalls)) == []


def flags_of(config, bench, a, b):
    case = Case(a, b, (len(a.elements),), False)
    outcome = run_cases(bench, [case])
    assert differences(config, [case], outcome) == []
    return outcome.status


@arrays(BLOCKS)
@pytest.mark.parametrize("a, b, flags", [
    ((1, 127), (1, 127), 0), ((1, 255), (0, 0), NAN), ((0, 0), (5, 255), NAN), ((127, 254), (127, 254), SATURATED),
    ((127, 0), (127, 0), 0), ((-128, 254), (0, 0), SATURATED), ((0, 0), (-128, 254), SATURATED)])
def test_flags_of_blocks(bench, config, a, b, flags):
    assert flags_of(config, bench, uniform(config, 5, config.rows, *a),
                    uniform(config, config.rows, config.columns, *b)) == flags


@arrays(BLOCKS)
@pytest.mark.parametrize("elements", [(127, 127, -127, 0), (0, 127, 127, -127), (127, 127, -127, -127)])
def test_a_sum_that_was_saturated_is_not_forgotten(bench, config, elements):
    """One sum beyond 2^128, from which later ones come back."""
    b = uniform(config, config.rows, config.columns, 0, 254)
    b.elements[:] = np.array(elements)[:, None]
    assert flags_of(config, bench, uniform(config, 5, config.rows, 64, 127), b) == SATURATED


@arrays(FLOATS)
@pytest.mark.parametrize("a, b, flags", [
    (0x0F0, 0x0F0, 0), (0x1F1, 0, NAN), (0, 0x1F8, NAN), (0x1F0, 0, INFINITY), (0, 0x3F0, INFINITY),
    (0x3F0, 0x1FF, NAN | INFINITY), (0x1EF, 0x1EF, SATURATED)])
def test_flags_of_floats(bench, config, a, b, flags):
    """1 · 1; a NaN; infinities, in a factor and its product; a result beyond the output format."""
    assert flags_of(config, bench, uniform(config, 5, config.rows, a),
                    uniform(config, config.rows, config.columns, b)) == flags


@every_array
def test_a_row_each_cycle_without_a_gap(bench, config, seed):
    """Passes at least as long as the shortest: rows enter back to back, weights never make them wait."""
    interval = array(config).pass_interval
    assert interval == config.rows + 2 and config.depth >= interval
    length = config.depth
    case = product(config, np.random.default_rng(seed), 8 * length, 3 * config.rows, blocks=(length,) * 8)
    outcome = run_cases(bench, [case])
    assert differences(config, [case], outcome) == []
    assert set(np.diff(outcome.a_cycles)[2:]) == {1}
    single = product(config, np.random.default_rng(seed), 8 * length, config.rows, blocks=(length,) * 8)
    assert set(np.diff(run_cases(bench, [single]).c_cycles)) == {1}


@every_array
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_short_pass_takes_as_long_as_a_sum_needs(bench, config, length, seed):
    passes = 9
    case = product(config, np.random.default_rng(seed), 6 * length, passes * config.rows, blocks=(length,) * 6)
    outcome = run_cases(bench, [case])
    assert differences(config, [case], outcome) == []
    firsts = outcome.c_cycles[::length]
    assert set(np.diff(firsts)) == {passes * array(config).pass_interval}


@every_array
def test_latency_is_the_stated_one(bench, config, seed):
    case = product(config, np.random.default_rng(seed), config.depth, config.rows)
    outcome = run_cases(bench, [case])
    assert set((outcome.c_cycles - outcome.a_cycles)[2:]) == {array(config).latency}


@arrays(BLOCKS, FLOATS)
def test_a_transposed_row_each_cycle(bench, config, seed):
    """Squares of a block follow each other without a gap as far as a pass may be that short; the last leaves alone."""
    rng, rows, squares = np.random.default_rng(seed), config.rows, 12
    case = transposed(config, rng, squares * rows, squares * rows)
    outcome = run_cases(bench, [case])
    assert differences(config, [case], outcome) == []
    assert set(np.diff(outcome.a_cycles[2 * rows::rows])) == {array(config).pass_interval}


def beats(config, channels, n, *ends, rng):
    """``n`` beats, TLAST on those of ``ends``."""
    stored = random_stored(config, (n, channels), "near", rng)
    return Beats(stored.elements, stored.exponents, np.isin(np.arange(n), ends))


def wrong_frames(config):
    """Beats of A and W with their ends, and whether transposed, that each break one rule."""
    rows, depth = config.rows, config.depth
    return {
        "a short pass": (5, (2, 4), 2 * rows, (2 * rows - 1,), False),
        "a long pass": (7, (2, 6), 2 * rows, (2 * rows - 1,), False),
        "a pass longer than the array keeps": (depth + 1, (depth,), rows, (rows - 1,), False),
        "a last pass that does not end": (40, (2,), 2 * rows, (2 * rows - 1,), False),
        "squares left over": (2 * rows, (2 * rows - 1,), rows, (rows - 1,), True),
        "weights left over": (rows, (rows - 1,), 2 * rows, (2 * rows - 1,), True)}


@arrays(BLOCKS, FLOATS)
@pytest.mark.parametrize("name", list(wrong_frames(BLOCKS)))
@pytest.mark.parametrize("stalls", [NO_STALLS, (Stall(0.5, 2),) * 3], ids=["", "stalled"])
def test_wrong_frames_stop_the_array_until_reset(bench, config, name, stalls, seed):
    rng = np.random.default_rng(seed)
    n_a, a_ends, n_w, w_ends, transpose = wrong_frames(config)[name]
    before = transposed(config, rng, 7, 8) if transpose else product(config, rng, config.depth, 2 * config.rows)
    a, w = before.beats(config)
    wrong = [beats(config, config.rows, n_a, *a_ends, rng=rng), beats(config, config.columns, n_w, *w_ends, rng=rng)]
    after = [beats(config, channels, 200, 199, rng=rng) for channels in (config.rows, config.columns)]
    outcome = bench.run(*(Beats.joined(parts) for parts in zip((a, w), wrong, after)), transpose=transpose,
                        stalls=stalls, seed=seed)
    codes, last, _flags = before.expected(config)
    assert outcome.stopped and outcome.status & MISFRAMED
    assert np.array_equal(outcome.codes[:len(codes)], codes) and np.array_equal(outcome.last[:len(last)], last)
    assert len(outcome.codes) <= len(codes) + max(config.depth, config.rows)
    assert len(outcome.a_cycles) <= len(a.last) + n_a + config.rows
    assert len(outcome.w_cycles) <= len(w.last) + n_w + config.rows
    assert differences(config, [before], run_cases(bench, [before])) == []


@every_array
def test_flags_stay_until_cleared_and_no_longer(bench, config):
    nan = (5, 255) if config.is_block else (0x1F1 if config.storage == FP10 else 0x7F81,)
    case = Case(uniform(config, 1, config.rows, *nan), uniform(config, config.rows, config.columns, 0), (1,), False)
    good = Case(uniform(config, 1, config.rows, 0), case.b, (1,), False)
    assert run_cases(bench, [case]).status == NAN
    assert run_cases(bench, [good], clear=False).status == NAN
    assert run_cases(bench, [good]).status == 0


@arrays(ONE)
def test_simulation_counts_what_it_compares_and_what_differs(config, seed, monkeypatch):
    monkeypatch.setattr(array_simulate, "ArrayBench", functools.partial(ArrayBench, optimise=False))
    lines = []
    assert simulate_array(config, elements=300, seed=seed, report=lines.append) == 0
    assert int(lines[-1].split(" elements compared, 0 differences")[0].split()[-1]) >= 300
    monkeypatch.setattr(array_simulate, "differences", lambda *arguments: ["wrong"])
    assert simulate_array(config, elements=1, seed=seed, report=lines.append) == 1
    assert lines[-2].endswith(": wrong")


def test_random_arrays_repeat_and_are_of_all_kinds():
    drawn = [random_array(np.random.default_rng([1, number]), number) for number in range(60)]
    assert drawn == [random_array(np.random.default_rng([1, number]), number) for number in range(60)]
    assert {config.is_block for config in drawn} == {config.transposes for config in drawn} == {False, True}
