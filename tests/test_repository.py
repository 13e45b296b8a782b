"""House rules that a machine can check."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import bnforge
import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("hdl", "sim", "tests", "docs", "examples")
                 for path in (ROOT / folder).rglob("*.py"))
TEXTS = sorted({*SOURCES, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.toml"), ROOT / "Makefile",
                ROOT / "pyproject.toml", *ROOT.glob("constraints/*"), *ROOT.glob("sim/**/*.cpp"),
                *ROOT.glob("sim/**/*.h"), *ROOT.glob("hdl/bnforge/driver/*")})
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

every_source = pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
every_text = pytest.mark.parametrize("path", TEXTS, ids=[str(path.relative_to(ROOT)) for path in TEXTS])


@every_text
def test_lines_end_cleanly_and_those_of_sources_have_at_most_120_characters(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    limit = 120 if path in SOURCES else 300
    assert lines[-1] == "" and lines[-2] != ""
    assert [number for number, line in enumerate(lines, 1) if len(line) > limit or line != line.rstrip()] == []


@every_text
def test_nothing_is_left_to_do_or_bound_to_a_machine(path):
    words = ["TO" + "DO", "FIX" + "ME", "/wo" + "rk/", "/ho" + "me/", "/ro" + "ot/", "pytest." + "skip", "x" + "fail",
             "skip" + "if"]
    assert [word for word in words if word in path.read_text(encoding="utf-8")] == []


@every_source
def test_sources_say_what_they_are_and_are_not_configured_by_the_environment(path):
    text = path.read_text(encoding="utf-8")
    assert path.is_relative_to(ROOT / "tests") or re.match(r'r?"""\S', text)
    assert "environ.g" + "et(" not in text and "get" + "env(" not in text


@pytest.mark.parametrize("path", sorted(ROOT.glob("hdl/**/*.py")), ids=lambda path: path.name)
def test_the_generator_keeps_annotations_and_imports_plain(path):
    text = path.read_text(encoding="utf-8")
    assert "from __future__ import annotations" not in text
    assert re.findall(r"^(?:import|from) (?:numpy|cocotb|bnforge_model|bnforge_sim)", text, re.M) == []


def test_the_generator_loads_without_the_model():
    code = ("import sys; sys.modules |= dict.fromkeys(['numpy', 'bnforge_model', 'bnforge_sim'])\n"
            "import bnforge.cli, bnforge.emit, bnforge.area, bnforge.top\n"
            "bnforge.emit.rtlil_text(bnforge.presets.opn1_tiny)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_dependency_says_why():
    text = (ROOT / "pyproject.toml").read_text()
    requirements = [*PROJECT["project"]["dependencies"],
                    *(line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra)]
    for requirement in requirements:
        if not requirement.startswith("bnforge["):
            assert re.search(rf'"{re.escape(requirement)}",\s+# \w', text), requirement


def test_versions_agree():
    assert f"version: {bnforge.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_package_data_exists():
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        folder = next(ROOT / root / package for root in PROJECT["tool"]["setuptools"]["packages"]["find"]["where"]
                      if (ROOT / root / package).is_dir())
        assert all(list(folder.glob(pattern)) for pattern in patterns), package


def test_recipes_are_one_command_each():
    rules = re.findall(r"^[$\w].*:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    long = [rule for rule in rules if rule.count("\n") > 1 and "venv" not in rule]
    assert rules and long == []


def test_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())
    command = ["make", "--no-print-directory", "help"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == phony


@pytest.mark.xdist_group("repository")
def test_groups_of_tests_stay_on_one_worker(request):
    """Else every worker builds the simulations of a group: pytest 9.2 with pytest-xdist 3.8 did."""
    if getattr(request.config.option, "loadgroup", False):  # of a worker
        assert request.node.nodeid.endswith("@repository")
