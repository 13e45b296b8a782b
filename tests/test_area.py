"""Gate counts: the committed baseline, cell libraries, and a circuit small enough to count by hand."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from bnforge import area, baseline, emit, tools
from bnforge.liberty import GENERIC, Library
from bnforge.presets import PRESETS, opn1_tiny, opn4

ROOT = Path(__file__).parent.parent
BASELINE = baseline.read(ROOT / "docs" / "baseline_area.json")
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
TOLERANCE = 0.02
"""Relative change of any total that needs a new baseline."""


COUNTED = ["opn16", "opn4", "opn1_tiny", "opn4 backward", "opn1_tiny engine"]
"""Cores that are counted again; the others of the file are made of the same parts."""


@pytest.mark.parametrize("name", sorted(COUNTED, key=lambda name: -baseline.CORES[name].lanes))
def test_no_total_has_moved_from_the_committed_baseline(name):
    new = area.report(baseline.CORES[name])
    moved = {total: f"{change:+.1%}" for total, change in area.changes(BASELINE[name], new).items()
             if abs(change) > TOLERANCE}
    assert not moved, (f"{name}: if the change is meant, run `make baseline` and add a line to CHANGELOG.md.\n"
                       f"{area.difference(BASELINE[name], new)}")


def test_the_array_has_not_moved_from_the_committed_baseline():
    committed, = (module for module in BASELINE["array 4x4"].modules if module.name.endswith("_systolic_array"))
    new = area.report(baseline.fused(4).array)
    counted, = (module for module in new.modules if module.name.endswith("_systolic_array"))
    for total in ("ge", "flip_flops", "memory_bits"):
        assert abs(getattr(counted, total) / getattr(committed, total) - 1) < TOLERANCE, total


def test_the_baseline_has_every_preset_as_it_is_configured():
    assert {name: report.configuration for name, report in BASELINE.items()} == \
        {name: config.to_dict() for name, config in baseline.CORES.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_one_core_for_both_directions_is_smaller_than_two(name):
    both, apart = BASELINE[name], [BASELINE[f"{name} {direction}"] for direction in ("forward", "backward")]
    for total in ("ge", "flip_flops", "memory_bits"):
        assert max(getattr(report, total) for report in apart) <= getattr(both, total)
        assert getattr(both, total) < sum(getattr(report, total) for report in apart)


@pytest.mark.parametrize("liberty", [path for path in [OSU018] if path.exists()])
def test_a_real_library_gives_gates_of_the_same_size(liberty):
    real, generic = area.report(opn1_tiny, liberty), BASELINE["opn1_tiny"]
    assert real.flip_flops == pytest.approx(generic.flip_flops, rel=TOLERANCE)
    assert real.memory_bits == generic.memory_bits
    assert real.library["name"] == "osu018_stdcells" and real.library["nand2"] == "NAND2X1"
    assert 0.7 * generic.ge < real.ge < 1.3 * generic.ge


def test_totals_are_the_sums_of_the_modules():
    for report in BASELINE.values():
        own = sum(module.own_ge * module.instances for module in report.modules)
        assert own == pytest.approx(report.ge, abs=0.05 * sum(module.instances for module in report.modules))
        assert sum(module.own_flip_flops * module.instances for module in report.modules) == report.flip_flops
        assert sum(memory.bits for memory in report.memories) == report.memory_bits
        assert 0 < report.lane_ge <= report.ge_per_lane


class Countable(wiring.Component):
    """Two lanes of eight XOR gates in front of eight registers, and a memory of 4 x 8 bits."""

    def __init__(self):
        super().__init__({"aclk": In(1), "a": In(16), "b": In(16), "y": Out(16), "at": In(2), "z": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True, reset_less=True)
        m.d.comb += domain.clk.eq(self.aclk)
        for index in range(2):
            m.submodules[f"lane{index}"] = lane = Lane()
            part = slice(8 * index, 8 * index + 8)
            m.d.comb += [lane.a.eq(self.a[part]), lane.b.eq(self.b[part]), self.y[part].eq(lane.y)]
        m.submodules.mem = mem = memory.Memory(shape=8, depth=4, init=[])
        write, read = mem.write_port(), mem.read_port(domain="comb")
        m.d.comb += [write.en.eq(1), write.addr.eq(self.at), write.data.eq(self.a[:8]), read.addr.eq(self.at),
                     self.z.eq(read.data)]
        return m


class Lane(wiring.Component):
    def __init__(self):
        super().__init__({"a": In(8), "b": In(8), "y": Out(8)})

    def elaborate(self, platform):
        m = Module()
        register = Signal(8)
        m.d.sync += register.eq(self.a ^ self.b)
        m.d.comb += self.y.eq(register)
        return m


def measured(component, name="core", lanes=2):
    config = opn4.replace(name=name, lanes=lanes)
    return area.measure(emit.component_rtlil(component, name), config, Library.read())


def test_a_circuit_counted_by_hand():
    report = measured(Countable())
    xor, flip_flop = 2.67, 5.33
    assert report.ge == pytest.approx(16 * (xor + flip_flop), abs=0.1)
    assert report.lane_ge == pytest.approx(8 * (xor + flip_flop), abs=0.1)
    assert (report.flip_flops, report.memory_bits, report.levels) == (16, 32, 1)
    assert [(module.name, module.instances, module.flip_flops) for module in report.modules] == [
        ("core", 1, 16), ("core_lane", 2, 8)]
    assert [(entry.module, entry.width, entry.depth, entry.read_ports, entry.write_ports, entry.bits)
            for entry in report.memories] == [("core", 8, 4, 1, 1, 32)]


class Chain(wiring.Component):
    """``length`` inverting gates in a row between two registers; the path goes through no register or memory."""

    def __init__(self, length):
        self.length = length
        super().__init__({"aclk": In(1), "x": In(length + 1), "y": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True, reset_less=True)
        m.d.comb += domain.clk.eq(self.aclk)
        value = Signal()
        m.d.sync += value.eq(self.x[0])
        net = value
        for bit in self.x[1:]:
            net = ~(net & bit)
        m.d.sync += self.y.eq(net)
        return m


def test_levels_are_cells_between_registers():
    assert measured(Chain(1)).levels == 1
    assert measured(Chain(2)).path == ["value", "y"]


def test_a_report_survives_its_file(tmp_path):
    report = BASELINE["opn4"]
    report.write(tmp_path / "area.json")
    assert area.AreaReport.read(tmp_path / "area.json") == report


def test_a_difference_names_totals_and_modules_that_changed():
    text = area.difference(BASELINE["opn4"], BASELINE["opn1_tiny"])
    assert text.splitlines()[1].split()[:3] == ["ge", str(BASELINE["opn4"].ge), str(BASELINE["opn1_tiny"].ge)]
    assert "opn4_normaliser_lane" in text and "opn1_tiny_normaliser_lane" in text
    assert len(area.difference(BASELINE["opn4"], BASELINE["opn4"]).splitlines()) == 1 + len(area.TOTALS)


def test_the_generic_library_states_its_sources_and_has_a_unit_nand():
    library = Library.read()
    assert library.nand2.name == "NAND2" and library.nand2.area == 1.0
    assert "ePrint 2009/516" in GENERIC.read_text()


NANDS = ["!(A B)", "(A*B)'", "!A|!B", "A'+B'", "(A & B) ^ 1", "!(B & A & 1)"]
OTHERS = ["A B", "!(A+B)", "A^B", "!A", "!A & B", "1"]


@pytest.mark.parametrize("function", NANDS + OTHERS)
def test_the_nand_is_found_by_its_function(tmp_path, function):
    path = tmp_path / "cells.lib"
    path.write_text('library(cells) { cell (Q) { area : 4; ff (IQ, IQN) { } } cell (X) { area : 2.5; '
                    'pin (A) { direction : input; } pin (B) { direction : input; } pin (Y) { direction : output; '
                    f'function : "{function}"; }} }} }}')
    if function in NANDS:
        assert (Library.read(path).nand2.name, Library.read(path).nand2.area) == ("X", 2.5)
    else:
        with pytest.raises(ValueError, match="must have a two-input NAND"):
            Library.read(path)


def test_a_library_that_cannot_express_the_circuit_is_an_error(tmp_path):
    path = tmp_path / "cells.lib"
    missing = r"cell \((INV|NOR2|X\w+|\wOI\d+|BUF|MUX2)\).*?; } }\n"
    path.write_text(re.sub(missing, "", GENERIC.read_text(), flags=re.S))
    library = Library.read(path)
    with pytest.raises(tools.ToolError):
        area.measure(emit.component_rtlil(Countable(), "core"), opn4.replace(name="core"), library)
