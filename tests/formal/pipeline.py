"""The lane pipeline between issue and output buffer, and its converters: what enters comes out, at a fixed distance."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.normaliser import Normaliser

from .control import delayed
from .runner import check, opened

__all__ = ["LanePipeline"]


class LanePipeline(wiring.Component):
    """The normaliser keeps its side of :class:`.fifo.OutputBufferContract`.

    A beat is issued only on credit and arrives at the output buffer exactly ``pipeline`` cycles later, with the
    ``last`` that it had; nothing else arrives.
    """

    def __init__(self, config):
        self.config = config
        self.dut = Normaliser(config)
        self.inputs = [name for name, member in self.dut.signature.members.items()
                       if member.is_port and member.flow is In]
        members = self.dut.signature.members
        super().__init__({name: In(members[name].shape) for name in self.inputs}
                         | {"valid": In(1), "last": In(1), "codes": In(config.lanes * config.x_format.width),
                            "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        buffer = opened(dut).submodules.buffer
        m.d.comb += [*(getattr(dut, name).eq(getattr(self, name)) for name in self.inputs),
                     dut.i.valid.eq(self.valid), dut.i.payload.last.eq(self.last), dut.i.payload.codes.eq(self.codes),
                     dut.o.ready.eq(self.ready)]
        issued = dut.i.valid & dut.i.ready
        arrives = delayed(m, issued, dut.pipeline, name="issued")
        last = delayed(m, dut.i.payload.last, dut.pipeline, name="last")
        check(m, ~issued | buffer.o_credit, buffer.i_issue == issued, buffer.i_valid == arrives,
              ~arrives | (buffer.i_data.last == last))
        self.witness = buffer.i_valid & buffer.i_data.last
        return m
