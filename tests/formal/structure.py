"""What a netlist says without a solver: which inputs reach which outputs, and through how many registers."""

import tempfile
from pathlib import Path

from bnforge.emit import component_rtlil

from .runner import pyosys

__all__ = ["Netlist"]

_SCRIPT = """
read_rtlil design.il
hierarchy -check -top dut
proc -norom
flatten
memory_collect
memory_dff
{cut}
opt_clean
memory_map
{cut}
opt_clean
techmap
dffunmap
setundef -undriven -zero
techmap
aigmap
clean
delete t:$scopeinfo
write_aiger -ascii -symbols -no-startoffset design.aag
"""


_CUT = "cutpoint -undef t:$dff t:$dffe t:$sdff t:$sdffe t:$sdffce"


class Netlist:
    """A component as and-inverter graph, clock and reset aside.

    Parameters
    ----------
    registers : with its registers; without them only :meth:`combinational` tells anything

    Attributes
    ----------
    inputs, outputs : names of the ports
    """

    def __init__(self, component, *, registers=True):
        with tempfile.TemporaryDirectory(prefix="bnforge-formal-") as name:
            directory = Path(name)
            (directory / "design.il").write_text(component_rtlil(component, "dut"), encoding="utf-8")
            pyosys(_SCRIPT.format(cut="" if registers else _CUT), directory)
            lines = (directory / "design.aag").read_text(encoding="utf-8").splitlines()
        _magic, _n_nodes, *counts = lines[0].split()
        n_inputs, n_latches, n_outputs, n_ands = map(int, counts[:4])
        rows = [[int(field) for field in line.split()] for line in lines[1:1 + sum(map(int, counts[:4]))]]
        inputs, rows = rows[:n_inputs], rows[n_inputs:]
        latches, rows = rows[:n_latches], rows[n_latches:]
        outputs, ands = rows[:n_outputs], rows[n_outputs:n_outputs + n_ands]
        self._latches = [(row[0] >> 1, row[1] >> 1) for row in latches]
        self._ands = sorted((row[0] >> 1, row[1] >> 1, row[2] >> 1) for row in ands)
        self._inputs, self._outputs = {}, {}
        for line in lines[1 + len(inputs) + len(latches) + len(outputs) + len(ands):]:
            if line[:1] in ("i", "o") and line[1:2].isdigit():
                place, name = line.split(" ", 1)
                ports, table = (self._inputs, inputs) if line[0] == "i" else (self._outputs, outputs)
                ports.setdefault(name.split("[")[0], set()).add(table[int(place[1:])][0] >> 1)
        self.inputs = [name for name in self._inputs if name not in ("clk", "rst", "aclk", "aresetn")]
        self.outputs = list(self._outputs)

    def distances(self, name, limit=32):
        """Numbers of registers on the paths from input ``name``, for each output that it reaches.

        Raises
        ------
        ValueError
            A path is longer than ``limit``: the input goes through a register that holds its value.
        """
        found = {}
        reached = set(self._inputs[name])
        for depth in range(limit + 1):
            for node, left, right in self._ands:
                if left in reached or right in reached:
                    reached.add(node)
            for output, nodes in self._outputs.items():
                if nodes & reached:
                    found.setdefault(output, set()).add(depth)
            reached = {node for node, following in self._latches if following in reached}
            if not reached:
                return found
        raise ValueError(f"{name} must reach the outputs within {limit} registers")

    def combinational(self, name):
        """Outputs that input ``name`` reaches without a register."""
        reached = set(self._inputs[name])
        for node, left, right in self._ands:
            if left in reached or right in reached:
                reached.add(node)
        return [output for output, nodes in self._outputs.items() if nodes & reached]
