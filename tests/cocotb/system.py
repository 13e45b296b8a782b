"""An engine with memory, host and rule checker around it, and tensors with what the model makes of them."""

import copy
import itertools

import cocotb
import numpy as np
from axi import Watch
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiResp
from memory import Memory, attach, attach_host, reluctant, stalls
from sklearn.datasets import load_digits

from bnforge.engine_config import JOB_WORDS
from bnforge_model.constants import fp32_code
from bnforge_model.floats import to_codes
from bnforge_model.memory import Layout, pack_gradients, pack_operand, pack_records, pack_stored
from bnforge_sim.digits import FILTERS, convolve
from bnforge_sim.driver import Driver, EngineError, Status
from bnforge_sim.tensors import backward_tensor, forward_tensor
from bnforge_sim.workspace import Pass, workspace, workspace_size

__all__ = ["Case", "System"]

PERIOD = 10
TIMEOUT = 60_000
"""Cycles of the longest run."""
BASE = 0xFEDC_BA98_7654_0000
"""Address of the memory, as far as addresses are wide."""
SIZE = 1 << 17
"""Bytes of it."""
LATE = 120
"""Cycles that answers to writes may come late."""
WRITTEN = {"forward": ("y", "records"), "backward": ("dx", "gradients")}
READ = {"forward": ("x", "gamma", "beta"), "backward": ("dy", "y", "records")}
NUMERIC = 8
"""Place of the core's flags in STATUS."""


class Case:
    """Real activations and a random gradient, in memory, and what the model says of both passes.

    Parameters
    ----------
    config : bnforge.engine_config.EngineConfig
    rng : numpy.random.Generator
    shape : bnforge_model.memory.Shape
    layout : bnforge_model.memory.Layout
    options : activation, frozen of the passes

    Attributes
    ----------
    images : dict of str to bytes
        Tensors as they lie in memory, inputs and outputs.
    flags : dict of str to int
        The numeric flags that each pass raises.
    addresses : dict of str to int
        Where the tensors and the two workspaces, "forward" and "backward", lie.
    """

    def __init__(self, config, rng, shape, layout=Layout.BLOCKED, **options):
        self.config, self.shape, self.layout, self.options, self._rng = config, shape, layout, options, rng
        n, height, width, channels = shape.dims
        first = int(rng.integers(1797 - n))
        maps = convolve(load_digits().images[first:first + n], FILTERS[:channels])[:, :height, :width]
        x, dy = (to_codes(config.core.x_format, values).astype(np.uint32)
                 for values in (maps, rng.normal(0, 0.1, shape.dims)))
        gamma, beta = rng.normal(1, 0.5, channels), rng.normal(0, 0.3, channels)
        forward = forward_tensor(config, x, gamma, beta, **options)
        backward = backward_tensor(config, dy, forward.encoded, forward.records, **options)
        self.images = {
            "x": pack_operand(config, x, layout), "dy": pack_operand(config, dy, layout),
            "gamma": fp32_code(gamma).astype("<u4").tobytes(), "beta": fp32_code(beta).astype("<u4").tobytes(),
            "y": pack_stored(config, forward.encoded, shape, layout),
            "records": pack_records(config, forward.records),
            "dx": pack_stored(config, backward.encoded, shape, layout),
            "gradients": pack_gradients(backward.dgamma, backward.dbeta)}
        self.flags = {"forward": int(forward.flags), "backward": int(backward.flags)}
        self.addresses = {}

    @property
    def n_tiles(self):
        return -(-self.shape.channels // self.config.core.lanes)

    def size(self, name):
        """Bytes of a tensor or workspace."""
        if name in self.images:
            return len(self.images[name])
        return workspace_size(self.config, self.shape, name == "backward", self.options.get("frozen", False))

    def load(self, memory, align=1, odd=False):
        """Put the inputs in memory, in random order with random bytes between.

        Parameters
        ----------
        memory : memory.Memory
        align : int
            Addresses are multiples of it.
        odd : bool
            No address is even.
        """
        names = [*self.images, "forward", "backward"]
        at = memory.base
        for name in self._rng.permutation(names).tolist():
            at += int(self._rng.integers(1, 100))
            at += -at % align
            at += odd and at % 2 == 0
            self.addresses[name] = at
            at += self.size(name)
        for name in ("x", "dy", "gamma", "beta"):
            memory.load(self.addresses[name], self.images[name])

    def moved(self, **addresses):
        """A copy with tensors elsewhere; they are not loaded there."""
        other = copy.copy(self)
        other.addresses = self.addresses | addresses
        return other

    def workspace(self, direction, next_job=0):
        """Bytes of the workspace of a pass, which begin with its job."""
        at, common = self.addresses, {"shape": self.shape, "layout": self.layout, **self.options}
        if direction == "forward":
            job = Pass(operand=at["x"], result=at["y"], records=at["records"], gamma=at["gamma"], beta=at["beta"],
                       **common)
        else:
            job = Pass(backward=True, operand=at["dy"], result=at["dx"], records=at["records"], stored=at["y"],
                       gradients=at["gradients"], **common)
        return workspace(self.config, job, at[direction], next_job)

    def tile_numbers(self, name):
        """For each byte of "y" or "records", the number of its tile."""
        core, channels = self.config.core, self.shape.channels
        if name == "records":
            return np.arange(self.size(name)) // (4 * core.record_words * core.lanes)
        rows = self.shape.n_positions if self.layout is Layout.NHWC else self.shape.n_images
        sizes = [self.config.stored_bytes(min(core.lanes, channels - first)) * (self.shape.n_positions // rows)
                 for first in range(0, channels, core.lanes)]
        return np.tile(np.repeat(np.arange(len(sizes)), sizes), rows)

    def allow(self, memory, *directions):
        """Let the engine touch what these passes need, and no more."""
        memory.forbid()
        for direction in directions:
            for name in (direction, *READ[direction]):
                memory.allow("read", self.addresses[name], self.size(name))
            for name in WRITTEN[direction]:
                memory.allow("write", self.addresses[name], self.size(name))

    def after(self, memory, *directions):
        """What is in memory after these passes."""
        data = memory.data.copy()
        for direction in directions:
            for name in WRITTEN[direction]:
                image = np.frombuffer(self.images[name], np.uint8)
                data[self.addresses[name] - memory.base:][:len(image)] = image
        return data


class System:
    """The design out of reset, with memory on its manager port and a driver on its registers.

    Attributes
    ----------
    memory : memory.Memory
    watch : axi.Watch
    host : cocotbext.axi.AxiLiteMaster
    driver : bnforge_sim.driver.Driver
    """

    def __init__(self, dut, config, rng):
        self.dut, self._rng = dut, rng
        self.memory = Memory(BASE % 2**config.bus.address_width, SIZE, rng)
        self.watch = Watch(dut, config.bus, self.memory.commit)

    @classmethod
    async def start(cls, dut, config, rng, stall=None):
        """Parameters as above; ``stall``: None, "random", or "reluctant": READY only after VALID, BVALID late."""
        self = cls(dut, config, rng)
        dut.aresetn.value = 0
        cocotb.start_soon(Clock(dut.aclk, PERIOD, unit="ns").start())
        for name in ("s_axil_awvalid", "s_axil_wvalid", "s_axil_arvalid", "s_axil_bready", "s_axil_rready",
                     "m_axi_awready", "m_axi_wready", "m_axi_arready", "m_axi_bvalid", "m_axi_rvalid"):
            getattr(dut, name).value = 0
        await ClockCycles(dut.aclk, 3)
        self._channels = attach(dut, self.memory)
        self.host, host_channels = attach_host(dut)
        self.driver = Driver(config, self._read, self._write)
        if stall == "random":
            for channel in (*self._channels.values(), *host_channels.values()):
                channel.set_pause_generator(stalls(rng, 0.3))
        elif stall == "reluctant":
            wanted = {"aw": lambda: self.watch.data_waits, "w": lambda: self.watch.address_waits,
                      "ar": lambda: int(dut.m_axi_arvalid.value)}
            for name, condition in wanted.items():
                self._channels[name].set_pause_generator(reluctant(condition))
            self._channels["b"].set_pause_generator(itertools.cycle([True] * LATE + [False] * 8))
            for name in ("b", "r"):
                valid = getattr(dut, f"s_axil_{name}valid")
                host_channels[name].set_pause_generator(reluctant(lambda valid=valid: int(valid.value)))
        cocotb.start_soon(self.watch.run())
        await ClockCycles(dut.aclk, 2)
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 1)
        return self

    async def reset(self):
        """``aresetn`` of the engine and of what is around it."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 4)
        for channel in self._channels.values():
            channel.clear()
        self.memory.forget()
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 1)

    async def _read(self, offset):
        answer = await self.host.read(offset, 4)
        assert answer.resp is AxiResp.OKAY, f"read of {offset:#x}: {answer}"
        return int.from_bytes(answer.data, "little")

    async def _write(self, offset, word):
        answer = await self.host.write(offset, word.to_bytes(4, "little"))
        assert answer.resp is AxiResp.OKAY, f"write of {offset:#x}: {answer}"

    async def interrupt(self):
        """Until ``irq`` is high."""
        if not int(self.dut.irq.value):
            await with_timeout(RisingEdge(self.dut.irq), TIMEOUT * PERIOD, "ns")

    async def begin(self, case, *directions, by_address=True):
        """Start some passes as one chain: by the address of the first job, or with its words in the registers."""
        case.allow(self.memory, *directions)
        for direction, following in zip(directions, (*directions[1:], None)):
            words = case.workspace(direction, case.addresses[following] if following else 0)
            self.memory.load(case.addresses[direction], words)
        await self.driver.interrupts()
        await self.driver.clear()
        for direction in directions:
            for name in WRITTEN[direction]:
                self.memory.load(case.addresses[name], self._rng.bytes(case.size(name)))
        self._wanted, self._before = case.after(self.memory, *directions), self.watch.counts()
        address = case.addresses[directions[0]]
        if by_address:
            await self.driver.start(address)
        else:
            await self.driver.start_job(self.memory.view(address, 4 * JOB_WORDS).tobytes())

    async def finish(self, case, *directions, also=Status(0)):
        """Until the passes that were begun have ended, as the model says: the counters.

        ``also``: what STATUS has beside DONE and numeric flags.
        """
        status = await self.driver.wait(self.interrupt())
        flags = 0
        for direction in directions:
            flags |= case.flags[direction]
        assert status == Status.DONE | also | flags << NUMERIC, status
        wrong = np.flatnonzero(self.memory.data != self._wanted)
        assert not len(wrong), self._describe(case, wrong)
        return await self._ended()

    async def run(self, case, *directions, **options):
        """:meth:`begin` and :meth:`finish`."""
        await self.begin(case, *directions, **options)
        return await self.finish(case, *directions)

    async def failure(self, case):
        """Until a forward pass has ended early: the EngineError.

        From the interrupt on no burst begins; tiles that are counted are in memory.
        """
        await self.interrupt()
        await ClockCycles(self.dut.aclk, 1)
        begun = self.watch.begun
        try:
            status = await self.driver.wait()
        except EngineError as error:
            counters = await self._ended()
            assert self.watch.begun == begun, f"{self.watch.begun - begun} bursts began after the error"
            for name, counter in (("y", "result_tiles"), ("records", "record_tiles")):
                counted = case.tile_numbers(name) < counters[counter]
                found = self.memory.view(case.addresses[name], case.size(name))
                right = found == np.frombuffer(case.images[name], np.uint8)
                assert right[counted].all(), f"{counters[counter]} tiles of {name} are counted, but not all in memory"
            return error
        raise AssertionError(f"the run did not end early: {status!r}")

    async def _ended(self):
        """Checks of an idle engine: its counters."""
        assert self.watch.quiet, "idle with bursts on the bus"
        assert not self.memory.stray, self.memory.stray[:5]
        counters = await self.driver.counters()
        counted = {name: value - self._before[name] for name, value in self.watch.counts().items()}
        assert {name: counters[name] for name in counted} == counted
        return counters

    def hold(self, channel, paused=True):
        """Stop a channel of the memory, or let it go on; only without stalls."""
        self._channels[channel].pause = paused

    def _describe(self, case, wrong):
        """Where memory is not as it must be."""
        address = self.memory.base + int(wrong[0])
        place = [f"byte {address - first} of {name}" for name, first in case.addresses.items()
                 if first <= address < first + case.size(name)]
        return f"{len(wrong)} bytes are wrong, the first one at {address:#x}: {', '.join(place) or 'between tensors'}"
