"""What the nets of a netlist did in a stretch of simulation."""

from dataclasses import dataclass

__all__ = ["Activity"]


@dataclass(frozen=True, eq=False)
class Activity:
    """Counts of every net, by its number.

    Attributes
    ----------
    cycles : int
        Clock cycles of the stretch.
    toggles : sequence of int
        Cycles in which the settled value was not that of the cycle before: without glitches.
    ones : sequence of int
        Cycles in which it was 1.
    elements : int
        Elements that these cycles are for, all lanes together.
    """

    cycles: int
    toggles: object
    ones: object
    elements: int = 0

    def of(self, net):
        """Transitions per cycle, and the share of cycles at 1."""
        return self.toggles[net] / self.cycles, self.ones[net] / self.cycles

    @property
    def average(self):
        """Mean transitions per cycle over all nets that are not constants."""
        return sum(self.toggles[2:]) / (self.cycles * max(1, len(self.toggles) - 2))
