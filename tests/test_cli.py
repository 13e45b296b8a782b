"""The command: what it writes and prints, and every refused use."""

import json
import subprocess
import sys

import pytest
from bnforge import cli
from bnforge.presets import COMPARED, PRESETS, SMALL
from refusals import USES, make_files, run


@pytest.fixture
def files(tmp_path):
    make_files(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("line, message", USES, ids=[line or "nothing" for line, _ in USES])
def test_refused_in_one_line_with_status_2(files, line, message):
    status, output, errors = run(line, files)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(message.format(files=files))


@pytest.mark.parametrize("program", ["g++", "make", "perl"])
@pytest.mark.parametrize("verb", ["simulate opn1_tiny", "demo opn1_tiny"])
def test_a_missing_program_is_named_before_anything_is_built(files, monkeypatch, program, verb):
    find = cli.shutil.which
    monkeypatch.setattr(cli.shutil, "which", lambda name: None if name == program else find(name))
    status, output, errors = run(f"{verb} -o {{files}}/out", files)
    name = verb.split()[0]
    assert (status, output, errors) == (2, "", f"bnforge {name}: simulation needs {program}, which was not found\n")


def test_a_missing_package_is_named(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    for name in [name for name in sys.modules if name.split(".")[0] in ("bnforge_sim", "bnforge_model")]:
        monkeypatch.delitem(sys.modules, name)
    status, _output, errors = run("simulate opn1_tiny -o {files}/out", files)
    assert (status, errors) == (2, "bnforge simulate: numpy is not installed: pip install 'bnforge[sim]'\n")


def test_a_failing_tool_is_one_line(files, monkeypatch):
    monkeypatch.setattr("bnforge.emit._TO_VERILOG", "read_rtlil design.il\nno_such_pass\n")
    status, _output, errors = run("generate opn1_tiny -o {files}/out", files)
    assert (status, errors) == (2, "bnforge generate: Yosys failed: No such command: no_such_pass "
                                   "(type 'help' for a command overview)\n")


def test_list_prints_every_preset(files):
    status, output, _errors = run("list", files)
    presets, *others = output.split("\n\n")
    assert status == 0 and others[::2] == ["What opn16 is compared with:", "Without statistics:"]
    for listed, configs in zip((presets, *others[1::2]), (PRESETS, COMPARED, SMALL), strict=True):
        assert [line.split()[0] for line in listed.splitlines()] == list(configs)


@pytest.mark.parametrize("verb", ["", "list", "generate", "simulate", "area", "registers", "demo", "compare"])
def test_help_explains_every_option(files, verb):
    status, output, errors = run(f"{verb} --help", files)
    assert (status, errors) == (0, "") and output.startswith(f"usage: bnforge {verb}".rstrip())


def test_help_of_the_command_shows_examples_that_parse():
    parser = cli._parser()
    lines = [line.split("   ")[0].split() for line in cli.EPILOG.splitlines() if line.startswith("  bnforge ")]
    assert {parser.parse_args(line[1:]).verb for line in lines} == {"list", "generate", "simulate", "area",
                                                                    "registers", "compare", "build", "host"}


def test_generate_prints_what_it_wrote(files):
    status, output, _errors = run("generate --config {files}/tiny.toml -o {files}/out", _with_tiny(files))
    names = [path.removeprefix(f"{files}/out/") for path in output.splitlines()]
    assert status == 0 and names == ["tiny.sv", "tiny.f", "tiny.sdc", "tiny_inst.sv", "manifest.json"]


def test_generate_of_an_engine_adds_registers_and_driver(files):
    status, output, _errors = run("generate --config {files}/tiny.toml --engine --data-width 32 -o {files}/out",
                                  _with_tiny(files))
    names = [path.removeprefix(f"{files}/out/") for path in output.splitlines()]
    assert status == 0 and names == ["tiny.sv", "tiny.f", "tiny.sdc", "tiny_inst.sv", "tiny_registers.rdl",
                                     "tiny_registers.md", "bnforge.h", "bnforge.c", "bnforge_registers.h",
                                     "manifest.json"]
    assert "m_axi_rdata" in open(f"{files}/out/tiny.sv", encoding="utf-8").read()
    assert '"data_width": 32' in open(f"{files}/out/manifest.json", encoding="utf-8").read()


def test_registers_prints_what_it_wrote(files):
    status, output, _errors = run("registers opn4 -o {files}/out --format rdl,c", files)
    assert status == 0
    assert output.split() == [f"{files}/out/bnforge_engine_registers.rdl", f"{files}/out/bnforge_registers.h"]


def _with_tiny(files):
    with open(f"{files}/tiny.toml", "w", encoding="utf-8") as file:
        file.write('name = "tiny"\nlanes = 1\nsample_depth = 8\nchunk_len = 4\nstorage = "fp10"\nx_format = "fp10"\n')
    return files


def test_area_writes_json_and_compares_with_it(files):
    status, first, _errors = run("area opn2_frozen --json {files}/area.json", files)
    assert status == 0 and json.loads(open(f"{files}/area.json", encoding="utf-8").read())["name"] == "opn2_frozen"
    status, second, _errors = run("area opn2_frozen --against {files}/area.json", files)
    assert status == 0 and second.startswith(first.rstrip()) and "+0.00%" in second


def test_simulate_compares_with_the_model_and_writes_waves(files):
    status, output, errors = run("simulate opn2_frozen --elements 1000 --seed 3", files)
    assert status == 0 and "0 mismatches" in output and "seed 3" in output, errors
    status, _output, errors = run("simulate opn2_frozen --elements 1 --waves -o {files}/out", files)
    assert status == 0 and open(f"{files}/out/opn2_frozen.vcd", encoding="utf-8").read(5), errors


def test_the_command_does_not_mind_a_reader_that_leaves():
    command = f"{sys.executable} -m bnforge.cli list | head -n 0"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert result.stderr == ""
