"""Gradient constants: the backward steps of the scalar unit, from the sums of a tile to its addends, dgamma and dbeta.

The arithmetic is that of docs/arithmetic.md, "Backward constants, per channel"; the steps are those of
:class:`~bnforge.schedule.BackwardSchedule`.
"""

from amaranth.hdl import Mux, Signal

from .arith import Unpacked, add, comb, decode, multiply
from .formats import FP32, WORKING
from .ranges import SUM_WIDTH
from .rounding import round_to
from .schedule import BackwardSchedule
from .totals import TOTAL_WIDTH

__all__ = ["BackwardSteps"]

_SMALLEST_SCALE = -6
"""gamma' is at least 2^-6."""


class BackwardSteps:
    """The steps of a backward run, in the order of the data. ``unit`` is the scalar unit whose ports they use.

    Attributes
    ----------
    saturated : list of strobes
    stores : (step, port) of each constant that goes to the lanes
    """

    def __init__(self, m, unit, operators, run, tile, frozen):
        self.unit, self.config, self.operators, self.run, self.tile = unit, unit.config, operators, run, tile
        self.saturated = []
        self._addresses(m)
        centre = self._centre(m)
        scale = self._scale(m, centre)
        g = self._sum(m)
        difference = self._difference(m, centre, g)
        self._dgamma(m, difference, scale)
        t = self._range_term(m, difference)
        self._addends(m, self._mean_term(m, g), t, frozen)

    def _enabled(self, lane):
        return self.tile.mask.bit_select(lane, 1)

    def _kept(self, m, value, step, name):
        """``value`` in a register that holds it for the three cycles after ``step``."""
        parts = []
        for field in ("sign", "exponent", "sig"):
            part = getattr(value, field)
            shape = self.operators.exponent if field == "exponent" else part.shape()
            register = Signal(shape, name=f"{name}_{field}", reset_less=True)
            with m.If(self.run.in_phase(step)):
                m.d.sync += register.eq(part - value.bias if field == "exponent" else part)
            parts.append(register)
        return Unpacked(*parts)

    def _addresses(self, m):
        """What is read a cycle before it is used; a and b are read by the scalar unit itself."""
        unit, run = self.unit, self.run
        m.d.comb += [
            unit.o_mean_lane.eq(run.lane_at(BackwardSchedule.READ, "mean_read")),
            unit.o_rinv_lane.eq(run.lane_at(BackwardSchedule.TIMES_RINV - 1, "rinv_read")),
            unit.o_total_product.eq(run.in_phase(BackwardSchedule.READ_PRODUCT)),
            unit.o_total_lane.eq(Mux(unit.o_total_product, run.lane_at(BackwardSchedule.READ_PRODUCT, "product_read"),
                                     run.lane_at(BackwardSchedule.READ_G, "g_read")))]

    def _centre(self, m):
        """beta' = b + mu · a."""
        unit, run, operators = self.unit, self.run, self.operators
        operators.scale(run, BackwardSchedule.CENTRE_PRODUCT, decode(m, WORKING, unit.i_mean, name="sent_mu"),
                        unit.i_gamma_as_a)
        operators.add(run, BackwardSchedule.CENTRE_SUM, operators.scaled,
                      decode(m, WORKING, unit.i_beta, name="sent_b"))
        total = operators.total.normalised(m, "centre").truncated(SUM_WIDTH)
        return self._kept(m, total, BackwardSchedule.CENTRE, "centre")

    def _scale(self, m, centre):
        """gamma' = a · C · (R + eps), floored; with it whether a is zero."""
        unit, run, operators = self.unit, self.run, self.operators
        operators.add_eps(run, BackwardSchedule.DENOMINATOR, unit.i_range_sent)
        denominator = operators.denominator.truncated(SUM_WIDTH).registered(m, "spread")
        c = decode(m, WORKING, self.tile.c, name="sent_c")
        self._second = {BackwardSchedule.TIMES_C: (denominator, c.extended(SUM_WIDTH).unbiased(m, "sent_c"))}
        self._product = self._second_product(m, centre)
        operators.scale(run, BackwardSchedule.SCALE_PRODUCT, self._product.truncated(SUM_WIDTH), unit.i_gamma_as_a)
        a_is_zero = Signal(reset_less=True)
        m.d.sync += a_is_zero.eq(~unit.i_gamma_as_a[:-1].any())

        raw = operators.scaled.truncated(SUM_WIDTH)
        lowest = comb(m, centre.exponent - (self.config.storage.fraction_width + 1), "centre_floor")
        centre_leads = comb(m, ~centre.is_zero & (lowest >= _SMALLEST_SCALE), "centre_leads")
        below_least = raw.is_zero | (raw.exponent < _SMALLEST_SCALE)
        below_centre = (raw.exponent < lowest) | ((raw.exponent == lowest) & (raw.sig < centre.sig))
        below = comb(m, below_least | (centre_leads & below_centre), "scale_below")
        floored = Unpacked(
            raw.sign,
            Mux(below, Mux(centre_leads, lowest, _SMALLEST_SCALE), raw.exponent),
            Mux(below, Mux(centre_leads, centre.sig, 1 << (SUM_WIDTH - 1)), raw.sig))
        zero = Signal(name="scale_is_zero", reset_less=True)
        with m.If(run.in_phase(BackwardSchedule.SCALE)):
            m.d.sync += zero.eq(a_is_zero)
        return self._kept(m, floored, BackwardSchedule.SCALE, "scale_kept"), zero

    def _second_product(self, m, centre):
        """The second multiplier: C · (R + eps), and beta' · Sg."""
        g = self._total().truncated(SUM_WIDTH)
        self._second[BackwardSchedule.TIMES_CENTRE] = (centre, g)
        shape = self.operators.exponent
        factors = [Unpacked(Signal(name=f"second{i}_sign"), Signal(shape, name=f"second{i}_exponent"),
                            Signal(SUM_WIDTH, name=f"second{i}_sig")) for i in range(2)]
        self.unit.sequencer.choose([
            (self.run, step, [assignment for factor, operand in zip(factors, pair) for assignment in (
                factor.sign.eq(operand.sign), factor.exponent.eq(operand.exponent), factor.sig.eq(operand.sig))])
            for step, pair in self._second.items()])
        product = multiply(*factors)
        exponent = comb(m, product.exponent - product.bias, "second_exponent", shape)
        return Unpacked(product.sign, exponent, product.sig).registered(m, "second").normalised(m, "second", limit=1)

    def _total(self):
        total = self.unit.i_total
        return Unpacked(total.sign, total.exponent, total.sig)

    def _sum(self, m):
        """Sg, kept, and dbeta."""
        unit, run = self.unit, self.run
        g = self._kept(m, self._total().truncated(SUM_WIDTH), BackwardSchedule.TIMES_CENTRE, "g")
        code, over = round_to(m, FP32, g, name="dbeta")
        register = Signal(FP32.width, name="dbeta", reset_less=True)
        m.d.sync += register.eq(code)
        at_round, lane = run.at(BackwardSchedule.ROUND_DBETA, "round_dbeta")
        self.saturated.append(at_round & over & self._enabled(lane))
        at_store, lane = run.at(BackwardSchedule.STORE_DBETA, "store_dbeta")
        m.d.comb += [unit.o_dbeta.valid.eq(at_store), unit.o_dbeta.lane.eq(lane), unit.o_dbeta.code.eq(register)]
        return g

    def _difference(self, m, centre, g):
        """P = Sgy - beta' · Sg."""
        raw = add(m, self._total(), self._product.truncated(TOTAL_WIDTH).negated(), SUM_WIDTH,
                  name="difference").registered(m, "difference")
        value = raw.normalised(m, "difference").truncated(SUM_WIDTH)
        return self._kept(m, value, BackwardSchedule.NORMALISE, "difference_kept")

    def _dgamma(self, m, difference, scale):
        """P / gamma'."""
        unit, run = self.unit, self.run
        at_divide, _ = run.at(BackwardSchedule.OVER_SCALE, "over_scale")
        self.operators.divide(at_divide, difference, *scale)
        at_round, lane = run.at(BackwardSchedule.ROUND_DGAMMA, "round_dgamma")
        self.saturated.append(at_round & self.operators.quotient_saturated & ~self.operators.quotient_zero &
                              self._enabled(lane))
        at_store, lane = run.at(BackwardSchedule.STORE_DGAMMA, "store_dgamma")
        m.d.comb += [unit.o_dgamma.valid.eq(at_store), unit.o_dgamma.lane.eq(lane),
                     unit.o_dgamma.code.eq(unit.quotient)]

    def _range_term(self, m, difference):
        """t = -P · Rinv · invK, in the cycle PLUS."""
        unit, run, operators = self.unit, self.run, self.operators
        operators.multiply(run, BackwardSchedule.TIMES_RINV, difference, unit.i_rinv)
        operators.multiply(run, BackwardSchedule.TIMES_INV_CHUNKS, operators.product.truncated(SUM_WIDTH),
                           unit.inv_chunks)
        return operators.product.truncated(SUM_WIDTH).negated()

    def _mean_term(self, m, g):
        """-c = -a · Sg · invS, from the cycle PLUS on."""
        unit, run, operators = self.unit, self.run, self.operators
        operators.multiply(run, BackwardSchedule.TIMES_G, g, unit.inv_sample)
        operators.scale(run, BackwardSchedule.MEAN_PRODUCT, operators.product.truncated(SUM_WIDTH), unit.i_gamma_as_a)
        return self._kept(m, operators.scaled.truncated(SUM_WIDTH).negated(), BackwardSchedule.MEAN, "mean_term")

    def _addends(self, m, mean, t, frozen):
        """base = Q_b(-c), plus = Q_b(-c + t), minus = Q_b(-c - t)."""
        unit, run, operators = self.unit, self.run, self.operators
        kept = self._kept(m, t, BackwardSchedule.PLUS, "range_term")
        operators.add(run, BackwardSchedule.PLUS, mean, t)
        operators.add(run, BackwardSchedule.MINUS, mean, kept.negated())
        total = operators.total.normalised(m, "correction")
        for name, step, store, value, output in (
                ("plus", BackwardSchedule.ROUND_PLUS, BackwardSchedule.STORE_PLUS, total,
                 (unit.o_plus_shift, unit.o_plus)),
                ("base", BackwardSchedule.ROUND_BASE, BackwardSchedule.STORE_BASE, mean, None),
                ("minus", BackwardSchedule.ROUND_MINUS, BackwardSchedule.STORE_MINUS, total,
                 (unit.o_minus_shift, unit.o_minus))):
            operators.round(run, step, value)
            at_round, lane = run.at(step, f"round_{name}")
            self.saturated.append(at_round & operators.saturated & self._enabled(lane) & ~frozen)
            at_store, lane = run.at(store, f"store_{name}")
            code = comb(m, Mux(self._enabled(lane), operators.rounded, 0), f"{name}_code")
            at_store = comb(m, at_store & ~frozen, f"{name}_stores")
            if output is None:
                self.base_valid, self.base = at_store, code
            else:
                m.d.comb += [output[0].eq(at_store), output[1].eq(code)]
