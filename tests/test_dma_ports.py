"""Ports of the DMA engine with several channels in Amaranth's simulator: who goes first, whose data it is, errors."""

import random

from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from bnforge.dma import ReadPort, WritePort
from bnforge.engine_config import BusConfig

SLVERR = 2
CYCLES = 3000
"""Many more than the requests of a test take."""


def simulate(component, process):
    simulator = Simulator(Fragment.get(component, None))
    simulator.add_clock(1e-6)
    simulator.add_testbench(process)
    simulator.run_until(CYCLES * 1e-6)


def random_requests(rng, n_channels):
    """Per channel: (address in bus beats, beats less one, whether a tile ends)."""
    return [[(rng.getrandbits(29), rng.choice([0, 0, 1, 3]), rng.randint(0, 1)) for _ in range(40)]
            for _ in range(n_channels)]


class PortBench:
    """What is the same for a read and a write port: requests, the address channel, answers.

    Attributes
    ----------
    asked : (channel, request) in the order in which they were granted
    taken : those whose address memory has
    """

    def __init__(self, rng, port, prefix):
        self.rng, self.port, self.prefix = rng, port, prefix
        self.waiting = random_requests(rng, port.n_channels)
        self.asked, self.taken, self.halted, self.offered = [], [], False, [False] * port.n_channels

    def left(self):
        """Whether requests are still to be granted."""
        return any(self.waiting)

    def drive(self, ctx):
        """Inputs of this cycle: requests, which stay until they are granted, and READY."""
        rng, port = self.rng, self.port
        self.halted = self.halted ^ (rng.random() < 0.05)
        ctx.set(port.i_halt, self.halted)
        for channel, requests in enumerate(self.waiting):
            self.offered[channel] = bool(requests) and (self.offered[channel] or rng.random() < 0.3)
            ctx.set(port.i_request[channel].valid, self.offered[channel])
            if self.offered[channel]:
                address, more, end = requests[0]
                ctx.set(port.i_request[channel].payload, {"address": address, "more": more, "end": end})
        ctx.set(getattr(port, f"m_axi_{self.prefix}ready"), rng.random() < 0.5)

    def look(self, ctx, oldest, number):
        """Check this cycle; ``oldest`` burst of ``number`` unanswered ones."""
        port, prefix = self.port, self.prefix
        granted = [channel for channel in range(port.n_channels)
                   if self.offered[channel] and ctx.get(port.i_request[channel].ready)]
        assert granted in ([], [self.offered.index(True)] if any(self.offered) else [])
        assert not granted or not self.halted and number < port.bus.outstanding
        if oldest is not None:
            assert ctx.get(port.o_oldest.channel) == oldest[0]
            assert ctx.get(port.o_oldest.address) == oldest[1][0] * port.bus.bytes
        if ctx.get(getattr(port, f"m_axi_{prefix}valid")) and ctx.get(getattr(port, f"m_axi_{prefix}ready")):
            burst = self.asked[len(self.taken)]
            assert ctx.get(getattr(port, f"m_axi_{prefix}addr")) == burst[1][0] * port.bus.bytes
            assert ctx.get(getattr(port, f"m_axi_{prefix}len")) == burst[1][1]
            self.taken.append(burst)
        for channel in granted:
            self.offered[channel] = False
            self.asked.append((channel, self.waiting[channel].pop(0)))


def test_read_port_serves_the_first_channel_and_sends_data_where_it_belongs(seed):
    rng, bus = random.Random(seed), BusConfig(outstanding=4)
    port = ReadPort(bus, 3)
    bench, data = PortBench(rng, port, "ar"), [[] for _ in range(3)]
    expected = [[address + beat for address, more, _end in requests for beat in range(more + 1)]
                for requests in bench.waiting]

    async def process(ctx):
        answered = beat = 0
        await ctx.tick()
        while bench.left() or answered < len(bench.asked):
            bench.drive(ctx)
            valid, response = answered < len(bench.taken) and rng.random() < 0.7, rng.randint(0, 3)
            oldest = bench.asked[answered] if answered < len(bench.asked) else None
            ctx.set(port.m_axi_rvalid, valid)
            ctx.set(port.m_axi_rresp, response)
            if valid:
                ctx.set(port.m_axi_rdata, oldest[1][0] + beat)
                ctx.set(port.m_axi_rlast, beat == oldest[1][1])
            assert ctx.get(port.o_valid) == (valid << oldest[0] if oldest else 0)
            assert ctx.get(port.o_idle) == (oldest is None)
            assert ctx.get(port.o_wait) == (oldest is not None and not valid)
            assert ctx.get(port.o_error) == (valid and response >= SLVERR) and ctx.get(port.o_response) == response
            bench.look(ctx, oldest, len(bench.asked) - answered)
            if valid:
                data[oldest[0]].append(ctx.get(port.o_beat.data))
                answered, beat = (answered + 1, 0) if beat == oldest[1][1] else (answered, beat + 1)
            await ctx.tick()

    simulate(port, process)
    assert data == expected


def test_write_port_sends_the_data_of_each_burst_and_counts_what_is_written(seed):
    rng, bus = random.Random(seed), BusConfig(outstanding=4)
    port = WritePort(bus, 2)
    bench = PortBench(rng, port, "aw")
    beats = [[(rng.getrandbits(64), rng.getrandbits(8), beat == more) for _address, more, _end in requests
              for beat in range(more + 1)] for requests in bench.waiting]
    sent, ended = [], []

    async def process(ctx):
        answered, queues, offered = 0, [list(part) for part in beats], [False, False]
        await ctx.tick()
        while bench.left() or answered < len(bench.asked):
            bench.drive(ctx)
            for channel, queue in enumerate(queues):
                offered[channel] = bool(queue) and (offered[channel] or rng.random() < 0.6)
                ctx.set(port.i_beat[channel].valid, offered[channel])
                if queue:
                    ctx.set(port.i_beat[channel].payload, {"data": queue[0][0], "strobe": queue[0][1]})
            ctx.set(port.m_axi_wready, rng.random() < 0.7)
            valid, response = answered < min(len(bench.taken), len(ended)) and rng.random() < 0.3, rng.randint(0, 3)
            oldest = bench.asked[answered] if answered < len(bench.asked) else None
            ctx.set(port.m_axi_bvalid, valid)
            ctx.set(port.m_axi_bresp, response)
            assert ctx.get(port.o_acknowledged) == (valid and response < SLVERR)
            assert ctx.get(port.o_error) == (valid and response >= SLVERR) and ctx.get(port.o_response) == response
            assert ctx.get(port.o_idle) == (oldest is None)
            if valid:
                assert ctx.get(port.o_bytes) == 8 * (oldest[1][1] + 1) and ctx.get(port.o_end) == oldest[1][2]
            bench.look(ctx, oldest, len(bench.asked) - answered)
            for channel, queue in enumerate(queues):
                if offered[channel] and ctx.get(port.i_beat[channel].ready):
                    offered[channel] = False
                    queue.pop(0)
            waits = ctx.get(port.m_axi_wvalid) and not ctx.get(port.m_axi_wready)
            assert ctx.get(port.o_wait) == waits
            if ctx.get(port.m_axi_wvalid) and not waits:
                sent.append(tuple(ctx.get(getattr(port, f"m_axi_w{name}")) for name in ("data", "strb", "last")))
                ended.extend([None] * sent[-1][2])
            answered += valid
            await ctx.tick()

    simulate(port, process)
    queues = [list(part) for part in beats]
    assert not bench.left()
    assert sent == [queues[channel].pop(0) for channel, (_address, more, _end) in bench.asked for _ in range(more + 1)]
