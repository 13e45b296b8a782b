"""Every preset, generated, compiled and driven in bulk over a pairwise covering array: bit-exact with the model."""

import numpy as np
import pytest

from bnforge.presets import PRESETS
from bnforge_sim import Simulator, compare
from bnforge_sim.pairwise import pairwise, uncovered
from bnforge_sim.stimulus import axes, random_segment

MIN_ELEMENTS = 50_000
"""Elements to compare for each preset; all of them together reach 10^6."""


def run_pairwise(config, seed):
    """Elements compared and the differences found."""
    rng = np.random.default_rng(seed)
    cases = pairwise(axes(config), rng)
    assert not uncovered(axes(config), cases)
    pairs = [random_segment(config, case, rng) for case in cases]
    outcomes = Simulator(config).run_segments([segment for _, segment in pairs], seed=seed)
    results = [compare(config, tiles, outcome) for (tiles, _), outcome in zip(pairs, outcomes, strict=True)]
    return (sum(result.elements for result in results),
            [f"{case}: {message}" for case, result in zip(cases, results) for message in result.messages])


@pytest.mark.parametrize("name", ["opn32_mx", "opn16", "opn4", "opn1_tiny"])
def test_preset_equals_model(name, seed):
    elements, differences = run_pairwise(PRESETS[name][0], seed)
    print(f"{name}: {elements} elements compared")
    assert differences == []
    assert elements >= (20 * MIN_ELEMENTS if name == "opn16" else MIN_ELEMENTS)
