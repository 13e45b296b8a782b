"""What runs tiles on a board without an engine, against a core that stalls at will; and its configuration."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from bnforge import presets
from bnforge.board import BoardConfig
from bnforge.board.config import TileRegister
from bnforge.board.tiles import TileRunner
from bnforge.config import Config, Directions
from bnforge.engine_config import EngineConfig
from bnforge.formats import FP10, BlockFormat

CONFIG = BoardConfig(engine=presets.opn2_frozen, clock_hz=12_000_000, memory_bytes=4096)
OK, SLVERR = 0, 2
REFUSED = 1 << 3
RESULT = 0xFF_FFFF
"""The bits of a result: two elements and their exponent."""


class Bench:
    """A runner with a host, and a core that gives for every beat its complement, and records that count."""

    def __init__(self, seed, stall, config=CONFIG):
        self.config, self.runner, self.places = config, TileRunner(config), config.places
        self.rng, self.stall = np.random.default_rng(seed), stall
        self.n_records = 5 * config.core.lanes
        self.refuses = False
        self.headers, self.tiles = [], []

    def run(self, host):
        simulator = Simulator(self.runner)
        simulator.add_clock(1e-6)
        simulator.add_testbench(host)
        simulator.add_testbench(self.core, background=True)
        simulator.run()

    # The host.

    async def move(self, ctx, address, word=None):
        """A host's access to memory: what was read."""
        unit = self.runner
        ctx.set(unit.i_address, self.config.memory_base + 4 * address)
        if word is not None:
            ctx.set(unit.i_data, int(word))
        ctx.set(unit.i_read if word is None else unit.i_write, 1)
        await ctx.tick().until(unit.o_done)
        ctx.set(unit.i_read if word is None else unit.i_write, 0)
        return ctx.get(unit.o_data)

    async def write_register(self, ctx, offset, value):
        unit = self.runner
        for name, data in (("awaddr", offset), ("wdata", value), ("wstrb", 0xF), ("awvalid", 1), ("wvalid", 1)):
            ctx.set(getattr(unit, f"s_axil_{name}"), data)
        await ctx.tick().until(unit.s_axil_awready & unit.s_axil_wready)
        ctx.set(unit.s_axil_awvalid, 0)
        ctx.set(unit.s_axil_wvalid, 0)
        ctx.set(unit.s_axil_bready, 1)
        response, = await ctx.tick().sample(unit.s_axil_bresp).until(unit.s_axil_bvalid)
        ctx.set(unit.s_axil_bready, 0)
        return response

    async def read_register(self, ctx, offset):
        unit = self.runner
        ctx.set(unit.s_axil_araddr, offset)
        ctx.set(unit.s_axil_arvalid, 1)
        await ctx.tick().until(unit.s_axil_arready)
        ctx.set(unit.s_axil_arvalid, 0)
        ctx.set(unit.s_axil_rready, 1)
        value, response = await ctx.tick().sample(unit.s_axil_rdata, unit.s_axil_rresp).until(unit.s_axil_rvalid)
        ctx.set(unit.s_axil_rready, 0)
        return value if response == OK else None

    # The core.

    async def core(self, ctx):
        """One step of every stream in a cycle, each stalled at will; all begins again with a reset."""
        unit = self.runner
        header, beats, results, records, waiting = [], [], [], [], 0
        offered = {"m_axis": None, "m_axis_rec": None}
        while True:
            takes = {name: int(self.rng.random() >= self.stall) for name in ("s_axis_hdr", "s_axis")}
            if self.stall:  # ready only after valid, as AXI4-Stream allows
                takes = {name: ready & ctx.get(getattr(unit, f"{name}_tvalid")) for name, ready in takes.items()}
            takes["s_axis"] &= not self.refuses
            for name, ready in takes.items():
                ctx.set(getattr(unit, f"{name}_tready"), int(ready))
            for name, queue in (("m_axis", results), ("m_axis_rec", records)):
                if offered[name] is None and queue and self.rng.random() >= self.stall:
                    offered[name] = queue.pop(0)
                ctx.set(getattr(unit, f"{name}_tvalid"), int(offered[name] is not None))
                if offered[name] is not None:
                    ctx.set(getattr(unit, f"{name}_tdata"), offered[name][0] & 0xFFFF if name == "m_axis" else
                            offered[name][0])
                    ctx.set(getattr(unit, f"{name}_tlast"), offered[name][1])
                    if name == "m_axis":
                        ctx.set(unit.m_axis_tuser, offered[name][0] >> 16)
            _edge, _reset, *sampled = await ctx.tick().sample(
                *(getattr(unit, f"{name}_{part}") for name in takes for part in ("tvalid", "tdata", "tlast")),
                *(getattr(unit, f"{name}_tready") for name in offered), unit.o_reset)
            if sampled[-1]:
                header, beats, results, records = [], [], [], []
                offered = dict.fromkeys(offered)
                ctx.set(unit.i_status, 0)
                continue
            for place, (name, kept) in enumerate((("s_axis_hdr", header), ("s_axis", beats))):
                valid, word, last = sampled[3 * place:3 * place + 3]
                if valid and takes[name]:
                    kept.append(word)
                    if name == "s_axis":
                        results.append((~word & RESULT, last))
                    if last and name == "s_axis_hdr":
                        self.headers.append(header)
                        if self.refuses:
                            ctx.set(unit.i_status, REFUSED)
                    if last and name == "s_axis":
                        self.tiles.append(beats)
                        records += [(number, number == self.n_records - 1) for number in range(self.n_records)]
            for name, ready in zip(offered, sampled[6:8]):
                if offered[name] is not None and ready:
                    offered[name] = None


async def run_tile(bench, ctx, n):
    """Fill, run, read back."""
    places, rng = bench.places, bench.rng
    header, beats = rng.integers(1 << 32, size=8), rng.integers(1 << 32, size=n)
    for place, words in ((places.header, header), (places.beats, beats)):
        for index, word in enumerate(words):
            await bench.move(ctx, place + index, word)
    assert await bench.write_register(ctx, TileRegister.RUN, n) == OK
    while (status := await bench.read_register(ctx, TileRegister.STATUS)) & 1:
        assert await bench.read_register(ctx, TileRegister.CYCLES) <= 1000
    return status >> 8, header, beats


@pytest.mark.parametrize("stall", [0, 0.5])
def test_tiles_run_one_after_the_other(stall, seed):
    bench = Bench(seed, stall)

    async def host(ctx):
        for n in (1, 2, 40):
            status, header, beats = await run_tile(bench, ctx, n)
            assert status == 0
            assert bench.headers[-1] == list(header) and bench.tiles[-1] == list(beats)
            assert [await bench.move(ctx, bench.places.beats + index) for index in range(n)] == [
                ~int(word) & RESULT for word in beats]
            assert [await bench.move(ctx, bench.places.records + index)
                    for index in range(bench.n_records)] == list(range(bench.n_records))
            assert [await bench.move(ctx, index) for index in range(8)] == list(header)
            cycles = await bench.read_register(ctx, TileRegister.CYCLES)
            assert cycles >= len(header) + n and (stall or cycles <= len(header) + n + bench.n_records + 8)
            assert await bench.read_register(ctx, TileRegister.RUN) == n
        assert len(bench.headers) == len(bench.tiles) == 3

    bench.run(host)


def test_a_refused_header_ends_the_run_and_the_next_one_works(seed):
    bench = Bench(seed, 0.2)

    async def host(ctx):
        bench.refuses = True
        status, _header, beats = await run_tile(bench, ctx, 5)
        assert status == REFUSED and bench.tiles == []
        assert [await bench.move(ctx, bench.places.beats + index) for index in range(5)] == list(beats)
        bench.refuses = False
        status, header, beats = await run_tile(bench, ctx, 7)
        assert status == 0 and bench.headers[-1] == list(header) and bench.tiles == [list(beats)]

    bench.run(host)


def test_what_is_not_there_is_refused(seed):
    bench = Bench(seed, 0)

    async def host(ctx):
        capacity = bench.places.capacity
        for value in (0, capacity + 1, 1 << 31):
            assert await bench.write_register(ctx, TileRegister.RUN, value) == SLVERR
        for offset in (TileRegister.STATUS, TileRegister.CYCLES, 0xC, 0x800):
            assert await bench.write_register(ctx, offset, 1) == SLVERR
        for offset in (0xC, 0x800):
            assert await bench.read_register(ctx, offset) is None
        assert await bench.read_register(ctx, TileRegister.STATUS) == 0
        for address, outside in ((-1, 1), (0, 0), (1023, 0), (1024, 1)):
            ctx.set(bench.runner.i_address, bench.config.memory_base + 4 * address)
            assert ctx.get(bench.runner.o_outside) == outside
        assert await bench.write_register(ctx, TileRegister.RUN, capacity) == OK
        assert bench.places.beats + capacity == 1024

    bench.run(host)


def test_a_host_that_reads_while_a_tile_runs_waits_for_the_result(seed):
    bench = Bench(seed, 0.3)

    async def host(ctx):
        await bench.move(ctx, bench.places.beats + 29, 7)
        assert await bench.write_register(ctx, TileRegister.RUN, 30) == OK
        assert await bench.write_register(ctx, TileRegister.RUN, 30) == SLVERR
        assert await bench.move(ctx, bench.places.beats + 29) == ~7 & RESULT

    bench.run(host)


def test_a_tile_runs_from_the_answer_to_run_on(seed):
    bench = Bench(seed, 0)

    async def host(ctx):
        unit = bench.runner
        for name, value in (("wdata", 3), ("wstrb", 0xF), ("awvalid", 1), ("wvalid", 1)):
            ctx.set(getattr(unit, f"s_axil_{name}"), value)
        await ctx.tick()
        assert ctx.get(unit.s_axil_bvalid)
        assert await bench.read_register(ctx, TileRegister.STATUS) & 1

    bench.run(host)


# The configuration.

FORWARD = {"directions": Directions.FORWARD}


@pytest.mark.parametrize(("core", "message"), [
    (presets.opn1_tiny, "core must be a one-pass normaliser for forward tiles without an engine, not 'one-pass' for "
     "'both'"),
    (presets.COMPARED["range16"][0], "core must be a one-pass normaliser for forward tiles without an engine, not "
     "'range' for 'both'"),
    (Config(lanes=4, x_format=FP10, storage=BlockFormat(4, 4), **FORWARD),
     "beat of x must be of at most 32 bits without an engine, not 40"),
    (Config(lanes=2, storage=BlockFormat(1, 12), **FORWARD),
     "beat of y must be of at most 32 bits without an engine, not 40")])
def test_a_core_that_the_runner_cannot_serve_is_refused(core, message):
    with pytest.raises(ValueError, match=message):
        BoardConfig(engine=core)


@pytest.mark.parametrize("design", [presets.opn2_frozen, EngineConfig(core=presets.opn1_tiny)])
def test_a_configuration_is_read_back(design):
    config = BoardConfig(engine=design)
    assert BoardConfig.from_dict(config.to_dict()) == config
    assert ("core" in config.to_dict()) != ("engine" in config.to_dict()) == config.has_engine
    with pytest.raises(ValueError, match="parameters must be an engine or a core, and those of a board, not name"):
        BoardConfig.from_dict({"name": "a"})
