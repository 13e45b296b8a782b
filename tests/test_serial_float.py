"""The operations of the serial unit against exact fractions: what a later rounding would hide is seen here."""

import random
from fractions import Fraction

import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from bnforge.config import Algorithm
from bnforge.sweeps.programs import Op
from bnforge.sweeps.serial_float import SIG_WIDTH, SerialFloat
from test_serial_unit import config_of, ratio, root, t


def value_of(number):
    magnitude = Fraction(number["sig"], 1 << (SIG_WIDTH - 1)) * Fraction(2) ** (number["exponent"] + 1)
    return -magnitude if number["sign"] else magnitude


def expected(op, accumulator, operand):
    """The accumulator after ``op``; of zeros, too, the sign counts for GREATER."""
    x, y, sign = value_of(accumulator), value_of(operand), -1 if accumulator["sign"] else 1
    return {
        Op.LOAD: lambda: x, Op.MULTIPLY: lambda: t(x * y), Op.ADD: lambda: t(x + y), Op.DIVIDE: lambda: ratio(x, y),
        Op.ROOT: lambda: root(x), Op.CLIP: lambda: max(x, Fraction(0)), Op.ZERO_IF: lambda: x if y else Fraction(0),
        Op.GREATER: lambda: sign * abs(y) if abs(y) > abs(x) else x}[op]()


def random_number(rng, near=None):
    """A number; ``near``: one whose exponent, and sometimes significand, it has nearly."""
    if rng.random() < 0.06:
        return {"sig": 0, "exponent": rng.randrange(-9, 9), "sign": rng.randrange(2)}
    sig = rng.choice([1 << 23, (1 << 24) - 1, rng.randrange(1 << 23, 1 << 24), rng.randrange(1 << 23, 1 << 24)])
    exponent = rng.choice([rng.randrange(-300, 300), rng.randrange(-4, 4)])
    if near and rng.random() < 0.8:
        exponent = near["exponent"] + rng.choice([0, 0, 1, -1, 2, -2, rng.randrange(-40, 41)])
        if rng.random() < 0.3:
            sig = min(max(near["sig"] + rng.randrange(-3, 4), 1 << 23), (1 << 24) - 1)
    return {"sig": sig, "exponent": exponent, "sign": rng.randrange(2)}


def run_rtl(ops, jobs):
    """(value, cycles) of each (op, x, y): x is loaded, then ``op`` done; the same unit for all."""
    unit, results = SerialFloat(config_of(Algorithm.RANGE), ops), []

    async def step(ctx, op, x, y):
        for port, value in ((unit.i_op, op), (unit.i_load, x), (unit.i_operand, y), (unit.i_start, 1)):
            ctx.set(port, value)
        cycles, done = 1, ctx.get(unit.o_done)
        while not done:
            await ctx.tick()
            ctx.set(unit.i_start, 0)
            done, cycles = ctx.get(unit.o_done), cycles + 1
        await ctx.tick()
        return cycles

    async def bench(ctx):
        for op, x, y in jobs:
            await step(ctx, Op.LOAD, x, y)
            cycles = 0 if op is Op.LOAD else await step(ctx, op, x, y)
            number = ctx.get(unit.o_value)
            results.append((value_of({name: number[name] for name in ("sig", "exponent", "sign")}), cycles))

    simulator = Simulator(Fragment.get(unit, None))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


@pytest.mark.parametrize("ops", [
    {Op.ADD: 120, Op.MULTIPLY: 25, Op.DIVIDE: 20, Op.GREATER: 30, Op.ZERO_IF: 6}, {Op.ROOT: 25, Op.CLIP: 6, Op.ADD: 5}],
    ids=["range", "variance"])
def test_operations_are_exact(ops, seed):
    rng, jobs = random.Random(seed), []
    for op, count in ops.items():
        for number in range(count):
            x = random_number(rng)
            jobs.append((op, x, random_number(rng, x) if number else {"sig": 0, "exponent": 0, "sign": 0}))
    results = run_rtl({Op.LOAD, Op.MULTIPLY, Op.DIVIDE, Op.ROUND, *ops}, jobs)
    for (op, x, y), (value, cycles) in zip(jobs, results):
        assert value == expected(op, x, y), (op, x, y)
        assert cycles <= SerialFloat.longest(op)
