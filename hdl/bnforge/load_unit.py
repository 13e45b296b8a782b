"""The scalar unit of a core without statistics: it hands the constants of frozen tiles on."""

from amaranth.hdl import Const, Module, Signal

from .scalar import ScalarUnit

__all__ = ["LoadUnit"]


class LoadUnit(ScalarUnit):
    """a and b of every lane, as they came with the header.

    As :class:`~bnforge.scalar.ScalarUnit`, with frozen forward tiles alone: nothing is computed.
    """

    @property
    def latency(self):
        return self.load_cycles(self.config)

    def elaborate(self, platform):
        m = Module()
        slot, tile = self._tile(m)
        loading = Signal()
        load_index = Signal(range(self.config.lanes + 2))
        _sample_len, loads = self._control(m, slot, None, None, loading, Const(1, 1))
        self._count_loads(m, loads, loading, load_index)
        loaded, loaded_lane = self._loading(m, loading, load_index)
        m.d.comb += [self.o_gamma_lane.eq(load_index), self.o_beta_lane.eq(load_index)]
        self._outputs(m, tile, loaded, loaded_lane, [], [])
        last_loaded = self._end_of_loading(m, loading, loaded, loaded_lane)
        self._ends(m, None, None, last_loaded)
        return m
