"""A core as mapped gates: power on real activations and gradients, every output compared with the model; timing."""

from bnforge.config import Directions
from bnforge.flows import power
from bnforge.flows.netlist import map_netlist
from bnforge.flows.timing import timing

from ..parts import power_by_part

__all__ = ["run"]


def run(config, clock_mhz, liberty=None):
    """Timing, and power by direction, as plain data of TimingReport and PowerReport.

    Parameters
    ----------
    config : Config
    clock_mhz : float
        Of the power figures.
    liberty : path, optional
    """
    netlist = map_netlist(config, liberty)
    result = {"library": netlist.library.name, "timing": timing(netlist).to_dict()}
    for direction in (Directions.FORWARD, Directions.BACKWARD):
        report, comparison = power.measure(config, direction, clock_mhz, netlist=netlist)
        if comparison.mismatches:
            raise RuntimeError(f"the netlist must compute what the model says, not {comparison.mismatches} others: "
                               f"{comparison.messages[:1]}")
        data = report.to_dict()
        result[direction.value] = data | {"power_by_part": power_by_part(config.name, data),
                                          "compared": comparison.elements}
    return result
