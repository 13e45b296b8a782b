"""Constant extraction: from the statistics of a tile to a and b of every lane, in one scalar pipeline.

The arithmetic is that of docs/arithmetic.md, "Constants, per channel". One divider takes all reciprocals, one short
divider the quotient by C, one multiplier serves mu, R and gamma·Rinv in turn, because a new lane enters every
three cycles. The schedule is static: :class:`Schedule` says which lane is where in every cycle.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import Unpacked, add, comb, decode, exponent_range, exponent_shape, multiply, normalise
from .config import Activation
from .divider import INTERVAL, Divider
from .formats import WORKING
from .ranges import SUM_WIDTH, range_sum_layout
from .rounding import round_a, round_to
from .statistics import AccumulatorShape, sum_layout
from .streams import job_layout, lane_width, tile_layout

__all__ = ["ConstantExtraction", "Schedule", "scalar_write_layout", "DENOMINATOR_WIDTH"]

DENOMINATOR_WIDTH = 32
"""Significant bits of R + eps at the divider."""


def scalar_write_layout(config, width):
    """A scalar of the channel record on its way to the record unit."""
    return data.StructLayout({"valid": 1, "lane": lane_width(config), "code": width})


class Schedule:
    """Cycle numbers of one tile's run, counted from its start. ``+ 3`` from lane to lane.

    The reciprocals of S_eff and K enter the divider first; lane 0 enters when both are nearly there.
    """

    INV_SAMPLE = 0
    INV_CHUNKS = INV_SAMPLE + INTERVAL
    HAVE_INV_SAMPLE = INV_SAMPLE + Divider.latency
    HAVE_INV_CHUNKS = INV_CHUNKS + Divider.latency
    MAGNITUDE = HAVE_INV_CHUNKS - 2      # of the sum; the sum of ranges is being read
    NORMALISE = MAGNITUDE + 1
    TIMES_SUM = MAGNITUDE + 2            # Σx · invS
    TIMES_RANGE = TIMES_SUM + 1          # Σd · invK
    ROUND_MU = TIMES_SUM + 1
    ROUND_R = TIMES_RANGE + 1
    DENOMINATOR = ROUND_R + 1            # R + eps enters the divider
    ROUND_RINV = DENOMINATOR + Divider.latency
    TIMES_GAMMA = ROUND_RINV + 1         # gamma · Rinv
    OVER_C = TIMES_GAMMA + 1             # enters the short divider
    ROUND_A = OVER_C + Divider.latency
    TIMES_A = ROUND_A + 1                # mu · a
    SUBTRACT = TIMES_A + 1               # beta - mu · a
    ROUND_B = SUBTRACT + 1
    STORE_B = ROUND_B + 1

    @classmethod
    def cycles(cls, lanes):
        """Cycles of a run, from its start to the last constant."""
        return cls.STORE_B + INTERVAL * (lanes - 1) + 1


# The three uses of the multiplier fall on different cycles of the interval.
assert len({step % INTERVAL for step in (Schedule.TIMES_SUM, Schedule.TIMES_RANGE, Schedule.TIMES_GAMMA)}) == INTERVAL


class ConstantExtraction(wiring.Component):
    """a and b of all lanes of a tile, in lane order, one tile at a time.

    A run starts when the tile's job, its gamma and beta, the constant chain and a record slot are all there; nothing
    stalls it then.

    Latency: ``latency`` cycles from the start of a run to ``o_ready``; frozen tiles ``lanes + 2``.

    Members
    -------
    i_job : tiles in order
    i_tiles, i_complete, o_release : header slots; all words are in; strobe, the slot is done with
    o_slot, o_gamma_lane, o_beta_lane, i_gamma, i_beta : reading gamma and beta (memory latency 1)
    i_sum, o_sum_shift, o_sum_free : sum snapshot of lane 0, strobes to move the chain on and to give it back
    o_range_parity, o_range_lane, i_range : reading the sum of ranges (memory latency 1)
    i_chain_free : the lanes can take new constants
    o_a_shift, o_a, o_b_shift, o_b : constants, lane by lane
    o_ready, o_activation : strobe, all constants of the tile are with the lanes
    i_record_free, o_record_slot : a slot for records is free; which one is written
    o_mu, o_r, o_rinv, o_record_a, o_record_b : scalars for the records
    o_mask, o_n_chunks, o_frozen : of the tile, valid with o_ready
    o_saturated : strobe
    """

    def __init__(self, config):
        self.config = config
        width = lane_width(config)
        scalar = scalar_write_layout(config, WORKING.width)
        super().__init__({
            "i_job": In(stream.Signature(job_layout(config))),
            "i_tiles": In(tile_layout(config)).array(2), "i_complete": In(2), "o_release": Out(1), "o_slot": Out(1),
            "o_gamma_lane": Out(width), "o_beta_lane": Out(width),
            "i_gamma": In(WORKING.width), "i_beta": In(WORKING.width),
            "i_sum": In(sum_layout(config)), "o_sum_shift": Out(1), "o_sum_free": Out(1),
            "o_range_parity": Out(1), "o_range_lane": Out(width), "i_range": In(range_sum_layout(config)),
            "i_chain_free": In(1),
            "o_a_shift": Out(1), "o_a": Out(config.a_format.width),
            "o_b_shift": Out(1), "o_b": Out(config.b_format.width),
            "o_ready": Out(1), "o_activation": Out(Activation),
            "i_record_free": In(1), "o_record_slot": Out(1),
            "o_mu": Out(scalar), "o_r": Out(scalar), "o_rinv": Out(scalar),
            "o_record_a": Out(scalar_write_layout(config, config.a_format.width)),
            "o_record_b": Out(scalar_write_layout(config, config.b_format.width)),
            "o_mask": Out(config.lanes), "o_n_chunks": Out(range(config.n_chunks + 1)), "o_frozen": Out(1),
            "o_saturated": Out(1)})

    @property
    def latency(self):
        return Schedule.cycles(self.config.lanes) + 1

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # One toggle counts tiles: it is the header slot, the record slot and the parity of the range sums.
        slot = Signal()
        self._tile = Array(self.i_tiles)[slot]
        m.d.comb += [self.o_slot.eq(slot), self.o_record_slot.eq(slot), self.o_range_parity.eq(slot),
                     self.o_mask.eq(self._tile.mask), self.o_activation.eq(self._tile.activation)]
        sample_len = Signal(config.sample_len_width, reset_less=True)
        running, loading = Signal(), Signal()
        self._phase, self._index = Signal(range(INTERVAL)), Signal(range(config.lanes + Schedule.STORE_B))
        start = comb(m, self.i_job.valid & self.i_complete.bit_select(slot, 1) & self.i_chain_free &
                     self.i_record_free & ~running & ~loading & ~self.o_ready, "start")
        m.d.comb += self.i_job.ready.eq(start)
        with m.If(start):
            m.d.sync += [sample_len.eq(self.i_job.payload.sample_len), self.o_frozen.eq(self.i_job.payload.frozen),
                         running.eq(~self.i_job.payload.frozen), loading.eq(self.i_job.payload.frozen),
                         self._phase.eq(0), self._index.eq(0)]
        with m.If(running):
            m.d.sync += self._phase.eq(Mux(self._phase == INTERVAL - 1, 0, self._phase + 1))
            with m.If(self._phase == INTERVAL - 1):
                m.d.sync += self._index.eq(self._index + 1)
        with m.If(loading):
            m.d.sync += self._index.eq(self._index + 1)
        self._running, self._loading = running, loading

        n_chunks = comb(m, sample_len[config.position_width:], "n_chunks")
        n_chunks = comb(m, Mux(n_chunks == 0, 1, n_chunks), "n_chunks_used")
        m.d.comb += self.o_n_chunks.eq(n_chunks)

        reciprocal = Divider(DENOMINATOR_WIDTH, tag_width=len(Cat(self._denominator_tag())))
        m.submodules.reciprocal = reciprocal
        inv_sample, inv_chunks = self._tile_reciprocals(m, reciprocal)
        narrow = self._mean_and_range(m, inv_sample, inv_chunks)
        self._reciprocal_input(m, reciprocal, sample_len, n_chunks, narrow)
        a = self._scale(m)
        b = self._shift(m, a)
        self._outputs(m, slot, a, b)
        return m

    # The schedule.

    def _at(self, m, step, name):
        """Whether a lane is at ``step`` in this cycle, and which."""
        after, phase = divmod(step, INTERVAL)
        lane = comb(m, (self._index - after)[:lane_width(self.config)], f"{name}_lane")
        valid = comb(m, self._running & (self._phase == phase) & (self._index >= after) &
                     (self._index < after + self.config.lanes), f"{name}_valid")
        return valid, lane

    def _enabled(self, lane):
        return self._tile.mask.bit_select(lane, 1)

    # The stages, in the order of the data.

    def _mean_and_range(self, m, inv_sample, inv_chunks):
        """mu, then R one cycle later, as working-format codes in one register."""
        config, shape = self.config, AccumulatorShape(self.config)
        at_magnitude, magnitude_lane = self._at(m, Schedule.MAGNITUDE, "magnitude")
        m.d.comb += [self.o_sum_shift.eq(at_magnitude),
                     self.o_sum_free.eq(at_magnitude & (magnitude_lane == config.lanes - 1)),
                     self.o_range_lane.eq(self._at(m, Schedule.TIMES_RANGE - 1, "range_read")[1])]
        acc = self.i_sum.acc
        magnitude = Signal(shape.width, reset_less=True)
        sign, anchor = Signal(reset_less=True), Signal(shape.anchor_width, reset_less=True)
        m.d.sync += [magnitude.eq(Mux(acc[-1], -acc, acc)), sign.eq(acc[-1]), anchor.eq(self.i_sum.anchor)]

        sig, shift = normalise(m, magnitude, name="sum")
        top = shape.unit_exponent + shape.width - 1
        low = shape.unit_exponent
        high = top + (((1 << shape.anchor_width) - 1) << shape.q_log2)
        s_sign = Signal(reset_less=True)
        s_exponent = Signal(exponent_shape(low, high), reset_less=True)
        s_sig = Signal(SUM_WIDTH, reset_less=True)
        m.d.sync += [s_sign.eq(sign), s_exponent.eq((anchor << shape.q_log2) + top - shift),
                     s_sig.eq(Cat(Const(0, SUM_WIDTH), sig)[-SUM_WIDTH:])]

        def working(code, name):
            return decode(m, WORKING, code, name=name)

        gamma = working(self.i_gamma, "gamma").extended(SUM_WIDTH).unbiased(m, "gamma")
        operands = {
            Schedule.TIMES_SUM: (Unpacked(s_sign, s_exponent, s_sig), working(inv_sample, "inv_sample")),
            Schedule.TIMES_RANGE: (Unpacked(Const(0, 1), self.i_range.exponent, self.i_range.sig),
                                   working(inv_chunks, "inv_chunks")),
            Schedule.TIMES_GAMMA: (gamma, working(self._rinv, "rinv"))}
        factors = [Unpacked(Signal(1, name=f"factor{i}_sign"),
                            Signal(max((side.exponent.shape() for side in sides), key=lambda shape: shape.width),
                                   name=f"factor{i}_exponent"),
                            Signal(len(sides[0].sig), name=f"factor{i}_sig"), sides[0].bias)
                   for i, sides in enumerate(zip(*operands.values()))]
        with m.Switch(self._phase):
            for step, pair in operands.items():
                with m.Case(step % INTERVAL):
                    for factor, operand in zip(factors, pair):
                        m.d.comb += [factor.sign.eq(operand.sign), factor.exponent.eq(operand.exponent),
                                     factor.sig.eq(operand.sig)]
        self._normal_product = multiply(*factors).registered(m, "product").normalised(m, "product", limit=1)
        code, over = round_to(m, WORKING, self._normal_product, name="mean")
        narrow = Signal(WORKING.width, reset_less=True)
        m.d.sync += narrow.eq(code)
        at_mu, mu_lane = self._at(m, Schedule.ROUND_MU, "round_mu")
        at_r, r_lane = self._at(m, Schedule.ROUND_R, "round_r")
        self._over = [over & ((at_mu & self._enabled(mu_lane)) | (at_r & self._enabled(r_lane)))]
        for output, step, name in ((self.o_mu, Schedule.ROUND_MU + 1, "mu"), (self.o_r, Schedule.ROUND_R + 1, "r")):
            valid, lane = self._at(m, step, f"{name}_write")
            m.d.comb += [output.valid.eq(valid), output.lane.eq(lane), output.code.eq(narrow)]
        return narrow

    def _denominator_tag(self):
        """What accompanies a denominator: whether R is zero, and its exponent."""
        low, high = WORKING.e_min, WORKING.e_max + 1
        return Signal(name="r_is_zero"), Signal(exponent_shape(low, high), name="denominator_exponent")

    def _reciprocal_input(self, m, divider, sample_len, n_chunks, narrow):
        """1/S_eff and 1/K first, then 1/(R + eps) of each lane."""
        def whole(value, name):
            number = Unpacked(Const(0, 1), Const(len(value) - 1), value).normalised(m, name)
            return number.extended(DENOMINATOR_WIDTH)

        r = decode(m, WORKING, narrow, name="r")
        eps = decode(m, WORKING, self._tile.eps, name="eps")
        total = add(m, r, eps, DENOMINATOR_WIDTH, name="denominator").normalised(m, "denominator", limit=1)
        denominator = total.truncated(DENOMINATOR_WIDTH).unbiased(m, "denominator")

        r_is_zero, exponent = self._denominator_tag()
        at_lane, _ = self._at(m, Schedule.DENOMINATOR, "denominator")
        m.d.comb += [divider.i_dividend.eq(1 << (DENOMINATOR_WIDTH - 1)), divider.i_valid.eq(at_lane),
                     divider.i_divisor.eq(denominator.sig), exponent.eq(denominator.exponent),
                     r_is_zero.eq(r.is_zero), divider.i_tag.eq(Cat(r_is_zero, exponent))]
        for step, value in ((Schedule.INV_SAMPLE, whole(sample_len, "sample_len")),
                            (Schedule.INV_CHUNKS, whole(n_chunks, "chunks"))):
            with m.If(self._running & (self._index == step // INTERVAL) & (self._phase == step % INTERVAL)):
                m.d.comb += [divider.i_valid.eq(1), divider.i_divisor.eq(value.sig), exponent.eq(value.exponent),
                             r_is_zero.eq(0)]

    def _tile_reciprocals(self, m, divider):
        """The divider's results, rounded: 1/S_eff and 1/K to registers of the tile, Rinv to one of the lane."""
        r_is_zero, exponent = (Signal.like(part, name=f"result_{part.name}") for part in self._denominator_tag())
        m.d.comb += Cat(r_is_zero, exponent).eq(divider.o_tag)
        value = Unpacked(Const(0, 1), -exponent, Cat(divider.o_inexact, divider.o_quotient)).normalised(
            m, "reciprocal", limit=1)
        code, _ = round_to(m, WORKING, value, name="reciprocal")  # a denominator of 2^-126 or more: cannot saturate
        inv_sample, inv_chunks, self._rinv = (Signal(WORKING.width, name=name, reset_less=True)
                                              for name in ("inv_sample", "inv_chunks", "rinv"))
        with m.If(divider.o_valid):
            m.d.sync += self._rinv.eq(Mux(r_is_zero, 0, code))
            for register, step in ((inv_sample, Schedule.HAVE_INV_SAMPLE), (inv_chunks, Schedule.HAVE_INV_CHUNKS)):
                with m.If((self._index == step // INTERVAL) & (self._phase == step % INTERVAL)):
                    m.d.sync += register.eq(code)
        valid, lane = self._at(m, Schedule.ROUND_RINV + 1, "rinv_write")
        m.d.comb += [self.o_rinv.valid.eq(valid), self.o_rinv.lane.eq(lane), self.o_rinv.code.eq(self._rinv)]
        return inv_sample, inv_chunks

    def _scale(self, m):
        """a = Q_a(gamma · Rinv / C); the register holds it for three cycles."""
        config = self.config
        product, c = self._normal_product, decode(m, WORKING, self._tile.c, name="c")
        c_width = WORKING.significand_width
        quotient_exponent = comb(m, product.exponent - c.exponent, "quotient_exponent")
        m.submodules.over_c = divider = Divider(
            c_width, low_width=c_width, min_bits=config.a_fraction + 3, tag_width=1 + len(quotient_exponent),
            constant_divisor=True)
        top = product.truncated(2 * c_width).sig
        at_divide, _ = self._at(m, Schedule.OVER_C, "over_c")
        m.d.comb += [divider.i_valid.eq(at_divide), divider.i_dividend.eq(top[c_width:]),
                     divider.i_low.eq(top[:c_width]), divider.i_divisor.eq(c.sig),
                     divider.i_tag.eq(Cat(product.sign, quotient_exponent))]
        exponent = Signal(quotient_exponent.shape(), name="a_exponent")
        m.d.comb += exponent.eq(divider.o_tag[1:])
        digits = Cat(divider.o_inexact, divider.o_quotient)
        quotient = Unpacked(divider.o_tag[0], exponent, digits, product.bias - c.bias)
        code, over = round_a(m, config, quotient.normalised(m, "quotient", limit=1), name="a")
        at_round, lane = self._at(m, Schedule.ROUND_A, "round_a")
        a = Signal(config.a_format.width, reset_less=True)
        m.d.sync += a.eq(Mux(self._enabled(lane), code, 0))
        self._over.append(at_round & over & self._enabled(lane))
        return a

    def _shift(self, m, a):
        """b = Q_b(beta - mu · a)."""
        config = self.config
        m.submodules.mu = mem = memory.Memory(shape=WORKING.width, depth=1 << lane_width(config), init=[])
        write, read = mem.write_port(), mem.read_port()
        m.d.comb += [write.en.eq(self.o_mu.valid), write.addr.eq(self.o_mu.lane), write.data.eq(self.o_mu.code),
                     read.addr.eq(self._at(m, Schedule.TIMES_A - 1, "mu_read")[1])]
        exact = multiply(decode(m, WORKING, read.data, name="mu"), decode(m, config.a_format, a, name="a"))
        product = exact.negated().registered(m, "mu_a").normalised(m, "mu_a", limit=1)
        total = add(m, product, decode(m, WORKING, self.i_beta, name="beta"), config.b_format.significand_width,
                    name="b").registered(m, "b")
        code, over = round_to(m, config.b_format, total.normalised(m, "b_sum"), name="b")
        at_round, lane = self._at(m, Schedule.ROUND_B, "round_b")
        b = Signal(config.b_format.width, reset_less=True)
        m.d.sync += b.eq(Mux(self._enabled(lane), code, 0))
        self._over.append(at_round & over & self._enabled(lane))
        return b

    def _outputs(self, m, slot, a, b):
        """Constants to lanes and records, computed or, in frozen mode, as loaded."""
        config = self.config
        at_a, a_lane = self._at(m, Schedule.TIMES_A, "store_a")
        at_b, b_lane = self._at(m, Schedule.STORE_B, "store_b")
        gamma_lane, beta_lane = (self._at(m, step - 1, f"{name}_read")[1] for name, step in (
            ("gamma", Schedule.TIMES_GAMMA), ("beta", Schedule.SUBTRACT)))
        loaded, loaded_lane = Signal(), Signal(lane_width(config))
        load_lane = self._index[:lane_width(config)]
        m.d.sync += [loaded.eq(self._loading & (self._index < config.lanes)), loaded_lane.eq(load_lane)]
        m.d.comb += [self.o_gamma_lane.eq(Mux(self._loading, load_lane, gamma_lane)),
                     self.o_beta_lane.eq(Mux(self._loading, load_lane, beta_lane))]
        keep = comb(m, self._enabled(loaded_lane), "keep_loaded")
        for valid, lane, code, loaded_code, shift, output, record in (
                (at_a, a_lane, a, self.i_gamma, self.o_a_shift, self.o_a, self.o_record_a),
                (at_b, b_lane, b, self.i_beta, self.o_b_shift, self.o_b, self.o_record_b)):
            narrowed = loaded_code[WORKING.width - len(code):]
            m.d.comb += [
                shift.eq(valid | loaded), output.eq(Mux(loaded, Mux(keep, narrowed, 0), code)),
                record.valid.eq(shift), record.lane.eq(Mux(loaded, loaded_lane, lane)), record.code.eq(output)]

        last_loaded = comb(m, loaded & (loaded_lane == config.lanes - 1), "last_loaded")
        last_computed = comb(m, at_b & (b_lane == config.lanes - 1), "last_computed")
        with m.If(last_loaded):
            m.d.sync += self._loading.eq(0)
        with m.If(last_computed):
            m.d.sync += self._running.eq(0)
        m.d.sync += self.o_ready.eq(last_computed | last_loaded)
        with m.If(self.o_ready):
            m.d.sync += slot.eq(~slot)
        m.d.comb += [self.o_release.eq(self.o_ready), self.o_saturated.eq(Cat(self._over).any())]
