"""Comparison with the model finds what differs, and the verb behind ``bnforge simulate``."""

import numpy as np
import pytest

from bnforge.presets import opn1_tiny
from bnforge_sim import Simulator, compare, simulate
from bnforge_sim.figures import plain_backward_tiles, plain_tiles

FIELDS = ["elements", "exponents", "last", "records", "record_last"]


@pytest.fixture(scope="module")
def tiles():
    return plain_tiles(opn1_tiny, 2, 20, 16) + plain_backward_tiles(opn1_tiny, 1, 20, 16)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("change", ["flip", "drop", "add"])
def test_difference_is_found(field, change, tiles):
    outcome = Simulator(opn1_tiny).run(tiles)
    assert compare(opn1_tiny, tiles, outcome).messages == []
    values = getattr(outcome, field).copy()
    if change == "flip":
        values[7] ^= 1
    else:
        values = values[:-1] if change == "drop" else np.concatenate([values, values[-1:]])
    setattr(outcome, field, values)
    result = compare(opn1_tiny, tiles, outcome)
    assert (result.mismatches, len(result.messages)) == (1, 1)


def test_flags_are_compared(tiles):
    outcome = Simulator(opn1_tiny).run(tiles)
    outcome.status, outcome.cleared = 4, 8
    assert compare(opn1_tiny, tiles, outcome).messages == [
        "status: 1 differ, first at (0,): 4, not 0", "status after clear: 1 differ, first at (0,): 8, not 0"]


def test_simulate_reports(seed, tmp_path):
    lines = []
    result = simulate(opn1_tiny, elements=500, seed=seed, report=lines.append)
    assert result.mismatches == 0 and result.elements >= 500
    assert lines[-1].startswith(f"opn1_tiny: seed {seed}, {result.elements} elements compared, 0 mismatches, ")


def test_simulate_writes_waves(tmp_path):
    simulate(opn1_tiny, waves=tmp_path / "core.vcd", report=print)
    assert (tmp_path / "core.vcd").stat().st_size > 1000
