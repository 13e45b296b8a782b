"""Mapped netlists: what they hold, their Verilog, their buffers, and their simulation in the bench of the RTL."""

import dataclasses

import numpy as np
import pytest

import flow_circuit
from bnforge.flows import fanout, verilog
from bnforge.flows.netlist import Gate, Netlist, library, map_netlist
from bnforge.presets import opn1_tiny
from bnforge.synthesis import synthesise
from bnforge.tools import MissingTool, ToolError
from bnforge_sim.files import Segment
from bnforge_sim.gates import GateSimulator
from bnforge_sim.simulator import Simulator

CYCLES = 60


def test_the_netlist_has_the_gates_and_memories_that_the_area_report_counts():
    netlist = flow_circuit.netlist()
    cells, memories, _ = synthesise(flow_circuit.rtlil(), flow_circuit.NAME, netlist.library)
    instances = {name: list(netlist.parts.values()).count(name) for name in cells}
    assert instances[f"{flow_circuit.NAME}_mixer"] == 2
    for cell in netlist.library.cells:
        counted = sum(kinds.get(cell, 0) * instances[module] for module, kinds in cells.items())
        assert sum(gate.cell == cell for gate in netlist.gates) == counted, cell
    assert [(memory.width, memory.depth, len(memory.reads), len(memory.writes)) for memory in netlist.memories] == \
        [(6, 8, 1, 1)]
    assert netlist.memories[0].reads[0].transparent == (True,)
    assert sum(map(len, memories.values())) == 1


def test_every_net_has_one_driver_and_a_name_where_the_design_has_one():
    netlist = flow_circuit.netlist()
    into, _ = verilog.boundary(netlist)
    driven = [gate.pins[pin] for gate in netlist.gates for pin, _ in netlist.library.cells[gate.cell].outputs]
    assert len(driven) == len(set(driven)) and not set(driven) & into
    used = {net for gate in netlist.gates for net in gate.pins.values()}
    assert used - {0, 1} <= set(driven) | into
    assert {"before.kept[0]", "after.kept[5]", "count[3]"} <= set(netlist.names.values())
    assert netlist.ports["aclk"] == ("input", (netlist.clock,))


def segment(cycles):
    nothing = np.zeros(0, np.uint32)
    return Segment(nothing, nothing.astype(bool), np.zeros((0, 1), np.uint32), nothing.astype(bool), 0, 0,
                   stop_cycle=cycles, idle_limit=10 * cycles)


def statuses(outcome, cycles):
    """The value in every cycle, from the list of changes."""
    log, value, values = dict(outcome.status_log.tolist()), 0, []
    for cycle in range(cycles):
        value = log.get(cycle, value)
        values.append(value)
    return values


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    return GateSimulator(flow_circuit.CONFIG, flow_circuit.netlist())


def test_the_simulated_netlist_does_what_the_circuit_does(simulator):
    got = statuses(simulator.run_segments([segment(CYCLES)])[0], CYCLES)
    wanted = flow_circuit.expected_status(CYCLES)
    assert [value for value, known in zip(got, wanted) if known is not None] == \
        [known for known in wanted if known is not None]
    assert sum(known is not None for known in wanted) > CYCLES - 12


def test_toggles_are_those_of_a_slow_simulation(simulator):
    """The registers' values are known by name; every other net follows from them."""
    first, last = 20, 50
    activity, netlist = simulator.activity(segment(CYCLES), first, last), flow_circuit.netlist()
    nets = {name: net for net, name in netlist.names.items()}
    assert activity.cycles == last - first
    for bit in range(6):
        net, flips = nets[f"count[{bit}]"], [cycle >> bit & 1 for cycle in range(first - 1, last)]
        assert activity.toggles[net] == sum(one != other for one, other in zip(flips, flips[1:]))
        assert activity.ones[net] == sum(flips[1:])
        mixed = [((cycle - 1) * 5 + 3) >> bit & 1 for cycle in range(first - 1, last)]
        assert activity.ones[nets[f"before.kept[{bit}]"]] == sum(mixed[1:])
    assert activity.ones[netlist.ports["aresetn"][1][0]] == last - first
    assert activity.toggles[netlist.clock] == 0


def test_toggles_of_gates_follow_from_those_of_registers(simulator):
    netlist = flow_circuit.netlist()
    into, _ = verilog.boundary(netlist)
    starts = into | {gate.pins[pin] for gate in netlist.gates if netlist.library.cells[gate.cell].is_flip_flop
                     for pin, _ in netlist.library.cells[gate.cell].outputs}
    cycles = [simulator.activity(segment(CYCLES), cycle, cycle + 1).ones for cycle in range(30, 34)]
    for ones in cycles:
        values = flow_circuit.settle(netlist, {0: 0, 1: 1} | {net: int(ones[net]) for net in starts})
        assert values == {net: int(ones[net]) for net in values if net > 1} | {0: 0, 1: 1}
        assert len(values) == netlist.n_nets
    together = simulator.activity(segment(CYCLES), 31, 34)
    assert [int(count) for count in together.toggles[2:]] == \
        [sum(int(one[net]) != int(other[net]) for one, other in zip(cycles, cycles[1:]))
         for net in range(2, netlist.n_nets)]


def test_buffers_keep_the_logic_and_limit_the_fan_out():
    limit, netlist = 3, flow_circuit.netlist()
    buffered, original = fanout.with_buffers(netlist, limit)
    sinks = [net for gate in buffered.gates for pin in buffered.library.cells[gate.cell].inputs
             for net in [gate.pins[pin]] if net > 1 and net != buffered.clock]
    assert max(map(sinks.count, set(sinks))) <= limit < max(map([original[net] for net in sinks].count, set(sinks)))
    added = buffered.gates[len(netlist.gates):]
    assert added and {gate.cell for gate in added} == {netlist.library.buffer.name}
    assert all(original[net] == original[other] for gate in added for net, other in [gate.pins.values()])
    assert [gate._replace(pins={pin: original[net] for pin, net in gate.pins.items()})
            for gate in buffered.gates[:len(netlist.gates)]] == netlist.gates
    assert len({gate.pins[pin] for gate in added for pin, _ in netlist.library.cells[gate.cell].outputs}) == len(added)


def test_the_verilog_does_what_the_netlist_does(simulator):
    """Under Verilator: models of cells and memory included."""
    compiled = Simulator(flow_circuit.CONFIG, verilog=verilog.simulation(flow_circuit.netlist()))
    known = [value is not None for value in flow_circuit.expected_status(CYCLES)]
    got, wanted = ([value for value, is_known in zip(statuses(each.run_segments([segment(CYCLES)])[0], CYCLES), known)
                    if is_known] for each in (compiled, simulator))
    assert got == wanted


def test_a_library_that_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("bnforge.flows.netlist.OFFLINE", tmp_path / "none.lib")
    with pytest.raises(MissingTool, match="^a cell library with timing and power is missing: .*qflow-tech-osu018$"):
        library()


def tiny(gates, cells=None):
    return Netlist("x", cells or flow_circuit.library(), gates, [], {}, {}, {"": "x"}, 9)


@pytest.mark.parametrize("netlist, message", [
    (tiny([Gate("a", "", "INV", {"A": 2, "Y": 3}), Gate("b", "", "INV", {"A": 3, "Y": 2})]), "combinational loop"),
])
def test_what_cannot_be_simulated_is_refused(netlist, message):
    with pytest.raises(ToolError, match=message):
        GateSimulator(flow_circuit.CONFIG, netlist)


def test_two_clocks_are_refused():
    gates = [Gate(name, "", "DFF", {"CK": clock, "D": 5, "Q": 6 + clock}) for name, clock in (("a", 2), ("b", 3))]
    with pytest.raises(ToolError, match="must have one clock, not 2"):
        tiny(gates).clock


def test_a_library_without_a_buffer_is_refused():
    cells = flow_circuit.library()
    without = dataclasses.replace(cells, cells={name: cell for name, cell in cells.cells.items() if not cell.is_buffer})
    with pytest.raises(ToolError, match="must have a buffer"):
        fanout.with_buffers(tiny([], without))


@pytest.mark.needs("osu018")
def test_a_mapped_core_computes_what_the_model_says():
    from bnforge.config import Directions
    from bnforge_sim.simulator import compare
    from bnforge_sim.workload import measure_activity, workload
    simulator = GateSimulator(opn1_tiny, map_netlist(opn1_tiny))
    for direction in (Directions.FORWARD, Directions.BACKWARD):
        runs = workload(opn1_tiny, direction, n_images=8)
        outcomes, activity = measure_activity(simulator, runs)
        for tiles, outcome in zip(runs, outcomes, strict=True):
            comparison = compare(opn1_tiny, tiles, outcome)
            assert comparison.mismatches == 0, comparison.messages
        assert activity.cycles == activity.elements == 512 and 0.02 < activity.average < 0.3
