"""Block RAM behind an AXI4 port, with a second way in for the host."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..dma.ports import axi_read_members, axi_write_members

__all__ = ["BoardMemory", "outside"]

_DECERR = 3


def outside(address, base, size):
    """Whether an address lies outside of a memory: a signal. Base and size as of :class:`BoardMemory`."""
    high = (size - 1).bit_length()
    return (address[high:] != base >> high) | (address[12:high] >= size >> 12)


class BoardMemory(wiring.Component):
    """An AXI4 subordinate of one memory block: INCR bursts of full bus beats, one after the other, in order.

    Latency: 1 cycle from AR to the first R, then one beat per cycle, bursts without a gap; of writes B follows the last
    W by 1 cycle, and the next AW is taken when B has been. A burst that begins outside of the memory is answered
    DECERR, reads 0 and writes nothing; one that begins inside ends inside, because bursts cross no multiple of 4096
    bytes (AMBA AXI, A3.4.1). The host comes after the engine, which is served in every cycle.

    Parameters
    ----------
    bus : BusConfig
    base, size : int
        Address and bytes: multiples of 4096, the base one of the power of two from the size on.

    Members
    -------
    m_axi_* : the AXI4 port, named as at the manager
    i_read, i_write : the host wants to read or write the word at ``i_address``: held until ``o_done``
    i_address : byte address, a multiple of 4
    i_data : what is written
    o_done : strobe, it is done
    o_data : what was read; valid from ``o_done`` on, until the next access begins
    o_outside : the address is not in the memory: nothing will be done
    """

    def __init__(self, bus, base, size):
        self.bus, self.base, self.size = bus, base, size
        ports = {**axi_read_members(bus), **axi_write_members(bus)}
        super().__init__({**{name: member.flip() for name, member in ports.items()}, "i_read": In(1), "i_write": In(1),
                          "i_address": In(32), "i_data": In(32), "o_done": Out(1), "o_data": Out(32),
                          "o_outside": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.submodules.memory = block = memory.Memory(shape=unsigned(bus.data_width), depth=self.size // bus.bytes,
                                                    init=[])
        self._host_word = self.i_address[2:bus.offset_width] if bus.offset_width > 2 else None
        m.d.comb += self.o_outside.eq(self._outside(self.i_address))
        reading = self._read(m, block.read_port())
        writing = self._write(m, block.write_port(granularity=8))
        m.d.comb += self.o_done.eq(reading | writing)
        return m

    def _outside(self, address):
        return outside(address, self.base, self.size)

    def _place(self, address):
        """Row of the memory."""
        return address[self.bus.offset_width:(self.size - 1).bit_length()]

    def _read(self, m, port):
        """AR and R; strobe of a host's word read."""
        read_active, bad = Signal(), Signal(name="read_bad", reset_less=True)
        row = Signal.like(port.addr, name="read_row", reset_less=True)
        left = Signal(8, name="read_left", reset_less=True)
        answer_bad, tag = Signal(reset_less=True), Signal(reset_less=True, name="read_tag")
        step = comb(m, ~self.m_axi_rvalid | self.m_axi_rready, "read_step")
        ends = comb(m, step & (left == 0), "read_ends")
        m.d.comb += [self.m_axi_arready.eq(~read_active | ends), port.en.eq(step), port.addr.eq(row),
                     self.m_axi_rdata.eq(Mux(answer_bad, 0, port.data)),
                     self.m_axi_rresp.eq(Mux(answer_bad, _DECERR, 0))]
        with m.If(step):
            m.d.sync += [self.m_axi_rvalid.eq(read_active), self.m_axi_rlast.eq(left == 0), row.eq(row + 1),
                         left.eq(left - 1), answer_bad.eq(bad),
                         self.m_axi_rid.eq(tag)]
            with m.If(left == 0):
                m.d.sync += read_active.eq(0)
        with m.If(self.m_axi_arvalid & self.m_axi_arready):
            m.d.sync += [read_active.eq(1), bad.eq(self._outside(self.m_axi_araddr)),
                         row.eq(self._place(self.m_axi_araddr)),
                         left.eq(self.m_axi_arlen), tag.eq(self.m_axi_arid)]
        asked, read_done = Signal(), Signal()
        taken = comb(m, self.i_read & ~asked & ~read_done & ~self.o_outside & ~read_active & step, "host_reads")
        with m.If(taken):
            m.d.comb += port.addr.eq(self._place(self.i_address))
        m.d.sync += [asked.eq(taken), read_done.eq(asked)]
        with m.If(asked):
            word = port.data if self._host_word is None else port.data.word_select(self._host_word, 32)
            m.d.sync += self.o_data.eq(word)
        return read_done

    def _write(self, m, port):
        """AW, W and B; strobe of a host's word written."""
        write_active, bad = Signal(), Signal(name="write_bad", reset_less=True)
        row = Signal.like(port.addr, name="write_row", reset_less=True)
        m.d.comb += [self.m_axi_awready.eq(~write_active & ~self.m_axi_bvalid), self.m_axi_wready.eq(write_active),
                     self.m_axi_bresp.eq(Mux(bad, _DECERR, 0)), port.addr.eq(row), port.data.eq(self.m_axi_wdata)]
        with m.If(self.m_axi_bready):
            m.d.sync += self.m_axi_bvalid.eq(0)
        with m.If(self.m_axi_awvalid & self.m_axi_awready):
            m.d.sync += [write_active.eq(1), bad.eq(self._outside(self.m_axi_awaddr)),
                         row.eq(self._place(self.m_axi_awaddr)), self.m_axi_bid.eq(self.m_axi_awid)]
        taken = comb(m, self.m_axi_wvalid & write_active, "write_taken")
        with m.If(taken):
            m.d.comb += port.en.eq(Mux(bad, 0, self.m_axi_wstrb))
            m.d.sync += row.eq(row + 1)
            with m.If(self.m_axi_wlast):
                m.d.sync += [write_active.eq(0), self.m_axi_bvalid.eq(1)]
        write_done = Signal()
        host = comb(m, self.i_write & ~write_done & ~self.o_outside & ~taken, "host_writes")
        with m.If(host):
            mask = 0xF if self._host_word is None else 0xF << (self._host_word << 2)
            m.d.comb += [port.addr.eq(self._place(self.i_address)), port.en.eq(mask),
                         port.data.eq(self.i_data.replicate(self.bus.data_width // 32))]
        m.d.sync += write_done.eq(host)
        return write_done
