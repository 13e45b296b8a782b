"""Totals of a backward tile: adds up the block sums of all lanes, in one shared pipeline.

docs/arithmetic.md, "Sums of the gradient".
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .accumulator import element_sum, product_sum
from .arith import Unpacked, add_ordered, comb, exponent_shape, order
from .ranges import SUM_WIDTH
from .recovery import RecoveryLane
from .streams import lane_width

__all__ = ["TotalsUnit", "TOTAL_WIDTH", "total_layout"]

TOTAL_WIDTH = 32
"""Significant bits of a running total."""
_GROWTH = 25
"""Bits by which a total may exceed every block sum: 2^32 beats."""


def total_layout(config):
    """A running total, normalised."""
    low, high = zip(element_sum(config).exponents, product_sum(config).exponents)
    return data.StructLayout({"sig": TOTAL_WIDTH, "sign": 1,
                              "exponent": exponent_shape(min(low), max(high) + _GROWTH)})


class TotalsUnit(wiring.Component):
    """Σg and Σg·y of each lane over the blocks of a tile.

    After ``i_block_end`` it takes one lane every two cycles from the two snapshot chains: Σg, then Σg·y.

    Latency: the totals of lane i can be read, as addressed, from cycle ``latency + 2 · i`` after ``i_block_end`` on.

    Members
    -------
    i_block_end : strobe, a block ends; with it ``i_first``, the block is the first of its tile, and ``i_parity``, the
        number of the tile modulo 2
    i_sum, i_product : snapshots of lane 0
    o_shift : moves both chains on
    o_free : strobe, the snapshots have been read
    i_read_parity, i_read_lane, i_read_product : what to read
    o_total : one cycle later
    """

    latency = RecoveryLane.latency + 9

    @staticmethod
    def busy(config):
        """Cycles from ``i_block_end`` to ``o_free``, and the next ``i_block_end``."""
        return RecoveryLane.latency + 2 * config.lanes

    def __init__(self, config):
        self.config = config
        self.sum_shape, self.product_shape = element_sum(config), product_sum(config)
        super().__init__({
            "i_block_end": In(1), "i_first": In(1), "i_parity": In(1),
            "i_sum": In(self.sum_shape.layout), "i_product": In(self.product_shape.layout),
            "o_shift": Out(1), "o_free": Out(1),
            "i_read_parity": In(1), "i_read_lane": In(lane_width(config)), "i_read_product": In(1),
            "o_total": Out(total_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config, layout = self.config, total_layout(self.config)
        # The block's number of waiting cycles, then lane and sum in turn.
        wait = Signal(range(RecoveryLane.latency))
        reading = Signal()
        lane = Signal(lane_width(config))
        is_product = Signal()
        first = Signal()
        parity = Signal()
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(wait == 1):
            m.d.sync += reading.eq(1)
        with m.If(reading):
            m.d.sync += is_product.eq(~is_product)
        with m.If(self.o_shift):
            m.d.sync += lane.eq(lane + 1)
        m.d.comb += [self.o_shift.eq(reading & is_product), self.o_free.eq(self.o_shift & (lane == config.lanes - 1))]
        with m.If(self.o_free):
            m.d.sync += [reading.eq(0), lane.eq(0)]
        with m.If(self.i_block_end):
            m.d.sync += [wait.eq(RecoveryLane.latency - 1), first.eq(self.i_first), parity.eq(self.i_parity)]

        where = Cat(is_product, lane, parity)
        valid, addresses, firsts = [reading], [where], [first]
        for stage in range(1, 8):
            for line, name in ((valid, "valid"), (addresses, "address"), (firsts, "first")):
                line.append(Signal(len(line[-1]), name=f"s{stage}_{name}", reset_less=name != "valid"))
                m.d.sync += line[-1].eq(line[-2])

        # Stage 1: the magnitude of the block's sum.
        width = max(self.sum_shape.width, self.product_shape.width)
        sign = Signal(reset_less=True)
        magnitude = Signal(width, reset_less=True)
        top = Signal(layout["exponent"].shape, name="s1_exponent", reset_less=True)  # of the top bit
        for select, shape, total in ((~is_product, self.sum_shape, self.i_sum),
                                     (is_product, self.product_shape, self.i_product)):
            with m.If(select):
                size = Mux(total.acc[-1], -total.acc, total.acc)[:shape.width]
                m.d.sync += [sign.eq(total.acc[-1]), magnitude.eq(Cat(Const(0, width - shape.width), size)),
                             top.eq(shape.top_exponent(total.anchor))]

        # Stages 2 and 3: normalised and truncated; the total so far is being read.
        value = Unpacked(sign, top, magnitude).normalised_late(m, "block")
        block = value.truncated(SUM_WIDTH).registered(m, "s3")

        # Stages 4 to 6: added, exactly but for a sticky bit.
        m.submodules.running = mem = memory.Memory(shape=layout, depth=4 << lane_width(config), init=[])
        write, own, other = mem.write_port(), mem.read_port(), mem.read_port()
        m.d.comb += own.addr.eq(addresses[2])
        # All of it is cleared in a tile's first block: a memory holds anything at first, and simulators ask.
        cleared = comb(m, own.data.as_value() & (~firsts[3]).replicate(len(own.data.as_value())), "cleared")
        so_far = layout(cleared)
        so_far = Unpacked(so_far.sign, so_far.exponent, so_far.sig)
        operands = order(m, so_far, block, TOTAL_WIDTH, name="total").registered(m, "s4")
        total = add_ordered(m, operands, name="total", late=True).registered(m, "s6")

        # Stages 7 and 8: normalised, truncated and written back.
        total = total.normalised_late(m, "total").truncated(TOTAL_WIDTH).unbiased(m, "total")
        m.d.comb += [
            write.en.eq(valid[7]), write.addr.eq(addresses[7]), write.data.sig.eq(total.sig),
            write.data.sign.eq(total.sign), write.data.exponent.eq(total.exponent),
            other.addr.eq(Cat(self.i_read_product, self.i_read_lane, self.i_read_parity)),
            self.o_total.eq(other.data)]
        return m
