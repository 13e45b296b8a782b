"""The lane pipeline between issue and output buffer, and its converters: what enters comes out, at a fixed distance."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.config import Activation
from bnforge.lane import NormaliserLane
from bnforge.normaliser import _ENTRY, Normaliser
from bnforge.recovery import RecoveryLane

from .control import delayed
from .runner import assume, check, opened

__all__ = ["LanePipeline", "RecoveryTiming"]

_FIFO_DEPTH = 4
"""Of the FIFO in front; it only bounds a counter."""


class LanePipeline(wiring.Component):
    """The normaliser keeps its side of :class:`.fifo.OutputBufferContract`.

    A beat is issued only on credit and arrives at the output buffer exactly ``pipeline`` cycles later, with the
    ``last`` that it had; nothing else arrives. The converters see it when the lanes deliver it: a gradient as one, and
    without an activation.
    """

    def __init__(self, config):
        self.config = config
        self.dut = Normaliser(config, _FIFO_DEPTH)
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
        inside, at_lanes = opened(dut), _ENTRY + NormaliserLane.latency
        delivered = delayed(m, issued, at_lanes, name="at_lanes")
        tile = delayed(m, inside["present"], at_lanes, name="tile")
        backward, activation = tile[-2], tile[:2]
        check(m, ~delivered | (inside["activation"][-1] == Mux(backward, Activation.IDENTITY, activation)),
              ~delivered | (inside["gradient"][-1] == backward))
        check(m, ~issued | buffer.o_credit, buffer.i_issue == issued, buffer.i_valid == arrives,
              ~arrives | (buffer.i_data.last == last))
        self.witness = buffer.i_valid & buffer.i_data.last
        return m


class RecoveryTiming(wiring.Component):
    """The snapshot of a sum of products is written ``RecoveryLane.latency`` cycles after the end of its block, and
    changes at no other time but when the chain moves.

    A block of one beat, alone in the pipeline, leaves a sum that is not zero where the product is not: it is in.
    """

    def __init__(self, config):
        self.dut = RecoveryLane(config)
        members = self.dut.signature.members.items()
        super().__init__({name: In(member.shape) for name, member in members if member.flow is In})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [getattr(dut, name).eq(getattr(self, name)) for name in self.signature.members]
        inside, fmt = opened(dut), self.dut.config.x_format
        if not fmt.has_subnormals:
            assume(m, self.i_dy[fmt.fraction_width:-1].any() | ~self.i_dy[:fmt.fraction_width].any())
        held = Signal.like(dut.o_sum.as_value(), name="held")
        m.d.sync += held.eq(dut.o_sum)
        ends = delayed(m, self.i_end, dut.latency, name="end")
        moved = delayed(m, self.i_shift, 1, name="moved")
        alone = delayed(m, self.i_end & self.i_first & self.i_valid, dut.latency, name="alone")
        nonzero = delayed(m, inside["nonzero"], dut.latency - 1, name="nonzero")
        running = delayed(m, Const(1), dut.latency + 1, name="running")
        check(m, ~running | ends | moved | (dut.o_sum.as_value() == held),
              ~(running & alone) | ((dut.o_sum.acc != 0) == nonzero))
        self.witness = running & alone & nonzero & ~moved
        return m
