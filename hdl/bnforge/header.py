"""Tile headers: from 32-bit words to tile descriptions, and to the numbers of each channel for the scalar unit."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb, decode, registered, sanitise
from .config import HEADER_FIXED_WORDS, RECORD_SCALAR_WORDS, Activation, Directions, Multiplier
from .formats import FP32, WORKING
from .positions import sent_positions_layout
from .rounding import round_a, round_code
from .streams import FLAGS, is_backward, lane_width, tile_layout

__all__ = ["HeaderUnit", "widen"]

_WORD = 32


class HeaderUnit(wiring.Component):
    """Parses tile headers into two slots, used in turn.

    A tile is offered on ``o_open`` once its fixed words are in; what belongs to its channels follows into the slot's
    memories: gamma and beta, or the records of the enabled lanes. The slot is taken from the first header word until
    ``i_release`` (the scalar unit is done with it). A header that breaks the rules of docs/interfaces.md sets an error
    output for good; nothing is accepted after it.

    Latency: ``o_open`` is valid ``latency`` cycles after word 3 was accepted. One word per cycle, and one cycle for
    each disabled lane whose record is skipped, and after a header.

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

    latency = 2

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
        full, word, last, (clean, nan, inf) = self._register(m)
        taken = Signal(2)
        write_slot = Signal()
        read_slot = Signal()
        stopped = comb(m, self.o_refused | self.o_misframed, "stopped")
        # The fixed words, then for each lane the words of its channel.
        fixed = Signal(range(HEADER_FIXED_WORDS))
        in_channels = Signal()
        lane = Signal(lane_width(config))
        index = Signal(range(config.record_words if config.has_backward else 2))
        tile = Array(self.o_tiles)[write_slot]
        backward = is_backward(config, tile)
        at_start = comb(m, ~in_channels & (fixed == 0), "at_start")
        opens = comb(m, ~in_channels & (fixed == HEADER_FIXED_WORDS - 1), "opens")
        lane_end = comb(m, index == Mux(backward, config.record_words - 1, 1), "lane_end")
        last_lane, skips = lane == config.lanes - 1, Const(0)
        if config.has_backward:
            todo = Signal(config.lanes, reset_less=True)  # lanes from ``lane`` on that have words
            last_lane, skips = Signal(name="last_lane", reset_less=True), comb(m, in_channels & ~todo[0], "skips")
        at_end = comb(m, in_channels & lane_end & last_lane, "at_end")

        # The word before a tile opens waits until the tile before has been opened.
        slot_taken = comb(m, taken.bit_select(write_slot, 1), "slot_taken")
        takes = comb(m, ~stopped & ~(at_start & slot_taken) & ~(opens & self.o_open.valid) & ~skips, "takes")
        transfer = comb(m, full & takes, "transfer")
        with m.If(transfer & ~(self.i.valid & self.i.ready)):
            m.d.sync += full.eq(0)
        # Nothing of the next header is accepted before this one is known to be good.
        m.d.comb += self.i.ready.eq(~stopped & (~full | (transfer & ~at_end & ~last)))
        is_scalar = comb(m, in_channels & (~backward | (index < RECORD_SCALAR_WORDS)), "is_scalar")

        narrow, saturated = self._narrow(m, clean, in_channels, index, tile)
        reads_scale = ~tile.frozen | backward
        is_scale = ~in_channels & ((fixed == 1) | (fixed == 2)) & reads_scale
        flags_on = comb(m, is_scale | (is_scalar & tile.mask.bit_select(lane, 1)), "flags_on")
        refused = comb(m, Mux(in_channels, self._record_refused(index, clean, backward),
                              self._refused(word, fixed, clean, reads_scale)), "refused")
        misframed = comb(m, last != at_end, "misframed")

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
                    lanes = comb(m, Mux(backward, word[:config.lanes], ~Const(0, config.lanes)), "lanes")
                    m.d.sync += [todo.eq(lanes), last_lane.eq(~lanes[1:].any())]
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
                m.d.sync += [todo.eq(todo >> 1), last_lane.eq(~todo[2:].any())]
        m.d.comb += [flag.eq(registered(m, transfer & flags_on & event, f"{name}_flag")) for flag, event, name in (
            (self.o_flags.nan, nan, "nan"), (self.o_flags.infinity, inf, "infinity"))]
        m.d.comb += self.o_flags.saturated.eq(registered(m, transfer & flags_on, "saturated_flag") & saturated)
        self._store_fixed(m, transfer & ~in_channels, word, fixed, tile)
        self._store(m, transfer, narrow, in_channels, fixed, index, lane, write_slot)
        if config.has_backward:
            self._send_positions(m, transfer & in_channels & backward, word, index, lane, transfer & at_end)
        return m

    def _register(self, m):
        """The word in a register: whether there is one, the word, its end; and, as of :func:`.sanitise`, its value."""
        full = Signal()
        word = Signal(_WORD, reset_less=True)
        last = Signal(name="word_last", reset_less=True)
        clean, nan, inf = sanitise(m, FP32, self.i.payload.data, name="word")
        value = [Signal(len(part), name=f"word_{name}", reset_less=True)
                 for part, name in ((clean, "value"), (nan, "nan"), (inf, "infinity"))]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += full.eq(1)
        with m.If(self.i.ready):
            m.d.sync += [word.eq(self.i.payload.data), last.eq(self.i.payload.last),
                         Cat(value).eq(Cat(clean, nan, inf))]
        return full, word, last, value

    def _narrow(self, m, clean, in_channels, index, tile):
        """The word as a working-format code, one cycle later; a and b as their formats allow."""
        config = self.config
        as_constant = in_channels & (tile.frozen | is_backward(config, tile))
        is_a = comb(m, as_constant & (index == 0), "is_a")
        is_b = comb(m, as_constant & (index == 1), "is_b")
        formats = [(WORKING, None), (config.a_format, is_a), (config.b_format, is_b)]
        code, over = round_code(m, FP32, clean, formats, name="narrow")
        if config.multiplier is Multiplier.TWO_DIGIT:
            a_code, a_over = round_a(m, config, decode(m, FP32, clean, name="word"), name="narrow_a")
            chosen, a_code, a_over = (registered(m, value, f"two_digit_{name}")
                                      for value, name in ((is_a, "chosen"), (a_code, "code"), (a_over, "over")))
            code, over = Mux(chosen, widen(a_code), code), Mux(chosen, a_over, over)
        return comb(m, code, "narrow"), comb(m, over, "narrow_saturated")

    def _refused(self, word, fixed, clean, reads_scale):
        """Whether a fixed word breaks the rules."""
        config = self.config
        frozen, sample_len = word[3], word[16:]
        direction = {Directions.FORWARD: word[0], Directions.BACKWARD: ~word[0], Directions.BOTH: Const(0)}
        no_mode = Const(0) if config.extracts else frozen
        bad_control = (no_mode | direction[config.directions] | (word[1:3] == 3) | word[4:16].any() |
                       (~frozen & ((sample_len == 0) | (sample_len > config.sample_depth))))
        if config.is_block and not config.storage.signed:
            bad_control = bad_control | (word[1:3] == Activation.IDENTITY)
        positive = ~clean[-1] & clean[:-1].any()
        bad_mask = ~word[:config.lanes].any() | word[config.lanes:].any()
        return Array([bad_control, reads_scale & ~positive, reads_scale & clean[-1], bad_mask])[fixed]

    def _record_refused(self, index, clean, backward):
        """Whether Rinv or R of a record is negative."""
        return backward & ((index == 2) | (index == 4)) & clean[-1]

    def _store_fixed(self, m, enable, word, fixed, tile):
        with m.If(enable):
            with m.Switch(fixed):
                with m.Case(0):
                    m.d.sync += [tile.activation.eq(word[1:3]), tile.frozen.eq(word[3]),
                                 tile.sample_len.eq(word[16:])]
                    if self.config.directions is Directions.BOTH:
                        m.d.sync += tile.backward.eq(word[0])
                with m.Case(3):
                    m.d.sync += tile.mask.eq(word)

    def _store(self, m, transfer, narrow, in_channels, fixed, index, lane, write_slot):
        """C and eps, and the scalars of each channel, one memory per kind; all a cycle after they were taken."""
        transfers = Signal(name="narrow_valid")
        m.d.sync += transfers.eq(transfer)
        in_channels, fixed, index, lane, write_slot = (registered(m, value, f"narrow_{name}") for value, name in (
            (in_channels, "in_channels"), (fixed, "fixed"), (index, "index"), (lane, "lane"),
            (write_slot, "slot")))
        if self.config.has_statistics:
            with m.If(transfers & ~in_channels):
                for number, name in ((1, "c"), (2, "eps")):
                    with m.If(fixed == number):
                        m.d.sync += Array(self.o_tiles)[write_slot][name].eq(narrow)
        kinds = [("gamma", 0, self.i_gamma_lane, self.o_gamma), ("beta", 1, self.i_beta_lane, self.o_beta)]
        if self.config.has_backward:
            kinds += [("sent_rinv", 2, self.i_rinv_lane, self.o_rinv), ("sent_mean", 3, self.i_mean_lane, self.o_mean),
                      ("sent_range", 4, self.i_mean_lane, self.o_range)]
        for name, number, read_lane, output in kinds:
            m.submodules[name] = mem = memory.Memory(shape=WORKING.width, depth=2 << lane_width(self.config), init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [write.addr.eq(Cat(lane, write_slot)), write.data.eq(narrow),
                         write.en.eq(transfers & in_channels & (index == number)),
                         read.addr.eq(Cat(read_lane, self.i_slot)), output.eq(read.data)]

    def _send_positions(self, m, enable, word, index, lane, at_end):
        number = Signal(2)  # of the tile, modulo 4
        with m.If(at_end):
            m.d.sync += number.eq(number + 1)
        sent = self.o_positions
        m.d.comb += [sent.valid.eq(enable & (index >= RECORD_SCALAR_WORDS)), sent.tile.eq(number), sent.lane.eq(lane),
                     sent.word.eq(index - RECORD_SCALAR_WORDS), sent.data.eq(word)]


def widen(code):
    """A code of an eight-bit exponent format as a working-format code."""
    return Cat(Const(0, WORKING.width - len(code)), code)
