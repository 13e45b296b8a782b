"""The lane: one multiply-add, its constants, and the activation."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import Unpacked, add, comb, decode, multiply, sum_with_carry
from .config import Activation, Multiplier
from .formats import WORKING
from .rounding import round_to

__all__ = ["MultiplyAdd", "NormaliserLane"]


class MultiplyAdd(wiring.Component):
    """``Q_W(a · x + b)``: exact, rounded once to 1-8-15.

    Forward x is an input element and b the shift; the backward pass feeds the gradient and its addend.

    Latency: 3 cycles from ``i_x`` and ``i_a``, 2 from ``i_b``. One result per cycle.

    Members
    -------
    i_x : sanitised code in ``x_format``
    i_a : code of the scale's format
    i_b : code of the shift's format, one cycle after ``i_x``
    o_code : working-format code
    o_saturated : the rounding saturated
    """

    latency = 3

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_x": In(config.x_format.width), "i_a": In(config.a_format.width), "i_b": In(config.b_format.width),
            "o_code": Out(WORKING.width), "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        x = decode(m, config.x_format, self.i_x, name="x")
        a = decode(m, config.a_format, self.i_a, name="a")
        product = self._multiply(m, x, a).registered(m, "product")

        b = decode(m, config.b_format, self.i_b, name="b")
        scaled = product.normalised(m, "product", limit=1)
        total = add(m, scaled, b, WORKING.significand_width, name="sum").registered(m, "sum")

        normal = total.normalised(m, "sum")
        code, saturated = round_to(m, WORKING, normal, name="y")
        m.d.sync += [self.o_code.eq(code), self.o_saturated.eq(saturated)]
        return m

    def _multiply(self, m, x, a):
        if self.config.multiplier is Multiplier.FULL:
            return multiply(x, a)
        # x · (2^D + 2^j) or x · (2^(D+1) - 2^j), j the lowest set fraction bit of a; minus when the top two are set.
        digits = self.config.a_fraction
        fraction = a.sig[:digits]
        lowest = comb(m, fraction & -fraction, "lowest_digit")[:digits]
        second = comb(m, Cat(Const(0, 0), *[lowest[j] for j in range(digits)]), "second_digit")
        minus = comb(m, fraction[-1] & fraction[-2], "minus")
        shifted = Const(0, 1)
        for j in range(digits):
            shifted = shifted | ((x.sig & second[j].replicate(len(x.sig))) << j)
        large = Mux(minus, x.sig << 1, x.sig) << digits
        width = len(x.sig) + digits + 1
        total = comb(m, sum_with_carry(large, shifted ^ minus.replicate(width), minus)[:width], "digits_sum")
        sig = comb(m, Mux(a.is_zero, 0, total), "digits_product")
        return Unpacked(x.sign ^ a.sign, x.exponent + a.exponent, sig, x.bias + a.bias - 1)


class NormaliserLane(wiring.Component):
    """``act(Q_W(a · x + b))`` with constants that are loaded through a shift chain while the last tile still runs.

    Latency: 3 cycles from ``i_x`` to ``o_y``. One element per cycle.

    Members
    -------
    i_a_shift, i_a_chain, o_a_chain : move the chain of scales on by one lane; the same for b
    i_swap : from the next cycle on ``i_x`` meets the constants in the chain
    i_x : sanitised code
    i_activation : of the element at ``o_y``
    o_y : working-format code
    o_saturated : of the element at ``o_y``
    """

    latency = MultiplyAdd.latency

    def __init__(self, config):
        self.config = config
        a, b = config.a_format.width, config.b_format.width
        super().__init__({
            "i_a_shift": In(1), "i_a_chain": In(a), "o_a_chain": Out(a),
            "i_b_shift": In(1), "i_b_chain": In(b), "o_b_chain": Out(b),
            "i_swap": In(1), "i_x": In(config.x_format.width), "i_activation": In(Activation),
            "o_y": Out(WORKING.width), "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiply_add = multiply_add = MultiplyAdd(self.config)
        swap_b = Signal()
        m.d.sync += swap_b.eq(self.i_swap)  # b is used one stage later than a
        for shift, chain, output, swap, constant in (
                (self.i_a_shift, self.i_a_chain, self.o_a_chain, self.i_swap, multiply_add.i_a),
                (self.i_b_shift, self.i_b_chain, self.o_b_chain, swap_b, multiply_add.i_b)):
            waiting = Signal.like(constant, name=f"{constant.name}_next", reset_less=True)
            active = Signal.like(constant, name=f"{constant.name}_active", reset_less=True)
            with m.If(shift):
                m.d.sync += waiting.eq(chain)
            with m.If(swap):
                m.d.sync += active.eq(waiting)
            m.d.comb += [output.eq(waiting), constant.eq(active)]

        code = multiply_add.o_code
        six = WORKING.code_of_six
        negative = comb(m, (self.i_activation != Activation.IDENTITY) & code[-1], "negative")
        above = comb(m, (self.i_activation == Activation.RELU6) & ~code[-1] & (code[:-1] > six), "above_six")
        m.d.comb += [multiply_add.i_x.eq(self.i_x), self.o_saturated.eq(multiply_add.o_saturated),
                     self.o_y.eq(Mux(negative, 0, Mux(above, six, code)))]
        return m
