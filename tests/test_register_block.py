"""The register block under random accesses and random timing, cycle by cycle against what docs/registers.md says."""

import random
import re
from collections import Counter

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator
from bnforge.config import Config
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.formats import E4M3
from bnforge.registers import RegisterBlock, registers

from formal.structure import Netlist

CYCLES = 8000
CONFIGS = [EngineConfig(), EngineConfig(bus=BusConfig(address_width=64), core=Config(lanes=3, storage=E4M3))]
CONSTANT = {register.offset for register in registers() if register.fields[0].constant}
NAMES = {register.offset: register.name for register in registers()}
FLAGS = {"done": 4, "error": 5, "nan": 8, "infinity": 9, "saturated": 10, "refused": 12}
WATCHDOG = 0x0010_0000
WIDE = {"ERROR_ADDRESS", "CYCLES", "BYTES_READ", "BYTES_WRITTEN"}
SLVERR = 2


def is_job(name):
    return name is not None and re.fullmatch(r"JOB\d+", name) is not None


def spread(strobe):
    """Bits of the bytes that a strobe enables."""
    return sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)


class Reference:
    """What the registers do, one call of :meth:`cycle` per clock cycle.

    Attributes
    ----------
    seen : Counter of what has happened, so that a test knows what it has tested
    """

    def __init__(self, config):
        self.constants = {register.offset: register.reset for register in registers(config)
                          if register.offset in CONSTANT}
        self.seen = Counter()
        self.reset()

    def reset(self):
        """As after aresetn."""
        self.aw = self.w = self.ar = self.b = self.r = None
        self.pulses, self.irq = {}, 0
        self.soft_reset()

    def soft_reset(self):
        self.flags, self.enable, self.watchdog = dict.fromkeys(FLAGS, 0), 0, WATCHDOG

    def read(self, address, pins):
        """Data and response."""
        address &= ~3
        name = NAMES.get(address)
        self.seen[f"read {name}"] += 1
        if name is None:
            return 0, SLVERR
        if address in CONSTANT:
            return self.constants[address], 0
        if name == "STATUS":
            return (pins["i_busy"] | pins["i_status_draining"] << 1
                    | sum(self.flags[flag] << bit for flag, bit in FLAGS.items())), 0
        if is_job(name):
            return pins["i_job"][(address - 0x40) // 4], 0
        if name in ("CONTROL", "IRQ_ENABLE", "WATCHDOG"):
            return {"CONTROL": 0, "IRQ_ENABLE": self.enable, "WATCHDOG": self.watchdog}[name], 0
        if name == "CAUSE":
            return pins["i_cause_code"] | pins["i_cause_channel"] << 8, 0
        stem, _, half = name.rpartition("_")
        if stem in WIDE:
            return pins[f"i_{stem.lower()}"] >> {"LOW": 0, "HIGH": 32}[half] & 0xFFFF_FFFF, 0
        return pins[f"i_{name.lower()}"], 0

    def refuses(self, name, ones, pins):
        """Whether a write is refused; ``ones`` are the 1s in enabled bytes."""
        if name not in ("CONTROL", "IRQ_ENABLE", "STATUS", "WATCHDOG") and not is_job(name):
            self.seen["refused: missing" if name is None else "refused: read-only"] += 1
            return True
        locked = is_job(name) or name == "WATCHDOG" or name == "CONTROL" and ones & 1
        if locked and pins["i_busy"]:
            self.seen[f"refused: busy {'JOB' if is_job(name) else name}"] += 1
        return bool(locked and pins["i_busy"])

    def write(self, address, data, strobe, pins):
        """What a write does; returns response, outputs in this cycle, and bits that are cleared in STATUS."""
        name, mask = NAMES.get(address & ~3), spread(strobe)
        if self.refuses(name, data & mask, pins):
            return SLVERR, {}, 0
        self.seen[f"write {name}"] += 1
        self.seen["partial strobe"] += mask not in (0, 0xFFFF_FFFF)
        self.seen["busy abort"] += name == "CONTROL" and pins["i_busy"] and bool(data & mask & 2)
        if is_job(name):
            index = (address - 0x40) // 4
            return 0, {"o_job_write": 1, "o_job_index": index,
                       "o_job_data": pins["i_job"][index] & ~mask | data & mask}, 0
        if name == "WATCHDOG":
            self.watchdog = self.watchdog & ~mask | data & mask
        elif name == "IRQ_ENABLE":
            self.enable = (self.enable & ~mask | data & mask) & 3
        elif name == "CONTROL":
            self.pulses = {pulse: data & mask & 1 << i for i, pulse in enumerate(("start", "abort", "reset"))}
        cleared = data & mask if name == "STATUS" else 0
        return 0, {}, cleared

    def cycle(self, pins):
        """Outputs of a cycle with these inputs; those whose value does not matter are left out."""
        running = not pins["rst"]
        out = {f"s_axil_{channel}ready": int(running and getattr(self, channel) is None)
               for channel in ("aw", "w", "ar")}
        out |= {"s_axil_bvalid": int(self.b is not None), "s_axil_rvalid": int(self.r is not None), "irq": self.irq,
                "o_job_write": 0, "o_watchdog": self.watchdog,
                "o_irq_enable_done": self.enable & 1, "o_irq_enable_error": self.enable >> 1,
                "o_status_done": self.flags["done"], "o_status_error": self.flags["error"]}
        out |= {f"o_{pulse}": int(bool(self.pulses.get(pulse))) for pulse in ("start", "abort", "reset")}
        if self.b is not None:
            out["s_axil_bresp"] = self.b
        if self.r is not None:
            out["s_axil_rdata"], out["s_axil_rresp"] = self.r
        write = None not in (self.aw, self.w) and self.b is None
        read = self.ar is not None and self.r is None and not write
        self.seen["read waits for write"] += write and self.ar is not None and self.r is None
        before = dict(self.flags), self.enable
        cleared, sets = 0, {flag for flag in FLAGS if pins.get(f"i_status_{flag}")}
        self.pulses = {}
        if self.b is not None and pins["s_axil_bready"]:
            self.b = None
        if self.r is not None and pins["s_axil_rready"]:
            self.r = None
        if read:
            self.r, self.ar = self.read(self.ar, pins), None
        if write:
            self.b, effects, ones = self.write(self.aw, *self.w, pins)
            out |= effects
            cleared |= ones
            if self.pulses.get("start"):
                cleared |= 1 << FLAGS["done"] | 1 << FLAGS["error"]
                self.seen["start"] += 1
            self.aw = self.w = None
        if write and self.b == SLVERR or read and self.r[1] == SLVERR:
            sets.add("refused")
        self.irq = int(any(before[0][flag] and before[1] >> i & 1 and not cleared >> FLAGS[flag] & 1
                           for i, flag in enumerate(("done", "error"))))
        for flag, bit in FLAGS.items():
            self.seen[f"set over clear {flag}"] += bool(flag in sets and cleared >> bit & 1)
            self.flags[flag] = int(flag in sets or self.flags[flag] and not cleared >> bit & 1)
        if pins["i_soft_reset"]:
            self.seen["soft reset"] += write
            self.soft_reset()
        for channel, payloads in (("aw", ("awaddr",)), ("w", ("wdata", "wstrb")), ("ar", ("araddr",))):
            if out[f"s_axil_{channel}ready"] and pins[f"s_axil_{channel}valid"]:
                taken = tuple(pins[f"s_axil_{payload}"] for payload in payloads)
                setattr(self, channel, taken if len(taken) > 1 else taken[0])
                other = {"aw": self.w, "w": self.aw}.get(channel)
                self.seen[f"{channel} after the other"] += other is not None
        if pins["rst"]:
            self.seen["reset in mid-access"] += any(x is not None for x in (self.aw, self.w, self.ar, self.b, self.r))
            self.reset()
        return out


class Surroundings:
    """The manager and the engine around the block: random inputs that keep to the rules of AXI."""

    def __init__(self, ports, rng):
        self.rng = rng
        self.free = {name: width for name, width in ports.items()
                     if name.startswith("i_") and name not in ("i_busy", "i_job", "i_soft_reset")}
        self.pins = dict.fromkeys(ports, 0) | {"i_job": [0] * 14, "rst": 1}
        self.pace, self.left = {}, 0

    def address(self):
        known = self.rng.random() < 0.85
        address = self.rng.choice([*NAMES, *[0x20, 0x28, 0x28, 0x38] * 7]) if known else self.rng.randrange(1024) * 4
        return address | (self.rng.randrange(4) if self.rng.random() < 0.1 else 0)

    def payload(self, name):
        if name.endswith("addr"):
            return self.address()
        if name == "wstrb":
            return self.rng.choice([15, 15, self.rng.randrange(16)])
        return self.rng.getrandbits(32) & self.rng.choice([0xFFFF_FFFF, 0x1FFF, 7, 6])

    def next(self, cycle, out):
        """Inputs of the next cycle, after one with outputs ``out``."""
        rng, pins = self.rng, self.pins
        if cycle % 150 == 0:
            self.pace = {channel: rng.choice([0.1, 0.5, 1.0, 1.0]) for channel in ("aw", "w", "ar", "b", "r")}
        taken = {channel for channel in ("aw", "w", "ar")
                 if out[f"s_axil_{channel}ready"] and pins[f"s_axil_{channel}valid"]}
        if out["o_job_write"]:
            pins["i_job"] = [*pins["i_job"]]
            pins["i_job"][out["o_job_index"]] = out["o_job_data"]
        self.left = rng.randrange(1, 60) if out["o_start"] else max(0, self.left - 1)
        pins["i_busy"] = int(self.left > 0)
        pins["i_soft_reset"] = int(rng.random() < 0.01)
        pins["rst"] = int(cycle < 2 or rng.random() < 0.004)
        for name, width in self.free.items():
            if width == 1 or rng.random() < 0.05:
                pins[name] = int(rng.random() < 0.25) if width == 1 else rng.getrandbits(width)
        for channel, payloads in (("aw", ("awaddr", "awprot")), ("w", ("wdata", "wstrb")),
                                  ("ar", ("araddr", "arprot"))):
            valid = f"s_axil_{channel}valid"
            if channel in taken or not pins[valid] or pins["rst"]:
                pins[valid] = int(not pins["rst"] and rng.random() < self.pace[channel])
                pins |= {f"s_axil_{payload}": self.payload(payload) & 7 if payload.endswith("prot")
                         else self.payload(payload) for payload in payloads}
        for channel in ("b", "r"):
            pins[f"s_axil_{channel}ready"] = int(rng.random() < self.pace[channel])
        return pins


def check_stable(before, after):
    """An answer that was not taken stays as it is (Arm IHI 0022, A3.2.1)."""
    pins, out = before
    for channel, payloads in (("b", ("bresp",)), ("r", ("rdata", "rresp"))):
        if out[f"s_axil_{channel}valid"] and not pins[f"s_axil_{channel}ready"] and not pins["rst"]:
            for name in (f"{channel}valid", *payloads):
                assert after[f"s_axil_{name}"] == out[f"s_axil_{name}"]


@pytest.mark.parametrize("config", CONFIGS, ids=["blocks", "floats"])
def test_registers_do_what_is_documented_under_random_accesses(config, seed):
    block, reference = RegisterBlock(config), Reference(config)
    members = {path[0]: (member, value) for path, member, value in block.signature.flatten(block)}
    inputs = {name: value for name, (member, value) in members.items() if member.flow == wiring.In}
    outputs = {name: value for name, (member, value) in members.items() if member.flow == wiring.Out}
    around = Surroundings({name: len(value) for name, value in inputs.items() if name != "i_job"},
                          random.Random(seed + config.core.lanes))
    m = Module()
    m.domains.sync = domain = ClockDomain("sync")
    m.submodules.block = block

    async def bench(ctx):
        driven, before = {}, None
        ctx.set(domain.rst, 1)
        await ctx.tick()
        out = {name: ctx.get(value) for name, value in outputs.items()}
        for cycle in range(CYCLES):
            pins = around.next(cycle, out)
            for name, value in pins.items():
                if driven.get(name) != value:
                    ctx.set(domain.rst if name == "rst" else block.i_job if name == "i_job" else inputs[name], value)
            driven = dict(pins)
            out = {name: ctx.get(value) for name, value in outputs.items()}
            expected = reference.cycle(driven)
            assert {name: out[name] for name in expected} == expected, f"cycle {cycle}"
            if before is not None:
                check_stable(before, out)
            before = driven, out
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    jobs = [f"JOB{i}" for i in range(14)]
    wanted = {*(f"read {name}" for name in (*NAMES.values(), None)),
              *(f"write {name}" for name in ("CONTROL", "IRQ_ENABLE", "STATUS", "WATCHDOG", *jobs)),
              *(f"refused: busy {name}" for name in ("CONTROL", "WATCHDOG", "JOB")),
              *(f"set over clear {flag}" for flag in FLAGS if flag != "refused"),
              "refused: missing", "refused: read-only", "start", "busy abort", "partial strobe", "read waits for write",
              "aw after the other", "w after the other", "soft reset", "reset in mid-access"}
    assert sorted(event for event in wanted if not reference.seen[event]) == []


def test_outputs_depend_on_inputs_of_the_same_cycle_only_as_stated():
    net = Netlist(RegisterBlock(CONFIGS[0]), registers=False)
    found = {name: set(net.combinational(name)) for name in net.inputs}
    assert found.pop("i_busy") == {"o_job_data", "o_job_index", "o_job_write"}
    shown = {name for name, reached in found.items() if reached}
    assert {"i_job", "i_cycles", "i_cause_code"} < shown and all(found[name] == {"o_job_data"} for name in shown)
    assert not shown & {name for name in found if name.startswith(("s_axil_", "i_soft", "i_status_d", "i_status_n"))
                        and name != "i_status_draining"}
