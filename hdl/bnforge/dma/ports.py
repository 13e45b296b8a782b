"""One AXI4 manager port for all channels: arbitration, the address and data channels, and the answers."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from .layouts import read_beat_layout, request_layout, write_beat_layout

__all__ = ["ReadPort", "WritePort", "axi_read_members", "axi_write_members", "RESPONSE_WIDTH"]

RESPONSE_WIDTH = 2
"""Bits of RRESP and BRESP; the upper one means an error, the lower one then that it was DECERR."""
_INCR = 1
_CACHE = 0b0011  # bufferable, modifiable: normal memory, non-cacheable (AMBA AXI, table A4-5)


def _address_members(prefix, bus):
    return {f"{prefix}id": Out(1), f"{prefix}addr": Out(bus.address_width), f"{prefix}len": Out(8),
            f"{prefix}size": Out(3), f"{prefix}burst": Out(2), f"{prefix}cache": Out(4), f"{prefix}prot": Out(3),
            f"{prefix}valid": Out(1), f"{prefix}ready": In(1)}


def axi_read_members(bus, prefix="m_axi_"):
    """Flat ports of the read channels of an AXI4 manager."""
    return {**_address_members(f"{prefix}ar", bus), f"{prefix}rid": In(1), f"{prefix}rdata": In(bus.data_width),
            f"{prefix}rresp": In(RESPONSE_WIDTH), f"{prefix}rlast": In(1), f"{prefix}rvalid": In(1),
            f"{prefix}rready": Out(1)}


def axi_write_members(bus, prefix="m_axi_"):
    """Flat ports of the write channels of an AXI4 manager."""
    return {**_address_members(f"{prefix}aw", bus), f"{prefix}wdata": Out(bus.data_width),
            f"{prefix}wstrb": Out(bus.bytes), f"{prefix}wlast": Out(1), f"{prefix}wvalid": Out(1),
            f"{prefix}wready": In(1), f"{prefix}bid": In(1), f"{prefix}bresp": In(RESPONSE_WIDTH),
            f"{prefix}bvalid": In(1), f"{prefix}bready": Out(1)}


def _port_members(bus, n_channels):
    return {"i_request": In(stream.Signature(request_layout(bus))).array(n_channels), "i_halt": In(1),
            "o_idle": Out(1), "o_oldest": Out(data.StructLayout({"channel": range(n_channels),
                                                                   "address": bus.address_width})),
            "o_error": Out(1), "o_response": Out(RESPONSE_WIDTH), "o_moved": Out(1), "o_wait": Out(1)}


class _AddressChannel:
    """Arbitration and the register of AR or AW; channels of lower numbers go first."""

    def __init__(self, m, port, prefix, ready):
        """``ready``: whether the port can keep another burst in mind."""
        bus = port.bus
        wire = {name: getattr(port, f"m_axi_{prefix}{name}") for name in
                ("id", "addr", "len", "size", "burst", "cache", "prot", "valid", "ready")}
        valid = Cat(request.valid for request in port.i_request)
        self.channel = Signal(range(len(port.i_request)), name=f"{prefix}_channel")
        for number in reversed(range(len(port.i_request))):
            with m.If(valid[number]):
                m.d.comb += self.channel.eq(number)
        free = comb(m, ~wire["valid"] | wire["ready"], f"{prefix}_free")
        self.granted = granted = comb(m, valid.any() & free & ready & ~port.i_halt, f"{prefix}_granted")
        self.request = request = Signal(request_layout(bus), name=f"{prefix}_request")
        m.d.comb += [request.eq(Array(item.payload.as_value() for item in port.i_request)[self.channel]),
                     *(item.ready.eq(granted & (self.channel == number))
                       for number, item in enumerate(port.i_request)),
                     wire["size"].eq(bus.offset_width), wire["burst"].eq(_INCR), wire["cache"].eq(_CACHE)]
        address, more = (Signal(shape, name=f"{prefix}_{name}", reset_less=True) for name, shape in
                         (("address", bus.address_width - bus.offset_width), ("more", 8)))
        m.d.comb += [wire["addr"].eq(address << bus.offset_width), wire["len"].eq(more)]
        with m.If(free):
            m.d.sync += wire["valid"].eq(granted)
        with m.If(granted):
            m.d.sync += [address.eq(request.address), more.eq(request.more)]
        self.waiting = wire["valid"]


class ReadPort(wiring.Component):
    """The read channels of an AXI4 manager, shared by channels that have room for what they ask for.

    Every answer is taken at once and passed on in the same cycle. All bursts have ID 0, hence answers come in order.

    Latency: 1 cycle from a request to ARVALID, when AR is free; one burst per cycle.

    Members
    -------
    i_request : bursts of each channel; channel 0 goes first
    i_halt : begin no further burst
    o_valid, o_beat : per channel strobe, and the bus beat
    o_idle : nothing is outstanding
    o_oldest : the burst whose answer is due; meaningful unless idle
    o_error, o_response : strobe, the oldest burst is answered with an error, and RRESP
    o_moved : something was handed over in this cycle
    o_wait : an answer is outstanding, and none comes in this cycle
    m_axi_ar*, m_axi_r* : AXI4
    """

    def __init__(self, bus, n_channels):
        self.bus, self.n_channels = bus, n_channels
        super().__init__({**_port_members(bus, n_channels), "o_valid": Out(n_channels),
                          "o_beat": Out(read_beat_layout(bus)), **axi_read_members(bus)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        shape = data.StructLayout({"channel": range(self.n_channels), "address": bus.address_width - bus.offset_width})
        m.submodules.outstanding = outstanding = fifo.SyncFIFO(width=shape.size, depth=bus.outstanding)
        address = _AddressChannel(m, self, "ar", outstanding.w_rdy)
        entry = Signal(shape)
        oldest = data.View(shape, outstanding.r_data)
        running = Signal()
        m.d.sync += running.eq(1)
        taken = comb(m, self.m_axi_rvalid & running & outstanding.r_rdy, "taken")
        m.d.comb += [
            entry.channel.eq(address.channel), entry.address.eq(address.request.address),
            outstanding.w_data.eq(entry), outstanding.w_en.eq(address.granted),
            outstanding.r_en.eq(taken & self.m_axi_rlast), self.m_axi_rready.eq(running),
            self.o_valid.eq(Cat(taken & (oldest.channel == number) for number in range(self.n_channels))),
            self.o_beat.data.eq(self.m_axi_rdata),
            self.o_error.eq(taken & self.m_axi_rresp[1]), self.o_response.eq(self.m_axi_rresp),
            self.o_oldest.channel.eq(oldest.channel), self.o_oldest.address.eq(oldest.address << bus.offset_width),
            self.o_idle.eq(~address.waiting & ~outstanding.r_rdy), self.o_moved.eq(taken | address.granted),
            self.o_wait.eq(outstanding.r_rdy & ~taken)]
        return m


class WritePort(wiring.Component):
    """The write channels of an AXI4 manager, shared by channels that have all the data of what they ask for.

    Data follows its address by a cycle, and waits for no AWREADY.

    Latency: 1 cycle from a request to AWVALID, when AW is free, 2 to WVALID; one burst and one bus beat per cycle.

    Members
    -------
    i_request : bursts of each channel; channel 0 goes first
    i_beat : the bus beats of each channel's requests, in their order
    i_halt : begin no further burst
    o_idle, o_oldest, o_error, o_response, o_moved : as :class:`ReadPort`
    o_acknowledged : strobe, the oldest burst is written
    o_bytes : of that burst
    o_end : it ends a tile
    o_wait : a bus beat waits for WREADY
    m_axi_aw*, m_axi_w*, m_axi_b* : AXI4
    """

    def __init__(self, bus, n_channels):
        self.bus, self.n_channels = bus, n_channels
        super().__init__({
            **_port_members(bus, n_channels), "i_beat": In(stream.Signature(write_beat_layout(bus))).array(n_channels),
            "o_acknowledged": Out(1), "o_bytes": Out(13), "o_end": Out(1), **axi_write_members(bus)})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        order = data.StructLayout({"channel": range(self.n_channels), "more": 8})
        shape = data.StructLayout({"channel": range(self.n_channels), "more": 8, "end": 1,
                                   "address": bus.address_width - bus.offset_width})
        m.submodules.data_order = to_send = fifo.SyncFIFO(width=order.size, depth=4)
        m.submodules.outstanding = outstanding = fifo.SyncFIFO(width=shape.size, depth=bus.outstanding)
        address = _AddressChannel(m, self, "aw", outstanding.w_rdy & to_send.w_rdy)
        burst = Signal(order)
        entry = Signal(shape)
        m.d.comb += [
            burst.channel.eq(address.channel), burst.more.eq(address.request.more), to_send.w_data.eq(burst),
            to_send.w_en.eq(address.granted), entry.channel.eq(address.channel), entry.more.eq(address.request.more),
            entry.end.eq(address.request.end), entry.address.eq(address.request.address),
            outstanding.w_data.eq(entry), outstanding.w_en.eq(address.granted)]
        self._send(m, to_send, data.View(order, to_send.r_data))

        oldest, running = data.View(shape, outstanding.r_data), Signal()
        m.d.sync += running.eq(1)
        taken = comb(m, self.m_axi_bvalid & running & outstanding.r_rdy, "taken")
        m.d.comb += [
            outstanding.r_en.eq(taken), self.m_axi_bready.eq(running),
            self.o_error.eq(taken & self.m_axi_bresp[1]), self.o_response.eq(self.m_axi_bresp),
            self.o_acknowledged.eq(taken & ~self.m_axi_bresp[1]), self.o_end.eq(oldest.end),
            self.o_bytes.eq((oldest.more + 1) << bus.offset_width),
            self.o_oldest.channel.eq(oldest.channel), self.o_oldest.address.eq(oldest.address << bus.offset_width),
            self.o_idle.eq(~address.waiting & ~outstanding.r_rdy & ~self.m_axi_wvalid),
            self.o_moved.eq(taken | address.granted | self.m_axi_wvalid & self.m_axi_wready),
            self.o_wait.eq(self.m_axi_wvalid & ~self.m_axi_wready)]
        return m

    def _send(self, m, to_send, burst):
        """The W channel: the bus beats of one burst after the other."""
        number = Signal(8)
        beat = Signal(write_beat_layout(self.bus))
        free = comb(m, ~self.m_axi_wvalid | self.m_axi_wready, "w_free")
        valid = Array(item.valid for item in self.i_beat)[burst.channel]
        send = comb(m, free & to_send.r_rdy & valid, "send")
        final = comb(m, number == burst.more, "final")
        word, strobe, last = (Signal(len(port), name=name, reset_less=True) for name, port in
                              (("w_data", self.m_axi_wdata), ("w_strobe", self.m_axi_wstrb),
                               ("w_last", self.m_axi_wlast)))
        m.d.comb += [
            beat.eq(Array(item.payload.as_value() for item in self.i_beat)[burst.channel]),
            *(item.ready.eq(send & (burst.channel == index)) for index, item in enumerate(self.i_beat)),
            to_send.r_en.eq(send & final), self.m_axi_wdata.eq(word), self.m_axi_wstrb.eq(strobe),
            self.m_axi_wlast.eq(last)]
        with m.If(free):
            m.d.sync += self.m_axi_wvalid.eq(send)
        with m.If(send):
            m.d.sync += [word.eq(beat.data), strobe.eq(beat.strobe), last.eq(final),
                         number.eq(Mux(final, 0, number + 1))]
