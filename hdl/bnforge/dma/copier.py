"""The DMA engine alone: copies from anywhere to anywhere."""

from amaranth.hdl import ClockDomain, Module, ResetSignal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out, connect

from .layouts import joined
from .midend import Midend
from .ports import ReadPort, WritePort, axi_read_members, axi_write_members
from .reader import ReadChannel
from .writer import WriteChannel

__all__ = ["Copier"]


class Copier(wiring.Component):
    """Reads the rows of one descriptor after the other, and writes their bytes to the rows of others.

    Descriptors (docs/engine.md) come as words and are not checked. Every row must be a whole number of beats, or below
    a beat; in all, both sides must have as many beats, and end tiles at the same ones. A row below a beat is one beat:
    padded with zeros as it is read, cut off as it is written.

    Throughput: one bus beat read and one written per cycle while rows are long, beats at least as long as a bus beat,
    and the buffers longer than the latency of memory.

    Parameters
    ----------
    bus : BusConfig
    beat_bytes : int
        Bytes of a beat, 1 to 255.

    Members
    -------
    aclk, aresetn : clock, and synchronous active-low reset
    s_axis_read_*, s_axis_write_* : words of descriptors, AXI4-Streams
    m_axi_* : AXI4 manager
    idle : nothing is held, and all that was written is answered
    error : sticky, an answer was an error or the sides ended tiles at different beats
    """

    def __init__(self, bus, beat_bytes):
        self.bus, self.beat_bytes = bus, beat_bytes
        words = {f"s_axis_{name}_{field}": direction for name in ("read", "write") for field, direction in
                 (("tdata", In(32)), ("tvalid", In(1)), ("tready", Out(1)))}
        super().__init__({"aclk": In(1), "aresetn": In(1), **words, **axi_write_members(bus), **axi_read_members(bus),
                          "idle": Out(1), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.domains.sync = domain = ClockDomain(local=True)
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        m.submodules.read_midend, m.submodules.write_midend = midends = Midend(bus), Midend(bus)
        m.submodules.reader = reader = ReadChannel(bus, self.beat_bytes, bus.max_burst, bus.read_buffer)
        m.submodules.writer = writer = WriteChannel(bus, self.beat_bytes, bus.max_burst, bus.write_buffer)
        m.submodules.read_port = reads = ReadPort(bus, 1)
        m.submodules.write_port = writes = WritePort(bus, 1)
        for name, midend in zip(("read", "write"), midends):
            ready = getattr(self, f"s_axis_{name}_tready")
            m.d.comb += [midend.i.valid.eq(getattr(self, f"s_axis_{name}_tvalid")),
                         midend.i.payload.eq(getattr(self, f"s_axis_{name}_tdata")),
                         ready.eq(midend.i.ready & ~ResetSignal())]
        connect(m, midends[0].o, reader.i)
        connect(m, midends[1].o, writer.i_row)
        # Without a queue between them a wait of either side is one of the other, too.
        m.submodules.beats = beats = fifo.SyncFIFO(width=Value.cast(reader.o.payload).shape().width, depth=4)
        for source, sink in ((reader.o, beats.w_stream), (beats.r_stream, writer.i)):
            m.d.comb += joined(source, sink)
        connect(m, reader.o_request, reads.i_request[0])
        connect(m, writer.o_request, writes.i_request[0])
        connect(m, writer.o, writes.i_beat[0])
        m.d.comb += [
            reader.i_valid.eq(reads.o_valid), reader.i_beat.eq(reads.o_beat),
            self.idle.eq(midends[0].o_idle & midends[1].o_idle & reader.o_idle & ~beats.r_rdy & writer.o_idle
                         & reads.o_idle & writes.o_idle)]
        with m.If(reads.o_error | writes.o_error | writer.o_misframed):
            m.d.sync += self.error.eq(1)
        for port in (reads, writes):
            for name, member in port.signature.members.items():
                if name in self.signature.members:
                    outer, inner = getattr(self, name), getattr(port, name)
                    m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        return m
