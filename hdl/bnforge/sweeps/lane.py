"""Lanes of the baselines: constants, sums, and the multiply-adds of one channel (docs/baselines.md, "Lanes")."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..accumulator import ElementSum, element_sum, product_sum
from ..arith import comb, decode, multiply
from ..config import Activation, Algorithm
from ..definition import Difference
from ..formats import WORKING
from ..lane import MultiplyAdd
from .product import ProductSum
from .words import Sweep

__all__ = ["REGISTERS", "register_of", "MomentLane", "RangeLane", "lane_of"]

REGISTERS = {
    Algorithm.RANGE: ("scale", "base", "plus", "minus"),
    Algorithm.SINGLE_PASS: ("scale", "c", "e"),
    Algorithm.TWO_PASS: ("scale", "shift", "mean", "c", "e"),
}
"""Constants that a lane holds, by algorithm."""
_PLACES = {
    Algorithm.RANGE: {"a": "scale", "b": "base", "base": "base", "plus": "plus", "minus": "minus"},
    Algorithm.SINGLE_PASS: {"a": "scale", "b": "c", "c": "c", "e": "e"},
    Algorithm.TWO_PASS: {"a": "scale", "b": "shift", "mu": "mean", "c": "c", "e": "e"},
}


def register_of(config, sweep, name):
    """The lane register that takes a P word in a sweep, or None."""
    if sweep is Sweep.COLLECT or (config.algorithm is Algorithm.RANGE and sweep is Sweep.SUMS):
        return None
    return _PLACES[config.algorithm].get(name)


def lane_of(config):
    """The lane of a baseline."""
    return RangeLane(config) if config.algorithm is Algorithm.RANGE else MomentLane(config)


def _ports(config):
    """What the lanes of all baselines have in common."""
    return {
        "i_load": In(len(REGISTERS[config.algorithm])), "i_scale": In(config.a_format.width),
        "i_shift": In(config.b_format.width), "i_mean": In(WORKING.width),
        "i_p": In(config.x_format.width), "i_q": In(config.x_format.width), "i_activation": In(Activation),
        "i_passes": In(1), "i_masks": In(1), "i_normalises": In(1),
        "i_sums": In(1), "i_products": In(1), "i_first": In(1), "i_end": In(1), "i_snapshots": In(1),
        "i_sum_chain": In(element_sum(config).layout), "o_sum": Out(element_sum(config).layout),
        "i_product_chain": In(product_sum(config).layout), "o_product": Out(product_sum(config).layout),
        "o_y": Out(WORKING.width), "o_saturated": Out(1)}


class _Lane(wiring.Component):
    """What the lanes of all baselines share.

    Members
    -------
    i_load, i_scale, i_shift, i_mean : strobes by register, and what to load; nothing runs meanwhile
    i_p, i_q : codes: what is multiplied by a, and what it is combined with
    i_activation, i_passes, i_masks, i_normalises : of the sweep: the result is p itself; p counts only where the
        activation is active; the result has an activation
    i_sums, i_products, i_first, i_end : the element of ``sum_delay`` cycles ago counts, in either sum; it is the first,
        the last of its block
    i_snapshots, i_sum_chain, o_sum, i_product_chain, o_product : as :class:`~bnforge.accumulator.AnchoredSum`
    o_y : working-format code, ``latency`` cycles after ``i_p``
    o_saturated : its rounding saturated
    """

    def _constants(self, m):
        config = self.config
        constants = {}
        for number, name in enumerate(REGISTERS[config.algorithm]):
            value = {"scale": self.i_scale, "e": self.i_scale, "mean": self.i_mean}.get(name, self.i_shift)
            constants[name] = Signal(value.shape(), name=name, reset_less=True)
            with m.If(self.i_load[number]):
                m.d.sync += constants[name].eq(value)
        return constants

    def _sums(self, m, element, left, right):
        m.submodules.sum, m.submodules.product = sums = ElementSum(self.config), ProductSum(self.config)
        element_total, product = sums
        m.d.comb += [element_total.i_code.eq(element), element_total.i_valid.eq(self.i_sums),
                     product.i_p.eq(left), product.i_q.eq(right), product.i_valid.eq(self.i_products)]
        for unit, chain, output in ((element_total, self.i_sum_chain, self.o_sum),
                                    (product, self.i_product_chain, self.o_product)):
            m.d.comb += [unit.i_first.eq(self.i_first), unit.i_end.eq(self.i_end), unit.i_shift.eq(self.i_snapshots),
                         unit.i_chain.eq(chain), output.eq(unit.o_sum)]

    def _multiply_add(self, m, x, scale, addend):
        """The multiply-add of the result, and the activation."""
        config = self.config
        m.submodules.multiply_add = unit = MultiplyAdd(config)
        one = config.a_format.bias << config.a_format.fraction_width
        code, six = unit.o_code, WORKING.code_of_six
        clips = self.i_normalises & (self.i_activation != Activation.IDENTITY)
        negative = comb(m, clips & code[-1], "negative")
        above = Const(0)
        if config.algorithm is Algorithm.RANGE:
            above = comb(m, clips & (self.i_activation == Activation.RELU6) & ~code[-1] & (code[:-1] > six), "above")
        m.d.comb += [unit.i_x.eq(x), unit.i_a.eq(Mux(self.i_passes, one, scale)), unit.i_b.eq(addend),
                     self.o_y.eq(Mux(negative, 0, Mux(above, six, code))), self.o_saturated.eq(unit.o_saturated)]


class RangeLane(_Lane):
    """One channel of range batch norm.

    Members besides those of all lanes
    ----------------------------------
    i_adds, i_load_position, i_argmax, i_argmin, i_position : of the gradient: there is an addend; positions of the
        chunk to load, and the position of ``i_p``
    """

    sum_delay = 0
    latency = MultiplyAdd.latency

    def __init__(self, config):
        self.config = config
        position = config.position_width
        super().__init__(_ports(config) | {
            "i_adds": In(1), "i_load_position": In(1), "i_argmax": In(position), "i_argmin": In(position),
            "i_position": In(position)})

    def elaborate(self, platform):
        m = Module()
        constants = self._constants(m)
        y = self.i_q
        six = self.config.x_format.code_of_six
        below = (y[:-1] < six) if six is not None else Const(1)
        positive = comb(m, ~y[-1] & y[:-1].any(), "positive")
        active = comb(m, ~self.i_masks | (self.i_activation == Activation.IDENTITY) | (
            positive & ((self.i_activation == Activation.RELU) | below)), "active")
        g = comb(m, self.i_p & active.replicate(len(y)), "g")
        self._sums(m, g, g, y)

        argmax, argmin = (Signal(self.config.position_width, name=name, reset_less=True) for name in
                          ("argmax", "argmin"))
        with m.If(self.i_load_position):
            m.d.sync += [argmax.eq(self.i_argmax), argmin.eq(self.i_argmin)]
        at_maximum, at_minimum = argmax == self.i_position, argmin == self.i_position
        plus = _delayed(m, at_maximum & ~at_minimum & self.i_adds, MultiplyAdd.addend_delay, "plus")
        minus = _delayed(m, at_minimum & ~at_maximum & self.i_adds, MultiplyAdd.addend_delay, "minus")
        addend = Mux(plus, constants["plus"], Mux(minus, constants["minus"], constants["base"]))
        adds = self.i_adds | self.i_normalises
        self._multiply_add(m, g, constants["scale"], addend & adds.replicate(len(addend)))
        return m


class MomentLane(_Lane):
    """One channel of batch norm with mean and variance, from one sweep or two.

    Members besides those of all lanes
    ----------------------------------
    i_corrects : of the gradient: the addend is e·q + c
    i_squares : the product is that of the deviation with itself; only with two passes
    o_correction_saturated : the rounding of the addend saturated, ``correction_delay`` cycles after ``i_q``
    o_deviation_saturated : that of x' - mu, ``sum_delay`` cycles after it; only with two passes
    """

    def __init__(self, config):
        self.config = config
        self.two_pass = config.algorithm is Algorithm.TWO_PASS
        self.sum_delay = Difference.latency if self.two_pass else Mask.latency
        start = Difference.latency if self.two_pass else 0  # of the correction
        self.correction_delay = start + MultiplyAdd.latency
        self.multiply_delay = max(self.sum_delay, self.correction_delay - MultiplyAdd.addend_delay)
        self.latency = self.multiply_delay + MultiplyAdd.latency
        extra = {"i_squares": In(1), "o_deviation_saturated": Out(1)} if self.two_pass else {}
        super().__init__(_ports(config) | extra | {"i_corrects": In(1), "o_correction_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        constants = self._constants(m)
        shift = constants["shift" if self.two_pass else "c"]
        m.submodules.mask = mask = Mask(config)
        m.d.comb += [mask.i_x.eq(self.i_q), mask.i_a.eq(constants["scale"]), mask.i_b.eq(shift)]
        positive = _delayed(m, mask.o_positive, self.sum_delay - Mask.latency, "positive")
        active = comb(m, ~self.i_masks | (self.i_activation == Activation.IDENTITY) | positive, "active")
        p = _delayed(m, self.i_p, self.sum_delay, "p")
        g = comb(m, p & active.replicate(len(p)), "g")
        if self.two_pass:
            m.submodules.deviation = deviation = Difference(config, config.x_format)
            m.d.comb += [deviation.i_x.eq(self.i_q), deviation.i_mean.eq(constants["mean"]),
                         self.o_deviation_saturated.eq(deviation.o_saturated)]
            q, left = deviation.o_code, Mux(self.i_squares, deviation.o_code, g)
        else:
            q, left = _delayed(m, self.i_q, self.sum_delay, "q"), g
        self._sums(m, g, left, q)

        m.submodules.correction = correction = MultiplyAdd(config, output=config.b_format)
        m.d.comb += [correction.i_x.eq(q if self.two_pass else self.i_q), correction.i_a.eq(constants["e"]),
                     correction.i_b.eq(constants["c"]), self.o_correction_saturated.eq(correction.o_saturated)]
        late = self.multiply_delay + MultiplyAdd.addend_delay - self.correction_delay
        addend = _delayed(m, correction.o_code, late, "addend")
        addend = Mux(self.i_corrects, addend, shift & self.i_normalises.replicate(len(shift)))
        self._multiply_add(m, _delayed(m, g, self.multiply_delay - self.sum_delay, "g"), constants["scale"], addend)
        return m


class Mask(wiring.Component):
    """Whether ``a·x + b > 0``, exactly: the larger of two magnitudes has the sign of the sum.

    Latency: 2 cycles. One result per cycle.
    """

    latency = 2

    def __init__(self, config):
        self.config = config
        super().__init__({"i_x": In(config.x_format.width), "i_a": In(config.a_format.width),
                          "i_b": In(config.b_format.width), "o_positive": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        x, a = decode(m, config.x_format, self.i_x, name="x"), decode(m, config.a_format, self.i_a, name="a")
        product = multiply(x, a).registered(m, "product").normalised(m, "product", limit=1)
        b = decode(m, config.b_format, self.i_b, name="b")
        width = max(len(product.sig), len(b.sig))
        product, b = product.extended(width), b.extended(width)
        apart = comb(m, product.exponent - b.exponent + (b.bias - product.bias), "apart")
        greater = comb(m, ~product.is_zero & (
            b.is_zero | (~apart[-1] & ((apart != 0) | (product.sig > b.sig)))), "product_leads")
        equal = comb(m, (apart == 0) & (product.sig == b.sig) & (product.sign != b.sign), "cancels")
        nothing = product.is_zero & b.is_zero
        m.d.sync += self.o_positive.eq(~Mux(greater, product.sign, b.sign) & ~nothing & ~(equal & ~b.is_zero))
        return m


def _delayed(m, value, n_cycles, name):
    """``value`` some cycles later."""
    for cycle in range(n_cycles):
        register = Signal(value.shape(), name=f"{name}_{cycle + 1}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value
