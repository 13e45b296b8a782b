"""The register table, against the map below, and the files made from it."""

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest
from bnforge.array_config import ArrayConfig
from bnforge.config import Config, Directions, Multiplier
from bnforge.engine_config import BusConfig, Cause, Channel, EngineConfig
from bnforge.formats import E4M3, FP16, BlockFormat
from bnforge.registers import Access, export, registers
from bnforge.tools import ToolError
from systemrdl import RDLCompiler
from systemrdl.rdltypes import AccessType, OnWriteType

ROOT = Path(__file__).parent.parent

MAP = """
000 ID            id[31:0] ro
004 VERSION       patch[15:0] minor[23:16] major[31:24] ro
008 CORE          lanes[5:0] forward[8] backward[9] block[10] signed[11] two_digit[12]
                  a_fraction[19:16] b_fraction[23:20] algorithm[25:24] ro
00C SAMPLE        depth[15:0] chunk_log2[19:16] ro
010 FORMATS       x_exponent[3:0] x_fraction[7:4] exponent[11:8] element[16:12] group[22:17] ro
014 BUS           bytes_log2[3:0] address_width[14:8] burst_log2[19:16] outstanding[31:24] ro
018 BEATS         operand_bytes[7:0] stored_bytes[15:8] record_words[31:16] ro
01C ARRAY         rows[5:0] depth_log2[11:8] operand_fraction[19:16] accumulate_fraction[24:20] transposes[25] ro
020 CONTROL       start[0] locked abort[1] reset[2] pulse
024 IRQ_ENABLE    done[0] error[1] rw
028 STATUS        busy[0] draining[1] ro done[4] error[5] nan[8] infinity[9] saturated[10] refused[12] w1c
02C CAUSE         code[7:0] channel[11:8] ro
030 ERROR_ADDRESS_LOW address[31:0] ro  034 ERROR_ADDRESS_HIGH address[31:0] ro
038 WATCHDOG      cycles[31:0] locked rw
040 JOB0 word[31:0] locked external  044 JOB1 word[31:0] locked external  048 JOB2 word[31:0] locked external
04C JOB3 word[31:0] locked external  050 JOB4 word[31:0] locked external  054 JOB5 word[31:0] locked external
058 JOB6 word[31:0] locked external  05C JOB7 word[31:0] locked external  060 JOB8 word[31:0] locked external
064 JOB9 word[31:0] locked external  068 JOB10 word[31:0] locked external 06C JOB11 word[31:0] locked external
070 JOB12 word[31:0] locked external 074 JOB13 word[31:0] locked external
080 CYCLES_LOW count[31:0] ro        084 CYCLES_HIGH count[31:0] ro
088 BYTES_READ_LOW count[31:0] ro    08C BYTES_READ_HIGH count[31:0] ro
090 BYTES_WRITTEN_LOW count[31:0] ro 094 BYTES_WRITTEN_HIGH count[31:0] ro
098 READ_WAIT count[31:0] ro         09C WRITE_WAIT count[31:0] ro
0A0 INPUT_BEATS count[31:0] ro       0A4 INPUT_STALLS count[31:0] ro
0A8 OUTPUT_BEATS count[31:0] ro      0AC OUTPUT_STALLS count[31:0] ro
0B0 JOBS count[31:0] ro              0B4 RESULT_TILES count[31:0] ro     0B8 RECORD_TILES count[31:0] ro
"""
"""Offset, name, fields; the access stands after the fields that have it, "locked" after the field that is."""

CONFIGS = [EngineConfig(), EngineConfig(
    name="other", bus=BusConfig(data_width=512, address_width=64, max_burst=64, outstanding=128, write_buffer=128),
    core=Config(lanes=32, x_format=FP16, sample_depth=96, chunk_len=32, multiplier=Multiplier.TWO_DIGIT, a_fraction=8,
                b_fraction=15, storage=E4M3, directions=Directions.FORWARD))]
every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)


ARRAY_FIELDS = [f"ARRAY.{name}" for name in (
    "rows", "depth_log2", "operand_fraction", "accumulate_fraction", "transposes")]


def read_map():
    """MAP as (offset, name, field, lsb, width, access, locked)."""
    rows, waiting = [], []
    for word in MAP.split():
        if re.fullmatch("[0-9A-F]{3}", word):
            offset = int(word, 16)
        elif word.isupper():
            name = word
        elif match := re.fullmatch(r"(\w+)\[(?:(\d+):)?(\d+)\]", word):
            lsb = int(match[3])
            waiting.append([offset, name, match[1], lsb, int(match[2] or lsb) - lsb + 1, None, False])
        elif word == "locked":
            waiting[-1][-1] = True
        else:
            rows += [(*row[:5], word.replace("external", "rw, external"), row[6]) for row in waiting]
            waiting = []
    return rows


def test_table_is_the_map():
    assert [(register.offset, register.name, field.name, field.lsb, field.width, field.access.value, field.locked)
            for register in registers() for field in register.fields] == read_map()


@every_config
def test_offsets_are_aligned_and_rise_and_fields_do_not_overlap(config):
    table = registers(config)
    offsets = [register.offset for register in table]
    assert offsets == sorted(set(offsets)) and all(offset % 4 == 0 and offset < 4096 for offset in offsets)
    assert len({register.name for register in table}) == len(table)
    for register in table:
        ends = [0, *(field.lsb + field.width for field in register.fields)]
        assert all(end <= field.lsb for end, field in zip(ends, register.fields)) and ends[-1] <= 32
        assert all(0 <= field.reset < 1 << field.width for field in register.fields)


def values(config):
    return {f"{register.name}.{field.name}": field.reset for register in registers(config)
            for field in register.fields if field.constant}


def test_constant_registers_of_the_default_build():
    assert values(EngineConfig()) == {
        "ID.id": 0x424E4631, "VERSION.patch": 0, "VERSION.minor": 1, "VERSION.major": 0, "CORE.lanes": 16,
        "CORE.forward": 1, "CORE.backward": 1, "CORE.block": 1, "CORE.signed": 1, "CORE.two_digit": 0,
        "CORE.a_fraction": 4, "CORE.b_fraction": 6, "CORE.algorithm": 0, "SAMPLE.depth": 1024, "SAMPLE.chunk_log2": 7,
        "FORMATS.x_exponent": 8, "FORMATS.x_fraction": 7, "FORMATS.exponent": 8, "FORMATS.element": 8,
        "FORMATS.group": 16, "BUS.bytes_log2": 3, "BUS.address_width": 32, "BUS.burst_log2": 4, "BUS.outstanding": 32,
        "BEATS.operand_bytes": 32, "BEATS.stored_bytes": 17, "BEATS.record_words": 9,
        **dict.fromkeys(ARRAY_FIELDS, 0)}


def test_constant_registers_of_another_build():
    assert values(CONFIGS[1]) == {
        "ID.id": 0x424E4631, "VERSION.patch": 0, "VERSION.minor": 1, "VERSION.major": 0, "CORE.lanes": 32,
        "CORE.forward": 1, "CORE.backward": 0, "CORE.block": 0, "CORE.signed": 1, "CORE.two_digit": 1,
        "CORE.a_fraction": 8, "CORE.b_fraction": 15, "CORE.algorithm": 0, "SAMPLE.depth": 96, "SAMPLE.chunk_log2": 5,
        "FORMATS.x_exponent": 5, "FORMATS.x_fraction": 10, "FORMATS.exponent": 4, "FORMATS.element": 8,
        "FORMATS.group": 0, "BUS.bytes_log2": 6, "BUS.address_width": 64, "BUS.burst_log2": 6, "BUS.outstanding": 128,
        "BEATS.operand_bytes": 64, "BEATS.stored_bytes": 32, "BEATS.record_words": 7,
        **dict.fromkeys(ARRAY_FIELDS, 0)}


def test_constant_registers_of_an_array():
    array = ArrayConfig.of(Config(), depth=4096, accumulate_fraction=23, operand_fraction=15, transposes=True)
    found = values(EngineConfig(array=array))
    assert [found[name] for name in ARRAY_FIELDS] == [16, 12, 15, 23, 1]


def test_unsigned_blocks_and_one_direction_show_in_the_registers():
    core = Config(storage=BlockFormat(16, 8, signed=False), directions=Directions.BACKWARD)
    found = values(EngineConfig(core=core))
    assert [found[f"CORE.{name}"] for name in ("signed", "block", "forward", "backward")] == [0, 1, 0, 1]


def test_the_largest_builds_fit_their_fields():
    core = Config(lanes=32, sample_depth=16384, chunk_len=32, storage=BlockFormat(1, 12), a_fraction=15, b_fraction=15)
    found = values(EngineConfig(core=core, bus=BusConfig(data_width=32, max_burst=256, outstanding=128,
                                                         read_buffer=256, write_buffer=512)))
    assert (found["BEATS.stored_bytes"], found["BEATS.record_words"], found["BUS.burst_log2"]) == (80, 261, 8)


# Files.

def software(access):
    """What a SystemRDL compiler is to find: software access, onwrite, singlepulse."""
    return {Access.READ_ONLY: (AccessType.r, None, False), Access.READ_WRITE: (AccessType.rw, None, False),
            Access.EXTERNAL: (AccessType.rw, None, False), Access.PULSE: (AccessType.w, None, True),
            Access.CLEAR_BY_ONE: (AccessType.rw, OnWriteType.woclr, False)}[access]


@every_config
def test_systemrdl_says_what_the_table_says(config, tmp_path):
    path, = export.write(config, tmp_path, ["rdl"])
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    top = compiler.elaborate(f"{config.name}_registers").top
    found = [(register.absolute_address, register.inst_name, register.external, field.inst_name, field.lsb,
              field.width, (field.get_property("sw"), field.get_property("onwrite"), field.get_property("singlepulse")),
              field.get_property("reset"), field.get_property("locked_while_busy", default=False))
             for register in top.registers() for field in register.fields()]
    assert found == [(register.offset, register.name, field.access is Access.EXTERNAL, field.name, field.lsb,
                      field.width, software(field.access), field.reset, field.locked)
                     for register in registers(config) for field in register.fields]
    codes = {field.inst_name: {member.name: member.value for member in field.get_property("encode")}
             for field in top.find_by_path("CAUSE").fields()}
    assert codes == {"code": {cause.name: int(cause) for cause in Cause},
                     "channel": {channel.name: int(channel) for channel in Channel} | {"NO_CHANNEL": 15}}


def test_c_header_compiles_and_its_macros_are_those_of_the_table(tmp_path):
    header = export.c_header()
    names = re.findall(r"^#define (BNFORGE_\w+) +\S", header, re.M)
    prints = "\n".join(f'    printf("{name} %lu\\n", (unsigned long){name});' for name in names)
    (tmp_path / "bnforge_registers.h").write_text(header)
    (tmp_path / "main.c").write_text('#include "bnforge_registers.h"\n#include "bnforge_registers.h"\n'
                                     f"#include <stdio.h>\nint main(void)\n{{\n{prints}\n    return 0;\n}}\n")
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "main", "main.c"],
                   cwd=tmp_path, check=True)
    output = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    expected = {"ID": 0x424E4631, "DESCRIPTOR_WORDS": 10, "JOB_WORDS": 14, "CHANNEL_NONE": 15}
    expected |= {f"CAUSE_{cause.name}": int(cause) for cause in Cause}
    expected |= {f"CHANNEL_{channel.name}": int(channel) for channel in Channel}
    for offset, name, field, lsb, width, _access, _locked in read_map():
        expected[f"REG_{name}"] = offset
        if width < 32:
            field = f"{name}_{field.upper()}"
            expected |= {f"{field}_SHIFT": lsb, f"{field}_MASK": ((1 << width) - 1) << lsb}
    assert {name.removeprefix("BNFORGE_"): int(value)
            for name, value in map(str.split, output.splitlines())} == expected


def test_ipxact_has_every_register_and_field(tmp_path):
    config = CONFIGS[1]
    path, = export.write(config, tmp_path, ["ipxact"])
    space = "{http://www.accellera.org/XMLSchema/IPXACT/1685-2014}"
    root = ElementTree.parse(path).getroot()
    assert root.find(f"{space}name").text == "other_registers"

    def number(element, name):
        return int(element.find(f"{space}{name}").text.replace("'h", "0x"), 0)

    found = [(number(register, "addressOffset"), register.find(f"{space}name").text, field.find(f"{space}name").text,
              number(field, "bitOffset"), number(field, "bitWidth"))
             for register in root.iter(f"{space}register") for field in register.iter(f"{space}field")]
    assert found == [row[:5] for row in read_map()]


def test_html_has_a_page_for_every_register_and_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("peakrdl_html.exporter.time", SimpleNamespace(time=lambda: next(clock)))
    folders = [export.write(CONFIGS[0], tmp_path / name, ["html"])[0] for name in "ab"]
    trees = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
             for folder in folders]
    assert trees[0] == trees[1]
    text = "".join(path.read_text() for path in folders[0].rglob("content/*.html"))
    assert [register.name for register in registers() if f">{register.name}<" not in text] == []


def test_other_files_have_the_same_bytes_twice(tmp_path):
    formats = ["rdl", "c", "md", "ipxact"]
    files = [export.write(CONFIGS[1], tmp_path / name, formats) for name in "ab"]
    assert [path.name for path in files[0]] == [
        "other_registers.rdl", "bnforge_registers.h", "other_registers.md", "other_registers.xml"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_markdown_of_a_build_has_its_values():
    text = export.markdown(CONFIGS[1])
    assert "| | 31:24 | outstanding | ro | 0x80 | bursts that may wait for their answer, in each direction |" in text
    assert "| ro | build |" in export.markdown() and "| ro | build |" not in text


def test_committed_files_are_those_of_the_table():
    assert (ROOT / "docs/registers.md").read_text() == export.markdown(), "run python -m bnforge.registers"
    header = (ROOT / "hdl/bnforge/driver" / export.HEADER).read_text()
    assert header == export.c_header(), "run python -m bnforge.registers"


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"^format must be one of rdl, c, md, html, ipxact, not 'pdf'$"):
        export.write(CONFIGS[0], tmp_path / "new", ["rdl", "pdf"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name, purpose, module", [
    ("html", "HTML", "peakrdl_html"), ("html", "HTML", "systemrdl"),
    ("ipxact", "IP-XACT", "peakrdl_ipxact"), ("ipxact", "IP-XACT", "systemrdl")])
def test_what_is_not_installed_is_named(name, purpose, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    package = {"systemrdl": "systemrdl-compiler"}.get(module, module.replace("_", "-"))
    with pytest.raises(ToolError, match=rf"^{purpose} needs {package}, which is not installed: "
                                        r"pip install 'bnforge\[registers\]'$"):
        export.write(CONFIGS[0], tmp_path / "new", ["rdl", name])
    assert not (tmp_path / "new").exists()
