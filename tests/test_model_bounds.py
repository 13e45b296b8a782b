"""The references, and the bound between model and float64 (docs/error_bounds.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_model_forward import CONFIGS

from bnforge import presets
from bnforge.config import Activation
from bnforge_model import backward, bounds, expected_range, forward
from bnforge_model.blocks import is_active
from bnforge_model.gradient_bounds import gradient_bounds, measure_gradients
from bnforge_model.reference import (
    batch_norm,
    batch_norm_backward,
    quantised,
    range_norm,
    range_norm_backward,
)
from bnforge_model.stimulus import INPUT_CLASSES, input_class

IDENTITY, RELU, RELU6 = Activation
SIGNED = [name for name, config in CONFIGS.items() if not config.is_block or config.storage.signed]


@pytest.mark.parametrize("name", INPUT_CLASSES)
@pytest.mark.parametrize("preset", presets.PRESETS)
def test_bound_holds_and_is_tight(preset, name):
    row = bounds.measure(presets.PRESETS[preset][0], name, n=1500, channels=64, seed=5)
    assert row["violations"] == 0
    assert row["bound"] <= 20 * row["error"]


def _violations(config, name, seed, activation, n, **options):
    rng = np.random.default_rng(seed)
    x = quantised(config, input_class(name, config.x_format, rng, (n, 12)))
    gamma, beta = rng.normal(0, 2, 12), rng.normal(0, 2, 12)
    reference = range_norm(config, x, gamma, beta, activation=activation, **options)
    y = forward(config, x, gamma, beta, activation=activation, **options).y
    return np.sum(~(np.abs(y - reference.y) <= bounds.error_bound(config, reference)))


@pytest.mark.parametrize("name", INPUT_CLASSES)
@pytest.mark.parametrize("preset", ["opn16", "opn4", "opn1_tiny"])
def test_gradient_bound_holds_and_is_tight(preset, name):
    """dx within 30 times the largest error; the bounds of the sums are for the worst data, which this is not."""
    rows = measure_gradients(presets.PRESETS[preset][0], name, n=700, channels=32, seed=5)
    for part, row in rows.items():
        assert row["violations"] == 0, part
    if name not in ("extremes", "NaN, infinity"):
        assert rows["dx"]["bound"] <= 30 * rows["dx"]["error"]


@pytest.mark.parametrize("input_name", INPUT_CLASSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_bound_holds_for_odd_formats(name, input_name):
    config = CONFIGS[name]
    for seed, activation in enumerate([IDENTITY, RELU, RELU6]):
        if activation == IDENTITY and name not in SIGNED:
            continue
        rng = np.random.default_rng(seed)
        n = (150, 37, 9)[seed]
        gamma, beta = rng.normal(0, 2, 12), rng.normal(0, 2, 12)
        for dy_name, options in (("normal", {}), (input_name, {"sample_len": 5}),
                                 ("extremes", {"c": 0.011, "eps": 0.0}), ("outlier", {"c": 300.0, "eps": 1e30})):
            x, dy = (quantised(config, input_class(kind, config.x_format, rng, (n, 12)))
                     for kind in (input_name, dy_name))
            result = forward(config, x, gamma, beta, activation=activation, **options)
            got = backward(config, dy, result.encoded, result.records, activation=activation, **options)
            reference = range_norm(config, x, gamma, beta, activation=activation, **options)
            wanted = range_norm_backward(config, reference, dy, mask=is_active(activation, result.y))
            bound = gradient_bounds(config, reference, dy, result.encoded)
            for part, want in zip(("dx", "dgamma", "dbeta"), wanted, strict=True):
                assert np.all(np.abs(getattr(got, part) - want) <= getattr(bound, part)), (part, options, dy_name)


@pytest.mark.parametrize("input_name", INPUT_CLASSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_bound_holds_for_odd_formats(name, input_name):
    config = CONFIGS[name]
    for seed, activation in enumerate([IDENTITY, RELU, RELU6]):
        if activation == IDENTITY and name not in SIGNED:
            continue
        for n in (1, 2, 7, 37, 150):
            assert _violations(config, input_name, seed, activation, n) == 0
        for options in ({"sample_len": 5}, {"c": 0.011, "eps": 0.0}, {"c": 300.0, "eps": 1e30}):
            assert _violations(config, input_name, seed, activation, 50, **options) == 0


def test_range_norm_approaches_batch_norm():
    """On normal data the range of eight chunks of 128 estimates the deviation to a few per cent."""
    config = presets.opn16
    x = np.random.default_rng(1).normal(3, 2, (1024, 400))
    gamma, beta = np.full(400, 1.5), np.full(400, -0.5)
    textbook = batch_norm(x, gamma, beta, activation=IDENTITY)
    ratio = range_norm(config, x, gamma, beta, activation=IDENTITY).a / (1.5 / np.sqrt(x.var(axis=0) + 1e-5))
    assert abs(ratio.mean() - 1) < 0.01 and ratio.std() < 0.06
    assert_allclose(textbook.mean(axis=0), beta, atol=1e-12)
    assert_allclose(textbook.std(axis=0), gamma, rtol=1e-5)


def _difference(function, value, step=1e-6):
    """Central differences of a scalar function by each element."""
    gradient = np.zeros(value.shape)
    for index in np.ndindex(value.shape):
        up, down = value.copy(), value.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("activation", [IDENTITY, RELU, RELU6])
@pytest.mark.parametrize("n, sample_len", [(40, None), (16, None), (9, None), (3, None), (1, None), (30, 7), (30, 13)])
def test_gradient_of_range_norm_is_that_of_finite_differences(n, sample_len, activation):
    """opn1_tiny: S = 16, L = 4. The third channel is constant, which has a = 0: there only beta counts."""
    config, rng = presets.opn1_tiny, np.random.default_rng(n)
    x, dy = rng.standard_normal((2, n, 3))
    x[:, 2] = 1
    gamma, beta = np.array([8.0, -5.0, 2.0]), np.array([2.5, 3.5, 1.0])
    options = dict(activation=activation, sample_len=sample_len, c=0.4, eps=0.1)

    def loss(x, gamma, beta):
        return np.sum(range_norm(config, x, gamma, beta, **options).y * dy)

    dx, dgamma, dbeta = range_norm_backward(config, range_norm(config, x, gamma, beta, **options), dy)
    varying = np.arange(3) < (3 if n == 1 else 2)
    wanted = _difference(lambda v: loss(v, gamma, beta), x) if n > 1 else 0 * x
    assert_allclose(dx[:, varying], wanted[:, varying], atol=1e-6)
    assert_allclose(dgamma, _difference(lambda v: loss(x, v, beta), gamma), atol=1e-6)
    assert_allclose(dbeta, _difference(lambda v: loss(x, gamma, v), beta), atol=1e-6)
    assert not dx[:, 2].any()


def test_gradient_takes_the_mask_of_a_stored_y():
    config, rng = presets.opn4, np.random.default_rng(7)
    x, dy = rng.standard_normal((2, 50, 4))
    reference = range_norm(config, x, np.ones(4), np.zeros(4))
    mask = rng.random((50, 4)) < 0.5
    identity = range_norm(config, x, np.ones(4), np.zeros(4), activation=IDENTITY)
    for got, want in zip(range_norm_backward(config, reference, dy, mask=mask),
                         range_norm_backward(config, identity, np.where(mask, dy, 0)), strict=True):
        assert_array_equal(got, want)


@pytest.mark.parametrize("activation", [IDENTITY, RELU, RELU6])
def test_gradient_of_batch_norm_is_that_of_finite_differences(activation):
    rng = np.random.default_rng(8)
    x, dy = rng.standard_normal((2, 20, 2))
    gamma, beta = np.array([8.0, -5.0]), np.array([2.5, 3.5])
    dx, dgamma, dbeta = batch_norm_backward(x, dy, gamma, beta, activation=activation)

    def loss(x, gamma, beta):
        return np.sum(batch_norm(x, gamma, beta, activation=activation) * dy)

    assert_allclose(dx, _difference(lambda v: loss(v, gamma, beta), x), atol=1e-6)
    assert_allclose(dgamma, _difference(lambda v: loss(x, v, beta), gamma), atol=1e-6)
    assert_allclose(dbeta, _difference(lambda v: loss(x, gamma, v), beta), atol=1e-6)


def test_expected_range():
    """Tabulated values (Harter 1960), and the exact ones for two and three."""
    assert_allclose([expected_range(2), expected_range(3)], [2 / np.sqrt(np.pi), 3 / np.sqrt(np.pi)], rtol=1e-12)
    assert_allclose([expected_range(k) for k in (5, 10, 64, 128, 1024)], [2.32593, 3.07751, 4.687, 5.189, 6.496],
                    atol=1e-3)


def test_command_writes_table_and_files(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        assert bounds.main(["opn4", "-n", "600", "-o", str(folder)]) == 0
    assert "large mean" in capsys.readouterr().out
    rows = json.loads((first / "error_bounds.json").read_text())["presets"]["opn4"]
    assert [row["class"] for row in rows] == list(INPUT_CLASSES)
    for name in ("error_bounds.json", "error_bounds.svg"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_committed_figures_are_todays():
    committed = json.loads((Path(__file__).parent.parent / "docs" / "error_bounds.json").read_text())
    for preset, rows in committed["presets"].items():
        for row in rows:
            today = bounds.measure(presets.PRESETS[preset][0], row["class"], n=committed["n"], seed=committed["seed"])
            assert_allclose([today[key] for key in ("error", "bound", "range")],
                            [row[key] for key in ("error", "bound", "range")], rtol=1e-6)
    for row in committed["gradients"]["opn4"]:
        today = measure_gradients(presets.opn4, row["class"], n=committed["n"], seed=committed["seed"])
        for part, values in today.items():
            assert_allclose([values["error"], values["bound"]], [row[part]["error"], row[part]["bound"]], rtol=1e-6)
            assert row[part]["violations"] == 0


def test_command_refuses_an_unknown_preset(capsys):
    with pytest.raises(SystemExit):
        bounds.main(["opn5"])
    assert "preset must be one of opn16, opn4, opn32_mx, opn1_tiny, not opn5" in capsys.readouterr().err


def test_input_class_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="name must be one of normal, .*, not 'odd'"):
        input_class("odd", presets.opn16.x_format, np.random.default_rng(0), (1, 1))


def test_quantised_is_what_the_model_sees():
    config, rng = presets.opn4, np.random.default_rng(3)
    x = rng.normal(0, 1, (40, 4))
    gamma, beta = np.ones(4), np.zeros(4)
    assert_array_equal(forward(config, x, gamma, beta).y, forward(config, quantised(config, x), gamma, beta).y)
