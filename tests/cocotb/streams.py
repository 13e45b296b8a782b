"""Driver, receiver and rule checker of one AXI4-Stream port, named by its prefix."""

import random

from cocotb.triggers import ReadOnly, RisingEdge

__all__ = ["Source", "Sink", "watch_rules"]


class _Port:
    def __init__(self, dut, prefix, fields, stall, seed):
        self._clock = dut.aclk
        self._valid = getattr(dut, f"{prefix}_tvalid")
        self._ready = getattr(dut, f"{prefix}_tready")
        self._fields = [getattr(dut, f"{prefix}_{field}") for field in fields]
        self._stall = stall
        self._random = random.Random(seed)

    def _stalled(self):
        return self._random.random() < self._stall


class Source(_Port):
    """Sends items, each a tuple of integers, one per field; random garbage while idle."""

    async def send(self, items):
        for item in items:
            while self._stalled():
                self._idle()
                await RisingEdge(self._clock)
            self._valid.value = 1
            for field, value in zip(self._fields, item, strict=True):
                field.value = value
            while True:
                await ReadOnly()
                ready = int(self._ready.value)
                await RisingEdge(self._clock)
                if ready:
                    break
        self._idle()

    def _idle(self):
        self._valid.value = 0
        for field in self._fields:
            field.value = self._random.getrandbits(len(field))


class Sink(_Port):
    """Takes items with random TREADY and keeps them in ``items``."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.items = []

    async def receive(self, count):
        """Until there are ``count`` items."""
        while len(self.items) < count:
            ready = not self._stalled()
            self._ready.value = ready
            await ReadOnly()
            if ready and int(self._valid.value):
                self.items.append(tuple(int(field.value) for field in self._fields))
            await RisingEdge(self._clock)
        self._ready.value = 0


async def watch_rules(dut, prefix, fields):
    """Fails when TVALID falls or the payload changes before TREADY, TVALID is high in reset, or a payload has an X."""
    valid, ready = getattr(dut, f"{prefix}_tvalid"), getattr(dut, f"{prefix}_tready")
    payload = [getattr(dut, f"{prefix}_{field}") for field in fields]
    held, in_reset = None, 0
    while True:
        await ReadOnly()
        now = None
        if int(valid.value):
            unknown = {field._name: str(field.value) for field in payload if not field.value.is_resolvable}
            assert not unknown, f"{prefix} has unknown bits: {unknown}"
            now = tuple(int(field.value) for field in payload)
        in_reset = 0 if int(dut.aresetn.value) else in_reset + 1
        assert in_reset < 2 or now is None, f"{prefix}_tvalid is high in reset"
        if held is not None and in_reset < 2:
            assert now == held, f"{prefix} has {now} after {held} was not taken"
        held = None if int(ready.value) else now
        await RisingEdge(dut.aclk)
