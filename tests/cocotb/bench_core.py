"""cocotb benches of a whole core with both directions.

tests/test_cocotb.py runs them, and passes the configuration as plusargs.
"""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from streams import Sink, Source, watch_rules

from bnforge.presets import PRESETS
from bnforge_model.words import pack_beats
from bnforge_sim import segment
from bnforge_sim.expect import expect
from bnforge_sim.stimulus import axes, random_tiles

CONFIG = PRESETS[cocotb.plusargs["preset"]][0]
SEED = int(cocotb.plusargs["stimulus_seed"])
STORED_FIELDS = ("tdata", "tuser", "tlast") if CONFIG.is_block else ("tdata", "tlast")
REC_FIELDS = ("tdata", "tlast")


async def start(dut):
    """Clock, watchers and reset."""
    for port in (dut.s_axis_tvalid, dut.s_axis_y_tvalid, dut.s_axis_hdr_tvalid, dut.m_axis_tready,
                 dut.m_axis_rec_tready, dut.status_clear):
        port.value = 0
    dut.aresetn.value = 0
    cocotb.start_soon(Clock(dut.aclk, 10, unit="ns").start())
    await ClockCycles(dut.aclk, 3)
    cocotb.start_soon(watch_rules(dut, "m_axis", STORED_FIELDS))
    cocotb.start_soon(watch_rules(dut, "m_axis_rec", REC_FIELDS))
    await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)


def integers(rows):
    """Rows of bytes as little-endian integers."""
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def stored_items(elements, exponents, last):
    """Stored beats as the ports have them."""
    columns = [integers(pack_beats(elements, CONFIG.element_width))]
    if CONFIG.is_block:
        columns.append(integers(pack_beats(exponents, CONFIG.storage.exponent_width)))
    return list(zip(*columns, last.astype(int).tolist(), strict=True))


def expected_items(tiles):
    """What the model says comes out of both output ports, as the receivers keep it, and the flags."""
    wanted = [expect(CONFIG, tile) for tile in tiles]
    beats = [item for tile in wanted for item in stored_items(tile.elements, tile.exponents, tile.last)]
    records = [(int(word), int(last)) for tile in wanted for word, last in zip(tile.records, tile.record_last)]
    return beats, records, int(np.bitwise_or.reduce([tile.status for tile in wanted]))


async def run(dut, tiles, stall, seed):
    """Send ``tiles``, each port stalled with probability ``stall``: the received items of both output ports."""
    stream = segment(CONFIG, tiles)
    header = Source(dut, "s_axis_hdr", ("tdata", "tlast"), stall, seed)
    data = Source(dut, "s_axis", ("tdata", "tlast"), stall, seed + 1)
    stored = Source(dut, "s_axis_y", STORED_FIELDS, stall, seed + 4)
    output = Sink(dut, "m_axis", STORED_FIELDS, stall, seed + 2)
    records = Sink(dut, "m_axis_rec", REC_FIELDS, stall, seed + 3)
    words = list(zip(stream.header.tolist(), stream.header_last.astype(int).tolist()))
    beats = list(zip(integers(pack_beats(stream.beats, CONFIG.x_format.width)), stream.last.astype(int).tolist()))
    y = [] if stream.y is None else stored_items(stream.y, stream.y_exponents, stream.y_last)
    tasks = [cocotb.start_soon(task) for task in (header.send(words), data.send(beats), stored.send(y),
                                                  output.receive(stream.n_out), records.receive(stream.n_rec))]
    cycles = 10_000 + int((len(words) + len(beats) + stream.n_rec) * 10 / (1 - stall))
    for task in tasks:
        await with_timeout(task, cycles * 10, "ns")
    return output.items, records.items


async def check(dut, stall, **fixed):
    """One random case, with some axes fixed, against the model."""
    await start(dut)
    rng = np.random.default_rng([SEED, int(100 * stall)])
    case = {axis: values[rng.integers(len(values))] for axis, values in axes(CONFIG).items()} | fixed
    dut._log.info("seed %d, case %s", SEED, case)
    tiles = random_tiles(CONFIG, case, rng)
    if CONFIG.sample_depth > 256:  # long tiles: the first of each direction
        tiles = list({type(tile): tile for tile in reversed(tiles)}.values())
    output, records, status = expected_items(tiles)
    received = await run(dut, tiles, stall, SEED)
    for name, got, wanted in zip(("output", "record"), received, (output, records)):
        wrong = [(i, pair) for i, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]]
        assert not wrong, f"{len(wrong)} {name} items differ, (index, (got, wanted)) of the first: {wrong[0]}"
    await ClockCycles(dut.aclk, 3)
    assert int(dut.status.value) == status
    dut.status_clear.value = 1
    await ClockCycles(dut.aclk, 1)
    dut.status_clear.value = 0
    await ClockCycles(dut.aclk, 2)
    assert int(dut.status.value) == 0


@cocotb.test()
async def short_tiles(dut):
    await check(dut, 0.0, shape="n = 2", inputs="normal", gradient="normal", stored="forward", records="forward")


@cocotb.test()
async def short_tiles_stalled(dut):
    await check(dut, 0.4, shape="n = 1", inputs="any code", gradient="any code", stored="any bits")


@cocotb.test()
async def full_sample(dut):
    await check(dut, 0.0, shape="n = S", inputs="few values", frozen="no", direction="in sequence")


@cocotb.test()
async def more_than_the_sample_stalled(dut):
    await check(dut, 0.3, shape="n = S + 1", inputs="by lane", gradient="by lane", frozen="some")


@cocotb.test()
async def ragged_sample_stalled(dut):
    await check(dut, 0.2, shape="sample below L", inputs="normal", frozen="no", direction="alternating",
                records="extreme")
