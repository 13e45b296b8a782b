"""Records of sweeps: the words of docs/baselines.md, channel after channel."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..config import CHANNEL_CHUNKS, Algorithm
from ..ranges import position_layout
from ..streams import lane_width
from .words import Sweep, record_words, sweeps_of

__all__ = ["SweepRecord", "RECORD_BITS"]

RECORD_BITS = 3
"""Bits of the number of a word that the scalar unit writes."""
_WORD = 32


class SweepRecord(wiring.Component):
    """Keeps the words of a sweep's record while the scalar unit computes them, then streams them.

    One word per cycle, and one cycle for each disabled lane that is skipped. Positions of a later sweep may come
    meanwhile.

    Latency: the first word comes 3 cycles after ``i_done``.

    Members
    -------
    i_write, i_lane, i_word, i_data : words, as they come
    i_done, i_sweep, i_mask : strobe, they are complete; the sweep and its lanes
    o_free : no record is being streamed
    o : words and ``last``
    i_position_valid, i_position, i_n_chunks, i_slot : positions, as they come; with ``i_done``, chunks of the sweep and
        the number of it modulo 2; only with range statistics
    """

    def __init__(self, config):
        self.config = config
        self.ranges = config.algorithm is Algorithm.RANGE
        lane = lane_width(config)
        positions = {} if not self.ranges else {
            "i_position_valid": In(1), "i_position": In(position_layout(config)),
            "i_n_chunks": In(range(CHANNEL_CHUNKS + 1)), "i_slot": In(1)}
        super().__init__({
            "i_write": In(1), "i_lane": In(lane), "i_word": In(RECORD_BITS), "i_data": In(_WORD),
            "i_done": In(1), "i_sweep": In(Sweep), "i_mask": In(config.lanes), "o_free": Out(1),
            "o": Out(stream.Signature(data.StructLayout({"data": _WORD, "last": 1}))), **positions})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        counts = {sweep: len(record_words(config, sweep)) for sweep in sweeps_of(config)}
        most = max(counts.values())
        busy = Signal()
        lane = Signal(lane_width(config))
        word = Signal(range(most))
        todo = Signal(config.lanes, reset_less=True)
        n_words = Signal(range(most + 1), reset_less=True)
        advance = comb(m, ~self.o.valid | self.o.ready, "advance")
        fetch = comb(m, busy & todo[0] & advance, "fetch")
        lane_end = comb(m, word == n_words - 1, "lane_end")
        end = comb(m, fetch & lane_end & ~todo[1:].any(), "end")
        m.d.comb += self.o_free.eq(~busy & ~self.o.valid)
        with m.If(fetch):
            m.d.sync += word.eq(Mux(lane_end, 0, word + 1))
        with m.If((fetch & lane_end) | (busy & ~todo[0])):
            m.d.sync += [lane.eq(lane + 1), todo.eq(todo >> 1)]
        with m.If(end):
            m.d.sync += busy.eq(0)
        with m.If(self.i_done):
            m.d.sync += [busy.eq(1), lane.eq(0), word.eq(0), todo.eq(self.i_mask),
                         n_words.eq(Array([counts.get(sweep, 0) for sweep in range(8)])[self.i_sweep])]

        last = Signal(reset_less=True)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(fetch)
        with m.If(fetch):
            m.d.sync += last.eq(end)
        m.submodules.words = mem = memory.Memory(
            shape=_WORD, depth=1 << (lane_width(config) + RECORD_BITS), init=[])
        write, read = mem.write_port(), mem.read_port()
        m.d.comb += [
            write.en.eq(self.i_write), write.addr.eq(Cat(self.i_word, self.i_lane)), write.data.eq(self.i_data),
            read.en.eq(fetch), read.addr.eq(Cat((word | Const(0, RECORD_BITS))[:RECORD_BITS], lane)),
            self.o.payload.last.eq(last), self.o.payload.data.eq(read.data)]
        if self.ranges:
            self._positions(m, fetch, lane, word)
        return m

    def _positions(self, m, fetch, lane, word):
        """Words of positions; chunks that the channel does not have read 0."""
        config, at = self.config, self.i_position
        n_scalars = record_words(config, Sweep.COLLECT).index("argmax0")
        n_chunks = Signal.like(self.i_n_chunks)
        slot = Signal()
        with m.If(self.i_done):
            m.d.sync += [n_chunks.eq(self.i_n_chunks), slot.eq(self.i_slot)]
        place = comb(m, word - n_scalars, "place")[:CHANNEL_CHUNKS.bit_length()]
        chunk = place[1:]
        is_position, present, is_minimum = (Signal(name=name, reset_less=True) for name in (
            "is_position", "present", "is_minimum"))
        with m.If(fetch):
            m.d.sync += [is_position.eq(word >= n_scalars), present.eq(chunk < n_chunks), is_minimum.eq(place[0])]
        sources = []
        for name in ("argmax", "argmin"):
            m.submodules[name] = mem = memory.Memory(
                shape=config.position_width, depth=2 * CHANNEL_CHUNKS << lane_width(config), init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                write.en.eq(self.i_position_valid), write.addr.eq(Cat(at.lane, at.chunk, at.tile[0])),
                write.data.eq(at[name]), read.en.eq(fetch), read.addr.eq(Cat(lane, chunk, slot))]
            sources.append(read.data)
        with m.If(is_position):
            m.d.comb += self.o.payload.data.eq(Mux(present, Mux(is_minimum, sources[1], sources[0]), 0))
