"""The lane: one multiply-add, its constants, and the activation. It serves both directions."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import (Unpacked, add_ordered, comb, decode, exponent_range, exponent_shape, multiply, order,
                    registered, sum_with_carry)
from .config import Activation, Multiplier
from .formats import WORKING
from .positions import position_pair_layout
from .rounding import round_to

__all__ = ["MultiplyAdd", "NormaliserLane", "constant_sets"]


class MultiplyAdd(wiring.Component):
    """``Q(a · x + b)``: exact, rounded once to the ``output`` format; with ``activates`` then the activation.

    Forward x is an input element and b the shift; the backward pass feeds the gradient and its addend.

    Latency: ``latency`` cycles from ``i_x`` and ``i_a``, ``addend_delay`` fewer from ``i_b``. One result per cycle.

    Parameters
    ----------
    config : Config
    output : FloatFormat
    activates : bool
        Whether the activation follows; the output format then holds 6.

    Members
    -------
    i_x : sanitised code in ``x_format``
    i_a : code of the scale's format
    i_b : code of the shift's format, ``addend_delay`` cycles after ``i_x``
    i_activation : only with ``activates``; ``activation_delay`` cycles after ``i_x``
    o_code : code in ``output``
    o_saturated : the rounding saturated
    """

    latency = 5
    addend_delay = 1
    activation_delay = latency - 1

    def __init__(self, config, output=WORKING, *, activates=False):
        self.config, self.output, self.activates = config, output, activates
        super().__init__({
            "i_x": In(config.x_format.width), "i_a": In(config.a_format.width), "i_b": In(config.b_format.width),
            "o_code": Out(output.width), "o_saturated": Out(1)} |
            ({"i_activation": In(Activation)} if activates else {}))

    def elaborate(self, platform):
        m = Module()
        config = self.config
        x = decode(m, config.x_format, self.i_x, name="x")
        a = decode(m, config.a_format, self.i_a, name="a")
        b = decode(m, config.b_format, self.i_b, name="b")
        # Zeros are told apart beside the multiplier: to it every significand has its top bit set.
        raw = self._multiply(m, *(value.with_sig(Cat(value.sig[:-1], Const(1, 1))) for value in (x, a)))
        low, high = (sum(pair) + b.bias for pair in zip(*map(exponent_range, (config.x_format, config.a_format))))
        keep = self.output.significand_width
        shape = exponent_shape(low - max(keep, len(b.sig)) - 4, high + 2)
        product = raw.rebiased(m, b.bias - 1, "product", shape).normalised(m, "product", limit=1, shape=shape)
        nonzero = comb(m, ~x.is_zero & ~a.is_zero, "nonzero")
        product = product.with_sig(product.sig & nonzero.replicate(len(product.sig))).registered(m, "product")

        operands = order(m, product, b, keep, name="sum").registered(m, "operands")
        total = add_ordered(m, operands, name="sum").rebiased(m, self.output.bias, "sum", shape).registered(m, "sum")
        normal = total.normalised(m, "sum", shape=shape).stuck(keep + 2).registered(m, "normal")
        code, saturated = round_to(m, self.output, normal, name="y")
        if self.activates:
            code = self._activated(m, normal, code)
        m.d.sync += [self.o_code.eq(code), self.o_saturated.eq(saturated)]
        return m

    def _activated(self, m, value, code):
        """The activation of ``code``. From 6 on a value is clamped, before or after rounding alike."""
        fmt, exponent = self.output, value.exponent
        e_six = fmt.bias + 2
        six = fmt.code_of_six
        clamps = self.i_activation == Activation.RELU6
        kills = self.i_activation != Activation.IDENTITY
        above = comb(m, clamps & ~value.is_zero & ((exponent > e_six) | ((exponent == e_six) & value.sig[-2])), "above")
        negative = comb(m, kills & value.sign, "negative")
        return Mux(above, six, code) & (~negative).replicate(fmt.width)

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
        return Unpacked(x.sign ^ a.sign, x.exponent + a.exponent, total, x.bias + a.bias - 1)


def constant_sets(m, lane, swaps):
    """The two places of each of ``lane.chains``: returns what is active; ``swaps`` has the strobe of each chain."""
    active = {}
    for name, shape in lane.chains.items():
        waiting = Signal(shape, name=f"{name}_next", reset_less=True)
        active[name] = Signal(shape, name=f"{name}_active", reset_less=True)
        with m.If(getattr(lane, f"i_{name}_shift")):
            m.d.sync += waiting.eq(getattr(lane, f"i_{name}_chain"))
        with m.If(swaps[name]):
            m.d.sync += active[name].eq(waiting)
        m.d.comb += getattr(lane, f"o_{name}_chain").eq(waiting)
    return active


class NormaliserLane(wiring.Component):
    """``act(Q_W(a · x + b))``, or the gradient, with constants that are loaded while the last tile still runs.

    Constants and positions move through shift chains. Each has two places: the set that waits, and the active one.

    Latency: ``latency`` cycles from ``i_x`` to ``o_y``. One element per cycle.

    Members
    -------
    i_a_shift, i_a_chain, o_a_chain : move the chain of scales on by one lane; the same for b, plus, minus, positions
    i_a_swap, i_b_swap : from the next cycle on the waiting constants are active: for a those of ``i_x`` in that cycle;
        b likewise, but in a core without a backward pass of the ``i_x`` before
    i_x : sanitised code
    i_activation : of the element, ``activation_delay`` cycles after ``i_x``
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
    activation_delay = MultiplyAdd.activation_delay
    flags = (latency,)
    follows = ("adds", "matches", "position", "position_swap")

    @staticmethod
    def swaps(config):
        """When constants are used: the choice among addends takes a cycle."""
        return {"a": ("tile", 0), "b": ("shift", MultiplyAdd.addend_delay - config.has_backward)}

    @staticmethod
    def shapes(config):
        """Shapes of the chains."""
        a, b = config.a_format.width, config.b_format.width
        backward = {"plus": b, "minus": b, "position": position_pair_layout(config)} if config.has_backward else {}
        return {"a": a, "b": b} | backward

    def __init__(self, config):
        self.config = config
        self.chains = self.shapes(config)
        backward = {}
        if config.has_backward:
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
        m.submodules.multiply_add = multiply_add = MultiplyAdd(self.config, activates=True)
        swaps = {"a": self.i_a_swap, "b": self.i_b_swap, "plus": self.i_b_swap, "minus": self.i_b_swap}
        if self.config.has_backward:
            swaps["position"] = self.i_position_swap
        active = constant_sets(m, self, swaps)
        m.d.comb += [
            multiply_add.i_x.eq(self.i_x), multiply_add.i_a.eq(active["a"]),
            multiply_add.i_b.eq(self._addend(m, active)), self.o_saturated.eq(multiply_add.o_saturated),
            multiply_add.i_activation.eq(self.i_activation), self.o_y.eq(multiply_add.o_code)]
        return m

    def _addend(self, m, active):
        """The addend of the element that came in the cycle before."""
        if not self.config.has_backward:
            return active["b"]
        positions = active["position"]
        greatest = comb(m, self.i_matches & (positions.argmax == self.i_position), "at_maximum")
        least = comb(m, self.i_matches & (positions.argmin == self.i_position), "at_minimum")
        addend = 0
        for name, meets in (("plus", greatest & ~least), ("minus", least & ~greatest),
                            ("b", self.i_adds & ~(greatest ^ least))):
            addend |= active[name] & comb(m, meets, f"meets_{name}").replicate(len(active[name]))
        return registered(m, addend, "addend")
