"""Sparse recovery: from dy and the stored y of one lane to the masked gradient g, and the sum of g · y.

docs/arithmetic.md, "Backward: what is read" and "Sums of the gradient".
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .accumulator import AnchoredSum, product_sum, stored_offset
from .arith import Unpacked, comb, decode, element_parts, registered, sanitise
from .config import Activation

__all__ = ["RecoveryLane", "exponent_limits"]


class RecoveryLane(wiring.Component):
    """Mask and products of one lane; the sum of g itself is taken elsewhere.

    Takes an element in every cycle with ``i_valid`` high and never stalls.

    Latency: ``o_g`` and the flags are combinational; the snapshot can be read ``latency`` cycles after ``i_end``.

    Members
    -------
    i_valid : an element of a backward tile is present
    i_dy : its sanitised code
    i_element : y as stored
    i_activation : of the tile; identity for a forward one, whose elements pass
    i_first, i_end : it is the first, the last of its block of beats
    o_g, o_g_late : code of g; the same one cycle later
    o_nan, o_infinity : y has no value
    i_shift, i_chain, o_sum : snapshots, as of :class:`~bnforge.accumulator.AnchoredSum`

    Members, block storage
    ----------------------
    i_reserved, i_limit : of the block's exponent, as of :func:`exponent_limits`
    i_exponent : its code, one cycle later
    """

    latency = 4

    def __init__(self, config):
        self.config = config
        self.shape = product_sum(config)
        super().__init__({
            "i_valid": In(1), "i_dy": In(config.x_format.width), "i_element": In(config.element_width),
            **({"i_exponent": In(config.storage.exponent_width), "i_reserved": In(1),
                "i_limit": In(config.storage.fraction_width + 2)} if config.is_block else {}),
            "i_activation": In(Activation), "i_first": In(1), "i_end": In(1),
            "o_g": Out(config.x_format.width), "o_g_late": Out(config.x_format.width),
            "o_nan": Out(1), "o_infinity": Out(1),
            "i_shift": In(1), "i_chain": In(self.shape.layout), "o_sum": Out(self.shape.layout)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        y, exponent, is_positive, below_six = self._stored(m)
        active = comb(m, (self.i_activation == Activation.IDENTITY) | (
            is_positive & ((self.i_activation == Activation.RELU) | below_six)), "active")
        m.d.comb += [self.o_g.eq(self.i_dy & active.replicate(len(self.i_dy))),
                     self.o_g_late.eq(registered(m, self.o_g, "g"))]

        # The product, two stages ahead of the accumulator; zeros are told apart beside the multiplier.
        fmt = config.x_format
        g = decode(m, fmt, self.o_g_late, name="g")
        nonzero = comb(m, ~g.is_zero & ~y.is_zero, "nonzero")
        factors = [Cat(value.sig[:-1], Const(1, 1)) for value in (g, y)]
        exponent = comb(m, g.exponent + (fmt.fraction_width if fmt.has_subnormals else 0) + exponent,
                        "exponent")[:self.shape.exponent_width]
        m.submodules.sum = total = AnchoredSum(self.shape)
        flags = [self.i_valid, self.i_first, self.i_end]
        for stage in (1, 2):
            staged = [Signal(name=f"{name}_{stage}") for name in ("valid", "first", "end")]
            m.d.sync += [after.eq(before) for after, before in zip(staged, flags)]
            flags = staged
        for port, value in ((total.i_sig, (factors[0] * factors[1]) & nonzero.replicate(self.shape.sig_width)),
                            (total.i_negative, g.sign ^ y.sign),
                            (total.i_exponent, exponent & nonzero.replicate(self.shape.exponent_width))):
            register = Signal(port.shape(), name=f"product_{port.name}", reset_less=True)
            m.d.sync += register.eq(value)
            m.d.comb += port.eq(register)
        m.d.comb += [
            Cat(total.i_valid, total.i_first, total.i_end).eq(Cat(flags)),
            total.i_shift.eq(self.i_shift), total.i_chain.eq(self.i_chain), self.o_sum.eq(total.o_sum)]
        return m

    def _stored(self, m):
        """y normalised and its exponent in the units of the products, in registers; whether y > 0, and y < 6."""
        config, fmt = self.config, self.config.storage
        if not config.is_block:
            clean, nan, infinity = sanitise(m, fmt, self.i_element, name="stored")
            m.d.comb += [self.o_nan.eq(nan), self.o_infinity.eq(infinity)]
            y = decode(m, fmt, clean, name="stored").registered(m, "y")
            exponent = comb(m, y.exponent + (stored_offset(config) - fmt.bias), "stored_offset")
            return y, exponent, ~clean[-1] & clean[:-1].any(), clean[:-1] < fmt.code_of_six
        m.d.comb += self.o_nan.eq(self.i_reserved)
        negative, sig, shift = element_parts(m, fmt, self.i_element, self.i_reserved)
        sig, shift = registered(m, sig, "y_sig"), registered(m, shift, "y_shift")
        exponent = comb(m, self.i_exponent + (fmt.element_width - 1) - shift, "stored_exponent")
        # Only the most negative element has more than fraction_width + 1 bits, and its last one is 0.
        y = Unpacked(registered(m, negative, "y_sign"), exponent, sig).truncated(fmt.fraction_width + 1)
        is_positive = comb(m, ~negative & self.i_element.any() & ~self.i_reserved, "positive")
        return y, exponent, is_positive, comb(m, self.i_element < self.i_limit, "below_six")


def exponent_limits(m, fmt, exponent, name):
    """What the elements of a block need of its exponent code.

    Returns
    -------
    (reserved, limit) : Signals; the code has no value; the positive elements below ``limit`` are less than 6
    """
    reserved = comb(m, exponent.all(), f"{name}_reserved")
    limit = Signal(fmt.fraction_width + 2, name=f"{name}_limit")
    first = fmt.bias + 2  # the exponent of 6 = 3 · 2^1
    m.d.comb += limit.eq(Mux(exponent < first, 1 << fmt.fraction_width + 1, 1))
    with m.Switch(exponent):
        for places in range(fmt.fraction_width + 1):
            if 0 <= first + places < fmt.max_exponent_code + 1:
                with m.Case(first + places):
                    m.d.comb += limit.eq(-(-6 << fmt.fraction_width >> 2 + places))
    return reserved, limit
