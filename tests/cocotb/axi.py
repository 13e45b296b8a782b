"""The AXI rules of the engine's two ports.

The models of cocotbext-axi take what comes: they do not see a payload that changes before it is taken, nor an answer
that nobody asked for.
"""

from collections import deque, namedtuple

from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiResp

__all__ = ["Watch"]

BOUNDARY = 4096
"""No burst crosses a multiple of this many bytes."""
_ADDRESS = ("id", "addr", "len", "size", "burst", "cache", "prot")


class _Channel:
    """One channel, looked at once a cycle; ``driven``: the design is its source."""

    def __init__(self, dut, name, fields, driven):
        self.name = name
        self.valid, self._ready = getattr(dut, f"{name}valid"), getattr(dut, f"{name}ready")
        self._fields = [getattr(dut, name + field) for field in fields]
        self._payload = namedtuple("Payload", fields)
        self.driven = driven
        self.held = None

    def step(self):
        """The payload transferred in this cycle, or None."""
        if not int(self.valid.value):
            assert self.held is None, f"{self.name}valid fell before {self.name}ready rose"
            return None
        values = [field.value for field in self._fields]
        if self.driven:
            unknown = {field._name: str(value) for field, value in zip(self._fields, values)
                       if not value.is_resolvable}
            assert not unknown, f"unknown bits in {unknown}"
        now = self._payload(*map(int, values))
        assert self.held in (None, now), f"{self.name} has {now} after {self.held} was not taken"
        taken = int(self._ready.value)
        self.held = now if self.driven and not taken else None
        return now if taken else None


class Watch:
    """Checks every cycle of ``m_axi`` and ``s_axil``; a broken rule fails the test.

    Of what the design drives: VALID and payload hold until READY, nothing is unknown, VALID is low in reset; address
    channels are as docs/engine.md has them (ID 0, INCR, full width, aligned, cache 0011, prot 0), no burst is longer
    than ``max_burst``, crosses a multiple of its bytes or 4 KiB, or is one more than ``outstanding``; WLAST comes with
    the last beat of each burst and no other; each register access has one answer, OKAY or SLVERR, after it.

    Parameters
    ----------
    dut : the design
    bus : bnforge.engine_config.BusConfig
    on_answer : function
        Called when the answer to a write burst is taken.

    Attributes
    ----------
    bursts : dict of str to list of (address, beats)
        The bursts so far, "ar" and "aw".
    """

    def __init__(self, dut, bus, on_answer):
        self._dut, self._bus, self._on_answer = dut, bus, on_answer
        self._axi = {name: _Channel(dut, f"m_axi_{name}", fields, driven) for name, fields, driven in (
            ("aw", _ADDRESS, True), ("w", ("data", "strb", "last"), True), ("b", ("id", "resp"), False),
            ("ar", _ADDRESS, True), ("r", ("id", "resp", "last"), False))}
        self._lite = {name: _Channel(dut, f"s_axil_{name}", fields, driven) for name, fields, driven in (
            ("b", ("resp",), True), ("aw", ("addr",), False), ("w", ("strb",), False),
            ("r", ("data", "resp"), True), ("ar", ("addr",), False))}
        self._in_reset = 0
        self._clear()
        self.bursts = {"ar": [], "aw": []}
        self._counts = {"bytes_read": 0, "bytes_written": 0, "read_wait": 0, "write_wait": 0}

    def _clear(self):
        self._reads = deque()  # [address, beats still to come] of each burst
        self._writes = deque()  # (address, beats) of each burst without an answer
        self._complete = 0  # so many of them, the first ones, have all their data
        self._sent, self._burst = deque(), 0  # beats of further bursts whose data was first; of the last one so far
        self._lite_taken = {"aw": 0, "w": 0, "ar": 0}
        self._lite_answered = {"b": 0, "r": 0}
        for channel in (*self._axi.values(), *self._lite.values()):
            channel.held = None

    def counts(self):
        """What the counters of the same names must have counted, in all runs together."""
        return dict(self._counts)

    @property
    def begun(self):
        """Bursts so far, those included whose address waits to be taken."""
        return sum(len(self.bursts[name]) + (self._axi[name].held is not None) for name in self.bursts)

    @property
    def oldest(self):
        """Address of the burst that has waited longest, reads first; None when the bus is quiet."""
        for name, bursts in (("ar", self._reads), ("aw", self._writes)):
            if bursts:
                return bursts[0][0]
            if self._axi[name].held:
                return self._axi[name].held.addr
        return None

    @property
    def quiet(self):
        """Whether no burst is on the bus."""
        return self.oldest is None and not (self._sent or self._burst or self._axi["w"].held)

    @property
    def data_waits(self):
        """Whether write data is offered, or taken, that no address has come for."""
        return self._complete == len(self._writes) and bool(self._sent or self._burst or
                                                            int(self._axi["w"].valid.value))

    @property
    def address_waits(self):
        """Whether a write address is offered, or taken, whose data has not all come."""
        return self._complete < len(self._writes) or bool(int(self._axi["aw"].valid.value))

    async def run(self):
        """For ever."""
        while True:
            await ReadOnly()
            if int(self._dut.aresetn.value):
                self._in_reset = 0
                self._step_axi({name: channel.step() for name, channel in self._axi.items()})
                self._step_lite()
            else:
                self._in_reset += 1
                self._clear()
                if self._in_reset > 1:
                    for channel in (*self._axi.values(), *self._lite.values()):
                        assert not channel.driven or not int(channel.valid.value), f"{channel.name}valid in reset"
            await RisingEdge(self._dut.aclk)

    def _step_axi(self, now):
        for name in ("ar", "aw"):
            if now[name]:
                self._check_address(name, now[name])
                self.bursts[name].append((now[name].addr, now[name].len + 1))
        if now["r"]:
            self._read_beat(now["r"])
        elif self._reads or now["ar"] or self._axi["ar"].held:
            self._counts["read_wait"] += 1
        if now["ar"]:
            self._reads.append(list(self.bursts["ar"][-1]))
        if now["aw"]:
            self._writes.append(self.bursts["aw"][-1])
        self._counts["write_wait"] += self._axi["w"].held is not None
        self._write_beat(now["w"])
        if now["b"]:
            assert self._complete, "an answer to no write burst"
            _address, beats = self._writes.popleft()
            self._complete -= 1
            self._on_answer()
            self._counts["bytes_written"] += 0 if now["b"].resp else beats * self._bus.bytes
        limit = self._bus.outstanding
        assert len(self._reads) <= limit, f"{len(self._reads)} read bursts on the bus"
        assert len(self._writes) <= limit, f"{len(self._writes)} write bursts on the bus"

    def _read_beat(self, beat):
        assert self._reads, "an answer to no read burst"
        self._counts["bytes_read"] += self._bus.bytes
        self._reads[0][1] -= 1
        assert bool(beat.last) == (self._reads[0][1] == 0), "RLAST is not where the burst ends"
        if beat.last:
            self._reads.popleft()

    def _write_beat(self, beat):
        if beat:
            self._burst += 1
            if beat.last:
                self._sent.append(self._burst)
                self._burst = 0
        while self._sent and self._complete < len(self._writes):
            sent, announced = self._sent.popleft(), self._writes[self._complete][1]
            assert sent == announced, f"WLAST with beat {sent} of a burst of {announced}"
            self._complete += 1
        if self._complete < len(self._writes):
            announced = self._writes[self._complete][1]
            assert self._burst < announced, f"no WLAST with beat {announced} of a burst of as many"

    def _check_address(self, name, item):
        size = self._bus.bytes
        wanted = {"id": 0, "size": self._bus.offset_width, "burst": 1, "cache": 3, "prot": 0}
        wrong = {key: getattr(item, key) for key, value in wanted.items() if getattr(item, key) != value}
        assert not wrong, f"{name} has {wrong}"
        assert item.addr % size == 0, f"{name} address {item.addr:#x} is not aligned to {size} bytes"
        assert item.len < self._bus.max_burst, f"{name} burst of {item.len + 1} beats"
        limit = min(BOUNDARY, self._bus.max_burst * size)
        last = item.addr + (item.len + 1) * size - 1
        assert item.addr // limit == last // limit, f"{name} burst {item.addr:#x} to {last:#x} crosses {limit} bytes"

    def _step_lite(self):
        for answer, requests in (("b", ("aw", "w")), ("r", ("ar",))):
            channel = self._lite[answer]
            owed = min(self._lite_taken[request] for request in requests) - self._lite_answered[answer]
            assert owed or not int(channel.valid.value), f"{channel.name}valid without a request"
            item = channel.step()
            if item:
                assert item.resp in (AxiResp.OKAY, AxiResp.SLVERR), f"{channel.name} has {item}"
                self._lite_answered[answer] += 1
            for request in requests:
                self._lite_taken[request] += self._lite[request].step() is not None
