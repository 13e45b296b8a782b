"""The analytic count: off-chip accesses of each variant, and their bytes per element.

An access moves every element of a tensor once between the core and memory. What the array gives to the core, and what
the next convolution reads, are not among them.
"""

from dataclasses import dataclass

from bnforge.engine_config import EngineConfig
from bnforge.sweeps.words import Sweep, streams, sweeps_of

from ..sweep_jobs import read_tensor, result_tensor

__all__ = ["FORWARD", "BACKWARD", "Access", "accesses", "analytic_bytes", "direction_of"]

FORWARD, BACKWARD = "forward", "backward"


@dataclass(frozen=True)
class Access:
    """One access to a tensor.

    Parameters
    ----------
    direction : str
    step : str
        The sweep.
    kind : str
        "read" or "write".
    tensor : str
    """

    direction: str
    step: str
    kind: str
    tensor: str


def direction_of(sweep):
    """The pass that a sweep belongs to."""
    return FORWARD if sweep <= Sweep.NORMALISE else BACKWARD


def _one_pass():
    return (Access(FORWARD, "forward", "write", "y"), Access(BACKWARD, "backward", "read", "y"),
            Access(BACKWARD, "backward", "write", "dx"))


def accesses(config):
    """All accesses of a core in order, as :class:`Access`.

    Parameters
    ----------
    config : Config
    """
    if config.is_one_pass:
        return _one_pass()
    found = []
    for sweep in sweeps_of(config):
        inputs, has_result = streams(config, sweep)
        step, direction = sweep.name.lower(), direction_of(sweep)
        found += [Access(direction, step, "read", read_tensor(config, sweep, stream)) for stream in inputs
                  if stream != "operand"]
        if has_result:
            found.append(Access(direction, step, "write", result_tensor(sweep)))
    return tuple(found)


def analytic_bytes(config):
    """Bytes per element by direction: accesses times the bytes of a stored element, shared exponents included."""
    size = EngineConfig(core=config).stored_bytes(config.lanes) / config.lanes
    return {direction: size * sum(access.direction == direction for access in accesses(config))
            for direction in (FORWARD, BACKWARD)}
