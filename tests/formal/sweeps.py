"""The baselines: flow and records."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from bnforge.sweeps.flow import SweepFlow, inputs_of
from bnforge.sweeps.record import SweepRecord
from bnforge.sweeps.words import Sweep, has_sums, streams, sweeps_of

from .control import delayed
from .runner import assume, check
from .units import Specification, stream_held

__all__ = ["RecordHold", "FlowContract", "ResultOf"]

_PASS, _SUM = 3, 5
"""Cycles of a pipeline in the proofs; they are only counted."""


class RecordHold(Specification):
    """Words of a record hold until taken."""

    def __init__(self, config):
        super().__init__(SweepRecord(config))

    def specify(self, m):
        check(m, stream_held(m, self.unit.o))
        self.witness = [self.unit.o.valid & self.unit.o.payload.last & ~self.unit.o.ready]


class FlowContract(Specification):
    """A sweep takes exactly n beats, one from each stream it reads and none from others, in the order they came; a
    result only on credit; it is released when what it took has left the pipeline, with sums when they can be read and
    the scalar unit is free."""

    def __init__(self, config):
        self.config = config
        super().__init__(SweepFlow(config, pass_cycles=_PASS, sum_cycles=_SUM))

    def specify(self, m):
        config, unit, inside = self.config, self.unit, self.inside
        running, ended, tail, count = (inside[name] for name in ("running", "ended", "tail", "count"))
        idle = ~running & ~ended
        tile, before = unit.i_tile, Signal.like(unit.i_tile, name="tile_before", reset_less=True)
        m.d.sync += before.eq(tile)
        sweeps = sweeps_of(config)
        known = Cat(tile.sweep == sweep for sweep in sweeps).any()
        assume(m, known, tile.n != 0, ~unit.i_start | idle, idle | (before.as_value() == tile.as_value()))

        sums = Cat((tile.sweep == sweep) & has_sums(config, sweep) for sweep in sweeps).any()
        results = Cat((tile.sweep == sweep) & streams(config, sweep)[1] for sweep in sweeps).any()
        claims = [~(running & ended), ~running | (count < tile.n), ~ended | (count == tile.n),
                  unit.o_issue == (unit.o_take & results), ~unit.o_issue | unit.i_credit,
                  ~unit.o_release | (ended & (~sums | unit.i_scalar_free)), unit.o_launch == (unit.o_release & sums)]
        # What was taken last is at least this old when the sweep is released.
        needed = Mux(sums, _SUM, _PASS)
        ages = [unit.o_take]
        for age in range(1, _SUM + 1):
            ages.append(delayed(m, ages[-1], 1, name=f"taken{age}"))
        claims += [~ended | (tail <= needed)]
        claims += [~(ages[age] & ended & (needed >= age)) | (tail + age > needed) for age in range(1, _SUM + 1)]
        claims += [~(unit.o_release & ages[age] & (needed >= age)) for age in range(_SUM)]
        claims += [~idle | ~unit.o_take]
        # A register per stream: what was accepted is taken once, unless the sweep does not read it.
        for name in inputs_of(config):
            port = getattr(unit, f"i_{name}")
            used = Cat((tile.sweep == sweep) & (name in streams(config, sweep)[0]) for sweep in sweeps).any()
            taken, accepted = unit.o_take & used, port.valid & port.ready
            waits, item = Signal(name=f"{name}_waits"), Signal(
                len(port.payload.as_value()), name=f"{name}_item", reset_less=True)
            m.d.sync += waits.eq((waits & ~taken) | accepted)
            with m.If(accepted):
                m.d.sync += item.eq(port.payload.as_value())
            claims += [port.ready == (~waits | taken), ~taken | waits,
                       ~waits | (getattr(unit, f"o_{name}").as_value() == item)]
        check(m, *claims)
        self.witness = [unit.o_release & (tile.sweep == sweep) & (tile.n > 1) for sweep in sweeps
                        if sweep is not Sweep.GRADIENT]


class ResultOf(wiring.Component):
    """A lane of which only the result can be seen."""

    def __init__(self, lane):
        self.lane = lane
        members = lane.signature.members
        super().__init__({name: member for name, member in members.items() if member.flow is In} | {
            "o_y": Out(members["o_y"].shape)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.lane = self.lane
        m.d.comb += [self.o_y.eq(self.lane.o_y), *(
            getattr(self.lane, name).eq(getattr(self, name)) for name, member in self.signature.members.items()
            if member.flow is In)]
        return m
