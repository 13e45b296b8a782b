"""Runs the cocotb bench of the array, on Icarus where that is installed; ``--all-engines``: larger ones, on both."""

import contextlib
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools.runner import get_runner
from test_cocotb import BUILD_ARGS

from bnforge.array import SystolicArrayTop
from bnforge.array_config import ArrayConfig
from bnforge.emit import component_verilog
from bnforge.formats import BF16, BlockFormat
from bnforge_sim.build import verilator_environment

BENCHES = Path(__file__).parent / "cocotb"
BLOCKS = ArrayConfig(name="blocks", rows=2, columns=4, storage=BlockFormat(2, 6), depth=8)
FLOATS = ArrayConfig(name="floats", rows=4, columns=3, storage=BF16, depth=16, transposes=False)
ICARUS = [("icarus", BLOCKS)] if shutil.which("iverilog") else []
RUNS = ICARUS or [("verilator", BLOCKS)]
ALL_RUNS = [*ICARUS, *(("icarus", FLOATS) for _ in ICARUS), ("verilator", BLOCKS), ("verilator", FLOATS)]


def pytest_generate_tests(metafunc):
    runs = ALL_RUNS if metafunc.config.getoption("--all-engines", default=False) else RUNS
    metafunc.parametrize("simulator, config", runs, ids=[f"{simulator}-{config.name}" for simulator, config in runs])


def test_array(simulator, config, seed, tmp_path, monkeypatch):
    environment = verilator_environment()
    environment["MAKEFLAGS"] += " OPT_FAST=-O0 OPT_GLOBAL=-O0"  # compiling takes longer than simulating
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.syspath_prepend(str(BENCHES))
    source, settings = tmp_path / f"{config.name}.sv", tmp_path / "config.json"
    source.write_text(component_verilog(SystolicArrayTop(config), config.name))
    settings.write_text(json.dumps(config.to_dict()))
    runner = get_runner(simulator)
    runner.build(sources=[source], hdl_toplevel=config.name, build_dir=tmp_path / "build",
                 build_args=BUILD_ARGS[simulator], timescale=("1ns", "1ps"))
    results = tmp_path / "results.xml"
    with contextlib.suppress(SystemExit):  # raised for failed tests; the results file names them
        runner.test(hdl_toplevel=config.name, test_module="bench_array", build_dir=tmp_path / "build",
                    plusargs=[f"+config={settings}", f"+stimulus_seed={seed}"], timescale=("1ns", "1ps"),
                    results_xml=str(results))
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert failed == []
    assert len(cases) == 3
