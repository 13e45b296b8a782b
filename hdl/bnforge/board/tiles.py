"""A core on a board without an engine: its tiles come from a memory that the host fills, and go back there."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..registers.table import ADDRESS_WIDTH
from ..top import core_streams
from .config import TileRegister
from .memory import outside

__all__ = ["TileRunner"]

_SLVERR = 2
_WORD = 32


class TileRunner(wiring.Component):
    """Runs one tile at a time from its memory through a core: docs/boards.md, Tiles.

    A run resets the core, sends the header and the beats, and writes each result in the place of its beat and the
    records behind the header. It ends with the last of both, or when the core stops for an error. The host's accesses
    to the memory wait for the end.

    Latency: 2 cycles from the answer to RUN to the first header word; one word per cycle, while the core takes it.

    Parameters
    ----------
    config : BoardConfig
        Of a core.

    Members
    -------
    s_axil_* : the registers of :class:`.TileRegister`, AXI4-Lite; named as at the manager's other side
    i_read, i_write, i_address, i_data, o_done, o_data, o_outside : the host's side, as of :class:`.BoardMemory`
    s_axis_*, s_axis_hdr_*, m_axis_*, m_axis_rec_* : the streams of the core, named as there
    i_status : of the core
    o_reset : the core is to be reset
    o_busy : a tile runs
    """

    def __init__(self, config):
        self.config, self.places = config, config.places
        ports = {name: member.flip() for name, member in core_streams(config.core).items()}
        super().__init__({
            "i_read": In(1), "i_write": In(1), "i_address": In(32), "i_data": In(32), "o_done": Out(1),
            "o_data": Out(32), "o_outside": Out(1), "i_status": In(6), "o_reset": Out(1), "o_busy": Out(1),
            "s_axil_awaddr": In(ADDRESS_WIDTH), "s_axil_awprot": In(3), "s_axil_awvalid": In(1),
            "s_axil_awready": Out(1), "s_axil_wdata": In(32), "s_axil_wstrb": In(4), "s_axil_wvalid": In(1),
            "s_axil_wready": Out(1), "s_axil_bresp": Out(2), "s_axil_bvalid": Out(1), "s_axil_bready": In(1),
            "s_axil_araddr": In(ADDRESS_WIDTH), "s_axil_arprot": In(3), "s_axil_arvalid": In(1),
            "s_axil_arready": Out(1), "s_axil_rdata": Out(32), "s_axil_rresp": Out(2), "s_axil_rvalid": Out(1),
            "s_axil_rready": In(1), **ports})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.memory = block = memory.Memory(shape=_WORD, depth=config.memory_bytes // 4, init=[])
        self._row = range(config.memory_bytes // 4)
        n_beats = Signal(range(self.places.capacity + 1))
        starts, ended = Signal(name="starts"), Signal(name="ended")
        m.d.comb += [self.o_outside.eq(outside(self.i_address, config.memory_base, config.memory_bytes)),
                     self.o_reset.eq(starts)]
        reading = self._send(m, block.read_port(), starts, ended, n_beats)
        writing, done = self._receive(m, block.write_port(), starts)
        m.d.comb += [self.o_done.eq(reading | writing), ended.eq(self.o_busy & (done | self.i_status[3:].any()))]
        with m.If(ended):
            m.d.sync += self.o_busy.eq(0)
        self._registers(m, starts, n_beats)
        return m

    def _host_row(self):
        return self.i_address[2:(self.config.memory_bytes - 1).bit_length()]

    def _send(self, m, port, starts, ended, n_beats):
        """The header, then the beats; strobe of a host's word read."""
        places = self.places
        fetching, in_beats = Signal(name="fetching"), Signal(name="in_beats", reset_less=True)
        row = Signal(self._row, name="fetch_row", reset_less=True)
        left = Signal(self._row, name="fetch_left", reset_less=True)
        valid, last = Signal(name="offered"), Signal(name="send_last", reset_less=True)
        is_beat = Signal(name="send_is_beat", reset_less=True)
        word = Signal(_WORD, name="word")
        taken = Mux(is_beat, self.s_axis_tready, self.s_axis_hdr_tready)
        step = comb(m, ~valid | taken, "send_step")
        host = comb(m, self.i_read & ~self.o_busy & ~self.o_outside, "host_may_read")
        asked, read_done = Signal(name="asked"), Signal(name="read_done")
        asks = comb(m, host & ~asked & ~read_done, "asks")
        m.d.comb += [
            port.en.eq(step | asks), port.addr.eq(Mux(asks, self._host_row(), row)), word.eq(port.data),
            self.s_axis_hdr_tvalid.eq(valid & ~is_beat), self.s_axis_tvalid.eq(valid & is_beat),
            self.s_axis_hdr_tdata.eq(word), self.s_axis_tdata.eq(word),
            self.s_axis_hdr_tlast.eq(last), self.s_axis_tlast.eq(last)]
        with m.If(step):
            m.d.sync += [valid.eq(fetching), is_beat.eq(in_beats), last.eq(left == 0)]
            with m.If(fetching):
                m.d.sync += [row.eq(row + 1), left.eq(left - 1)]
                with m.If(left == 0):
                    m.d.sync += [in_beats.eq(1), row.eq(places.beats), left.eq(n_beats - 1), fetching.eq(~in_beats)]
        with m.If(ended):
            m.d.sync += [fetching.eq(0), valid.eq(0)]
        with m.If(starts):
            m.d.sync += [fetching.eq(1), in_beats.eq(0), row.eq(places.header),
                         left.eq(self.config.core.header_words - 1)]
        m.d.sync += [asked.eq(asks), read_done.eq(asked)]
        with m.If(asked):
            m.d.sync += self.o_data.eq(word)
        return read_done

    def _receive(self, m, port, starts):
        """Results before records, the host when nothing runs; strobe of a host's word written, and whether the tile has
        ended."""
        places = self.places
        y_row, record_row = (Signal(self._row, name=name, reset_less=True) for name in ("result_row", "record_row"))
        y_done, records_done = Signal(name="results_done"), Signal(name="records_done")
        write_done = Signal(name="write_done")
        results = [self.m_axis_tdata] + ([self.m_axis_tuser] if self.config.core.is_block else [])
        m.d.comb += [self.m_axis_tready.eq(self.o_busy), self.m_axis_rec_tready.eq(self.o_busy & ~self.m_axis_tvalid)]
        host = comb(m, self.i_write & ~self.o_busy & ~self.o_outside & ~write_done, "host_writes")
        m.d.sync += write_done.eq(host)
        m.d.comb += [port.addr.eq(self._host_row()), port.data.eq(self.i_data), port.en.eq(host)]
        for name, row, data, done in (("m_axis_rec", record_row, self.m_axis_rec_tdata, records_done),
                                      ("m_axis", y_row, Cat(results), y_done)):
            with m.If(getattr(self, f"{name}_tvalid") & getattr(self, f"{name}_tready")):
                m.d.comb += [port.addr.eq(row), port.data.eq(data), port.en.eq(1)]
                m.d.sync += [row.eq(row + 1), done.eq(getattr(self, f"{name}_tlast"))]
        with m.If(starts):
            m.d.sync += [self.o_busy.eq(1), y_done.eq(0), records_done.eq(0), y_row.eq(places.beats),
                         record_row.eq(places.records)]
        return write_done, y_done & records_done

    def _registers(self, m, starts, n_beats):
        """The registers, one access at a time; ``starts`` is the cycle after an accepted RUN was answered."""
        write = comb(m, self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid & ~starts, "write")
        beats = self.s_axil_wdata
        good = comb(m, (self.s_axil_awaddr[2:] == TileRegister.RUN >> 2) & self.s_axil_wstrb.all() & ~self.o_busy &
                    (beats != 0) & (beats <= self.places.capacity), "good")
        cycles = Signal(32, reset_less=True)
        m.d.comb += [self.s_axil_awready.eq(write), self.s_axil_wready.eq(write),
                     self.s_axil_arready.eq(~self.s_axil_rvalid)]
        m.d.sync += [starts.eq(write & good), cycles.eq(Mux(starts, 0, cycles + self.o_busy))]
        with m.If(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(write):
            m.d.sync += [self.s_axil_bvalid.eq(1), self.s_axil_bresp.eq(Mux(good, 0, _SLVERR))]
            with m.If(good):
                m.d.sync += n_beats.eq(beats)
        with m.If(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        with m.If(self.s_axil_arvalid & self.s_axil_arready):
            m.d.sync += [self.s_axil_rvalid.eq(1), self.s_axil_rresp.eq(0)]
            with m.Switch(self.s_axil_araddr[2:]):
                with m.Case(TileRegister.RUN >> 2):
                    m.d.sync += self.s_axil_rdata.eq(n_beats)
                with m.Case(TileRegister.STATUS >> 2):
                    m.d.sync += self.s_axil_rdata.eq(self.o_busy | starts | self.i_status << 8)
                with m.Case(TileRegister.CYCLES >> 2):
                    m.d.sync += self.s_axil_rdata.eq(cycles)
                with m.Default():
                    m.d.sync += self.s_axil_rresp.eq(_SLVERR)
