"""The backward pass is the gradient of the sampled forward, and what its floor does to dgamma.

The slow model at its widest formats (``slow_model.WIDEST``: y, a, b with 30 fraction bits, x and dy as float64) runs
forward and backward; the references differentiate the float64 forward, by finite differences and, where PyTorch is
installed, by its autograd.
"""

import functools
import importlib.util
import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import slow_model
from numpy.testing import assert_array_equal

from bnforge.config import Activation, Config
from bnforge.formats import BF16, FP10, WORKING, BlockFormat

IDENTITY, RELU, RELU6 = Activation
CONFIG = Config(lanes=1, sample_depth=32, chunk_len=8, storage=BlockFormat(1, 8))
C, EPS = 0.40625, 0.0078125
TOLERANCE = 1e-6
BY_INDEX = ("tied", "flat chunk")
"""Data whose range has no derivative: there it is that of the first maximum and the first minimum of each chunk."""


@dataclass(frozen=True)
class Case:
    """A channel. ``data`` names the kind of x; the rest is the tile."""

    n: int
    sample_len: int
    activation: Activation = IDENTITY
    gamma: float = 1.5
    beta: float = 0.5
    data: str = "normal"
    chunk_len: int = CONFIG.chunk_len

    def __str__(self):
        return f"{self.n}/{self.sample_len}-{self.activation.name.lower()}-{self.gamma}-{self.beta}-{self.data}"

    @property
    def effective(self):
        """S_eff."""
        return min(self.n, self.sample_len)

    @property
    def chunks(self):
        """K and the length of a chunk."""
        return slow_model.chunks(self, self.effective)


def first_extrema(case, x):
    """Indices into x of each chunk's maximum and minimum; the first of equal ones."""
    n_chunks, length = case.chunks
    parts = x[:n_chunks * length].reshape(n_chunks, length)
    start = np.arange(n_chunks) * length
    return start + parts.argmax(axis=1), start + parts.argmin(axis=1)


def activate(activation, z):
    if activation == IDENTITY:
        return z
    return np.maximum(z, 0) if activation == RELU else np.clip(z, 0, 6)


def sampled_forward(case, x, gamma, beta, extrema=None):
    """(z, y) in float64; x (..., n). With ``extrema`` the range is taken at these indices, else it is max - min."""
    n_chunks, length = case.chunks
    if extrema is None:
        parts = x[..., :n_chunks * length].reshape(*x.shape[:-1], n_chunks, length)
        r = np.mean(parts.max(axis=-1) - parts.min(axis=-1), axis=-1, keepdims=True)
    else:
        r = np.mean(x[..., extrema[0]] - x[..., extrema[1]], axis=-1, keepdims=True)
    mu = np.mean(x[..., :case.effective], axis=-1, keepdims=True)
    z = gamma / (C * (r + EPS)) * (x - mu) + beta
    return z, activate(case.activation, z)


def _near_a_kink(case, x, distance):
    """Whether a step of ``distance`` in x can change the mask, or which element is the extremum of its chunk."""
    z, _ = sampled_forward(case, x, case.gamma, case.beta)
    n_chunks, length = case.chunks
    parts = np.sort(x[:n_chunks * length].reshape(n_chunks, length), axis=1)
    gaps = np.concatenate([parts[:, -1] - parts[:, -2], parts[:, 1] - parts[:, 0]])
    return (case.activation != IDENTITY and np.abs(z[:, None] - [0, 6]).min() < distance
            or case.data not in BY_INDEX and gaps.min() < distance)


def _tie(case, rng, x):
    """Copies the maximum of each chunk, and its minimum, to one more place."""
    n_chunks, length = case.chunks
    for chunk in x[:n_chunks * length].reshape(n_chunks, length):
        extrema = chunk.argmax(), chunk.argmin()
        chunk[rng.choice(np.delete(np.arange(length), extrema), 2, replace=False)] = chunk[list(extrema)]


@functools.cache
def data(case):
    """x and dy, float64 (n,)."""
    rng = np.random.default_rng([case.n, case.sample_len, int(case.activation), case.data in BY_INDEX])
    for _ in range(1000):
        x = rng.normal(0.7, 1.3, case.n)
        if case.data == "tied":
            _tie(case, rng, x)
        elif case.data == "flat chunk":
            x[:case.chunk_len] = x[0]
        elif case.data == "large mean":
            x += 100
        if case.n == 1 or not _near_a_kink(case, x, 1e-4):
            return x, rng.normal(0.3, 1, case.n)
    raise AssertionError("every draw is near a kink")


@dataclass(frozen=True)
class Gradient:
    """dx (n,), dgamma, dbeta and the mask (n,), in forward order; sums and scalars of the slow model."""

    dx: np.ndarray
    dgamma: float
    dbeta: float
    mask: np.ndarray
    y: np.ndarray | None = None
    sums: tuple = ()
    scalars: tuple = ()


def _fp32(value):
    code = int(np.float32(value).view(np.uint32))
    assert slow_model.decode(slow_model.FP32, code) == Fraction(value)
    return code


def run(config, widths, case, x, dy):
    """Forward and backward of the slow model for one channel of values that the input format holds."""
    tile = dict(activation=case.activation, sample_len=case.sample_len, c=_fp32(C), eps=_fp32(EPS), frozen=False,
                mask=[True], widths=widths)
    codes, dy_codes = ([[slow_model.encode(widths.x_format, Fraction(v))] for v in values] for values in (x, dy))
    stored = slow_model.forward_tile(config, codes, [_fp32(case.gamma)], [_fp32(case.beta)], **tile)

    def last(beats):
        return beats[case.effective:] + beats[:case.effective]

    result = slow_model.backward_tile(config, last(dy_codes), last(stored["elements"]), last(stored["exponents"]),
                                      stored["scalars"], stored["positions"], **tile)
    assert stored["flags"] == result["flags"] == (False, False, False)
    values = [float(beat[0]) for beat in result["values"]]
    first = case.n - case.effective
    y = np.array([float(beat[0]) for beat in stored["values"]])
    dgamma, dbeta = map(float, result["gradients"][0])
    mask = np.array([bool(slow_model.active(case.activation, v)) for v in y])
    return Gradient(np.array(values[first:] + values[:first]), dgamma, dbeta, mask, y,
                    tuple(map(float, result["sums"][0])), tuple(map(float, stored["scalars"][0])))


@functools.cache
def widest(case):
    """:func:`run` at the widest formats."""
    return run(CONFIG.replace(sample_depth=max(32, case.sample_len), chunk_len=case.chunk_len), slow_model.WIDEST, case,
               *data(case))


def finite_differences(case):
    """Central differences of Σ dy·y, step 2e-6; the range is max - min itself, except for ``BY_INDEX``."""
    x, dy = data(case)
    step = 2e-6
    extrema = first_extrema(case, x) if case.data in BY_INDEX else None

    def loss(x, gamma, beta):
        return sampled_forward(case, x, gamma, beta, extrema)[1] @ dy

    dx = np.empty(case.n)
    for i in range(case.n):
        moved = np.stack([x, x])
        moved[:, i] += [step, -step]
        up, down = loss(moved, case.gamma, case.beta)
        dx[i] = (up - down) / (moved[0, i] - moved[1, i])
    dgamma = (loss(x, case.gamma + step, case.beta) - loss(x, case.gamma - step, case.beta)) / (2 * step)
    dbeta = (loss(x, case.gamma, case.beta + step) - loss(x, case.gamma, case.beta - step)) / (2 * step)
    z, _ = sampled_forward(case, x, case.gamma, case.beta)
    mask = np.ones(case.n, bool) if case.activation == IDENTITY else (z > 0) & ((case.activation == RELU) | (z < 6))
    return Gradient(dx, dgamma, dbeta, mask)


def autograd(case):
    """PyTorch's autograd in float64; maxima and minima are gathered by the index of the first."""
    import torch
    values, dy = data(case)
    high, low = (torch.tensor(index) for index in first_extrema(case, values))
    x = torch.tensor(values, requires_grad=True)
    gamma, beta = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (case.gamma, case.beta))
    r = (x[high] - x[low]).mean()
    z = gamma / (C * (r + EPS)) * (x - x[:case.effective].mean()) + beta
    y = {IDENTITY: lambda z: z, RELU: torch.relu, RELU6: torch.nn.functional.relu6}[case.activation](z)
    y.backward(torch.tensor(dy))
    mask = torch.ones(case.n, dtype=bool) if case.activation == IDENTITY else (y > 0)
    if case.activation == RELU6:
        mask &= y < 6
    return Gradient(x.grad.numpy(), float(gamma.grad), float(beta.grad), mask.detach().numpy())


REFERENCES = [finite_differences]
if importlib.util.find_spec("torch"):
    REFERENCES.append(autograd)

SHAPES = {"n < L": (5, 32), "n < S": (27, 32), "n = S": (32, 32), "n >> S": (500, 32), "S_eff < L": (200, 6),
          "S_eff = L": (130, 8), "S_eff not a multiple of L": (300, 27)}
CASES = [Case(n, sample_len, activation, gamma, beta, kind)
         for (n, sample_len), kind in itertools.product(SHAPES.values(), ["normal", "tied", "large mean"])
         for activation, beta in ((IDENTITY, 0.5), (RELU, 0.5), (RELU6, 3.25))
         for gamma in (5.0, -4.0)]
CASES += [Case(n, 32, activation, 5.0, 0.5, "flat chunk") for n in (32, 100) for activation in (IDENTITY, RELU)]
DEEP = [Case(3000, 1024, activation, -4.0, beta, kind, chunk_len=128)
        for activation, beta in ((IDENTITY, 0.5), (RELU, 0.5), (RELU6, 3.25)) for kind in ("normal", "tied")]


def _assert_is_gradient(case, reference):
    got, want = widest(case), reference(case)
    _, dy = data(case)
    assert_array_equal(got.mask, want.mask)
    scale = np.linalg.norm(got.scalars[0] * dy * want.mask)
    assert scale > 0
    assert np.linalg.norm(got.dx - want.dx) <= TOLERANCE * scale
    assert abs(got.dgamma - want.dgamma) <= TOLERANCE * scale
    assert abs(got.dbeta - want.dbeta) <= TOLERANCE * scale


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_is_the_gradient(case, reference):
    _assert_is_gradient(case, reference)


@pytest.mark.parametrize("reference", REFERENCES[1:])
@pytest.mark.parametrize("case", DEEP, ids=str)
def test_is_the_gradient_of_a_deep_sample(case, reference):
    _assert_is_gradient(case, reference)


@pytest.mark.parametrize("reference", REFERENCES)
def test_one_element_has_no_gradient_but_beta(reference):
    """n = 1: R = 0, x is its own mean."""
    case = Case(1, 32, RELU)
    got, want = widest(case), reference(case)
    assert got.scalars[0] == got.dgamma == got.dx[0] == 0
    assert abs(want.dgamma) < 1e-9 and abs(want.dx[0]) < 1e-3
    assert abs(got.dbeta - want.dbeta) <= 1e-9 * abs(want.dbeta)
    assert want.dbeta != 0


def test_cases_clip_and_tie():
    """What the cases are there for happens in them: relu6 cuts on both sides, extrema are tied."""
    for case in CASES:
        x, _ = data(case)
        z, _ = sampled_forward(case, x, case.gamma, case.beta)
        if case.activation == RELU6 and case.n >= 100:
            assert min((z < 0).sum(), (z > 6).sum()) >= 0.02 * case.n
        if case.data == "tied":
            n_chunks, length = case.chunks
            parts = x[:n_chunks * length].reshape(n_chunks, length)
            for extreme in (parts.max(axis=1, keepdims=True), parts.min(axis=1, keepdims=True)):
                assert ((parts == extreme).sum(axis=1) == 2).all()


@pytest.mark.parametrize("gamma", [2.0 ** -7, -2.0 ** -10, 2.0 ** -17, -2.0 ** -30, 2.0 ** -60, 0.0])
@pytest.mark.parametrize("activation", Activation)
def test_below_the_floor(activation, gamma):
    """|gamma| < 2^-6: dgamma is the gradient times |gamma'| / floor, and dx loses what y has lost.

    P is wrong by at most E = 2^-30 · (Σ|g·y| + |beta'| · Σ|g|): y is rounded once at 31 significant bits, which moves
    it by 2^-31 of itself, and the sums are wrong by less. So dgamma is wrong by E / floor, and never larger than the
    gradient by more; the K maxima and K minima get Rinv·P/K, so dx is wrong by Rinv · E · sqrt(2/K) besides the
    1e-6 of ‖a·g‖ that holds for all.
    """
    case = Case(300, 27, activation, gamma)
    (x, dy), got = data(case), widest(case)
    a, b, rinv, mu, _ = got.scalars
    want = finite_differences(case)
    g = dy * want.mask
    assert_array_equal(got.mask, want.mask)
    centre = abs(b + mu * a)
    floor = max(2.0 ** -6, centre * 2.0 ** -31)
    error = 2.0 ** -30 * (np.abs(g * got.y).sum() + centre * np.abs(g).sum())
    tolerance = TOLERANCE * np.linalg.norm(a * g)
    # The differences themselves: Σ dy·y is rounded at 2^-53 of its terms, and divided by 4e-6.
    noise = 1e-11 * np.abs(g * got.y).sum()
    assert np.linalg.norm(got.dx - want.dx) <= tolerance + rinv * error * (2 / case.chunks[0]) ** 0.5 + 2 * noise * len(
        x) ** 0.5
    assert abs(got.dgamma - want.dgamma * abs(gamma) / floor) <= (error + tolerance) / floor + noise
    assert np.isfinite(got.dx).all()
    if gamma == 0:
        assert got.dgamma == 0


STORAGES = {"block 8": BlockFormat(1, 8), "block 6": BlockFormat(1, 6), "unsigned 8": BlockFormat(1, 8, signed=False),
            "bf16": BF16, "fp10": FP10, "1-8-15": WORKING}
RATIOS = [1, 30, 1000, 10_000]


def _quantised(values):
    """Rounded to bf16, as float64."""
    return np.array([float(slow_model.rounder(BF16, Fraction(v))[0]) for v in values])


def _dgamma(name, case):
    """The result of the storage ``name``, the exact dgamma with the stored mask, and the bound of what P / gamma' adds.

    Returns
    -------
    got : Gradient
    want, bound, scale : float
        ``scale`` is |gamma'| / max(|gamma'|, floor).
    extra : dict
        Terms of the bound for the tests below.
    """
    config = CONFIG.replace(storage=STORAGES[name])
    rng = np.random.default_rng([case.n, int(case.activation)])
    x, dy = _quantised(rng.normal(0.7, 1.3, case.n)), _quantised(rng.normal(0.3, 1, case.n))
    got = run(config, slow_model.Widths.of(config), case, x, dy)
    high, low = first_extrema(case, x)
    mu, r = x[:case.effective].mean(), (x[high] - x[low]).mean()
    g = dy * got.mask
    want = float(g @ (x - mu) / (C * (r + EPS)))
    a, b, _, stored_mu, stored_r = got.scalars
    m_y = config.storage.fraction_width
    gamma, centre = abs(a * C * (stored_r + EPS)), abs(b + stored_mu * a)
    floor = max(2.0 ** -6, centre * 2.0 ** -(m_y + 1))
    step = 2.0 ** -(m_y + 1) * (1 + 2.0 ** -(m_y - 1)) + 2.0 ** -15
    lost = step * np.abs(g * got.y).sum() + 2.0 ** -14 * (np.abs(g * got.y).sum() + centre * np.abs(g).sum())
    mean = 2.0 ** -13 * np.abs(x[:case.effective]).mean() * abs(g.sum()) / (C * (r + EPS))
    scale = gamma / max(gamma, floor)
    small = mean + 2.0 ** -12 * abs(want)
    bound = (1 - scale) * abs(want) + lost / max(gamma, floor) + small
    return got, want, bound, scale, {"g": g, "centre": centre, "gamma": a * C * (stored_r + EPS), "small": small,
                                     "spread": np.abs(x - mu).max() / (C * (r + EPS))}


def _large_ratios(ratio, activation, sign):
    """beta/gamma = ±ratio, by a large beta and by a small gamma."""
    beta = Fraction(ratio)
    return [Case(160, 32, activation, sign * 1.0, float(beta)),
            Case(160, 32, activation, sign * float(np.float32(1 / ratio)), 1.0)]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("name", STORAGES)
def test_dgamma_for_large_beta(name, ratio, sign):
    """The error of dgamma against float64 with the mask of the stored y, at most

        (1 - s)·|dgamma| + E / max(|gamma'|, floor) + small,      s = min(1, |gamma'| / floor)
        E = Σ|g|·|y|·2^-(M_y+1)  +  2^-14 · (Σ|g·y| + |beta'|·Σ|g|)

    because P = Σ g·(y - beta') sees the rounding of y, at most 2^-(M_y+1) of |y| (one element a block here; else of
    the largest |y| of its block), and of the sums. ``small`` is 2^-13 of mean|x| through mu, and 2^-12 of dgamma itself
    through R. As floor >= |beta'| · 2^-(M_y+1), and |y| <= |beta'| + |gamma'|·max|x^|, up to its own rounding

        E / max(|gamma'|, floor) <= Σ|g| · (1 + max|x^|·|gamma'| / |beta'|) · (1 + 5 · 2^(M_y-14)):

    whatever beta/gamma is, the error is at most what one unit of x^ would be at each element (its last factor is 1.02
    with 8 bits), and, where s < 1, what the floor takes from dgamma.
    """
    activations = [RELU] if name == "unsigned 8" else [IDENTITY, RELU]
    for activation in activations:
        for case in _large_ratios(ratio, activation, sign):
            got, want, bound, scale, terms = _dgamma(name, case)
            error = abs(got.dgamma - want)
            assert error <= bound
            total, gamma = np.abs(terms["g"]).sum(), abs(terms["gamma"])
            m_y = STORAGES[name].fraction_width
            units = (1 + 2.0 ** -m_y) * (1 + terms["spread"] * gamma / terms["centre"])
            limit = total * units * (1 + 2.0 ** (1 - m_y) + 5 * 2.0 ** (m_y - 14))
            assert bound <= (1 - scale) * abs(want) + limit + terms["small"]


def test_without_the_floor_dgamma_is_noise():
    """At beta/gamma = 10^4 and 6 bits, P / gamma' itself is beyond the bound that the floor keeps."""
    got, want, bound, scale, terms = _dgamma("block 6", Case(300, 32, RELU, 1.0, 10_000.0))
    a, b, _, mu, _ = got.scalars
    bare = (got.sums[1] - (b + mu * a) * got.sums[0]) / terms["gamma"]
    assert scale < 0.01 and abs(got.dgamma - want) <= bound
    assert abs(bare - want) > 5 * bound
