"""Gradient constants: the backward steps of the scalar unit, from the sums of a tile to its addends, dgamma and dbeta.

The arithmetic is that of docs/arithmetic.md, "Backward constants, per channel"; the steps are those of
:class:`~bnforge.schedule.BackwardSchedule`.
"""

from amaranth.hdl import Cat, Mux, Signal, Value
from amaranth.lib import data, memory

from .arith import Unpacked, add_ordered, comb, decode, order, registered
from .formats import FP32, WORKING
from .ranges import SUM_WIDTH
from .rounding import round_to
from .schedule import BackwardSchedule
from .totals import TOTAL_WIDTH

__all__ = ["BackwardSteps"]

_SMALLEST_SCALE = WORKING.bias - 6
"""Exponent of the least gamma', 2^-6."""
_SCALES = 4
"""Places for gamma' between floor and division."""


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

    def _kept(self, m, value, step, name, bias=WORKING.bias):
        """``value`` in a register that holds it for the three cycles after ``step``."""
        value = value.rebiased(m, bias, name, self.operators.exponent)
        parts = [Signal.like(Value.cast(getattr(value, field)), name=f"{name}_{field}", reset_less=True, init=0)
                 for field in ("sign", "exponent", "sig")]
        with m.If(self.run.in_phase(step)):
            m.d.sync += [register.eq(getattr(value, field)) for register, field in
                         zip(parts, ("sign", "exponent", "sig"))]
        return Unpacked(*parts, value.bias)

    def _addresses(self, m):
        """What is read a cycle before it is used; a and b are read by the scalar unit itself."""
        unit, run = self.unit, self.run
        m.d.comb += [
            unit.o_mean_lane.eq(run.lane_at(BackwardSchedule.READ, "mean_read")),
            unit.o_rinv_lane.eq(run.lane_at(BackwardSchedule.TIMES_RINV - 1, "rinv_read"))]
        self._total_addresses(m)

    def _total_addresses(self, m):
        """In registers, because the memory of the totals answers late: chosen a cycle before."""
        unit, run = self.unit, self.run
        product, g, again = (step - 1 for step in (
            BackwardSchedule.READ_PRODUCT, BackwardSchedule.READ_G, BackwardSchedule.TIMES_G - 1))
        m.d.sync += [
            unit.o_total_product.eq(run.in_phase(product)),
            unit.o_total_lane.eq(Mux(
                run.in_phase(product), run.lane_at(product, "product_read"),
                Mux(run.in_phase(g), run.lane_at(g, "g_read"), run.lane_at(again, "g_again"))))]

    def _centre(self, m):
        """beta' = b + mu · a."""
        unit, run, operators = self.unit, self.run, self.operators
        operators.scale(run, BackwardSchedule.CENTRE_PRODUCT, decode(m, WORKING, unit.i_mean, name="sent_mu"),
                        unit.i_gamma_as_a)
        operators.add(run, BackwardSchedule.CENTRE_SUM, operators.scaled,
                      decode(m, WORKING, unit.i_beta, name="sent_b"))
        return self._kept(m, operators.normal.truncated(SUM_WIDTH), BackwardSchedule.CENTRE, "centre")

    def _scale(self, m, centre):
        """gamma' = a · C · (R + eps), floored; with it whether a is zero."""
        unit, run, operators = self.unit, self.run, self.operators
        operators.add_eps(run, BackwardSchedule.DENOMINATOR, unit.i_range_sent)
        c = decode(m, WORKING, self.tile.c, name="sent_c").extended(SUM_WIDTH)
        self._second = {BackwardSchedule.TIMES_C: (operators.denominator.truncated(SUM_WIDTH), c)}
        self._product = self._second_product(m, centre)
        operators.scale(run, BackwardSchedule.SCALE_PRODUCT,
                        self._product.truncated(SUM_WIDTH), unit.i_gamma_as_a)
        is_zero = ~unit.i_gamma_as_a[:-1].any()
        for cycle in range(BackwardSchedule.SCALE - BackwardSchedule.SCALE_PRODUCT):
            is_zero = registered(m, is_zero, f"a_is_zero{cycle}")
        return self._floored(m, operators.scaled.truncated(SUM_WIDTH).registered(m, "raw_scale"), centre, is_zero)

    def _floored(self, m, raw, centre, is_zero):
        """gamma' from its value in the cycle SCALE, and whether it counts as zero; both are kept."""
        run = self.run
        lowest = comb(m, centre.exponent - (self.config.storage.fraction_width + 1), "centre_floor")
        lowest_exponent = comb(m, lowest, "lowest_exponent", self.operators.exponent)
        centre_leads = comb(m, ~centre.is_zero & (lowest >= _SMALLEST_SCALE), "centre_leads")
        below_least = raw.is_zero | (raw.exponent < _SMALLEST_SCALE)
        below_centre = Cat(raw.sig, raw.exponent).as_signed() < Cat(centre.sig, lowest_exponent).as_signed()
        below = comb(m, below_least | (centre_leads & below_centre), "scale_below")
        floored = Unpacked(
            raw.sign,
            Mux(below, Mux(centre_leads, lowest, _SMALLEST_SCALE), raw.exponent),
            Mux(below, Mux(centre_leads, centre.sig, 1 << (SUM_WIDTH - 1)), raw.sig), raw.bias)
        zero = Signal(name="scale_is_zero", reset_less=True)
        with m.If(run.in_phase(BackwardSchedule.SCALE)):
            m.d.sync += zero.eq(is_zero)
        return self._kept(m, floored, BackwardSchedule.SCALE, "scale_kept"), zero

    def _second_product(self, m, centre):
        """The second multiplier: C · (R + eps), and beta' · Sg."""
        self._second[BackwardSchedule.TIMES_CENTRE] = (centre, self._total().truncated(SUM_WIDTH))
        shape = self.operators.exponent
        factors = [Unpacked(Signal(name=f"second{i}_sign"), Signal(shape, name=f"second{i}_exponent"),
                            Signal(SUM_WIDTH, name=f"second{i}_sig"), WORKING.bias) for i in range(2)]
        self.unit.sequencer.choose([
            (self.run, step, [assignment for factor, operand in zip(factors, pair) for assignment in (
                factor.sign.eq(operand.sign), factor.exponent.eq(operand.exponent + (WORKING.bias - operand.bias)),
                factor.sig.eq(operand.sig))])
            for step, pair in self._second.items()])
        factors = [factor.registered(m, f"second{i}") for i, factor in enumerate(factors)]
        return self.operators.multiplied(*factors, "second", late=True)

    def _total(self):
        total = self.unit.i_total
        return Unpacked(total.sign, total.exponent, total.sig)

    def _sum(self, m):
        """dbeta; returns Sg, in the cycle TIMES_G."""
        unit, run = self.unit, self.run
        g = self._kept(m, self._total().truncated(SUM_WIDTH), BackwardSchedule.TIMES_CENTRE, "g")
        code, over = round_to(m, FP32, g, name="dbeta")
        register = Signal(FP32.width, name="dbeta", reset_less=True)
        m.d.sync += register.eq(code)
        at_round, lane = run.at(BackwardSchedule.ROUND_DBETA, "round_dbeta")
        self.saturated.append(at_round & over & self._enabled(lane))
        at_store, lane = run.at(BackwardSchedule.STORE_DBETA, "store_dbeta")
        m.d.comb += [unit.o_dbeta.valid.eq(at_store), unit.o_dbeta.lane.eq(lane), unit.o_dbeta.code.eq(register)]
        return self._total().truncated(SUM_WIDTH)

    def _difference(self, m, centre, g):
        """P = Sgy - beta' · Sg."""
        product = self._kept(m, self._product.truncated(TOTAL_WIDTH), BackwardSchedule.CENTRE_TIMES_G, "centre_times_g",
                             bias=self._total().bias)
        operands = order(m, self._total(), product.negated(), SUM_WIDTH, name="difference")
        operands = operands.registered(m, "difference_operands")
        raw = add_ordered(m, operands, name="difference", late=True)
        raw = raw.rebiased(m, WORKING.bias, "difference", self.operators.exponent).registered(m, "difference")
        value = raw.normalised_late(m, "difference", self.operators.exponent).truncated(SUM_WIDTH)
        return self._kept(m, value, BackwardSchedule.NORMALISE, "difference_kept")

    def _dgamma(self, m, difference, scale):
        """P / gamma'."""
        unit, run = self.unit, self.run
        at_divide, _ = run.at(BackwardSchedule.OVER_SCALE - 1, "over_scale")
        self.operators.divide(at_divide, difference, *self._waiting(m, *scale))
        at_round, lane = run.at(BackwardSchedule.ROUND_DGAMMA, "round_dgamma")
        self.saturated.append(at_round & self.operators.quotient_saturated & ~self.operators.quotient_zero &
                              self._enabled(lane))
        at_store, lane = run.at(BackwardSchedule.STORE_DGAMMA, "store_dgamma")
        m.d.comb += [unit.o_dgamma.valid.eq(at_store), unit.o_dgamma.lane.eq(lane),
                     unit.o_dgamma.code.eq(unit.quotient)]

    def _waiting(self, m, scale, is_zero):
        """gamma' and whether it counts as zero, in the cycle OVER_SCALE."""
        run, shape = self.run, self.operators.exponent
        layout = data.StructLayout({"sign": 1, "exponent": shape, "sig": SUM_WIDTH, "is_zero": 1})
        m.submodules.scales = mem = memory.Memory(shape=layout, depth=_SCALES, init=[])
        write, read = mem.write_port(), mem.read_port()
        places = (_SCALES - 1).bit_length()
        m.d.comb += [
            write.en.eq(run.in_phase(BackwardSchedule.SCALE + 1)), write.data.is_zero.eq(is_zero),
            *(write.data[field].eq(getattr(scale, field)) for field in ("sign", "exponent", "sig")),
            write.addr.eq(run.lane_at(BackwardSchedule.SCALE + 1, "scale_write")[:places]),
            read.addr.eq(run.lane_at(BackwardSchedule.OVER_SCALE - 1, "scale_read")[:places])]
        value = read.data
        return Unpacked(value.sign, value.exponent, value.sig, scale.bias), value.is_zero

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
        total = operators.to_round
        for name, step, store, value, output in (
                ("plus", BackwardSchedule.ROUND_PLUS, BackwardSchedule.STORE_PLUS, total,
                 (unit.o_plus_shift, unit.o_plus)),
                ("base", BackwardSchedule.ROUND_BASE, BackwardSchedule.STORE_BASE, mean, None),
                ("minus", BackwardSchedule.ROUND_MINUS, BackwardSchedule.STORE_MINUS, total,
                 (unit.o_minus_shift, unit.o_minus))):
            operators.round(run, step, value)
            at_round, lane = run.at(step + 1, f"round_{name}")
            self.saturated.append(at_round & operators.saturated & self._enabled(lane) & ~frozen)
            at_store, lane = run.at(store, f"store_{name}")
            code = comb(m, Mux(self._enabled(lane), operators.rounded, 0), f"{name}_code")
            at_store = comb(m, at_store & ~frozen, f"{name}_stores")
            if output is None:
                self.base_valid, self.base = at_store, code
            else:
                m.d.comb += [output[0].eq(at_store), output[1].eq(code)]
