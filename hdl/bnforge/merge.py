"""Merging identical modules in RTLIL text.

Amaranth emits one module per instance, named by its place in the hierarchy: sixteen lanes give sixteen copies of every
part. :func:`merge` keeps one module per distinct body, gives it a name that says what it is, and points all instances
at it. Bodies are the same when they differ only in the names of wires, ports and cells, in the order of ports, and in
which of their wires are outputs. The format is that of the Yosys manual, chapter "RTLIL text representation".
"""

import re
from dataclasses import dataclass, field

__all__ = ["Wire", "Module", "parse", "merge"]

_IDENTIFIER = re.compile(r'"(?:[^"\\]|\\.)*"|(?<!\S)[\\$]\S+')
_MEMORY_ID = re.compile(r'(parameter \\MEMID ")\\([\\$]\S+)"')
_WIRE = re.compile(r"wire width (\d+)(?: (input|output|inout) \d+)?( +signed)? +(\S+)")


@dataclass(frozen=True)
class Wire:
    """A wire: width in bits, signedness, and ``input``, ``output``, ``inout`` or ``""``."""

    width: int
    signed: bool
    direction: str


@dataclass
class Module:
    """One module of an RTLIL text.

    ``wires`` are by name; ``lines`` are all other lines of the body, stripped, without attributes. ``instances`` are
    pairs of instance name and module name, without the leading backslash.
    """

    name: str
    wires: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    is_top: bool = False

    @property
    def instances(self):
        cells = (line.split() for line in self.lines if line.startswith("cell \\"))
        return [(name.lstrip("\\"), kind[1:]) for _cell, kind, name in cells]


def parse(text):
    """The modules of an RTLIL text, in its order.

    Attributes are left out, and with them the initial values of registers, because reset defines the state. So are the
    initial contents of memories that are written; a memory that is never written (a table) keeps its contents.
    """
    modules, current, depth, is_top = [], None, 0, False
    for line in filter(None, map(str.strip, text.splitlines())):
        word = line.split(None, 1)[0]
        if word == "attribute":
            is_top |= current is None and line == "attribute \\top 1"
        elif current is None:
            if word == "module":
                current, depth, is_top = Module(line.split()[1][1:], is_top=is_top), 0, False
        elif word == "wire":
            width, direction, signed, name = _WIRE.fullmatch(line).groups()
            current.wires[name] = Wire(int(width), bool(signed), direction or "")
        elif word == "end" and depth == 0:
            current.lines = _without_initial_contents(current.lines)
            modules.append(current)
            current = None
        else:
            depth += (word in ("cell", "process", "switch")) - (word == "end")
            current.lines.append(line)
    return modules


def _blocks(lines):
    """Split a body into statements: cells and processes with all their lines, everything else line by line."""
    block, depth = [], 0
    for line in lines:
        word = line.split(None, 1)[0]
        block.append(line)
        if word in ("cell", "process", "switch"):
            depth += 1
        elif word == "end":
            depth -= 1
        if depth == 0:
            yield block
            block = []


def _without_initial_contents(lines):
    """Leave out the contents of every memory that has a write port."""
    def memory_of(block):
        return next((line for line in block if line.startswith("parameter \\MEMID ")), None)

    blocks = list(_blocks(lines))
    written = {memory_of(block) for block in blocks if block[0].startswith("cell $memwr_v2 ")}
    return [line for block in blocks
            if not (block[0].startswith("cell $meminit_v2 ") and memory_of(block) in written) for line in block]


def _rewrite(lines, rename, kinds, ports):
    """``lines`` with every local identifier mapped by ``rename``, every module by ``kinds``, every port by ``ports``.

    ``ports`` maps module name to port to new port; the connections of a module's instances are sorted by new port.
    """
    def local(text):
        return _IDENTIFIER.sub(lambda match: match[0] if match[0][0] == '"' else rename(match[0]), text)

    cell, connections = None, []
    for line in lines:
        word, _, rest = line.partition(" ")
        memory = _MEMORY_ID.fullmatch(line)
        if memory:
            yield memory[1] + rename(memory[2]).replace("\\", "\\\\") + '"'
        elif word == "parameter":
            yield line
        elif word == "cell":
            cell, name = rest.split()
            yield f"cell {kinds.get(cell, cell)} {rename(name)}"
        elif word == "connect" and cell in ports:
            port, _, value = rest.partition(" ")
            connections.append((ports[cell][port], value))
        elif word == "connect" and cell is not None:
            port, _, value = rest.partition(" ")
            yield f"connect {port} {local(value)}"
        else:
            if word == "end":
                for port, value in sorted(connections):
                    yield f"connect {port} {local(value)}"
                cell, connections = None, []
            yield f"{word} {local(rest)}".rstrip()


def _canonical(module, kinds, ports):
    """What makes a module what it is, and the canonical names of its wires by name."""
    seen = {}
    body = tuple(_rewrite(module.lines, lambda name: seen.setdefault(name, f"${len(seen)}"), kinds, ports))
    names = {name: seen.get(name, name) for name in module.wires}
    inputs = frozenset(names[name] for name, wire in module.wires.items() if wire.direction in ("input", "inout"))
    shapes = frozenset((names[name], wire.width, wire.signed) for name, wire in module.wires.items() if name in seen)
    return (module.is_top, body, shapes, inputs), names


def _readable(module):
    """A renaming without characters that Verilog has to escape: ``x$12`` becomes ``x_12``."""
    names = {match[0] for line in module.lines for match in _IDENTIFIER.finditer(line) if match[0][0] == "\\"}
    taken = {name for name in names | set(module.wires) if re.fullmatch(r"\\\w+", name)}
    renamed = {}

    def rename(name):
        if name[0] == "$" or re.fullmatch(r"\\\w+", name):
            return name
        if name not in renamed:
            base = candidate = re.sub(r"\W+", "_", name[1:])
            number = 1
            while f"\\{candidate}" in taken:
                number += 1
                candidate = f"{base}_{number}"
            taken.add(f"\\{candidate}")
            renamed[name] = f"\\{candidate}"
        return renamed[name]

    return rename


def _children_first(modules):
    by_name = {module.name: module for module in modules}
    order = {}

    def visit(module):
        for _instance, kind in module.instances:
            if kind in by_name and kind not in order:
                visit(by_name[kind])
        order.setdefault(module.name, module)

    for module in modules:
        visit(module)
    return list(order.values())


def merge(text, kinds=None):
    """Merge identical modules.

    Parameters
    ----------
    text : str
        RTLIL text with one top module, marked by the ``top`` attribute.
    kinds : dict of str to str, optional
        What a module is, by its name in ``text``: the stem of its new name. Otherwise its instance name without a
        trailing number.

    Returns
    -------
    str
        RTLIL text. The top keeps its name; every other module is named ``<top>_<kind>``, further ones of the same kind
        that are different ``<top>_<kind>_2`` and so on, in the order of ``text``. The same input gives the same bytes.
    """
    modules = parse(text)
    top = next(module for module in modules if module.is_top)
    first, kept, ports, outputs, canonical = {}, {}, {}, {}, {}
    for module in _children_first(modules):
        kept_types = {f"\\{name}": f"\\{original}" for name, original in kept.items()}
        key, canonical[module.name] = _canonical(module, kept_types, ports)
        original = first.setdefault(key, module.name)
        kept[module.name] = original
        names = {number: name for name, number in canonical[original].items()}
        ports[f"\\{module.name}"] = {name: names.get(number, name) for name, number in canonical[module.name].items()}
        outputs.setdefault(original, set()).update(
            ports[f"\\{module.name}"][name] for name, wire in module.wires.items() if wire.direction == "output")

    for module in modules:
        if kept[module.name] == module.name:
            _connect_outputs(module, {f"\\{name}": outputs[original] for name, original in kept.items()}, ports,
                             {f"\\{other.name}": other.wires for other in modules})
    renamed = _names(modules, top, kept, kinds or {})
    readable = {module.name: _readable(module) for module in modules}
    types = {f"\\{name}": f"\\{renamed[original]}" for name, original in kept.items()}
    new_ports = {f"\\{name}": {port: readable[original](new) for port, new in ports[f"\\{name}"].items()}
                 for name, original in kept.items()}
    written = []
    for module in modules:
        if kept[module.name] == module.name:
            written += ["attribute \\top 1"] if module is top else []
            written.append(f"module \\{renamed[module.name]}")
            written += _declarations(module, readable[module.name], outputs[module.name])
            written += _rewrite(module.lines, readable[module.name], types, new_ports)
            written.append("end\n")
    return "\n".join(written)


def _connect_outputs(module, outputs, ports, wires):
    """Give every instance in ``module`` a wire for each output that only other instances of its module use."""
    lines, cell, open_outputs = [], None, {}
    for line in module.lines:
        word, _, rest = line.partition(" ")
        if word == "cell" and rest.split()[0] in ports:  # not a cell of Yosys, nor a black box
            cell, instance = rest.split()
            open_outputs = {port: new for port, new in ports[cell].items() if new in outputs[cell]}
        elif word == "connect" and cell:
            open_outputs.pop(rest.split(" ", 1)[0], None)
        elif word == "end" and cell:
            for port in open_outputs:
                name = f"{instance}_{port[1:]}"
                module.wires[name] = Wire(wires[cell][port].width, False, "")
                lines.append(f"connect {port} {name}")
            cell = None
        lines.append(line)
    module.lines = lines


def _names(modules, top, kept, kinds):
    """New names of the modules that stay."""
    renamed, used = {top.name: top.name}, {top.name}
    for module in modules:
        if kept[module.name] == module.name and module is not top:
            kind = kinds.get(module.name) or re.sub(r"_?\d+$", "", module.name.rsplit(".", 1)[-1])
            base = candidate = re.sub(r"\W+", "_", f"{top.name}_{kind}")
            number = 1
            while candidate in used:
                number += 1
                candidate = f"{base}_{number}"
            used.add(candidate)
            renamed[module.name] = candidate
    return renamed


def _declarations(module, rename, outputs):
    """Wire declarations, ports numbered in their order; every wire in ``outputs`` is one."""
    number = 0
    for name, wire in module.wires.items():
        direction = "output" if name in outputs else wire.direction
        port = f" {direction} {number}" if direction else ""
        number += bool(direction)
        yield f"wire width {wire.width}{port}{' signed' if wire.signed else ''} {rename(name)}"
