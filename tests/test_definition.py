"""Constant extraction off: the parts of the lane alone, the cores against their model, the model against float64."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_components import one
from test_rtl_errors import REFUSED, bits, check_stop, plain_backward, plain_tile, with_header

from amaranth.hdl import Fragment
from amaranth.sim import Simulator as Simulation

from bnforge.config import SUM_BLOCK, Activation, Config, Directions, Extraction
from bnforge.definition import Difference, Product
from bnforge.formats import BF16, E4M3, FP10, FP16, WORKING, BlockFormat
from bnforge.lanes import lane_class
from bnforge.presets import opn4
from bnforge.quotient import Quotient
from bnforge.top import Top
from bnforge_model import backward, forward
from bnforge_model.blocks import is_active
from bnforge_model.bounds import error_bound
from bnforge_model.floats import add_odd, decode, encode, round_to, to_codes
from bnforge_model.reference import quantised, range_norm, range_norm_backward
from bnforge_model.stimulus import INPUT_CLASSES, input_class
from bnforge_model.words import header_words
from bnforge_sim import Simulator, compare
from bnforge_sim.figures import plain_backward_tiles, plain_tiles, run_plain
from bnforge_sim.pairwise import pairwise
from bnforge_sim.stimulus import axes, random_segment

SHARED = Config(name="shared_divider", lanes=2, storage=BlockFormat(2, 8), sample_depth=64, chunk_len=16,
                extraction=Extraction.SHARED_DIVIDER)
# Five lanes, because a lane number that is wrong by a power of two is right with fewer.
LANE = SHARED.replace(name="lane_divider", lanes=5, x_format=FP10, storage=FP10, extraction=Extraction.LANE_DIVIDER)
BOTH = [SHARED, LANE]
PARTS = {"difference": lambda: Difference(SHARED), "product": Product, "quotient": Quotient}


def _codes(fmt, rng, n):
    """Codes of finite values: any, and of one binade, where rounding and cancellation happen."""
    exponents = np.where(rng.random(n) < 0.5, rng.integers(0, 1 << fmt.exponent_width, n), fmt.bias)
    codes = (rng.integers(2, size=n) << fmt.exponent_width | exponents) << fmt.fraction_width
    codes |= rng.integers(1 << fmt.fraction_width, size=n) & rng.choice([-1, 0, 1], n)
    return np.minimum(codes & ((1 << fmt.width - 1) - 1), fmt.max_code) | codes & 1 << (fmt.width - 1)


EXACT = {"difference": lambda x, mean: add_odd(x, -mean), "product": lambda u, h: u * h,
         "quotient": lambda u, d: np.where(d == 0, 0.0, u / np.where(d == 0, 1.0, d))}


@pytest.mark.parametrize("name", PARTS)
def test_part_rounds_once(name, seed):
    """One result per cycle, ``latency`` cycles later."""
    rng, n = np.random.default_rng(seed), 600
    ports = ("i_x", "i_mean") if name == "difference" else ("i_u", "i_scale")
    part = PARTS[name]()
    formats = (BF16 if name == "difference" else WORKING, WORKING)
    codes = [to_codes(fmt, decode(fmt, _codes(fmt, rng, n))) for fmt in formats]
    codes[1][::50] = 0
    if name == "difference":  # x at and just beside half a last place of a mean in [1, 2)
        near = slice(0, 200)
        codes[0][near] = (BF16.bias - WORKING.significand_width << BF16.fraction_width) + rng.integers(0, 16, 200)
        codes[0][near] |= 1 << BF16.width - 1
        codes[1][near] = (WORKING.bias << WORKING.fraction_width) + rng.integers(0, 1 << WORKING.fraction_width, 200)
    if name != "difference":
        codes[1] &= (1 << WORKING.width - 1) - 1
    results = []

    async def bench(ctx):
        for beat in range(n + part.latency):
            if beat >= part.latency:
                results.append((ctx.get(part.o_code), ctx.get(part.o_saturated)))
            for port, values in zip(ports, codes, strict=True):
                ctx.set(getattr(part, port), int(values[beat % n]))
            await ctx.tick()

    simulation = Simulation(part)
    simulation.add_clock(1e-6)
    simulation.add_testbench(bench)
    simulation.run()
    exact = EXACT[name](*(decode(fmt, code) for fmt, code in zip(formats, codes, strict=True)))
    values, saturated = round_to(WORKING, exact)
    assert_array_equal(results, np.stack([encode(WORKING, values), saturated], axis=1))


@pytest.mark.parametrize("config", BOTH, ids=lambda config: config.name)
def test_lane_latency(config):
    """1 with a scale and gamma of 1 is 1 after ``latency`` cycles."""
    lane = lane_class(config)(config)

    async def bench(ctx):
        ctx.set(lane.i_activation, Activation.RELU)
        for name in ("scale", "gamma"):
            ctx.set(getattr(lane, f"i_{name}_chain"), one(WORKING))
            ctx.set(getattr(lane, f"i_{name}_shift"), 1)
        await ctx.tick()
        for name in lane.used:
            ctx.set(getattr(lane, f"i_{name}_swap"), 1)
        await ctx.tick().repeat(lane.latency + 2)
        ctx.set(lane.i_x, one(config.x_format))
        for _ in range(lane.latency):
            assert ctx.get(lane.o_y) == 0
            await ctx.tick()
        assert ctx.get(lane.o_y) == one(WORKING)

    simulation = Simulation(lane)
    simulation.add_clock(1e-6)
    simulation.add_testbench(bench)
    simulation.run()
    assert lane.flags[-1] == lane.latency > lane.flags[1] > lane.flags[0] == Difference.latency


@pytest.mark.parametrize("extraction", [config.extraction for config in BOTH])
def test_constants_are_there_sooner_than_extracted_ones(extraction):
    tops = [Top(opn4.replace(extraction=choice)) for choice in (extraction, Extraction.CONSTANTS)]
    for top in tops:
        Fragment.get(top, None)  # elaborated, so that Amaranth does not report it as unused
    assert tops[0].constants_latency < tops[1].constants_latency


def differences(config, seed, share):
    """Of every ``share``-th case of a pairwise covering array."""
    rng = np.random.default_rng(seed)
    cases = pairwise(axes(config), rng)[::share]
    pairs = [random_segment(config, case, rng) for case in cases]
    outcomes = Simulator(config).run_segments([stretch for _, stretch in pairs], seed=seed)
    return [f"{case}: {message}" for case, (tiles, _), outcome in zip(cases, pairs, outcomes, strict=True)
            for message in compare(config, tiles, outcome).messages]


@pytest.mark.parametrize("config", BOTH, ids=lambda config: config.name)
def test_core_equals_model(config, seed):
    assert differences(config, seed, 8) == []


@pytest.mark.parametrize("changes", [
    {}, {"lanes": 1, "storage": BlockFormat(1, 8), "sample_depth": 16, "chunk_len": 4}, {"storage": WORKING},
    {"x_format": WORKING, "storage": FP16, "directions": Directions.BACKWARD},
    {"x_format": E4M3, "storage": BlockFormat(2, 8, signed=False), "directions": Directions.FORWARD}], ids=str)
@pytest.mark.parametrize("config", BOTH, ids=lambda config: config.name)
def test_every_core_equals_model(config, changes, seed):
    assert differences(config.replace(**changes), seed, 1) == []


@pytest.mark.parametrize("config", BOTH, ids=lambda config: config.name)
def test_latencies_and_rates_are_those_stated(config):
    """Latency of the constants and of those of the sample, and tiles of the stated interval without a bubble."""
    top, depth, simulator = Top(config), config.sample_depth, Simulator(config)
    Fragment.get(top, None)  # elaborated, so that Amaranth does not report it as unused
    outcome = run_plain(simulator, plain_tiles(config, 1, depth, depth))
    assert outcome.output_cycles[0] - outcome.data_cycles[-1] == 1 + top.constants_latency + top.output_latency
    outcome = run_plain(simulator, plain_backward_tiles(config, 1, depth, depth))
    assert outcome.output_cycles[0] - outcome.data_cycles[-1] == 1 + top.gradient_latency + top.output_latency
    for make, interval in ((plain_tiles, top.tile_interval), (plain_backward_tiles, top.gradient_interval)):
        n = max(interval, depth)
        n += max(0, top.block_interval - n % SUM_BLOCK) if n > SUM_BLOCK else 0
        tiles = make(config, 12, n, depth)
        outcome = run_plain(simulator, tiles)
        assert compare(config, tiles, outcome).messages == []
        assert np.all(np.diff(outcome.data_cycles) == 1)


@pytest.mark.parametrize("config", BOTH, ids=lambda config: config.name)
def test_frozen_tiles_are_refused(config, seed):
    rng = np.random.default_rng(seed)
    simulator = Simulator(config)
    before = [plain_tile(config, 20, rng), plain_backward(config, 20, rng)]
    for victim in (plain_tile(config, 20, rng), plain_backward(config, 20, rng)):
        stretch = with_header(config, before, victim, [], bits(8), seed=seed, idle_limit=2000)
        outcome, = simulator.run_segments([stretch], seed=seed)
        check_stop(config, before, outcome, REFUSED)
    for run in (lambda: forward(config, np.ones((3, 4)), np.ones(4), np.ones(4), frozen=True),
                lambda: header_words(config, np.ones(config.lanes), np.ones(config.lanes), frozen=True)):
        with pytest.raises(ValueError, match="frozen must be false without constant extraction, not true"):
            run()


def test_a_difference_out_of_range_sets_its_flag(seed):
    """A constant sample of the largest number, and the opposite behind it: nothing else saturates, v is 0."""
    x = np.full((20, SHARED.lanes), BF16.max_code, dtype=np.uint32)
    x[10:] |= 1 << BF16.width - 1
    tile = plain_tile(SHARED, 20, np.random.default_rng(seed), x=x, sample_len=4)
    outcome = Simulator(SHARED).run([tile])
    assert compare(SHARED, [tile], outcome).messages == []
    assert outcome.status == 4


@pytest.mark.parametrize("name", INPUT_CLASSES)
@pytest.mark.parametrize("config", [*BOTH, SHARED.replace(storage=WORKING, name="wide"),
                                    LANE.replace(storage=WORKING, x_format=WORKING, name="wide_lane")],
                         ids=lambda config: config.name)
def test_y_is_within_its_bound(config, name, seed):
    rng = np.random.default_rng(seed)
    x = quantised(config, input_class(name, config.x_format, rng, (500, 16)))
    gamma, beta = rng.normal(0, 2, 16), rng.normal(0, 2, 16)
    for activation in Activation:
        reference = range_norm(config, x, gamma, beta, activation=activation)
        error = np.abs(forward(config, x, gamma, beta, activation=activation).y - reference.y)
        bound = error_bound(config, reference)
        assert np.all(error <= bound)
        if name == "normal":
            assert bound.max() <= 20 * error.max()


def _gradient_tolerance(config, ref, dy, y):
    """Bounds of dx, dgamma, dbeta, with e = 2^-16 the error of a rounding to W, for numbers inside its range.

    h, or 1/d, is off by 6e: R twice, eps or the sum, Rinv, C, 1/C, h (of d fewer); u and v one each, gamma and the sum
    one each: 10e of a·g. y is off by e·|y| and so P by Σ|g·y|·e and by what sums lose, 2^-15 (docs/arithmetic.md) of
    Σ|g·y| and of |beta|·Σ|g|. v of the forward pass has the error of mu, too. m has the error of Sg, and 2e; t that of
    P, and 4e. One e is added to all for second-order terms.
    """
    e, lost = 2.0 ** -16, 2.0 ** -15 + 2.0 ** -17
    g = np.where(is_active(ref.activation, y), dy, 0.0)
    size, v = np.abs(g), np.abs(ref.x - ref.mu) / (ref.c * (ref.r + ref.eps))
    e_mu = 4 * e * np.abs(ref.x[:ref.sample_len]).mean(axis=0) / (ref.c * (ref.r + ref.eps))
    e_p = ((e + lost) * (size * np.abs(y)).sum(axis=0) + (lost + e) * np.abs(ref.beta) * size.sum(axis=0)
           + np.abs(ref.gamma) * (9 * e * (size * v).sum(axis=0) + e_mu * size.sum(axis=0)))
    p = np.abs(ref.gamma * (g * (ref.x - ref.mu)).sum(axis=0) / (ref.c * (ref.r + ref.eps)))
    e_dgamma = e_p / np.abs(ref.gamma) + 3 * e * p / np.abs(ref.gamma)
    n_chunks = max(1, ref.sample_len // config.chunk_len)
    e_t = (e_p + 5 * e * p) / (ref.r + ref.eps) / n_chunks
    t = p / (ref.r + ref.eps) / n_chunks
    e_dx = 11 * e * np.abs(ref.a) * size
    mean = size.sum(axis=0) / ref.sample_len
    e_dx[:ref.sample_len] += np.abs(ref.a) * (14 * e + lost) * mean + e_t + e * t
    return e_dx, e_dgamma, (lost + e) * size.sum(axis=0)


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("config", BOTH, ids=lambda config: config.name)
def test_gradients_are_within_their_tolerance(config, activation, seed):
    config = config.replace(storage=WORKING, x_format=BF16)
    rng = np.random.default_rng(seed)
    x, dy = (quantised(config, rng.normal(mean, 1, (700, 16))) for mean in (1, 0.3))
    gamma, beta = rng.choice([-1, 1], 16) * rng.uniform(0.5, 2, 16), rng.normal(size=16)
    result = forward(config, x, gamma, beta, activation=activation)
    got = backward(config, dy, result.encoded, result.records, activation=activation)
    reference = range_norm(config, x, gamma, beta, activation=activation)
    wanted = range_norm_backward(config, reference, dy, mask=is_active(activation, result.y))
    tolerances = _gradient_tolerance(config, reference, dy, result.y)
    for part, want, tolerance in zip((got.dx, got.dgamma, got.dbeta), wanted, tolerances, strict=True):
        assert np.all(np.abs(part - want) <= tolerance)
