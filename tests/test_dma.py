"""The DMA engine alone, from memory to memory under Verilator, against plain loops (bnforge_sim.dma_programs)."""

import random

import pytest
from bnforge.engine_config import BusConfig
from bnforge_sim.dma import Broken, CopierBench, Traffic, copy_at_random
from bnforge_sim.dma_programs import Transfer, copied, random_program

SLVERR, DECERR, EXOKAY = 2, 3, 1
DEFAULT = (BusConfig(), 32)
SMALLEST = (BusConfig(data_width=32, address_width=40, max_burst=2, outstanding=2, read_buffer=2, write_buffer=4), 17)
WIDE = (BusConfig(data_width=256, address_width=64, max_burst=128, outstanding=4, read_buffer=128, write_buffer=256), 3)
ENGINES = pytest.mark.parametrize("bus, beat_bytes", [DEFAULT, SMALLEST, WIDE], ids=["default", "smallest", "wide"])


@pytest.fixture
def bench(bus, beat_bytes, seed):
    """A copier in simulation."""
    result = CopierBench(bus, beat_bytes, seed=seed)
    yield result
    result.close()


@ENGINES
@pytest.mark.xdist_group("dma")
def test_random_copies_move_the_right_bytes_and_touch_nothing_else(bench, seed):
    for number in range(100):
        assert copy_at_random(bench, random.Random(f"{seed} {number}")) is None, number


@ENGINES
@pytest.mark.xdist_group("dma")
def test_every_descriptor_of_a_long_program_is_copied_without_reset(bench, seed):
    rng, size, memory = random.Random(seed), bench.beat_bytes, random.Random(seed).randbytes(1 << 16)
    tiles = [rng.randint(1, 4) for _ in range(60)]
    reads, writes = (random_program(rng, bench.bus, size, part << 15, 1 << 15, tiles) for part in (0, 1))
    result, _cycles = bench.copy(memory, 0, reads, writes, traffic=Traffic(20, 20))
    assert result == copied(memory, 0, bench.bus, size, reads, writes) and not bench.error


@ENGINES
@pytest.mark.xdist_group("dma")
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("response", [SLVERR, DECERR, EXOKAY])
def test_an_error_of_memory_is_noticed_in_the_burst_it_answers(bench, write, response):
    size = bench.beat_bytes
    read, written = [Transfer(0, 8 * size)], [Transfer(4096, 8 * size)]
    bench.copy(bytes(8192), 0, read, written)
    last = len(bench.bursts(write)) - 1
    for burst, noticed in ((last, response != EXOKAY), (last + 1, False)):
        bench.copy(bytes(8192), 0, read, written, traffic=Traffic(fault=(write, burst, response)), reset=True)
        assert bench.error == noticed


@ENGINES
@pytest.mark.xdist_group("dma")
def test_a_beat_without_a_place_to_go_to_is_held(bench):
    size = bench.beat_bytes
    with pytest.raises(Broken, match="no end"):
        bench.copy(bytes(8192), 0, [Transfer(0, 2 * size)], [Transfer(4096, size)], patience=1000)


@pytest.mark.xdist_group("dma")
@pytest.mark.parametrize("bus, beat_bytes", [DEFAULT])
@pytest.mark.parametrize("offset, dimensions, length", [
    (0, ((1, 0),) * 3, 1 << 16), (3, ((1, 0),) * 3, 1 << 16), (0, ((2048, 64), (1, 0), (1, 0)), 32)])
def test_long_rows_and_rows_of_a_beat_keep_both_data_channels_busy(bench, offset, dimensions, length):
    read = Transfer(offset, length, dimensions)
    written = Transfer((1 << 17) + 2 * offset, length, dimensions)
    bench.copy(bytes(1 << 18), 0, [read], [written], traffic=Traffic(read_latency=100, write_latency=100))
    for beats, first, last in bench.flow():
        assert beats >= 0.98 * (last - first + 1)
