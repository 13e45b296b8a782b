"""The static schedules of the scalar unit: which lane is where in every cycle of a run."""

from amaranth.hdl import Cat, Mux, Signal

from .arith import comb
from .divider import INTERVAL, Divider
from .streams import lane_width

__all__ = ["Schedule", "ForwardSchedule", "BackwardSchedule", "Sequencer", "Run"]


class Schedule:
    """Cycle numbers of one tile's run, counted from its start; ``+ 3`` from lane to lane.

    The reciprocals of S_eff and K enter the divider first; lane 0 enters when both are nearly there.
    """

    INV_SAMPLE = 0
    INV_CHUNKS = INV_SAMPLE + INTERVAL
    HAVE_INV_SAMPLE = INV_SAMPLE + Divider.latency
    HAVE_INV_CHUNKS = INV_CHUNKS + Divider.latency

    @classmethod
    def cycles(cls, lanes):
        """Cycles of a run, from its start to the last constant that the lanes need."""
        return cls.LAST_CONSTANT + INTERVAL * (lanes - 1) + 1

    @classmethod
    def run_cycles(cls, lanes):
        """Cycles of a run, from its start to the last of what it does."""
        return cls.LAST + INTERVAL * (lanes - 1) + 1


class ForwardSchedule(Schedule):
    """From the statistics of the sample to a and b."""

    MAGNITUDE = Schedule.HAVE_INV_CHUNKS - 2  # of the sum; the sum of ranges is being read
    NORMALISE = MAGNITUDE + 1
    TIMES_SUM = MAGNITUDE + 2                 # Σx · invS
    TIMES_RANGE = TIMES_SUM + 1               # Σd · invK
    ROUND_MU = TIMES_SUM + 1
    ROUND_R = TIMES_RANGE + 1
    DENOMINATOR = ROUND_R + 1                 # R + eps enters the divider
    ROUND_RINV = DENOMINATOR + Divider.latency
    TIMES_GAMMA = ROUND_RINV + 1              # gamma · Rinv
    OVER_C = TIMES_GAMMA + 1                  # enters the short divider
    ROUND_A = OVER_C + Divider.latency
    TIMES_A = ROUND_A + 1                     # mu · a
    SUBTRACT = TIMES_A + 1                    # beta - mu · a
    ROUND_B = SUBTRACT + 1
    STORE_B = ROUND_B + 1
    LAST_CONSTANT = LAST = STORE_B


class BackwardSchedule(Schedule):
    """From the sums of the gradient to the addends, dgamma and dbeta."""

    READ = 5                                  # mu and R are being read
    CENTRE_PRODUCT = READ + 1                 # mu · a
    DENOMINATOR = READ + 1                    # R + eps
    CENTRE_SUM = READ + 2                     # beta' = b + mu · a
    TIMES_C = READ + 2                        # C · (R + eps)
    READ_G = READ + 3                         # Sg is being read
    SCALE_PRODUCT = READ + 3                  # gamma' = a · C · (R + eps)
    CENTRE = READ + 3                         # beta' is kept
    READ_PRODUCT = READ + 4                   # Sgy is being read
    TIMES_CENTRE = READ + 4                   # beta' · Sg
    SCALE = READ + 4                          # gamma' is floored and kept
    DIFFERENCE = READ + 5                     # P = Sgy - beta' · Sg
    ROUND_DBETA = READ + 5
    STORE_DBETA = READ + 6
    NORMALISE = READ + 6                      # P is kept
    TIMES_G = READ + 7                        # Sg · invS
    OVER_SCALE = READ + 7                     # P enters the divider
    TIMES_RINV = READ + 8                     # P · Rinv
    MEAN_PRODUCT = READ + 8                   # a · (Sg · invS)
    TIMES_INV_CHUNKS = READ + 9               # t = T · invK
    MEAN = READ + 9                           # c is kept
    PLUS = READ + 10                          # -c + t
    ROUND_PLUS = READ + 11
    MINUS = READ + 12                         # -c - t
    STORE_PLUS = READ + 12
    ROUND_BASE = READ + 12                    # -c
    STORE_BASE = READ + 13
    ROUND_MINUS = READ + 13
    STORE_MINUS = READ + 14
    ROUND_DGAMMA = OVER_SCALE + Divider.latency
    STORE_DGAMMA = ROUND_DGAMMA + 1
    LAST_CONSTANT = STORE_MINUS
    LAST = STORE_DGAMMA


# No operator is asked for twice in one cycle; the lists are its uses.
for _uses in (
        (ForwardSchedule.TIMES_SUM, ForwardSchedule.TIMES_RANGE, ForwardSchedule.TIMES_GAMMA),
        (BackwardSchedule.TIMES_G, BackwardSchedule.TIMES_RINV, BackwardSchedule.TIMES_INV_CHUNKS),
        (BackwardSchedule.TIMES_C, BackwardSchedule.TIMES_CENTRE),
        (BackwardSchedule.CENTRE_PRODUCT, BackwardSchedule.SCALE_PRODUCT, BackwardSchedule.MEAN_PRODUCT),
        (BackwardSchedule.CENTRE_SUM, BackwardSchedule.PLUS, BackwardSchedule.MINUS),
        (BackwardSchedule.ROUND_PLUS, BackwardSchedule.ROUND_BASE, BackwardSchedule.ROUND_MINUS)):
    assert len({step % INTERVAL for step in _uses}) == len(_uses)
assert BackwardSchedule.TIMES_G > Schedule.HAVE_INV_SAMPLE
assert BackwardSchedule.TIMES_INV_CHUNKS > Schedule.HAVE_INV_CHUNKS


class Sequencer:
    """The cycle counter of the scalar unit. One run is on at a time.

    Attributes
    ----------
    phase, index : cycle of the run, modulo the interval and divided by it
    """

    def __init__(self, m, config):
        last = max(schedule.LAST for schedule in (ForwardSchedule, BackwardSchedule))
        self.config = config
        self.phase = Signal(range(INTERVAL), name="phase")
        self.index = Signal(range(config.lanes + last // INTERVAL + 1), name="index")
        self.runs = []
        self._m = m

    def run(self, schedule, name):
        """A kind of run."""
        self.runs.append(Run(self._m, self, schedule, name))
        return self.runs[-1]

    def advance(self):
        """Counts; to be called when all kinds of run are known."""
        m = self._m
        last_phase = comb(m, self.phase == INTERVAL - 1, "last_phase")
        with m.If(Cat(run.running for run in self.runs).any()):
            m.d.sync += self.phase.eq(Mux(last_phase, 0, self.phase + 1))
            with m.If(last_phase):
                m.d.sync += self.index.eq(self.index + 1)
        with m.If(Cat(run.starts for run in self.runs).any()):
            m.d.sync += [self.phase.eq(0), self.index.eq(0)]

    def choose(self, uses):
        """Drives signals according to run and phase: ``uses`` has (run, step, assignments), all on different cycles."""
        m = self._m
        if len(uses) == 1:
            m.d.comb += uses[0][2]
            return
        kind = [run.running for run in self.runs[1:]]
        with m.Switch(Cat(self.phase, *kind)):
            for run, step, assignments in uses:
                with m.Case(step % INTERVAL | self.runs.index(run) << len(self.phase)):
                    m.d.comb += assignments


class Run:
    """Where the lanes are in one kind of run.

    Attributes
    ----------
    starts : the run begins in the next cycle
    running : it is on
    """

    def __init__(self, m, sequencer, schedule, name):
        self.schedule = schedule
        self.starts = Signal(name=f"{name}_starts")
        self.running = Signal(name=f"{name}_running")
        self._sequencer = sequencer
        self._m = m
        with m.If(self.starts):
            m.d.sync += self.running.eq(1)

    def end(self, condition):
        """The run is over after a cycle with ``condition``."""
        with self._m.If(condition):
            self._m.d.sync += self.running.eq(0)

    def at(self, step, name):
        """Whether a lane is at ``step`` in this cycle, and which."""
        index, config = self._sequencer.index, self._sequencer.config
        after = step // INTERVAL
        lane = comb(self._m, (index - after)[:lane_width(config)], f"{name}_lane")
        valid = comb(self._m, self.running & self.in_phase(step) & (index >= after) & (index < after + config.lanes),
                     f"{name}_valid")
        return valid, lane

    def lane_at(self, step, name):
        """The lane at ``step``, if there is one."""
        return comb(self._m, (self._sequencer.index - step // INTERVAL)[:lane_width(self._sequencer.config)],
                    f"{name}_lane")

    def in_phase(self, step):
        """Whether lanes of a run of some kind can be at ``step`` in this cycle."""
        return self._sequencer.phase == step % INTERVAL

    def at_cycle(self, step):
        """Whether this is cycle ``step`` of this run."""
        return self.running & self.in_phase(step) & (self._sequencer.index == step // INTERVAL)
