"""The lane: one multiply-add, its constants, and the activation. It serves both directions."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import Unpacked, add, comb, decode, multiply, sum_with_carry
from .config import Activation, Multiplier
from .formats import WORKING
from .positions import position_pair_layout
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
    """``act(Q_W(a · x + b))``, or the gradient, with constants that are loaded while the last tile still runs.

    Constants and positions move through shift chains. Each has two places: the set that waits, and the active one.

    Latency: 3 cycles from ``i_x`` to ``o_y``. One element per cycle.

    Members
    -------
    i_a_shift, i_a_chain, o_a_chain : move the chain of scales on by one lane; the same for b, plus, minus, positions
    i_a_swap, i_b_swap : from the next cycle on the waiting constants are active: for a those of ``i_x`` in that cycle,
        for b those of the ``i_x`` before
    i_x : sanitised code
    i_activation : of the element at ``o_y``
    o_y : working-format code
    o_saturated : of the element at ``o_y``

    Members, backward
    -----------------
    i_plus_shift ..., i_minus_shift ... : b, with the range term added or subtracted; they swap with b
    i_position_shift ..., i_position_swap : positions of the extrema of a chunk
    i_position : of ``i_x`` in its chunk
    i_adds : ``i_x`` meets an addend, else 0
    i_matches : ``i_x`` may be an extremum
    """

    latency = MultiplyAdd.latency

    def __init__(self, config):
        self.config = config
        self.chains = {"a": config.a_format.width, "b": config.b_format.width}
        backward = {}
        if config.has_backward:
            self.chains |= {"plus": config.b_format.width, "minus": config.b_format.width,
                            "position": position_pair_layout(config)}
            backward = {"i_position_swap": In(1), "i_position": In(config.position_width), "i_adds": In(1),
                        "i_matches": In(1)}
        ports = {}
        for name, shape in self.chains.items():
            ports |= {f"i_{name}_shift": In(1), f"i_{name}_chain": In(shape), f"o_{name}_chain": Out(shape)}
        super().__init__(ports | backward | {
            "i_a_swap": In(1), "i_b_swap": In(1), "i_x": In(config.x_format.width), "i_activation": In(Activation),
            "o_y": Out(WORKING.width), "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiply_add = multiply_add = MultiplyAdd(self.config)
        swaps = {"a": self.i_a_swap, "b": self.i_b_swap, "plus": self.i_b_swap, "minus": self.i_b_swap}
        if self.config.has_backward:
            swaps["position"] = self.i_position_swap
        active = {}
        for name, shape in self.chains.items():
            waiting = Signal(shape, name=f"{name}_next", reset_less=True)
            active[name] = Signal(shape, name=f"{name}_active", reset_less=True)
            with m.If(getattr(self, f"i_{name}_shift")):
                m.d.sync += waiting.eq(getattr(self, f"i_{name}_chain"))
            with m.If(swaps[name]):
                m.d.sync += active[name].eq(waiting)
            m.d.comb += getattr(self, f"o_{name}_chain").eq(waiting)
        m.d.comb += [multiply_add.i_a.eq(active["a"]), multiply_add.i_b.eq(self._addend(m, active))]

        code = multiply_add.o_code
        six = WORKING.code_of_six
        negative = comb(m, (self.i_activation != Activation.IDENTITY) & code[-1], "negative")
        above = comb(m, (self.i_activation == Activation.RELU6) & ~code[-1] & (code[:-1] > six), "above_six")
        m.d.comb += [multiply_add.i_x.eq(self.i_x), self.o_saturated.eq(multiply_add.o_saturated),
                     self.o_y.eq(Mux(negative, 0, Mux(above, six, code)))]
        return m

    def _addend(self, m, active):
        """The addend of the element that came in the cycle before."""
        if not self.config.has_backward:
            return active["b"]
        adds, plus, minus = (Signal(name=name, reset_less=True) for name in ("adds", "at_maximum", "at_minimum"))
        positions = active["position"]
        m.d.sync += [adds.eq(self.i_adds),
                     plus.eq(self.i_matches & (positions.argmax == self.i_position)),
                     minus.eq(self.i_matches & (positions.argmin == self.i_position))]
        corrected = Mux(plus & ~minus, active["plus"], Mux(minus & ~plus, active["minus"], active["b"]))
        return comb(m, corrected & adds.replicate(len(active["b"])), "addend")
