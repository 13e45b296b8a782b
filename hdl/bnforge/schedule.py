"""The static schedules of the scalar unit: which lane is where in every cycle of a run."""

from amaranth.hdl import Cat, Mux, Signal

from .arith import comb
from .divider import INTERVAL, Divider
from .streams import lane_width

__all__ = ["Schedule", "ForwardSchedule", "BackwardSchedule", "Sequencer", "Run"]


class Schedule:
    """Cycle numbers of one tile's run, counted from its start; ``+ 3`` from lane to lane.

    The reciprocals of S_eff and K enter the divider first, once S_eff has been normalised; lane 0 enters when both are
    nearly there.
    """

    QUOTIENT = Divider.latency + 1            # cycles from divider to rounder
    INV_SAMPLE = 2
    INV_CHUNKS = INV_SAMPLE + INTERVAL
    HAVE_INV_SAMPLE = INV_SAMPLE + QUOTIENT
    HAVE_INV_CHUNKS = INV_CHUNKS + QUOTIENT

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

    TIMES_RANGE = Schedule.HAVE_INV_CHUNKS + 1  # Σd · invK
    TIMES_SUM = TIMES_RANGE - 2                 # Σx · invS
    MAGNITUDE = TIMES_SUM - 3                   # of the sum
    ROUND_MU = TIMES_SUM + 3
    ROUND_R = TIMES_RANGE + 3
    DENOMINATOR = ROUND_R + 1                   # R + eps
    DIVIDE = DENOMINATOR + 4                    # it enters the divider
    ROUND_RINV = DIVIDE + Schedule.QUOTIENT
    TIMES_GAMMA = ROUND_RINV + 1                # gamma · Rinv
    OVER_C = TIMES_GAMMA + 2                    # enters the short divider
    ROUND_A = OVER_C + Schedule.QUOTIENT
    TIMES_A = ROUND_A + 1                       # mu · a
    SUBTRACT = TIMES_A + 2                      # beta - mu · a
    ROUND_B = SUBTRACT + 6
    STORE_B = ROUND_B + 2
    LAST_CONSTANT = LAST = STORE_B


class BackwardSchedule(Schedule):
    """From the sums of the gradient to the addends, dgamma and dbeta."""

    READ = 3                                  # mu and R are being read
    CENTRE_PRODUCT = READ + 1                 # mu · a
    DENOMINATOR = READ + 1                    # R + eps
    CENTRE_SUM = READ + 3                     # beta' = b + mu · a
    TIMES_C = READ + 5                        # C · (R + eps)
    SCALE_PRODUCT = READ + 8                  # gamma' = a · C · (R + eps)
    CENTRE = READ + 8                         # beta' is kept
    READ_G = READ + 8                         # Sg is being read
    TIMES_CENTRE = READ + 9                   # beta' · Sg
    ROUND_DBETA = READ + 10
    SCALE = READ + 11                         # gamma' is floored and kept
    STORE_DBETA = READ + 11
    CENTRE_TIMES_G = READ + 12                # beta' · Sg is kept
    READ_PRODUCT = READ + 13                  # Sgy is being read
    DIFFERENCE = READ + 14                    # P = Sgy - beta' · Sg
    NORMALISE = READ + 18                     # P is kept
    OVER_SCALE = READ + 19                    # P enters the divider
    TIMES_G = READ + 19                       # Sg, read again, · invS
    TIMES_RINV = READ + 21                    # P · Rinv
    MEAN_PRODUCT = READ + 21                  # a · (Sg · invS)
    TIMES_INV_CHUNKS = READ + 23              # t = T · invK
    MEAN = READ + 23                          # c is kept
    ROUND_BASE = READ + 24                    # -c
    PLUS = READ + 25                          # -c + t
    MINUS = READ + 26                         # -c - t
    STORE_BASE = READ + 26
    ROUND_PLUS = READ + 31
    ROUND_MINUS = READ + 32
    STORE_PLUS = READ + 33
    STORE_MINUS = READ + 34
    ROUND_DGAMMA = OVER_SCALE + Schedule.QUOTIENT
    STORE_DGAMMA = ROUND_DGAMMA + 1
    LAST_CONSTANT = STORE_MINUS
    LAST = max(STORE_DGAMMA, LAST_CONSTANT + 1)  # the run ends after its constants are ready


# No operator is asked for twice in one cycle; the lists are its uses.
for _uses in (
        (ForwardSchedule.TIMES_SUM, ForwardSchedule.TIMES_RANGE, ForwardSchedule.TIMES_GAMMA),
        (BackwardSchedule.TIMES_G, BackwardSchedule.TIMES_RINV, BackwardSchedule.TIMES_INV_CHUNKS),
        (BackwardSchedule.TIMES_C, BackwardSchedule.TIMES_CENTRE),
        (BackwardSchedule.CENTRE_PRODUCT, BackwardSchedule.SCALE_PRODUCT, BackwardSchedule.MEAN_PRODUCT),
        (BackwardSchedule.CENTRE_SUM, BackwardSchedule.PLUS, BackwardSchedule.MINUS),
        (BackwardSchedule.ROUND_PLUS, BackwardSchedule.ROUND_BASE, BackwardSchedule.ROUND_MINUS),
        (BackwardSchedule.READ_G, BackwardSchedule.READ_PRODUCT, BackwardSchedule.TIMES_G - 1)):
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
        """Drives signals according to run and phase: ``uses`` has (run, step, assignments), all on different cycles.

        Which use is next is decided a cycle before, hence no step is 0.
        """
        m = self._m
        if len(uses) == 1:
            m.d.comb += uses[0][2]
            return
        assert all(step for _run, step, _assignments in uses)
        select = Signal(range(len(uses)), name="select", reset_less=True)
        with m.Switch(Cat(self.phase, *(run.running for run in self.runs[1:]))):
            for number, (run, step, _assignments) in enumerate(uses):
                with m.Case((step - 1) % INTERVAL | self.runs.index(run) << len(self.phase)):
                    m.d.sync += select.eq(number)
        with m.Switch(select):
            for number, (_run, _step, assignments) in enumerate(uses):
                with m.Case(number):
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
