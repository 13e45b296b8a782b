"""The whole core with free inputs."""

from amaranth.hdl import ClockSignal, DomainRenamer, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.top import Top

from .runner import opened

__all__ = ["Core", "shallow"]


def shallow(config, depth):
    """A core with a sample FIFO of ``depth`` places: it stops early, but its control is the same."""
    return type("Top", (Top,), {"fifo_depth": depth})(config)


class Core(wiring.Component):
    """A core for specifications to derive from: they add their claims in ``specify``.

    Attributes
    ----------
    fifo_depth : places of the sample FIFO, if a specification needs fewer than the core has
    core : Top
    parts : its submodules, by name

    Members
    -------
    Those inputs of :class:`bnforge.top.Top` that are neither clock nor reset.
    """

    fifo_depth = None

    def __init__(self, config):
        self.config = config
        self.core = Top(config) if self.fifo_depth is None else shallow(config, self.fifo_depth)
        super().__init__({name: In(member.shape) for name, member in self.core.signature.members.items()
                          if member.flow is In and name not in ("aclk", "aresetn")})

    def elaborate(self, platform):
        m = Module()
        self.parts = opened(self.core).submodules
        m.submodules.core = DomainRenamer("core")(self.core)  # it makes a domain of its own, from aclk and aresetn
        m.d.comb += [self.core.aclk.eq(ClockSignal()), self.core.aresetn.eq(~ResetSignal()),
                     *(getattr(self.core, name).eq(getattr(self, name)) for name in self.signature.members)]
        self.specify(m)
        return m
