"""The planted bugs of tests/mutants.py still have a place to be planted; ``make mutants`` plants them."""

import pytest

from mutants import ARRAY_MUTANTS, ENGINE_MUTANTS, FUSED_MUTANTS, MUTANTS, SOURCES


@pytest.mark.parametrize("mutant", MUTANTS + ENGINE_MUTANTS + ARRAY_MUTANTS + FUSED_MUTANTS,
                         ids=lambda mutant: mutant.name)
def test_mutant_has_exactly_one_place(mutant):
    assert (SOURCES / "bnforge" / mutant.file).read_text().count(mutant.old) == 1
