"""Storage converters: working-format values to stored codes, with the active-code rule (docs/arithmetic.md)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, decode, shift_right_sticky
from .config import Activation
from .formats import WORKING
from .rounding import round_to

__all__ = ["BlockConverter", "BlockElement", "FloatConverter"]


class FloatConverter(wiring.Component):
    """One element to a float format.

    Latency: 1 cycle.

    Members
    -------
    i_y, i_activation : working-format code
    o_element : stored code
    o_saturated : the rounding saturated
    """

    latency = 1

    def __init__(self, config):
        self.config = config
        super().__init__({"i_y": In(WORKING.width), "i_activation": In(Activation),
                          "o_element": Out(config.storage.width), "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.storage
        y = decode(m, WORKING, self.i_y, name="y")
        code, saturated = round_to(m, fmt, y, name="stored")
        active = self.i_activation != Activation.IDENTITY
        lost = comb(m, active & ~y.is_zero & ~code[:-1].any(), "lost")
        filled = comb(m, (self.i_activation == Activation.RELU6) & (code >= fmt.code_of_six) &
                      (self.i_y < WORKING.code_of_six), "filled")
        m.d.sync += [self.o_element.eq(Mux(lost, fmt.min_code, Mux(filled, fmt.code_of_six - 1, code))),
                     self.o_saturated.eq(saturated)]
        return m


def _stores_either(config):
    """Whether gradients and activations are stored in different formats, and both are."""
    return config.has_forward and config.has_backward and config.gradient_storage != config.storage


class BlockElement(wiring.Component):
    """One element of a block.

    A gradient is always signed: in a core that stores y unsigned it has one fraction bit less.

    The exponent of the block is known one cycle after the value; meanwhile only the bits that an element can need wait.

    Latency: 2 cycles from ``i_y``, 1 from ``i_reference``.

    Members
    -------
    i_y : working-format code
    i_reference, i_activation : exponent of the block, in the working format's bias; one cycle after ``i_y``
    i_gradient : it is a gradient; with ``i_reference``, only where that matters
    o_element : two's complement, or unsigned where the format drops the sign
    """

    latency = 2

    def __init__(self, config):
        self.config = config
        self.either = _stores_either(config)
        super().__init__({"i_y": In(WORKING.width), "i_activation": In(Activation),
                          "i_reference": In(WORKING.exponent_width), "o_element": Out(config.element_width)} |
                         ({"i_gradient": In(1)} if self.either else {}))

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.storage if self.config.has_forward else self.config.gradient_storage
        gradient = self.i_gradient if self.either else Const(0)
        keep = fmt.fraction_width + 1
        guard = WORKING.fraction_width - keep  # position of the guard bit; those below only stick
        sign, rest = Signal(reset_less=True), Signal(reset_less=True)
        field = Signal(WORKING.exponent_width, reset_less=True)
        fraction = Signal(keep, reset_less=True)
        m.d.sync += [sign.eq(self.i_y[-1]), field.eq(self.i_y[WORKING.fraction_width:-1]),
                     fraction.eq(self.i_y[guard:WORKING.fraction_width]), rest.eq(self.i_y[:guard].any())]

        nonzero = comb(m, field.any(), "nonzero")
        distance = comb(m, self.i_reference - field, "distance")
        beyond = comb(m, distance[-1], "beyond")  # the block's exponent was clamped
        places = distance.as_unsigned()[:-1]
        if self.either:
            places = places + gradient
        kept, sticky = shift_right_sticky(m, Cat(fraction, nonzero), places, name="element")
        up = comb(m, kept[0] & (sticky | rest | kept[1]), "up")
        rounded = comb(m, kept[1:] + up, "rounded")
        full = comb(m, rounded[keep] | (gradient & rounded[keep - 1]) | beyond, "full")
        lost = comb(m, (self.i_activation != Activation.IDENTITY) & ~rounded.any() & nonzero, "lost")
        # Only a value below 6 can round up to it: 6 itself is exact, and relu6 leaves nothing above.
        filled = comb(m, (self.i_activation == Activation.RELU6) & (self.i_reference == WORKING.bias + 2) & up &
                      (rounded == fmt.six_element), "filled")
        most = Mux(gradient, self.config.gradient_storage.max_element, fmt.max_element)
        magnitude = comb(m, Mux(nonzero, Mux(full, most, Mux(
            filled, fmt.six_element - 1, rounded[:keep] | lost)), 0), "magnitude")
        m.d.sync += self.o_element.eq(Mux(sign, -magnitude, magnitude) if fmt.signed or self.either else magnitude)
        return m


class BlockConverter(wiring.Component):
    """One group of lanes to a block: the shared exponent, then the elements.

    Latency: 2 cycles. One block per cycle.

    Members
    -------
    i_y, i_activation : working-format codes of the group
    i_gradient : they are gradients; only where that matters
    o_elements, o_exponent : the block
    o_saturated : the exponent was above the range
    """

    latency = BlockElement.latency

    def __init__(self, config):
        self.config = config
        fmt = config.storage
        self.either = _stores_either(config)
        super().__init__({"i_y": In(WORKING.width).array(fmt.group), "i_activation": In(Activation),
                          "o_elements": Out(config.element_width).array(fmt.group),
                          "o_exponent": Out(fmt.exponent_width), "o_saturated": Out(1)} |
                         ({"i_gradient": In(1)} if self.either else {}))

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.storage
        fields = [y[WORKING.fraction_width:-1] for y in self.i_y]
        level = 0
        while len(fields) > 1:
            level += 1
            pairs = [fields[i:i + 2] for i in range(0, len(fields), 2)]
            fields = [comb(m, Mux(pair[0] > pair[1], *pair), f"max{level}_{i}") if len(pair) == 2 else pair[0]
                      for i, pair in enumerate(pairs)]
        greatest = fields[0]
        shift = WORKING.bias - fmt.bias  # exponent code of the block = field - shift
        low, high = shift, shift + fmt.max_exponent_code
        over = comb(m, greatest > high, "over")
        reference = comb(m, Mux(over, high, Mux(greatest < low, low, greatest)), "reference")
        code = comb(m, Mux(greatest == 0, 0, reference - shift), "code")

        s1_activation = Signal(Activation, reset_less=True)
        s1_reference = Signal(WORKING.exponent_width, reset_less=True)
        s1_code, s1_over = Signal(fmt.exponent_width, reset_less=True), Signal(reset_less=True)
        m.d.sync += [s1_activation.eq(self.i_activation), s1_reference.eq(reference), s1_code.eq(code),
                     s1_over.eq(over), self.o_exponent.eq(s1_code), self.o_saturated.eq(s1_over)]
        s1_gradient = Signal(reset_less=True)
        if self.either:
            m.d.sync += s1_gradient.eq(self.i_gradient)
        for i, y in enumerate(self.i_y):
            m.submodules[f"element{i}"] = element = BlockElement(self.config)
            m.d.comb += [element.i_y.eq(y), element.i_activation.eq(s1_activation),
                         element.i_reference.eq(s1_reference), self.o_elements[i].eq(element.o_element)]
            if self.either:
                m.d.comb += element.i_gradient.eq(s1_gradient)
        return m
