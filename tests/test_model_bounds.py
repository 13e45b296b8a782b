"""The references, and the bound between model and float64 (docs/error_bounds.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_model_forward import CONFIGS

from bnforge import presets
from bnforge.config import Activation
from bnforge_model import bounds, expected_range, forward
from bnforge_model.reference import batch_norm, quantised, range_norm
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
