"""Timing of the gates of a netlist with OpenSTA: the shortest clock period, and the path that sets it.

Delays are those of the cells with the capacitance of the pins they drive, large fan-outs buffered
(:mod:`bnforge.flows.fanout`); there are no wires, and the clock is ideal. Inputs and what memories give arrive with the
clock edge, outputs and what memories take may come as late as the next one.
"""

import dataclasses
import re
from dataclasses import dataclass

from ..tools import ToolError
from . import opensta
from .fanout import with_buffers

__all__ = ["Step", "TimingReport", "timing"]

_PERIOD = 100.0
"""In ns, of the analysis; the slack does not depend on it."""
_COMMANDS = """
set report [open path.txt w]
close $report
report_checks -path_delay max -format full -digits 4 > path.txt
"""
_STEP = re.compile(r"^\s*(-?\d+\.\d+)\s+-?\d+\.\d+ [v^] g(\d+)/(\w+) \((\w+)\)$", re.M)


@dataclass(frozen=True)
class Step:
    """A cell on a path: the instance that holds it, the net it drives as the design calls it, type, delay in ns."""

    part: str
    net: str
    cell: str
    delay: float
    is_buffer: bool


@dataclass(frozen=True)
class TimingReport:
    """The longest path of a netlist.

    Attributes
    ----------
    period : ns, setup time included
    fmax_mhz : 1000 / period
    start, end : where the path begins and ends: a register, or a net at a port or a memory
    levels : cells on it, the register where it starts included
    steps : list of Step
    buffers : cells among them that drive large fan-outs
    versions : of OpenSTA and library
    """

    period: float
    fmax_mhz: float
    start: str
    end: str
    levels: int
    steps: list
    buffers: int
    versions: dict

    def to_dict(self):
        """Plain data for JSON."""
        return dataclasses.asdict(self)


def timing(netlist):
    """Timing of a netlist.

    Parameters
    ----------
    netlist : Netlist

    Returns
    -------
    TimingReport

    Raises
    ------
    ToolError
        OpenSTA is missing or fails, or the netlist has no path.
    """
    buffered, original = with_buffers(netlist)
    text, = opensta.run(buffered, _PERIOD, _COMMANDS, ["path.txt"])
    slack = re.search(r"(-?\d+\.\d+)\s+slack", text)
    if slack is None:
        raise ToolError("OpenSTA found no path between registers, memories and ports")
    period = _PERIOD - float(slack[1])
    steps = list(_steps(buffered, original, text))
    start, end = (_endpoint(text, kind, buffered, original) for kind in ("Startpoint", "Endpoint"))
    return TimingReport(round(period, 4), round(1000 / period, 2), start, end, len(steps), steps,
                        sum(step.is_buffer for step in steps),
                        {"opensta": opensta.version(), "library": netlist.library.name})


def _net_name(netlist, net):
    return netlist.names.get(net, f"net {net}")


def _steps(netlist, original, text):
    """The gates of a path: its lines that are outputs of gates."""
    for delay, index, pin, cell in _STEP.findall(text):
        gate = netlist.gates[int(index)]
        if pin in dict(netlist.library.cells[cell].outputs):
            net = gate.pins[pin]
            yield Step(gate.part, _net_name(netlist, original[net]), cell, float(delay), original[net] != net)


def _endpoint(text, kind, netlist, original):
    """What the path starts or ends at: what the register's output is called, or the net of the port."""
    name = re.search(rf"^{kind}: (\w+)", text, re.M)[1]
    if name[0] == "n":
        return _net_name(netlist, original[int(name[1:])])
    gate = netlist.gates[int(name[1:])]
    pin = netlist.library.cells[gate.cell].outputs[0][0]
    return _net_name(netlist, original[gate.pins[pin]])
