"""Everything that is refused, with its message: ``python -m tests.refusals`` prints the table.

``PARAMETERS`` are pairs of an expression and its message; the tests evaluate the first and compare the second. ``USES``
are pairs of a command line and its message; ``{files}`` stands for the directory that :func:`make_files` fills.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from bnforge import cli
from bnforge.array_config import ArrayConfig
from bnforge.config import Algorithm, Config, Directions, Extraction, Multiplier
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.formats import E4M3, FP32, BlockFormat, FloatFormat

NAMES = {"Config": Config, "BusConfig": BusConfig, "EngineConfig": EngineConfig, "ArrayConfig": ArrayConfig,
         "Multiplier": Multiplier, "Extraction": Extraction, "Algorithm": Algorithm, "Directions": Directions,
         "FloatFormat": FloatFormat, "BlockFormat": BlockFormat, "E4M3": E4M3, "FP32": FP32}
"""What the expressions of ``PARAMETERS`` may use."""

PARAMETERS = [
    ("FloatFormat(1, 4)", "exponent_width must be an integer from 2 to 8, not 1"),
    ("FloatFormat(9, 4)", "exponent_width must be an integer from 2 to 8, not 9"),
    ("FloatFormat(5, 0)", "fraction_width must be an integer from 1 to 23, not 0"),
    ("FloatFormat(5, 24)", "fraction_width must be an integer from 1 to 23, not 24"),
    ("FloatFormat(5, 4.0)", "fraction_width must be an integer from 1 to 23, not 4.0"),
    ("FloatFormat(True, 4)", "exponent_width must be an integer from 2 to 8, not True"),
    ("BlockFormat(0, 8)", "group must be an integer from 1 to 32, not 0"),
    ("BlockFormat(33, 8)", "group must be an integer from 1 to 32, not 33"),
    ("BlockFormat(16, 3)", "element_width must be an integer from 4 to 12, not 3"),
    ("BlockFormat(16, 13)", "element_width must be an integer from 4 to 12, not 13"),
    ("BlockFormat(16, 8, 3)", "exponent_width must be an integer from 4 to 8, not 3"),
    ("BlockFormat(16, 8, 9)", "exponent_width must be an integer from 4 to 8, not 9"),
    ("BlockFormat(16, 8, 8, 1)", "signed must be true or false, not 1"),
    ("BlockFormat(16, 8, second_largest=1)", "second_largest must be true or false, not 1"),
    ("BlockFormat(1, 8, second_largest=True)", "group must be at least 2 with second_largest, not 1"),
    ("Config(name='2fast')", "name must be a Verilog identifier, not '2fast'"),
    ("Config(name='a-b')", "name must be a Verilog identifier, not 'a-b'"),
    ("Config(name='module')", "name must be a Verilog identifier, not 'module'"),
    ("Config(algorithm='range')", "algorithm must be an Algorithm, not 'range'"),
    ("Config(storage=BlockFormat(16, 8, second_largest=True))",
     "second_largest must be false with the one-pass algorithm, not true: "
     "clipping can take a value out of the mask that storage has to keep"),
    ("Config(algorithm=Algorithm.RANGE, directions=Directions.FORWARD)",
     "directions must be 'both' with algorithm 'range', not 'forward'"),
    ("Config(algorithm=Algorithm.TWO_PASS, multiplier=Multiplier.TWO_DIGIT)",
     "multiplier must be 'full' with algorithm 'two-pass', not 'two-digit'"),
    ("Config(algorithm=Algorithm.SINGLE_PASS, storage=BlockFormat(16, 8, signed=False))",
     "storage must be signed blocks or a float format with algorithm 'single-pass', not 16 x u8 bits"),
    ("EngineConfig(core=Config(algorithm=Algorithm.RANGE), array=ArrayConfig())",
     f"array must be left out with algorithm 'range', not {ArrayConfig()!r}"),
    ("Config(clock_mhz=True)", "clock_mhz must be a number from 0.001 to 100000, not True"),
    ("Config(name=7)", "name must be a Verilog identifier, not 7"),
    ("Config(lanes=0)", "lanes must be an integer from 1 to 32, not 0"),
    ("Config(lanes=33)", "lanes must be an integer from 1 to 32, not 33"),
    ("Config(lanes='16')", "lanes must be an integer from 1 to 32, not '16'"),
    ("Config(x_format=FP32)", "x_format must be a float format of at most 15 fraction bits, not 1-8-23"),
    ("Config(x_format='bf16')", "x_format must be a float format of at most 15 fraction bits, not bf16"),
    ("Config(chunk_len=2)", "chunk_len must be an integer from 4 to 4096, not 2"),
    ("Config(chunk_len=8192)", "chunk_len must be an integer from 4 to 4096, not 8192"),
    ("Config(chunk_len=96)", "chunk_len must be a power of two, not 96"),
    ("Config(chunk_len=8)", "chunk_len must be at least lanes = 16, not 8"),
    ("Config(sample_depth=2)", "sample_depth must be an integer from 4 to 16384, not 2"),
    *((f"Config(sample_depth=0{others})", "sample_depth must be at least 4 unless directions are 'forward', with "
       "algorithm 'one-pass' and extraction 'constants', not 0") for others in (
           "", ", directions=Directions.BACKWARD", ", algorithm=Algorithm.RANGE",
           ", directions=Directions.FORWARD, extraction=Extraction.SHARED_DIVIDER")),
    ("Config(sample_depth=False)", "sample_depth must be an integer from 4 to 16384, not False"),
    ("EngineConfig(core=Config(sample_depth=0, directions=Directions.FORWARD))",
     "sample_depth must be at least 4 in an engine, not 0"),
    ("Config(sample_depth=32768)", "sample_depth must be an integer from 4 to 16384, not 32768"),
    ("Config(sample_depth=1000)", "sample_depth must be a multiple of chunk_len = 128, not 1000"),
    ("Config(multiplier='full')", "multiplier must be a Multiplier, not 'full'"),
    ("Config(multiplier=Multiplier.TWO_DIGIT, a_fraction=1)",
     "a_fraction (two-digit multiplier) must be an integer from 2 to 8, not 1"),
    ("Config(multiplier=Multiplier.TWO_DIGIT, a_fraction=9)",
     "a_fraction (two-digit multiplier) must be an integer from 2 to 8, not 9"),
    ("Config(a_fraction=0)", "a_fraction must be an integer from 1 to 15, not 0"),
    ("Config(a_fraction=16)", "a_fraction must be an integer from 1 to 15, not 16"),
    ("Config(b_fraction=0)", "b_fraction must be an integer from 1 to 15, not 0"),
    ("Config(b_fraction=16)", "b_fraction must be an integer from 1 to 15, not 16"),
    ("Config(lanes=12)", "storage group must divide lanes = 12, not 16"),
    ("Config(storage=FP32)",
     "storage must be a float format of at most 15 fraction bits or a block format, not 1-8-23"),
    ("Config(storage=8)", "storage must be a float format of at most 15 fraction bits or a block format, not 8"),
    ("Config(storage=FloatFormat(2, 4))", "storage must be a format that holds 6.0, not 1-2-4"),
    ("Config(directions='both')", "directions must be a Directions, not 'both'"),
    ("Config.from_dict({'directions': 'up'})", "directions must be 'forward' or 'backward' or 'both', not 'up'"),
    ("Config(extraction='constants')", "extraction must be an Extraction, not 'constants'"),
    ("Config.from_dict({'extraction': 'off'})",
     "extraction must be 'constants' or 'shared-divider' or 'lane-divider', not 'off'"),
    ("Config(extraction=Extraction.LANE_DIVIDER, multiplier=Multiplier.TWO_DIGIT)",
     "multiplier must be 'full' with extraction 'lane-divider', not 'two-digit'"),
    ("Config(clock_mhz=0)", "clock_mhz must be a number from 0.001 to 100000, not 0"),
    ("Config(clock_mhz=float('inf'))", "clock_mhz must be a number from 0.001 to 100000, not inf"),
    ("Config(clock_mhz=float('nan'))", "clock_mhz must be a number from 0.001 to 100000, not nan"),
    ("Config(clock_mhz='fast')", "clock_mhz must be a number from 0.001 to 100000, not 'fast'"),
    ("BusConfig(data_width=16)", "data_width must be an integer from 32 to 512, not 16"),
    ("BusConfig(data_width=96)", "data_width must be a power of two, not 96"),
    ("BusConfig(data_width='64')", "data_width must be an integer from 32 to 512, not '64'"),
    ("BusConfig(address_width=31)", "address_width must be an integer from 32 to 64, not 31"),
    ("BusConfig(max_burst=3)", "max_burst must be a power of two, not 3"),
    ("BusConfig(max_burst=512)", "max_burst must be an integer from 1 to 256, not 512"),
    ("BusConfig(data_width=512, max_burst=128)", "max_burst must be an integer from 1 to 64, not 128"),
    ("BusConfig(outstanding=1)", "outstanding must be an integer from 2 to 128, not 1"),
    ("BusConfig(read_buffer=8)", "read_buffer must be an integer from 16 to 4096, not 8"),
    ("BusConfig(write_buffer=16)", "write_buffer must be an integer from 32 to 4096, not 16"),
    ("BusConfig(write_buffer=48)", "write_buffer must be a power of two, not 48"),
    ("EngineConfig(name='2fast')", "name must be a Verilog identifier, not '2fast'"),
    ("EngineConfig(bus=64)", "bus must be a BusConfig, not 64"),
    ("EngineConfig(core='opn16')", "core must be a Config, not 'opn16'"),
    ("EngineConfig.from_dict({'bus': 64})", "bus must be a table, not 64"),
    ("EngineConfig.from_dict({'bus': {'width': 64}})",
     "parameter of bus must be one of data_width, address_width, max_burst, outstanding, read_buffer, write_buffer, "
     "not 'width'"),
    ("EngineConfig(array=16)", "array must be an ArrayConfig or left out, not 16"),
    ("EngineConfig(array=ArrayConfig(columns=32))", "columns of the array must be 16, as the core has it, not 32"),
    ("EngineConfig(array=ArrayConfig(rows=32))", "rows of the array must be 16, as the core has it, not 32"),
    ("EngineConfig(array=ArrayConfig(output=E4M3))",
     "output of the array must be 1-8-7, as the core has it, not 1-4-3"),
    ("EngineConfig(array=ArrayConfig(storage=E4M3))",
     "storage of the array must be 16 x 8 bits, as the core has it, not 1-4-3"),
    ("EngineConfig.from_dict({'array': 4})", "array must be a table, not 4"),
    ("EngineConfig.from_dict({'array': {'rows': 4}})",
     "parameter of array must be one of operand_fraction, accumulate_fraction, depth, transposes, not 'rows'"),
    ("ArrayConfig.from_dict({'array': {'row': 4}})",
     "parameter of array must be one of rows, operand_fraction, accumulate_fraction, depth, transposes, not 'row'"),
    ("ArrayConfig(name='2fast')", "name must be a Verilog identifier, not '2fast'"),
    ("ArrayConfig(rows=0)", "rows must be an integer from 1 to 32, not 0"),
    ("ArrayConfig(columns=33)", "columns must be an integer from 1 to 32, not 33"),
    ("ArrayConfig(rows=24)", "rows must be a multiple of the storage group = 16, not 24"),
    ("ArrayConfig(columns=8)", "columns must be a multiple of the storage group = 16, not 8"),
    ("ArrayConfig(storage=BlockFormat(16, 8, signed=False))",
     "storage must be signed blocks for an array, not 16 x u8 bits"),
    ("ArrayConfig(storage=FP32)",
     "storage must be a float format of at most 15 fraction bits or a block format, not 1-8-23"),
    ("ArrayConfig(output=FP32)", "output must be a float format of at most 15 fraction bits, not 1-8-23"),
    ("ArrayConfig(operand_fraction=16)", "operand_fraction must be an integer from 1 to 15, not 16"),
    ("ArrayConfig(accumulate_fraction=24)", "accumulate_fraction must be an integer from 1 to 23, not 24"),
    ("ArrayConfig(depth=100)", "depth must be a power of two, not 100"),
    ("ArrayConfig(depth=8192)", "depth must be an integer from 4 to 4096, not 8192"),
    ("ArrayConfig(depth=8)", "depth must be at least rows = 16 for an array that transposes, not 8"),
    ("ArrayConfig(transposes=1)", "transposes must be true or false, not 1"),
    ("ArrayConfig(clock_mhz=0)", "clock_mhz must be a number from 0.001 to 100000, not 0"),
    ("Config.from_dict({'lane': 4})",
     "parameter must be one of name, lanes, x_format, sample_depth, chunk_len, a_fraction, b_fraction, multiplier, "
     "storage, directions, extraction, algorithm, clock_mhz, not 'lane'"),
    ("Config.from_dict({'x_format': 'fp12'})",
     "x_format must be one of bf16, fp16, fp10, fp10_1_6_3, e4m3, e5m2, working or a table, not 'fp12'"),
    ("Config.from_dict({'x_format': 16})", "x_format must be a format name or a table, not 16"),
    ("Config.from_dict({'x_format': {'width': 4}})",
     "x_format must have only exponent_width, fraction_width, not 'width'"),
    ("Config.from_dict({'x_format': {'exponent_width': 5}})",
     "x_format must have fraction_width, not only exponent_width"),
    ("Config.from_dict({'x_format': {}})", "x_format must have exponent_width, not only an empty table"),
    ("Config.from_dict({'x_format': {'group': 16, 'element_width': 8}})",
     "x_format must be a float format of at most 15 fraction bits, not 16 x 8 bits"),
    ("Config.from_dict({'storage': {'element_width': 8}})", "storage must have group, not only element_width"),
    ("Config.from_dict({'storage': {'group': 16, 'element_width': 8, 'bias': 3}})",
     "storage must have only group, element_width, exponent_width, signed, second_largest, not 'bias'"),
    ("Config.from_dict({'multiplier': 'booth'})", "multiplier must be 'full' or 'two-digit', not 'booth'"),
]

PRESET_NAMES = ("opn16, opn4, opn32_mx, opn1_tiny, opn16_fp10, opn16_shared, opn16_divider, range16, lightnorm16, "
                "lightnorm16_second, single16, two16, two16_bf16, opn2_frozen")

USES = [
    ("", "bnforge: the following arguments are required: VERB"),
    ("synthesise", "bnforge: argument VERB: invalid choice: 'synthesise' (choose from "),
    ("list opn4", "bnforge: unrecognized arguments: opn4"),
    ("generate opn4", "bnforge generate: the following arguments are required: -o/--output"),
    ("generate -o {files}/out", "bnforge generate: configuration must be either PRESET or --config FILE, not neither"),
    ("generate opn4 --config {files}/core.toml -o {files}/out",
     "bnforge generate: configuration must be either PRESET or --config FILE, not both"),
    ("generate opn5 -o {files}/out", f"bnforge generate: preset must be one of {PRESET_NAMES}, not 'opn5'"),
    ("generate --config {files}/none.toml -o {files}/out",
     "bnforge generate: {files}/none.toml: No such file or directory"),
    ("generate --config {files} -o {files}/out", "bnforge generate: {files}: Is a directory"),
    ("generate --config {files}/broken.toml -o {files}/out", "bnforge generate: configuration file must be TOML: "),
    ("generate --config {files}/binary -o {files}/out", "bnforge generate: configuration file must be TOML: "),
    ("generate --config {files}/refused.toml -o {files}/out",
     "bnforge generate: lanes must be an integer from 1 to 32, not 64"),
    ("generate --config {files}/unknown.toml -o {files}/out", "bnforge generate: parameter must be one of name, "),
    ("generate opn1_tiny -o {files}/core.toml", "bnforge generate: {files}/core.toml: File exists"),
    ("generate opn1_tiny -o {files}/core.toml/out", "bnforge generate: {files}/core.toml/out: Not a directory"),
    ("simulate", "bnforge simulate: configuration must be either PRESET or --config FILE, not neither"),
    ("simulate opn5", f"bnforge simulate: preset must be one of {PRESET_NAMES}, not 'opn5'"),
    ("simulate opn4 --seed -1",
     "bnforge simulate: argument --seed: seed must be an integer from 0 to 4294967295, not -1"),
    ("simulate opn4 --seed x",
     "bnforge simulate: argument --seed: seed must be an integer from 0 to 4294967295, not 'x'"),
    ("simulate opn4 --elements 0",
     "bnforge simulate: argument --elements: elements must be an integer from 1 to 1000000000, not 0"),
    ("simulate opn4 -o {files}/core.toml", "bnforge simulate: {files}/core.toml: File exists"),
    ("generate opn4 --data-width 64 -o {files}/out",
     "bnforge generate: data_width must be that of an engine (--engine), not 64 of a core"),
    ("generate opn4 --engine --data-width 48 -o {files}/out",
     "bnforge generate: data_width must be a power of two, not 48"),
    ("generate opn4 --engine --data-width 1024 -o {files}/out",
     "bnforge generate: argument --data-width: data_width must be an integer from 32 to 512, not 1024"),
    ("registers opn4", "bnforge registers: the following arguments are required: -o/--output"),
    ("registers opn4 -o {files}/out --format rdl,pdf",
     "bnforge registers: format must be one of rdl, c, md, html, ipxact, not 'pdf'"),
    ("registers opn4 -o {files}/core.toml", "bnforge registers: {files}/core.toml: File exists"),
    ("demo opn4 --engine", "bnforge: unrecognized arguments: --engine"),
    ("demo --config {files}/engine.toml",
     "bnforge demo: demo must be of a core, not of an engine or an array (a table 'bus' or 'array')"),
    ("generate opn4 --array --directions forward -o {files}/out",
     "bnforge generate: directions must be those of a core or an engine, not 'forward' of an array"),
    ("demo range16", "bnforge demo: demo must be of a one-pass core, not of algorithm 'range'"),
    ("demo opn4 --array", "bnforge: unrecognized arguments: --array"),
    ("generate opn4 --array --data-width 64 -o {files}/out",
     "bnforge generate: data_width must be that of an engine (--engine), not 64 of a core"),
    ("area", "bnforge area: configuration must be either PRESET or --config FILE, not neither"),
    ("area opn1_tiny --liberty {files}/none.lib", "bnforge area: {files}/none.lib: No such file or directory"),
    ("area opn1_tiny --liberty {files}/binary", "bnforge area: library must be a Liberty text file, not binary data"),
    ("area opn1_tiny --liberty {files}/core.toml",
     "bnforge area: library must be a Liberty file with one library group, not something else"),
    ("area opn1_tiny --liberty {files}/open.lib",
     "bnforge area: library must be a Liberty file, not text that ends inside a group"),
    ("area opn1_tiny --liberty {files}/closed.lib",
     "bnforge area: library must be a Liberty file, not text with an unmatched brace"),
    ("area opn1_tiny --liberty {files}/area.lib",
     "bnforge area: area of cell INV must be a number, not 'small'"),
    ("area opn1_tiny --liberty {files}/function.lib",
     "bnforge area: function must be a Boolean expression, not 'A&'"),
    ("area opn1_tiny --liberty {files}/nor.lib",
     "bnforge area: library must have a two-input NAND, which 'nor' has not"),
    ("area opn1_tiny --liberty {files}/nand.lib", "bnforge area: library must have a flip-flop, which 'nand' has not"),
    ("area opn1_tiny --against {files}/none.json", "bnforge area: {files}/none.json: No such file or directory"),
    ("area opn1_tiny --against {files}/core.toml", "bnforge area: area report must be JSON: "),
    ("area opn1_tiny --against {files}/other.json",
     "bnforge area: area report must be a file written by bnforge area --json, not other data"),
    ("area opn1_tiny --against {files}/list.json",
     "bnforge area: area report must be a file written by bnforge area --json, not other data"),
    ("compare --only opn16,opn5", "bnforge compare: variant must be one of opn16, opn16_fp10, "),
    ("compare --jobs 0", "bnforge compare: argument --jobs: jobs must be an integer from 1 to 64, not 0"),
    ("compare -o {files}/core.toml", "bnforge compare: {files}/core.toml: File exists"),
    ("compare -o {files}/out --liberty {files}/none.lib",
     "bnforge compare: {files}/none.lib: No such file or directory"),
    ("compare -o {files}/out --liberty {files}/nor.lib",
     "bnforge compare: library must have a two-input NAND, which 'nor' has not"),
    ("compare opn16", "bnforge: unrecognized arguments: opn16"),
    ("demo opn5", f"bnforge demo: preset must be one of {PRESET_NAMES}, not 'opn5'"),
    ("demo -o {files}/core.toml", "bnforge demo: {files}/core.toml"),
]
"""A message that ends in a space, or names a file without a reason, is the beginning of one."""

_GATE = ("library({name}) {{ cell (GATE) {{ area : 1; pin (A) {{ direction : input; }} "
         "pin (B) {{ direction : input; }} pin (Y) {{ direction : output; function : \"{function}\"; }} }} }}")

FILES = {
    "engine.toml": "[bus]\ndata_width = 64\n",
    "core.toml": 'name = "core"\nlanes = 1\n',
    "broken.toml": "lanes = = 4\n",
    "refused.toml": "lanes = 64\n",
    "unknown.toml": "lane = 4\n",
    "open.lib": "library(open) { cell (INV) {",
    "closed.lib": "library(closed) { } }",
    "area.lib": "library(area) { cell (INV) { area : small; } }",
    "function.lib": _GATE.format(name="function", function="A&"),
    "nor.lib": _GATE.format(name="nor", function="!(A|B)"),
    "nand.lib": _GATE.format(name="nand", function="(A B)'"),
    "other.json": '{"name": "opn16"}',
    "list.json": "[1, 2]",
}


def make_files(directory):
    """Write the files that ``USES`` names."""
    for name, text in FILES.items():
        (Path(directory) / name).write_text(text, encoding="utf-8")
    (Path(directory) / "binary").write_bytes(bytes(range(128, 256)))


def message_of(expression):
    """The message with which an expression of ``PARAMETERS`` is refused."""
    try:
        eval(expression, dict(NAMES))
    except ValueError as error:
        return str(error)
    return "accepted"


def run(line, directory):
    """Exit status, standard output and standard error of a command line of ``USES``."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = cli.main(line.format(files=directory).split())
        except SystemExit as stop:
            status = stop.code
    return status, output.getvalue(), errors.getvalue()


def main():
    for expression, _message in PARAMETERS:
        print(f"{expression}\n    {message_of(expression)}")
    with tempfile.TemporaryDirectory() as directory:
        make_files(directory)
        for line, _message in USES:
            status, _output, errors = run(line, directory)
            print(f"bnforge {line.format(files='FILES')}\n    {status}: {errors.strip().replace(directory, 'FILES')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
