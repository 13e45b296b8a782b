"""The lane of a core without constant extraction: it evaluates the definition, step by step, in the working format.

A baseline (docs/arithmetic.md, "Constant extraction off"); the product's lane is in :mod:`bnforge.lane`.
"""

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import add_ordered, comb, decode, multiply, order, registered
from .config import Activation
from .formats import WORKING
from .lane import MultiplyAdd, constant_sets
from .positions import position_pair_layout
from .quotient import Quotient
from .rounding import round_to

__all__ = ["Difference", "Product", "ProductLane", "QuotientLane"]

_ENOUGH = WORKING.significand_width + 2
"""Bits of a normalised number that rounding to the working format needs, the last of them sticky."""


class Difference(wiring.Component):
    """``Q(x - mean)``.

    Latency: ``latency`` cycles. One result per cycle.

    Parameters
    ----------
    config : Config
    output : FloatFormat
        Of the result.

    Members
    -------
    i_x : sanitised code in ``x_format``
    i_mean : working-format code
    o_code : code of the result's format
    o_saturated : the rounding saturated
    """

    latency = 4

    def __init__(self, config, output=WORKING):
        self.config, self.output = config, output
        super().__init__({"i_x": In(config.x_format.width), "i_mean": In(WORKING.width), "o_code": Out(output.width),
                          "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        mean = decode(m, WORKING, self.i_mean, name="mean").negated()
        x = decode(m, self.config.x_format, self.i_x, name="x").rebiased(m, mean.bias, "x")
        keep = self.output.significand_width
        operands = order(m, x, mean, keep, name="sum").registered(m, "operands")
        total = add_ordered(m, operands, name="sum").registered(m, "sum")
        normal = total.normalised(m, "sum").stuck(keep + 2).registered(m, "normal")
        code, saturated = round_to(m, self.output, normal, name="u")
        m.d.sync += [self.o_code.eq(code), self.o_saturated.eq(saturated)]
        return m


class Product(wiring.Component):
    """``Q_W(u · h)``; h is never negative.

    Latency: ``latency`` cycles. One result per cycle.

    Members
    -------
    i_u : working-format code
    i_scale : h, working-format code without its sign
    o_code : working-format code
    o_saturated : the rounding saturated
    """

    latency = 2

    def __init__(self):
        super().__init__({"i_u": In(WORKING.width), "i_scale": In(WORKING.width - 1), "o_code": Out(WORKING.width),
                          "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        u, h = decode(m, WORKING, self.i_u, name="u"), decode(m, WORKING, Cat(self.i_scale, Const(0, 1)), name="h")
        # Zeros are told apart beside the multiplier: to it every significand has its top bit set.
        nonzero = comb(m, ~u.is_zero & ~h.is_zero, "nonzero")
        product = multiply(*(value.with_sig(Cat(value.sig[:-1], Const(1, 1))) for value in (u, h))).stuck(_ENOUGH + 1)
        product = product.with_sig(product.sig & nonzero.replicate(_ENOUGH + 1)).registered(m, "product")
        code, saturated = round_to(m, WORKING, product.normalised(m, "product", limit=1), name="v")
        m.d.sync += [self.o_code.eq(code), self.o_saturated.eq(saturated)]
        return m


class DefinitionLane(wiring.Component):
    """``act(Q_W(gamma · v + shift))``, ``v = Q_W(u · scale)`` or ``Q_W(u / scale)``, ``u = Q_W(x - mean)``.

    A base of the two lanes below, which say how v is made. Forward mean and shift are mu and beta. Backward x is the
    gradient; in the sample mean is that of the gradient, and shift is t, added at a maximum, subtracted at a minimum;
    else both are left out. Constants as in :class:`~bnforge.lane.NormaliserLane`.

    Latency: ``latency`` cycles from ``i_x`` to ``o_y``. One element per cycle.

    Members
    -------
    i_mean_shift, i_mean_chain, o_mean_chain : as in the product's lane; the same for scale, gamma, shift, position
    i_mean_swap ... : from the next cycle on the waiting constants are active; they are used ``used`` cycles after i_x
    i_x, i_activation, o_y : as in the product's lane
    o_saturated : of u, v and y, each ``flags`` cycles after its element

    Members, backward
    -----------------
    i_gradient : ``i_x`` is a gradient
    i_adds, i_matches, i_position, i_position_swap : as in the product's lane
    """

    follows = ("adds", "matches", "position", "position_swap", "gradient")

    @staticmethod
    def shapes(config):
        """Shapes of the chains."""
        code = WORKING.width
        backward = {"position": position_pair_layout(config)} if config.has_backward else {}
        return {"mean": code, "scale": code - 1, "gamma": code, "shift": code} | backward

    @classmethod
    def swaps(cls, config):
        """When constants are used."""
        return cls.used

    def __init__(self, config):
        self.config = config
        self.chains = self.shapes(config)
        backward = {}
        if config.has_backward:
            backward = {"i_position_swap": In(1), "i_position": In(config.position_width), "i_gradient": In(1),
                        "i_adds": In(1), "i_matches": In(1)}
        ports = {f"i_{name}_swap": In(1) for name in self.used}
        for name, shape in self.chains.items():
            ports |= {f"i_{name}_shift": In(1), f"i_{name}_chain": In(shape), f"o_{name}_chain": Out(shape)}
        super().__init__(ports | backward | {
            "i_x": In(config.x_format.width), "i_activation": In(Activation), "o_y": Out(WORKING.width),
            "o_saturated": Out(len(self.flags))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        active = constant_sets(m, self, {name: getattr(self, f"i_{name}_swap") for name in self.chains})
        m.submodules.difference = difference = Difference(config)
        m.submodules.scaler = scaler = self.scaler()
        # Its constants have the working format already.
        m.submodules.multiply_add = multiply_add = MultiplyAdd(config.replace(x_format=WORKING), activates=True)
        mean = active["mean"]
        if config.has_backward:
            mean = mean & self.i_adds.replicate(len(mean))
        m.d.comb += [
            difference.i_x.eq(self.i_x), difference.i_mean.eq(mean), scaler.i_u.eq(difference.o_code),
            scaler.i_scale.eq(active["scale"]),
            multiply_add.i_x.eq(scaler.o_code), multiply_add.i_a.eq(active["gamma"]),
            multiply_add.i_b.eq(self._shift(m, active)),
            self.o_saturated.eq(Cat(difference.o_saturated, scaler.o_saturated, multiply_add.o_saturated)),
            multiply_add.i_activation.eq(self.i_activation), self.o_y.eq(multiply_add.o_code)]
        return m

    def _shift(self, m, active):
        """The shift of the element that needs it now."""
        shift = active["shift"]
        if not self.config.has_backward:
            return shift
        positions = active["position"]
        maximum, minimum = (comb(m, self.i_matches & (position == self.i_position), name) for position, name in (
            (positions.argmax, "at_maximum"), (positions.argmin, "at_minimum")))
        adds, negates = comb(m, ~self.i_gradient | (maximum ^ minimum), "adds_0"), minimum
        for cycle in range(self.used["shift"][1]):
            adds, negates = registered(m, adds, f"adds_{cycle}"), registered(m, negates, f"negates_{cycle}")
        signed = Cat(shift[:-1], shift[-1] ^ negates)
        return comb(m, signed & adds.replicate(len(signed)), "addend")


def _timing(scaler):
    """latency, activation_delay, flags and uses of constants of a lane with a scaler."""
    at_u = Difference.latency
    at_v = at_u + scaler.latency
    latency = at_v + MultiplyAdd.latency
    return latency, at_v + MultiplyAdd.activation_delay, (at_u, at_v, latency), {
        "mean": ("shift", 0), "scale": ("tile", at_u), "gamma": ("tile", at_v),
        "shift": ("shift", at_v + MultiplyAdd.addend_delay)}


class ProductLane(DefinitionLane):
    """The scale is h, a reciprocal: v = Q_W(u · h)."""

    scaler = Product
    latency, activation_delay, flags, used = _timing(Product)


class QuotientLane(DefinitionLane):
    """The scale is d, a divisor: v = Q_W(u / d), by a divider of its own."""

    scaler = Quotient
    latency, activation_delay, flags, used = _timing(Quotient)
