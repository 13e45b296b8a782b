"""Mapped modules against their RTL, module by module.

Flip-flops and the modules inside are cut out on both sides: what they give becomes an input, what they take an output.
What is left is combinational, and ABC proves that both sides compute the same, or finds where not. Flip-flops are the
same when they have a name in common; synthesis may only have removed those that take a constant, or the same as another
one, from the first clock on. Modules with memories are not compared:
synthesis moves registers into the memories' ports. They are covered by simulation of the whole netlist, bit for bit.
"""

import enum
import importlib.util
import json
import re
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ..emit import rtlil_text
from ..liberty import truth_table
from ..synthesis import mapped
from ..tools import MissingTool, ToolError, yosys
from .netlist import library as read_library

__all__ = ["Verdict", "ModuleEquivalence", "equivalence", "rtl_modules", "compare_module"]

_RTL = """
read_rtlil design.il
hierarchy -check -top {top}
proc
opt_clean
techmap
opt_clean
dfflegalize -cell $_DFF_P_ x
techmap
opt_clean
write_json rtl.json
"""
_GATES = {
    "$_BUF_": "A", "$_NOT_": "!A", "$_AND_": "A*B", "$_NAND_": "!(A*B)", "$_OR_": "A+B", "$_NOR_": "!(A+B)",
    "$_XOR_": "A^B", "$_XNOR_": "!(A^B)", "$_ANDNOT_": "A*!B", "$_ORNOT_": "A+!B",
    "$_MUX_": "(A*!S)+(B*S)", "$_NMUX_": "!((A*!S)+(B*S))"}
"""Functions of Yosys' own gates."""
_CONSTANTS = {"0": "zero", "1": "one", "x": "zero"}
_GENERATED = re.compile(r"g\d+")


class Verdict(enum.Enum):
    """What a comparison found."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    UNMATCHED = "registers do not match"
    UNDECIDED = "undecided"
    MEMORY = "has memories: simulated only"


@dataclass(frozen=True)
class ModuleEquivalence:
    """The verdict on a module; of its mapped version also how many gates and flip-flops it has of its own."""

    module: str
    verdict: Verdict
    gates: int
    flip_flops: int


@dataclass(frozen=True)
class _Logic:
    """A module without its flip-flops: names of net bits, tables, and what is cut.

    ``tables``: ``(output, inputs, truth table)``. ``registers``: names, data and output of each flip-flop, the output
    inverted or not. ``inputs``, ``outputs``: net by name.
    """

    tables: list
    registers: list
    inputs: dict
    outputs: dict


def _cells(library):
    """Inputs, functions of outputs and flip-flop of every cell that may occur, by type."""
    known = {kind: (tuple(sorted(set(re.findall("[ABS]", function)))), (("Y", function),), None)
             for kind, function in _GATES.items()}
    return known | {name: (cell.inputs, cell.outputs, cell.flip_flop) for name, cell in library.cells.items()}


def _logic(module, cells):
    names = {}
    for name, wire in module["netnames"].items():
        for index, bit in enumerate(wire["bits"]):
            if not wire["hide_name"] and not _GENERATED.fullmatch(name):
                names.setdefault(bit, set()).add(f"{name}[{index}]")
    logic = _Logic([], [], {}, {})

    def cut(prefix, bits, is_input):
        for index, bit in enumerate(bits):
            (logic.inputs if is_input else logic.outputs)[f"{prefix}[{index}]"] = bit

    for name, port in module["ports"].items():
        cut(name, port["bits"], port["direction"] == "input")
    for name, cell in module["cells"].items():
        pins = cell["connections"]
        if cell["type"] == "$_DFF_P_":
            logic.registers.append((names.get(pins["Q"][0], set()), pins["D"][0], pins["Q"][0], False))
        elif cell["type"] not in cells:
            for pin, bits in pins.items():
                cut(f"{name}.{pin}", bits, cell["port_directions"][pin] == "output")
        elif cells[cell["type"]][2] is not None:
            store = cells[cell["type"]][2]
            logic.registers.extend(
                (names.get(pins[pin][0], set()), pins[store.next_state][0], pins[pin][0], function == store.inverse)
                for pin, function in cells[cell["type"]][1] if pin in pins)
        else:
            inputs, outputs, _ = cells[cell["type"]]
            logic.tables.extend((pins[pin][0], [pins[name][0] for name in inputs], truth_table(function, inputs))
                                for pin, function in outputs if pin in pins)
    return logic


def _reduced(logic, kept):
    """The logic without the registers that synthesis removes: those that take a constant, or what another one takes."""
    tables, left = list(logic.tables), [register for register in logic.registers if not register[0] & kept]
    takers = {data: out for names, data, out, _ in logic.registers if names & kept}
    known = _Constants(tables)
    while True:
        found = [(register, known(register[1])) for register in left]
        gone = {register[2]: ([], value) if value is not None else ([takers[register[1]]], 0b10)
                for register, value in found if value is not None or register[1] in takers}
        if not gone:
            break
        left = [register for register in left if register[2] not in gone]
        tables += [(out, *logic_of) for out, logic_of in gone.items()]
        known = _Constants(tables)
    registers = [register for register in logic.registers if register[0] & kept] + left
    return replace(logic, registers=registers, tables=tables)


class _Constants:
    """Finds nets that are constant whatever the other nets are: 0, 1, or None."""

    def __init__(self, tables):
        self.driver = {out: (inputs, table) for out, inputs, table in tables}
        self.values = {"0": 0, "x": 0, "1": 1}

    def __call__(self, net):
        if net not in self.values:
            inputs, table = self.driver.get(net, ((), None))
            given = [self(name) for name in inputs]
            rows = {table >> row & 1 for row in range(1 << len(given))
                    if all(value in (None, row >> bit & 1) for bit, value in enumerate(given))} if inputs else {table}
            self.values[net] = rows.pop() if len(rows) == 1 else None
        return self.values[net]


def _registers(one, other):
    """Pairs of matching registers, or None where one is left alone."""
    by_name = {name: register for register in one for name in register[0]}
    pairs = [(next((by_name[name] for name in sorted(register[0]) if name in by_name), None), register)
             for register in other]
    if any(first is None for first, _ in pairs) or len({first[2] for first, _ in pairs}) != len(one):
        return None
    return pairs


def _blif(logic, registers):
    """BLIF text; registers are cut at inputs q0 … and outputs d0 …, cut pins in the order of their names."""
    def net(bit):
        return _CONSTANTS.get(bit) or f"n{bit}"

    inputs = {name: bit for name, bit in sorted(logic.inputs.items()) if bit not in _CONSTANTS}
    lines = [".model logic", ".inputs " + " ".join([*map(_plain, inputs), *(f"q{i}" for i in range(len(registers)))]),
              ".outputs " + " ".join([*("o." + _plain(name) for name in sorted(logic.outputs)),
                                      *(f"d{i}" for i in range(len(registers)))]), ".names zero", ".names one", "1"]
    for name, bit in inputs.items():
        lines += [f".names {_plain(name)} {net(bit)}", "1 1"]
    for name, bit in sorted(logic.outputs.items()):
        lines += [f".names {net(bit)} o.{_plain(name)}", "1 1"]
    for index, (_, data, out, inverted) in enumerate(registers):
        lines += [f".names {net(data)} d{index}", f"{int(not inverted)} 1", f".names q{index} {net(out)}", "1 1"]
    for out, nets, table in logic.tables:
        lines.append(f".names {' '.join(map(net, nets))} {net(out)}")
        lines += [f"{row:0{len(nets)}b}"[::-1] + " 1" for row in range(1 << len(nets)) if table >> row & 1]
    return "\n".join([*lines, ".end", ""])


def _plain(name):
    return name.replace("[", "<").replace("]", ">")


def _abc():
    """ABC, which comes with pyosys."""
    spec = importlib.util.find_spec("pyosys")
    path = Path(spec.origin).with_name("yosys-abc") if spec else None
    if path is None or not path.exists():
        raise MissingTool("equivalence needs ABC, which the Python package 'pyosys' brings: pip install pyosys")
    return path


def _prove(one, other):
    """Verdict of ABC on two BLIF texts with the same inputs and outputs."""
    with tempfile.TemporaryDirectory(prefix="bnforge-") as directory:
        for name, text in (("one.blif", one), ("other.blif", other)):
            (Path(directory) / name).write_text(text, encoding="ascii")
        done = subprocess.run([str(_abc()), "-c", "cec one.blif other.blif"], cwd=directory, capture_output=True,
                              text=True, check=False)
    for text, verdict in (("Networks are equivalent", Verdict.EQUIVALENT), ("NOT EQUIVALENT", Verdict.DIFFERENT),
                          ("UNDECIDED", Verdict.UNDECIDED)):
        if text in done.stdout:
            return verdict
    raise ToolError(f"ABC failed: {(done.stdout + done.stderr).strip().splitlines()[-1:]}")


def rtl_modules(rtlil, top):
    """The modules of a design as Yosys' own gates and flip-flops, not optimised, as Yosys writes them in JSON."""
    return json.loads(yosys(_RTL.format(top=top), {"design.il": rtlil}, ["rtl.json"])[0])["modules"]


def compare_module(rtl, gates, library):
    """The verdict on one module.

    Parameters
    ----------
    rtl, gates : dict
        The module from :func:`rtl_modules` and from :func:`bnforge.synthesis.mapped`.
    library : Library
    """
    if any(cell["type"].startswith("$mem") for cell in [*rtl["cells"].values(), *gates["cells"].values()]):
        return Verdict.MEMORY
    cells = _cells(library)
    other = _logic(gates, cells)
    one = _reduced(_logic(rtl, cells), {name for names, *_ in other.registers for name in names})
    pairs = _registers(one.registers, other.registers)
    if pairs is None or set(one.inputs) != set(other.inputs) or set(one.outputs) != set(other.outputs):
        return Verdict.UNMATCHED
    firsts, seconds = zip(*pairs) if pairs else ((), ())
    return _prove(_blif(one, firsts), _blif(other, seconds))


def equivalence(config, liberty=None, *, modules=None):
    """Compare every module of a design with its RTL.

    Parameters
    ----------
    config : Config, EngineConfig or ArrayConfig
    liberty : path, optional
        As :func:`bnforge.flows.netlist.map_netlist`.
    modules : collection of str, optional
        Only these, by the names of the generated files.

    Returns
    -------
    list of ModuleEquivalence

    Raises
    ------
    ToolError
        A tool or the library is missing or fails.
    """
    library, rtlil = read_library(liberty), rtlil_text(config)
    rtl, gates = rtl_modules(rtlil, config.name), mapped(rtlil, config.name, library)
    return [ModuleEquivalence(name, compare_module(rtl[name], module, library),
                              sum(cell["type"] in library.cells for cell in module["cells"].values()),
                              sum(cell["type"] in library.flip_flops for cell in module["cells"].values()))
            for name, module in gates.items() if modules is None or name in modules]
