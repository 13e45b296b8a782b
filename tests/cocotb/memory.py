"""What is around the engine: memory and host, on the models of cocotbext-axi, and how they stall."""

import functools
import logging
import warnings
from collections import deque

import numpy as np
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiResp, AxiSlave

__all__ = ["Memory", "attach", "attach_host", "stalls", "reluctant"]

warnings.filterwarnings("ignore", category=DeprecationWarning, module="cocotbext")  # it still uses names of cocotb 1


class _Fault(Exception):
    """Tells the model of cocotbext-axi that an access failed."""


class Memory:
    """Bytes from ``base`` on, random at first; accesses elsewhere are answered DECERR.

    What a burst writes is only there once its answer is taken: :meth:`commit`.

    Attributes
    ----------
    stray : list of str
        Beats read without a byte that is allowed, and bytes written that are not, so far.
    faults : dict of (int, int): (str, AxiResp)
        Ranges [first, behind) that answer so, to "read" or to "write".
    """

    def __init__(self, base, size, rng):
        self.base = base
        self.data = rng.integers(0, 256, size, np.uint8)
        self._allowed = {"read": np.zeros(size, bool), "write": np.zeros(size, bool)}
        self.stray, self.faults = [], {}
        self._response = {"read": AxiResp.OKAY, "write": AxiResp.OKAY}
        self._written, self._unanswered = [], deque()  # (place, data): of the burst that is coming; of those complete

    def allow(self, kind, address, length):
        """The design may ``kind`` ("read" or "write") these bytes."""
        self._allowed[kind][address - self.base:][:length] = True

    def forbid(self):
        """Nothing is allowed any more."""
        for allowed in self._allowed.values():
            allowed[:] = False

    def view(self, address, length):
        """Bytes from there, as an array that can be written."""
        assert 0 <= address - self.base <= len(self.data) - length
        return self.data[address - self.base:][:length]

    def load(self, address, data):
        """Put bytes there."""
        self.view(address, len(data))[:] = np.frombuffer(data, np.uint8)

    def _touch(self, kind, address, length):
        begin = address - self.base
        inside = 0 <= begin <= len(self.data) - length
        hits = [response for (first, behind), (what, response) in self.faults.items()
                if what == kind and address < behind and first < address + length]
        if hits or not inside:
            self._response[kind] = hits[0] if hits else AxiResp.DECERR
            raise _Fault
        allowed = self._allowed[kind][begin:begin + length]
        if not (allowed.any() if kind == "read" else allowed.all()):
            self.stray.append(f"{kind} {address:#x} + {length}")
        return slice(begin, begin + length)

    async def read(self, address, length):
        """A beat, for cocotbext-axi."""
        return self.data[self._touch("read", address, length)].tobytes()

    async def write(self, address, data):
        """The neighbouring bytes of a beat, for cocotbext-axi."""
        self._written.append((self._touch("write", address, len(data)), np.frombuffer(data, np.uint8)))

    async def answer(self, send, kind, field, item):
        """Send an answer with the response that belongs to it; the model knows only OKAY and SLVERR."""
        setattr(item, field, self._response[kind])
        self._response[kind] = AxiResp.OKAY
        if kind == "write":
            self._unanswered.append(self._written)
            self._written = []
        await send(item)

    def commit(self):
        """The oldest write burst has been answered."""
        for place, data in self._unanswered.popleft():
            self.data[place] = data

    def forget(self):
        """A reset: what is not answered is not written."""
        self._written.clear()
        self._unanswered.clear()


def attach(dut, memory):
    """``memory`` on ``m_axi``: its channels "aw", "w", "b", "ar" and "r". Call in reset."""
    logging.getLogger(f"cocotb.{dut._name}.m_axi").setLevel(logging.ERROR)
    slave = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, memory, reset_active_level=False)
    write, read = slave.write_if, slave.read_if
    channels = {"aw": write.aw_channel, "w": write.w_channel, "b": write.b_channel, "ar": read.ar_channel,
                "r": read.r_channel}
    for name in ("aw", "w", "ar"):
        channels[name].queue_occupancy_limit = -1  # takes all that comes
    for name, kind in (("r", "read"), ("b", "write")):
        channels[name].send = functools.partial(memory.answer, channels[name].send, kind, f"{name}resp")
    return channels


def attach_host(dut):
    """The AXI-Lite manager on ``s_axil``, and its channels by name. Call in reset."""
    logging.getLogger(f"cocotb.{dut._name}.s_axil").setLevel(logging.ERROR)
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, dut.aresetn, reset_active_level=False)
    write, read = host.write_if, host.read_if
    return host, {"aw": write.aw_channel, "w": write.w_channel, "b": write.b_channel, "ar": read.ar_channel,
                  "r": read.r_channel}


def stalls(rng, chance):
    """Pauses of a channel: each cycle with this chance, in runs of up to eight cycles now and then."""
    while True:
        if rng.random() < chance / 8:
            yield from [True] * int(rng.integers(1, 9))
        yield bool(rng.random() < chance)


def reluctant(wanted):
    """Pauses of a channel while not ``wanted()``: a receiver that waits for VALID before READY, as AXI allows it."""
    while True:
        yield not wanted()
