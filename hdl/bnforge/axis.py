"""What the outside of a core is made of: AXI4-Stream ports with flat names, and its clock."""

from amaranth.hdl import ClockDomain
from amaranth.lib.wiring import In, Out

__all__ = ["axis_members", "add_clock"]


def axis_members(name, direction, width, user=0):
    """Members of a component for one stream: ``name_tdata``, ``_tvalid``, ``_tready``, ``_tlast``; and ``_tuser`` of
    ``user`` bits, unless 0. ``direction`` is that of the data."""
    other = Out if direction is In else In
    members = {f"{name}_tdata": direction(width), f"{name}_tvalid": direction(1), f"{name}_tready": other(1),
               f"{name}_tlast": direction(1)}
    return members | ({f"{name}_tuser": direction(user)} if user else {})


def add_clock(m, core):
    """The domain ``sync`` of a core with the ports ``aclk`` and ``aresetn``."""
    domain = ClockDomain("sync", local=True)
    domain.clk = core.aclk
    m.domains += domain
    m.d.comb += domain.rst.eq(~core.aresetn)
