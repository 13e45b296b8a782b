"""Descriptors to rows and bursts, and their checks, in Amaranth's simulator: what comes, and when, as stated."""

import random

import pytest
from amaranth.hdl import Fragment, ResetInserter, Signal
from amaranth.sim import Simulator
from bnforge.dma import BurstSplitter, DescriptorLoader, Midend
from bnforge.engine_config import DESCRIPTOR_WORDS, BusConfig, Cause
from bnforge_sim.dma_programs import Transfer, bursts, rows

BEATS = (4, 32, 17, 17, 255)
"""Bytes of a beat of each channel of a descriptor loader."""


def simulate(component, process):
    simulator = Simulator(Fragment.get(component, None))
    simulator.add_clock(1e-6)
    simulator.add_testbench(process)
    simulator.run()


def through(component, items, n_out, *, rng=None):
    """Payloads that come out, each with its cycle, and the cycles in which ``items`` went in; stalls by ``rng``."""
    taken, given = [], []

    async def process(ctx):
        cycle, offered = 0, False
        while len(given) < n_out:
            assert cycle < 50 * (n_out + len(items)) + 100
            offered = len(taken) < len(items) and (offered or rng is None or rng.random() < 0.6)
            ctx.set(component.i.valid, offered)
            if offered:
                ctx.set(component.i.payload, items[len(taken)])
            ctx.set(component.o.ready, rng is None or rng.random() < 0.6)
            if ctx.get(component.o.valid) and ctx.get(component.o.ready):
                given.append((cycle, ctx.get(component.o.payload)))
            if offered and ctx.get(component.i.ready):
                taken.append(cycle)
                offered = False
            await ctx.tick()
            cycle += 1

    simulate(component, process)
    return given, taken


def random_transfer(rng, bus):
    """Anything that a descriptor can say, of few rows."""
    stride = [rng.choice([0, 1, -1, -1 << 31, (1 << 31) - 1, rng.randint(-1 << 31, (1 << 31) - 1)]) for _ in range(3)]
    return Transfer(rng.choice([0, rng.getrandbits(bus.address_width)]), rng.getrandbits(32),
                    tuple((rng.choice([1, 1, 2, 3, 5]), step) for step in stride), rng.random() < 0.5)


@pytest.mark.parametrize("address_width", [32, 40, 64])
@pytest.mark.parametrize("stalled", [False, True])
def test_rows_are_those_of_the_loops_and_come_when_stated(address_width, stalled, seed):
    bus, rng = BusConfig(address_width=address_width), random.Random(seed)
    transfers = [random_transfer(rng, bus) for _ in range(30)]
    expected = list(rows(transfers, address_width))
    words = [word for transfer in transfers for word in transfer.words()]
    given, taken = through(Midend(bus), words, len(expected), rng=rng if stalled else None)
    assert [(row["address"], row["length"], bool(row["end"])) for _cycle, row in given] == expected
    if not stalled:
        assert [cycle for cycle, _row in given] == list(row_cycles(transfers)) and taken[0] == 0


def row_cycles(transfers):
    """When rows come as the midend states it, words and rows never having to wait."""
    cycle = -1
    for transfer in transfers:
        cycle += 1 + Midend.latency
        (n1, _), (n2, _), _ = transfer.dimensions
        for number in range(transfer.n_rows):
            if number:
                cycle += 1 + Midend.step_cycles * (number % n1 == 0) + 2 * (number % (n1 * n2) == 0)
            yield cycle


@pytest.mark.parametrize("data_width, max_burst", [(32, 1), (64, 16), (512, 64)])
@pytest.mark.parametrize("stalled", [False, True])
def test_rows_are_cut_into_bursts_one_a_cycle(data_width, max_burst, stalled, seed):
    bus, rng = BusConfig(data_width=data_width, max_burst=max_burst, write_buffer=128), random.Random(seed)
    items = [{"address": rng.choice([rng.getrandbits(32), rng.getrandbits(26) * 64, (1 << 32) - rng.randint(1, 99)]),
              "length": rng.choice([1, rng.randint(16, 18), rng.randint(1, 3 * max_burst * bus.bytes)]),
              "end": rng.randint(0, 1)} for _ in range(60)]
    expected = [expected_burst for row in items for expected_burst in split(row, bus)]
    given, taken = through(BurstSplitter(bus, 17, max_burst), items, len(expected), rng=rng if stalled else None)
    assert [plain(burst) for _cycle, burst in given] == expected
    if not stalled:
        assert [cycle for cycle, _burst in given] == [BurstSplitter.latency + i for i in range(len(expected))]
        assert taken[0] == 0


def split(row, bus):
    """The bursts of a row as the splitter describes them."""
    parts, stop = list(bursts(row["address"], row["length"], bus)), row["address"] + row["length"] - 1
    return [{"address": start // bus.bytes, "more": beats - 1, "start": 0 if i else row["address"] % bus.bytes,
             "stop": stop % bus.bytes if i == len(parts) - 1 else bus.bytes - 1, "first": int(i == 0),
             "last": int(i == len(parts) - 1), "short": int(row["length"] < 17),
             "end": int(row["end"] and i == len(parts) - 1)} for i, (start, beats) in enumerate(parts)]


def plain(record):
    """A record as a dictionary of numbers."""
    return {key: int(record[key]) for key, _field in record.shape()}


def test_the_longest_row_begins_as_any_other():
    bus = BusConfig(data_width=512, max_burst=64, write_buffer=128)
    given, _taken = through(BurstSplitter(bus, 17, 64), [{"address": 63, "length": (1 << 32) - 1, "end": 1}], 20)
    assert [(burst["address"], burst["more"], burst["last"]) for _cycle, burst in given] == [
        (64 * i, 63, 0) for i in range(20)]


def harmless(size):
    """Words of a descriptor that may be replaced, and by what, where a beat has ``size`` bytes."""
    return [(0, 0xffffffff), (1, 0xff), (2, 1), (2, size - 1), (2, size), (2, 0xffffffff // size * size), (3, 2),
            (4, 0xffffff), (5, 1 << 31), (6, 0xffffff), (7, 0xffffffff), (8, 0xffffff), (9, 0x7fffffff)]


def harmful(size):
    """The same with what is wrong then; addresses have 40 bits."""
    lengths = (size + 1, 2 * size - 1, 2 * size + 1, 0xffffffff // size * size - 1)
    return [*((2, length, Cause.DESCRIPTOR_LENGTH) for length in lengths),
            *((word, 0, Cause.DESCRIPTOR_ZERO) for word in (2, 4, 6, 8)),
            *((word, high + 1, Cause.DESCRIPTOR_RESERVED) for word in (4, 6, 8) for high in (1 << 24, 1 << 31)),
            *((3, flags, Cause.DESCRIPTOR_RESERVED) for flags in (1, 4, 7, (1 << 31) + 2)),
            *((1, high, Cause.DESCRIPTOR_RESERVED) for high in (0x100, 1 << 31))]


def with_word(words, index, value):
    return [*words[:index], value, *words[index + 1:]]


class LoaderBench:
    """A descriptor loader with a memory of programs, run again and again from reset.

    Attributes
    ----------
    given : words that came out, per channel
    errors : (cause, channel, address) of each error strobe
    checked : cycles from taking word 2, the length, to the end of the check, of each descriptor
    """

    def __init__(self, rng):
        self.rng, self.reset = rng, Signal()
        self.loader = DescriptorLoader(BusConfig(address_width=40), BEATS)

    def run(self, runs):
        """``runs``: a function of the outcome, and programs, each a list of lists of words, per channel."""
        async def process(ctx):
            for programs, check in runs:
                ctx.set(self.reset, 1)
                await ctx.tick()
                ctx.set(self.reset, 0)
                await self._run(ctx, programs)
                check(self, programs)

        simulate(ResetInserter(self.reset)(self.loader), process)

    async def _run(self, ctx, programs):
        rng, loader = self.rng, self.loader
        pointers, memory, words, since, quiet = [], {}, [], 0, 0
        for number, program in enumerate(programs):
            pointers.append((rng.getrandbits(36) << 4) + number)
            memory |= {pointers[-1] + 40 * i: descriptor for i, descriptor in enumerate(program)}
        self.given, self.errors, self.checked = [[] for _ in programs], [], []
        ctx.set(loader.i_start, sum(bool(program) << number for number, program in enumerate(programs)))
        while quiet < (60 if not self.errors else 20):
            for number, pointer in enumerate(pointers):
                ctx.set(loader.i_pointers[number], pointer)
                ctx.set(loader.o[number].ready, rng.random() < 0.7)
            ctx.set(loader.o_row.ready, not words and rng.random() < 0.5)
            ctx.set(loader.i.valid, bool(words) and rng.random() < 0.8)
            ctx.set(loader.i.payload.data, words[0] if words else rng.getrandbits(32))
            quiet, since = quiet + 1, since + 1
            if ctx.get(loader.i.valid) and ctx.get(loader.i.ready):
                words.pop(0)
                quiet, since = 0, since if len(words) != DESCRIPTOR_WORDS - 3 else 0
            if ctx.get(loader.o_row.valid) and ctx.get(loader.o_row.ready):
                row = ctx.get(loader.o_row.payload)
                assert row["length"] == 4 * DESCRIPTOR_WORDS
                words = list(memory[row["address"]])
            for number in range(len(programs)):
                if ctx.get(loader.o[number].valid) and ctx.get(loader.o[number].ready):
                    self.given[number].append(ctx.get(loader.o[number].payload))
                if ctx.get(loader.o_advance) >> number & 1:
                    pointers[number] += 4 * DESCRIPTOR_WORDS
                    self.checked.append(since)
            if ctx.get(loader.o_error):
                self.errors.append((ctx.get(loader.o_cause), ctx.get(loader.o_channel), ctx.get(loader.o_address)))
                self.pointers = list(pointers)
            await ctx.tick()
            ctx.set(loader.i_start, 0)
        self.active = ctx.get(loader.o_active)


def good_program(rng, size, most=3):
    """At most so many good descriptors, and one with bit 0."""
    program = [Transfer(rng.getrandbits(40), size * rng.randint(1, 9), ((3, -5), (2, 1 << 20), (1, 0)),
                        rng.random() < 0.5).words() for _ in range(rng.randint(0, most))]
    program = [with_word(words, *rng.choice(harmless(size))) if rng.random() < 0.7 else words for words in program]
    return [*program, Transfer(rng.getrandbits(40), size).words(last=True)]


def all_came_through(bench, programs):
    assert bench.given == [sum(program, []) for program in programs]
    assert bench.errors == [] and bench.active == 0
    assert bench.checked == [DescriptorLoader.check_cycles] * sum(map(len, programs))


def test_good_descriptors_pass_the_checks_in_the_stated_time(seed):
    rng = random.Random(seed)
    runs = [([good_program(rng, size) if rng.random() < 0.8 else [] for size in BEATS], all_came_through)
            for _ in range(5)]
    words = [Transfer(5, 255).words(), *(with_word(Transfer(5, 17).words(), *change) for change in harmless(17))]
    runs.append(([[]] * 3 + [[*words[1:], Transfer(1, 17).words(last=True)], []], all_came_through))
    LoaderBench(rng).run(runs)


def test_wrong_descriptors_are_reported_with_cause_channel_and_address(seed):
    rng, runs = random.Random(seed), []

    def run(channel, index, value, cause):
        programs = [good_program(rng, size, 1) for size in BEATS]
        place = rng.randrange(len(programs[channel]))
        programs[channel][place] = with_word(Transfer(5, 2 * BEATS[channel]).words(last=place % 2), index, value)

        def check(bench, programs):
            assert bench.errors == [(cause, channel, bench.pointers[channel])], (channel, index, value)
            assert bench.given[channel] == sum(programs[channel][:place], [])
            for given, program in zip(bench.given, programs):
                assert given == sum(program, [])[:len(given)]

        runs.append((programs, check))

    for change in harmful(17):
        run(2, *change)
    for channel, size in enumerate(BEATS):
        for cause in (Cause.DESCRIPTOR_LENGTH, Cause.DESCRIPTOR_ZERO, Cause.DESCRIPTOR_RESERVED):
            run(channel, *rng.choice([change for change in harmful(size) if change[2] is cause]))
    LoaderBench(rng).run(runs)
