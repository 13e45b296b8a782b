"""Storage converters: working-format values to stored codes, with the active-code rule (docs/arithmetic.md)."""

from amaranth.hdl import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, decode, registered, shift_right_sticky
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

    The exponent of the block is known two cycles after the value; meanwhile only the bits that an element can need
    wait.

    Latency: ``latency`` cycles from ``i_y``, 2 from ``i_reference``, 1 from ``i_active``.

    Members
    -------
    i_y : working-format code
    i_reference : exponent of the block, in the working format's bias
    i_gradient : it is a gradient; with ``i_reference``, only where that matters
    i_active : what is not zero does not become zero
    i_below_six : nor does it become 6; the exponent is that of 6
    o_element : two's complement, or unsigned where the format drops the sign
    """

    latency = 4

    def __init__(self, config):
        self.config = config
        self.either = _stores_either(config)
        super().__init__({"i_y": In(WORKING.width), "i_reference": In(WORKING.exponent_width), "i_active": In(1),
                          "i_below_six": In(1), "o_element": Out(config.element_width)} |
                         ({"i_gradient": In(1)} if self.either else {}))

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.storage if self.config.has_forward else self.config.gradient_storage
        keep = fmt.fraction_width + 1
        sign, field, fraction, rest = self._waiting(m, keep)

        nonzero = comb(m, field.any(), "nonzero")
        distance = comb(m, self.i_reference - field, "distance")
        places = distance.as_unsigned()[:-1]
        if self.either:
            places = places + self.i_gradient
        shifted, sticky = shift_right_sticky(m, Cat(fraction, nonzero), places, name="element")

        kept, rest = registered(m, shifted, "kept"), registered(m, sticky | rest, "rest")
        beyond = registered(m, distance[-1], "beyond")  # the block's exponent was clamped
        sign, nonzero = registered(m, sign, "sign"), registered(m, nonzero, "nonzero")
        gradient = registered(m, self.i_gradient, "gradient") if self.either else Const(0)
        up = comb(m, kept[0] & (rest | kept[1]), "up")
        rounded = comb(m, kept[1:] + up, "rounded")
        full = comb(m, rounded[keep] | (gradient & rounded[keep - 1]) | beyond, "full")
        lost = comb(m, self.i_active & ~kept[1:].any() & ~up, "lost")
        # Only a value below 6 can round up to it: 6 itself is exact, and relu6 leaves nothing above.
        filled = comb(m, self.i_below_six & up & (kept[1:] == fmt.six_element - 1), "filled")
        most = Mux(gradient, self.config.gradient_storage.max_element, fmt.max_element)
        magnitude = comb(m, Mux(full, most, Mux(filled, fmt.six_element - 1, rounded[:keep] | lost)) &
                         nonzero.replicate(keep), "magnitude")
        element = magnitude
        if fmt.signed or self.either:
            element = (magnitude ^ sign.replicate(keep + 1)) + sign
        m.d.sync += self.o_element.eq(element)
        return m

    def _waiting(self, m, keep):
        """Sign, exponent, fraction with its guard bit, and whether there is more, two cycles after ``i_y``."""
        guard = WORKING.fraction_width - keep  # position of the guard bit; those below only stick
        code = self.i_y
        parts = {"sign": code[-1], "field": code[WORKING.fraction_width:-1],
                 "fraction": code[guard:WORKING.fraction_width], "rest": code[:guard].any()}
        for stage in (1, 2):
            parts = {name: registered(m, value, f"s{stage}_{name}") for name, value in parts.items()}
        return parts.values()


class BlockConverter(wiring.Component):
    """One group of lanes to a block: the shared exponent, then the elements.

    Where the scale comes from the second largest element the largest is clamped as if the exponent was.

    Latency: ``latency`` cycles. One block per cycle.

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
        greatest = self._scale(m, [y[WORKING.fraction_width:-1] for y in self.i_y])
        shift = WORKING.bias - fmt.bias  # exponent code of the block = field - shift
        low, high = shift, shift + fmt.max_exponent_code
        over, reference = Const(0), greatest
        if high < WORKING.max_code >> WORKING.fraction_width:
            over = comb(m, greatest > high, "over")
            reference = Mux(over, high, reference)
        if low > 0:
            reference = Mux(greatest < low, low, reference)
        code = registered(m, Mux(greatest == 0, 0, (reference - shift)[:fmt.exponent_width]), "s2_code")
        reference, over = registered(m, reference, "s2_reference"), registered(m, over, "s2_over")
        code, over = registered(m, code, "s3_code"), registered(m, over, "s3_over")
        m.d.sync += [self.o_exponent.eq(code), self.o_saturated.eq(over)]

        activation = self._later(m, self.i_activation, "activation")
        active = registered(m, activation != Activation.IDENTITY, "s3_active")
        below_six = registered(m, (activation == Activation.RELU6) & (reference == WORKING.bias + 2), "s3_below_six")
        gradient = self._later(m, self.i_gradient, "gradient") if self.either else None
        for i, y in enumerate(self.i_y):
            m.submodules[f"element{i}"] = element = BlockElement(self.config)
            m.d.comb += [element.i_y.eq(y), element.i_reference.eq(reference), element.i_active.eq(active),
                         element.i_below_six.eq(below_six), self.o_elements[i].eq(element.o_element)]
            if self.either:
                m.d.comb += element.i_gradient.eq(gradient)
        return m

    def _scale(self, m, fields):
        """The exponent field that the scale comes from, one cycle later."""
        if not self.config.storage.second_largest:
            fields = self._greatest(m, fields, 2)
            greatest, = self._greatest(m, [registered(m, field, f"s1_field{i}") for i, field in enumerate(fields)])
            return greatest
        pairs = self._two_greatest(m, [(field, Const(0, len(field))) for field in fields], 2)
        (first, second), = self._two_greatest(m, [
            tuple(registered(m, field, f"s1_{name}{i}") for name, field in zip(("first", "second"), pair))
            for i, pair in enumerate(pairs)])
        return comb(m, Mux(second == 0, first, second), "second_greatest")

    def _two_greatest(self, m, pairs, levels=None):
        """The greatest and the second greatest, as :meth:`_greatest`, from pairs of them."""
        while len(pairs) > 1 and levels != 0:
            levels = levels and levels - 1
            merged = []
            for i in range(0, len(pairs) - 1, 2):
                (first, second), (other, other_second) = pairs[i:i + 2]
                leads = comb(m, first > other, f"leads_{i}")
                loser, runner_up = Mux(leads, other, first), Mux(leads, second, other_second)
                merged.append((comb(m, Mux(leads, first, other), f"first_{i}"),
                               comb(m, Mux(loser > runner_up, loser, runner_up), f"second_{i}")))
            pairs = merged + pairs[len(merged) * 2:]
        return pairs

    def _greatest(self, m, fields, levels=None):
        """The greatest of ``fields``, or of every ``2**levels`` of them."""
        while len(fields) > 1 and levels != 0:
            levels = levels and levels - 1
            pairs = [fields[i:i + 2] for i in range(0, len(fields), 2)]
            fields = [comb(m, Mux(pair[0] > pair[1], *pair), f"max_{i}") if len(pair) == 2 else pair[0]
                      for i, pair in enumerate(pairs)]
        return fields

    def _later(self, m, value, name):
        """``value`` two cycles later, with the reference."""
        return registered(m, registered(m, value, f"s1_{name}"), f"s2_{name}")
