"""The verbs ``build`` and ``host`` of the ``bnforge`` command: docs/boards.md."""

import sys
from pathlib import Path

from .config import read_toml
from .tools import MissingTool

__all__ = ["add"]


def add(verb, number):
    """Add the verbs.

    Parameters
    ----------
    verb : function
        Makes the parser of a verb, as :mod:`.cli` does.
    number : function of (name, low, high)
        The type of an argument that is an integer within limits.
    """
    build = verb("build", _build, "build a bitstream for a board: the engine, or on the smallest a core, with "
                 "memory and a serial line, by amaranth's flow (extra 'boards'); for Arty A7 the project of Vivado; "
                 "'bnforge build --list' names the boards",
                 takes_config=False)
    build.add_argument("board", nargs="?", metavar="BOARD", help="what --list prints")
    build.add_argument("--list", action="store_true", help="print the boards")
    _of_board(build, number)
    build.add_argument("-o", "--output", type=Path, metavar="DIR",
                       help="made if it does not exist (default build/BOARD)")

    host = verb("host", _host, "talk to a board: identify it, test it, or run tensors of .npy files through it and "
                "compare with the model (extra 'host')", takes_config=False)
    host.add_argument("action", metavar="ACTION", choices=("identify", "self-test", "run"),
                      help="identify, self-test, or run X.npy")
    host.add_argument("x", nargs="?", type=Path, metavar="X.npy", help="for run: numbers of shape (N, H, W, C)")
    host.add_argument("--port", required=True, metavar="PORT", help="serial port, such as /dev/ttyUSB0; 'sim' runs the "
                      "design of the board under Verilator behind a pseudo-terminal")
    host.add_argument("--dy", type=Path, metavar="DY.npy", help="for run: the gradient; runs the backward pass, too")
    host.add_argument("--gamma", type=Path, metavar="G.npy", help="of shape (C,); default ones")
    host.add_argument("--beta", type=Path, metavar="B.npy", help="of shape (C,); default zeros")
    host.add_argument("--board", default="ulx3s-12f", metavar="BOARD",
                      help="which design 'sim' runs (default ulx3s-12f)")
    _of_board(host, number)
    host.add_argument("-o", "--output", type=Path, metavar="DIR", help="for run: where y.npy, dx.npy, dgamma.npy and "
                      "dbeta.npy go")


def _of_board(parser, number):
    parser.add_argument("--preset", metavar="PRESET", help="instead of the board's default")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file instead of a preset")
    parser.add_argument("--baud", type=number("baud", 300, 12_000_000), metavar="N",
                        help="of the serial line (default: the board's)")


def _board_config(chosen, *, simulated=False):
    """The board that was asked for, and its :class:`.BoardConfig`."""
    from . import cli
    from .board.boards import BUS, board
    found = board(chosen.board)
    chosen.directions, chosen.engine = None, found.has_engine
    if not chosen.config and not chosen.preset:
        chosen.preset = found.preset
    engine = cli.configuration_of(chosen)
    if found.has_engine and not (chosen.config and "bus" in read_toml(chosen.config)):
        engine = engine.replace(bus=BUS)
    return found, found.config(engine, baud=found.simulated_baud if simulated and chosen.baud is None else chosen.baud)


def _build(chosen):
    from .board.boards import BOARDS
    if chosen.list:
        for name, found in BOARDS.items():
            print(f"{name:<14}{found.text}, {found.memory_bytes >> 10} KiB, {found.clock_hz / 1e6:g} MHz, "
                  f"{found.preset}")
        return 0
    if chosen.board is None:
        raise ValueError("board must be given; 'bnforge build --list' prints the boards")
    found, config = _board_config(chosen)
    try:
        from .board.build import build, summary
        directory = chosen.output or Path("build") / found.name
        result = build(found, config, directory)
    except ImportError as error:
        if error.name != "amaranth_boards":
            raise
        raise MissingTool("the boards are in the Python package 'amaranth-boards': "
                          "pip install 'bnforge[boards]'") from None
    if result is None:
        print(f"project for Vivado in {directory}; run it with: sh build_{config.name}.sh")
        return 0
    print(summary(result))
    print(directory / "build.json")
    if result.is_met:
        return 0
    print(f"clock must reach {result.wanted_mhz:g} MHz, not {result.clock_mhz:g}", file=sys.stderr)
    return 1


def _host(chosen):
    from bnforge_host import command
    simulated = chosen.port == command.SIMULATED
    for name in ("dy", "gamma", "beta", "output"):
        if chosen.action != "run" and getattr(chosen, name) is not None:
            raise ValueError(f"{name} must be left out of {chosen.action}, not {str(getattr(chosen, name))!r}")
    if (chosen.action == "run") != (chosen.x is not None):
        raise ValueError(f"X.npy must be {'given' if chosen.action == 'run' else 'left out'} with {chosen.action}")
    if simulated:
        from .cli import require_simulation
        require_simulation()
    _found, config = _board_config(chosen, simulated=simulated)
    arrays = [command.load(path) for path in (chosen.x, chosen.dy, chosen.gamma, chosen.beta)]
    with command.connected(chosen.port, config, cache=Path("build") / "verilator") as device:
        if chosen.action == "identify":
            command.identify(device)
            return 0
        if chosen.action == "self-test":
            return 1 if command.self_test(device) else 0
        return 1 if command.run_tensor(device, *arrays, chosen.output) else 0
