"""The columns of the table: where each figure comes from."""

from dataclasses import dataclass
from typing import Callable

from .lookup import case_row
from .plan import CLOCK_MHZ, EPOCHS, REFERENCE, SEEDS, SPEED, SPEED_GRADE
from .variants import LARGE, SMALL

__all__ = ["Column", "COLUMNS"]


@dataclass(frozen=True)
class Column:
    """A figure of every variant.

    Parameters
    ----------
    name, title, unit : str
    stage : str
        What measures it.
    lanes : tuple of int
        Of the builds that have it, the preferred first.
    value : function of the stage's result
        Returns the figure, or a dict of it as ``value`` and of what else is to be said.
    digits : int
        After the point.
    text : str
        What it means, one line.
    """

    name: str
    title: str
    unit: str
    stage: str
    lanes: tuple
    value: Callable
    digits: int
    text: str

    @property
    def is_circuit(self):
        """Whether it is of the circuit; else of what it does."""
        return self.stage in ("area", "gates", "fpga")


def _traffic(value_of, preferred):
    """A figure of one row: that of the preferred case, else the first; and which it is."""
    def value(result):
        try:
            row = case_row(result, preferred)
        except KeyError:
            row = result["rows"][0]
        return {"value": value_of(row), "shape": row["shape"], "data_width": row["data_width"]}
    return value


def _bytes(*directions):
    return _traffic(lambda row: sum(row[direction]["bytes_per_element"] for direction in directions),
                    REFERENCE["large"])


def _cycles(direction):
    return _traffic(lambda row: row[direction]["cycles_per_element"], SPEED)


def _error(name):
    return lambda result: 100 * result[name]


def _power(direction):
    return lambda result: result[direction]["total"] + result[direction]["clock"]


def _energy(result):
    return sum(result[direction]["energy_per_element"] for direction in ("forward", "backward"))


_AREA = ("area", (LARGE, SMALL))
_TRAFFIC = ("traffic", (LARGE, SMALL))
_GATES = ("gates", (SMALL,))
_N = "·".join(map(str, REFERENCE["large"][:3]))

COLUMNS = [
    Column("ge_per_lane", "gates per lane", "GE", *_AREA, lambda area: area["ge_per_lane"], 0,
           "gate equivalents of the core over its lanes, memories apart"),
    Column("lane_ge", "in the lane", "GE", *_AREA, lambda area: area["lane_ge"], 0,
           "gate equivalents of what every lane has of its own"),
    Column("ge", "gates", "GE", *_AREA, lambda area: area["ge"], 0, "gate equivalents of the core"),
    Column("memory_bits", "memory", "bit", *_AREA, lambda area: area["memory_bits"], 0, "bits of the core's memories"),
    Column("power_forward", "power fwd", "mW", *_GATES, _power("forward"), 2,
           f"of the gates on real activations, {SMALL} lanes at {CLOCK_MHZ:.0f} MHz; of several sweeps their mean"),
    Column("power_backward", "power bwd", "mW", *_GATES, _power("backward"), 2, "the same on their gradients"),
    Column("energy", "energy", "pJ/element", *_GATES, _energy, 1,
           "of the gates, forward and backward, all sweeps together"),
    Column("gates_mhz", "clock gates", "MHz", *_GATES, lambda result: result["timing"]["fmax_mhz"], 0,
           f"maximum clock of the mapped gates, {SMALL} lanes"),
    Column("fpga_mhz", "clock ECP5", "MHz", "fpga", (SMALL,), lambda result: result["fmax_mhz"], 0,
           f"maximum clock, placed and routed, speed grade {SPEED_GRADE}, {SMALL} lanes"),
    Column("cycles_forward", "cycles fwd", "cycles/element", *_TRAFFIC, _cycles("forward"), 2,
           f"cycles of the forward jobs over the elements of a channel, {SPEED[3]}-bit bus"),
    Column("cycles_backward", "cycles bwd", "cycles/element", *_TRAFFIC, _cycles("backward"), 2,
           "the same of the backward jobs"),
    Column("bytes_forward", "bytes fwd", "bytes/element", *_TRAFFIC, _bytes("forward"), 3,
           f"off-chip bytes per element, n = {_N}, {REFERENCE['large'][3]}-bit bus"),
    Column("bytes_backward", "bytes bwd", "bytes/element", *_TRAFFIC, _bytes("backward"), 3, "the same, backward"),
    Column("bytes_sum", "bytes sum", "bytes/element", *_TRAFFIC, _bytes("forward", "backward"), 3, "both"),
    *(Column(f"error_{name}", f"error {name}", "%", "accuracy", (LARGE, SMALL), _error(name), 1,
             f"error of {name} against the same algorithm in float64, relative to its norm") for name in ("y", "dx")),
    Column("digits", "digits", "%", "digits", (LARGE, SMALL), lambda result: {
        "value": result["mean"], "spread": result["spread"]}, 1,
        f"test accuracy of a small network trained with it for {EPOCHS} epochs, mean of {len(SEEDS)} seeds"),
]
"""In the order of the table."""
