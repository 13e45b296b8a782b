"""Parts of the array in Amaranth's simulator: their values and their stated latencies."""

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from bnforge.array.element import ProcessingElement
from bnforge.array.transposer import Transposer
from bnforge.array_config import ArrayConfig
from bnforge.formats import E4M3, FloatFormat
from bnforge_model.array import fold
from bnforge_model.floats import decode, encode

NARROW = ArrayConfig(rows=3, columns=1, storage=E4M3, operand_fraction=1, accumulate_fraction=2, depth=4)
DEFAULT = ArrayConfig(rows=3, columns=1, storage=FloatFormat(5, 6), depth=4)
WIDEST = ArrayConfig(rows=3, columns=1, storage=FloatFormat(8, 15), accumulate_fraction=23, depth=4)


def simulate(component, process):
    simulator = Simulator(Fragment.get(component, None))
    simulator.add_clock(1e-6)
    simulator.add_testbench(process)
    simulator.run()


def random_values(fmt, n, rng, spread):
    """Values of a format: some zeros, exponents within ``spread`` of a random one, limits included."""
    centre = rng.choice([1, fmt.bias // 2, fmt.bias, fmt.bias, fmt.bias + fmt.bias // 2, 254])
    exponents = np.clip(centre + rng.integers(-spread, spread + 1, n), 0, 254)
    codes = rng.integers(2, size=n) << fmt.width - 1 | exponents << fmt.fraction_width
    return decode(fmt, codes | rng.integers(1 << fmt.fraction_width, size=n))


@pytest.mark.parametrize("config", [NARROW, DEFAULT, WIDEST], ids=["narrow", "default", "widest"])
def test_an_element_multiplies_and_adds_as_the_model_does_in_its_time(config, seed):
    """The operand of cycle c meets the sum of cycle c + ``sum_latency``, whose successor is there a cycle later."""
    rng, n, latency = np.random.default_rng(seed), 250, ProcessingElement.sum_latency
    operands, weights, sums = [], [], []
    for _ in range(n // 25):
        operands += random_values(config.operand, 25, rng, 3).tolist()
        weights += random_values(config.operand, 25, rng, 3).tolist()
        sums += random_values(config.accumulate, 25, rng, 6).tolist()
    for i in range(0, n, 4):  # sums that nearly cancel
        sums[i] = fold(config, np.array([[-operands[i]]]), np.array([[weights[i]]]))[0].item()
    codes = [encode(fmt, np.array(values)).tolist() for fmt, values in (
        (config.operand, operands), (config.operand, weights), (config.accumulate, sums))]
    element, got = ProcessingElement(config), []

    async def bench(ctx):
        ctx.set(element.i_weight, codes[1][0])
        ctx.set(element.i_load, 1)
        await ctx.tick()
        ctx.set(element.i_swap, 1)  # each weight waits behind the one before, whose operand is here
        for cycle in range(n + latency + 1):
            ctx.set(element.i_weight, codes[1][min(cycle + 1, n - 1)])
            ctx.set(element.i_operand, codes[0][min(cycle, n - 1)])
            ctx.set(element.i_sum, codes[2][max(0, min(cycle - latency, n - 1))])
            ctx.set(element.i_saturated, cycle % 7 == 0)
            if cycle > latency:
                got.append((ctx.get(element.o_sum), ctx.get(element.o_saturated)))
            await ctx.tick()

    simulate(element, bench)
    wanted = []
    for index, (a, b, start) in enumerate(zip(operands, weights, sums)):
        total, saturated = fold(config, np.array([[a]]), np.array([[b]]), np.array([[start]]))
        wanted.append((encode(config.accumulate, total).item(), saturated | ((index + latency) % 7 == 0)))
    assert got == wanted


@pytest.mark.parametrize("transpose", [False, True])
def test_transposer_latency(transpose):
    """Nothing when it passes on, else as many cycles as a square has rows; then a row each cycle."""
    unit, taken, given = Transposer(NARROW), [], []
    n = NARROW.rows

    async def bench(ctx):
        ctx.set(unit.i_transpose, transpose)
        ctx.set(unit.i.valid, 1)
        ctx.set(unit.o.ready, 1)
        for cycle in range(4 * n):
            for number in range(n):
                ctx.set(unit.i.payload.codes[number], 10 * cycle + number)
            taken.extend([cycle] * ctx.get(unit.i.ready))
            if ctx.get(unit.o.valid):
                given.append((cycle, [ctx.get(code) for code in unit.o.payload.codes]))
            await ctx.tick()

    simulate(unit, bench)
    latency = n if transpose else 0
    assert taken == list(range(4 * n)) and [cycle for cycle, _row in given] == list(range(latency, 4 * n))
    for cycle, row in given:
        square, place = divmod(cycle - latency, n)
        assert row == [10 * (square * n + i) + place if transpose else 10 * cycle + i for i in range(n)]
