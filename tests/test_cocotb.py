"""Runs the cocotb benches: every preset on Verilator, two on Icarus where that is installed."""

import contextlib
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cocotb_tools.runner import get_runner

from bnforge import emit
from bnforge.presets import PRESETS
from bnforge_sim.build import verilator_environment

BENCHES = Path(__file__).parent / "cocotb"
RUNS = [("verilator", name) for name in PRESETS]
if shutil.which("iverilog"):
    RUNS += [("icarus", "opn1_tiny"), ("icarus", "opn4")]
BUILD_ARGS = {
    # Only the ports are looked at: cocotb's --public-flat-rw doubles what has to be compiled. One file of C++ compiles
    # in two thirds of the time of many with a precompiled header.
    "verilator": ["--no-public-flat-rw", "--public-depth", "1", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style",
                  "-Wno-UNOPTFLAT", "--output-split", "0"],
    "icarus": ["-g2012"],
}


@pytest.mark.parametrize("simulator, name", RUNS)
def test_core(simulator, name, seed, tmp_path, monkeypatch):
    environment = verilator_environment()
    environment["MAKEFLAGS"] += " OPT_FAST=-O0 OPT_GLOBAL=-O0"  # compiling takes longer than simulating
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.syspath_prepend(str(BENCHES))
    config = PRESETS[name][0]
    source = tmp_path / f"{name}.sv"
    source.write_text(emit.verilog(config))
    runner = get_runner(simulator)
    runner.build(sources=[source], hdl_toplevel=config.name, build_dir=tmp_path / "build",
                 build_args=BUILD_ARGS[simulator], timescale=("1ns", "1ps"))
    results = tmp_path / "results.xml"
    with contextlib.suppress(SystemExit):  # raised for failed tests; the results file names them
        runner.test(hdl_toplevel=config.name, test_module="bench_core", build_dir=tmp_path / "build",
                    plusargs=[f"+preset={name}", f"+stimulus_seed={seed}"], timescale=("1ns", "1ps"),
                    results_xml=str(results))
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert failed == []
    assert len(cases) == 5
