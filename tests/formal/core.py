"""The whole core with free inputs."""

from amaranth.hdl import ClockSignal, DomainRenamer, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.top import Top

from .runner import opened

__all__ = ["Core"]


class Core(wiring.Component):
    """A core for specifications to derive from: they add their claims in ``specify``.

    Attributes
    ----------
    core : Top
    parts : its submodules, by name

    Members
    -------
    Those inputs of :class:`bnforge.top.Top` that are neither clock nor reset.
    """

    def __init__(self, config):
        self.config = config
        self.core = Top(config)
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
