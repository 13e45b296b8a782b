"""Tile headers: from 32-bit words to tile descriptions, and gamma and beta for the constant extraction."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, decode, sanitise
from .config import HEADER_FIXED_WORDS, Activation
from .formats import FP32, WORKING
from .rounding import round_a, round_to
from .streams import FLAGS, lane_width, tile_layout

__all__ = ["HeaderUnit"]

_WORD = 32


class HeaderUnit(wiring.Component):
    """Parses tile headers into two slots, used in turn.

    A tile is offered on ``o_open`` once its fixed words are in; gamma and beta follow into the slot's memory.
    The slot is taken from the first header word until ``i_release`` (its constants are computed). A header
    that breaks the rules of docs/interfaces.md sets an error output for good; nothing is accepted after it.

    Latency: ``o_open`` is valid 1 cycle after word 3 was taken. One word per cycle.

    Members
    -------
    i : 32-bit words and ``last``
    o_open : one transfer per tile; its payload is the number of the slot
    o_tiles : the two tile descriptions
    o_complete : per slot, all words are in
    i_release : strobe, frees the oldest slot
    i_slot, i_gamma_lane, i_beta_lane : what to read
    o_gamma, o_beta : working-format codes (in frozen mode a and b), one cycle later
    o_flags : strobes
    o_refused, o_misframed : sticky
    """

    def __init__(self, config):
        self.config = config
        word = {"data": _WORD, "last": 1}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(word))),
            "o_open": Out(stream.Signature(1)), "o_tiles": Out(tile_layout(config)).array(2), "o_complete": Out(2),
            "i_release": In(1),
            "i_slot": In(1), "i_gamma_lane": In(lane_width(config)), "i_beta_lane": In(lane_width(config)),
            "o_gamma": Out(WORKING.width), "o_beta": Out(WORKING.width),
            "o_flags": Out(FLAGS), "o_refused": Out(1), "o_misframed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        taken, write_slot, read_slot = Signal(2), Signal(), Signal()
        index = Signal(range(config.header_words))
        stopped = comb(m, self.o_refused | self.o_misframed, "stopped")
        at_start = comb(m, index == 0, "at_start")
        # The word before a tile opens waits until the tile before has been opened.
        opens = comb(m, index == HEADER_FIXED_WORDS - 1, "opens")
        slot_taken = comb(m, taken.bit_select(write_slot, 1), "slot_taken")
        m.d.comb += self.i.ready.eq(~stopped & ~(at_start & slot_taken) & ~(opens & self.o_open.valid))
        transfer = comb(m, self.i.valid & self.i.ready, "transfer")
        word = self.i.payload.data
        at_end = comb(m, index == config.header_words - 1, "at_end")

        tiles = Array(self.o_tiles)
        tile = tiles[write_slot]
        nan, inf, narrow, saturated = self._narrow(m, word, index, tile)
        flags_on = comb(m, self._flags_apply(index, tile), "flags_on")
        refused = comb(m, self._refused(word, index, tile, narrow), "refused")
        misframed = comb(m, self.i.payload.last != at_end, "misframed")

        with m.If(self.o_open.ready):
            m.d.sync += self.o_open.valid.eq(0)
        with m.If(self.i_release):
            m.d.sync += [taken.bit_select(read_slot, 1).eq(0), self.o_complete.bit_select(read_slot, 1).eq(0),
                         read_slot.eq(~read_slot)]
        with m.If(transfer):
            m.d.sync += [index.eq(Mux(at_end, 0, index + 1)), self.o_refused.eq(refused),
                         self.o_misframed.eq(misframed)]
            with m.If(at_start):
                m.d.sync += taken.bit_select(write_slot, 1).eq(1)
            with m.If(opens & ~refused & ~misframed):
                m.d.sync += [self.o_open.valid.eq(1), self.o_open.payload.eq(write_slot)]
            with m.If(at_end & ~misframed):
                m.d.sync += [self.o_complete.bit_select(write_slot, 1).eq(1), write_slot.eq(~write_slot)]
        m.d.comb += [flag.eq(transfer & flags_on & event) for flag, event in (
            (self.o_flags.nan, nan), (self.o_flags.infinity, inf), (self.o_flags.saturated, saturated))]
        self._store(m, transfer, word, index, write_slot, tile, narrow)
        return m

    def _narrow(self, m, word, index, tile):
        """The word as a working-format code; in frozen mode gamma and beta as the formats of a and b allow."""
        clean, nan, inf = sanitise(m, FP32, word, name="word")
        wide = decode(m, FP32, clean, name="word")
        code, over = round_to(m, WORKING, wide, name="narrow")
        a_code, a_over = round_a(m, self.config, wide, name="narrow_a")
        b_code, b_over = round_to(m, self.config.b_format, wide, name="narrow_b")
        frozen = comb(m, tile.frozen & (index >= HEADER_FIXED_WORDS), "frozen_word")
        is_beta = index[0]
        narrow_frozen = Mux(is_beta, _widen(b_code, self.config.b_format), _widen(a_code, self.config.a_format))
        narrow = comb(m, Mux(frozen, narrow_frozen, code), "narrow")
        saturated = comb(m, Mux(frozen, Mux(is_beta, b_over, a_over), over), "narrow_saturated")
        return nan, inf, narrow, saturated

    def _flags_apply(self, index, tile):
        """Whether the value of this word counts: C and eps unless frozen, gamma and beta of enabled lanes."""
        is_scale = ((index == 1) | (index == 2)) & ~tile.frozen
        lane = (index - HEADER_FIXED_WORDS)[1:1 + lane_width(self.config)]
        return is_scale | ((index >= HEADER_FIXED_WORDS) & tile.mask.bit_select(lane, 1))

    def _refused(self, word, index, tile, narrow):
        config = self.config
        frozen, sample_len = word[3], word[16:]
        identity = word[1:3] == Activation.IDENTITY
        bad_control = (word[0] | (word[1:3] == 3) | word[4:16].any() |
                       (~frozen & ((sample_len == 0) | (sample_len > config.sample_depth))))
        if config.is_block and not config.storage.signed:
            bad_control = bad_control | identity
        positive = ~narrow[-1] & narrow[:-1].any()
        bad_mask = ~word[:config.lanes].any() | word[config.lanes:].any()
        return Array([bad_control, ~tile.frozen & ~positive, ~tile.frozen & narrow[-1], bad_mask, Const(0)])[
            Mux(index < HEADER_FIXED_WORDS, index[:2], HEADER_FIXED_WORDS)]

    def _store(self, m, transfer, word, index, write_slot, tile, narrow):
        with m.If(transfer):
            with m.Switch(index):
                with m.Case(0):
                    m.d.sync += [tile.activation.eq(word[1:3]), tile.frozen.eq(word[3]),
                                 tile.sample_len.eq(word[16:])]
                with m.Case(1):
                    m.d.sync += tile.c.eq(narrow)
                with m.Case(2):
                    m.d.sync += tile.eps.eq(narrow)
                with m.Case(3):
                    m.d.sync += tile.mask.eq(word)
        width = lane_width(self.config)
        lane = (index - HEADER_FIXED_WORDS)[1:1 + width]
        for name, odd, read_lane, output in (("gamma", 0, self.i_gamma_lane, self.o_gamma),
                                             ("beta", 1, self.i_beta_lane, self.o_beta)):
            m.submodules[name] = mem = memory.Memory(shape=WORKING.width, depth=2 << width, init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                write.addr.eq(Cat(lane, write_slot)), write.data.eq(narrow),
                write.en.eq(transfer & (index >= HEADER_FIXED_WORDS) & (index[0] == odd)),
                read.addr.eq(Cat(read_lane, self.i_slot)), output.eq(read.data)]


def _widen(code, fmt):
    """A code of an eight-bit exponent format as a working-format code."""
    return Cat(Const(0, WORKING.width - fmt.width), code)
