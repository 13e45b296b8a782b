"""Runs OpenSTA on a mapped netlist."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..tools import MissingTool, ToolError
from .verilog import boundary, for_sta

__all__ = ["STA", "version", "run"]

STA = "sta"
"""The command."""

_SETUP = """
read_liberty cells.lib
read_verilog gates.v
link_design gates
create_clock -name clock -period {period} [get_ports n{clock}]
{inputs}
set_output_delay -clock clock 0 [get_ports {{{out}}}]
"""


def _command():
    found = shutil.which(STA)
    if found is None:
        raise MissingTool("OpenSTA is missing: the command 'sta' was not found (Debian's package opensta)")
    return found


def version():
    """OpenSTA's version.

    Raises
    ------
    ToolError
        It is not installed.
    """
    return subprocess.run([_command(), "-version"], capture_output=True, text=True, check=False).stdout.strip()


def run(netlist, period, commands, outputs, *, registered=False):
    """Run Tcl commands on the gates of a netlist.

    Inputs arrive with the clock edge and outputs may take the whole period, memories' pins too. The clock is ideal.

    Parameters
    ----------
    netlist : Netlist
    period : float
        Of the clock, in ns.
    commands : str
        Net k is the net and, where it crosses the boundary, the port nk; gate k is gk.
    outputs : sequence of str
        Names of the files that the commands write.
    registered : bool
        As in :func:`bnforge.flows.verilog.for_sta`; inputs then arrive a flip-flop's delay after the clock edge.

    Returns
    -------
    list of str
        Their contents.

    Raises
    ------
    ToolError
        OpenSTA is missing or reports an error.
    """
    command = _command()
    into, out = boundary(netlist)
    names = " ".join(f"n{net}" for net in sorted(into - {netlist.clock}))
    inputs = f"set_input_delay -clock clock 0 [get_ports {{{names}}}]" if names and not registered else ""
    setup = _SETUP.format(period=period, clock=netlist.clock, inputs=inputs,
                          out=" ".join(f"n{net}" for net in sorted(out)))
    with tempfile.TemporaryDirectory(prefix="bnforge-") as directory:
        work = Path(directory)
        for name, text in {"cells.lib": netlist.library.text, "gates.v": for_sta(netlist, registered),
                           "run.tcl": setup + commands + "\nexit\n"}.items():
            (work / name).write_text(text, encoding="utf-8")
        done = subprocess.run([command, "-no_splash", "-exit", "run.tcl"], cwd=work, capture_output=True, text=True,
                              check=False)
        printed = done.stdout + done.stderr
        errors = re.findall(r"^Error: .*|^.*not found.*", printed, re.M)
        missing = [name for name in outputs if not (work / name).exists()]
        if done.returncode or errors or missing:
            raise ToolError(f"OpenSTA failed: {(errors or [f'exit code {done.returncode}'])[0]}")
        return [(work / name).read_text(encoding="utf-8") for name in outputs]
