"""The whole core: its streams, outside and inside, and the rules that its parts rely on each other for."""

from amaranth.hdl import ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.top import Top

from .runner import check, opened

__all__ = ["Core", "StreamStability"]


class Core(wiring.Component):
    """A core whose input ports are free, for specifications to derive from; ``parts`` those
    inside, ``inner`` those inside the constant extraction.

    Members
    -------
    Those inputs of :class:`bnforge.top.Top` that are neither clock nor reset.
    """

    def __init__(self, config):
        self.config = config
        self.core = Top(config)
        members = self.core.signature.members.items()
        super().__init__({name: In(member.shape) for name, member in members
                          if member.flow is In and name not in ("aclk", "aresetn")})

    def elaborate(self, platform):
        m = Module()
        self.parts = opened(self.core).submodules
        self.inner = opened(self.parts.constants).submodules
        m.submodules.core = DomainRenamer("core")(self.core)  # it makes a domain of its own, from aclk
        m.d.comb += [self.core.aclk.eq(ClockSignal()), self.core.aresetn.eq(~ResetSignal()),
                     *(getattr(self.core, name).eq(getattr(self, name)) for name in self.signature.members)]
        self.specify(m)
        return m


class StreamStability(Core):
    """Once offered, a transfer stays on offer with the same payload until taken: every output port of the core, and
    every stream between its parts that can stall.
    """

    def specify(self, m):
        core, parts = self.core, self.parts
        streams = []
        for port in ("m_axis", "m_axis_rec"):
            valid, ready, *payload = (getattr(core, f"{port}_t{name}") for name in (
                "valid", "ready", "data", "last", *(["user"] if hasattr(core, f"{port}_tuser") else [])))
            streams.append((valid, ready, payload))
        for stream in (parts.header.o_open, parts.input.o_beat, parts.normaliser.i, parts.normaliser.o,
                       parts.records.o, parts.constants.i_job):
            payload = stream.payload if isinstance(stream.payload, Signal) else stream.payload.as_value()
            streams.append((stream.valid, stream.ready, [payload]))
        for valid, ready, payload in streams:
            waiting = Signal()
            m.d.sync += waiting.eq(valid & ~ready)
            check(m, ~waiting | valid)
            for part in payload:
                held = Signal.like(part, reset_less=True)
                m.d.sync += held.eq(part)
                check(m, ~waiting | (part == held))
        self.witness = core.m_axis_tvalid & ~core.m_axis_tready
