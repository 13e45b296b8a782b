"""Sparse recovery: from dy and the stored y of one lane to the masked gradient g, and the sum of g · y.

docs/arithmetic.md, "Backward: what is read" and "Sums of the gradient".
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .accumulator import AnchoredSum, product_sum, stored_offset
from .arith import Unpacked, comb, decode, decode_element, sanitise
from .config import Activation

__all__ = ["RecoveryLane"]


class RecoveryLane(wiring.Component):
    """Mask and products of one lane; the sum of g itself is taken elsewhere.

    Takes an element in every cycle with ``i_valid`` high and never stalls.

    Latency: ``o_g`` and the flags are combinational; the snapshot can be read ``latency`` cycles after ``i_end``.

    Members
    -------
    i_valid : an element of a backward tile is present
    i_dy : its sanitised code
    i_element, i_exponent : y as stored, and the exponent code of its block (only with block storage)
    i_activation : of the tile
    i_first, i_end : it is the first, the last of its block of beats
    o_g : code of g
    o_nan, o_infinity : y has no value
    i_shift, i_chain, o_sum : snapshots, as of :class:`~bnforge.accumulator.AnchoredSum`
    """

    latency = 4

    def __init__(self, config):
        self.config = config
        self.shape = product_sum(config)
        super().__init__({
            "i_valid": In(1), "i_dy": In(config.x_format.width), "i_element": In(config.element_width),
            **({"i_exponent": In(config.storage.exponent_width)} if config.is_block else {}),
            "i_activation": In(Activation), "i_first": In(1), "i_end": In(1),
            "o_g": Out(config.x_format.width), "o_nan": Out(1), "o_infinity": Out(1),
            "i_shift": In(1), "i_chain": In(self.shape.layout), "o_sum": Out(self.shape.layout)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        y, below_six = self._stored(m)
        positive = comb(m, ~y.sign & ~y.is_zero, "positive")
        active = comb(m, (self.i_activation == Activation.IDENTITY) | (
            positive & ((self.i_activation == Activation.RELU) | below_six)), "active")
        m.d.comb += self.o_g.eq(self.i_dy & active.replicate(len(self.i_dy)))

        # The product, two stages ahead of the accumulator.
        fmt = config.x_format
        g = decode(m, fmt, self.o_g, name="g")
        g = Unpacked(g.sign, g.exponent + (fmt.fraction_width if fmt.has_subnormals else 0), g.sig)
        g, y = g.registered(m, "g"), y.registered(m, "y")
        nonzero = ~g.is_zero & ~y.is_zero
        m.submodules.sum = total = AnchoredSum(self.shape)
        flags = [self.i_valid, self.i_first, self.i_end]
        for stage in (1, 2):
            staged = [Signal(name=f"{name}_{stage}") for name in ("valid", "first", "end")]
            m.d.sync += [after.eq(before) for after, before in zip(staged, flags)]
            flags = staged
        exponent = comb(m, g.exponent + y.exponent, "exponent")[:self.shape.exponent_width]
        for port, value in ((total.i_sig, g.sig * y.sig), (total.i_negative, g.sign ^ y.sign),
                            (total.i_exponent, exponent & nonzero.replicate(self.shape.exponent_width))):
            register = Signal(port.shape(), name=f"product_{port.name}", reset_less=True)
            m.d.sync += register.eq(value)
            m.d.comb += port.eq(register)
        m.d.comb += [
            Cat(total.i_valid, total.i_first, total.i_end).eq(Cat(flags)),
            total.i_shift.eq(self.i_shift), total.i_chain.eq(self.i_chain), self.o_sum.eq(total.o_sum)]
        return m

    def _stored(self, m):
        """y normalised, its exponent in the units of the products, and whether it is less than 6."""
        config, fmt = self.config, self.config.storage
        if not config.is_block:
            clean, nan, infinity = sanitise(m, fmt, self.i_element, name="stored")
            m.d.comb += [self.o_nan.eq(nan), self.o_infinity.eq(infinity)]
            y = decode(m, fmt, clean, name="stored")
            exponent = comb(m, y.exponent + (stored_offset(config) - fmt.bias), "stored_offset")
            return Unpacked(y.sign, exponent, y.sig), clean[:-1] < fmt.code_of_six
        y, reserved = decode_element(m, fmt, self.i_element, self.i_exponent)
        m.d.comb += self.o_nan.eq(reserved)
        # Only the most negative element has more than fraction_width + 1 bits, and its last one is 0.
        y = Unpacked(y.sign, y.exponent, y.truncated(fmt.fraction_width + 1).sig)
        two = 2 + stored_offset(config)  # 6 = 1.1b · 2^2
        return y, (y.exponent < two) | ((y.exponent == two) & ~y.sig[-2])
