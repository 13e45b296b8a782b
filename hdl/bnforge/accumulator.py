"""The anchored accumulator: sums of floating-point terms without a floating-point adder.

docs/arithmetic.md, "Sums of the sample" and "Sums of the gradient".
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, sum_with_carry
from .config import SUM_BLOCK
from .formats import BlockFormat

__all__ = ["AccumulatorShape", "AnchoredSum", "ElementSum", "element_sum", "product_sum", "gradient_offset",
           "stored_offset"]


@dataclass(frozen=True)
class AccumulatorShape:
    """Widths of an anchored accumulator.

    Parameters
    ----------
    sig_width, exponent_width : bits of a term's significand and exponent
    q_log2 : log2 of the exponents that share an anchor
    guard : fraction bits below those of a term in the lowest exponent of its anchor
    log2_n : log2 of the terms it must hold
    unit_exponent : exponent of the accumulator's last bit at anchor 0
    """

    sig_width: int
    exponent_width: int
    q_log2: int
    guard: int
    log2_n: int
    unit_exponent: int

    @property
    def term_width(self):
        """Bits of the magnitude of an aligned term."""
        return self.sig_width + (1 << self.q_log2) - 1 + self.guard

    @property
    def width(self):
        """Bits of the accumulator, two's complement."""
        return self.term_width + self.log2_n + 1

    @property
    def anchor_width(self):
        """Bits of the anchor; 0 makes the sum exact fixed point."""
        return self.exponent_width - self.q_log2

    @property
    def layout(self):
        """A finished sum."""
        return data.StructLayout({"acc": signed(self.width), "anchor": unsigned(self.anchor_width)})

    @property
    def exponents(self):
        """Least and greatest exponent of the top bit of a sum that is not zero."""
        return self.unit_exponent, self.top_exponent(((1 << self.anchor_width) - 1))

    def top_exponent(self, anchor):
        """Exponent of the top bit of the accumulator's magnitude."""
        return (anchor << self.q_log2) + (self.unit_exponent + self.width - 1)

    @property
    def max_drop(self):
        """Anchor steps that leave nothing but the sign of anything."""
        return min((1 << self.anchor_width) - 1, -(-self.width >> self.q_log2))

    @property
    def drop_width(self):
        return self.max_drop.bit_length()

    def clamped(self, m, distance):
        """The shift that an anchor distance asks for, in anchor steps."""
        if not self.drop_width:
            return Const(0, 0)
        return Mux(distance > self.max_drop, self.max_drop, distance)[:self.drop_width]

    def drop(self, m, value, steps, name):
        """``value`` shifted right by ``steps`` anchor steps; arithmetically when it is signed."""
        shape = Value.cast(value).shape()
        for power in range(self.drop_width):
            step = min((1 << self.q_log2) << power, len(value) - shape.signed)
            value = comb(m, Mux(steps[power], value >> step, value), f"{name}_down{step}", shape)
        return value


def element_sum(config):
    """The accumulator of input elements: of the sample, or of a block of gradients."""
    fmt = config.x_format
    exact = fmt.exponent_width <= 5
    log2_n = (config.sum_terms - 1).bit_length()
    guard = 0 if exact else max(0, 15 + log2_n - fmt.fraction_width)
    return AccumulatorShape(
        sig_width=fmt.significand_width, exponent_width=fmt.exponent_width,
        q_log2=fmt.exponent_width if exact else 3, guard=guard, log2_n=log2_n,
        unit_exponent=-fmt.bias - fmt.fraction_width - guard)


def gradient_offset(config):
    """What makes the exponent of a gradient, normalised, at least 1: E_g - e(g)."""
    fmt = config.x_format
    return fmt.bias + (fmt.fraction_width if fmt.has_subnormals else 0)


def stored_offset(config):
    """The same for a stored element, at least 0: E_y - e(y)."""
    fmt = config.storage
    return fmt.bias + (fmt.fraction_width if config.is_block or fmt.has_subnormals else 0)


def product_sum(config):
    """The accumulator of gradient times stored element, over a block; of two input elements in a baseline."""
    gradient = config.x_format
    stored, offset = (config.storage, stored_offset(config)) if config.is_one_pass else (
        gradient, gradient_offset(config))
    fraction = gradient.fraction_width + stored.fraction_width
    e_max = (stored.max_exponent_code - stored.bias + 1) if isinstance(stored, BlockFormat) else stored.e_max
    greatest = gradient.e_max + gradient_offset(config) + e_max + offset
    log2_n = (SUM_BLOCK - 1).bit_length()
    guard = max(0, 15 + log2_n - fraction)
    return AccumulatorShape(
        sig_width=fraction + 2, exponent_width=max(3, greatest.bit_length()), q_log2=3, guard=guard, log2_n=log2_n,
        unit_exponent=-gradient_offset(config) - offset - fraction - guard)


class AnchoredSum(wiring.Component):
    """Adds up the terms of one lane.

    Takes a term in every cycle with ``i_valid`` high and never stalls. ``i_end`` copies the sum, that term included,
    to a snapshot, so that the next sum may start on the next beat. The snapshots of all lanes form a shift chain that a
    shared unit reads from lane 0.

    Latency: the snapshot can be read 2 cycles after ``i_end``.

    Members
    -------
    i_valid : a term is present
    i_negative, i_sig, i_exponent : it is ±sig · 2**exponent, in the units of the shape; exponent 0 where sig is 0
    i_first, i_end : it is the first of its sum; the last
    i_shift, i_chain : move the chain of snapshots on by one lane; snapshot of the next lane
    o_sum : snapshot of this lane
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "i_valid": In(1), "i_negative": In(1), "i_sig": In(shape.sig_width), "i_exponent": In(shape.exponent_width),
            "i_first": In(1), "i_end": In(1), "i_shift": In(1), "i_chain": In(shape.layout),
            "o_sum": Out(shape.layout)})

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        anchor = Signal(shape.anchor_width, reset_less=True)
        term_anchor = self.i_exponent[shape.q_log2:]

        # Stage 1: the new anchor, and how far term or sum are below it; the term in units of its own anchor. Without an
        # element the term is 0, so that the sum stays as it is.
        rise = comb(m, term_anchor - anchor, "rise")
        raises = comb(m, self.i_first | ~rise[-1], "raises")
        distance = Mux(rise[-1], -rise, rise)[:shape.anchor_width]
        keep, negative, end = (Signal(name=f"s1_{name}") for name in ("keep", "negative", "end"))
        term = Signal(shape.sig_width + (1 << shape.q_log2) - 1, reset_less=True)
        acc_drop, term_drop = (Signal(shape.drop_width, name=name, reset_less=True)
                               for name in ("acc_drop", "term_drop"))
        drop = comb(m, shape.clamped(m, distance), "drop")
        significand = self.i_sig & self.i_valid.replicate(shape.sig_width)
        m.d.sync += [
            term.eq(significand << self.i_exponent[:shape.q_log2]), negative.eq(self.i_negative), end.eq(self.i_end),
            keep.eq(~(self.i_valid & self.i_first)),
            acc_drop.eq(drop & (self.i_valid & raises).replicate(shape.drop_width)),
            term_drop.eq(drop & (self.i_valid & ~raises).replicate(shape.drop_width))]
        with m.If(self.i_valid & raises):
            m.d.sync += anchor.eq(term_anchor)

        # Stage 2: one of sum and term moves down to the common anchor, then they add.
        acc = Signal(signed(shape.width), reset_less=True)
        aligned = shape.drop(m, Cat(Const(0, shape.guard), term), term_drop, "term")
        held = shape.drop(m, acc, acc_drop, "acc").as_unsigned() & keep.replicate(shape.width)
        inverted = comb(m, Cat(aligned, Const(0, shape.width - len(aligned))) ^ negative.replicate(shape.width),
                        "inverted")
        total = comb(m, sum_with_carry(held, inverted, negative)[:shape.width], "total")
        m.d.sync += acc.eq(total)

        snapshot = Signal(shape.layout, reset_less=True)
        with m.If(self.i_shift):
            m.d.sync += snapshot.eq(self.i_chain)
        with m.If(end):
            m.d.sync += [snapshot.acc.eq(total), snapshot.anchor.eq(anchor)]
        m.d.comb += self.o_sum.eq(snapshot)
        return m


class ElementSum(wiring.Component):
    """The anchored sum of one lane's elements: of the sample, or of a block of gradients.

    Latency: the snapshot can be read 2 cycles after ``i_end``.

    Members
    -------
    i_code : sanitised code
    i_valid, i_first, i_end, i_shift, i_chain, o_sum : as :class:`AnchoredSum`
    """

    def __init__(self, config):
        self.config = config
        self.shape = element_sum(config)
        super().__init__({
            "i_valid": In(1), "i_code": In(config.x_format.width), "i_first": In(1), "i_end": In(1),
            "i_shift": In(1), "i_chain": In(self.shape.layout), "o_sum": Out(self.shape.layout)})

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.x_format
        m.submodules.sum = total = AnchoredSum(self.shape)
        field = self.i_code[fmt.fraction_width:-1]
        hidden = field.any()
        m.d.comb += [
            total.i_valid.eq(self.i_valid), total.i_negative.eq(self.i_code[-1]), total.i_first.eq(self.i_first),
            total.i_sig.eq(Cat(self.i_code[:fmt.fraction_width], hidden)),
            total.i_exponent.eq(Cat(field[0] | ~hidden, field[1:])), total.i_end.eq(self.i_end),
            total.i_shift.eq(self.i_shift), total.i_chain.eq(self.i_chain), self.o_sum.eq(total.o_sum)]
        return m
