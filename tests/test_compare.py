"""`bnforge compare`: what is computed, kept and computed again, and what becomes of what cannot be."""

import os
import signal
import sys
import time
import types
from pathlib import Path

import pytest
from bnforge.presets import opn1_tiny
from bnforge.tools import MissingTool, ToolError
from bnforge_sim.comparison import command, sources
from bnforge_sim.comparison.cache import Cache
from bnforge_sim.comparison.plan import STAGES, plan
from bnforge_sim.comparison.runner import run_tasks
from bnforge_sim.comparison.tasks import Stage, Task
from bnforge_sim.comparison.variants import VARIANTS, chosen

ROOT = Path(__file__).parent.parent


@pytest.fixture
def stage(monkeypatch):
    """A stage whose ``run`` is the function that is given to it."""
    def make(run, **fields):
        monkeypatch.setitem(sys.modules, "bnforge_sim.comparison.stages.fake", types.SimpleNamespace(run=run))
        return Stage(**{"name": "fake", "text": "nothing", "tools": (), "design": None, "seconds": 1} | fields)
    return make


def task(stage, config=opn1_tiny, **options):
    return Task("opn16", stage, config, options)


def key(tmp_path, *args, **options):
    return task(*args, **options).key(Cache(tmp_path))


def test_a_key_changes_with_configuration_options_and_files(tmp_path, stage):
    fake, file = stage(None), tmp_path / "cells.lib"
    file.write_text("one")
    keys = [key(tmp_path, fake), key(tmp_path, fake, opn1_tiny.replace(a_fraction=5)), key(tmp_path, fake, seeds=2),
            key(tmp_path, fake, file=file)]
    file.write_text("two")
    keys.append(key(tmp_path, fake, file=file))
    assert len(set(keys)) == 5 and keys[0] == key(tmp_path, fake)


def test_a_key_changes_with_the_sources_the_tools_and_the_design(tmp_path, stage, monkeypatch):
    fake = stage(None)
    keys = [key(tmp_path, fake), key(tmp_path, stage(None, tools=("amaranth",)))]
    monkeypatch.setattr("bnforge_sim.comparison.tasks.source_digest", lambda *modules, circuits=False: "other sources")
    keys.append(key(tmp_path, fake))
    monkeypatch.setattr("bnforge.emit.rtlil_text", lambda config: f"design of {config.name}")
    keys.append(key(tmp_path, stage(None, design="core")))
    keys.append(key(tmp_path, stage(None, design="engine")))
    assert len(set(keys)) == 5


def test_the_design_is_generated_once_while_the_generator_stays(tmp_path, stage, monkeypatch):
    texts = iter(("first", "second"))
    monkeypatch.setattr("bnforge.emit.rtlil_text", lambda config: next(texts))
    fake = stage(None, design="core")
    assert task(fake).cached(Cache(tmp_path)) is None
    first = key(tmp_path, fake)
    assert first == key(tmp_path, fake)
    monkeypatch.setattr("bnforge_sim.comparison.tasks.source_digest",
                        lambda *modules, circuits=False: "other generator")
    assert key(tmp_path, fake) != first and next(texts, None) is None


def test_sources_are_those_that_a_module_imports():
    area = {path.name for path in sources.sources("bnforge_sim.comparison.stages.area")}
    assert {"area.py", "synthesis.py", "liberty.py", "merge.py"} <= area and not {"normaliser.py", "emit.py"} & area
    traffic = {path.name for path in sources.sources("bnforge_sim.comparison.stages.traffic")}
    assert {"traffic.py", "core.py", "sweeps.py", "engine.cpp", "workspace.py", "sweep_jobs.py"} <= traffic
    generator = {path.name for path in sources.sources("bnforge.emit", circuits=True)}
    assert {"emit.py", "top.py", "normaliser.py", "engine.py", "midend.py", "config.py"} <= generator


def test_results_are_kept_and_not_computed_again(tmp_path, stage):
    def run(config, log):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{config.name}\n")
        return {"lanes": config.lanes}

    fake, log, cache = stage(run), str(tmp_path / "log"), Cache(tmp_path / "cache")
    tasks = [task(fake, opn1_tiny.replace(name=name), log=log) for name in ("one", "two", "three")]
    tasks = [Task(each.config.name, each.stage, each.config, each.options) for each in tasks]
    first = run_tasks(tasks, cache, report=lambda line: None)
    lines = []
    assert run_tasks(tasks, cache, report=lines.append) == first
    assert {name: found["result"] for name, found in first.items()} == dict.fromkeys(
        ["one fake 1", "two fake 1", "three fake 1"], {"lanes": 1})
    assert sorted(Path(log).read_text().split()) == ["one", "three", "two"]
    assert lines == ["[3/3] kept from earlier runs"]


def test_a_broken_file_of_the_cache_is_computed_again(tmp_path, stage):
    cache, fake = Cache(tmp_path), stage(lambda config: 1)
    run_tasks([task(fake)], cache, report=lambda line: None)
    for path in tmp_path.iterdir():
        path.write_text("{")
    assert task(fake).cached(cache) is None


def _missing(config):
    raise MissingTool("placing needs nextpnr: pip install it")


def _fails(config):
    raise ToolError("Yosys failed: it was not in the mood\nmore")


def _package(config):
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


@pytest.mark.parametrize("run, wanted", [
    (_missing, {"missing": "placing needs nextpnr: pip install it"}),
    (_package, {"missing": "needs the Python package torch: pip install torch"}),
    (_fails, {"failed": "ToolError: Yosys failed: it was not in the mood"}),
    (lambda config: os._exit(3), {"failed": "the process ended with status 3"}),
    (lambda config: {}["key"], {"failed": "KeyError: 'key'"})])
def test_what_cannot_be_computed_says_why_and_is_not_kept(tmp_path, stage, run, wanted):
    lines, cache = [], Cache(tmp_path)
    (what, why), = wanted.items()
    assert run_tasks([task(stage(run))], cache, report=lines.append) == {"opn16 fake 1": wanted}
    assert lines[0].endswith(f"opn16, nothing, 1 lanes: {what}: {why}")
    assert task(stage(run)).cached(cache) is None


def test_an_interrupt_ends_the_processes_and_keeps_what_is_done(tmp_path, stage):
    def run(config, seconds):
        time.sleep(seconds)
        return os.getpid()

    fake, cache = stage(run), Cache(tmp_path)
    tasks = [Task(name, fake, opn1_tiny, {"seconds": seconds}) for name, seconds in (("slow", 60), ("fast", 0))]
    started = time.monotonic()

    def interrupt(line):
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers of pytest-xdist ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tasks(tasks, cache, report=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 30
    assert tasks[0].cached(cache) is None and tasks[1].cached(cache) is not None


@pytest.mark.parametrize("run, status, text", [(_missing, 0, "missing: placing needs nextpnr: pip install it"),
                                               (_fails, 1, "failed: ToolError: Yosys failed")])
def test_the_command_goes_on_without_what_cannot_be_computed(tmp_path, stage, monkeypatch, capsys, run, status, text):
    fake = stage(run, name="area")
    monkeypatch.setitem(sys.modules, "bnforge_sim.comparison.stages.area", types.SimpleNamespace(run=run))
    monkeypatch.setattr(command, "plan", lambda variants, **options: [
        Task(variant.name, fake, variant.build(4)) for variant in variants])
    assert command.compare(tmp_path, only=["opn16", "two16"], cache=tmp_path / "cache") == status
    output = capsys.readouterr().out
    assert text in output and output.count("placing needs nextpnr") <= 1
    assert " - " in output and (tmp_path / "compare.md").exists()
    assert text.split(": ", 1)[1] in (tmp_path / "compare.json").read_text()


def test_variants_are_all_built_and_others_are_refused():
    with pytest.raises(ValueError, match="variant must be one of opn16, .*, not 'opm16'"):
        chosen(["opn16", "opm16"])
    assert [variant.name for variant in chosen(["two16", "opn16"])] == ["opn16", "two16"]
    names = {task.name for task in plan(chosen())}
    assert all(f"{variant} {stage} 16" in names for variant in VARIANTS for stage in ("area", "accuracy", "digits"))
    assert {task.stage.name for task in plan(chosen())} == set(STAGES)
    assert all(task.config.lanes == 4 for task in plan(chosen(), quick=True) if task.variant in VARIANTS)
