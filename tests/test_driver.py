"""The driver against registers that remember what is done to them, and against the register table."""

import asyncio

import numpy as np
import pytest

from bnforge.engine_config import Cause, EngineConfig
from bnforge.presets import opn4
from bnforge.registers import registers
from bnforge_model import Shape
from bnforge_sim.driver import EVENTS, Driver, EngineError, Status
from bnforge_sim.workspace import Pass, workspace

CONFIG = EngineConfig(core=opn4)


class FakeEngine:
    """Registers with their reset values; STATUS reads what ``statuses`` says in turn."""

    def __init__(self, config, statuses=(0,)):
        self.words = {register.offset: register.reset for register in registers(config)}
        self.names = {register.offset: register.name for register in registers(config)}
        self.written, self.statuses = [], list(statuses)

    async def read(self, offset):
        if self.names[offset] == "STATUS":
            return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return self.words[offset]

    async def write(self, offset, word):
        self.written.append((self.names[offset], word))

    def put(self, **words):
        self.words |= {offset: words[name] for offset, name in self.names.items() if name in words}


def make_driver(statuses=(0,), **words):
    engine = FakeEngine(CONFIG, statuses)
    engine.put(**words)
    return engine, Driver(CONFIG, engine.read, engine.write)


def test_identify():
    engine, driver = make_driver(VERSION=0x01020003)
    assert asyncio.run(driver.identify()) == (1, 2, 3)
    for name in ("ID", "CORE", "SAMPLE", "FORMATS", "BUS", "BEATS"):
        engine, driver = make_driver()
        offset = next(offset for offset in engine.names if engine.names[offset] == name)
        right = engine.words[offset]
        engine.words[offset] ^= 2
        with pytest.raises(ValueError, match=f"{name} must be {right:#010x}, not {right ^ 2:#010x}"):
            asyncio.run(driver.identify())


def test_a_run():
    """Four words say where the job is, whatever the job before has left there; then START, and the interrupt."""
    engine, driver = make_driver([Status.BUSY, Status.BUSY, Status.DONE | Status.SATURATED])
    waited = []

    async def irq():
        waited.append(list(engine.written))

    assert asyncio.run(driver.run(0x12_3456_7890, irq())) == Status.DONE | Status.SATURATED
    started = [("JOB0", 0x34567890), ("JOB1", 0x12), ("JOB2", 0), ("JOB3", 0), ("CONTROL", 1)]
    assert engine.written == started and waited == [started]


def test_a_job_in_the_registers():
    engine, driver = make_driver()
    job = Pass(shape=Shape(1, 2, 2, 3), operand=0x1000, result=0x2000, records=0x3000, gamma=0x4000, beta=0x5000)
    job = workspace(CONFIG, job, 0x80)[:56]
    asyncio.run(driver.start_job(job))
    words = np.frombuffer(job, "<u4").tolist()
    assert engine.written == [*((f"JOB{i}", word) for i, word in enumerate(words)), ("CONTROL", 1)]


def test_errors_and_patience():
    _, driver = make_driver([Status.BUSY, Status.ERROR], CAUSE=0x203, ERROR_ADDRESS_LOW=0x80, ERROR_ADDRESS_HIGH=0x1)
    with pytest.raises(EngineError, match="WRITE_SLVERR on channel 2, address 0x100000080") as caught:
        asyncio.run(driver.wait())
    assert (caught.value.cause, caught.value.channel) == (Cause.WRITE_SLVERR, 2)
    _, driver = make_driver([Status.BUSY] * 3 + [Status.DONE])
    with pytest.raises(TimeoutError, match="STATUS must be idle"):
        asyncio.run(driver.wait(polls=3))
    _, driver = make_driver([Status.BUSY] * 3 + [Status.DONE])
    assert asyncio.run(driver.wait(polls=4)) == Status.DONE


def test_commands():
    engine, driver = make_driver()
    for call in (driver.abort(), driver.reset(), driver.clear(), driver.clear(Status.REFUSED), driver.interrupts(),
                 driver.interrupts(done=False), driver.watchdog(500)):
        asyncio.run(call)
    assert engine.written == [("CONTROL", 2), ("CONTROL", 4), ("STATUS", 0x1730), ("STATUS", 0x1000),
                              ("IRQ_ENABLE", 3), ("IRQ_ENABLE", 2), ("WATCHDOG", 500)]


def test_status_and_counters_are_those_of_the_table():
    table = {register.name: register for register in registers(CONFIG)}
    assert {bit.name.lower(): bit.value for bit in Status} == {
        field.name: field.mask for field in table["STATUS"].fields}
    assert EVENTS == sum(field.mask for field in table["STATUS"].fields if field.is_writable)
    _, driver = make_driver(CYCLES_LOW=5, CYCLES_HIGH=1, JOBS=7)
    counters = asyncio.run(driver.counters())
    assert counters["cycles"] == 1 << 32 | 5 and counters["jobs"] == 7
    assert len(counters) == 12
