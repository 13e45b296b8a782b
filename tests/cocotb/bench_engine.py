"""cocotb benches of a whole engine: tensors in memory, registers behind the Python driver, every cycle watched.

tests/test_cocotb_engine.py runs them, and passes the configuration in a file.
"""

import json
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from system import Case, System

import bnforge
from bnforge.config import Activation
from bnforge.engine_config import JOB_WORDS, Cause, Channel, EngineConfig
from bnforge.registers import Access, registers
from bnforge.registers.table import WATCHDOG_RESET
from bnforge_model.memory import Layout, Shape
from bnforge_sim.driver import Status
from cocotbext.axi import AxiResp

CONFIG = EngineConfig.from_dict(json.loads(Path(cocotb.plusargs["config"]).read_text()))
SEED = int(cocotb.plusargs["stimulus_seed"])
LANES = CONFIG.core.lanes
RAGGED = Shape(2, 5, 7, LANES + max(1, LANES // 4))
"""Two tiles, the last one short where it can be."""
SMALL = Shape(2, 3, 5, LANES + 1)
NO_CHANNEL = 15
"""Of errors that belong to none."""


def generator(*salt):
    """Random numbers of one test."""
    return np.random.default_rng([SEED, *salt])


def kept(register):
    """The bits of a register that keep what is written."""
    if register.name.startswith("JOB"):
        word = int(register.name.removeprefix("JOB"))
        high = (1 << CONFIG.bus.address_width - 32) - 1
        return {2: (1 << Channel.FETCH) - 1, 3: 0}.get(word, high if word % 2 else 2**32 - 1)
    return sum(field.mask for field in register.fields if field.access is Access.READ_WRITE)


@cocotb.test()
async def register_access(dut):
    """Identity, reset values (all read at once), byte enables, refusals, the interrupt of a job that does nothing."""
    rng = generator(0)
    system = await System.start(dut, CONFIG, rng, stall="reluctant")
    driver, host = system.driver, system.host
    assert await driver.identify() == tuple(map(int, bnforge.__version__.split(".")))
    table = registers(CONFIG)
    reads = [cocotb.start_soon(driver.read(register.name)) for register in table]
    writes = [cocotb.start_soon(driver.write("WATCHDOG", WATCHDOG_RESET)) for _ in table]
    for register, read, write in zip(table, reads, writes):
        assert await read == register.reset, register.name
        await write

    words = {}
    for register in table:
        if any(field.access in (Access.READ_WRITE, Access.EXTERNAL) for field in register.fields):
            word = int(rng.integers(2**32))
            await driver.write(register.name, word)
            first, size = int(rng.integers(3)), int(rng.integers(1, 3))
            part = rng.bytes(min(size, 4 - first))
            assert (await host.write(register.offset + first, part)).resp is AxiResp.OKAY
            patched = bytearray(word.to_bytes(4, "little"))
            patched[first:first + len(part)] = part
            words[register.name] = int.from_bytes(patched, "little") & kept(register)
    for name, word in words.items():
        assert await driver.read(name) == word, name

    offsets = {register.offset for register in table}
    missing = [offset for offset in (*range(0, 0x100, 4), 0x420, 0xFFC) if offset not in offsets]
    read_only = [register.offset for register in table if not register.is_writable]
    assert not await driver.status() & Status.REFUSED
    for offset in missing:
        assert (await host.read(offset, 4)).resp is AxiResp.SLVERR, hex(offset)
        assert await driver.status() == Status.REFUSED
        await driver.clear(Status.REFUSED)
    for offset in read_only + missing:
        assert (await host.write(offset, rng.bytes(4))).resp is AxiResp.SLVERR, hex(offset)
    assert await driver.status() == Status.REFUSED
    await driver.clear()
    assert await driver.status() == 0

    await driver.interrupts(done=False)
    await driver.start_job(bytes(4 * JOB_WORDS))
    assert await driver.wait() == Status.DONE and not int(dut.irq.value)
    await driver.interrupts()
    await ClockCycles(dut.aclk, 3)
    assert int(dut.irq.value)
    await driver.clear()
    await ClockCycles(dut.aclk, 3)
    assert not int(dut.irq.value)
    assert system.watch.bursts == {"ar": [], "aw": []}


async def both_passes(system, case):
    """Forward, then backward from what the engine wrote, each compared with the model, counters too."""
    for direction in ("forward", "backward"):
        counters = await system.run(case, direction, by_address=direction == "backward")
        beats = case.shape.n_positions * case.n_tiles
        expected = {"jobs": 1, "result_tiles": case.n_tiles, "record_tiles": case.n_tiles, "input_beats": beats,
                    "output_beats": beats}
        assert {name: counters[name] for name in expected} == expected


@cocotb.test()
async def aligned(dut):
    """Blocked layout, tensors on beat boundaries, no stalls."""
    rng = generator(1)
    system = await System.start(dut, CONFIG, rng)
    case = Case(CONFIG, rng, RAGGED)
    case.load(system.memory, align=CONFIG.bus.bytes)
    await both_passes(system, case)


@cocotb.test()
async def nhwc_stalled(dut):
    """NHWC, every tensor at an odd address, all channels stalled; writes to what is locked while busy are refused."""
    rng = generator(2)
    system = await System.start(dut, CONFIG, rng, stall="random")
    case = Case(CONFIG, rng, RAGGED, layout=Layout.NHWC, activation=Activation.RELU6)
    case.load(system.memory, odd=True)
    await system.begin(case, "forward")
    for name in ("JOB0", "JOB13", "WATCHDOG", "CONTROL"):
        offset = next(register.offset for register in registers(CONFIG) if register.name == name)
        assert (await system.host.write(offset, bytes([1, 0, 0, 0]))).resp is AxiResp.SLVERR, name
    assert await system.driver.status() & (Status.BUSY | Status.REFUSED) == Status.BUSY | Status.REFUSED
    await system.finish(case, "forward", also=Status.REFUSED)
    await both_passes(system, case)


@cocotb.test()
async def chained(dut):
    """Forward and backward in one start, then both frozen; where S is small more images than that.

    Memory and host assert READY only after VALID, AWREADY and WREADY only when address and data are both there.
    """
    rng = generator(3)
    system = await System.start(dut, CONFIG, rng, stall="reluctant")
    depth = CONFIG.core.sample_depth
    shape = Shape(depth + 2, 2, 1, LANES + 1) if depth <= 32 else SMALL
    for frozen in (False, True):
        case = Case(CONFIG, rng, shape, frozen=frozen)
        case.load(system.memory)
        counters = await system.run(case, "forward", "backward")
        assert counters["result_tiles"] == counters["record_tiles"] == 2 * case.n_tiles and counters["jobs"] == 2


@cocotb.test()
async def bus_errors(dut):
    """An error answer ends the run, with its cause; the next run is correct."""
    rng = generator(4)
    system = await System.start(dut, CONFIG, rng, stall="random")
    case = Case(CONFIG, rng, SMALL)
    case.load(system.memory)
    for cause, channel, name, response in (
            (Cause.READ_SLVERR, Channel.OPERAND, "x", AxiResp.SLVERR),
            (Cause.READ_DECERR, Channel.OPERAND, "x", AxiResp.DECERR),
            (Cause.WRITE_SLVERR, Channel.RESULT, "y", AxiResp.SLVERR),
            (Cause.WRITE_DECERR, Channel.RECORD, "records", AxiResp.DECERR)) * 2:
        kind, bursts = ("write", "aw") if name in ("y", "records") else ("read", "ar")
        edge = 0 if kind == "write" else CONFIG.bus.bytes  # beats at the ends of x may hold bytes of other channels
        address = case.addresses[name] + int(rng.integers(edge, case.size(name) - edge))
        system.memory.faults = {(address, address + 1): (kind, response)}
        await system.begin(case, "forward")
        error = await system.failure(case)
        assert (error.cause, error.channel) == (cause, channel)
        beats = dict(system.watch.bursts[bursts])[error.address]
        assert error.address <= address < error.address + beats * CONFIG.bus.bytes
    system.memory.faults = {}
    await both_passes(system, case)
    outside = case.moved(x=system.memory.base + len(system.memory.data))
    await system.begin(outside, "forward")
    error = await system.failure(outside)
    assert (error.cause, error.channel) == (Cause.READ_DECERR, Channel.OPERAND)
    await both_passes(system, case)


@cocotb.test()
async def timeouts(dut):
    """Each channel of the memory stops: the watchdog names the oldest burst; once it goes on, the run ends."""
    rng = generator(5)
    system = await System.start(dut, CONFIG, rng)
    case = Case(CONFIG, rng, SMALL)
    case.load(system.memory)
    await system.driver.watchdog(300)
    for channel in ("ar", "r", "aw", "w", "b"):
        await system.begin(case, "forward")
        system.hold(channel)
        await system.interrupt()
        oldest = system.watch.oldest
        await ClockCycles(dut.aclk, 100)
        waiting = Status.BUSY | Status.DRAINING | Status.ERROR
        assert await system.driver.status() & waiting == waiting
        system.hold(channel, False)
        error = await system.failure(case)
        assert (error.cause, error.address) == (Cause.BUS_TIMEOUT, oldest)
        write = error.channel in (Channel.RESULT, Channel.RECORD)
        assert write == (channel in ("aw", "w", "b")) and error.channel != NO_CHANNEL
    await both_passes(system, case)


async def cycles_of(system, case):
    """Cycles of an undisturbed forward pass."""
    return (await system.run(case, "forward"))["cycles"]


@cocotb.test()
async def aborted(dut):
    """Aborts all over a run; the next run is correct."""
    rng = generator(6)
    system = await System.start(dut, CONFIG, rng, stall="random")
    case = Case(CONFIG, rng, SMALL)
    case.load(system.memory)
    cycles = await cycles_of(system, case)
    for share in (0.1, 0.35, 0.6, 0.8):
        await system.begin(case, "forward")
        await ClockCycles(dut.aclk, int(cycles * share))
        await system.driver.abort()
        error = await system.failure(case)
        assert (error.cause, error.channel) == (Cause.ABORTED, NO_CHANNEL)
    await both_passes(system, case)
    await system.driver.abort()
    assert await system.driver.status() & (Status.BUSY | Status.ERROR) == 0


@cocotb.test()
async def reset_in_mid_transfer(dut):
    """CONTROL.reset and ``aresetn`` amid bursts: registers have their reset values; the next run is correct."""
    rng = generator(7)
    system = await System.start(dut, CONFIG, rng, stall="random")
    case = Case(CONFIG, rng, SMALL)
    case.load(system.memory)
    cycles = await cycles_of(system, case)
    for hard, share in ((False, 0.25), (True, 0.4), (False, 0.6), (True, 0.8)):
        await system.begin(case, "forward")
        await ClockCycles(dut.aclk, int(cycles * share))
        assert await system.driver.status() & Status.BUSY
        if hard:
            await system.reset()
        else:
            await system.driver.reset()
            await system.driver.wait(polls=1000)
        assert system.watch.quiet
        for register in registers(CONFIG):
            assert await system.driver.read(register.name) == register.reset, register.name
    await both_passes(system, case)
