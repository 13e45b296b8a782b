"""Sample statistics of one lane: the anchored sum, and the extrema of each chunk with their positions."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, sum_with_carry

__all__ = ["AccumulatorShape", "StatisticsLane", "sum_layout", "extrema_layout", "key_of", "code_of"]


class AccumulatorShape:
    """Widths of the anchored accumulator of a configuration (docs/arithmetic.md, "Sums of the sample").

    Attributes
    ----------
    q_log2 : log2 of the exponents that share an anchor
    guard : fraction bits below those of an element in the lowest exponent of its anchor
    term_width : bits of the magnitude of an aligned term
    width : bits of the accumulator, two's complement
    anchor_width : bits of the anchor; 0 makes the sum exact fixed point
    unit_exponent : exponent of the accumulator's last bit at anchor 0
    """

    def __init__(self, config):
        fmt = config.x_format
        exact = fmt.exponent_width <= 5
        log2_n = (config.sample_depth - 1).bit_length()
        self.q_log2 = fmt.exponent_width if exact else 3
        self.guard = 0 if exact else max(0, 14 + log2_n + 1 - fmt.fraction_width)
        self.term_width = fmt.significand_width + (1 << self.q_log2) - 1 + self.guard
        self.width = self.term_width + log2_n + 1
        self.anchor_width = fmt.exponent_width - self.q_log2
        self.unit_exponent = -fmt.bias - fmt.fraction_width - self.guard

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


def sum_layout(config):
    """What the constant extraction reads of a lane's sum."""
    shape = AccumulatorShape(config)
    return data.StructLayout({"acc": signed(shape.width), "anchor": unsigned(shape.anchor_width)})


def extrema_layout(config):
    """Extrema of a chunk, as ordered keys, with their positions."""
    return data.StructLayout({"max": config.x_format.width, "min": config.x_format.width,
                              "argmax": config.position_width, "argmin": config.position_width})


def key_of(code):
    """Unsigned integer that orders as the value of a sanitised code."""
    return Cat(code[:-1] ^ code[-1].replicate(len(code) - 1), ~code[-1])


def code_of(key):
    """Inverse of :func:`key_of`."""
    return Cat(key[:-1] ^ (~key[-1]).replicate(len(key) - 1), ~key[-1])


class StatisticsLane(wiring.Component):
    """Sum, maximum and minimum of the sample of one channel.

    Takes an element in every cycle with ``i_valid`` high and never stalls. ``i_chunk_end`` copies the extrema of the
    chunk, that element included, to a snapshot; ``i_sample_end`` the sum. The snapshots of all lanes form two shift
    chains that the shared units read from lane 0, so the next tile may start on the next beat. The chain of the extrema
    moves in every cycle; that of the sums on request.

    Latency: a snapshot can be read 2 cycles after ``i_chunk_end`` or ``i_sample_end``.

    Members
    -------
    i_valid : an element of the sample is present
    i_code : its sanitised code
    i_position : its position in the chunk
    i_first : it is the first of its tile
    i_chunk_first, i_chunk_end, i_sample_end : it is the first or last of its chunk, the last of the sample
    i_sum_shift : move the chain of sums on by one lane
    i_sum_chain, i_extrema_chain : snapshots of the next lane
    o_sum, o_extrema : snapshots of this lane
    """

    def __init__(self, config):
        self.config = config
        self.shape = AccumulatorShape(config)
        super().__init__({
            "i_valid": In(1), "i_code": In(config.x_format.width), "i_position": In(config.position_width),
            "i_first": In(1), "i_chunk_first": In(1), "i_chunk_end": In(1), "i_sample_end": In(1),
            "i_sum_shift": In(1),
            "i_sum_chain": In(sum_layout(config)), "i_extrema_chain": In(extrema_layout(config)),
            "o_sum": Out(sum_layout(config)), "o_extrema": Out(extrema_layout(config))})

    def elaborate(self, platform):
        m = Module()
        self._extrema(m)
        self._sum(m)
        return m

    def _extrema(self, m):
        best = Signal(extrema_layout(self.config), reset_less=True)
        snapshot = Signal(extrema_layout(self.config), reset_less=True)
        chunk_end = Signal()
        key = comb(m, key_of(self.i_code), "key")
        for extremum, position, beats in (("max", "argmax", key > best.max), ("min", "argmin", key < best.min)):
            # A strict comparison: of equal elements the first wins.
            with m.If(self.i_valid & (self.i_chunk_first | beats)):
                m.d.sync += [best[extremum].eq(key), best[position].eq(self.i_position)]
        m.d.sync += [chunk_end.eq(self.i_chunk_end), snapshot.eq(Mux(chunk_end, best, self.i_extrema_chain))]
        m.d.comb += self.o_extrema.eq(snapshot)

    def _sum(self, m):
        shape, fmt = self.shape, self.config.x_format
        field = self.i_code[fmt.fraction_width:-1]
        hidden = field.any()
        exponent = comb(m, Cat(field[0] | ~hidden, field[1:]), "exponent")
        anchor = Signal(shape.anchor_width, reset_less=True)
        term_anchor = exponent[shape.q_log2:]

        # Stage 1: the new anchor, and how far term or sum are below it; the term in units of its own anchor. Without an
        # element the term is 0, so that the sum stays as it is.
        rise = comb(m, term_anchor - anchor, "rise")
        raises = comb(m, self.i_first | ~rise[-1], "raises")
        distance = Mux(rise[-1], -rise, rise)[:shape.anchor_width]
        keep, negative, raised, end = (Signal(name=f"s1_{name}") for name in ("keep", "negative", "raised", "end"))
        term = Signal(fmt.significand_width + (1 << shape.q_log2) - 1, reset_less=True)
        drop = Signal(shape.drop_width, reset_less=True)
        significand = Cat(self.i_code[:fmt.fraction_width], hidden) & self.i_valid.replicate(fmt.significand_width)
        m.d.sync += [
            term.eq(significand << exponent[:shape.q_log2]), negative.eq(self.i_code[-1]), end.eq(self.i_sample_end),
            raised.eq(raises), keep.eq(~(self.i_valid & self.i_first)),
            drop.eq(Mux(self.i_valid, shape.clamped(m, distance), 0))]
        with m.If(self.i_valid & raises):
            m.d.sync += anchor.eq(term_anchor)

        # Stage 2: one of sum and term moves down to the common anchor, then they add.
        acc = Signal(signed(shape.width), reset_less=True)
        acc_drop = Mux(raised, drop, 0)
        term_drop = Mux(raised, 0, drop)
        aligned = shape.drop(m, Cat(Const(0, shape.guard), term), term_drop, "term")
        held = shape.drop(m, acc, acc_drop, "acc").as_unsigned() & keep.replicate(shape.width)
        inverted = comb(m, Cat(aligned, Const(0, shape.width - len(aligned))) ^ negative.replicate(shape.width),
                        "inverted")
        total = comb(m, sum_with_carry(held, inverted, negative)[:shape.width], "total")
        m.d.sync += acc.eq(total)
        self._snapshot(m, end, total, anchor)

    def _snapshot(self, m, end, total, anchor):
        snapshot = Signal(sum_layout(self.config), reset_less=True)
        with m.If(self.i_sum_shift):
            m.d.sync += snapshot.eq(self.i_sum_chain)
        with m.If(end):
            m.d.sync += [snapshot.acc.eq(total), snapshot.anchor.eq(anchor)]
        m.d.comb += self.o_sum.eq(snapshot)
