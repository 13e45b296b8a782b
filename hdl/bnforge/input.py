"""Input stage: takes beats, cleans their elements, and tells the sample's beats apart from the rest."""

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, sanitise
from .config import SUM_BLOCK, Activation
from .recovery import exponent_limits
from .streams import FLAGS, job_layout, stored_layout, tile_layout

__all__ = ["InputStage", "beat_layout"]


def beat_layout(config):
    """A beat in the sample FIFO: sanitised codes and the end of the tile."""
    return data.StructLayout({"codes": data.ArrayLayout(config.x_format.width, config.lanes), "last": 1})


class InputStage(wiring.Component):
    """One register per stream, then the decisions of docs/interfaces.md: which tile, which chunk, sample or rest.

    A beat is *taken* when its tile is open, in a backward tile the stored beat is there too, the sample FIFO has room
    and it does not end a sum while the last sums are still being read. The extrema need no such wait: they leave a
    lane per cycle, and the next chunk ends at least ``chunk_len`` beats later, or with the sample, which waits for the
    sums. Counting is by taken beats, never by cycles.

    Latency: a beat is taken 1 cycle after it was accepted at the earliest. One beat per cycle.

    Members
    -------
    i : raw beats
    i_open, i_tiles : the next tile's slot, and the slots
    o_beat : sanitised beats to the sample FIFO
    o_codes : of the beat, sanitised
    o_summing : the beat counts in the sum; with it o_sum_first, o_sum_end: of its sample, or of its block of gradients
    o_tile : number of the tile, modulo 4
    o_job : one transfer per tile, when its statistics are complete (frozen, backward: at its first beat); its receiver
        is always ready
    i_sum_free : strobe, the sum snapshot has been read
    o_flags : strobes

    Members, forward with statistics
    --------------------------------
    o_sampling : the beat is part of the sample; with it o_position, o_chunk, o_chunk_first, o_chunk_end

    Members, backward
    -----------------
    i_y : stored beats
    i_g : codes of the gradient, after the mask
    i_y_nan, i_y_infinity : per lane, the stored element has no value
    o_y, o_activation : the stored beat that belongs to ``o_codes``, and the tile's activation; forward: identity
    o_y_reserved, o_y_limits, o_y_exponents : for each group of a block format what its exponent makes of the elements
        (:func:`~bnforge.recovery.exponent_limits`); and its code, one cycle later
    o_gradient : the beat counts in the sum of products
    o_first_block : the block is the first of its tile
    o_pass : strobe, one more beat of the tile is known to lie outside the sample; the next such beat waits for
        ``i_pass_free``
    o_finish : S_eff of each backward tile, with its last beat; its receiver is always ready
    o_unequal : sticky, the ends of dy and y differ; nothing is taken any more
    """

    def __init__(self, config):
        self.config = config
        ports = {
            "i": In(stream.Signature(beat_layout(config))),
            "i_open": In(stream.Signature(1)), "i_tiles": In(tile_layout(config)).array(2),
            "o_beat": Out(stream.Signature(beat_layout(config))),
            "o_codes": Out(config.x_format.width).array(config.lanes),
            "o_summing": Out(1), "o_sum_first": Out(1), "o_sum_end": Out(1),
            "o_tile": Out(2), "o_job": Out(stream.Signature(job_layout(config), always_ready=True)),
            "i_sum_free": In(1), "o_flags": Out(FLAGS)}
        self.samples = config.has_forward and config.has_statistics
        if self.samples:
            ports |= {"o_sampling": Out(1), "o_position": Out(config.position_width),
                      "o_chunk": Out(range(max(2, config.n_chunks))), "o_chunk_first": Out(1), "o_chunk_end": Out(1)}
        if config.has_backward:
            ports |= {
                "i_y": In(stream.Signature(stored_layout(config))),
                "i_g": In(config.x_format.width).array(config.lanes), "i_y_nan": In(config.lanes),
                "i_y_infinity": In(config.lanes), "o_y": Out(stored_layout(config)), "o_activation": Out(Activation),
                **self._block_ports(),
                "o_gradient": Out(1), "o_first_block": Out(1), "o_pass": Out(1), "i_pass_free": In(1),
                "o_finish": Out(stream.Signature(config.sample_len_width, always_ready=True)), "o_unequal": Out(1)}
        super().__init__(ports)

    def _block_ports(self):
        fmt, n = self.config.storage, self.config.n_groups
        return {"o_y_reserved": Out(1).array(n), "o_y_limits": Out(fmt.fraction_width + 2).array(n),
                "o_y_exponents": Out(fmt.exponent_width).array(n)} if self.config.is_block else {}

    def elaborate(self, platform):
        m = Module()
        config = self.config
        full, beat = self._register(m, self.i, "x", self._sanitised(m))
        is_open = Signal()
        frozen = Signal(name="frozen") if config.has_statistics else Const(1, 1)
        sample_len = Signal(config.sample_len_width)
        mask = Signal(config.lanes)
        count = Signal(config.sample_len_width)  # beats of this sample so far
        at_end = Signal(reset_less=True)  # count is sample_len - 1
        at_len = Signal(reset_less=True)  # it is sample_len
        first = Signal(init=1)
        sum_busy = Signal()
        both = config.has_forward and config.has_backward
        backward = Signal(name="backward") if both else Const(config.has_backward, 1)

        here, sum_end, hold = full & is_open, Const(0), Const(0)
        counts = Const(0)
        if config.has_backward:
            y_full, y = self._register(m, self.i_y, "y", self.i_y.payload)
            if config.is_block:
                self._exponents(m, y)
            here = here & (y_full | ~backward)
            block_end, passes = self._backward(m, beat, y, backward, frozen, at_len, here)
            sum_end = sum_end | block_end
            hold = self.o_unequal | (passes & ~self.i_pass_free)
            counts = backward & ~frozen & ~passes
        if self.samples:
            sampling = Signal(init=1)
            in_sample = comb(m, sampling & ~frozen & ~backward, "in_sample")
            sample_end = comb(m, in_sample & (beat.last | at_end), "sample_end")
            sum_end, counts = sum_end | sample_end, counts | in_sample
        sum_end = comb(m, sum_end, "sum_end")
        hold = comb(m, hold | (sum_end & sum_busy), "hold")
        m.d.comb += self.o_beat.valid.eq(here & ~hold)
        take = comb(m, self.o_beat.valid & self.o_beat.ready, "take")
        tile_end = comb(m, take & beat.last, "tile_end")

        m.d.comb += [self.i.ready.eq(~full | take), self.i_open.ready.eq(~is_open | tile_end)]
        # Full after this cycle: a beat comes, or the one that is here stays. That needs no look at ready.
        m.d.sync += full.eq(self.i.valid | (full & ~take))
        tile = Array(self.i_tiles)[self.i_open.payload]
        with m.If(take & counts):
            m.d.sync += [at_end.eq(count + 2 == sample_len), at_len.eq(at_end)]
        with m.If(self.i_open.ready):
            m.d.sync += is_open.eq(self.i_open.valid)
            with m.If(self.i_open.valid):
                if config.has_statistics:
                    m.d.sync += frozen.eq(tile.frozen)
                m.d.sync += [sample_len.eq(tile.sample_len), mask.eq(tile.mask), at_end.eq(tile.sample_len == 1),
                             at_len.eq(0)]
                if isinstance(backward, Signal):
                    m.d.sync += backward.eq(tile.backward)
                if config.has_backward:
                    activation = tile.activation
                    if isinstance(backward, Signal):
                        activation = Mux(tile.backward, activation, Activation.IDENTITY)
                    m.d.sync += self.o_activation.eq(activation)
        with m.If(take):
            m.d.sync += [count.eq(count + counts), first.eq(beat.last)]
            with m.If(sum_end):
                m.d.sync += sum_busy.eq(1)
            with m.If(beat.last):
                m.d.sync += [count.eq(0), self.o_tile.eq(self.o_tile + 1)]
        with m.If(self.i_sum_free):
            m.d.sync += sum_busy.eq(0)

        job = self.o_job
        starts_early = comb(m, backward | frozen, "starts_early")
        m.d.comb += [
            self.o_sum_end.eq(take & sum_end), job.payload.frozen.eq(frozen), job.payload.sample_len.eq(count + 1),
            job.valid.eq(take & Mux(starts_early, first, sum_end))]
        if isinstance(backward, Signal):
            m.d.comb += job.payload.backward.eq(backward)
        if self.samples:
            with m.If(take & sample_end):
                m.d.sync += sampling.eq(0)
            with m.If(tile_end):
                m.d.sync += sampling.eq(1)
            position, chunk = count[:config.position_width], count[config.position_width:]
            chunk_end = comb(m, in_sample & (position.all() | (sample_end & (chunk == 0))), "chunk_end")
            m.d.comb += [
                self.o_sampling.eq(take & in_sample), self.o_position.eq(position), self.o_chunk.eq(chunk),
                self.o_chunk_first.eq(position == 0), self.o_chunk_end.eq(take & chunk_end)]
        if config.has_backward:
            m.d.sync += y_full.eq(self.i_y.valid | (y_full & ~(take & backward)))
            m.d.comb += [
                self.i_y.ready.eq(~y_full | (take & backward)), self.o_gradient.eq(take & backward),
                self.o_pass.eq(take & passes), self.o_finish.valid.eq(take & backward & beat.last),
                self.o_finish.payload.eq(Mux(passes, count, count + 1))]
        summing = self.o_gradient if config.has_backward else Const(0)
        sum_first = self._block_first if config.has_backward else first
        if self.samples:
            summing = summing | self.o_sampling
            if config.has_backward:
                sum_first = Mux(backward, self._block_first, first)
        m.d.comb += [self.o_summing.eq(summing), self.o_sum_first.eq(sum_first)]
        self._clean(m, beat, mask, take, backward)
        return m

    def _register(self, m, port, name, payload):
        """The register of a stream: whether it holds a beat, and ``payload``. It is emptied where beats are taken."""
        full = Signal(name=f"{name}_full")
        beat = Signal(payload.shape(), name=f"{name}_beat", reset_less=True)
        # What is at the port while the register is empty comes in, valid or not: the enable is the ready alone.
        with m.If(port.ready):
            m.d.sync += beat.eq(payload)
        return full, beat

    def _sanitised(self, m):
        """The beat at the port, its codes sanitised; per lane whether it was not a number, or infinite."""
        config, raw = self.config, self.i.payload
        beat = Signal(data.StructLayout({"codes": data.ArrayLayout(config.x_format.width, config.lanes), "last": 1,
                                         "nan": config.lanes, "infinity": config.lanes}), name="x_sanitised")
        m.d.comb += beat.last.eq(raw.last)
        for lane in range(config.lanes):
            clean, is_nan, is_inf = sanitise(m, config.x_format, raw.codes[lane], name=f"x{lane}")
            m.d.comb += [beat.codes[lane].eq(clean), beat.nan[lane].eq(is_nan), beat.infinity[lane].eq(is_inf)]
        return beat

    def _exponents(self, m, y):
        """What the elements need of the exponents of their blocks; registered with them, and one cycle later."""
        for group in range(self.config.n_groups):
            reserved, limit = exponent_limits(m, self.config.storage, self.i_y.payload.exponents[group], f"y{group}")
            with m.If(self.i_y.ready):
                m.d.sync += [self.o_y_reserved[group].eq(reserved), self.o_y_limits[group].eq(limit)]
            m.d.sync += self.o_y_exponents[group].eq(y.exponents[group])

    def _backward(self, m, beat, y, backward, frozen, at_len, here):
        """Blocks of gradients, beats outside the sample, and the comparison of the ends."""
        place = Signal(range(SUM_BLOCK))
        first_block = Signal(init=1)
        at_block_end = Signal()  # place is the last
        block_end = comb(m, backward & (beat.last | at_block_end), "block_end")
        passes = comb(m, backward & (frozen | at_len), "passes")
        with m.If(self.o_gradient):
            m.d.sync += [place.eq(Mux(beat.last, 0, place + 1)),
                         at_block_end.eq(~beat.last & (place == SUM_BLOCK - 2))]
            with m.If(block_end):
                m.d.sync += first_block.eq(beat.last)
        unequal = comb(m, here & backward & (beat.last != y.last), "unequal")
        stopped = Signal()
        with m.If(unequal):
            m.d.sync += stopped.eq(1)
        self._block_first = comb(m, place == 0, "block_first")
        m.d.comb += [self.o_unequal.eq(unequal | stopped), self.o_y.eq(y), self.o_first_block.eq(first_block)]
        return block_end, passes

    def _clean(self, m, beat, mask, take, backward):
        nan, inf = beat.nan, beat.infinity
        for lane in range(self.config.lanes):
            clean = beat.codes[lane]
            code = self.i_g[lane] if self.config.has_backward else clean
            m.d.comb += [self.o_codes[lane].eq(clean), self.o_beat.payload.codes[lane].eq(code)]
        if self.config.has_backward:
            y_counts = backward.replicate(self.config.lanes)
            nan, inf = nan | (self.i_y_nan & y_counts), inf | (self.i_y_infinity & y_counts)
        m.d.comb += [self.o_beat.payload.last.eq(beat.last), self.o_flags.nan.eq(take & (nan & mask).any()),
                     self.o_flags.infinity.eq(take & (inf & mask).any())]
