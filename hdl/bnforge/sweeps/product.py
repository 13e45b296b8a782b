"""Sums of products of two codes, for the baselines."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..accumulator import AnchoredSum, product_sum
from ..arith import Unpacked, comb, decode

__all__ = ["ProductSum"]


class ProductSum(wiring.Component):
    """Σp·q over a block of beats (docs/arithmetic.md, "Sums of the gradient").

    Takes a pair in every cycle with ``i_valid`` high and never stalls.

    Latency: the snapshot can be read ``latency`` cycles after ``i_end``.

    Members
    -------
    i_p, i_q : sanitised codes
    i_valid, i_first, i_end, i_shift, i_chain, o_sum : as :class:`~bnforge.accumulator.AnchoredSum`
    """

    latency = 4

    def __init__(self, config):
        self.config = config
        self.shape = product_sum(config)
        super().__init__({
            "i_p": In(config.x_format.width), "i_q": In(config.x_format.width),
            "i_valid": In(1), "i_first": In(1), "i_end": In(1), "i_shift": In(1), "i_chain": In(self.shape.layout),
            "o_sum": Out(self.shape.layout)})

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.x_format
        m.submodules.sum = total = AnchoredSum(self.shape)
        factors = []
        for name in ("p", "q"):
            value = decode(m, fmt, getattr(self, f"i_{name}"), name=name)
            offset = fmt.fraction_width if fmt.has_subnormals else 0
            factors.append(Unpacked(value.sign, value.exponent + offset, value.sig).registered(m, name))
        p, q = factors
        nonzero = ~p.is_zero & ~q.is_zero
        flags = [self.i_valid, self.i_first, self.i_end]
        for stage in (1, 2):
            staged = [Signal(name=f"{name}_{stage}") for name in ("valid", "first", "end")]
            m.d.sync += [after.eq(before) for after, before in zip(staged, flags)]
            flags = staged
        width = self.shape.exponent_width
        exponent = comb(m, p.exponent + q.exponent, "exponent")[:width]
        for port, value in ((total.i_sig, p.sig * q.sig), (total.i_negative, p.sign ^ q.sign),
                            (total.i_exponent, exponent & nonzero.replicate(width))):
            register = Signal(port.shape(), name=f"product_{port.name}", reset_less=True)
            m.d.sync += register.eq(value)
            m.d.comb += port.eq(register)
        m.d.comb += [Cat(total.i_valid, total.i_first, total.i_end).eq(Cat(flags)), total.i_shift.eq(self.i_shift),
                     total.i_chain.eq(self.i_chain), self.o_sum.eq(total.o_sum)]
        return m
