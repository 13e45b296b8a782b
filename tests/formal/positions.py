"""Positions of the extrema: what a record says of a lane and a chunk is what that lane meets in that chunk."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from bnforge.config import RECORD_SCALAR_WORDS
from bnforge.positions import PositionLoader

from .runner import assume, check, opened

__all__ = ["PositionContract"]


class PositionContract(wiring.Component):
    """Sets of positions reach all lanes complete, each lane its own.

    A free input chooses the position word that is *watched*, any one of any tile. It is followed from the record
    through the memory and the chain of the lanes to the set in use. What the loader is promised
    (:class:`.gradient.PositionSets` proves it): a tile starts only when none waits; while it waits and is being loaded
    no word of its number comes; a set is taken only when complete.
    """

    def __init__(self, config):
        self.config = config
        self.dut = PositionLoader(config)
        members = self.dut.signature.members.items()
        super().__init__({name: In(member.shape) for name, member in members if member.flow is In} | {"watch": In(1)})

    def elaborate(self, platform):
        m = Module()
        config, dut, sent = self.config, self.dut, self.i_sent
        m.submodules.dut = dut
        m.d.comb += [getattr(dut, name).eq(getattr(self, name)) for name in self.signature.members if name != "watch"]
        inside = opened(dut)
        waiting, waiting_tile, loading, tile, chunk, lane, set_end = (inside[name] for name in (
            "waiting", "waiting_tile", "loading", "tile", "chunk", "lane", "set_end"))
        assume(m, ~sent.valid | ((sent.lane < config.lanes) & (sent.word < config.record_words - RECORD_SCALAR_WORDS)),
               ~self.i_start | (~waiting & (self.i_n_chunks != 0) & (self.i_n_chunks <= config.n_chunks)),
               ~(sent.valid & waiting) | (sent.tile != waiting_tile), ~(sent.valid & loading) | (sent.tile != tile),
               ~self.i_swap | dut.o_valid)

        # The watched word, until another one takes its place.
        watching, replaced, word = Signal(), Signal(), Signal.like(sent, name="word")
        address = (sent.tile, sent.lane, sent.word)
        with m.If(~watching & sent.valid & self.watch):
            m.d.sync += [watching.eq(1), word.eq(sent)]
        with m.If(watching & sent.valid & (Cat(address) == Cat(word.tile, word.lane, word.word))):
            m.d.sync += replaced.eq(1)
        current = watching & ~replaced

        # In the memory, and read ahead of its turn.
        per_word = config.positions_per_word
        field, chunk_bits = 16 // per_word, per_word - 1
        pairs = Array(Cat(word.data[2 * i * field:][:config.position_width],
                          word.data[(2 * i + 1) * field:][:config.position_width]) for i in range(per_word))
        memory = inside.submodules.kept
        write, read = memory.write_ports[0], memory.read_ports[0]
        probe = memory.read_port(domain="comb")
        n_word_bits = len(write.addr) - len(sent.lane) - 2
        # Not the registers alone: Yosys would read one cycle ahead, into a register that the invariant does not know.
        m.d.comb += probe.addr.eq(Mux(current, Cat(word.word[:n_word_bits], word.lane, word.tile), 0))
        of_set = current & (word.tile == tile) & (word.word == chunk >> chunk_bits)
        for i in range(per_word):
            check(m, ~current | (probe.data[i].as_value() == pairs[i]),
                  ~(loading & of_set & (word.lane == lane)) | (read.data[i].as_value() == pairs[i]))

        # In the lanes: the chain, and the set in use.
        def pair_of(number):
            return pairs[number[:chunk_bits]] if chunk_bits else pairs[0]

        width = 2 * config.position_width
        chain, used = ([Signal(width, name=f"{name}{i}") for i in range(config.lanes)] for name in ("next", "used"))
        with m.If(dut.o_shift):
            m.d.sync += [now.eq(after) for now, after in zip(chain, [*chain[1:], dut.o_pair])]
        complete, complete_chunk = Signal(), Signal.like(chunk, name="complete_chunk")
        in_use, used_chunk = Signal(), Signal.like(chunk, name="used_chunk")
        with m.If(self.i_swap):
            m.d.sync += [*(now.eq(before) for now, before in zip(used, chain)), in_use.eq(complete),
                         used_chunk.eq(complete_chunk)]
        with m.If(set_end):
            m.d.sync += [complete.eq(of_set), complete_chunk.eq(chunk)]
        for i in range(config.lanes):
            for moved in range(i + 1, config.lanes + 1):
                check(m, ~(loading & of_set & (word.lane == i) & (lane == moved)) | (
                    chain[config.lanes - moved + i] == pair_of(chunk)))
            mine = watching & (word.lane == i)
            check(m, ~(dut.o_valid & complete & mine) | (chain[i] == pair_of(complete_chunk)),
                  ~(in_use & mine) | (used[i] == pair_of(used_chunk)))
        check(m, ~watching | ((word.lane < config.lanes) & (word.word < config.record_words - RECORD_SCALAR_WORDS)),
              lane < config.lanes, ~complete | watching, ~in_use | watching, ~(dut.o_valid & loading) | (lane == 0),
              ~set_end | (lane == config.lanes - 1), ~dut.o_shift | loading,
              ~dut.o_valid | ~dut.o_shift | self.i_swap)
        self.witness = in_use & dut.o_valid & (complete_chunk == 1) & (used_chunk == 0)
        return m
