"""The flow of a sweep: takes beats from the streams it reads, and says what each of them is."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..config import CHANNEL_CHUNKS, COUNT_WIDTH, SUM_BLOCK, Algorithm
from ..input import beat_layout
from ..streams import stored_layout
from ..totals import TotalsUnit
from .header import sweep_layout
from .words import Sweep, has_sums, streams, sweeps_of

__all__ = ["SweepFlow", "inputs_of"]


def inputs_of(config):
    """The input streams of a baseline, in the order of docs/baselines.md, with their shapes."""
    names = {name for sweep in sweeps_of(config) for name in streams(config, sweep)[0]}
    return {name: beat_layout(config) if name == "operand" else stored_layout(config)
            for name in ("operand", "stored", "gradient") if name in names}


class SweepFlow(wiring.Component):
    """Beats of one sweep after the other.

    One register per stream. A beat is *taken* when every stream of the sweep has one, there is room for the result, and
    what it ends (a block of sums, a chunk) finds the last one's snapshots read.

    Latency: a beat is taken 1 cycle after it was accepted at the earliest. One beat per cycle.

    Parameters
    ----------
    config : Config
    pass_cycles, sum_cycles : int
        Cycles from the taking of the last beat until its result has left the lanes; until all sums can be read.

    Members
    -------
    i_NAME, o_NAME : input streams, and the beat of each
    i_tile, i_start : the sweep; strobe, it begins
    o_release : strobe, it has ended
    i_credit, o_issue : there is room for a result; strobe, the beat has one
    o_take : strobe; with it o_last, o_sums, o_first, o_end, o_first_block: the beat is the last; it counts in sums; it
        is the first, the last of its block; the block is the first of the sweep
    i_scalar_free, o_launch : the scalar unit can take a sweep; strobe, the sums of this one are complete
    o_unequal, o_misframed : sticky

    Members, range statistics
    -------------------------
    o_position, o_chunk, o_chunk_first, o_chunk_end : of the beat
    o_load, i_loaded : strobe, the positions of ``o_chunk`` are needed; they are there
    """

    def __init__(self, config, *, pass_cycles, sum_cycles):
        self.config = config
        self.pass_cycles, self.sum_cycles = pass_cycles, sum_cycles
        self.ranges = config.algorithm is Algorithm.RANGE
        ports = {}
        for name, shape in inputs_of(config).items():
            ports |= {f"i_{name}": In(stream.Signature(shape)), f"o_{name}": Out(shape)}
        if self.ranges:
            ports |= {"o_position": Out(config.position_width), "o_chunk": Out(range(CHANNEL_CHUNKS)),
                      "o_chunk_first": Out(1), "o_chunk_end": Out(1), "o_load": Out(1), "i_loaded": In(1)}
        super().__init__(ports | {
            "i_tile": In(sweep_layout(config)), "i_start": In(1), "o_release": Out(1),
            "i_credit": In(1), "o_issue": Out(1), "o_take": Out(1), "o_last": Out(1), "o_sums": Out(1),
            "o_first": Out(1), "o_end": Out(1), "o_first_block": Out(1), "i_scalar_free": In(1), "o_launch": Out(1),
            "o_unequal": Out(1), "o_misframed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        sweeps = sweeps_of(config)

        def where(holds, name):
            return comb(m, Cat(self.i_tile.sweep == sweep for sweep in sweeps if holds(sweep)).any(), name)

        names = list(inputs_of(config))
        uses = {name: where(lambda sweep, name=name: name in streams(config, sweep)[0], f"uses_{name}")
                for name in names}
        results = where(lambda sweep: streams(config, sweep)[1], "results")
        sums = where(lambda sweep: has_sums(config, sweep), "sums")

        running = Signal()
        ended = Signal()
        count = Signal(COUNT_WIDTH)
        stopped = comb(m, self.o_unequal | self.o_misframed, "stopped")
        full, lasts = {}, {}
        for name in names:
            full[name], lasts[name] = self._register(m, name, uses[name])
        present = comb(m, running & ~stopped & Cat(full[name] | ~uses[name] for name in names).all(), "present")
        any_last = comb(m, Cat(lasts[name] & uses[name] for name in names).any(), "any_last")
        all_last = comb(m, Cat(lasts[name] | ~uses[name] for name in names).all(), "all_last")
        last = self.o_last
        m.d.comb += last.eq(count == self.i_tile.n - 1)
        place = Signal(range(SUM_BLOCK))
        first_block = Signal()
        sum_wait = Signal(range(TotalsUnit.busy(config) + 1))
        block_end = comb(m, sums & (last | place.all()), "block_end")
        hold = (block_end & (sum_wait != 0)) | (results & ~self.i_credit)
        misplaced = any_last != last
        if self.ranges:
            chunk_hold, miscounted = self._chunks(m, last)
            hold, misplaced = hold | chunk_hold, misplaced | miscounted
        unequal = comb(m, any_last != all_last, "ends_differ")
        misframed = comb(m, ~unequal & misplaced, "ends_misplaced")
        with m.If(present):
            m.d.sync += [self.o_unequal.eq(unequal), self.o_misframed.eq(misframed)]
        m.d.comb += [
            self.o_take.eq(present & ~hold & ~unequal & ~misframed), self.o_issue.eq(self.o_take & results),
            self.o_sums.eq(self.o_take & sums), self.o_first.eq(place == 0), self.o_end.eq(self.o_take & block_end),
            self.o_first_block.eq(first_block)]
        with m.If(sum_wait != 0):
            m.d.sync += sum_wait.eq(sum_wait - 1)
        with m.If(self.o_take):
            m.d.sync += [count.eq(count + 1), place.eq(place + 1)]
            with m.If(block_end):
                m.d.sync += [sum_wait.eq(TotalsUnit.busy(config)), first_block.eq(0)]
            with m.If(last):
                m.d.sync += [running.eq(0), ended.eq(1)]

        # What is still in the lanes, then in the shared units, and then the scalar unit.
        tail = Signal(range(max(self.pass_cycles, self.sum_cycles) + 1), reset_less=True)
        with m.If(self.o_take & last):
            m.d.sync += tail.eq(Mux(sums, self.sum_cycles, self.pass_cycles))
        with m.If(ended & (tail != 0)):
            m.d.sync += tail.eq(tail - 1)
        m.d.comb += [self.o_release.eq(ended & (tail == 0) & (~sums | self.i_scalar_free)),
                     self.o_launch.eq(self.o_release & sums)]
        with m.If(self.o_release):
            m.d.sync += ended.eq(0)
        with m.If(self.i_start):
            m.d.sync += [running.eq(1), count.eq(0), place.eq(0), first_block.eq(1)]
        return m

    def _register(self, m, name, used):
        """The register of a stream; returns whether it holds a beat, and whether that is a last one."""
        port, beat = getattr(self, f"i_{name}"), getattr(self, f"o_{name}")
        full = Signal(name=f"{name}_full")
        register = Signal(port.payload.shape(), name=f"{name}_beat", reset_less=True)
        taken = comb(m, self.o_take & used, f"{name}_taken")
        m.d.comb += [port.ready.eq(~full | taken), Value.cast(beat).eq(Value.cast(register))]
        with m.If(taken):
            m.d.sync += full.eq(0)
        with m.If(port.valid & port.ready):
            m.d.sync += [full.eq(1), register.eq(port.payload)]
        return full, beat.last

    def _chunks(self, m, last):
        """Chunks of a whole channel; returns whether the beat must wait for something of its chunk, and whether the
        header counts them otherwise."""
        config, tile = self.config, self.i_tile
        position, chunk = self.o_position, self.o_chunk
        collects, adds = tile.sweep == Sweep.COLLECT, comb(m, tile.sweep == Sweep.GRADIENT, "adds")
        end = comb(m, last | (position + 1 == tile.chunk_len), "chunk_end")
        wait = Signal(range(config.lanes + 3))
        loaded = Signal()
        loading = Signal()
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        m.d.comb += [self.o_chunk_first.eq(position == 0), self.o_chunk_end.eq(self.o_take & collects & end),
                     self.o_load.eq(adds & ~loaded & ~loading)]
        with m.If(self.o_load):
            m.d.sync += loading.eq(1)
        with m.If(self.i_loaded):
            m.d.sync += [loading.eq(0), loaded.eq(1)]
        with m.If(self.o_take):
            m.d.sync += position.eq(position + 1)
            with m.If(end):
                m.d.sync += [position.eq(0), chunk.eq(chunk + 1), wait.eq(config.lanes + 2), loaded.eq(0)]
        with m.If(self.i_start):
            m.d.sync += [position.eq(0), chunk.eq(0), loaded.eq(0), loading.eq(0)]
        hold = comb(m, (collects & end & (wait != 0)) | (adds & ~loaded), "chunk_hold")
        return hold, last & (chunk + 1 != tile.n_chunks)
