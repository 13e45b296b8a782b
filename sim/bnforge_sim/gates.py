"""Runs a mapped netlist in the bench of the RTL, and counts what its nets do.

The netlist file is a sequence of little-endian 32-bit words; a list is its length and its items. Number of nets; gates
in an order in which each comes after what drives it: truth table (two words, the low one first), net of the output, six
nets of inputs; flip-flops: nets of data and output, 1 if that is inverted; memories: width, depth, read ports (enable;
lists of address, data, and per write port 1 if transparent), write ports (lists of address, data, enables); ports: list
of the name's letters, 1 for an input, list of nets. A collection is preceded by its length.
"""

import functools
import tempfile
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np

from bnforge.flows.activity import Activity
from bnforge.flows.netlist import ZERO
from bnforge.liberty import truth_table
from bnforge.tools import ToolError

from .build import CXX, DEFAULT_CACHE, SOURCES, _hash, _once, _run
from .simulator import Simulator

__all__ = ["GateSimulator", "netlist_words"]

INPUTS = 6
"""Inputs of a cell, at most."""
OPTIMISATION = "-O2"
ONCE = ("bench.cpp", "gates.cpp", "core.h", "design.h")


@functools.cache
def _table(function, inputs):
    if len(inputs) > INPUTS:
        raise ToolError(f"cells must have at most {INPUTS} inputs, not {len(inputs)}")
    return truth_table(function, inputs)


def _gates(netlist):
    """Truth table, output and inputs of every combinational output, each after what drives it."""
    found = {}
    for gate in netlist.gates:
        cell = netlist.library.cells[gate.cell]
        if not cell.is_flip_flop:
            for pin, function in cell.outputs:
                if pin in gate.pins:
                    found[gate.pins[pin]] = (_table(function, cell.inputs),
                                             [gate.pins.get(name, ZERO) for name in cell.inputs])
    sorter = TopologicalSorter({out: [net for net in nets if net in found] for out, (_, nets) in found.items()})
    try:
        return [(table, out, nets) for out in sorter.static_order() for table, nets in [found[out]]]
    except CycleError:
        raise ToolError("the netlist has a combinational loop") from None


def _flip_flops(netlist):
    """Data, output and inversion of every output of a flip-flop."""
    for gate in netlist.gates:
        cell = netlist.library.cells[gate.cell]
        if not cell.is_flip_flop:
            continue
        store = cell.flip_flop
        if store is None or store.others or store.next_state not in cell.inputs or store.clock not in cell.inputs:
            raise ToolError(f"flip-flop {gate.cell} must store one pin at the rising edge of another, nothing else")
        for pin, function in cell.outputs:
            if pin in gate.pins:
                yield gate.pins[store.next_state], gate.pins[pin], int(function == store.inverse)


def netlist_words(netlist):
    """The netlist file as an array of 32-bit words.

    Raises
    ------
    ToolError
        It has what the simulation has not: a loop, an asynchronous flip-flop, a cell with too many inputs.
    """
    words = [netlist.n_nets]

    def collection(items):
        items = list(items)
        words.append(len(items))
        return items

    def put_list(items):
        words.extend(collection(items))

    for table, out, nets in collection(_gates(netlist)):
        words.extend((table & 0xFFFFFFFF, table >> 32, out, *nets, *[ZERO] * (INPUTS - len(nets))))
    for flip_flop in collection(_flip_flops(netlist)):
        words.extend(flip_flop)
    for memory in collection(netlist.memories):
        words.extend((memory.width, memory.depth))
        for port in collection(memory.reads):
            words.append(port.enable)
            for nets in (port.address, port.data, port.transparent):
                put_list(nets)
        for port in collection(memory.writes):
            for nets in port:
                put_list(nets)
    for name, (direction, nets) in collection(netlist.ports.items()):
        put_list(name.encode())
        words.append(direction == "input")
        put_list(nets)
    return np.array(words, dtype="<u4")


def _build(cache):
    """The bench executable: the same for all netlists."""
    cache = Path(cache).resolve()
    key = [*((SOURCES / name).read_text() for name in ONCE), _run([CXX[0], "--version"]), *CXX, OPTIMISATION]

    def compile_once(folder):
        _run([*CXX, OPTIMISATION, *(str(SOURCES / name) for name in ONCE if name.endswith(".cpp")), "-o",
              str(folder / "bench")])

    return _once(cache, f"gates-{_hash(key)}", compile_once) / "bench"


class GateSimulator(Simulator):
    """One mapped netlist of a core in the bench; what runs is the same executable for all.

    Parameters
    ----------
    config : bnforge.config.Config
    netlist : bnforge.flows.netlist.Netlist
        Of that core.
    cache : path
        Where the compiled bench is kept.

    Raises
    ------
    ToolError
        The C++ compiler is missing or failed, or the netlist cannot be simulated.
    """

    def __init__(self, config, netlist, *, cache=DEFAULT_CACHE):
        self.config, self.netlist = config, netlist
        self.executable = _build(cache)
        self._words = netlist_words(netlist)
        self._window, self._counts = (0, 0), None

    def run_segments(self, segments, *, seed=0, waves=None):
        """As :meth:`Simulator.run_segments`, without waves; what the nets did is kept for :meth:`activity`."""
        if waves is not None:
            raise ValueError(f"waves must be None in the simulation of a netlist, not {waves!r}")
        with tempfile.TemporaryDirectory(prefix="bnforge-") as directory:
            netlist, counts, job = (Path(directory) / name for name in ("netlist", "counts", "job"))
            self._words.tofile(netlist)
            job.write_text(f"{netlist}\n{counts}\n{self._window[0]} {self._window[1]}\n", encoding="utf-8")
            outcomes = super().run_segments(segments, seed=seed, waves=job)
            self._counts = np.fromfile(counts, dtype="<u4")
        return outcomes

    def activity(self, segment, first, last):
        """What the nets do in the cycles ``first <= cycle < last`` of a segment, counted from the end of the reset.

        Returns
        -------
        Activity
            With ``elements`` 0: what they are is for the caller to say.
        """
        self._window = first, last
        try:
            self.run_segments([segment])
        finally:
            self._window = 0, 0
        return Activity(int(self._counts[0]), *self._counts[1:].reshape(2, -1))
