"""Buffer trees: a netlist in which no gate, port or memory drives more than a few pins.

Mapping leaves a net of any fan-out to its one driver, which no layout would. Delays and slews of such nets are
meaningless, and the power inside the cells they drive with them; hence timing and power are those of the netlist with
buffers. The clock is ideal. Area reports are without buffers.
"""

import dataclasses

from .netlist import Gate
from ..tools import ToolError

__all__ = ["LIMIT", "with_buffers"]

LIMIT = 16
"""Pins that a net drives at most."""


def with_buffers(netlist, limit=LIMIT):
    """The netlist with balanced trees of the library's smallest buffer.

    Parameters
    ----------
    netlist : Netlist
    limit : int
        Pins of gates on one net, at most.

    Returns
    -------
    Netlist
    list of int
        The original net of every net.

    Raises
    ------
    ToolError
        The library has no buffer.
    """
    buffer = netlist.library.buffer
    if buffer is None:
        raise ToolError(f"library {netlist.library.name!r} must have a buffer, which it has not")
    (to, (out, _)), parts = (buffer.inputs[0], buffer.outputs[0]), {
        net: gate.part for net, (gate, _) in netlist.drivers().items()}
    gates = [gate._replace(pins=dict(gate.pins)) for gate in netlist.gates]
    original = list(range(netlist.n_nets))
    for net, sinks in _sinks(netlist).items():
        while len(sinks) > limit:
            groups, sinks = [sinks[start:start + limit] for start in range(0, len(sinks), limit)], []
            for group in groups:
                for index, pin in group:
                    gates[index].pins[pin] = len(original)
                sinks.append((len(gates), to))
                pins = {to: net, out: len(original)}
                gates.append(Gate(f"buffer{len(gates)}", parts.get(net, ""), buffer.name, pins))
                original.append(net)
    return dataclasses.replace(netlist, gates=gates, _n_nets=len(original)), original


def _sinks(netlist):
    """Index of gate and pin of all that each net drives, without the constants and the clock."""
    sinks, skipped = {}, {0, 1, netlist.clock}
    for index, gate in enumerate(netlist.gates):
        for pin in netlist.library.cells[gate.cell].inputs:
            net = gate.pins.get(pin, 0)
            if net not in skipped:
                sinks.setdefault(net, []).append((index, pin))
    return sinks
