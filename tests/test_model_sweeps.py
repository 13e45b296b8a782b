"""The numpy model of the baselines' sweeps against the slow model, exactly."""

from fractions import Fraction

import numpy as np
import pytest
import slow_model
import slow_sweeps

from bnforge.config import Activation, Algorithm, Config
from bnforge.formats import BF16, E5M2, FP10, FP16, FP32, WORKING, BlockFormat, FloatFormat
from bnforge.sweeps.words import record_words
from bnforge_model import baseline_backward, baseline_forward, sweeps
from bnforge_model.constants import fp32_code
from bnforge_model.floats import truncate
from bnforge_model.reference import quantised
from bnforge_model.statistics import GradientSums
from bnforge_model.sweep_constants import sweep_constants
from bnforge_model.sweep_words import is_position
from bnforge_sim.pairwise import pairwise
from bnforge_sim.sweep_stimulus import LENGTHS, random_sweeps, sweep_axes
from bnforge_sim.sweep_tiles import sweep_result

IDENTITY, TWO = Activation.IDENTITY, Algorithm.TWO_PASS
BASELINES = [algorithm for algorithm in Algorithm if algorithm is not Algorithm.ONE_PASS]
FORMATS = {
    "blocks": {"storage": BlockFormat(2, 8)},
    "lightnorm": {"lanes": 4, "x_format": FP10, "storage": BlockFormat(4, 6, 5, second_largest=True)},
    "bf16": {"storage": BF16},
    "fp16": {"x_format": FP16, "storage": FP16, "a_fraction": 10, "b_fraction": 10},
    "wide": {"lanes": 1, "x_format": WORKING, "storage": BlockFormat(1, 12, 4), "a_fraction": 15, "b_fraction": 15},
    "narrow": {"lanes": 1, "x_format": E5M2, "storage": WORKING, "a_fraction": 1, "b_fraction": 1},
}


def slow_inputs(config, tile):
    inputs = {} if tile.operand is None else {"operand": tile.operand.tolist()}
    for name in ("stored", "gradient"):
        tensor = getattr(tile, name)
        if tensor is not None:
            encoded = tensor.encoded(config)
            exponents = encoded.exponents.tolist() if config.is_block else [None] * tile.n
            inputs[name] = list(zip(encoded.elements.tolist(), exponents, strict=True))
    return inputs


def assert_slow_equal(config, tile):
    result, _ = sweep_result(config, tile)
    params = {name: values.tolist() if is_position(name) else fp32_code(values).tolist()
              for name, values in tile.params.items()}
    mask = [bool(tile.mask >> lane & 1) for lane in range(config.lanes)]
    slow = slow_sweeps.sweep_tile(config, tile.sweep, params, slow_inputs(config, tile), activation=tile.activation,
                                  eps=int(fp32_code(tile.eps)), c=int(fp32_code(tile.c)), mask=mask)
    if result.encoded is not None:
        assert result.encoded.elements.tolist() == slow["elements"]
        if config.is_block:
            assert result.encoded.exponents.tolist() == slow["exponents"]
    assert set(result.records) == set(record_words(config, tile.sweep))
    for name, values in result.records.items():
        wanted = slow["records"][name]
        assert [Fraction(value) for value in values.tolist()] == wanted, name
        if not is_position(name):
            assert fp32_code(values).tolist() == [slow_model.encode(FP32, value) for value in wanted]
    assert tuple(bool(result.flags & bit) for bit in (1, 2, 4)) == slow["flags"]


@pytest.mark.parametrize("fmt", [BF16, FP16, WORKING, E5M2, FP10, FloatFormat(6, 9)], ids=str)
def test_sums_of_products_equal_slow_model(fmt, seed):
    """Magnitudes spread, so that every block cuts bits; a storage of other exponents must not matter."""
    rng = np.random.default_rng(seed)
    config = Config(algorithm=Algorithm.SINGLE_PASS, lanes=2, x_format=fmt, storage=BlockFormat(2, 9, 5))
    spread = min(fmt.e_max - 2, 30)
    u, v = (quantised(config, rng.standard_normal((200, 6)) * 2.0 ** rng.uniform(-spread, 0, (200, 6)))
            for _ in range(2))
    sums = GradientSums(config, 200, 6, fmt)
    sums.add(u, v)
    first, second = sums.totals()
    for channel in range(6):
        exact = [[Fraction(value) for value in values[:, channel].tolist()] for values in (u, v)]
        slow = slow_sweeps.Channel(config, None, {}, None, n=200, eps=0, c=1, activation=0)
        wanted = slow.totals(exact[0], list(zip(*exact, strict=True)))
        assert (Fraction(first[channel]), Fraction(truncate(second, 24)[channel])) == wanted


@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda algorithm: algorithm.value)
def test_constants_are_made_of_the_sums_of_24_bits(algorithm, seed, monkeypatch):
    """Of elements of spread magnitudes, in a storage whose exponents are not those of X."""
    config = Config(algorithm=algorithm, lanes=2, storage=FP16)
    rng, seen = np.random.default_rng(seed), []
    x, dy = (rng.standard_normal((700, 2)) * 2.0 ** rng.uniform(-20, 0, (700, 2)) for _ in range(2))

    def spy(config, sweep, params, n, eps, c, n_chunks, s1, s2, range_sum):
        seen.append((s1, s2))
        return sweep_constants(config, sweep, params, n, eps, c, n_chunks, s1, s2, range_sum)

    monkeypatch.setattr(sweeps, "sweep_constants", spy)
    forward = baseline_forward(config, x, np.ones(2), np.zeros(2), activation=IDENTITY)
    baseline_backward(config, dy, forward, activation=IDENTITY)
    (s1, s2), (g1, g2) = seen[0], seen[-1]
    for channel in range(2):
        slow = slow_sweeps.Channel(config, None, {}, None, n=700, eps=0, c=1, activation=0)
        u, v = ([Fraction(value) for value in quantised(config, data)[:, channel].tolist()] for data in (x, dy))
        assert (Fraction(s1[channel]), Fraction(s2[channel])) == slow.totals(u, list(zip(u, u, strict=True)))
        assert Fraction(g1[channel]) == slow.totals(v, list(zip(v, v, strict=True)))[0] or algorithm is TWO
        assert Fraction(g2[channel]) == slow_model.truncate(Fraction(g2[channel]), 24)


def assert_cases_equal(algorithm, name, count, seed):
    config = Config(algorithm=algorithm, **{"lanes": 2} | FORMATS[name])
    rng = np.random.default_rng([seed, list(FORMATS).index(name)])
    cases = pairwise(sweep_axes(config), rng)
    for case in rng.permutation(np.array(cases, object))[:count]:
        case = case | {"length": str(rng.choice(LENGTHS[:3]))}
        for tile in random_sweeps(config, case, rng):
            assert_slow_equal(config, tile)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda algorithm: algorithm.value)
def test_sweeps_equal_slow_model(algorithm, name, seed):
    assert_cases_equal(algorithm, name, 2, seed)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda algorithm: algorithm.value)
def test_more_sweeps_equal_slow_model(algorithm, name, seed):
    """Only with --all-engines."""
    assert_cases_equal(algorithm, name, 40, seed + 1)
