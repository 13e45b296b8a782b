"""The scalar unit of a core without constant extraction: from statistics or sums to what its lanes evaluate with."""

from amaranth.hdl import Cat, Const, Module, Mux

from .arith import comb, decode, registered
from .config import Extraction
from .constants import narrowed_product
from .definition_steps import SCHEDULES, GradientSteps, SampleSteps, ScaleSteps
from .formats import WORKING
from .operators import Operators
from .scalar import ScalarUnit
from .schedule import BackwardSchedule, Sequencer

__all__ = ["DefinitionUnit"]


class DefinitionUnit(ScalarUnit):
    """mu, the scale, gamma and beta of every lane; for the sample of a backward tile m and t.

    As :class:`~bnforge.scalar.ScalarUnit`, but that the scales of a backward tile are not read, they are computed: a
    third kind of run.

    Attributes
    ----------
    narrow, over : the product, rounded, as :func:`~bnforge.constants.narrowed_product` has it
    inv_c : 1/C, with one divider for all lanes
    """

    @staticmethod
    def schedules(config):
        return SCHEDULES[config.extraction][:2]

    @staticmethod
    def load_cycles(config):
        return SCHEDULES[config.extraction][2].cycles(config.lanes) + 1

    def elaborate(self, platform):
        m = Module()
        config = self.config
        slot, tile = self._tile(m)
        self.sequencer = sequencer = Sequencer(m, config)
        operators = Operators(m, config, sequencer, tile.eps)
        forward, backward = self._runs(sequencer)
        load = sequencer.run(SCHEDULES[config.extraction][2], "load") if backward else None
        sample_len, loads = self._control(m, slot, forward, backward, load.running if load else Const(0), Const(0))
        if load:
            m.d.comb += load.starts.eq(loads)
        self._reciprocals(m, operators, sample_len, [run for run in (forward, backward) if run])
        self._denominators(m, operators, tile, forward, load)

        over, last_loaded = [], Const(0)
        sends = {name: [] for name in self.chains}
        if forward:
            m.d.comb += self.o_range_parity.eq(slot)
            steps = SampleSteps(m, self, operators, forward, tile)
            self.narrow, self.over = steps.narrow, steps.over
            scale = ScaleSteps(m, self, operators, forward, tile, self.quotient, "scale")
            over += [*steps.saturated, scale.saturated]
            sends["mean"].append((self.o_mu.valid, self.o_mu.lane, self.o_mu.code))
            sends["shift"].append((scale.at_store, scale.lane, self.i_beta))
            self._send_scale(sends, scale)
        else:
            self.narrow, self.over = narrowed_product(m, operators)
        if backward:
            loaded = ScaleSteps(m, self, operators, load, tile, self.i_rinv, "loaded")
            steps = GradientSteps(m, self, operators, backward, tile, Const(0))
            over += [*steps.saturated, loaded.saturated]
            sends["mean"].append(steps.mean)
            sends["shift"].append(steps.term)
            self._send_scale(sends, loaded)
            last_loaded = comb(m, loaded.at_store & (loaded.lane == config.lanes - 1), "last_loaded")
            load.end(last_loaded)
        self._read_addresses(m, forward, backward, load)
        self._outputs(m, tile, sends, scale if forward else None)
        self._ends(m, forward, backward, last_loaded)
        operators.build()
        sequencer.advance()
        m.d.sync += self.o_saturated.eq(registered(m, Cat(over), "saturations").any())
        return m

    def _denominators(self, m, operators, tile, forward, load):
        """What the scale is a product of: 1/C, or R + eps, which a forward run asks for anyway."""
        if self.config.extraction is Extraction.SHARED_DIVIDER:
            c = decode(m, WORKING, tile.c, name="c")
            self.inv_c = self._reciprocal(m, operators, "inv_c", c, [
                (run, run.schedule.INV_C, run.schedule.HAVE_INV_C) for run in (forward, load) if run])
        elif load:
            operators.add_eps(load, load.schedule.DENOMINATOR, self.i_range_sent)

    def _send_scale(self, sends, steps):
        sends["scale"].append((steps.at_store, steps.lane, self.narrow[:-1]))
        sends["gamma"].append((steps.at_store, steps.lane, self.i_gamma))

    def _read_addresses(self, m, forward, backward, load):
        """What is read a cycle before it is used."""
        uses = {name: [] for name in ("gamma", "beta", "mean", "rinv")}
        if forward:
            uses["gamma"].append((forward, forward.schedule.STORE_SCALE))
            uses["beta"].append((forward, forward.schedule.STORE_SCALE))
        if backward:
            uses["gamma"] += [(backward, BackwardSchedule.SCALE), (load, load.schedule.STORE_SCALE)]
            uses["beta"].append((backward, BackwardSchedule.CENTRE))
            uses["mean"].append((backward, BackwardSchedule.SCALE))
            uses["rinv"].append((backward, BackwardSchedule.TIMES_RINV))
            if self.config.extraction is Extraction.SHARED_DIVIDER:
                uses["rinv"].append((load, load.schedule.TIMES_SCALE))
            else:
                uses["mean"].append((load, load.schedule.DENOMINATOR))
        for name, steps in uses.items():
            if steps:
                lane = getattr(self, f"o_{name}_lane")
                self.sequencer.choose([(run, step - 1, [lane.eq(run.lane_at(step - 1, f"{name}_read{i}"))])
                                       for i, (run, step) in enumerate(steps)])

    def _outputs(self, m, tile, sends, scale):
        """Constants to lanes and records; those of disabled lanes are 0."""
        for name, sources in sends.items():
            code, shifts = Const(0), Const(0)
            for valid, lane, value in sources:
                code = Mux(valid & tile.mask.bit_select(lane, 1), value, code)
                shifts = shifts | valid
            m.d.comb += [getattr(self, f"o_{name}").eq(code), getattr(self, f"o_{name}_shift").eq(shifts)]
        if scale:
            for record, code in ((self.o_record_a, self.i_gamma), (self.o_record_b, self.i_beta)):
                m.d.comb += [record.valid.eq(scale.at_store), record.lane.eq(scale.lane), record.code.eq(code)]
