"""Options of the test run."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=2026, help="seed of the random stimulus (default 2026)")
    parser.addoption("--all-engines", action="store_true", help="cocotb benches of every engine and array, and "
                     "proofs of more arrays, some minutes")


def pytest_configure(config):
    # Some tests make a component only to ask for its latency.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture
def seed(request):
    """The seed of the random stimulus; printed, so that a failure shows it."""
    value = request.config.getoption("--seed")
    print(f"--seed={value}")
    return value
