"""Documentation is executed: code runs, configurations are read, figures come from files, links lead somewhere."""

import re
import tomllib
from pathlib import Path

import pytest
from bnforge import cli
from bnforge.engine_config import configuration

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(language):
    """Every block of a language: the page, and where in it, for the name of the test."""
    return [pytest.param(match[1], id=f"{page.name}:{page.read_text()[:match.start()].count(chr(10)) + 1}")
            for page in PAGES
            for match in re.finditer(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code):
    exec(compile(code, "<documentation>", "exec"), {})


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_blocks_are_configurations(text):
    assert configuration(tomllib.loads(text))


def commands():
    """Every command line of the pages that starts with ``bnforge``."""
    return [pytest.param(match[1].split(), id=match[1].strip()) for page in PAGES
            for match in re.finditer(r"^    (?:\.venv/bin/)?bnforge ([^#\n]*)", page.read_text(), re.M)]


@pytest.mark.parametrize("line", commands())
def test_command_lines_parse(line):
    assert cli._parser().parse_args(line).verb


def test_figures_are_those_of_the_committed_files(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import readme_tables
    texts = [page.read_text(encoding="utf-8") for page in readme_tables.PAGES]
    assert all(f"<!-- {name} -->" in "".join(texts) for name in readme_tables.TABLES)
    assert [readme_tables.with_figures(text) for text in texts] == texts, "run python docs/readme_tables.py"


def links():
    return [pytest.param(page, match[1], id=f"{page.name}:{match[1]}") for page in PAGES
            for match in re.finditer(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())]


@pytest.mark.parametrize("page, target", links())
def test_links_lead_to_files(page, target):
    assert (page.parent / target).exists()
