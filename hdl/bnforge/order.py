"""The order in which a gradient leaves: beats outside the sample as they become known, then the sample."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import comb

__all__ = ["GradientOrder"]


class GradientOrder(wiring.Component):
    """Says which beats of a backward tile may leave the sample FIFO, and which addend each meets.

    A beat lies outside the sample when ``sample_len`` beats have come after it: the input stage counts these as they
    become known (*passes*). What remains of a tile when its other constants arrive, and all passes are used, is the
    sample. There are two counts of passes, for tiles of even and of odd number.

    Latency: combinational.

    Members
    -------
    i_backward : the tile at the FIFO's end is a backward one
    i_gradient : in the next cycle it is one with a sample
    i_issue, i_last : its beat, or that of a forward tile, leaves in this cycle; it is the last of its tile
    o_may_leave : a beat of the backward tile may
    i_pass, i_pass_tile, o_pass_free : strobe, one more beat of the tile at the input lies outside its sample; the
        number of that tile modulo 4; it may be strobed
    i_ready, i_n_chunks : strobe, the constants of the next sample are complete; its chunks
    o_free : none are waiting
    o_swap : these constants become active for beats from the next cycle on
    i_position_valid, o_position_swap : the next chunk's positions wait; they become active in the next cycle
    o_adds, o_matches, o_position : the beat meets an addend; it may be an extremum; its position in its chunk
    """

    def __init__(self, config, fifo_depth):
        self.config = config
        self.fifo_depth = fifo_depth
        n_chunks = range(config.n_chunks + 1)
        super().__init__({
            "i_backward": In(1), "i_gradient": In(1), "i_issue": In(1), "i_last": In(1), "o_may_leave": Out(1),
            "i_pass": In(1), "i_pass_tile": In(2), "o_pass_free": Out(1),
            "i_ready": In(1), "i_n_chunks": In(n_chunks), "o_free": Out(1), "o_swap": Out(1),
            "i_position_valid": In(1), "o_position_swap": Out(1),
            "o_adds": Out(1), "o_matches": Out(1), "o_position": Out(config.position_width)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        tile = Signal(2)  # number of the tile at the FIFO's end, modulo 4
        tile_end = comb(m, self.i_issue & self.i_last, "tile_end")
        with m.If(tile_end):
            m.d.sync += tile.eq(tile + 1)
        has_pass = self._passes(m, tile)

        waiting = Signal()
        waiting_chunks = Signal.like(self.i_n_chunks)
        loaded = Signal()  # constants of the tile at the FIFO's end
        n_chunks = Signal.like(self.i_n_chunks)
        position = Signal(config.position_width)
        chunk = Signal(range(config.n_chunks + 1))
        positions_active = Signal()
        load = comb(m, self.i_gradient & (tile_end | ~loaded) & (waiting | self.i_ready), "load")
        sample = comb(m, loaded & ~has_pass, "sample")
        in_chunks = comb(m, chunk < n_chunks, "in_chunks")
        m.d.comb += [
            self.o_free.eq(~waiting), self.o_swap.eq(load),
            self.o_may_leave.eq(has_pass | (loaded & (~in_chunks | positions_active))),
            self.o_adds.eq(sample), self.o_matches.eq(sample & in_chunks), self.o_position.eq(position)]

        leaves = comb(m, self.i_issue & sample, "leaves")
        chunk_end = comb(m, leaves & in_chunks & (position.all() | self.i_last), "chunk_end")
        m.d.comb += self.o_position_swap.eq(self.i_position_valid & (~positions_active | chunk_end))
        with m.If(chunk_end):
            m.d.sync += [positions_active.eq(0), chunk.eq(chunk + 1)]
        with m.If(self.o_position_swap):
            m.d.sync += positions_active.eq(1)
        with m.If(leaves):
            m.d.sync += position.eq(position + 1)
        with m.If(tile_end):
            m.d.sync += [loaded.eq(0), position.eq(0), chunk.eq(0)]
        m.d.sync += waiting.eq((waiting | self.i_ready) & ~load)
        with m.If(self.i_ready):
            m.d.sync += waiting_chunks.eq(self.i_n_chunks)
        with m.If(load):
            m.d.sync += [loaded.eq(1), n_chunks.eq(Mux(waiting, waiting_chunks, self.i_n_chunks))]
        return m

    def _passes(self, m, tile):
        """The two counts; returns whether the tile at the FIFO's end has a beat that lies outside its sample."""
        counts = [Signal(range(self.fifo_depth + 3), name=f"passes{i}") for i in range(2)]
        some = Array(Signal(name=f"has_passes{i}") for i in range(2))
        owners = Array(Signal(2, name=f"pass_tile{i}") for i in range(2))
        parity, input_parity = tile[0], self.i_pass_tile[0]
        m.d.comb += self.o_pass_free.eq(~some[input_parity] | (owners[input_parity] == self.i_pass_tile))
        has_pass = comb(m, self.i_backward & some[parity] & (owners[parity] == tile), "has_pass")
        for i, count in enumerate(counts):
            more = self.i_pass & (input_parity == i)
            less = comb(m, self.i_issue & has_pass & (parity == i), f"pass_used{i}")
            with m.If(more):
                m.d.sync += owners[i].eq(self.i_pass_tile)
            m.d.sync += [count.eq(count + more - less), some[i].eq(more | count[1:].any() | (count[0] & ~less))]
        return has_pass
