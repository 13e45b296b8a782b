"""The steps of the scalar unit without constant extraction (docs/arithmetic.md, "Constant extraction off").

What both forms of a core compute stays where the product has it: :mod:`bnforge.constants` for mu, R and Rinv,
:mod:`bnforge.gradients` for P, dgamma and dbeta.
"""

from amaranth.hdl import Cat

from .arith import comb, decode
from .config import Extraction
from .constants import SampleSteps
from .divider import INTERVAL
from .formats import WORKING
from .gradients import BackwardSteps
from .ranges import SUM_WIDTH
from .schedule import BackwardSchedule, ForwardSchedule, Schedule

__all__ = ["SCHEDULES", "ScaleSteps", "GradientSteps", "SampleSteps"]

_PRODUCT = ForwardSchedule.ROUND_MU - ForwardSchedule.TIMES_SUM
"""Cycles from a product's operands to its rounding; its code follows one cycle later."""


class SharedSchedule(ForwardSchedule):
    """Forward; the scale is h = Rinv · 1/C."""

    INV_C = Schedule.INV_CHUNKS + INTERVAL
    HAVE_INV_C = INV_C + Schedule.QUOTIENT
    TIMES_SCALE = ForwardSchedule.TIMES_GAMMA
    ROUND_SCALE = TIMES_SCALE + _PRODUCT
    STORE_SCALE = ROUND_SCALE + 1
    LAST_CONSTANT = LAST = STORE_SCALE


class LaneSchedule(ForwardSchedule):
    """Forward; the scale is d = C · (R + eps), and Rinv is only for the record."""

    TIMES_SCALE = ForwardSchedule.DIVIDE
    ROUND_SCALE = TIMES_SCALE + _PRODUCT
    LAST_CONSTANT = STORE_SCALE = ROUND_SCALE + 1
    LAST = ForwardSchedule.ROUND_RINV + 1


class SharedLoad(Schedule):
    """Loading the scales of a backward tile: h from Rinv as it was sent."""

    INV_C = 1
    HAVE_INV_C = INV_C + Schedule.QUOTIENT
    TIMES_SCALE = HAVE_INV_C + 1
    ROUND_SCALE = TIMES_SCALE + _PRODUCT
    LAST_CONSTANT = LAST = STORE_SCALE = ROUND_SCALE + 1


class LaneLoad(Schedule):
    """The same of d from R."""

    DENOMINATOR = 2                           # R is being read in the cycle before: not in the first one of the run
    TIMES_SCALE = DENOMINATOR + LaneSchedule.TIMES_SCALE - LaneSchedule.DENOMINATOR
    ROUND_SCALE = TIMES_SCALE + _PRODUCT
    LAST_CONSTANT = LAST = STORE_SCALE = ROUND_SCALE + 1


class GradientSchedule(BackwardSchedule):
    """Backward: m and t in place of the addends."""

    ROUND_MEAN = BackwardSchedule.TIMES_G + _PRODUCT
    ROUND_TERM = BackwardSchedule.TIMES_INV_CHUNKS + _PRODUCT
    STORE_MEAN = ROUND_MEAN + 1
    LAST_CONSTANT = STORE_TERM = ROUND_TERM + 1


SCHEDULES = {Extraction.SHARED_DIVIDER: (SharedSchedule, GradientSchedule, SharedLoad),
             Extraction.LANE_DIVIDER: (LaneSchedule, GradientSchedule, LaneLoad)}
"""Forward, backward and load schedule of each form."""

# The divider takes 1/C before the first lane; the multiplier has a phase for each use; what counts cycles counts far
# enough.
assert SharedSchedule.INV_C + INTERVAL <= SharedSchedule.DIVIDE
assert SharedSchedule.HAVE_INV_C < SharedSchedule.TIMES_SCALE
assert all(len({step % INTERVAL for step in (schedule.TIMES_SUM, schedule.TIMES_RANGE, schedule.TIMES_SCALE)}) == 3
           for schedule in (SharedSchedule, LaneSchedule))
assert max(schedule.LAST for schedules in SCHEDULES.values() for schedule in schedules) <= max(
    ForwardSchedule.LAST, BackwardSchedule.LAST)


class ScaleSteps:
    """h or d of every lane, in a forward run or in one that loads the scales of a backward tile.

    Attributes
    ----------
    saturated : strobe
    at_store, lane : whether ``unit.narrow`` is the scale of a lane in this cycle, and which
    """

    def __init__(self, m, unit, operators, run, tile, rinv, name):
        schedule = run.schedule
        if unit.config.extraction is Extraction.SHARED_DIVIDER:
            value, code = decode(m, WORKING, rinv, name=f"{name}_rinv").extended(SUM_WIDTH), unit.inv_c
        else:
            spread = operators.denominator.truncated(SUM_WIDTH)
            value, code = spread.with_sig(spread.sig & (~operators.r_is_zero).replicate(SUM_WIDTH)), tile.c
        operators.multiply(run, schedule.TIMES_SCALE, value, code)
        at_round, lane = run.at(schedule.ROUND_SCALE, f"round_{name}")
        self.saturated = at_round & unit.over & tile.mask.bit_select(lane, 1)
        self.at_store, self.lane = run.at(schedule.STORE_SCALE, f"store_{name}")


class GradientSteps(BackwardSteps):
    """The steps of a backward run: as in the product, with beta for beta', gamma for gamma', m and t for the addends.

    Attributes
    ----------
    mean, term : (strobe, lane, code) of m and t
    """

    def _addresses(self, m):
        """What the scalar unit does not read itself."""
        self._total_addresses(m)

    def _centre(self, m):
        """beta."""
        beta = decode(m, WORKING, self.unit.i_beta, name="sent_beta").extended(SUM_WIDTH)
        return self._kept(m, beta, BackwardSchedule.CENTRE, "centre")

    def _scale(self, m, centre):
        """gamma, floored; with it whether dgamma is zero: of gamma = 0 or R = 0."""
        self._second = {}
        self._product = self._second_product(m, centre)
        gamma = decode(m, WORKING, self.unit.i_gamma, name="sent_gamma").extended(SUM_WIDTH)
        gamma = gamma.rebiased(m, WORKING.bias, "sent_gamma", self.operators.exponent)
        is_zero = gamma.is_zero | ~self.unit.i_range_sent[:-1].any()
        return self._floored(m, gamma, centre, is_zero)

    def _mean_term(self, m, g):
        """m = Q_W(Sg · invS)."""
        self.operators.multiply(self.run, BackwardSchedule.TIMES_G, g, self.unit.inv_sample)
        self.mean = self._narrowed(m, GradientSchedule.ROUND_MEAN, GradientSchedule.STORE_MEAN, "gradient_mean")

    def _addends(self, m, mean, t, frozen):
        """t = -Q_W(P · Rinv · invK); what is truncated of the product does not count here."""
        at_store, lane, code = self._narrowed(m, GradientSchedule.ROUND_TERM, GradientSchedule.STORE_TERM, "range_term")
        sign = comb(m, ~code[-1] & code[:-1].any(), "range_term_sign")
        self.term = at_store, lane, Cat(code[:-1], sign)

    def _narrowed(self, m, at_round, at_store, name):
        """A product rounded to the working format: (strobe, lane, code)."""
        rounds, lane = self.run.at(at_round, f"round_{name}")
        self.saturated.append(rounds & self.unit.over & self._enabled(lane))
        return (*self.run.at(at_store, f"store_{name}"), self.unit.narrow)
