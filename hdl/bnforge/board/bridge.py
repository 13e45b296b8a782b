"""Executes the requests that come over a serial line: docs/boards.md, The line."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..registers.table import ADDRESS_WIDTH
from .frames import ANSWER, CRC, HAS_DATA, MAX_WORDS, REQUEST, Space, Status

__all__ = ["Bridge"]

_WORD_BYTES = 4


class Bridge(wiring.Component):
    """Takes a frame, checks it, does what it asks for word by word, and answers.

    A frame is kept whole before anything is done: one with a wrong CRC changes nothing. While a request is executed and
    answered no byte is taken. A frame that stops for ``patience`` cycles, or with a byte that the receiver refuses, is
    forgotten, so that the next one is understood whatever came before.

    Parameters
    ----------
    identity : list of int
        Words of :data:`.Space.IDENTITY`.
    patience : int
        Cycles between two bytes of a frame, at most.

    Members
    -------
    i_valid, i_data, i_error : bytes from the line, as :class:`.UartReceiver` gives them
    o : bytes to the line
    o_memory_read, o_memory_write, o_address, o_data, i_memory_* : the host's side of :class:`.BoardMemory`
    s_axil_* : the registers, named as at the engine
    o_answered : strobe, an answer begins
    o_failed : the last answer was not OK
    """

    def __init__(self, identity, patience):
        self.identity, self.patience = identity, patience
        super().__init__({
            "i_valid": In(1), "i_data": In(8), "i_error": In(1), "o": Out(stream.Signature(8)),
            "o_memory_read": Out(1), "o_memory_write": Out(1), "o_address": Out(32), "o_data": Out(32),
            "i_memory_done": In(1), "i_memory_data": In(32), "i_memory_outside": In(1), "o_answered": Out(1),
            "o_failed": Out(1),
            "s_axil_awaddr": Out(ADDRESS_WIDTH), "s_axil_awprot": Out(3), "s_axil_awvalid": Out(1),
            "s_axil_awready": In(1), "s_axil_wdata": Out(32), "s_axil_wstrb": Out(4), "s_axil_wvalid": Out(1),
            "s_axil_wready": In(1), "s_axil_bresp": In(2), "s_axil_bvalid": In(1), "s_axil_bready": Out(1),
            "s_axil_araddr": Out(ADDRESS_WIDTH), "s_axil_arprot": Out(3), "s_axil_arvalid": Out(1),
            "s_axil_arready": In(1), "s_axil_rdata": In(32), "s_axil_rresp": In(2), "s_axil_rvalid": In(1),
            "s_axil_rready": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = self._check = CRC.create()
        m.submodules.words = words = memory.Memory(shape=32, depth=MAX_WORDS, init=[])
        self._read, self._write = words.read_port(), words.write_port()
        command, tag, last = Signal(8, reset_less=True), Signal(8, reset_less=True), Signal(8, reset_less=True)
        self._command, self._tag, self._last = command, tag, last
        self._index = Signal(range(MAX_WORDS))  # of the word that is moved
        self._place = Signal(range(_WORD_BYTES))  # of the byte in a word, or in a head
        self._status = Signal(4)
        self._bytes = Signal(32, reset_less=True)  # a word on its way in or out
        m.d.comb += self._write.addr.eq(self._index)
        self._word = Signal(32, name="word")  # number ``index`` of the frame
        m.d.comb += [self._read.addr.eq(self._index), self._word.eq(self._read.data)]
        self._is_write = command[0]
        self._space = command[1:3]

        with m.FSM(name="state"):
            self._receive(m)
            self._execute(m)
            self._answer(m)
        return m

    # In.

    def _receive(self, m):
        quiet = Signal(range(self.patience))
        lost = comb(m, self.i_error | (quiet == self.patience - 1), "lost")
        m.d.sync += quiet.eq(Mux(self.i_valid, 0, quiet + 1))

        with m.State("IDLE"):
            m.d.sync += [self._index.eq(0), self._place.eq(0), self._status.eq(Status.OK)]
            with m.If(self.i_valid & (self.i_data == REQUEST)):
                m.d.comb += self._check.start.eq(1)
                m.d.sync += quiet.eq(0)
                m.next = "COMMAND"
        for state, register, following in (("COMMAND", self._command, "TAG"), ("TAG", self._tag, "COUNT"),
                                           ("COUNT", self._last, "ADDRESS")):
            with m.State(state):
                with m.If(self._taken(m, lost)):
                    m.d.sync += register.eq(self.i_data)
                    m.next = following
        with m.State("ADDRESS"):
            with m.If(self._taken(m, lost)):
                m.d.sync += [self.o_address.eq(Cat(self.o_address[8:], self.i_data)), self._place.eq(self._place + 1)]
                with m.If(self._place == _WORD_BYTES - 1):
                    m.next = "CHECK"
                    with m.If(self._is_write):
                        m.next = "DATA"
        with m.State("DATA"):
            m.d.comb += self._write.data.eq(Cat(self._bytes[8:], self.i_data))
            with m.If(self._taken(m, lost)):
                m.d.sync += [self._bytes.eq(Cat(self._bytes[8:], self.i_data)), self._place.eq(self._place + 1)]
                with m.If(self._place == _WORD_BYTES - 1):
                    m.d.comb += self._write.en.eq(1)
                    m.d.sync += self._index.eq(self._index + 1)
                    with m.If(self._index == self._last):
                        m.next = "CHECK"
        with m.State("CHECK"):
            with m.If(self._taken(m, lost)):
                m.d.sync += self._place.eq(self._place + 1)
                with m.If(self._place == _WORD_BYTES - 1):
                    m.next = "DECIDE"
        with m.State("DECIDE"):
            m.d.sync += [self._index.eq(0), self._place.eq(0)]
            with m.If(~self._check.match_detected):
                m.d.sync += self._status.eq(Status.BAD_CHECK)
                m.next = "ANSWER"
            with m.Elif((self._command[3:] != 0) | (self._space > max(Space)) | (self.o_address[:2] != 0)):
                m.d.sync += self._status.eq(Status.BAD_REQUEST)
                m.next = "ANSWER"
            with m.Else():
                m.next = "FETCH"

    def _taken(self, m, lost):
        """Whether a byte of the frame has come, in a state that waits for one; a lost frame ends it."""
        m.d.comb += [self._check.valid.eq(self.i_valid), self._check.data.eq(self.i_data)]
        with m.If(lost & ~self.i_valid):
            m.next = "IDLE"
        return self.i_valid

    # The words.

    def _execute(self, m):
        """One word after the other; the next begins when this one has ended."""
        m.submodules.identity = identity = memory.Memory(shape=32, depth=len(self.identity), init=self.identity)
        known = identity.read_port()
        m.d.comb += known.addr.eq(self.o_address[2:])
        m.d.comb += [self.o_data.eq(self._word), self.s_axil_wdata.eq(self._word), self.s_axil_wstrb.eq(0xF),
                     self.s_axil_awaddr.eq(self.o_address), self.s_axil_araddr.eq(self.o_address)]

        def failed(status):
            m.d.sync += self._status.eq(status)
            m.next = "ANSWER"

        def done(data):
            """The word has been moved; ``data`` is what a read gave."""
            m.d.comb += [self._write.data.eq(data), self._write.en.eq(~self._is_write)]
            m.d.sync += [self._index.eq(self._index + 1), self.o_address.eq(self.o_address + _WORD_BYTES)]
            m.next = "FETCH"
            with m.If(self._index == self._last):
                m.next = "ANSWER"

        with m.State("FETCH"):  # the word to write, and the one of the identity, are read
            with m.Switch(self._space):
                with m.Case(Space.MEMORY):
                    m.next = "MEMORY"
                with m.Case(Space.REGISTERS):
                    m.d.sync += [self.s_axil_awvalid.eq(self._is_write), self.s_axil_wvalid.eq(self._is_write),
                                 self.s_axil_arvalid.eq(~self._is_write)]
                    m.next = "REGISTERS"
                with m.Default():
                    m.next = "IDENTITY"
            with m.If((self._space == Space.REGISTERS) & (self.o_address[ADDRESS_WIDTH:] != 0)):
                m.d.sync += [self.s_axil_awvalid.eq(0), self.s_axil_wvalid.eq(0), self.s_axil_arvalid.eq(0)]
                failed(Status.BAD_ADDRESS)
        with m.State("MEMORY"):
            m.d.comb += [self.o_memory_read.eq(~self._is_write), self.o_memory_write.eq(self._is_write)]
            with m.If(self.i_memory_outside):
                failed(Status.BAD_ADDRESS)
            with m.Elif(self.i_memory_done):
                done(self.i_memory_data)
        with m.State("REGISTERS"):
            for valid, ready in ((self.s_axil_awvalid, self.s_axil_awready), (self.s_axil_wvalid, self.s_axil_wready),
                                 (self.s_axil_arvalid, self.s_axil_arready)):
                with m.If(ready):
                    m.d.sync += valid.eq(0)
            m.d.comb += [self.s_axil_bready.eq(1), self.s_axil_rready.eq(1)]
            with m.If(self.s_axil_bvalid | self.s_axil_rvalid):
                with m.If(Mux(self._is_write, self.s_axil_bresp, self.s_axil_rresp) != 0):
                    failed(Status.REFUSED)
                with m.Else():
                    done(self.s_axil_rdata)
        with m.State("IDENTITY"):
            with m.If(self._is_write | (self.o_address[2:] >= len(self.identity))):
                failed(Status.BAD_ADDRESS)
            with m.Else():
                done(known.data)

    # Out.

    def _answer(self, m):
        check = self._check
        has_data = comb(m, ~self._is_write & (self._status == Status.OK), "has_data")

        def send(byte, *, checked=True):
            """Offer a byte; true when it is taken."""
            m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(byte)]
            if checked:
                m.d.comb += [check.valid.eq(self.o.ready), check.data.eq(byte)]
            return self.o.ready

        with m.State("ANSWER"):
            m.d.sync += [self._index.eq(0), self._place.eq(0)]
            with m.If(send(ANSWER, checked=False)):
                m.d.comb += [check.start.eq(1), self.o_answered.eq(1)]
                m.d.sync += self.o_failed.eq(self._status != Status.OK)
                m.next = "STATUS"
        with m.State("STATUS"):
            with m.If(send(Cat(self._status, Mux(has_data, HAS_DATA >> 4, 0)))):
                m.next = "SEND_TAG"
        with m.State("SEND_TAG"):
            with m.If(send(self._tag)):
                m.next = "SEND_COUNT"
        with m.State("SEND_COUNT"):
            with m.If(send(Mux(has_data, self._last, 0))):
                m.next = "SEND_CHECK"
                with m.If(has_data):
                    m.d.sync += self._bytes.eq(self._word)
                    m.next = "SEND_DATA"
        with m.State("SEND_DATA"):
            with m.If(send(self._bytes[:8])):
                m.d.sync += [self._bytes.eq(self._bytes[8:]), self._place.eq(self._place + 1)]
                with m.If(self._place == 0):  # the next word is at the port when this one has gone
                    m.d.sync += self._index.eq(self._index + 1)
                with m.If(self._place == _WORD_BYTES - 1):
                    m.d.sync += self._bytes.eq(self._word)
                    with m.If(self._index == (self._last + 1)[:8]):
                        m.next = "SEND_CHECK"
        with m.State("SEND_CHECK"):
            with m.If(send(check.crc.word_select(self._place, 8), checked=False)):
                m.d.sync += self._place.eq(self._place + 1)
                with m.If(self._place == _WORD_BYTES - 1):
                    m.next = "IDLE"
