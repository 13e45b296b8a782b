"""Input stage: takes beats, cleans their elements, and tells the sample's beats apart from the rest."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, sanitise
from .streams import FLAGS, job_layout, tile_layout

__all__ = ["InputStage", "beat_layout"]


def beat_layout(config):
    """A beat in the sample FIFO: sanitised codes and the end of the tile."""
    return data.StructLayout({"codes": data.ArrayLayout(config.x_format.width, config.lanes), "last": 1})


class InputStage(wiring.Component):
    """One register, then the decisions of docs/interfaces.md: which tile, which chunk, sample or rest.

    A beat is *taken* when its tile is open, the sample FIFO has room and it does not end a sample while the sums of the
    last one are still being read. The extrema need no such wait: they leave a lane per cycle, and the next
    chunk ends at least ``chunk_len`` beats later, or with the sample, which waits for the sums. Counting is by taken
    beats, never by cycles.

    Latency: a beat is taken 1 cycle after it was accepted at the earliest. One beat per cycle.

    Members
    -------
    i : raw beats
    i_open, i_tiles : the next tile's slot, and the slots
    o_beat : sanitised beats to the sample FIFO
    o_sampling : the beat is part of the sample; with it o_position, o_chunk, o_first, o_chunk_first, o_chunk_end,
        o_sample_end, which describe it
    o_tile : number of the tile, modulo 4
    o_job : one transfer per tile, when its statistics are complete (frozen: at its first beat); its receiver is
        always ready
    i_sum_free : strobe, the sum snapshot has been read
    o_flags : strobes
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(beat_layout(config))),
            "i_open": In(stream.Signature(1)), "i_tiles": In(tile_layout(config)).array(2),
            "o_beat": Out(stream.Signature(beat_layout(config))),
            "o_sampling": Out(1), "o_position": Out(config.position_width),
            "o_chunk": Out(range(max(2, config.n_chunks))),
            "o_first": Out(1), "o_chunk_first": Out(1), "o_chunk_end": Out(1), "o_sample_end": Out(1),
            "o_tile": Out(2), "o_job": Out(stream.Signature(job_layout(config), always_ready=True)),
            "i_sum_free": In(1), "o_flags": Out(FLAGS)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        full = Signal()
        beat = Signal(beat_layout(config), reset_less=True)
        is_open, frozen = Signal(), Signal()
        sample_len = Signal(config.sample_len_width)
        mask = Signal(config.lanes)
        count = Signal(config.sample_len_width)  # beats of this sample so far
        first, sampling = Signal(init=1), Signal(init=1)
        sum_busy = Signal()

        position, chunk = count[:config.position_width], count[config.position_width:]
        in_sample = comb(m, sampling & ~frozen, "in_sample")
        sample_end = comb(m, in_sample & (beat.last | (count + 1 == sample_len)), "sample_end")
        chunk_full = position.all()
        chunk_end = comb(m, in_sample & (chunk_full | (sample_end & (chunk == 0))), "chunk_end")
        hold = comb(m, sample_end & sum_busy, "hold")
        m.d.comb += [
            self.o_beat.valid.eq(full & is_open & ~hold),
            self.i.ready.eq(~full | (self.o_beat.valid & self.o_beat.ready))]
        take = comb(m, self.o_beat.valid & self.o_beat.ready, "take")

        with m.If(take):
            m.d.sync += full.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [full.eq(1), beat.eq(self.i.payload)]

        tile_end = comb(m, take & beat.last, "tile_end")
        m.d.comb += self.i_open.ready.eq(~is_open | tile_end)
        tile = Array(self.i_tiles)[self.i_open.payload]
        with m.If(self.i_open.ready):
            m.d.sync += is_open.eq(self.i_open.valid)
            with m.If(self.i_open.valid):
                m.d.sync += [frozen.eq(tile.frozen), sample_len.eq(tile.sample_len), mask.eq(tile.mask)]
        with m.If(take):
            m.d.sync += [count.eq(count + in_sample), first.eq(beat.last)]
            with m.If(sample_end):
                m.d.sync += [sampling.eq(0), sum_busy.eq(1)]
            with m.If(beat.last):
                m.d.sync += [count.eq(0), sampling.eq(1), self.o_tile.eq(self.o_tile + 1)]
        with m.If(self.i_sum_free):
            m.d.sync += sum_busy.eq(0)

        m.d.comb += [
            self.o_sampling.eq(take & in_sample), self.o_position.eq(position), self.o_chunk.eq(chunk),
            self.o_first.eq(first), self.o_chunk_first.eq(position == 0), self.o_chunk_end.eq(take & chunk_end),
            self.o_sample_end.eq(take & sample_end),
            self.o_job.valid.eq(take & Mux(frozen, first, sample_end)),
            self.o_job.payload.frozen.eq(frozen), self.o_job.payload.sample_len.eq(count + 1)]
        self._clean(m, beat, mask, take)
        return m

    def _clean(self, m, beat, mask, take):
        nan, inf = [], []
        for lane in range(self.config.lanes):
            clean, is_nan, is_inf = sanitise(m, self.config.x_format, beat.codes[lane], name=f"x{lane}")
            m.d.comb += self.o_beat.payload.codes[lane].eq(clean)
            nan.append(is_nan)
            inf.append(is_inf)
        m.d.comb += [self.o_beat.payload.last.eq(beat.last),
                     self.o_flags.nan.eq(take & (Cat(nan) & mask).any()),
                     self.o_flags.infinity.eq(take & (Cat(inf) & mask).any())]
