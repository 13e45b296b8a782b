"""Generated files: clean for every tool, the same bytes twice, no latches, no initial values, no module twice."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from bnforge import emit, tools
from bnforge.array_config import ArrayConfig
from bnforge.config import read_toml
from bnforge.engine_config import EngineConfig, configuration
from bnforge.presets import PRESETS, opn1_tiny, opn16
from bnforge_sim.build import verilator_environment

ROOT = Path(__file__).parent.parent
CORES = {name: config for name, (config, _text) in PRESETS.items()} | {
    path.stem: configuration(read_toml(path)) for path in sorted(ROOT.glob("examples/*.toml"))} | {
    "tiny_engine": EngineConfig(name="tiny_engine", core=opn1_tiny, array=ArrayConfig.of(opn1_tiny, depth=4))}

every_core = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name))
                                              for name in CORES])


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """A function from the name of a core to the directory it was generated in, once."""
    directories = {}

    def generate(name):
        if name not in directories:
            directories[name] = tmp_path_factory.mktemp(name)
            emit.generate(CORES[name], directories[name])
        return directories[name]

    return generate


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@every_core
def test_verilator_has_nothing_to_say_beyond_the_reviewed_waivers(generated, name):
    lint = run("verilator", "--lint-only", "-Wall", "--top-module", f"{name}_inst",
               str(ROOT / "constraints" / "verilator.vlt"), f"{name}.sv", f"{name}_inst.sv",
               cwd=generated(name), env=verilator_environment())
    assert (lint.returncode, lint.stderr) == (0, "")


@pytest.mark.parametrize("icarus", [path for path in [shutil.which("iverilog")] if path])
@every_core
def test_icarus_parses_the_core_and_its_template(generated, name, icarus):
    compiled = run(icarus, "-g2012", "-Wall", "-o", "/dev/null", "-s", f"{name}_inst", f"{name}.sv",
                   f"{name}_inst.sv", cwd=generated(name))
    assert (compiled.returncode, compiled.stderr) == (0, "")


@every_core
def test_yosys_reads_it_back_without_problems_or_latches(generated, name):
    source = (generated(name) / f"{name}.sv").read_text()
    script = (f"read_verilog -sv core.sv\nhierarchy -check -top {name}\nproc\ncheck -assert\n"
              "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr t:$dff* %x:+[ARST] %i")
    tools.yosys(script, {"core.sv": source})


@every_core
def test_state_is_defined_by_reset_not_by_initial_values(generated, name):
    source = (generated(name) / f"{name}.sv").read_text()
    assert not re.search(r"\binitial\b|^\s*reg [^;]*=|always_latch|always @", source, re.M)


@every_core
def test_every_register_has_a_name_of_the_generator(generated, name):
    """A tuple of Signals is assigned without names, and netlists and timing reports are read by name."""
    source = (generated(name) / f"{name}.sv").read_text()
    assert not re.findall(r"^.*\breg\b.*\b_?signal_?\d*;$", source, re.M)


@every_core
def test_every_module_is_named_after_the_core_and_no_two_are_the_same(generated, name):
    source = (generated(name) / f"{name}.sv").read_text()
    modules = re.findall(r"^module (\w+) \((.*?)^endmodule", source, re.M | re.S)
    assert modules[0][0] == name
    assert all(module.startswith(f"{name}_") for module, _body in modules[1:])
    assert len({body for _module, body in modules}) == len(modules)


@pytest.mark.parametrize("name", ["opn16", "opn32_mx"])
def test_lanes_are_instances_of_one_module(generated, name):
    source = (generated(name) / f"{name}.sv").read_text()
    assert len(re.findall(rf"^module {name}_normaliser_lane", source, re.M)) == 1
    assert len(re.findall(rf"^  {name}_normaliser_lane lane\d+ \(", source, re.M)) == CORES[name].lanes


@pytest.mark.parametrize("name", ["opn16", "opn1_tiny"])
def test_another_process_writes_the_same_bytes(generated, name, tmp_path):
    again = run(sys.executable, "-m", "bnforge.cli", "generate", name, "-o", str(tmp_path))
    assert again.returncode == 0, again.stderr
    first = {path.name: path.read_bytes() for path in generated(name).iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


@every_core
def test_the_manifest_describes_the_other_files(generated, name):
    directory = generated(name)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert configuration(manifest["configuration"]) == CORES[name]
    assert manifest["versions"] == tools.versions()
    assert manifest["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                                  for path in directory.iterdir() if path.name != "manifest.json"}
    assert (directory / f"{name}.f").read_text() == f"{name}.sv\n"


@every_core
def test_files_carry_configuration_and_versions_but_no_path(generated, name):
    for path in generated(name).glob(f"{name}*.s*"):
        text = path.read_text()
        assert all(version in text for version in tools.versions().values())
        assert f'lanes = {CORES[name].lanes}\n' in text
        assert str(ROOT) not in text and "/tmp" not in text


def test_the_constraint_has_the_clock_and_every_port(generated):
    text = (generated("small_maps") / "small_maps.sdc").read_text()
    assert "create_clock -name aclk -period 5.0000 [get_ports aclk]" in text
    inputs, outputs = (set(re.search(rf"set_{way}_delay .*{{(.*)}}", text)[1].split()) for way in ("input", "output"))
    source = (generated("small_maps") / "small_maps.sv").read_text().split(");", 1)[0]
    ports = re.findall(r"(input|output) +(?:wire|reg) +(\[)?(?:\d+:0\] )?(\w+)", source)
    assert inputs == {port + "[*]" * bool(wide) for way, wide, port in ports if way == "input"} - {"aclk"}
    assert outputs == {port + "[*]" * bool(wide) for way, wide, port in ports if way == "output"}


def test_the_committed_constraint_is_that_of_the_default_core(generated):
    text = (generated("opn16") / "opn16.sdc").read_text()
    assert text.split("\n\n", 1)[1] == (ROOT / "constraints" / "clocks.sdc").read_text()


def test_two_cores_fit_into_one_design(generated):
    sources = [str(generated(name) / f"{name}.sv") for name in ("opn4", "opn1_tiny")]
    both = "\n".join(Path(source).read_text() for source in sources)
    names = re.findall(r"^module (\w+)", both, re.M)
    assert len(set(names)) == len(names)


# A design small enough to check by eye.

class Part(wiring.Component):
    """Adds ``step``; an output that not every instance uses."""

    def __init__(self, step):
        self.step = step
        super().__init__({"i": In(4), "o": Out(4), "seen": Out(4)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(4, init=3)
        m.d.sync += count.eq(count + self.i)
        m.d.comb += [self.o.eq(count + self.step), self.seen.eq(count)]
        return m


class Whole(wiring.Component):
    """Four parts, one of them different, and a written memory and a table."""

    def __init__(self):
        super().__init__({"aclk": In(1), "aresetn": In(1), "x": In(4), "y": Out(16), "z": Out(8), "t": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True)
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        for index, step in enumerate((1, 1, 2, 1)):
            m.submodules[f"part{index}"] = part = Part(step)
            m.d.comb += [part.i.eq(self.x), self.y.word_select(index, 4).eq(part.o + (part.seen if index else 0))]
        for name, data, output in (("written", [], self.z), ("constants", [7, 8, 9] * 5 + [200], self.t)):
            m.submodules[name] = mem = memory.Memory(shape=8, depth=16, init=data)
            read = mem.read_port(domain="comb")
            m.d.comb += [read.addr.eq(self.x), output.eq(read.data)]
            if not data:
                write = mem.write_port()
                m.d.comb += [write.addr.eq(self.x), write.data.eq(self.x), write.en.eq(1)]
        return m


def test_identical_modules_are_merged_and_different_ones_are_not():
    text = emit.component_verilog(Whole(), "whole")
    assert re.findall(r"^  whole_(\w+) part(\d)", text, re.M) == [("part", "0"), ("part", "1"), ("part_2", "2"),
                                                                   ("part", "3")]


def test_an_output_that_one_instance_leaves_open_is_connected_in_the_others():
    text = emit.component_verilog(Whole(), "whole")
    assert len(re.findall(r"\.count\(\w+\)", text)) == 4


def test_a_written_memory_has_no_contents_but_a_table_has():
    text = emit.component_verilog(Whole(), "whole")
    assert len(re.findall(r"^    constants\[\d+\] = ", text, re.M)) == 16 and "written[0] = " not in text


@pytest.mark.parametrize("period, text", [(100.0, "10.0000"), (400, "2.5000"), (333.3, "3.0003")])
def test_the_period_follows_the_clock(period, text):
    line = emit.constraint(opn16.replace(clock_mhz=period), {}).splitlines()[3]
    assert line == f"create_clock -name aclk -period {text} [get_ports aclk]"


def test_yosys_errors_are_raised_as_one_line():
    with pytest.raises(tools.ToolError, match=r"^Yosys failed: File `none.il' not found or is a directory$"):
        tools.yosys("read_rtlil none.il")
