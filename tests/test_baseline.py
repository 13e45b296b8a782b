"""The baselines' models against float64 batch norm and range norm, with derived bounds; and what they refuse."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge.config import Activation, Algorithm, Config
from bnforge.formats import BF16, FP10, WORKING, BlockFormat
from bnforge.presets import opn4
from bnforge.sweeps.words import Sweep, param_words, sweeps_of
from bnforge_model import Encoded, Flags
from bnforge_model.baseline import baseline_backward, baseline_forward
from bnforge_model.blocks import encode_blocks, is_active
from bnforge_model.reference import batch_norm, batch_norm_backward, quantised, range_norm, range_norm_backward
from bnforge_model.sweep_header import channel_c, chunks_of
from bnforge_model.sweep_words import parse_sweep_record, sweep_record_words
from bnforge_model.sweeps import run_sweep
from bnforge_sim.accuracy import accuracy_of

IDENTITY, RELU, RELU6 = Activation
RANGE, SINGLE, TWO = Algorithm.RANGE, Algorithm.SINGLE_PASS, Algorithm.TWO_PASS
BASELINES = [RANGE, SINGLE, TWO]
WIDE = {"lanes": 4, "x_format": WORKING, "storage": WORKING, "a_fraction": 15, "b_fraction": 15}
STEP = 2.0 ** -14.8
"""s: the error of a sum over Σ|terms| (docs/arithmetic.md); a rounding to 16 bits errs by 0.44 s."""


class Case:
    """A channel tile with every number in 16 bits, its float64 reference and its magnitudes."""

    def __init__(self, algorithm, activation, seed, n=1003, mean=2.0):
        rng = np.random.default_rng(seed)
        config = Config(algorithm=algorithm, **WIDE)
        self.x, self.dy = (quantised(config, rng.normal(mu, 1, (n, 4))) for mu in (mean, 0.3))
        self.gamma, self.beta = np.array([1.5, -0.5, 0.75, -2.0]), rng.normal(0, 1, 4)
        self.config, self.activation, self.ranges = config, activation, algorithm is RANGE
        self.forward = baseline_forward(config, self.x, self.gamma, self.beta, activation=activation)
        self.backward = baseline_backward(config, self.dy, self.forward, activation=activation)
        active = is_active(activation, self.forward.y)
        self.g = np.where(active, self.dy, 0.0)
        if self.ranges:
            reference = range_norm(config, self.x, self.gamma, self.beta, activation=activation)
            self.y, self.h = reference.y, 1 / (reference.c * (reference.r + reference.eps))
            self.gradients = range_norm_backward(config, reference, self.dy, mask=active)
        else:
            self.y = batch_norm(self.x, self.gamma, self.beta, activation=activation)
            self.h = 1 / np.sqrt(self.x.var(axis=0) + 1e-5)
            self.gradients = batch_norm_backward(self.x, self.dy, self.gamma, self.beta, mask=active)
        self.mu, self.a = self.x.mean(axis=0), self.gamma * self.h
        # The variance of a single pass is a difference of numbers this much larger.
        self.condition = np.mean(self.x ** 2, axis=0) * self.h ** 2 if algorithm is SINGLE else 1.0

    def y_bound(self):
        """a errs by 4 s times the condition: half the error of v, 4 s·E[x²] in a single pass, 2 s·v else; and three
        roundings. The mean errs by 2 s·E|x|; b and y are rounded."""
        centred = np.abs(self.a * (self.x - self.mu))
        return STEP * (4 * self.condition * centred + 2 * np.abs(self.a) * np.abs(self.x).mean(axis=0)
                       + np.abs(self.beta - self.mu * self.a) + np.abs(self.y))

    def dgamma_bound(self):
        """The sums, one of which loses mu·Σg, or of range statistics beta·Σg; the mean; the scale, as of a."""
        g, total = np.abs(self.g), np.abs(self.g.sum(axis=0))
        lost = np.abs(self.x - self.mu) + 2 * np.abs(self.beta / self.a) if self.ranges else \
            np.abs(self.x) + np.abs(self.mu)
        sums = 2 * (g * lost).sum(axis=0) + 2 * np.abs(self.x).mean(axis=0) * total
        return STEP * (self.h * sums + (4 * self.condition + 1) * np.abs(self.gradients[1]))

    def dx_bound(self):
        """The terms of a·g, a·Σg/n and the last one, each by the error of its factors; then the roundings of c, of
        e·x + c and of dx."""
        dx, dgamma, dbeta = self.gradients
        n, a = len(self.x), np.abs(self.a)
        mean = a * np.abs(dbeta) / n
        last = np.abs(dx - self.a * (self.g - dbeta / n))
        terms = (4 * self.condition + 1) * (a * np.abs(self.g) + mean) + a * np.abs(self.g).sum(axis=0) / n
        slope = a * self.h * np.abs(dgamma) / n
        if self.ranges:
            return STEP * (terms + 2 * mean + np.abs(dx)) + last * (10 * STEP + self.dgamma_bound() / np.abs(dgamma))
        rounded = np.abs(self.x) * slope + mean + slope * np.abs(self.mu)
        moved = a * np.abs(self.x - self.mu) * self.h / n * self.dgamma_bound()
        return STEP * (terms + 10 * self.condition * last + 2 * slope * np.abs(self.x).mean(axis=0) + 2 * rounded
                       + np.abs(dx)) + moved


@pytest.mark.parametrize("activation", [IDENTITY, RELU], ids=lambda activation: activation.name)
@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda algorithm: algorithm.value)
def test_errors_are_within_derived_bounds(algorithm, activation, seed):
    case = Case(algorithm, activation, seed)
    dx, dgamma, dbeta = case.gradients
    assert case.forward.flags == case.backward.flags == Flags(0)
    assert (np.abs(case.forward.y - case.y) <= case.y_bound()).all()
    assert (np.abs(case.backward.dbeta - dbeta) <= STEP * np.abs(case.g).sum(axis=0)).all()
    assert (np.abs(case.backward.dgamma - dgamma) <= case.dgamma_bound()).all()
    assert (np.abs(case.backward.dx - dx) <= case.dx_bound()).all()
    # The bounds mean something: a few per mille of what they bound.
    assert np.median(case.y_bound()) < 0.005 * np.abs(case.y).mean()
    assert np.median(case.dx_bound()) < 0.01 * np.abs(dx).mean()


@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda algorithm: algorithm.value)
def test_default_formats_cost_a_few_percent(algorithm):
    """Of blocks of 16 x 8 bits: the most one rounding errs is 2^-7 of the block's largest, about 3 of the typical
    element, uniformly: 2^-7 · 3 / sqrt(3) · 2 for x' and y = 2.7 %; 4 fraction bits of a add 2^-5 / sqrt(3) = 1.8 %."""
    found = accuracy_of(Config(algorithm=algorithm), n=2048, channels=32)
    assert found["y"] < 0.035 and found["dx"] < 0.035 and found["dgamma"] < 0.05 and found["dbeta"] < 0.02
    assert found["y"] == np.sqrt(np.mean([row["y"] ** 2 for row in found["rows"]])) > 0.005


@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda algorithm: algorithm.value)
def test_constant_channels(algorithm):
    """No spread: y = beta; of the gradient only its mean goes, and dgamma is what rounding leaves."""
    config = Config(algorithm=algorithm, **WIDE)
    x = np.tile([3.0, -0.5, 0.0, 100.0], (64, 1))
    beta = np.array([0.5, 0.25, -1.0, 2.0])
    forward = baseline_forward(config, x, np.ones(4), beta, activation=IDENTITY)
    if algorithm is RANGE:
        assert_array_equal(forward.records["a"], 0)
    rounded = 2.0 ** -15 * (np.abs(forward.records["a"] * x[0]) + np.abs(beta))
    assert (np.abs(forward.y - beta) <= rounded).all()
    backward = baseline_backward(config, np.ones((64, 4)), forward, activation=IDENTITY)
    assert_array_equal(backward.dbeta, 64)
    assert np.isfinite(backward.dx).all()


# An infinity is the largest fp32 number, which the formats of the header's numbers cannot hold.
BEYOND = Flags.INFINITY | Flags.SATURATED


@pytest.mark.parametrize("changes, flags", [
    ({}, Flags(0)), ({"eps": np.nan}, Flags.NAN), ({"eps": np.inf}, BEYOND), ({"c": np.inf}, BEYOND),
    ({"eps": 2.0 ** 128 - 2.0 ** 104}, Flags.SATURATED), ({"params": {"a": [np.nan], "b": [0.0]}}, Flags.NAN),
    ({"params": {"a": [1.0], "b": [-np.inf]}}, BEYOND), ({"params": {"a": [3.4e38], "b": [0.0]}}, Flags.SATURATED),
])
def test_flags_of_header_words(changes, flags):
    config = Config(algorithm=RANGE, lanes=1, storage=BF16)
    arguments = {"params": {"a": [1.0], "b": [0.0]}, "stored": encoded_ones(config), "eps": 0.0, "c": 1.0} | changes
    result = run_sweep(config, Sweep.NORMALISE, **arguments)
    assert result.flags == flags and result.tile_flags == (flags,)


def encoded_ones(config):
    params = {"gamma": np.ones(1), "beta": np.ones(1)}
    return run_sweep(config, Sweep.COLLECT, params, operand=np.full((3, 1), 0.5)).encoded


@pytest.mark.parametrize("algorithm", [SINGLE, TWO], ids=lambda algorithm: algorithm.value)
def test_nothing_passes_where_the_activation_is_at_its_edge(algorithm):
    """a·x + b = 0 exactly."""
    config = Config(algorithm=algorithm, lanes=1, storage=BF16)
    stored = run_sweep(config, Sweep.COLLECT, {name: np.ones(1) for name in param_words(config, Sweep.COLLECT)},
                       operand=np.array([[2.0], [2.5], [1.5]])).encoded
    params = {"a": [1.0], "b": [-2.0], "rstd": [1.0], "mu": [0.0]}
    dy = np.array([[1.0], [2.0], [4.0]])
    inputs = {"operand": dy} if algorithm is SINGLE else {
        "gradient": run_sweep(config, Sweep.COPY, operand=dy).encoded}
    assert run_sweep(config, Sweep.SUMS, params, stored=stored, activation=RELU, **inputs).records["dbeta"] == 2


def test_second_largest_sets_the_scale():
    fmt = BlockFormat(4, 6, 5, second_largest=True)
    y = np.array([[12.0, 1.5, -0.75, 0.1], [0.0, -12.0, 0.0, 0.0], [2.0, -2.5, 1.0, 0.0], [0.0] * 4])
    elements, exponents, saturated, values = encode_blocks(fmt, y, IDENTITY)
    assert exponents.ravel().tolist() == [15, 18, 16, 0] and not saturated.any()
    assert elements[0].tolist() == [31, 24, -12, 2]
    assert_array_equal(values[1], y[1])
    assert_array_equal(values[2], y[2])
    plain = encode_blocks(BlockFormat(4, 6, 5), y, IDENTITY)
    assert plain[1].ravel().tolist() == [18, 18, 16, 0] and plain[3][0, 0] == 12


def test_chunks():
    for n in (*range(1, 100), 200_704, 2**20 - 1):
        n_chunks, length = chunks_of(n)
        assert (n_chunks - 1) * length < n <= n_chunks * length and n_chunks <= 8
    assert channel_c(1) == channel_c(16)


@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda algorithm: algorithm.value)
def test_tiles_and_masks(algorithm, seed):
    """Channels of several tiles, some masked, are those of each tile alone."""
    config = Config(algorithm=algorithm, lanes=4, storage=BlockFormat(2, 8))
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(1, 2, (300, 10)), rng.standard_normal((300, 10))
    gamma, beta, mask = rng.uniform(0.5, 2, 10), rng.standard_normal(10), np.arange(10) % 4 != 1
    whole = baseline_forward(config, x, gamma, beta, mask=mask)
    gradient = baseline_backward(config, dy, whole, mask=mask)
    for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
        alone = baseline_forward(config, x[:, part], gamma[part], beta[part], mask=mask[part])
        assert_array_equal(whole.y[:, part], alone.y)
        back = baseline_backward(config, dy[:, part], alone, mask=mask[part])
        assert_array_equal(gradient.dx[:, part], back.dx)
        assert_array_equal(gradient.dgamma[part], back.dgamma)
    assert not whole.y[:, ~mask].any() and not gradient.dx[:, ~mask].any() and not gradient.dgamma[~mask].any()


def test_records_cross_as_words(seed):
    config = Config(algorithm=RANGE, lanes=4, x_format=FP10, storage=BF16)
    rng = np.random.default_rng(seed)
    mask = np.array([True, False, True, True])
    result = run_sweep(config, Sweep.COLLECT, {"gamma": np.ones(4), "beta": np.zeros(4)},
                       operand=rng.standard_normal((77, 4)), mask=mask)
    words = sweep_record_words(config, Sweep.COLLECT, result.records, mask)
    assert len(words) == 3 * 21
    for name, values in parse_sweep_record(config, Sweep.COLLECT, words, mask).items():
        assert_array_equal(values, result.records[name])
    with pytest.raises(ValueError, match=r"words must be of shape \(63,\), not \(62,\)"):
        parse_sweep_record(config, Sweep.COLLECT, words[1:], mask)


CONFIG = Config(algorithm=SINGLE, lanes=2, storage=BF16)
X = np.ones((4, 2))
STORED = run_sweep(CONFIG, Sweep.COLLECT, {"gamma": np.ones(2), "beta": np.zeros(2)}, operand=X).encoded
NORMALISE = {"sweep": Sweep.NORMALISE, "params": {"a": np.ones(2), "b": np.zeros(2)}, "stored": STORED}
SUMS = {"sweep": Sweep.SUMS, "operand": X, "stored": STORED,
        "params": {name: np.ones(2) for name in param_words(CONFIG, Sweep.SUMS)}}


@pytest.mark.parametrize("changes, message", [
    ({"config": opn4}, "config must be of a baseline, not of the one-pass algorithm"),
    ({"sweep": Sweep.VARIANCE}, "sweep must be one of COLLECT, NORMALISE, SUMS, GRADIENT, not <Sweep.VARIANCE: 1>"),
    ({"stored": None}, "inputs must be stored, not none"),
    ({"operand": X}, "inputs must be stored, not operand and stored"),
    ({"params": {"a": np.ones(2)}}, "params must be a, b, not a"),
    ({"params": {"a": np.ones(3), "b": np.ones(2)}}, r"params\['a'\] must be of shape \(2,\), not \(3,\)"),
    ({"activation": 3}, "activation must be an Activation, not 3"),
    ({"activation": RELU6}, "activation must be IDENTITY or RELU with algorithm 'single-pass', not"),
    ({"eps": -1.0}, "eps must not be negative, not -1.0"),
    ({"c": 0.0}, "c must be a positive fp32 number, not 0.0"),
    (SUMS | {"params": SUMS["params"] | {"rstd": -np.ones(2)}}, r"params\['rstd'\] must not be negative, not -1.0"),
    (SUMS | {"operand": np.ones((5, 2))}, r"encoded elements must be integers of shape \(5, 2\)"),
    ({"sweep": Sweep.COLLECT, "stored": None, "operand": np.zeros((1 << 20, 1)),
      "params": {"gamma": np.ones(1), "beta": np.ones(1)}}, "n must be from 1 to 1048575, not 1048576"),
])
def test_refusals(changes, message):
    arguments = {"config": CONFIG} | NORMALISE | changes
    with pytest.raises(ValueError, match=message):
        run_sweep(**arguments)


def test_positions_beyond_their_bits_are_refused():
    config = Config(algorithm=RANGE, lanes=2, storage=BF16)
    names = param_words(config, Sweep.GRADIENT)
    params = {name: np.ones(2, int if name.startswith("arg") else float) for name in names}
    params["argmax3"][1] = 1 << 17
    with pytest.raises(ValueError, match=r"params\['argmax3'\] must be positions of 17 bits, not 1 ... 131072"):
        run_sweep(config, Sweep.GRADIENT, params, stored=STORED)


def test_positions_outside_their_chunk_add_nothing():
    config = Config(algorithm=RANGE, lanes=1, storage=BF16)
    params = {name: np.zeros(1, int) if name.startswith("arg") else np.ones(1)
              for name in param_words(config, Sweep.GRADIENT)}
    params |= {"plus": [2.0], "minus": [3.0], "argmax0": np.array([2]), "argmin3": np.array([1]),
               "argmin7": np.array([(1 << 17) - 1])}
    result = run_sweep(config, Sweep.GRADIENT, params, stored=Encoded(BF16, np.zeros((16, 1), np.uint16)))
    wanted = np.ones(16)
    wanted[[0, 6, 7, 14]] = 3, 2, 3, 2
    assert_array_equal(result.values[:, 0], wanted)


def test_every_baseline_has_the_sweeps_of_the_text():
    assert [len(sweeps_of(Config(algorithm=algorithm))) for algorithm in BASELINES] == [4, 4, 6]
