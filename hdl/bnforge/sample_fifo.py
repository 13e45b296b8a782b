"""The sample FIFO: beats between the input stage and the normaliser."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .config import TILES_IN_FLIGHT

__all__ = ["SampleFIFO"]


class SampleFIFO(wiring.Component):
    """A FIFO of beats whose ``last`` comes early in the cycle.

    The codes are in a memory, whose output is late. Where tiles end is kept apart, as the number of the beat modulo a
    power of two: the FIFO holds the ends of at most four tiles.

    Latency: 2 cycles from ``w_en`` to ``r_rdy``, 3 with ``late``. One beat in and one out per cycle.

    Parameters
    ----------
    shape : StructLayout
        Of a beat: ``codes`` and ``last``.
    depth : int
    late : bool
        The codes come one cycle after ``w_en``, on ``i_codes``.

    Members
    -------
    w_rdy, w_en, w_data, r_rdy, r_en, r_data : as of :class:`amaranth.lib.fifo.SyncFIFOBuffered`
    """

    def __init__(self, shape, depth, *, late=False):
        self.shape, self.depth, self.late = shape, depth, late
        super().__init__({"w_rdy": Out(1), "w_en": In(1), "w_data": In(shape), "r_rdy": Out(1), "r_en": In(1),
                          "r_data": Out(shape)} | ({"i_codes": In(shape["codes"].shape)} if late else {}))

    def elaborate(self, platform):
        m = Module()
        # One place more than is used: whether there is room comes from a register.
        m.submodules.codes = beats = fifo.SyncFIFOBuffered(
            width=len(self.w_data.codes.as_value()), depth=self.depth + 1)
        writes = comb(m, self.w_en & self.w_rdy, "writes")
        codes, arrives = self.w_data.codes.as_value(), writes
        if self.late:
            codes, arrives = self.i_codes.as_value(), Signal(name="arrives")
            m.d.sync += arrives.eq(writes)
        m.d.comb += [beats.w_en.eq(arrives), beats.w_data.eq(codes)]
        reads = comb(m, self.r_en & self.r_rdy, "reads")
        level = Signal(range(self.depth + 1))
        full = Signal()
        m.d.sync += [level.eq(level + writes - reads),
                     full.eq(~reads & ((level == self.depth) | (writes & (level == self.depth - 1))))]
        m.d.comb += [
            self.w_rdy.eq(~full), self.r_rdy.eq(beats.r_rdy), beats.r_en.eq(self.r_en),
            self.r_data.codes.as_value().eq(beats.r_data),
            self.r_data.last.eq(self._ends(m, writes, reads))]
        return m

    def _ends(self, m, writes, reads):
        """Whether the beat at the output is the last of its tile, in a register."""
        written, read = (Signal(range(self.depth + 2), name=name) for name in ("written", "read"))
        following = Signal(range(self.depth + 2), init=1)
        last = Signal()
        waiting = Signal()
        head = Signal.like(written, name="head")
        m.submodules.ends = ends = fifo.SyncFIFO(width=len(written), depth=TILES_IN_FLIGHT)
        ended = comb(m, reads & last, "ended")
        loads = comb(m, ends.r_rdy & (~waiting | ended), "loads")
        m.d.sync += [written.eq(written + writes), waiting.eq(loads | (waiting & ~ended))]
        with m.If(reads):
            m.d.sync += [read.eq(following), following.eq(following + 1)]
        with m.If(loads):
            m.d.sync += head.eq(ends.r_data)
        m.d.comb += [ends.w_en.eq(writes & self.w_data.last), ends.w_data.eq(written), ends.r_en.eq(loads)]
        # The number of the next end, kept or just loaded, against that of the next beat.
        kept, loaded = (tuple(comb(m, number == beat, f"{name}_{which}") & valid
                              for beat, which in ((read, "here"), (following, "follows")))
                        for number, valid, name in ((head, waiting, "kept"), (ends.r_data, ends.r_rdy, "loaded")))
        stays, moves = (Mux(waiting, kept[i], loaded[i]) for i in range(2))
        m.d.sync += last.eq(Mux(reads, Mux(last, loaded[1], moves), stays))
        return last
