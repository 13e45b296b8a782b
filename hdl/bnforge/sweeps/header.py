"""Headers of sweeps: from 32-bit words to the description of a tile, lane constants, and parameters of the scalar unit.

The words are those of docs/baselines.md.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb, decode, sanitise
from ..config import CHANNEL_CHUNKS, COUNT_WIDTH, Activation, Algorithm
from ..formats import FP32, WORKING
from ..header import widen
from ..rounding import round_to
from ..streams import FLAGS, lane_width
from .lane import REGISTERS, register_of
from .words import Sweep, fixed_words, has_sums, param_words, sweeps_of

__all__ = ["SweepHeader", "sweep_layout", "PARAM_BITS"]

_WORD = 32
PARAM_BITS = 3
"""Bits of the number of a parameter that the scalar unit reads."""
_SCALES, _SHIFTS = ("a", "e"), ("b", "c", "base", "plus", "minus")
_NOT_NEGATIVE = ("rinv", "r", "rstd")


def sweep_layout(config):
    """What a header says of its sweep."""
    chunks = {} if config.algorithm is not Algorithm.RANGE else {
        "c": WORKING.width, "chunk_len": config.position_width, "n_chunks": range(CHANNEL_CHUNKS + 1)}
    return data.StructLayout({"sweep": Sweep, "activation": Activation, "n": COUNT_WIDTH, "eps": WORKING.width,
                              "mask": config.lanes, **chunks})


class SweepHeader(wiring.Component):
    """Parses one header after the other; the next begins when the sweep has been released.

    Latency: ``o_start`` comes 2 cycles after the last word was taken. One word per cycle, and one cycle for each
    disabled lane that is skipped.

    Members
    -------
    i : 32-bit words and ``last``
    o_tile : the sweep, from ``o_start`` to ``i_release``
    o_start : strobe, the header is complete
    i_release : strobe, the next header may come
    o_load, o_lane, o_scale, o_shift, o_mean : strobes by lane register (:data:`.REGISTERS`), and what to load
    o_positions, o_chunk, o_position : strobes, an argmax and an argmin of lane ``o_lane``; only with range statistics
    i_slot, i_read_lane, i_read_word, o_param : parameters for the scalar unit, one cycle later; those of two headers
        are kept, in slots that change with every header of a sweep with sums
    o_slot : the slot of this header
    o_flags : strobes
    o_refused, o_misframed : sticky
    """

    def __init__(self, config):
        self.config = config
        self.registers = REGISTERS[config.algorithm]
        lane = lane_width(config)
        positions = {} if config.algorithm is not Algorithm.RANGE else {
            "o_positions": Out(2), "o_chunk": Out(range(CHANNEL_CHUNKS)), "o_position": Out(config.position_width)}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": _WORD, "last": 1}))),
            "o_tile": Out(sweep_layout(config)), "o_start": Out(1), "i_release": In(1),
            "o_load": Out(len(self.registers)), "o_lane": Out(lane), "o_scale": Out(config.a_format.width),
            "o_shift": Out(config.b_format.width), "o_mean": Out(WORKING.width), **positions,
            "i_slot": In(1), "i_read_lane": In(lane), "i_read_word": In(PARAM_BITS), "o_param": Out(WORKING.width),
            "o_slot": Out(1), "o_flags": Out(FLAGS), "o_refused": Out(1), "o_misframed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config, n_fixed = self.config, fixed_words(self.config)
        sweeps = sweeps_of(config)
        counts = {sweep: len(param_words(config, sweep)) for sweep in sweeps}
        most = max(counts.values())
        busy = Signal()
        in_channels = Signal()
        fixed = Signal(range(n_fixed))
        index = Signal(range(most))
        lane = Signal(lane_width(config))
        todo = Signal(config.lanes, reset_less=True)  # lanes from ``lane`` on that have words
        stopped = comb(m, self.o_refused | self.o_misframed, "stopped")
        n_words = Signal(range(most + 1))  # per channel
        m.d.comb += n_words.eq(Array([counts.get(sweep, 0) for sweep in range(8)])[self.o_tile.sweep])

        skips = comb(m, in_channels & ~todo[0], "skips")
        m.d.comb += self.i.ready.eq(~busy & ~skips & ~stopped)
        transfer = comb(m, self.i.valid & self.i.ready, "transfer")
        fixed_end = comb(m, ~in_channels & (fixed == n_fixed - 1), "fixed_end")
        lane_end = comb(m, in_channels & (index == n_words - 1), "lane_end")
        end = comb(m, (fixed_end & (n_words == 0)) | (lane_end & ~todo[1:].any()), "end")
        with m.If(transfer):
            with m.If(~in_channels):
                m.d.sync += fixed.eq(Mux(fixed_end, 0, fixed + 1))
                with m.If(fixed == 3):
                    m.d.sync += todo.eq(self.i.payload.data)
            with m.If(fixed_end):
                m.d.sync += [in_channels.eq(~end), lane.eq(0), index.eq(0)]
            with m.If(in_channels):
                m.d.sync += index.eq(Mux(lane_end, 0, index + 1))
            with m.If(end):
                m.d.sync += [in_channels.eq(0), busy.eq(1)]
        with m.If(skips | (transfer & lane_end)):
            m.d.sync += [lane.eq(lane + 1), todo.eq(todo >> 1)]
        with m.If(self.i_release):
            m.d.sync += busy.eq(0)

        # One cycle later the word is narrowed, checked and stored.
        valid = Signal()
        ended = Signal()
        misframed = Signal()
        word = Signal(_WORD, reset_less=True)
        at = Signal(_place_layout(config, n_fixed, most), reset_less=True)
        m.d.sync += [valid.eq(transfer), ended.eq(transfer & end), misframed.eq(self.i.payload.last != end),
                     word.eq(self.i.payload.data), at.fixed.eq(fixed), at.in_channels.eq(in_channels),
                     at.index.eq(index), at.lane.eq(lane)]
        refused = self._words(m, valid, word, at)
        with m.If(valid & ~stopped):
            m.d.sync += [self.o_refused.eq(refused), self.o_misframed.eq(misframed)]
        m.d.sync += self.o_start.eq(ended & ~stopped & ~refused & ~misframed)
        sums = comb(m, Cat(self.o_tile.sweep == sweep for sweep in sweeps if has_sums(config, sweep)).any(), "sums")
        with m.If(self.i_release & sums):
            m.d.sync += self.o_slot.eq(~self.o_slot)
        return m

    def _words(self, m, valid, word, at):
        """Narrows and stores the word; returns whether it breaks the rules."""
        config = self.config
        clean, nan, inf = sanitise(m, FP32, word, name="word")
        wide = decode(m, FP32, clean, name="word")
        code, over = round_to(m, WORKING, wide, name="narrow")
        a_code, a_over = round_to(m, config.a_format, wide, name="narrow_a")
        b_code, b_over = round_to(m, config.b_format, wide, name="narrow_b")
        names = {}
        for sweep in sweeps_of(config):
            for number, name in enumerate(param_words(config, sweep)):
                here = comb(m, (self.o_tile.sweep == sweep) & (at.index == number), f"is_{sweep.name.lower()}_{name}")
                names.setdefault("position" if name.startswith("arg") else name, []).append((sweep, number, here))
        in_channel = comb(m, valid & at.in_channels, "in_channel")

        def is_any(kinds, label):
            return comb(m, at.in_channels & Cat(here for kind in kinds for _s, _n, here in names.get(kind, ())).any(),
                        f"is_{label}")

        is_a, is_b, is_position = is_any(_SCALES, "scale"), is_any(_SHIFTS, "shift"), is_any(("position",), "position")
        narrow = comb(m, Mux(is_a, widen(a_code), Mux(is_b, widen(b_code), code)), "narrowed")
        self._store(m, in_channel, at, narrow)
        m.d.comb += [self.o_lane.eq(at.lane), self.o_scale.eq(a_code), self.o_shift.eq(b_code), self.o_mean.eq(code)]
        loads = {name: [] for name in self.registers}
        for name, places in names.items():
            for sweep, _number, here in places:
                register = register_of(config, sweep, name)
                if register is not None:
                    loads[register].append(here)
        m.d.comb += self.o_load.eq(Cat(in_channel & Cat(here).any() for here in loads.values()))
        if config.algorithm is Algorithm.RANGE:
            first = param_words(config, Sweep.GRADIENT).index("argmax0")
            place = (at.index - first)[:CHANNEL_CHUNKS.bit_length()]
            m.d.comb += [self.o_positions.eq(Mux(in_channel & is_position, Cat(~place[0], place[0]), 0)),
                         self.o_chunk.eq(place[1:]), self.o_position.eq(word)]
        is_eps = comb(m, ~at.in_channels & ((at.fixed == 2) | (at.fixed == 4)), "is_eps")
        is_number = comb(m, valid & (is_eps | (at.in_channels & ~is_position)), "is_number")
        saturated = Mux(is_a, a_over, Mux(is_b, b_over, over))
        m.d.comb += [flag.eq(is_number & event) for flag, event in (
            (self.o_flags.nan, nan), (self.o_flags.infinity, inf), (self.o_flags.saturated, saturated))]
        negative = is_any(_NOT_NEGATIVE, "not_negative") & code[-1]
        far = is_position & word[config.position_width:].any()
        return comb(m, Mux(at.in_channels, negative | far, self._fixed(m, valid, word, code, at.fixed)), "refused")

    def _fixed(self, m, valid, word, code, fixed):
        """Stores a fixed word; returns whether it is refused."""
        config, tile = self.config, self.o_tile
        ranges = config.algorithm is Algorithm.RANGE
        known = Cat(word[:3] == sweep for sweep in sweeps_of(config)).any()
        refused = [
            ~known | (word[3:5] > (Activation.RELU6 if ranges else Activation.RELU)) | word[5:].any(),
            ~word.any() | word[COUNT_WIDTH:].any(), code[-1], ~word[:config.lanes].any() | word[config.lanes:].any()]
        stores = [[tile.sweep.eq(word[:3]), tile.activation.eq(word[3:5])], [tile.n.eq(word)], [tile.eps.eq(code)],
                  [tile.mask.eq(word)]]
        if ranges:
            length, chunks = word[:config.position_width], word[24:28]
            expected = (tile.n + (CHANNEL_CHUNKS - 1))[CHANNEL_CHUNKS.bit_length() - 1:]
            refused += [code[-1] | ~code.any(),
                        (length != expected) | (chunks == 0) | (chunks > CHANNEL_CHUNKS) |
                        word[config.position_width:24].any() | word[28:].any()]
            stores += [[tile.c.eq(code)], [tile.chunk_len.eq(length), tile.n_chunks.eq(chunks)]]
        for number, statements in enumerate(stores):
            with m.If(valid & (fixed == number) & ~self._in_channels):
                m.d.sync += statements
        return Array(refused)[fixed]

    def _store(self, m, enable, at, narrow):
        """Parameters, lane by lane."""
        m.submodules.params = mem = memory.Memory(
            shape=WORKING.width, depth=2 << (lane_width(self.config) + PARAM_BITS), init=[])
        write, read = mem.write_port(), mem.read_port()
        self._in_channels = at.in_channels
        m.d.comb += [
            write.en.eq(enable & (at.index < 1 << PARAM_BITS)), write.data.eq(narrow),
            write.addr.eq(Cat(at.index[:PARAM_BITS] | Const(0, PARAM_BITS), at.lane, self.o_slot)),
            read.addr.eq(Cat(self.i_read_word, self.i_read_lane, self.i_slot)), self.o_param.eq(read.data)]


def _place_layout(config, n_fixed, most):
    """Where a word stands."""
    return data.StructLayout({"fixed": range(n_fixed), "in_channels": 1, "index": range(most),
                              "lane": lane_width(config)})
