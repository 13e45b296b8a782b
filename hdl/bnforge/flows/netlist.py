"""Mapped netlists: the gates of a design in one flat list, each with its place in the hierarchy.

The gates are those of :mod:`bnforge.synthesis`: the same script, nothing optimised across modules, so that the area of
the gates is that of the area report. Memories stay memories, beside the gates.
"""

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..emit import rtlil_text
from ..liberty import Library
from ..synthesis import mapped
from ..tools import MissingTool, ToolError

__all__ = ["ZERO", "ONE", "OFFLINE", "library", "Gate", "ReadPort", "WritePort", "Memory", "Netlist", "flatten",
           "map_netlist"]

ZERO, ONE = 0, 1
"""The nets of the constants."""
OFFLINE = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
"""OSU 0.18 µm, as Debian's package qflow-tech-osu018 installs it: the library when none is given."""
_GENERATED = re.compile(r"g\d+")


def library(path=None):
    """The Liberty file at ``path``, or :data:`OFFLINE`.

    Raises
    ------
    ToolError
        None is given and that one is not installed.
    OSError, ValueError
        The file cannot be read or used.
    """
    if path is None and not OFFLINE.exists():
        raise MissingTool("a cell library with timing and power is missing: give a Liberty file, or install Debian's "
                        "qflow-tech-osu018")
    return Library.read(path or OFFLINE)


class Gate(NamedTuple):
    """A cell: name, the path of the instance that holds it, cell type, and net by pin."""

    name: str
    part: str
    cell: str
    pins: dict


class ReadPort(NamedTuple):
    """Synchronous: data follow address and enable by one clock. ``transparent``: per write port, whether it shows."""

    address: tuple
    data: tuple
    enable: int
    transparent: tuple


class WritePort(NamedTuple):
    """Nets of address, data, and the enable of every data bit."""

    address: tuple
    data: tuple
    enables: tuple


class Memory(NamedTuple):
    """A memory that stays a memory: its path, shape and ports."""

    name: str
    width: int
    depth: int
    reads: tuple
    writes: tuple


@dataclass
class Netlist:
    """A flat netlist. Nets are numbers: 0 and 1 are the constants.

    Attributes
    ----------
    name : the top module
    library : Library
    gates, memories : lists of Gate and Memory
    ports : ``{name: (direction, nets)}``, lowest bit first
    names : what nets are called, ``{net: path}``, by the module that drives them if that has a name for them; nets that
        synthesis has made are not there
    parts : module of every instance, ``{path: module}``; the top is ``""``
    """

    name: str
    library: Library
    gates: list
    memories: list
    ports: dict
    names: dict
    parts: dict
    _n_nets: int = field(default=2)

    @property
    def n_nets(self):
        """One more than the highest net."""
        return self._n_nets

    @functools.cached_property
    def clock(self):
        """The net of the clock, or None in a design without flip-flops."""
        clocks = {gate.pins[self.library.cells[gate.cell].flip_flop.clock] for gate in self.gates
                  if self.library.cells[gate.cell].is_flip_flop}
        if len(clocks) > 1:
            raise ToolError(f"netlist must have one clock, not {len(clocks)}")
        return next(iter(clocks), None)

    def drivers(self):
        """Gate and pin that drive each net, ``{net: (gate, pin)}``."""
        outputs = {cell.name: [pin for pin, _ in cell.outputs] for cell in self.library.cells.values()}
        return {gate.pins[pin]: (gate, pin) for gate in self.gates for pin in outputs[gate.cell] if pin in gate.pins}

    @property
    def ge(self):
        """Area over that of the library's two-input NAND."""
        return sum(self.library.cells[gate.cell].area for gate in self.gates) / self.library.nand2.area


def _integer(parameter):
    return int(parameter, 2) if isinstance(parameter, str) else int(parameter)


def _ones(parameter):
    """Bits of a parameter, lowest first."""
    return [bit == "1" for bit in reversed(parameter)]


def _slices(nets, count):
    size = len(nets) // count if count else 0
    return [tuple(nets[index * size:(index + 1) * size]) for index in range(count)]


def _memory(path, cell, connect):
    """The memory of a ``$mem_v2`` cell."""
    parameters, n_reads, n_writes = cell["parameters"], *(
        _integer(cell["parameters"][f"{port}_PORTS"]) for port in ("RD", "WR"))
    if not all(_ones(parameters["RD_CLK_ENABLE"])[:n_reads]) or not all(_ones(parameters["WR_CLK_ENABLE"])[:n_writes]):
        raise ToolError(f"memory {path} must have synchronous ports only")
    if any(connect(bit) != ZERO for pin in ("RD_SRST", "RD_ARST") for bit in cell["connections"].get(pin, [])):
        raise ToolError(f"memory {path} must have no reset at its read ports")
    nets = {pin: [connect(bit) for bit in bits] for pin, bits in cell["connections"].items()}
    transparent = _ones(parameters["RD_TRANSPARENCY_MASK"])
    return Memory(path, _integer(parameters["WIDTH"]), _integer(parameters["SIZE"]), tuple(
        ReadPort(address, data, nets["RD_EN"][index], tuple(transparent[index * n_writes:(index + 1) * n_writes]))
        for index, (address, data) in enumerate(zip(_slices(nets["RD_ADDR"], n_reads),
                                                    _slices(nets["RD_DATA"], n_reads)))), tuple(
        WritePort(*port) for port in zip(_slices(nets["WR_ADDR"], n_writes), _slices(nets["WR_DATA"], n_writes),
                                         _slices(nets["WR_EN"], n_writes))))


class _Flattener:
    """Walks the hierarchy; nets of ports that are one net are joined."""

    def __init__(self, modules, library):
        self.modules, self.library = modules, library
        self.joined = [ZERO, ONE]
        self.gates, self.memories, self.parts = [], [], {}
        self.driven, self.seen = [], []
        self.outputs = {cell.name: [pin for pin, _ in cell.outputs] for cell in library.cells.values()}

    def new(self):
        self.joined.append(len(self.joined))
        return len(self.joined) - 1

    def root(self, net):
        while self.joined[net] != net:
            self.joined[net] = self.joined[self.joined[net]]
            net = self.joined[net]
        return net

    def join(self, one, other):
        low, high = sorted((self.root(one), self.root(other)))
        self.joined[high] = low

    def visit(self, kind, path, ports):
        """Add an instance of a module at ``path``; ``ports`` has the nets outside. Returns the nets of its ports."""
        module, bits = self.modules[kind], {"0": ZERO, "1": ONE, "x": ZERO}
        self.parts[path] = kind

        def connect(bit):
            if bit not in bits:
                bits[bit] = self.new()
            return bits[bit]

        for port, outside in ports.items():
            for bit, net in zip(module["ports"][port]["bits"], outside):
                self.join(connect(bit), net)
        called = {bit: f"{name}[{index}]" if len(wire["bits"]) > 1 else name
                  for name, wire in module["netnames"].items() if not _GENERATED.fullmatch(name)
                  for index, bit in enumerate(wire["bits"])}
        prefix = f"{path}." if path else ""
        for name, cell in module["cells"].items():
            here = prefix + name
            if cell["type"] == "$mem_v2":
                self.memories.append(_memory(here, cell, connect))
            elif cell["type"] in self.modules:
                self.visit(cell["type"], here, {port: [connect(bit) for bit in nets]
                                                for port, nets in cell["connections"].items()})
            else:
                pins = {pin: connect(bit) for pin, (bit,) in cell["connections"].items()}
                self.gates.append(Gate(name, path, cell["type"], pins))
                self.driven += [(pins[pin], prefix + called[cell["connections"][pin][0]])
                                for pin in self.outputs[cell["type"]]
                                if pin in pins and cell["connections"][pin][0] in called]
        self.seen += [(net, prefix + called[bit]) for bit, net in bits.items() if bit in called]
        return {port: (wire["direction"], [connect(bit) for bit in wire["bits"]])
                for port, wire in module["ports"].items()}


def flatten(modules, top, library):
    """The flat netlist of mapped modules, as :func:`bnforge.synthesis.mapped` returns them."""
    walk = _Flattener(modules, library)
    ports = walk.visit(top, "", {})
    numbers = {ZERO: ZERO, ONE: ONE}

    def number(net):
        return numbers.setdefault(walk.root(net), len(numbers))

    def numbered(nets):
        return tuple(number(net) for net in nets)

    gates = [gate._replace(pins={pin: number(net) for pin, net in gate.pins.items()}) for gate in walk.gates]
    memories = [memory._replace(
        reads=tuple(ReadPort(numbered(port.address), numbered(port.data), number(port.enable), port.transparent)
                    for port in memory.reads),
        writes=tuple(WritePort(*map(numbered, port)) for port in memory.writes)) for memory in walk.memories]
    ports = {name: (direction, numbered(nets)) for name, (direction, nets) in ports.items()}
    names = {}
    for net, name in walk.driven + walk.seen:
        names.setdefault(number(net), name)
    return Netlist(top, library, gates, memories, ports, names, walk.parts, len(numbers))


def map_netlist(config, liberty=None):
    """The mapped netlist of what ``config`` describes.

    Parameters
    ----------
    config : Config, EngineConfig or ArrayConfig
    liberty : path, optional
        A Liberty file; without it :data:`OFFLINE`.

    Raises
    ------
    ToolError
        Synthesis fails, or there is no library.
    OSError, ValueError
        The library cannot be read or used.
    """
    cells = library(liberty)
    return flatten(mapped(rtlil_text(config), config.name, cells), config.name, cells)
