import json
from math import prod

from bnforge.presets import PRESETS, opn1_tiny
from bnforge_sim import soak
from bnforge_sim.stimulus import axes


def test_round_is_the_full_product():
    space = axes(opn1_tiny)
    cases = soak.product_cases(opn1_tiny, [1, 0])
    tuples = {tuple(case[axis] for axis in soak.PRODUCT_AXES) for case in cases}
    assert len(cases) == len(tuples) == prod(len(space[axis]) for axis in soak.PRODUCT_AXES)
    assert all(case[axis] in space[axis] for case in cases for axis in space)


def test_rounds_differ_and_seeds_repeat():
    assert soak.product_cases(opn1_tiny, [1, 0]) == soak.product_cases(opn1_tiny, [1, 0])
    assert soak.product_cases(opn1_tiny, [1, 0]) != soak.product_cases(opn1_tiny, [1, 1])


def test_batch_equals_model(seed):
    cases = soak.product_cases(opn1_tiny, [seed, 0])[:8]
    elements, mismatches, messages, cycles, _seconds = soak.run_batch("opn1_tiny", [seed, 0, 0], cases)
    assert (mismatches, messages) == (0, [])
    assert elements > 0 and cycles > 0


def test_progress_survives(tmp_path):
    path = tmp_path / "soak.json"
    soak.Progress(path, 1, "design").add(3, "opn4", 100, 0, 50, 0.5)
    again = soak.Progress(path, 1, "design")
    assert (again.elements, again.state["batches"]) == (100, [3])
    assert soak.Progress(path, 2, "design").elements == soak.Progress(path, 1, "other").elements == 0
    assert set(json.loads(path.read_text())["elements"]) == set(PRESETS)
