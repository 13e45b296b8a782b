"""What docs/gradient.json says: errors at the default formats, bits of the sums, dgamma for large beta."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import slow_model
import test_gradient
from numpy.testing import assert_allclose, assert_array_equal

from bnforge.config import Activation
from bnforge.presets import opn4, opn16
from bnforge_model.reference import range_norm, range_norm_backward
from bnforge_sim import accuracy, hard_sums

COMMITTED = json.loads((Path(__file__).parent.parent / "docs" / "gradient.json").read_text())
SIZE = {key: COMMITTED[key] for key in ("n", "channels", "seed")}


@pytest.mark.parametrize("case", [case for case in test_gradient.CASES if case.gamma > 0], ids=str)
def test_reference_is_the_gradient(case):
    x, dy = test_gradient.data(case)
    config = test_gradient.CONFIG
    reference = range_norm(config, x[:, None], np.array([case.gamma]), np.array([case.beta]), c=test_gradient.C,
                           eps=test_gradient.EPS, activation=case.activation, sample_len=case.sample_len)
    want = test_gradient.finite_differences(case)
    dx, dgamma, dbeta = range_norm_backward(config, reference, dy[:, None], mask=want.mask[:, None])
    scale = np.linalg.norm(reference.a * dy * want.mask)
    assert np.linalg.norm(dx[:, 0] - want.dx) <= 1e-6 * scale
    assert abs(dgamma[0] - want.dgamma) <= 1e-6 * scale
    assert abs(dbeta[0] - want.dbeta) <= 1e-6 * scale


@pytest.mark.parametrize("row", COMMITTED["errors"], ids=lambda row: f"{row['data']}-{row['activation']}")
def test_committed_errors_are_todays(row):
    today = accuracy.errors(opn16, row["data"], Activation[row["activation"].upper()], **SIZE)
    for key in ("y", "dx", "dgamma", "mask"):
        assert_allclose(today[key], row[key], rtol=1e-6, err_msg=key)
    assert max(today["y"], today["dx"], today["dgamma"]) < 0.02
    # Sg has 24 bits, float64's own sum is better.
    assert today["dbeta"] < 2.0 ** -23
    assert today["mask"] < 0.01


def test_every_kind_of_data_is_in_the_table():
    assert {(row["data"], row["activation"]) for row in COMMITTED["errors"]} == {
        (data, activation.name.lower()) for data in accuracy.DATA for activation in Activation}
    assert {(row["case"], row["log2_n"]) for row in COMMITTED["sums"]} == {
        (case, size) for case in hard_sums.SUM_CASES for size in (10, 12, 14, 16, 18, 20)}
    assert [row["ratio"] for row in COMMITTED["large_beta"]] == [1, 10, 100, 1000, 10_000]


def test_sums_keep_their_bits():
    """Every row is above the derived bound, and the worst one is near it."""
    assert COMMITTED["sum_bits_bound"] == hard_sums.SUM_BITS_BOUND
    assert 14.8 < hard_sums.SUM_BITS_BOUND < 14.9
    bits = [row[key] for row in COMMITTED["sums"] for key in ("sg", "sgy", "p") if row[key] is not None]
    assert hard_sums.SUM_BITS_BOUND <= min(bits) < 15.1


@pytest.mark.parametrize("row", [row for row in COMMITTED["sums"] if row["log2_n"] <= 14],
                         ids=lambda row: f"{row['case']}-{row['log2_n']}")
def test_committed_bits_are_todays(row):
    today = hard_sums.sum_bits(opn16, row["case"], log2_n=row["log2_n"], draws=COMMITTED["draws"], seed=SIZE["seed"])
    for key in ("sg", "sgy", "p"):
        assert (today[key] is None) == (row[key] is None)
        if row[key] is not None:
            assert_allclose(today[key], row[key], rtol=1e-9)


@pytest.mark.parametrize("config", [opn16, opn4], ids=["opn16", "opn4"])
@pytest.mark.parametrize("name", hard_sums.SUM_CASES)
def test_hard_sums_equal_slow_model(name, config):
    """The sums of the model, and how their bits are counted, against fractions."""
    g, y, centre = hard_sums.sum_case(config, name, log2_n=10, draws=1, seed=3)
    got = [Fraction(float(total[0])) for total in hard_sums.model_sums(config, g, y)]
    values = [[Fraction(float(v)) for v in column[:, 0]] for column in (g, y)]
    assert_array_equal(got, slow_model.block_totals(config, slow_model.Widths.of(config), *values))
    for total, terms in ((got[0], values[0]), (got[1], [u * v for u, v in zip(*values, strict=True)])):
        error = abs(total - sum(terms)) / sum(map(abs, terms))
        bits = hard_sums.effective_bits(total, np.array([float(term) for term in terms]))
        assert bits == math.inf if error == 0 else abs(bits + math.log2(error)) < 1e-6
    assert centre > 0


@pytest.mark.parametrize("row", COMMITTED["large_beta"], ids=lambda row: str(row["ratio"]))
def test_dgamma_for_large_beta_is_as_committed_and_bounded(row):
    today = accuracy.large_beta(opn16, row["ratio"], n=SIZE["n"], seed=SIZE["seed"])
    assert_allclose([today[key] for key in ("error", "bound", "floored")],
                    [row[key] for key in ("error", "bound", "floored")], rtol=1e-6)
    assert today["violations"] == 0 and today["error"] <= today["bound"] < 4


def test_command_writes_both_files(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        assert accuracy.main(["-n", "512", "--channels", "16", "--largest", "10", "-o", str(folder)]) == 0
    assert "effective bits" in capsys.readouterr().out
    for name in ("gradient.json", "gradient.svg"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
