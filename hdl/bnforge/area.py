"""Gate counts of a core: synthesis to a cell library, module by module, with the hierarchy kept.

A gate equivalent (GE) is the area of the library's two-input NAND. Memories stay memories and are counted in bits,
beside the gates; tables that are never written become logic. Identical modules are synthesised once
(:mod:`bnforge.merge`), so the time hardly grows with the lanes. Nothing is optimised across module boundaries.
"""

import dataclasses
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass

from . import tools
from .emit import rtlil_text
from .liberty import Library
from .merge import parse
from .synthesis import synthesise

__all__ = ["ModuleArea", "Memory", "AreaReport", "TOTALS", "measure", "report", "table", "changes", "difference"]

TOTALS = ("ge", "ge_per_lane", "lane_ge", "flip_flops", "memory_bits", "levels")
"""Figures of a report that comparisons look at."""


@dataclass(frozen=True)
class ModuleArea:
    """Area of one module. ``own`` figures are without the modules inside, the others with them; per instance."""

    name: str
    instances: int
    own_ge: float
    ge: float
    own_flip_flops: int
    flip_flops: int
    memory_bits: int


@dataclass(frozen=True)
class Memory:
    """A memory that stays a memory: shape, ports, and how many times the core has it."""

    module: str
    name: str
    width: int
    depth: int
    read_ports: int
    write_ports: int
    instances: int

    @property
    def bits(self):
        """Bits of all instances."""
        return self.width * self.depth * self.instances


@dataclass(frozen=True)
class AreaReport:
    """Gate counts of a core.

    Attributes
    ----------
    ge, flip_flops, memory_bits : totals; gates do not include memories
    ge_per_lane : ``ge / lanes``
    lane_ge : gate equivalents of numbered instances of which there are as many as lanes, with all inside, per lane
    levels : cells on the longest path between registers, memories and ports, and ``path`` where it starts and ends
    library : name, SHA-256 of the file, the NAND and its area
    modules : the top first, then in the order of the generated file
    """

    name: str
    configuration: dict
    library: dict
    versions: dict
    lanes: int
    ge: float
    ge_per_lane: float
    lane_ge: float
    flip_flops: int
    memory_bits: int
    levels: int
    path: list
    modules: list
    memories: list

    def to_dict(self):
        """Plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data):
        """The report of :meth:`to_dict`'s data.

        Raises
        ------
        ValueError
            The data is not that of a report.
        """
        try:
            return cls(**{**data, "modules": [ModuleArea(**module) for module in data["modules"]],
                          "memories": [Memory(**memory) for memory in data["memories"]]})
        except (TypeError, KeyError):
            raise ValueError("area report must be a file written by bnforge area --json, not other data") from None

    @classmethod
    def read(cls, path):
        """Read a JSON file.

        Raises
        ------
        OSError, ValueError
        """
        with open(path, encoding="utf-8") as file:
            try:
                data = json.load(file)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"area report must be JSON: {error}") from None
        return cls.from_dict(data)

    def write(self, path):
        """Write as JSON; the same report gives the same bytes."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            json.dump(self.to_dict(), file, indent=2)
            file.write("\n")



def _inclusive(cells, own):
    """Sum of ``own`` over a module and all that is inside it, for every module; per instance."""
    totals = {}

    def visit(module):
        if module not in totals:
            totals[module] = own[module] + sum(count * visit(kind) for kind, count in cells[module].items()
                                               if kind in cells)
        return totals[module]

    for module in cells:
        visit(module)
    return totals


def _instances(cells, top):
    """How many instances of every module the top has."""
    counts = dict.fromkeys(cells, 0)

    def visit(module, times):
        counts[module] += times
        for kind, count in cells[module].items():
            if kind in cells:
                visit(kind, times * count)

    visit(top, 1)
    return counts


def _in_lanes(structure, top, lanes, ge):
    """Gate equivalents of all numbered instances of which the core has as many as lanes, with what is inside them."""
    def visit(module, times):
        stems = Counter(re.sub(r"\d+$", "#", instance) for instance, _kind in structure[module])
        total = 0
        for instance, kind in structure[module]:
            stem = re.sub(r"\d+$", "#", instance)
            is_lane = stem.endswith("#") and stems[stem] * times == lanes
            total += ge[kind] * times if is_lane else visit(kind, times * stems[stem]) / stems[stem]
        return total

    return visit(top, 1)


def measure(rtlil, config, library):
    """Area report of RTLIL text whose top is ``config.name``."""
    top = config.name
    cells, shapes, (levels, path) = synthesise(rtlil, top, library)
    nand = library.nand2
    own_ge = {module: sum(library.cells[cell].area * count for cell, count in kinds.items() if cell in library.cells)
              / nand.area for module, kinds in cells.items()}
    own_ff = {module: sum(count for cell, count in kinds.items() if cell in library.flip_flops)
              for module, kinds in cells.items()}
    own_bits = {module: sum(int(memory["WIDTH"]) * int(memory["SIZE"]) for memory in shapes.get(module, []))
                for module in cells}
    ge, flip_flops, bits = (_inclusive(cells, own) for own in (own_ge, own_ff, own_bits))
    instances = _instances(cells, top)
    structure = {module.name: module.instances for module in parse(rtlil)}
    order = sorted((module for module in structure if instances[module]), key=lambda module: module != top)
    return AreaReport(
        name=top, configuration=config.to_dict(), versions=tools.versions(), lanes=config.lanes,
        library={"name": library.name, "sha256": hashlib.sha256(library.text.encode()).hexdigest(),
                 "nand2": nand.name, "nand2_area": nand.area},
        ge=round(ge[top], 1), ge_per_lane=round(ge[top] / config.lanes, 1),
        lane_ge=round(_in_lanes(structure, top, config.lanes, ge) / config.lanes, 1),
        flip_flops=flip_flops[top], memory_bits=bits[top], levels=levels, path=path,
        modules=[ModuleArea(name=module, instances=instances[module], own_ge=round(own_ge[module], 1),
                            ge=round(ge[module], 1), own_flip_flops=own_ff[module], flip_flops=flip_flops[module],
                            memory_bits=bits[module]) for module in order],
        memories=[Memory(module=module, name=memory["NAME"], width=int(memory["WIDTH"]), depth=int(memory["SIZE"]),
                         read_ports=int(memory["RD_PORTS"]), write_ports=int(memory["WR_PORTS"]),
                         instances=instances[module]) for module in order for memory in shapes.get(module, [])])


def report(config, liberty=None):
    """Area report of the core that ``config`` describes.

    Parameters
    ----------
    config : Config
    liberty : path, optional
        A Liberty file; without it the embedded generic library.

    Raises
    ------
    OSError, ValueError
        The library cannot be read or used.
    ToolError
        Synthesis fails.
    """
    library = Library.read(liberty)
    return measure(rtlil_text(config), config, library)


def table(area):
    """The report as text."""
    def row(name, *figures):
        return f"{name:<36}" + "".join(f"{figure:>13}" for figure in figures)

    lines = [f"{area.name}: gate equivalents with {area.library['name']} (1 GE = {area.library['nand2']})", "",
             row("module", "instances", "own GE", "GE inside", "flip-flops", "memory bits")]
    lines += [row(module.name, module.instances, f"{module.own_ge:.1f}", f"{module.ge:.1f}", module.flip_flops,
                  module.memory_bits) for module in area.modules]
    if area.memories:
        lines += ["", row("memory", "instances", "width", "depth", "ports r/w", "bits")]
        lines += [row(f"{memory.module}.{memory.name}", memory.instances, memory.width, memory.depth,
                      f"{memory.read_ports}/{memory.write_ports}", memory.bits) for memory in area.memories]
    lines += ["", "Modules: figures of one instance. Memories: bits of all instances.", ""]
    lines += [f"{what:<36}{value:>13}" for what, value in _totals(area).items()]
    if area.path:
        lines += [f"longest path: {area.path[0]} to {area.path[1]}"]
    return "\n".join(lines)


def _totals(area):
    return {"total GE": f"{area.ge:.1f}", "GE per lane (total / lanes)": f"{area.ge_per_lane:.1f}",
            "GE in each lane": f"{area.lane_ge:.1f}", "flip-flops": area.flip_flops,
            "memory bits": area.memory_bits, "levels on the longest path": area.levels}


def changes(old, new):
    """Relative change of every total, ``{total: new / old - 1}``; of something that was 0, 0 or infinity."""
    def change(before, after):
        return after / before - 1 if before else (float("inf") if after else 0.0)

    return {total: change(getattr(old, total), getattr(new, total)) for total in TOTALS}


def difference(old, new):
    """The difference of two reports as text: totals, then own gates of every module that changed."""
    def row(what, before, after):
        percent = f"{after / before - 1:+.2%}" if before else ""
        return f"{what:<36}{before:>13}{after:>13}{round(after - before, 1):>+13}{percent:>10}"

    lines = [f"{'':<36}{'old':>13}{'new':>13}{'change':>13}"]
    if old.library != new.library:
        lines.insert(0, f"The libraries differ: {old.library['name']} and {new.library['name']}.")
    lines += [row(total, getattr(old, total), getattr(new, total)) for total in TOTALS]
    before = {module.name: module.own_ge * module.instances for module in old.modules}
    after = {module.name: module.own_ge * module.instances for module in new.modules}
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    lines += [row(f"{name} (own GE, all)", round(before.get(name, 0), 1), round(after.get(name, 0), 1))
              for name in changed]
    return "\n".join(lines)
