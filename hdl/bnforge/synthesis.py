"""Mapping RTLIL to a cell library with Yosys and ABC, hierarchy and memories kept.

The script is the same for every configuration and library, so that differences come from the circuit: Yosys' generic
word-level passes, ABC's default script for a Liberty file (depth first, then area), flip-flops as the library has them.
"""

import json
import re

from . import tools
from .merge import parse

__all__ = ["synthesise", "mapped"]

_SYNTHESIS = """
read_liberty -lib -ignore_miss_func cells.lib
read_rtlil design.il
hierarchy -check -top {top}
proc
check -assert
opt
wreduce
peepopt
opt_clean
alumacc
opt
memory -nomap
memory_map -rom-only
opt -full
tee -o memories.txt dump -m t:$mem_v2
techmap
opt -fast
select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr t:$_DLATCH_* t:$_DLATCHSR_* t:$_SR_*
dfflibmap -prepare -liberty cells.lib
opt_expr
opt_merge
opt_clean
abc -liberty cells.lib
opt_clean -purge
design -save mapped
flatten
tee -o path.txt ltp -noff
design -load mapped
dfflibmap -map-only -liberty cells.lib
opt_clean
check -assert
tee -o stat.json stat -json
"""


_NETLIST = """
rename -enumerate -pattern g%
write_json netlist.json
"""


def _memories(dump):
    """Parameters of the memories of every module, from Yosys' dump."""
    memories = {module.name: [] for module in parse(dump)}
    for module in parse(dump):
        for line in module.lines:
            word, _, rest = line.partition(" ")
            if word == "cell":
                memories[module.name].append({"NAME": rest.split()[1].lstrip("\\")})
            elif word == "parameter":
                key, value = rest.split(" ", 1)
                memories[module.name][-1][key.lstrip("\\")] = value
    return memories


def _longest_path(text):
    """Cells on the longest path, and the names of the nets or cells where it starts and ends."""
    length = re.search(r"\(length=(\d+)\)", text)
    steps = re.findall(r"^\s+(?:\d+|ff): (\S+(?: \[\d+\])?)", text, re.M)
    if "loop" in text or length is None:
        raise tools.ToolError("the circuit has a combinational loop")
    return int(length[1]), [steps[0].lstrip("\\"), steps[-1].lstrip("\\")] if steps else []


def synthesise(rtlil, top, library):
    """Map RTLIL text with Yosys.

    Returns
    -------
    tuple
        Cells by module, ``{module: {cell type: count}}``; memories by module, ``{module: [parameters]}``; the cells on
        the longest path and where it starts and ends.

    Raises
    ------
    ToolError
        Yosys fails: an undriven or multiply driven net, a latch, a cell that the library cannot express.
    """
    memories, path, stat = tools.yosys(_SYNTHESIS.format(top=top), {"design.il": rtlil, "cells.lib": library.text},
                                       ["memories.txt", "path.txt", "stat.json"])
    return _cells(stat, library), _memories(memories), _longest_path(path)


def mapped(rtlil, top, library):
    """The mapped modules themselves: ``{module: contents}`` as Yosys writes them in JSON, hierarchy and memories kept.

    Cells that have no name of their own are called g0, g1, …; arguments and errors are those of :func:`synthesise`.
    """
    stat, netlist = tools.yosys(_SYNTHESIS.format(top=top) + _NETLIST,
                                {"design.il": rtlil, "cells.lib": library.text}, ["stat.json", "netlist.json"])
    modules = json.loads(netlist)["modules"]
    return {name: modules[name] for name in _cells(stat, library)}


def _cells(stat, library):
    """Cells by module, from Yosys' statistics."""
    modules = {name.lstrip("\\"): module["num_cells_by_type"] for name, module in json.loads(stat)["modules"].items()}
    for name, cells in modules.items():
        strange = [cell for cell in cells if cell not in library.cells and cell not in modules and cell != "$mem_v2"]
        if strange:
            raise tools.ToolError(f"library {library.name!r} has nothing for {', '.join(sorted(strange))} in {name}")
    return modules
