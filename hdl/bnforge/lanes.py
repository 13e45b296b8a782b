"""Which lane a core has.

Every kind of lane states, as class attributes: ``latency``; ``activation_delay``, cycles from ``i_x`` to
``i_activation``; ``flags``, cycles from ``i_x`` to each bit of ``o_saturated``; and ``follows``, inputs that accompany
``i_x`` in a core with a backward pass. ``shapes(config)`` are the shift chains. ``swaps(config)`` has for each strobe
``i_NAME_swap`` the kind of constants ("tile": they change where a tile ends; "shift": for a backward tile at the
latest where its sample begins) and the cycles after ``i_x`` in which they are used.
"""

from .config import Extraction
from .definition import ProductLane, QuotientLane
from .lane import NormaliserLane

__all__ = ["lane_class", "drain_cycles"]

_LANES = {Extraction.CONSTANTS: NormaliserLane, Extraction.SHARED_DIVIDER: ProductLane,
          Extraction.LANE_DIVIDER: QuotientLane}


def lane_class(config):
    """The lane of a configuration."""
    return _LANES[config.extraction]


def drain_cycles(config):
    """Cycles in which constants that have begun to swap are still waiting for the first beat to reach them."""
    cycles = max(cycles for _kind, cycles in lane_class(config).swaps(config).values())
    return cycles if cycles > 1 else 0
