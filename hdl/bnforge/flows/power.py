"""Power of the gates of a netlist, from the switching activity of every net.

OpenSTA computes it from the Liberty file: internal power of the cells, switching power ½·C·V²·f·α of the nets that
gates drive, with C the capacitance of the pins on it (no wires), and leakage. α, transitions per cycle, is set on every
pin from simulation (:mod:`bnforge_sim.gates`). Memories are not in it, nor are glitches.

OpenSTA 2.0.17 reads no activity files, and activity that it propagates from input ports replaces what is set on pins;
hence it gets a netlist without input ports, their nets driven by flip-flops that are not counted, and propagates
nothing.
"""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass

from ..tools import ToolError
from . import opensta
from .fanout import with_buffers
from .netlist import map_netlist

__all__ = ["PartPower", "PowerReport", "power", "measure", "switching"]

_REPORT = """
set report [open power.txt w]
set corner [sta::cmd_corner]
foreach gate [get_cells g*] {
  puts $report "[get_property $gate full_name] [sta::instance_power $gate $corner]"
}
close $report
"""


@dataclass(frozen=True)
class PartPower:
    """Power in mW of the gates of all instances of a module, without the modules inside."""

    module: str
    instances: int
    gates: int
    internal: float
    switching: float
    leakage: float

    @property
    def total(self):
        """Sum."""
        return self.internal + self.switching + self.leakage


@dataclass(frozen=True)
class PowerReport:
    """Power of a netlist in mW.

    Attributes
    ----------
    clock_mhz : frequency
    internal, switching, leakage, total : of all gates, buffers of large fan-outs included
    clock : switching of the flip-flops' clock pins, whose drivers are not in the netlist; not in ``total``
    average_activity : transitions per cycle, mean over the nets
    cycles, elements : of the stretch of simulation; ``elements`` are those it is for, all lanes together
    energy_per_element : pJ, ``total`` and ``clock`` over the rate of elements; None without elements
    gates, buffers : cells, and how many of them drive large fan-outs
    parts : list of PartPower, the largest first
    versions : of OpenSTA and library
    """

    clock_mhz: float
    internal: float
    switching: float
    leakage: float
    total: float
    clock: float
    average_activity: float
    cycles: int
    elements: int
    energy_per_element: float | None
    gates: int
    buffers: int
    parts: list
    versions: dict

    def to_dict(self):
        """Plain data for JSON."""
        return dataclasses.asdict(self)


def _pins(netlist, original):
    """Every pin of every gate and the net on it, without buffers, but the clock's: ``(net, pin)``."""
    for index, gate in enumerate(netlist.gates):
        for pin, net in gate.pins.items():
            if net != netlist.clock:
                yield original[net], f"g{index}/{pin}"


def _gate_powers(netlist, original, activity, clock_mhz):
    """Internal, switching and leakage power of every gate in mW, from OpenSTA."""
    lines = ["sta::set_power_pin_activity [get_pins {}] {:.9g} {:.9g}".format(pin, *activity.of(net))
             for net, pin in _pins(netlist, original)]
    text, = opensta.run(netlist, 1000 / clock_mhz, "\n".join(lines) + _REPORT, ["power.txt"], registered=True)
    powers = [None] * len(netlist.gates)
    for line in text.splitlines():
        name, internal, switching_power, leakage, _ = line.split()
        powers[int(name[1:])] = tuple(1e3 * float(value) for value in (internal, switching_power, leakage))
    if None in powers:
        raise ToolError(f"OpenSTA must report every gate, and left out g{powers.index(None)}")
    return powers


def _parts(netlist, powers):
    """The gates' power by module, the largest first."""
    sums, counts, paths = defaultdict(lambda: [0.0] * 3), defaultdict(int), defaultdict(int)
    for kind in netlist.parts.values():
        paths[kind] += 1
    for gate, values in zip(netlist.gates, powers):
        kind = netlist.parts[gate.part]
        counts[kind] += 1
        sums[kind] = [one + other for one, other in zip(sums[kind], values)]
    parts = [PartPower(kind, paths[kind], counts[kind], *sums[kind]) for kind in counts]
    return sorted(parts, key=lambda part: -part.total)


def _loads(netlist):
    """Capacitance of the pins on each net, in F."""
    loads = defaultdict(float)
    unit = netlist.library.capacitance_unit
    if unit is None or netlist.library.voltage is None:
        raise ToolError(f"library {netlist.library.name!r} must state its voltage and its unit of capacitance")
    for gate in netlist.gates:
        cell = netlist.library.cells[gate.cell]
        for pin, net in gate.pins.items():
            loads[net] += cell.capacitances[pin] * unit
    return loads


def switching(netlist, activity, clock_mhz):
    """Switching power in mW from Liberty alone: Σ ½·C·V²·f·α over the nets that gates drive, and that of the clock.

    C is the capacitance of all pins on the net. The clock has α = 2.
    """
    loads, scale = _loads(netlist), 0.5 * netlist.library.voltage ** 2 * clock_mhz * 1e6 * 1e3
    gates = sum(loads[net] * activity.of(net)[0] for net in netlist.drivers())
    return scale * gates, scale * 2 * loads[netlist.clock]


def power(netlist, activity, clock_mhz):
    """Power of a netlist.

    Parameters
    ----------
    netlist : Netlist
    activity : bnforge.flows.activity.Activity
        Of its nets.
    clock_mhz : float

    Returns
    -------
    PowerReport

    Raises
    ------
    ToolError
        OpenSTA is missing or fails, or the library lacks what power needs.
    """
    buffered, original = with_buffers(netlist)
    powers = _gate_powers(buffered, original, activity, clock_mhz)
    internal, switched, leakage = map(sum, zip(*powers))
    total, (_, clock) = internal + switched + leakage, switching(buffered, _spread(activity, original), clock_mhz)
    rate = activity.elements / activity.cycles * clock_mhz * 1e6
    return PowerReport(
        clock_mhz, internal, switched, leakage, total, clock, float(activity.average), activity.cycles,
        activity.elements, (total + clock) * 1e9 / rate if rate else None, len(buffered.gates),
        len(buffered.gates) - len(netlist.gates), _parts(buffered, powers),
        {"opensta": opensta.version(), "library": netlist.library.name})


def _spread(activity, original):
    """The activity of a netlist with buffers, from that of the one without."""
    return dataclasses.replace(activity, toggles=[activity.toggles[net] for net in original],
                               ones=[activity.ones[net] for net in original])


def measure(config, direction, clock_mhz, liberty=None, *, netlist=None):
    """Power of a core on the standard stimulus, which all variants share (:mod:`bnforge_sim.workload`).

    A core that works in sweeps has the sweeps of the direction counted together: power is the mean over all their
    cycles, the energy of an element the sum over the sweeps.

    Parameters
    ----------
    config : Config
    direction : Directions
        ``FORWARD`` or ``BACKWARD``: of the tiles.
    clock_mhz : float
    liberty : path, optional
    netlist : Netlist, optional
        The mapped core, where that is there already; ``liberty`` is not read then.

    Returns
    -------
    PowerReport
    bnforge_sim.simulator.Comparison
        The runs of the netlist against the model, bit for bit.

    Raises
    ------
    ToolError
        A tool or the library is missing or fails.
    """
    from bnforge_sim.gates import GateSimulator
    from bnforge_sim.simulator import Comparison, compare
    from bnforge_sim.workload import measure_activity, workload
    opensta.version()
    netlist = netlist or map_netlist(config, liberty)
    runs = workload(config, direction)
    outcomes, activity = measure_activity(GateSimulator(config, netlist), runs)
    comparison = Comparison()
    for tiles, outcome in zip(runs, outcomes):
        comparison.add(compare(config, tiles, outcome))
    return power(netlist, activity, clock_mhz), comparison
