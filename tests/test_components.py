"""Latencies that the components state, and the divider against integer division, in Amaranth's own simulator."""

import random

import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from bnforge.converter import BlockConverter, FloatConverter
from bnforge.divider import INTERVAL, Divider
from bnforge.formats import WORKING
from bnforge.header import HeaderUnit
from bnforge.lane import MultiplyAdd, NormaliserLane
from bnforge.normaliser import OutputBuffer
from bnforge.presets import opn1_tiny, opn4, opn16, opn32_mx
from bnforge.positions import PositionLoader
from bnforge.records import RecordUnit
from bnforge.recovery import RecoveryLane
from bnforge.schedule import BackwardSchedule, ForwardSchedule
from bnforge.top import Top
from bnforge.totals import TotalsUnit

ONE = WORKING.bias << WORKING.fraction_width


def one(fmt):
    """Code of 1.0."""
    return fmt.bias << fmt.fraction_width


def simulate(component, bench):
    simulator = Simulator(Fragment.get(component, None))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def cycles_until(component, start, arrived, *, limit=200):
    """Cycles from the one in which ``start(ctx)`` drives the inputs to the one in which ``arrived(ctx)`` holds."""
    count = []

    async def bench(ctx):
        await ctx.tick()
        stop = start(ctx)
        for cycle in range(limit):
            if arrived(ctx):
                count.append(cycle)
                return
            await ctx.tick()
            if stop is not None:
                stop()
                stop = None

    simulate(component, bench)
    return count[0]


@pytest.mark.parametrize("min_bits", [7, 9, 10, 18])
@pytest.mark.parametrize("low_width", [0, 12])
def test_divider_divides(min_bits, low_width, seed):
    width = 12
    divider = Divider(width, low_width=low_width, min_bits=min_bits, tag_width=8)
    rng = random.Random(seed)
    jobs, results = [], []
    for tag in range(200):
        divisor = rng.randrange(1 << (width - 1), 1 << width)
        dividend = rng.randrange(1 << (width - 1), min(2 * divisor, 1 << width))
        jobs.append((dividend, rng.randrange(1 << low_width), divisor, tag))

    async def feed(ctx):
        for dividend, low, divisor, tag in jobs:
            for signal, value in ((divider.i_dividend, dividend), (divider.i_low, low), (divider.i_divisor, divisor),
                                  (divider.i_tag, tag), (divider.i_valid, 1)):
                ctx.set(signal, value)
            await ctx.tick()
            ctx.set(divider.i_valid, 0)
            for _ in range(INTERVAL - 1 + rng.randrange(3)):
                await ctx.tick()
        for _ in range(Divider.latency):
            await ctx.tick()

    async def collect(ctx):
        async for *_, valid, quotient, inexact, tag in ctx.tick().sample(divider.o_valid, divider.o_quotient,
                                                                         divider.o_inexact, divider.o_tag):
            if valid:
                results.append((quotient, inexact, tag))

    simulator = Simulator(divider)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(collect, background=True)
    simulator.run()

    def divided(dividend, low, divisor, tag):
        exact = (dividend << low_width | low) << (divider.n_bits - 1)
        return (exact // (divisor << low_width), int(exact % (divisor << low_width) != 0), tag)

    assert results == [divided(*job) for job in jobs]


def test_divider_latency():
    divider = Divider(12)

    def start(ctx):
        ctx.set(divider.i_dividend, 1 << 11)
        ctx.set(divider.i_divisor, 1 << 11)
        ctx.set(divider.i_valid, 1)
        return lambda: ctx.set(divider.i_valid, 0)

    assert cycles_until(divider, start, lambda ctx: ctx.get(divider.o_valid)) == Divider.latency


@pytest.mark.parametrize("config", [opn16, opn4], ids=lambda config: config.name)
def test_multiply_add_latency(config):
    unit = MultiplyAdd(config)

    def start(ctx):
        ctx.set(unit.i_x, one(config.x_format))
        ctx.set(unit.i_a, one(config.a_format))

    assert cycles_until(unit, start, lambda ctx: ctx.get(unit.o_code) == ONE) == MultiplyAdd.latency


def test_multiply_add_latency_of_the_addend():
    unit = MultiplyAdd(opn16)
    assert cycles_until(unit, lambda ctx: ctx.set(unit.i_b, one(opn16.b_format)),
                        lambda ctx: ctx.get(unit.o_code) == ONE) == MultiplyAdd.latency - 1


def test_lane_latency():
    lane = NormaliserLane(opn16)

    async def bench(ctx):
        ctx.set(lane.i_a_chain, one(opn16.a_format))
        ctx.set(lane.i_a_shift, 1)
        ctx.set(lane.i_b_shift, 1)
        await ctx.tick()
        ctx.set(lane.i_a_swap, 1)
        ctx.set(lane.i_b_swap, 1)
        await ctx.tick().repeat(4)
        ctx.set(lane.i_x, one(opn16.x_format))
        for _ in range(NormaliserLane.latency):
            assert ctx.get(lane.o_y) == 0
            await ctx.tick()
        assert ctx.get(lane.o_y) == ONE

    simulate(lane, bench)


@pytest.mark.parametrize("config", [opn16, opn1_tiny], ids=lambda config: config.name)
def test_block_converter_latency(config):
    converter = BlockConverter(config)
    assert cycles_until(converter, lambda ctx: ctx.set(converter.i_y[0], ONE),
                        lambda ctx: ctx.get(converter.o_elements[0])) == BlockConverter.latency


def test_float_converter_latency():
    converter = FloatConverter(opn4)
    assert cycles_until(converter, lambda ctx: ctx.set(converter.i_y, ONE),
                        lambda ctx: ctx.get(converter.o_element)) == FloatConverter.latency


def test_output_buffer_latency():
    buffer = OutputBuffer(4, 3)

    def start(ctx):
        ctx.set(buffer.i_valid, 1)
        return lambda: ctx.set(buffer.i_valid, 0)

    assert cycles_until(buffer, start, lambda ctx: ctx.get(buffer.o.valid)) == OutputBuffer.latency


def test_header_opens_a_tile_after_its_latency():
    header = HeaderUnit(opn1_tiny)
    words = [1 << 1 | 4 << 16, 0x3F800000, 0x3C000000, 1]

    async def bench(ctx):
        ctx.set(header.i.valid, 1)
        for word in words:
            ctx.set(header.i.payload.data, word)
            assert ctx.get(header.i.ready) and not ctx.get(header.o_open.valid)
            await ctx.tick()
        ctx.set(header.i.valid, 0)
        for _ in range(HeaderUnit.latency - 1):
            assert not ctx.get(header.o_open.valid)
            await ctx.tick()
        assert ctx.get(header.o_open.valid) and not ctx.get(header.o_refused)

    simulate(header, bench)


def test_records_start_after_their_latency():
    records = RecordUnit(opn1_tiny)

    def start(ctx):
        ctx.set(records.i_done, 1)
        ctx.set(records.i_mask, 1)
        return lambda: ctx.set(records.i_done, 0)

    assert cycles_until(records, start, lambda ctx: ctx.get(records.o.valid)) == RecordUnit.latency


@pytest.mark.parametrize("config, limit", [(opn16, 128), (opn32_mx, 160)], ids=["16 lanes", "32 lanes"])
def test_constants_are_within_the_latency_of_the_contract(config, limit):
    top = Top(config)
    Fragment.get(top, None)  # elaborated, so that Amaranth does not report it as unused
    assert ForwardSchedule.cycles(config.lanes) < top.constants_latency <= limit
    assert BackwardSchedule.cycles(config.lanes) < top.gradient_latency <= top.constants_latency
    assert top.fifo_depth == config.sample_depth + top.constants_latency


@pytest.mark.parametrize("config", [opn16, opn4], ids=lambda config: config.name)
def test_recovery_latency(config):
    """Until the snapshot is there; the gradient itself is combinational."""
    lane = RecoveryLane(config)

    def start(ctx):
        ctx.set(lane.i_dy, one(config.x_format))
        ctx.set(lane.i_element, 1 if config.is_block else one(config.storage))
        for port in (lane.i_valid, lane.i_first, lane.i_end):
            ctx.set(port, 1)
        assert ctx.get(lane.o_g) == one(config.x_format)
        return lambda: ctx.set(lane.i_valid, 0)

    assert cycles_until(lane, start, lambda ctx: ctx.get(lane.o_sum.acc)) == RecoveryLane.latency


def test_totals_latency():
    """Both totals of lane i can be addressed ``latency + 2 i`` cycles after the end of their block."""
    unit = TotalsUnit(opn4)
    lane = 2

    def start(ctx):
        ctx.set(unit.i_block_end, 1)
        ctx.set(unit.i_first, 1)
        ctx.set(unit.i_product, {"acc": 5, "anchor": 0})
        ctx.set(unit.i_sum, {"acc": 5, "anchor": 0})
        ctx.set(unit.i_read_lane, lane)
        ctx.set(unit.i_read_product, 1)
        return lambda: ctx.set(unit.i_block_end, 0)

    assert cycles_until(unit, start, lambda ctx: ctx.get(unit.o_total.sig)) == TotalsUnit.latency + 2 * lane + 1


def test_positions_of_a_chunk_are_loaded_in_as_many_cycles_as_lanes():
    unit = PositionLoader(opn4)
    cycles = []

    async def bench(ctx):
        ctx.set(unit.i_start, 1)
        ctx.set(unit.i_n_chunks, 2)
        await ctx.tick()
        ctx.set(unit.i_start, 0)
        while not ctx.get(unit.o_valid):
            await ctx.tick()
        ctx.set(unit.i_swap, 1)
        await ctx.tick()
        ctx.set(unit.i_swap, 0)
        cycles.append(1)
        while not ctx.get(unit.o_valid):
            cycles.append(1)
            await ctx.tick()

    simulate(unit, bench)
    assert len(cycles) == opn4.lanes
