"""The scalar unit: from the statistics of a tile, or the sums of its gradient, to the constants of every lane.

One divider takes all reciprocals and quotients by gamma', one multiplier serves every product with a working-format
number, because a new lane enters every three cycles. The order of everything is static: :mod:`bnforge.schedule`.
The arithmetic of the two directions is in :mod:`bnforge.constants` and :mod:`bnforge.gradients`, what they share in
:mod:`bnforge.operators`.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .accumulator import element_sum
from .arith import Unpacked, comb, registered
from .config import Activation
from .constants import ForwardSteps
from .formats import FP32, WORKING
from .gradients import BackwardSteps
from .lanes import lane_class
from .operators import Operators
from .ranges import range_sum_layout
from .schedule import BackwardSchedule, ForwardSchedule, Schedule, Sequencer
from .streams import is_backward, job_layout, lane_width, tile_layout
from .totals import total_layout

__all__ = ["ScalarUnit", "scalar_write_layout"]


def scalar_write_layout(config, width):
    """A scalar of a record on its way to the record unit."""
    return data.StructLayout({"valid": 1, "lane": lane_width(config), "code": width})


class ScalarUnit(wiring.Component):
    """The constants of all lanes of a tile, in lane order, one tile at a time.

    A forward run starts when the tile's job, its gamma and beta, the constant chains and a record slot are all there. A
    backward tile is served in two steps: its scales are loaded as soon as its records are in and the chain of scales is
    free; the run starts when its last beat has come. Nothing stalls a run.

    Latency: ``latency`` cycles from the start of a forward run to ``o_ready``, ``gradient_latency`` from that of a
    backward run to ``o_gradient_ready``; loading ``lanes + 2``.

    Members
    -------
    i_job : tiles in order
    i_tiles, i_complete, o_release : header slots; all words are in; strobe, the slot is done with
    o_slot, o_gamma_lane, o_beta_lane, i_gamma, i_beta : reading gamma and beta, or a and b (memory latency 1)
    i_scale_free : the lanes can take new scales
    i_shift_free : the lanes can take new shifts
    o_a_shift, o_a, o_b_shift, o_b ... : the chains of the lanes but for positions, constants lane by lane
    o_ready, o_activation, o_backward, o_frozen : strobe, the constants with which the tile can begin are with the lanes
    i_record_free, o_record_slot : a slot for records is free; which one is written
    o_done : strobe, all records of the tile have been written
    o_mask, o_n_chunks : of the tile, valid with o_done, o_gradient_start and o_gradient_ready
    o_saturated : strobe

    Members, forward
    ----------------
    o_record_a, o_record_b : scalars for the records

    Members, forward with statistics
    --------------------------------
    i_sum, o_sum_shift, o_sum_free : sum snapshot of lane 0, strobes to move the chain on and to give it back
    o_range_parity, o_range_lane, i_range : reading the sum of ranges (memory latency 1)
    o_mu, o_r, o_rinv : scalars for the records

    Members, backward
    -----------------
    i_finish : S_eff of each backward tile, after its last beat
    o_mean_lane, i_mean, i_range_sent, o_rinv_lane, i_rinv : reading mu, R and Rinv of the records that were sent
    o_total_lane, o_total_product, i_total : reading the totals, of the tile numbered ``o_slot`` modulo 2
    o_gradient_start, o_tile : strobe, the run of a tile with a sample begins; tile number modulo 4
    o_gradient_ready : strobe, the constants of the sample are with the lanes
    o_dgamma, o_dbeta : for the records
    """

    def __init__(self, config):
        self.config = config
        width = lane_width(config)
        a, b = config.a_format.width, config.b_format.width
        scalar = scalar_write_layout(config, WORKING.width)
        ports = {
            "i_job": In(stream.Signature(job_layout(config))),
            "i_tiles": In(tile_layout(config)).array(2), "i_complete": In(2), "o_release": Out(1), "o_slot": Out(1),
            "o_gamma_lane": Out(width), "o_beta_lane": Out(width),
            "i_gamma": In(WORKING.width), "i_beta": In(WORKING.width),
            "i_scale_free": In(1), "i_shift_free": In(1),
            "o_ready": Out(1), "o_activation": Out(Activation), "o_backward": Out(1), "o_frozen": Out(1),
            "i_record_free": In(1), "o_record_slot": Out(1), "o_done": Out(1),
            "o_mask": Out(config.lanes), "o_n_chunks": Out(range(config.n_chunks + 1)), "o_saturated": Out(1)}
        self.chains = {name: shape for name, shape in lane_class(config).shapes(config).items() if name != "position"}
        for name, shape in self.chains.items():
            ports |= {f"o_{name}_shift": Out(1), f"o_{name}": Out(shape)}
        if config.has_forward and config.has_statistics:
            ports |= {
                "i_sum": In(element_sum(config).layout), "o_sum_shift": Out(1), "o_sum_free": Out(1),
                "o_range_parity": Out(1), "o_range_lane": Out(width), "i_range": In(range_sum_layout(config)),
                "o_mu": Out(scalar), "o_r": Out(scalar), "o_rinv": Out(scalar)}
        if config.has_forward:
            ports |= {"o_record_a": Out(scalar_write_layout(config, a)),
                      "o_record_b": Out(scalar_write_layout(config, b))}
        if config.has_backward:
            ports |= {
                "i_finish": In(stream.Signature(config.sample_len_width)),
                "o_mean_lane": Out(width), "i_mean": In(WORKING.width), "i_range_sent": In(WORKING.width),
                "o_rinv_lane": Out(width), "i_rinv": In(WORKING.width),
                "o_total_lane": Out(width), "o_total_product": Out(1), "i_total": In(total_layout(config)),
                "o_gradient_start": Out(1), "o_gradient_ready": Out(1), "o_tile": Out(2),
                "o_dgamma": Out(scalar), "o_dbeta": Out(scalar_write_layout(config, FP32.width))}
        super().__init__(ports)

    @staticmethod
    def schedules(config):
        """The schedules of forward and backward runs."""
        return ForwardSchedule, BackwardSchedule

    @staticmethod
    def load_cycles(config):
        """Cycles from the start of a backward tile to the last of its scales."""
        return config.lanes + 2

    @property
    def latency(self):
        return self.schedules(self.config)[0].cycles(self.config.lanes) + 1

    @property
    def gradient_latency(self):
        return self.schedules(self.config)[1].cycles(self.config.lanes) + 1

    def elaborate(self, platform):
        m = Module()
        config = self.config
        slot, tile = self._tile(m)
        self.sequencer = sequencer = Sequencer(m, config)
        operators = Operators(m, config, sequencer, tile.eps)
        forward, backward = self._runs(sequencer)
        loading = Signal()
        load_index = Signal(range(config.lanes + 2))
        sample_len, loads = self._control(m, slot, forward, backward, loading, self.i_job.payload.frozen)
        self._count_loads(m, loads, loading, load_index)
        self._reciprocals(m, operators, sample_len, sequencer.runs)

        self.i_gamma_as_a = self.i_gamma[WORKING.width - config.a_format.width:]
        loaded, loaded_lane = self._loading(m, loading, load_index)
        over, stores_a, stores_b = [], [], []
        if config.has_forward:
            m.d.comb += self.o_range_parity.eq(slot)
            steps = ForwardSteps(m, self, operators, forward, tile)
            over += steps.saturated
            stores_a.append((*forward.at(ForwardSchedule.TIMES_A, "store_a"), steps.a))
            stores_b.append((steps.at_b, steps.b_lane, steps.b))
        if config.has_backward:
            steps = BackwardSteps(m, self, operators, backward, tile, self.o_frozen)
            over += steps.saturated
            stores_b.append((steps.base_valid, Const(0), steps.base))
        self._read_addresses(m, forward, backward, loading, load_index)
        self._outputs(m, tile, loaded, loaded_lane, stores_a, stores_b)
        last_loaded = self._end_of_loading(m, loading, loaded, loaded_lane)
        self._ends(m, forward, backward, last_loaded)
        operators.build()
        sequencer.advance()
        m.d.sync += self.o_saturated.eq(registered(m, Cat(over), "saturations").any())
        return m

    def _tile(self, m):
        """Slot and header of the tile that is served; one tile after the other."""
        # One count of tiles is the slot of header and records, the parity of sums and ranges, the slot of positions.
        number = Signal(2, name="number")
        slot = number[0]
        tile = Signal(tile_layout(self.config), name="tile", reset_less=True)
        m.d.sync += tile.eq(Array(self.i_tiles)[slot])
        m.d.comb += [self.o_slot.eq(slot), self.o_record_slot.eq(slot), self.o_mask.eq(tile.mask),
                     self.o_activation.eq(tile.activation), self.o_release.eq(self.o_done)]
        if self.config.has_backward:
            m.d.comb += self.o_tile.eq(number)
        with m.If(self.o_done):
            m.d.sync += number.eq(number + 1)
        return slot, tile

    def _runs(self, sequencer):
        """The runs of each direction that is built, else None."""
        forward, backward = self.schedules(self.config)
        return (sequencer.run(forward, "forward") if self.config.has_forward else None,
                sequencer.run(backward, "backward") if self.config.has_backward else None)

    def _control(self, m, slot, forward, backward, loading, frozen):
        """What starts when: the length of the sample, and a strobe that starts to load the scales of a backward or a
        ``frozen`` tile; they are being loaded while ``loading``."""
        config = self.config
        job = self.i_job.payload
        sample_len = Signal(config.sample_len_width, name="sample_len", reset_less=True)
        awaiting = Signal(name="awaiting")
        runs = [run.running for run in (forward, backward) if run is not None]
        busy = comb(m, Cat(*runs, loading, awaiting, self.o_ready, self.o_done).any(), "busy")
        backward_job = is_backward(config, job)
        free = self.i_scale_free & (backward_job | (self.i_shift_free & self.i_record_free))
        start = comb(m, self.i_job.valid & self.i_complete.bit_select(slot, 1) & free & ~busy, "start")
        loads = comb(m, start & (backward_job | frozen), "loads")
        m.d.comb += self.i_job.ready.eq(start)
        if forward is not None:
            m.d.comb += forward.starts.eq(start & ~loads)
        with m.If(start):
            m.d.sync += [sample_len.eq(job.sample_len), self.o_frozen.eq(job.frozen), self.o_backward.eq(backward_job)]
        if backward is not None:
            finish = comb(m, awaiting & ~loading & self.i_finish.valid & self.i_record_free &
                          (self.o_frozen | self.i_shift_free), "finish")
            m.d.comb += [self.i_finish.ready.eq(finish), backward.starts.eq(finish)]
            m.d.sync += self.o_gradient_start.eq(finish & ~self.o_frozen)
            with m.If(start & backward_job):
                m.d.sync += awaiting.eq(1)
            with m.If(finish):
                m.d.sync += [awaiting.eq(0), sample_len.eq(self.i_finish.payload)]
        return sample_len, loads

    def _reciprocals(self, m, operators, sample_len, runs):
        """1/S_eff and 1/K of the tile, in registers; other quotients pass through one of their own."""
        config = self.config
        n_chunks = comb(m, sample_len[config.position_width:], "n_chunks")
        n_chunks = comb(m, Mux(n_chunks == 0, 1, n_chunks), "n_chunks_used")
        m.d.comb += self.o_n_chunks.eq(n_chunks)
        self.quotient = Signal(WORKING.width, reset_less=True)
        with m.If(operators.quotient_valid):
            m.d.sync += self.quotient.eq(operators.quotient & (~operators.quotient_zero).replicate(WORKING.width))
        numbers = (Unpacked(Const(0, 1), Const(len(value) - 1), value).normalised(m, name).registered(m, name)
                   for name, value in (("sample_len", sample_len), ("chunks", n_chunks)))
        self.inv_sample, self.inv_chunks = (
            self._reciprocal(m, operators, name, whole, [(run, enter, leave) for run in runs])
            for name, whole, enter, leave in zip(
                ("inv_sample", "inv_chunks"), numbers, (Schedule.INV_SAMPLE, Schedule.INV_CHUNKS),
                (Schedule.HAVE_INV_SAMPLE, Schedule.HAVE_INV_CHUNKS)))

    def _reciprocal(self, m, operators, name, whole, times):
        """1/whole in a register; ``times`` has the runs that compute it, with the cycles before and after."""
        register = Signal(WORKING.width, name=name, reset_less=True)
        operators.divide(Cat(run.at_cycle(enter - 1) for run, enter, _leave in times).any(), None, whole)
        with m.If(Cat(run.at_cycle(leave) for run, _enter, leave in times).any()):
            m.d.sync += register.eq(operators.quotient)
        return register

    def _count_loads(self, m, loads, loading, index):
        """After the strobe ``loads``, while ``loading``: the lane whose constants are read."""
        with m.If(loads):
            m.d.sync += [loading.eq(1), index.eq(0)]
        with m.Elif(loading):
            m.d.sync += index.eq(index + 1)

    def _loading(self, m, loading, index):
        """Whether constants have been read, and whose."""
        loaded = Signal()
        lane = Signal(lane_width(self.config))
        m.d.sync += [loaded.eq(loading & (index < self.config.lanes)), lane.eq(index)]
        return loaded, lane

    def _end_of_loading(self, m, loading, loaded, lane):
        """Whether they are those of the last lane."""
        last_loaded = comb(m, loaded & (lane == self.config.lanes - 1), "last_loaded")
        with m.If(last_loaded):
            m.d.sync += loading.eq(0)
        return last_loaded

    def _read_addresses(self, m, forward, backward, loading, index):
        """gamma and beta, or a and b, a cycle before they are used."""
        gamma, beta = [], []
        if forward is not None:
            gamma += [(forward, ForwardSchedule.TIMES_GAMMA - 1)]
            beta += [(forward, ForwardSchedule.SUBTRACT - 1)]
        if backward is not None:
            gamma += [(backward, step - 1) for step in (BackwardSchedule.CENTRE_PRODUCT, BackwardSchedule.SCALE_PRODUCT,
                                                        BackwardSchedule.MEAN_PRODUCT)]
            beta += [(backward, BackwardSchedule.CENTRE_SUM - 1)]
        for name, output, uses in (("gamma", self.o_gamma_lane, gamma), ("beta", self.o_beta_lane, beta)):
            lane = Signal.like(output, name=f"{name}_run_lane")
            self.sequencer.choose([(run, step, [lane.eq(run.lane_at(step, f"{name}_read{i}"))])
                                   for i, (run, step) in enumerate(uses)])
            m.d.comb += output.eq(Mux(loading, index, lane))

    def _outputs(self, m, tile, loaded, loaded_lane, stores_a, stores_b):
        """Constants to lanes and records, one cycle late: computed, or as loaded."""
        config = self.config
        keep = comb(m, tile.mask.bit_select(loaded_lane, 1), "keep_loaded")
        loads_b = loaded & ~self.o_backward if config.has_forward else Const(0)
        for loads, sent, stores, shift, output, name in (
                (loaded, self.i_gamma, stores_a, self.o_a_shift, self.o_a, "a"),
                (loads_b, self.i_beta, stores_b, self.o_b_shift, self.o_b, "b")):
            code = Mux(keep, sent[WORKING.width - len(output):], 0)
            lane, shifts = loaded_lane, loads
            for valid, store_lane, store in stores:
                code, lane, shifts = Mux(valid, store, code), Mux(valid, store_lane, lane), shifts | valid
            m.d.sync += [shift.eq(shifts), output.eq(code)]
            if config.has_forward:
                record = getattr(self, f"o_record_{name}")
                m.d.sync += record.lane.eq(lane)
                m.d.comb += [record.valid.eq(shift & ~self.o_backward), record.code.eq(output)]

    def _ends(self, m, forward, backward, last_loaded):
        """The last lane of each step ends it."""
        last_lane = self.config.lanes - 1

        def last(run, step, name):
            valid, lane = run.at(step, name)
            return comb(m, valid & (lane == last_lane), f"{name}_last")

        ready, done = last_loaded, last_loaded & ~self.o_backward
        if forward is not None:
            computed = last(forward, forward.schedule.LAST, "forward_end")
            forward.end(computed)
            done = done | computed
            if forward.schedule.LAST_CONSTANT < forward.schedule.LAST:
                computed = last(forward, forward.schedule.LAST_CONSTANT, "constants_end")
            ready = ready | computed
        if backward is not None:
            stored = last(backward, backward.schedule.LAST_CONSTANT, "gradient_end")
            computed = last(backward, backward.schedule.LAST, "backward_end")
            backward.end(computed)
            done = done | computed
            m.d.sync += self.o_gradient_ready.eq(stored & ~self.o_frozen)
        m.d.sync += [self.o_ready.eq(ready), self.o_done.eq(done)]
