"""Mapped netlists as Verilog: for any simulator, with models of cells and memories, and for timing and power."""

from ..liberty import truth_table
from ..tools import ToolError
from .netlist import ONE, ZERO

__all__ = ["cell_models", "memory_models", "simulation", "boundary", "for_sta"]


def _bits(nets, refer):
    return "{" + ", ".join(refer(net) for net in reversed(nets)) + "}"


def _constant(net):
    return {ZERO: "1'b0", ONE: "1'b1"}.get(net, f"n{net}")


def _gate_lines(netlist, refer):
    for index, gate in enumerate(netlist.gates):
        pins = ", ".join(f".{pin}({refer(net)})" for pin, net in gate.pins.items())
        yield f"  {gate.cell} g{index}({pins});\n"


def _declarations(kind, nets):
    nets = list(nets)
    return "".join(f"  {kind} {', '.join(f'n{net}' for net in nets[start:start + 16])};\n"
                   for start in range(0, len(nets), 16))


def cell_models(library, names):
    """Verilog modules of library cells, from their Liberty functions; no delays, no asynchronous inputs.

    Raises
    ------
    ToolError
        A cell has an output without a function.
    """
    return "".join(_cell_model(library.cells[name]) for name in sorted(names))


def _cell_model(cell):
    pins = [*cell.inputs, *(pin for pin, _ in cell.outputs)]
    lines = [f"module {cell.name}({', '.join(pins)});\n", f"  input {', '.join(cell.inputs)};\n",
             *(f"  output {pin};\n" for pin, _ in cell.outputs)]
    inputs = "{" + ", ".join(reversed(cell.inputs)) + "}"

    def look_up(name, function):
        size = 1 << len(cell.inputs)
        return (f"  wire [{size - 1}:0] {name}_table = {size}'h{truth_table(function, cell.inputs):x};\n",
                f"{name}_table[{inputs}]")

    if cell.is_flip_flop:
        store = cell.flip_flop
        table, value = look_up("next", store.next_state)
        lines += ["  reg stored;\n", table, f"  always @(posedge {store.clock}) stored <= {value};\n"]
        lines += [f"  assign {pin} = {'~' if function == store.inverse else ''}stored;\n"
                  for pin, function in cell.outputs]
    else:
        for pin, function in cell.outputs:
            if function is None:
                raise ToolError(f"library cell {cell.name} must have a function at {pin}, which it has not")
            table, value = look_up(pin, function)
            lines += [table, f"  assign {pin} = {value};\n"]
    return "".join(lines) + "endmodule\n"


def _shape(memory):
    """Name of the module of all memories of this shape."""
    transparent = "".join(str(int(shows)) for port in memory.reads for shows in port.transparent)
    return f"memory_{memory.width}x{memory.depth}_r{len(memory.reads)}w{len(memory.writes)}_{transparent}"


def memory_models(memories):
    """Verilog modules of memories, one per shape, for simulation."""
    return "".join({_shape(memory): _memory_model(memory) for memory in memories}.values())


def _memory_ports(memory):
    """Port names of a memory's module and what is connected there: (direction, name, nets)."""
    yield "input", "clk", None
    for index, port in enumerate(memory.reads):
        yield from (("input", f"read{index}_enable", (port.enable,)), ("input", f"read{index}_address", port.address),
                    ("output", f"read{index}_data", port.data))
    for index, port in enumerate(memory.writes):
        yield from (("input", f"write{index}_enables", port.enables), ("input", f"write{index}_address", port.address),
                    ("input", f"write{index}_data", port.data))


def _memory_model(memory):
    ports = list(_memory_ports(memory))
    lines = [f"module {_shape(memory)}({', '.join(name for _, name, _ in ports)});\n"]
    lines += [f"  {direction} {'reg ' if direction == 'output' else ''}[{len(nets or '1') - 1}:0] {name};\n"
              for direction, name, nets in ports]
    lines += [f"  reg [{memory.width - 1}:0] rows [0:{memory.depth - 1}];\n", "  integer k;\n",
              "  always @(posedge clk) begin\n"]
    for index, port in enumerate(memory.reads):
        lines += [f"    if (read{index}_enable) begin\n", f"      read{index}_data <= rows[read{index}_address];\n"]
        lines += [f"      for (k = 0; k < {memory.width}; k = k + 1)\n        if (write{other}_enables[k] && "
                  f"write{other}_address == read{index}_address)\n          read{index}_data[k] <= "
                  f"write{other}_data[k];\n" for other, shows in enumerate(port.transparent) if shows]
        lines += ["    end\n"]
    for index in range(len(memory.writes)):
        lines += [f"    for (k = 0; k < {memory.width}; k = k + 1)\n      if (write{index}_enables[k])\n"
                  f"        rows[write{index}_address][k] <= write{index}_data[k];\n"]
    return "".join(lines) + "  end\nendmodule\n"


def simulation(netlist):
    """The netlist as Verilog text with the ports of the design, and the models of its cells and memories."""
    lines = [f"module {netlist.name}({', '.join(netlist.ports)});\n"]
    lines += [f"  {direction} [{len(nets) - 1}:0] {name};\n" if len(nets) > 1 else f"  {direction} {name};\n"
              for name, (direction, nets) in netlist.ports.items()]
    lines.append(_declarations("wire", range(2, netlist.n_nets)))
    for name, (direction, nets) in netlist.ports.items():
        value = _bits(nets, _constant)
        lines.append(f"  assign {value} = {name};\n" if direction == "input" else f"  assign {name} = {value};\n")
    for index, memory in enumerate(netlist.memories):
        pins = ", ".join(f".{name}({_bits(nets or (netlist.clock,), _constant)})"
                         for _, name, nets in _memory_ports(memory))
        lines.append(f"  {_shape(memory)} m{index}({pins});\n")
    return ("".join([*lines, *_gate_lines(netlist, _constant), "endmodule\n"]) + memory_models(netlist.memories)
            + cell_models(netlist.library, {gate.cell for gate in netlist.gates}))


def boundary(netlist):
    """Nets that come into the gates from outside them, and nets that leave: ports of the top and of memories."""
    into, out = set(), set()
    for direction, nets in netlist.ports.values():
        (into if direction == "input" else out).update(nets)
    for memory in netlist.memories:
        for direction, _, nets in _memory_ports(memory):
            (out if direction == "input" else into).update(nets or ())
    return into - {ZERO, ONE}, out - into - {ZERO, ONE}


def for_sta(netlist, registered=False):
    """The gates alone: net k is called nk, gate k gk.

    Parameters
    ----------
    netlist : Netlist
    registered : bool
        The nets of :func:`boundary` that come in, and the constants, are outputs of flip-flops, called s…; the clock is
        the only input. Otherwise these nets are input ports of one bit. Those that leave are output ports.
    """
    into, out = boundary(netlist)
    sources = sorted(into - {netlist.clock}) + [ZERO, ONE] * registered
    clock = [] if netlist.clock is None else [netlist.clock]
    inputs = clock if registered else clock + sources
    wires = {net for gate in netlist.gates for net in gate.pins.values()}.union(sources).difference(inputs, out)
    wires -= set() if registered else {ZERO, ONE}
    ports = ",\n  ".join(f"n{net}" for net in [*inputs, *sorted(out)])
    return "".join([f"module gates({ports});\n", _declarations("input", inputs),
                    _declarations("output", sorted(out)), _declarations("wire", sorted(wires)),
                    *(_sources(netlist, sources) if registered else ()),
                    *_gate_lines(netlist, "n{}".format if registered else _constant), "endmodule\n"])


def _sources(netlist, nets):
    """A flip-flop that holds its value for every net."""
    cell = next(netlist.library.cells[gate.cell] for gate in netlist.gates
                if netlist.library.cells[gate.cell].is_flip_flop)
    store = cell.flip_flop
    out = next(pin for pin, function in cell.outputs if function == store.state)
    for net in nets:
        yield f"  {cell.name} s{net}(.{store.clock}(n{netlist.clock}), .{store.next_state}(n{net}), .{out}(n{net}));\n"
