"""cocotb bench of an array alone; tests/test_cocotb_array.py runs it, and passes the configuration as a plusarg."""

import json
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from streams import Sink, Source, watch_rules

from bnforge.array_config import ArrayConfig
from bnforge_model.words import unpack_beats
from bnforge_sim.array_cases import random_case

CONFIG = ArrayConfig.from_dict(json.loads(Path(cocotb.plusargs["config"]).read_text()))
SEED = int(cocotb.plusargs["stimulus_seed"])
IN_FIELDS = ("tdata", "tuser", "tlast") if CONFIG.is_block else ("tdata", "tlast")
IDLE = 16


async def start(dut):
    """Clock, watcher and reset."""
    for port in (dut.s_axis_a_tvalid, dut.s_axis_w_tvalid, dut.m_axis_tready, dut.status_clear):
        port.value = 0
    dut.aresetn.value = 0
    cocotb.start_soon(Clock(dut.aclk, 10, unit="ns").start())
    await ClockCycles(dut.aclk, 3)
    cocotb.start_soon(watch_rules(dut, "m_axis", ("tdata", "tlast")))
    await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)


def items(beats):
    """Beats as the ports have them."""
    tdata, tuser, last = beats.packed(CONFIG)
    columns = [tdata, tuser, last] if CONFIG.is_block else [tdata, last]
    return [tuple(int.from_bytes(part.tobytes(), "little") for part in row) for row in zip(*columns)]


async def check(dut, stall, transpose):
    """Random products in turn, each port stalled with probability ``stall``, against the model."""
    await start(dut)
    rng = np.random.default_rng([SEED, int(100 * stall), transpose])
    if CONFIG.transposes:
        dut.transpose.value = transpose
    cases = [random_case(CONFIG, rng, transpose=transpose) for _ in range(4)]
    wanted = [case.expected(CONFIG) for case in cases]
    a, w = (sum((items(beats) for beats in parts), []) for parts in zip(*(case.beats(CONFIG) for case in cases)))
    output = Sink(dut, "m_axis", ("tdata", "tlast"), stall, SEED)
    n_results = sum(sum(case.blocks) for case in cases)
    tasks = [cocotb.start_soon(task) for task in (
        Source(dut, "s_axis_a", IN_FIELDS, stall, SEED + 1).send(a),
        Source(dut, "s_axis_w", IN_FIELDS, stall, SEED + 2).send(w), output.receive(n_results))]
    for task in tasks:
        await with_timeout(task, 10 * (10_000 + 20 * (len(a) + len(w))), "ns")
    n_bytes = -(-CONFIG.columns * CONFIG.output.width // 8)
    data = np.array([list(item.to_bytes(n_bytes, "little")) for item, _last in output.items], np.uint8)
    assert np.array_equal(unpack_beats(data, CONFIG.columns, CONFIG.output.width),
                          np.concatenate([codes for codes, _last, _flags in wanted]))
    assert [bool(last) for _item, last in output.items] == np.concatenate([last for _, last, _ in wanted]).tolist()
    await ClockCycles(dut.aclk, 4)
    assert int(dut.status.value) == IDLE | int(np.bitwise_or.reduce([int(flags) for _, _, flags in wanted]))
    dut.status_clear.value = 1
    await ClockCycles(dut.aclk, 2)
    assert int(dut.status.value) == IDLE


@cocotb.test()
async def products(dut):
    await check(dut, 0.0, False)


@cocotb.test()
async def products_stalled(dut):
    await check(dut, 0.4, False)


@cocotb.test()
async def transposed_stalled(dut):
    await check(dut, 0.3, CONFIG.transposes)
