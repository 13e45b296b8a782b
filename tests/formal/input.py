"""The input stage: beats of both streams in order and in pairs, sums and samples that begin and end as they should."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.arith import sanitise
from bnforge.config import SUM_BLOCK
from bnforge.input import InputStage, beat_layout
from bnforge.streams import stored_layout, tile_layout

from .fifo import Order
from .runner import assume, check, opened

__all__ = ["InputContract"]


class InputContract(wiring.Component):
    """No beat of either stream is lost, doubled or passed by another; dy and y leave their registers together.

    A tile's sample has min(n, ``sample_len``) beats: forward the first, backward the last. Gradients are added up in
    blocks of ``SUM_BLOCK`` beats and what remains; samples in one block. Where the ends of dy and y differ the beat is
    not taken, nor any after it. What the stage is promised: a sample length from 1 on, unless frozen.
    """

    def __init__(self, config):
        self.config = config
        self.dut = InputStage(config)
        names = ["i_sum_free", *(["i_pass_free", "i_y_nan", "i_y_infinity"] if config.has_backward else [])]
        self.names = names
        members = self.dut.signature.members
        super().__init__({name: In(members[name].shape) for name in names} | {
            "tiles": In(tile_layout(config)).array(2), "open_valid": In(1), "open_slot": In(1), "ready": In(1),
            "x_valid": In(1), "x": In(beat_layout(config)), "y_valid": In(1), "y": In(stored_layout(config)),
            "watch": In(1), "watch_y": In(1)})

    def elaborate(self, platform):
        m = Module()
        config, dut = self.config, self.dut
        m.submodules.dut = dut
        inside = opened(dut)
        m.d.comb += [*(getattr(dut, name).eq(getattr(self, name)) for name in self.names),
                     *(sink.eq(source) for sink, source in zip(dut.i_tiles, self.tiles)),
                     dut.i_open.valid.eq(self.open_valid), dut.i_open.payload.eq(self.open_slot),
                     dut.o_beat.ready.eq(self.ready), dut.i.valid.eq(self.x_valid), dut.i.payload.eq(self.x)]
        tile = Array(self.tiles)[self.open_slot]
        opens = self.open_valid & dut.i_open.ready
        assume(m, ~opens | tile.frozen | ((tile.sample_len != 0) & (tile.sample_len <= config.sample_depth)))

        take, beat = inside["take"], inside["beat"]
        is_open, frozen, backward, sample_len = (inside[name] for name in (
            "is_open", "frozen", "backward", "sample_len"))
        self._one_place(m, self.x_valid & dut.i.ready, self._clean(m, beat.shape()), take, beat, inside["full"],
                        self.watch)
        check(m, ~take | (is_open & inside["full"]), ~take | (dut.o_beat.payload.last == beat.last))
        if config.has_backward:
            m.d.comb += [dut.i_y.valid.eq(self.y_valid), dut.i_y.payload.eq(self.y)]
            self._one_place(m, self.y_valid & dut.i_y.ready, self.y, take & backward, dut.o_y, inside["y_full"],
                            self.watch_y)
            self._stops(m, inside, take, backward)

        # The beats of the tile so far, and of the sum; as many as matter.
        most = max(1, config.sample_depth)
        beats, in_sum, any_block = Signal(range(most + 1)), Signal(range(SUM_BLOCK + 1)), Signal()
        with m.If(take):
            m.d.sync += [beats.eq(Mux(beat.last, 0, Mux(beats == most, most, beats + 1))),
                         any_block.eq(~beat.last & (any_block | dut.o_sum_end))]
        with m.If(dut.o_summing):
            m.d.sync += in_sum.eq(Mux(dut.o_sum_end, 0, Mux(in_sum == SUM_BLOCK, SUM_BLOCK, in_sum + 1)))
        counted, first = inside["count"], inside["first"]
        reached = beats >= sample_len
        early = frozen | backward
        check(m, beats <= most, in_sum <= SUM_BLOCK, ~(is_open & frozen) | (counted == 0),
              ~is_open | frozen | (counted == Mux(reached, sample_len, beats)),
              is_open | ((beats == 0) & (counted == 0) & ~any_block), first == (beats == 0), is_open | (in_sum == 0),
              ~is_open | frozen | ((sample_len != 0) & (sample_len <= most)),
              ~is_open | frozen | ((inside["at_len"] == reached) & (inside["at_end"] == (counted + 1 == sample_len))),
              ~dut.o_sum_end | dut.o_summing, ~dut.o_summing | (dut.o_sum_first == (in_sum == 0)),
              dut.o_job.valid == (take & Mux(early, first, dut.o_sum_end)))
        if not config.has_statistics:
            check(m, in_sum == 0, ~any_block)
        if dut.samples:
            sampling = inside["sampling"]
            check(m, dut.o_sampling == (take & ~early & ~reached),
                  backward | (dut.o_sum_end == (dut.o_sampling & (beat.last | (beats + 1 == sample_len)))),
                  ~dut.o_sampling | (Cat(dut.o_position, dut.o_chunk) == beats[:config.sample_len_width - 1]),
                  ~(is_open & ~early) | (sampling == ~reached), ~(is_open & early) | sampling, is_open | sampling,
                  ~is_open | backward | ((in_sum != 0) == (sampling & ~frozen & ~first)),
                  ~(dut.o_job.valid & ~early) | (dut.o_job.payload.sample_len == beats + 1))
        if config.has_backward:
            place, first_block = inside["place"], inside["first_block"]
            on = is_open & backward
            check(m, dut.o_gradient == (take & backward), ~dut.o_gradient | dut.o_summing,
                  ~on | (place == in_sum), on | (place == 0), inside["at_block_end"] == place.all(),
                  ~on | (first_block == ~any_block), on | first_block,
                  ~dut.o_gradient | (dut.o_sum_end == (beat.last | (in_sum == SUM_BLOCK - 1))),
                  ~dut.o_gradient | (dut.o_first_block == ~any_block), in_sum != SUM_BLOCK if not config.has_forward
                  else ~on | (in_sum != SUM_BLOCK), ~on | ~first | ~any_block,
                  dut.o_pass == (dut.o_gradient & (frozen | reached)), ~dut.o_pass | self.i_pass_free,
                  dut.o_finish.valid == (dut.o_gradient & beat.last),
                  ~dut.o_finish.valid | frozen | (dut.o_finish.payload == Mux(reached, sample_len, beats + 1)))
            self.witness = dut.o_pass & beat.last & (beats == 2)
        else:
            self.witness = (dut.o_sum_end & (beats == 2)) if dut.samples else take & beat.last & (beats == 1)
        return m

    def _clean(self, m, shape):
        """What the register must hold of the beat at the input."""
        clean = Signal(shape, name="formal_clean")
        m.d.comb += clean.last.eq(self.x.last)
        for lane, code in enumerate(self.x.codes):
            value, nan, infinity = sanitise(m, self.config.x_format, code, name=f"formal{lane}")
            m.d.comb += [clean.codes[lane].eq(value), clean.nan[lane].eq(nan), clean.infinity[lane].eq(infinity)]
        return clean

    def _one_place(self, m, enter, payload, leave, register, full, watch):
        """A register that holds one beat."""
        payload, register = (value.as_value() for value in (payload, register))
        order = Order(m, enter=enter, payload=payload, leave=leave, result=register, offered=full, watch=watch,
                      capacity=1)
        check(m, order.inside == full, ~order.watching | ((order.ahead == 0) & (register == order.symbol)))

    def _stops(self, m, inside, take, backward):
        dut = self.dut
        stopped = Signal(name="formal_stopped")
        with m.If(dut.o_unequal):
            m.d.sync += stopped.eq(1)
        check(m, ~stopped | dut.o_unequal, stopped == inside["stopped"],
              ~(take & backward) | (inside["y_full"] & (inside["beat"].last == dut.o_y.last)),
              ~dut.o_unequal | ~(take | dut.o_beat.valid | dut.o_summing | dut.o_sum_end | dut.o_job.valid |
                                 dut.o_finish.valid | dut.o_pass | dut.o_flags.nan | dut.o_flags.infinity))
