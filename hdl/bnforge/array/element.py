"""A processing element of the array."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import add, decode, multiply
from ..rounding import round_to

__all__ = ["ProcessingElement"]


class ProcessingElement(wiring.Component):
    """Keeps a weight, and adds its product with each operand that passes to the sum that passes.

    Operands move to the right, a column per cycle; sums move down, a row per cycle. The next weight waits behind the
    present one until ``i_swap`` comes with the first operand that is for it.

    Latency: the sum that belongs to an operand comes in ``sum_latency`` cycles after it, and leaves a cycle later.

    Members
    -------
    i_operand, i_swap, o_operand, o_swap : operand, and whether it is the first for the next weight; a cycle later
    i_load, i_weight : the next weight
    i_sum, o_sum : codes of the accumulate format
    i_saturated, o_saturated : whether a sum of the row was saturated so far
    """

    sum_latency = 2

    def __init__(self, config):
        self.config = config
        operand, total = config.operand.width, config.accumulate.width
        super().__init__({
            "i_operand": In(operand), "i_swap": In(1), "o_operand": Out(operand), "o_swap": Out(1),
            "i_load": In(1), "i_weight": In(operand), "i_sum": In(total), "o_sum": Out(total),
            "i_saturated": In(1), "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        fmt, total = self.config.operand, self.config.accumulate
        operand, weight, coming = (Signal(fmt.width, name=name, reset_less=True)
                                   for name in ("operand", "weight", "coming"))
        with m.If(self.i_load):
            m.d.sync += coming.eq(self.i_weight)
        with m.If(self.i_swap):
            m.d.sync += weight.eq(coming)
        m.d.sync += [operand.eq(self.i_operand), self.o_swap.eq(self.i_swap)]
        m.d.comb += self.o_operand.eq(operand)

        factors = (decode(m, fmt, code, name=name) for code, name in ((operand, "operand"), (weight, "weight")))
        product = multiply(*factors).normalised(m, "product", limit=1).registered(m, "product")
        before = decode(m, total, self.i_sum, name="sum")
        after = add(m, before, product, total.significand_width, name="total").normalised(m, "total")
        code, saturated = round_to(m, total, after, name="rounded")
        result, sticky = (Signal(width, name=name, reset_less=True)
                          for width, name in ((total.width, "result"), (1, "sticky")))
        m.d.sync += [result.eq(code), sticky.eq(self.i_saturated | saturated)]
        m.d.comb += [self.o_sum.eq(result), self.o_saturated.eq(sticky)]
        return m
