"""Positions of the extrema, kept from the records of a backward tile until its sample leaves."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .config import RECORD_SCALAR_WORDS
from .streams import lane_width

__all__ = ["PositionLoader", "sent_positions_layout", "position_pair_layout"]

_WORD = 32


def _word_bits(config):
    """Bits of the number of a position word in a record."""
    return (config.record_words - RECORD_SCALAR_WORDS - 1).bit_length()


def sent_positions_layout(config):
    """One position word of a record; the number of its tile modulo 4."""
    return data.StructLayout({"valid": 1, "tile": 2, "lane": lane_width(config), "word": max(1, _word_bits(config)),
                              "data": _WORD})


def position_pair_layout(config):
    """Chunk-relative positions of the extrema of one chunk."""
    return data.StructLayout({"argmax": config.position_width, "argmin": config.position_width})


class PositionLoader(wiring.Component):
    """Brings the positions of one chunk after the other to the lanes, while the sample of a tile leaves.

    The lanes hold two sets, of the chunk that leaves and of the next. Loading takes ``lanes`` cycles and may begin in
    the cycle in which the sets change places, so it never stalls a chunk of ``lanes`` beats or more. There are places
    for four tiles.

    Members
    -------
    i_sent : position words, as they come
    i_start, i_tile, i_n_chunks : strobe, the sample of a tile will leave next; its number modulo 4, and its chunks. At
        most one tile may start while another one's chunks are being loaded.
    o_shift, o_pair : positions, lane by lane
    o_valid : the next set is complete
    i_swap : strobe, it takes the place of the present one
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_sent": In(sent_positions_layout(config)),
            "i_start": In(1), "i_tile": In(2), "i_n_chunks": In(range(config.n_chunks + 1)),
            "o_shift": Out(1), "o_pair": Out(position_pair_layout(config)), "o_valid": Out(1), "i_swap": In(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        per_word, n_word_bits = config.positions_per_word, _word_bits(config)
        pair, chunk_bits = position_pair_layout(config), per_word - 1
        waiting = Signal()
        waiting_tile = Signal(2)
        waiting_chunks = Signal.like(self.i_n_chunks)
        loading = Signal()
        tile = Signal(2)
        n_chunks = Signal.like(self.i_n_chunks)
        chunk = Signal(range(max(2, config.n_chunks)))
        lane = Signal(lane_width(config))

        shift = comb(m, loading & (~self.o_valid | self.i_swap), "shift")
        last_lane = comb(m, lane == config.lanes - 1, "last_lane")
        set_end = comb(m, shift & last_lane, "set_end")
        tile_end = comb(m, set_end & (chunk == n_chunks - 1), "tile_end")
        takes = comb(m, waiting & ~loading, "takes")
        m.d.comb += self.o_shift.eq(shift)
        with m.If(self.i_swap):
            m.d.sync += self.o_valid.eq(0)
        with m.If(set_end):
            m.d.sync += self.o_valid.eq(1)
        with m.If(takes):
            m.d.sync += [waiting.eq(0), tile.eq(waiting_tile), n_chunks.eq(waiting_chunks)]
        with m.If(self.i_start):
            m.d.sync += [waiting.eq(1), waiting_tile.eq(self.i_tile), waiting_chunks.eq(self.i_n_chunks)]

        # What is read is one step ahead of what is shifted: the memory's output always belongs to ``chunk``, ``lane``.
        next_chunk = comb(m, Mux(set_end, chunk + 1, chunk)[:len(chunk)], "next_chunk")
        next_lane = comb(m, Mux(shift, Mux(last_lane, 0, lane + 1), lane)[:len(lane)], "next_lane")
        m.d.sync += [chunk.eq(Mux(takes, 0, next_chunk)), lane.eq(Mux(takes, 0, next_lane)),
                     loading.eq((loading & ~tile_end) | takes)]
        read_tile = Mux(takes, waiting_tile, tile)
        read_chunk = comb(m, Mux(takes, 0, next_chunk), "read_chunk")
        read_lane = comb(m, Mux(takes, 0, next_lane), "read_lane")

        m.submodules.kept = mem = memory.Memory(
            shape=data.ArrayLayout(pair, per_word), depth=1 << (2 + lane_width(config) + n_word_bits), init=[])
        write, read = mem.write_port(), mem.read_port()
        sent, field = self.i_sent, _WORD // per_word // 2
        m.d.comb += [
            write.en.eq(sent.valid), write.addr.eq(_address(sent.tile, sent.lane, sent.word[:n_word_bits])),
            read.addr.eq(_address(read_tile, read_lane, read_chunk[chunk_bits:][:n_word_bits]))]
        for i in range(per_word):
            first = sent.data[2 * i * field:]
            m.d.comb += [write.data[i].argmax.eq(first[:config.position_width]),
                         write.data[i].argmin.eq(first[field:field + config.position_width])]
        m.d.comb += self.o_pair.eq(read.data[chunk[:chunk_bits]] if chunk_bits else read.data[0])
        return m


def _address(tile, lane, word):
    return Cat(word, lane, tile)
