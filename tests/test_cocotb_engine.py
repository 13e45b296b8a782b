"""Runs the cocotb bench of the engine; ``--all-engines`` for more configurations, some minutes."""

import contextlib
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools.runner import get_runner
from test_cocotb import BUILD_ARGS

from bnforge.config import Config
from bnforge.emit import component_verilog
from bnforge.engine import Engine
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.formats import FP10, BlockFormat
from bnforge.presets import opn1_tiny, opn4, opn16
from bnforge_sim.build import verilator_environment

BENCHES = Path(__file__).parent / "cocotb"
TESTS = ("register_access", "aligned", "nhwc_stalled", "chained", "bus_errors", "timeouts", "aborted",
         "reset_in_mid_transfer")
SMALL = Config(lanes=4, sample_depth=16, chunk_len=8, storage=BlockFormat(2, 6))
"""Two blocks of 20 bits in a beat of 5 bytes."""
ODD = Config(lanes=3, x_format=FP10, sample_depth=16, chunk_len=8, storage=BlockFormat(1, 5))
"""Beats that fill neither bytes nor bus."""


def _engine(core, data_width, **bus):
    return EngineConfig(core=core, bus=BusConfig(data_width=data_width, **bus))


FAST = [("verilator", "small_64", TESTS,
         _engine(SMALL, 64, max_burst=8, read_buffer=16, write_buffer=16, outstanding=4))]
FULL = [*FAST,
        ("verilator", "tiny_32", TESTS, _engine(opn1_tiny, 32)),
        ("verilator", "small_512", TESTS, _engine(SMALL, 512, address_width=40, outstanding=2)),
        ("verilator", "opn4_128", TESTS, _engine(opn4, 128, max_burst=1, read_buffer=2, write_buffer=2)),
        ("verilator", "opn4_32", TESTS, _engine(opn4, 32, max_burst=256, read_buffer=256, write_buffer=512)),
        ("verilator", "opn16_64", TESTS, _engine(opn16, 64)),
        ("verilator", "odd_256", TESTS, _engine(ODD, 256))]
if shutil.which("iverilog"):
    tiny = _engine(opn1_tiny, 32, max_burst=4, read_buffer=32, outstanding=8)
    FAST.append(("icarus", "tiny_32", ("register_access", "chained"), tiny))
    FULL.append(("icarus", "tiny_32", TESTS, tiny))


def pytest_generate_tests(metafunc):
    runs = FULL if metafunc.config.getoption("--all-engines", default=False) else FAST
    metafunc.parametrize("simulator, tests, config", [run[:1] + run[2:] for run in runs],
                         ids=["-".join(run[:2]) for run in runs])


def test_engine(simulator, tests, config, seed, tmp_path, monkeypatch):
    environment = verilator_environment()
    environment["MAKEFLAGS"] += " OPT_FAST=-O0 OPT_GLOBAL=-O0"  # compiling takes longer than simulating
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.syspath_prepend(str(BENCHES))
    source, settings = tmp_path / f"{config.name}.sv", tmp_path / "config.json"
    source.write_text(component_verilog(Engine(config), config.name))
    settings.write_text(json.dumps(config.to_dict()))
    runner = get_runner(simulator)
    runner.build(sources=[source], hdl_toplevel=config.name, build_dir=tmp_path / "build",
                 build_args=BUILD_ARGS[simulator], timescale=("1ns", "1ps"))
    results = tmp_path / "results.xml"
    with contextlib.suppress(SystemExit):  # raised for failed tests; the results file names them
        runner.test(hdl_toplevel=config.name, test_module="bench_engine", build_dir=tmp_path / "build",
                    test_filter=rf"\.({'|'.join(tests)})$", results_xml=str(results), timescale=("1ns", "1ps"),
                    plusargs=[f"+config={settings}", f"+stimulus_seed={seed}"])
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert failed == []
    assert sorted(case.get("name") for case in cases) == sorted(tests)
