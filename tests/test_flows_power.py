"""Power and timing of a small mapped circuit with OpenSTA, against sums done from the Liberty file alone."""

from types import SimpleNamespace

import flow_circuit
import pytest
from bnforge.flows import fanout, opensta, power, timing, verilog
from bnforge.flows.activity import Activity
from bnforge.flows.netlist import OFFLINE, Gate, Netlist
from bnforge.tools import MissingTool, ToolError

CLOCK_MHZ = 100.0
needs_sta = pytest.mark.needs("opensta", "osu018")


@pytest.fixture(scope="module")
def netlist():
    return flow_circuit.netlist(OFFLINE)


def activity(netlist, rate=None):
    """Net k changes in k mod 37 of 100 cycles, or in ``rate``."""
    return Activity(100, [net % 37 if rate is None else rate for net in range(netlist.n_nets)],
                    [net % 91 for net in range(netlist.n_nets)], 800)


@needs_sta
def test_switching_power_is_that_of_every_net_from_liberty(netlist):
    report = power.power(netlist, activity(netlist), CLOCK_MHZ)
    buffered, original = fanout.with_buffers(netlist)
    gates, clock = power.switching(buffered, power._spread(activity(netlist), original), CLOCK_MHZ)
    assert report.switching == pytest.approx(gates, rel=0.01) and report.clock == clock
    assert report.total == pytest.approx(report.internal + report.switching + report.leakage)
    assert report.total == pytest.approx(sum(part.total for part in report.parts))
    assert {(part.module, part.instances) for part in report.parts} == {("circuit", 1), ("circuit_mixer", 2)}
    assert sum(part.gates for part in report.parts) == report.gates == len(buffered.gates)
    rate = 8 * CLOCK_MHZ * 1e6
    assert report.energy_per_element == pytest.approx((report.total + report.clock) * 1e-3 / rate * 1e12)


@needs_sta
def test_switching_power_is_proportional_to_activity_and_clock(netlist):
    still, slow, busy, fast = (power.power(netlist, activity(netlist, rate), clock) for rate, clock in
                               ((0, CLOCK_MHZ), (10, CLOCK_MHZ), (20, CLOCK_MHZ), (10, 2 * CLOCK_MHZ)))
    assert still.switching == 0 < still.internal
    assert busy.switching == pytest.approx(2 * slow.switching) == fast.switching
    assert fast.internal == pytest.approx(2 * slow.internal)
    assert busy.internal - slow.internal == pytest.approx(slow.internal - still.internal, rel=0.01)
    assert slow.leakage == busy.leakage == fast.leakage > 0


def star(library, points):
    """A register that drives ``points`` inverters."""
    gates = [Gate("hub", "", "DFFPOSX1", {"CLK": 2, "D": 3, "Q": 4})]
    gates += [Gate(f"i{k}", "", "INVX1", {"A": 4, "Y": 5 + k}) for k in range(points)]
    return Netlist("star", library, gates, [], {"aclk": ("input", (2,)), "d": ("input", (3,))}, {}, {"": "star"},
                   5 + points)


@needs_sta
def test_buffers_switch_as_the_net_that_they_repeat():
    netlist = star(flow_circuit.library(OFFLINE), 40)
    moving = Activity(100, [0, 0, 0, 0, 30] + [0] * 40, [50] * 45)
    report = power.power(netlist, moving, CLOCK_MHZ)
    loads = {cell: netlist.library.cells[cell].capacitances["A"] for cell in ("INVX1", "BUFX2")}
    assert report.buffers == 3 and report.energy_per_element is None
    charged = (40 * loads["INVX1"] + 3 * loads["BUFX2"]) * netlist.library.capacitance_unit
    assert report.switching == pytest.approx(0.5 * charged * 1.8 ** 2 * 0.3 * CLOCK_MHZ * 1e6 * 1e3, rel=0.01)


@needs_sta
def test_the_longest_path_is_between_registers_and_as_long_as_its_steps(netlist):
    report = timing.timing(netlist)
    assert report.fmax_mhz == pytest.approx(1000 / report.period, rel=1e-3)
    delays = sum(step.delay for step in report.steps)
    assert 0.7 * report.period < delays < report.period
    assert report.levels == len(report.steps) > 5
    registers = ("count", "before.kept", "after.kept", "rows")
    assert report.start.startswith(registers) or report.start in netlist.names.values()
    assert report.end.startswith((*registers, "status"))


def chain(library, length):
    """Two registers with a chain of inverters in between."""
    gates = [Gate("first", "", "DFFPOSX1", {"CLK": 2, "D": 3, "Q": 10})]
    gates += [Gate(f"i{k}", "", "INVX1", {"A": 10 + k, "Y": 11 + k}) for k in range(length)]
    gates.append(Gate("last", "", "DFFPOSX1", {"CLK": 2, "D": 10 + length, "Q": 4}))
    return Netlist("chain", library, gates, [], {"aclk": ("input", (2,)), "d": ("input", (3,)), "q": ("output", (4,))},
                   {10: "first", 4: "last"}, {"": "chain"}, 11 + length)


@needs_sta
def test_the_period_of_a_chain_grows_by_the_delay_of_its_gates():
    library = flow_circuit.library(OFFLINE)
    short, long = (timing.timing(chain(library, length)) for length in (10, 30))
    assert (short.start, short.end, short.levels, long.levels) == ("first", "last", 11, 31)
    inner = {step.delay for step in long.steps[5:25]}
    assert max(inner) - min(inner) < 0.05
    assert long.period - short.period == pytest.approx(10 * sum(sorted(inner)[::len(inner) - 1]), abs=0.1)


@needs_sta
def test_an_error_of_opensta_is_said_in_one_line():
    with pytest.raises(ToolError, match='^OpenSTA failed: Error: .*no_such_command"$'):
        opensta.run(star(flow_circuit.library(OFFLINE), 2), 10, "no_such_command", [])


def test_a_missing_opensta_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(opensta, "STA", "no-such-sta")
    with pytest.raises(MissingTool, match=r"^OpenSTA is missing: the command 'sta' was not found .*opensta\)$"):
        opensta.version()


def test_a_library_without_units_has_no_power():
    netlist = SimpleNamespace(library=flow_circuit.library(), gates=[])
    with pytest.raises(ToolError, match="must state its voltage and its unit of capacitance"):
        power.switching(netlist, None, CLOCK_MHZ)


def test_the_boundary_is_where_ports_and_memories_are():
    netlist = flow_circuit.netlist()
    into, out = verilog.boundary(netlist)
    memory, = netlist.memories
    assert set(memory.reads[0].data) <= into and set(memory.writes[0].data) <= out
    assert netlist.clock in into and not into & out and not {0, 1} & (into | out)
