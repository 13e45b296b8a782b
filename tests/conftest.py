"""Options of the test run."""

import re

import pytest


LARGE = re.compile(r"""
    test_emit\.py::.*\[opn32_mx | test_cocotb\.py::test_core\[verilator-(opn32_mx|opn1_tiny)\] |
    test_area\.py::test_no_total_.*\[(opn4\ backward|opn1_tiny)\] |
    test_formal_engine\.py::.*\[core\]
    """, re.VERBOSE)
"""Tests of what smaller designs, or larger ones of the same modules, are tested for too: only with --all-engines."""


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=2026, help="seed of the random stimulus (default 2026)")
    parser.addoption("--all-engines", action="store_true", help="cocotb benches of every engine and array, and "
                     "proofs of more arrays, and what repeats on larger designs; some minutes")


def pytest_configure(config):
    # Some tests make a component only to ask for its latency.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--all-engines"):
        config.hook.pytest_deselected(items=[item for item in items if LARGE.search(item.nodeid)])
        items[:] = [item for item in items if not LARGE.search(item.nodeid)]


@pytest.fixture
def seed(request):
    """The seed of the random stimulus; printed, so that a failure shows it."""
    value = request.config.getoption("--seed")
    print(f"--seed={value}")
    return value
