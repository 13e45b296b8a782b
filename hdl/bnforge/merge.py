"""Merging identical modules in RTLIL text.

Amaranth emits one module per instance, named by its place in the hierarchy: sixteen lanes give sixteen copies of every
part. :func:`merge` keeps one module per distinct body, gives it a name that says what it is, and points all instances
at it. Two bodies are the same when they differ only in the names of wires, ports and cells; the text format is that of the
Yosys manual, chapter "RTLIL text representation".
"""

import re
from dataclasses import dataclass, field

__all__ = ["Module", "parse", "merge"]

_IDENTIFIER = re.compile(r'"(?:[^"\\]|\\.)*"|(?<!\S)[\\$]\S+')
_MEMORY_ID = re.compile(r'(parameter \\MEMID ")\\([\\$]\S+)"')
_TOP = re.compile(r"^attribute \\top 1$", re.M)


@dataclass
class Module:
    """One module of an RTLIL text.

    ``lines`` are those of the body, stripped, without attributes of source lines, initial values and enumerations;
    ``instances`` are pairs of instance name and module name, without the leading backslash.
    """

    name: str
    lines: list = field(default_factory=list)
    is_top: bool = False

    @property
    def instances(self):
        cells = (line.split() for line in self.lines if line.startswith("cell \\"))
        return [(name.lstrip("\\"), kind[1:]) for _cell, kind, name in cells]


def parse(text):
    """The modules of an RTLIL text, in its order.

    Initial values are left out: those of registers, because reset defines the state, and those of memories that are
    written. A memory that is never written (a table) keeps its contents.
    """
    modules, current, depth, pending_top = [], None, 0, False
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            continue
        word = line.split(None, 1)[0]
        if current is None:
            if word == "module":
                current = Module(line.split()[1][1:], is_top=pending_top)
                pending_top, depth = False, 0
            elif _TOP.match(line):
                pending_top = True
            continue
        if word in ("cell", "process", "switch"):
            depth += 1
        elif word == "end":
            if depth == 0:
                current.lines = _drop_initial_contents(current.lines)
                modules.append(current)
                current = None
                continue
            depth -= 1
        if word == "attribute":
            continue
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


def _drop_initial_contents(lines):
    """Leave out the contents of every memory that has a write port."""
    def memory_of(block):
        return next((line for line in block if line.startswith("parameter \\MEMID ")), None)

    blocks = list(_blocks(lines))
    written = {memory_of(block) for block in blocks if block[0].startswith("cell $memwr_v2 ")}
    return [line for block in blocks
            if not (block[0].startswith("cell $meminit_v2 ") and memory_of(block) in written) for line in block]


def _rewrite(lines, rename, kinds, ports):
    """``lines`` with every local identifier mapped by ``rename``, every module by ``kinds``, every port by ``ports``."""
    def local(text):
        return _IDENTIFIER.sub(lambda match: match[0] if match[0][0] == '"' else rename(match[0]), text)

    cell = None
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
        elif word == "connect" and cell is not None:
            port, _, value = rest.partition(" ")
            yield f"connect {ports.get(cell, {}).get(port, port)} {local(value)}"
        else:
            if word == "end":
                cell = None
            yield f"{word} {local(rest)}".rstrip()


def _numbered():
    """A renaming by order of appearance."""
    seen = {}
    return seen, lambda name: seen.setdefault(name, f"${len(seen)}")


def _readable(lines):
    """A renaming without characters that Verilog has to escape: ``x$12`` becomes ``x_12``."""
    names = {match[0] for line in lines for match in _IDENTIFIER.finditer(line) if match[0][0] == "\\"}
    taken = {name for name in names if re.fullmatch(r"\\\w+", name)}
    renamed = {}

    def rename(name):
        if name[0] == "$" or name in taken:
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
    kinds = kinds or {}
    modules = parse(text)
    top = next(module for module in modules if module.is_top)
    first, same_as, ports, canonical = {}, {}, {}, {}
    for module in _children_first(modules):
        seen, rename = _numbered()
        body = tuple(_rewrite(module.lines, rename, {f"\\{n}": f"\\{k}" for n, k in same_as.items()},
                              {f"\\{n}": p for n, p in ports.items()}))
        original = first.setdefault((module.is_top, body), module.name)
        same_as[module.name] = original
        canonical[module.name] = seen
        names = {number: name for name, number in canonical[original].items()}
        ports[module.name] = {name: names[number] for name, number in seen.items()}

    renamed = {top.name: top.name}
    used = {top.name}
    for module in modules:
        if same_as[module.name] == module.name and module is not top:
            kind = kinds.get(module.name) or re.sub(r"_?\d+$", "", module.name.rsplit(".", 1)[-1])
            base = candidate = re.sub(r"\W+", "_", f"{top.name}_{kind}")
            number = 1
            while candidate in used:
                number += 1
                candidate = f"{base}_{number}"
            used.add(candidate)
            renamed[module.name] = candidate

    types = {f"\\{name}": f"\\{renamed[original]}" for name, original in same_as.items()}
    readable = {module.name: _readable(module.lines) for module in modules}
    cell_ports = {f"\\{name}": {port: readable[same_as[name]](new) for port, new in names.items()}
                  for name, names in ports.items()}
    output = []
    for module in modules:
        if same_as[module.name] != module.name:
            continue
        if module is top:
            output.append("attribute \\top 1")
        output.append(f"module \\{renamed[module.name]}")
        output.extend(_rewrite(module.lines, readable[module.name], types, cell_ports))
        output.append("end\n")
    return "\n".join(output)
