"""The rules of the parts, those of a build together in one proof."""

from bnforge.config import Directions

from .control import DividerUse, TilesInFlight
from .gradient import PositionSets
from .snapshots import RangeSums, TotalsRead

__all__ = ["RULES", "rules"]


class ForwardRules(RangeSums, TilesInFlight, DividerUse):
    """Of a core with forward tiles only."""


class BackwardRules(PositionSets, TotalsRead, TilesInFlight, DividerUse):
    """Of a core with backward tiles only."""

    free = ("sum*.sum.total", "recovery*.sum.total", "header.narrow")


class AllRules(PositionSets, RangeSums, TotalsRead, TilesInFlight, DividerUse):
    """Of a core with both."""

    free = ("sum*.sum.total", "recovery*.sum.total", "header.narrow")


class FrozenRules(TilesInFlight):
    """Of a core without statistics."""


def rules(config):
    """The rules of a core."""
    return RULES[config.directions] if config.has_statistics else FrozenRules


RULES = {Directions.FORWARD: ForwardRules, Directions.BACKWARD: BackwardRules, Directions.BOTH: AllRules}
