"""Constant extraction: the forward steps of the scalar unit, from the statistics of a tile to a and b of every lane.

The arithmetic is that of docs/arithmetic.md, "Constants, per channel"; the steps are those of
:class:`~bnforge.schedule.ForwardSchedule`.
"""

from amaranth.hdl import Cat, Const, Mux, Signal
from amaranth.lib import memory

from .accumulator import element_sum
from .arith import Unpacked, comb, decode
from .divider import Divider
from .formats import WORKING
from .ranges import SUM_WIDTH
from .rounding import round_a, round_to
from .schedule import ForwardSchedule
from .streams import lane_width

__all__ = ["SampleSteps", "ForwardSteps", "narrowed_product"]


class SampleSteps:
    """The first steps of a forward run: mu, R and Rinv. ``unit`` is the scalar unit whose ports they use.

    Attributes
    ----------
    narrow, over : as of :func:`narrowed_product`
    saturated : list of strobes
    """

    def __init__(self, m, unit, operators, run, tile):
        self.unit, self.config, self.operators, self.run, self.tile = unit, unit.config, operators, run, tile
        self.saturated = []
        self._mean_and_range(m)
        self._reciprocal(m)

    def _enabled(self, lane):
        return self.tile.mask.bit_select(lane, 1)

    def _mean_and_range(self, m):
        """mu, then R one cycle later, as working-format codes in one register."""
        unit, run, shape = self.unit, self.run, element_sum(self.config)
        at_magnitude, magnitude_lane = run.at(ForwardSchedule.MAGNITUDE, "magnitude")
        m.d.sync += unit.o_sum_shift.eq(at_magnitude)
        m.d.comb += [unit.o_sum_free.eq(at_magnitude & (magnitude_lane == self.config.lanes - 1)),
                     unit.o_range_lane.eq(run.lane_at(ForwardSchedule.TIMES_RANGE - 1, "range_read"))]
        acc = unit.i_sum.acc
        magnitude = Signal(shape.width, reset_less=True)
        sign = Signal(reset_less=True)
        anchor = Signal(shape.anchor_width, reset_less=True)
        m.d.sync += [magnitude.eq(Mux(acc[-1], -acc, acc)), sign.eq(acc[-1]), anchor.eq(unit.i_sum.anchor)]

        top = shape.top_exponent(anchor) + WORKING.bias
        value = Unpacked(sign, top, magnitude, WORKING.bias).normalised_late(m, "sum", self.operators.exponent)
        total = value.with_sig(Cat(Const(0, SUM_WIDTH), value.sig)[-SUM_WIDTH:]).registered(m, "sum")
        ranges = Unpacked(Const(0, 1), unit.i_range.exponent, unit.i_range.sig)
        self.operators.multiply(run, ForwardSchedule.TIMES_SUM, total, unit.inv_sample)
        self.operators.multiply(run, ForwardSchedule.TIMES_RANGE, ranges, unit.inv_chunks)

        self.narrow, self.over = narrow, over = narrowed_product(m, self.operators)
        at_mu, mu_lane = run.at(ForwardSchedule.ROUND_MU, "round_mu")
        at_r, r_lane = run.at(ForwardSchedule.ROUND_R, "round_r")
        self.saturated.append(over & ((at_mu & self._enabled(mu_lane)) | (at_r & self._enabled(r_lane))))
        for output, step, name in ((unit.o_mu, ForwardSchedule.ROUND_MU + 1, "mu"),
                                   (unit.o_r, ForwardSchedule.ROUND_R + 1, "r")):
            valid, lane = run.at(step, f"{name}_write")
            m.d.comb += [output.valid.eq(valid), output.lane.eq(lane), output.code.eq(narrow)]

    def _reciprocal(self, m):
        """Rinv = 1/(R + eps)."""
        unit, run, operators = self.unit, self.run, self.operators
        operators.add_eps(run, ForwardSchedule.DENOMINATOR, self.narrow)
        operators.divide(run.at(ForwardSchedule.DIVIDE - 1, "denominator")[0], None, operators.denominator,
                         operators.r_is_zero)
        valid, lane = run.at(ForwardSchedule.ROUND_RINV + 1, "rinv_write")
        m.d.comb += [unit.o_rinv.valid.eq(valid), unit.o_rinv.lane.eq(lane), unit.o_rinv.code.eq(unit.quotient)]


def narrowed_product(m, operators):
    """The product, rounded to a working-format code, two cycles later; whether the rounding saturates, one cycle
    later."""
    product = operators.product.stuck(WORKING.significand_width + 2).registered(m, "mean")
    code, over = round_to(m, WORKING, product, name="mean")
    narrow = Signal(WORKING.width, name="narrow", reset_less=True)
    m.d.sync += narrow.eq(code)
    return narrow, over


class ForwardSteps(SampleSteps):
    """The steps of a forward run, in the order of the data.

    Attributes
    ----------
    a, b : codes, in the cycles ``TIMES_A`` and ``STORE_B``
    """

    def __init__(self, m, unit, operators, run, tile):
        super().__init__(m, unit, operators, run, tile)
        self.a = self._scale(m)
        self.b = self._shift(m)

    def _scale(self, m):
        """a = Q_a(gamma · Rinv / C); the register holds it for three cycles."""
        config, product = self.config, self.operators.product
        gamma = decode(m, WORKING, self.unit.i_gamma, name="gamma").extended(SUM_WIDTH)
        self.operators.multiply(self.run, ForwardSchedule.TIMES_GAMMA, gamma, self.unit.quotient)
        c = decode(m, WORKING, self.tile.c, name="c")
        c_width = WORKING.significand_width
        quotient_exponent = comb(m, product.exponent - c.exponent + (c.bias - 1), "over_c_exponent",
                                 self.operators.exponent)
        m.submodules.over_c = divider = Divider(
            c_width, low_width=c_width, min_bits=config.a_fraction + 3, tag_width=1 + len(quotient_exponent),
            constant_divisor=True)
        top = product.truncated(2 * c_width).sig
        at_divide, _ = self.run.at(ForwardSchedule.OVER_C, "over_c")
        m.d.comb += [divider.i_valid.eq(at_divide), divider.i_dividend.eq(top[c_width:]),
                     divider.i_low.eq(top[:c_width]), divider.i_divisor.eq(c.sig),
                     divider.i_tag.eq(Cat(product.sign, quotient_exponent))]
        exponent = Signal(quotient_exponent.shape(), name="a_exponent")
        m.d.comb += exponent.eq(divider.o_tag[1:])
        digits = Cat(divider.o_inexact, divider.o_quotient)
        quotient = Unpacked(divider.o_tag[0], exponent, digits, product.bias - 1)
        quotient = quotient.normalised(m, "over_c", limit=1, shape=self.operators.exponent).registered(m, "over_c")
        code, over = round_a(m, config, quotient, name="a")
        at_round, lane = self.run.at(ForwardSchedule.ROUND_A, "round_a")
        a = Signal(config.a_format.width, reset_less=True)
        m.d.sync += a.eq(code & self._enabled(lane).replicate(len(a)))
        self.saturated.append(at_round & over & self._enabled(lane))
        return a

    def _shift(self, m):
        """b = Q_b(beta - mu · a)."""
        unit, run, operators = self.unit, self.run, self.operators
        m.submodules.mu = mem = memory.Memory(shape=WORKING.width, depth=1 << lane_width(self.config), init=[])
        write, read = mem.write_port(), mem.read_port()
        m.d.comb += [write.en.eq(unit.o_mu.valid), write.addr.eq(unit.o_mu.lane), write.data.eq(unit.o_mu.code),
                     read.addr.eq(run.lane_at(ForwardSchedule.TIMES_A - 1, "mu_read"))]
        operators.scale(run, ForwardSchedule.TIMES_A, decode(m, WORKING, read.data, name="mu"), self.a)
        operators.add(run, ForwardSchedule.SUBTRACT, operators.scaled.negated(),
                      decode(m, WORKING, unit.i_beta, name="beta"))
        operators.round(run, ForwardSchedule.ROUND_B, operators.to_round)
        at_round, lane = run.at(ForwardSchedule.ROUND_B + 1, "round_b")
        self.saturated.append(at_round & operators.saturated & self._enabled(lane))
        at_b, b_lane = run.at(ForwardSchedule.STORE_B, "store_b")
        self.at_b, self.b_lane = at_b, b_lane
        return Mux(self._enabled(b_lane), operators.rounded, 0)
