"""The memory of a board against an array of bytes: bursts of the engine and words of the host, at the same time."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from bnforge.board.memory import BoardMemory
from bnforge.engine_config import BusConfig

BASE, SIZE = 0x40000, 3 * 4096
HALF = BASE + SIZE // 2
"""The engine writes below, the host from here on; both read all that they have written."""
OK, DECERR = 0, 3


class Bench:
    """A manager and a host, each with its own expectations of ``bytes``."""

    def __init__(self, data_width, seed, stall):
        self.bus = BusConfig(data_width=data_width)
        self.memory = BoardMemory(self.bus, BASE, SIZE)
        self.rng, self.stall = np.random.default_rng(seed), stall
        self.bytes = np.zeros(SIZE, np.uint8)
        self.seen = []

    async def wait(self, ctx):
        for _ in range(int(self.rng.integers(4)) if self.rng.random() < self.stall else 0):
            await ctx.tick()

    async def offer(self, ctx, prefix, **payload):
        wire = {name: getattr(self.memory, f"m_axi_{prefix}{name}") for name in ("valid", "ready", *payload)}
        await self.wait(ctx)
        for name, value in payload.items():
            ctx.set(wire[name], value)
        ctx.set(wire["valid"], 1)
        await ctx.tick().until(wire["ready"])
        ctx.set(wire["valid"], 0)

    async def take(self, ctx, prefix, *names):
        wire = {name: getattr(self.memory, f"m_axi_{prefix}{name}") for name in ("valid", "ready", *names)}
        await self.wait(ctx)
        ctx.set(wire["ready"], 1)
        values = await ctx.tick().sample(*(wire[name] for name in names)).until(wire["valid"])
        ctx.set(wire["ready"], 0)
        return values

    def place(self, low, high):
        """A burst that crosses no multiple of 4096: address and beats."""
        n_beats = int(self.rng.integers(1, 17))
        first = int(self.rng.integers(low // self.bus.bytes, high // self.bus.bytes)) * self.bus.bytes
        room = (4096 - first % 4096) // self.bus.bytes
        return first, min(n_beats, room, (high - first) // self.bus.bytes)

    async def engine(self, ctx):
        for _ in range(60):
            outside = self.rng.random() < 0.2
            address, n_beats = self.place(BASE - 4096, BASE) if outside else self.place(BASE, HALF)
            if outside and self.rng.random() < 0.5:
                address += SIZE + 4096  # behind the end, below the next power of two
            if self.rng.random() < 0.5:
                await self.write(ctx, address, n_beats, outside)
            else:
                await self.read(ctx, address, n_beats, outside)

    async def write(self, ctx, address, n_beats, outside):
        await self.offer(ctx, "aw", addr=address, len=n_beats - 1, id=0)
        for beat in range(n_beats):
            data = self.rng.integers(256, size=self.bus.bytes, dtype=np.uint8)
            strobes = self.rng.integers(2, size=self.bus.bytes)
            await self.offer(ctx, "w", data=int.from_bytes(data.tobytes(), "little"), last=beat == n_beats - 1,
                             strb=int("".join(map(str, strobes[::-1])), 2))
            if not outside:
                at = address - BASE + beat * self.bus.bytes
                self.bytes[at:at + self.bus.bytes][strobes == 1] = data[strobes == 1]
        assert await self.take(ctx, "b", "resp") == (DECERR if outside else OK,)
        self.seen.append("refused write" if outside else "write")

    async def read(self, ctx, address, n_beats, outside):
        await self.offer(ctx, "ar", addr=address, len=n_beats - 1, id=0)
        for beat in range(n_beats):
            data, resp, last = await self.take(ctx, "r", "data", "resp", "last")
            at = address - BASE + beat * self.bus.bytes
            wanted = 0 if outside else int.from_bytes(self.bytes[at:at + self.bus.bytes].tobytes(), "little")
            assert (data, resp, last) == (wanted, DECERR if outside else OK, beat == n_beats - 1)
        self.seen.append("refused read" if outside else "read")

    async def host(self, ctx):
        memory, written = self.memory, {}
        for _ in range(80):
            address = HALF + 4 * int(self.rng.integers(SIZE // 8))
            write = not written or self.rng.random() < 0.5
            if not write:
                address = list(written)[int(self.rng.integers(len(written)))]
            value = int(self.rng.integers(1 << 32))
            await self.wait(ctx)
            for signal, now in ((memory.i_address, address), (memory.i_data, value), (memory.i_write, write),
                                (memory.i_read, not write)):
                ctx.set(signal, now)
            assert ctx.get(memory.o_outside) == 0
            data, = await ctx.tick().sample(memory.o_data).until(memory.o_done)
            ctx.set(memory.i_write, 0)
            ctx.set(memory.i_read, 0)
            if write:
                written[address] = value
            else:
                assert data == written[address]
            self.seen.append("host")


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("data_width", [32, 64, 128])
def test_engine_and_host_read_what_they_have_written(data_width, stall, seed):
    bench = Bench(data_width, seed, stall)
    simulator = Simulator(bench.memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench.engine)
    simulator.add_testbench(bench.host)
    simulator.run()
    assert {"write", "refused write", "read", "refused read", "host"} == set(bench.seen)


def test_a_beat_is_read_in_every_cycle(seed):
    bench, cycles = Bench(64, seed, 0), []

    async def ask(ctx):
        for _ in range(3):
            await bench.offer(ctx, "ar", addr=BASE, len=15, id=0)

    async def count(ctx):
        ctx.set(bench.memory.m_axi_rready, 1)
        while len(cycles) < 48:
            valid = ctx.get(bench.memory.m_axi_rvalid)
            if cycles or valid:
                cycles.append(valid)
            await ctx.tick()

    simulator = Simulator(bench.memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(ask)
    simulator.add_testbench(count)
    simulator.run()
    assert cycles == [1] * 48
