"""A circuit small enough for the tests of the flows, with the ports of a forward core of one lane, and what it does."""

import functools

from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from bnforge import emit
from bnforge.config import Directions
from bnforge.flows.netlist import flatten
from bnforge.liberty import Library
from bnforge.presets import opn1_tiny
from bnforge.synthesis import mapped

NAME = "circuit"
CONFIG = opn1_tiny.replace(name=NAME, directions=Directions.FORWARD)
DEPTH = 8


def _stream(prefix, flow, width, back):
    return {f"{prefix}_tdata": flow(width), f"{prefix}_tvalid": flow(1), f"{prefix}_tlast": flow(1),
            f"{prefix}_tready": back(1)}


class Mixer(wiring.Component):
    """o = i · 5 + 3 mod 64, one cycle later."""

    def __init__(self):
        super().__init__({"i": In(6), "o": Out(6)})

    def elaborate(self, platform):
        m = Module()
        kept = Signal(6)
        m.d.sync += kept.eq(self.i * 5 + 3)
        m.d.comb += self.o.eq(kept)
        return m


class Small(wiring.Component):
    """Counts cycles since the reset; the count goes through a mixer into a memory, and what that holds through another.

    Every second cycle writes a row, sometimes that which the same edge reads; the read port is transparent. ``twin`` is
    always what ``count`` is, and ``low`` always 0: registers that synthesis removes.
    """

    def __init__(self):
        super().__init__({"aclk": In(1), "aresetn": In(1), "status": Out(6), "status_clear": In(1),
                          **_stream("s_axis_hdr", In, 32, Out), **_stream("s_axis", In, 16, Out),
                          **_stream("m_axis", Out, 8, In), "m_axis_tuser": Out(8),
                          **_stream("m_axis_rec", Out, 32, In)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain(reset_less=True)
        m.d.comb += sync.clk.eq(self.aclk)
        count = Signal(6)
        twin = Signal(6)
        low = Signal(2)
        m.submodules.before = before = Mixer()
        m.submodules.after = after = Mixer()
        m.submodules.rows = rows = memory.Memory(shape=6, depth=DEPTH, init=[])
        write = rows.write_port()
        read = rows.read_port(transparent_for=(write,))
        following = Signal(6)
        m.d.comb += following.eq((count + 1)[:6] & self.aresetn.replicate(6))
        m.d.sync += [count.eq(following), twin.eq(following), low.eq(0)]
        m.d.comb += [before.i.eq(count), write.addr.eq(count[1:4]), write.data.eq(before.o), write.en.eq(~count[0]),
                     read.addr.eq(count[2:5]), read.en.eq(1), after.i.eq(read.data),
                     self.status.eq(after.o ^ twin ^ low)]
        return m


def expected_status(cycles):
    """``status`` of each cycle after the reset; None where it depends on a row that is read before it is written."""
    rows, found = {}, []
    before = read = after = None
    for count in range(cycles):
        found.append(None if after is None else after ^ count % 64)
        if count % 2 == 0:
            rows[count // 2 % DEPTH] = before
        before, read, after = _mixed(count % 64), rows.get(count // 4 % DEPTH), _mixed(read)
    return found


def _mixed(value):
    return None if value is None else (value * 5 + 3) % 64


@functools.cache
def rtlil():
    return emit.component_rtlil(Small(), NAME)


@functools.cache
def library(path=None):
    return Library.read(path)


@functools.cache
def modules(path=None):
    return mapped(rtlil(), NAME, library(path))


def netlist(path=None):
    """The mapped circuit; with the embedded library by default."""
    return flatten(modules(path), NAME, library(path))


def settle(netlist, values):
    """Values of all nets, ``{net: 0 or 1}``, from those of inputs and registers: every gate until nothing changes."""
    from bnforge.liberty import _evaluate
    changed = True
    while changed:
        changed = False
        for gate in netlist.gates:
            cell = netlist.library.cells[gate.cell]
            if cell.is_flip_flop or any(gate.pins[pin] not in values for pin in cell.inputs):
                continue
            for pin, function in cell.outputs:
                value = int(_evaluate(function, {name: bool(values[gate.pins[name]]) for name in cell.inputs}))
                changed |= values.get(gate.pins[pin]) != value
                values[gate.pins[pin]] = value
    return values
