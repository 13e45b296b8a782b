import numpy as np
from bnforge_sim.pairwise import pairwise, uncovered

SPACE = {"a": (1, 2, 3), "b": ("x", "y"), "c": tuple(range(5)), "d": (None,)}


def test_covers_every_pair():
    for seed in range(5):
        assert uncovered(SPACE, pairwise(SPACE, np.random.default_rng(seed))) == set()


def test_needs_few_rows():
    assert len(pairwise(SPACE, np.random.default_rng(0))) <= 18


def test_uncovered_names_the_missing_pair():
    rows = [{"a": a, "b": b} for a in (1, 2) for b in "xy"]
    assert uncovered({"a": (1, 2), "b": "xy"}, rows[:-1]) == {(("a", 2), ("b", "y"))}
