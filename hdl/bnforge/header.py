"""Tile headers: from 32-bit words to tile descriptions, and to the numbers of each channel for the scalar unit."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, decode, sanitise
from .config import HEADER_FIXED_WORDS, RECORD_SCALAR_WORDS, Activation, Directions
from .formats import FP32, WORKING
from .positions import sent_positions_layout
from .rounding import round_a, round_to
from .streams import FLAGS, is_backward, lane_width, tile_layout

__all__ = ["HeaderUnit"]

_WORD = 32


class HeaderUnit(wiring.Component):
    """Parses tile headers into two slots, used in turn.

    A tile is offered on ``o_open`` once its fixed words are in; what belongs to its channels follows into the slot's
    memories: gamma and beta, or the records of the enabled lanes. The slot is taken from the first header word until
    ``i_release`` (the scalar unit is done with it). A header that breaks the rules of docs/interfaces.md sets an error
    output for good; nothing is accepted after it.

    Latency: ``o_open`` is valid 1 cycle after word 3 was taken. One word per cycle, and one cycle for each disabled
    lane whose record is skipped.

    Members
    -------
    i : 32-bit words and ``last``
    o_open : one transfer per tile; its payload is the number of the slot
    o_tiles : the two tile descriptions
    o_complete : per slot, all words are in
    i_release : strobe, frees the oldest slot
    i_slot, i_gamma_lane, i_beta_lane : what to read
    o_gamma, o_beta : working-format codes (in frozen mode and of records a and b), one cycle later
    i_mean_lane, o_mean, o_range, i_rinv_lane, o_rinv : the same of mu, R and Rinv; only with a backward pass
    o_positions : positions of a record, as they come; only with a backward pass
    o_flags : strobes
    o_refused, o_misframed : sticky
    """

    def __init__(self, config):
        self.config = config
        word = {"data": _WORD, "last": 1}
        lane, code = lane_width(config), WORKING.width
        backward = {"i_mean_lane": In(lane), "i_rinv_lane": In(lane), "o_mean": Out(code), "o_range": Out(code),
                    "o_rinv": Out(code), "o_positions": Out(sent_positions_layout(config))}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(word))),
            "o_open": Out(stream.Signature(1)), "o_tiles": Out(tile_layout(config)).array(2), "o_complete": Out(2),
            "i_release": In(1), "i_slot": In(1), "i_gamma_lane": In(lane), "i_beta_lane": In(lane),
            "o_gamma": Out(code), "o_beta": Out(code), "o_flags": Out(FLAGS), "o_refused": Out(1),
            "o_misframed": Out(1)} | (backward if config.has_backward else {}))

    def elaborate(self, platform):
        m = Module()
        config = self.config
        taken, write_slot, read_slot = Signal(2), Signal(), Signal()
        stopped = comb(m, self.o_refused | self.o_misframed, "stopped")
        # The fixed words, then for each lane the words of its channel.
        fixed, in_channels = Signal(range(HEADER_FIXED_WORDS)), Signal()
        lane, index = Signal(lane_width(config)), Signal(range(config.record_words if config.has_backward else 2))
        tile = Array(self.o_tiles)[write_slot]
        backward = is_backward(config, tile)
        at_start = comb(m, ~in_channels & (fixed == 0), "at_start")
        opens = comb(m, ~in_channels & (fixed == HEADER_FIXED_WORDS - 1), "opens")
        lane_end = comb(m, index == Mux(backward, config.record_words - 1, 1), "lane_end")
        last_lane, skips = lane == config.lanes - 1, Const(0)
        if config.has_backward:
            todo = Signal(config.lanes, reset_less=True)  # lanes from ``lane`` on that have words
            last_lane, skips = ~todo[1:].any(), comb(m, in_channels & ~todo[0], "skips")
        at_end = comb(m, in_channels & lane_end & last_lane, "at_end")

        # The word before a tile opens waits until the tile before has been opened.
        slot_taken = comb(m, taken.bit_select(write_slot, 1), "slot_taken")
        m.d.comb += self.i.ready.eq(~stopped & ~(at_start & slot_taken) & ~(opens & self.o_open.valid) & ~skips)
        transfer = comb(m, self.i.valid & self.i.ready, "transfer")
        word = self.i.payload.data
        is_scalar = comb(m, in_channels & (~backward | (index < RECORD_SCALAR_WORDS)), "is_scalar")

        nan, inf, narrow, saturated = self._narrow(m, word, in_channels, index, tile)
        reads_scale = ~tile.frozen | backward
        is_scale = ~in_channels & ((fixed == 1) | (fixed == 2)) & reads_scale
        flags_on = comb(m, is_scale | (is_scalar & tile.mask.bit_select(lane, 1)), "flags_on")
        refused = comb(m, Mux(in_channels, self._record_refused(index, narrow, backward),
                              self._refused(word, fixed, narrow, reads_scale)), "refused")
        misframed = comb(m, self.i.payload.last != at_end, "misframed")

        with m.If(self.o_open.ready):
            m.d.sync += self.o_open.valid.eq(0)
        with m.If(self.i_release):
            m.d.sync += [taken.bit_select(read_slot, 1).eq(0), self.o_complete.bit_select(read_slot, 1).eq(0),
                         read_slot.eq(~read_slot)]
        with m.If(transfer):
            m.d.sync += [self.o_refused.eq(refused), self.o_misframed.eq(misframed), fixed.eq(fixed + ~in_channels)]
            with m.If(at_start):
                m.d.sync += taken.bit_select(write_slot, 1).eq(1)
            with m.If(opens):
                m.d.sync += [in_channels.eq(1), lane.eq(0), index.eq(0)]
                if config.has_backward:
                    m.d.sync += todo.eq(Mux(backward, word[:config.lanes], ~Const(0, config.lanes)))
            with m.If(opens & ~refused & ~misframed):
                m.d.sync += [self.o_open.valid.eq(1), self.o_open.payload.eq(write_slot)]
            with m.If(in_channels):
                m.d.sync += index.eq(Mux(lane_end, 0, index + 1))
            with m.If(at_end):
                m.d.sync += in_channels.eq(0)
            with m.If(at_end & ~misframed & ~refused):
                m.d.sync += [self.o_complete.bit_select(write_slot, 1).eq(1), write_slot.eq(~write_slot)]
        with m.If(skips | (transfer & in_channels & lane_end)):
            m.d.sync += lane.eq(lane + 1)
            if config.has_backward:
                m.d.sync += todo.eq(todo >> 1)
        m.d.comb += [flag.eq(transfer & flags_on & event) for flag, event in (
            (self.o_flags.nan, nan), (self.o_flags.infinity, inf), (self.o_flags.saturated, saturated))]
        self._store_fixed(m, transfer & ~in_channels, word, fixed, tile, narrow)
        self._store(m, transfer & in_channels, narrow, index, lane, write_slot, backward)
        if config.has_backward:
            self._send_positions(m, transfer & in_channels & backward, word, index, lane, at_end)
        return m

    def _narrow(self, m, word, in_channels, index, tile):
        """The word as a working-format code; a and b as their formats allow."""
        clean, nan, inf = sanitise(m, FP32, word, name="word")
        wide = decode(m, FP32, clean, name="word")
        code, over = round_to(m, WORKING, wide, name="narrow")
        a_code, a_over = round_a(m, self.config, wide, name="narrow_a")
        b_code, b_over = round_to(m, self.config.b_format, wide, name="narrow_b")
        as_constant = in_channels & (tile.frozen | is_backward(self.config, tile))
        is_a = comb(m, as_constant & (index == 0), "is_a")
        is_b = comb(m, as_constant & (index == 1), "is_b")
        narrow = comb(m, Mux(is_a, _widen(a_code, self.config.a_format),
                             Mux(is_b, _widen(b_code, self.config.b_format), code)), "narrow")
        saturated = comb(m, Mux(is_a, a_over, Mux(is_b, b_over, over)), "narrow_saturated")
        return nan, inf, narrow, saturated

    def _refused(self, word, fixed, narrow, reads_scale):
        """Whether a fixed word breaks the rules."""
        config = self.config
        frozen, sample_len = word[3], word[16:]
        direction = {Directions.FORWARD: word[0], Directions.BACKWARD: ~word[0], Directions.BOTH: Const(0)}
        bad_control = (direction[config.directions] | (word[1:3] == 3) | word[4:16].any() |
                       (~frozen & ((sample_len == 0) | (sample_len > config.sample_depth))))
        if config.is_block and not config.storage.signed:
            bad_control = bad_control | (word[1:3] == Activation.IDENTITY)
        positive = ~narrow[-1] & narrow[:-1].any()
        bad_mask = ~word[:config.lanes].any() | word[config.lanes:].any()
        return Array([bad_control, reads_scale & ~positive, reads_scale & narrow[-1], bad_mask])[fixed]

    def _record_refused(self, index, narrow, backward):
        """Whether Rinv or R of a record is negative."""
        return backward & ((index == 2) | (index == 4)) & narrow[-1]

    def _store_fixed(self, m, enable, word, fixed, tile, narrow):
        with m.If(enable):
            with m.Switch(fixed):
                with m.Case(0):
                    m.d.sync += [tile.activation.eq(word[1:3]), tile.frozen.eq(word[3]),
                                 tile.sample_len.eq(word[16:])]
                    if self.config.directions is Directions.BOTH:
                        m.d.sync += tile.backward.eq(word[0])
                with m.Case(1):
                    m.d.sync += tile.c.eq(narrow)
                with m.Case(2):
                    m.d.sync += tile.eps.eq(narrow)
                with m.Case(3):
                    m.d.sync += tile.mask.eq(word)

    def _store(self, m, enable, narrow, index, lane, write_slot, backward):
        """The scalars of each channel, one memory per kind."""
        kinds = [("gamma", 0, self.i_gamma_lane, self.o_gamma), ("beta", 1, self.i_beta_lane, self.o_beta)]
        if self.config.has_backward:
            kinds += [("sent_rinv", 2, self.i_rinv_lane, self.o_rinv), ("sent_mean", 3, self.i_mean_lane, self.o_mean),
                      ("sent_range", 4, self.i_mean_lane, self.o_range)]
        for name, number, read_lane, output in kinds:
            m.submodules[name] = mem = memory.Memory(shape=WORKING.width, depth=2 << lane_width(self.config), init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [write.addr.eq(Cat(lane, write_slot)), write.data.eq(narrow),
                         write.en.eq(enable & (index == number)),
                         read.addr.eq(Cat(read_lane, self.i_slot)), output.eq(read.data)]

    def _send_positions(self, m, enable, word, index, lane, at_end):
        number = Signal(2)  # of the tile, modulo 4
        with m.If(self.i.valid & self.i.ready & at_end):
            m.d.sync += number.eq(number + 1)
        sent = self.o_positions
        m.d.comb += [sent.valid.eq(enable & (index >= RECORD_SCALAR_WORDS)), sent.tile.eq(number), sent.lane.eq(lane),
                     sent.word.eq(index - RECORD_SCALAR_WORDS), sent.data.eq(word)]


def _widen(code, fmt):
    """A code of an eight-bit exponent format as a working-format code."""
    return Cat(Const(0, WORKING.width - fmt.width), code)
