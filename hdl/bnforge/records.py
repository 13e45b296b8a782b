"""Record unit: collects what scalar unit and range unit know of a channel, and streams it as 32-bit words."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .config import GRADIENT_WORDS, RECORD_SCALAR_WORDS
from .formats import FP32, WORKING
from .positions import position_pair_layout
from .ranges import position_layout
from .scalar import scalar_write_layout
from .streams import lane_width

__all__ = ["RecordUnit"]

_WORD = 32
_STATISTICS = ("rinv", "mu", "r")


class RecordUnit(wiring.Component):
    """Channel records and gradient records of docs/interfaces.md, tile after tile.

    Scalars have two slots, used in turn; positions four, since a later tile may already be sampled. One word per cycle,
    and one cycle for each disabled lane that is skipped.

    Latency: ``latency`` cycles from ``i_done`` to the first word.

    Members
    -------
    i_slot : which slot the scalars go to
    i_done, i_mask : strobe, the scalars of a tile are complete; its lanes
    o_free : a slot is free
    o : words and ``last``

    Members, forward
    ----------------
    i_a, i_b : scalars to store

    Members, forward with statistics
    --------------------------------
    i_rinv, i_mu, i_r : scalars to store
    i_position_valid, i_position : positions to store
    i_n_chunks, i_frozen : with ``i_done``, what else the records need

    Members, backward
    -----------------
    i_dgamma, i_dbeta : scalars to store
    i_backward : with ``i_done``, these are gradient records
    """

    latency = 3

    def __init__(self, config):
        self.config = config
        word = data.StructLayout({"data": _WORD, "last": 1})
        widths, members = {}, {"mask": config.lanes}
        self.statistics = config.has_forward and config.has_statistics
        if config.has_forward:
            widths |= {"a": config.a_format.width, "b": config.b_format.width}
        if self.statistics:
            widths |= dict.fromkeys(_STATISTICS, WORKING.width)
            members |= {"n_chunks": range(config.n_chunks + 1), "frozen": 1}
        if config.has_backward:
            widths |= {"dgamma": WORKING.width, "dbeta": FP32.width}
            members |= {"backward": 1}
        self.members = members
        super().__init__({
            "i_slot": In(1), "i_done": In(1), "o_free": Out(1), "o": Out(stream.Signature(word)),
            **{f"i_{name}": In(scalar_write_layout(config, width)) for name, width in widths.items()},
            **{f"i_{name}": In(shape) for name, shape in members.items()},
            **({"i_position_valid": In(1), "i_position": In(position_layout(config))} if self.statistics else {})})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        info = data.StructLayout(self.members)
        tiles = Array(Signal(info, name=f"tile{slot}", reset_less=True) for slot in range(2))
        pending = Signal(range(3))
        tile = Signal(2)  # tile number modulo 4, in step with the input stage
        slot = tile[0]
        longest = config.record_words if config.has_forward else GRADIENT_WORDS
        lane = Signal(lane_width(config))
        word = Signal(range(longest))
        busy = Signal()
        todo = Signal(config.lanes, reset_less=True)  # enabled lanes from ``lane`` on
        advance = comb(m, ~self.o.valid | self.o.ready, "advance")
        enabled = comb(m, busy & todo[0], "enabled")
        fetch = comb(m, enabled & advance, "fetch")
        gradient = tiles[slot].backward if config.has_backward else Const(0)
        last_word = Mux(gradient, GRADIENT_WORDS - 1, longest - 1)
        lane_end = comb(m, word == last_word, "lane_end")
        tile_end = comb(m, fetch & lane_end & ~todo[1:].any(), "tile_end")

        m.d.comb += self.o_free.eq(~pending[1])
        m.d.sync += pending.eq(pending + self.i_done - tile_end)
        with m.If(self.i_done):
            m.d.sync += [tiles[self.i_slot][name].eq(getattr(self, f"i_{name}")) for name in self.members]
        with m.If(~busy & (pending != 0)):
            m.d.sync += [busy.eq(1), todo.eq(tiles[slot].mask), lane.eq(0), word.eq(0)]
        with m.If(fetch):
            m.d.sync += word.eq(Mux(lane_end, 0, word + 1))
        with m.If((fetch & lane_end) | (busy & ~todo[0])):
            m.d.sync += [lane.eq(lane + 1), todo.eq(todo >> 1)]
        with m.If(tile_end):
            m.d.sync += [busy.eq(0), tile.eq(tile + 1)]

        last = Signal(reset_less=True)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(enabled)
        with m.If(fetch):
            m.d.sync += last.eq(tile_end)
        m.d.comb += self.o.payload.last.eq(last)
        words, number = [], Mux(word < RECORD_SCALAR_WORDS, word, RECORD_SCALAR_WORDS)
        if config.has_forward:
            scalars = ("a", "b", *(_STATISTICS if self.statistics else ()))
            words = self._scalars(m, fetch, lane, slot, scalars, tiles[slot].frozen if self.statistics else None)
            if self.statistics:
                words.append(self._positions(m, fetch, lane, tile, word, tiles[slot]))
            else:
                words += [Const(0, _WORD)] * len(_STATISTICS)
        if config.has_backward:
            words += self._scalars(m, fetch, lane, slot, ("dgamma", "dbeta"))
            number = Mux(gradient, len(words) - GRADIENT_WORDS + word[0], number)
        select = Signal(range(len(words)), reset_less=True)
        with m.If(fetch):
            m.d.sync += select.eq(number)
        m.d.comb += self.o.payload.data.eq(Array(words)[select])
        return m

    def _scalars(self, m, fetch, lane, slot, names, frozen=None):
        """One word each, one cycle after ``fetch``; a ``frozen`` tile has no statistics."""
        if frozen is not None:
            hide = Signal(reset_less=True)
            with m.If(fetch):
                m.d.sync += hide.eq(frozen)
        words = []
        for name in names:
            port = getattr(self, f"i_{name}")
            width = len(port.code)
            m.submodules[name] = mem = memory.Memory(shape=width, depth=2 << lane_width(self.config), init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [write.en.eq(port.valid), write.addr.eq(Cat(port.lane, self.i_slot)), write.data.eq(port.code),
                         read.en.eq(fetch), read.addr.eq(Cat(lane, slot))]
            code = Mux(hide, 0, read.data) if name in _STATISTICS else read.data
            words.append(comb(m, Cat(Const(0, _WORD - width), code), f"word_{name}"))
        return words

    def _positions(self, m, fetch, lane, tile, word, info):
        """The position word, one cycle after ``fetch``; chunks that the tile does not have read 0."""
        config = self.config
        per_word, n_words = config.positions_per_word, config.record_words - RECORD_SCALAR_WORDS
        field = _WORD // per_word // 2
        pair = position_pair_layout(config)
        n_word_bits = (n_words - 1).bit_length()
        chunk_bits = per_word - 1  # of a chunk's number, those that tell its place in the word
        m.submodules.positions = mem = memory.Memory(
            shape=data.ArrayLayout(pair, per_word), depth=1 << (2 + lane_width(config) + n_word_bits), init=[])
        write, read = mem.write_port(granularity=1), mem.read_port()
        at = self.i_position
        place = at.chunk[:chunk_bits]
        m.d.comb += [
            write.addr.eq(Cat(at.chunk[chunk_bits:][:n_word_bits], at.lane, at.tile)),
            read.en.eq(fetch), read.addr.eq(Cat((word - RECORD_SCALAR_WORDS)[:n_word_bits], lane, tile))]
        fields = []
        for i in range(per_word):
            present = Signal(name=f"present{i}", reset_less=True)
            with m.If(fetch):
                m.d.sync += present.eq(~info.frozen & ((word - RECORD_SCALAR_WORDS) * per_word + i < info.n_chunks))
            m.d.comb += [write.en[i].eq(self.i_position_valid & (place == i)),
                         write.data[i].argmax.eq(at.argmax), write.data[i].argmin.eq(at.argmin)]
            for position in (read.data[i].argmax, read.data[i].argmin):
                fields += [Mux(present, position, 0), Const(0, field - config.position_width)]
        return comb(m, Cat(fields), "word_positions")
