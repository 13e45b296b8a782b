"""The external tools: Yosys in a process of its own, and the versions that generated files carry.

Yosys ends its process on an error, hence never runs inside the caller's. It sees a temporary directory with the files
it is given by name, so that no path of this machine reaches a generated file or a message.
"""

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

from . import __version__

__all__ = ["ToolError", "MissingTool", "yosys", "versions"]

_WORKER = "from pyosys import libyosys as ys; ys.Design().run_pass('script run.ys')"


class ToolError(RuntimeError):
    """A tool is missing or has failed; the message is one line."""


class MissingTool(ToolError):
    """A tool is not installed; the message says which, and how to get it."""


def yosys(script, files=None, outputs=()):
    """Run a Yosys script.

    Parameters
    ----------
    script : str
        Yosys commands, one per line; a line may also hold several, separated by semicolons.
    files : dict of str to str, optional
        Names and contents of the files that the script may read.
    outputs : sequence of str
        Names of the files that the script writes.

    Returns
    -------
    list of str
        The contents of ``outputs``, in their order.

    Raises
    ------
    ToolError
        Yosys stops with an error or dies, or pyosys is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="bnforge-") as directory:
        work = Path(directory)
        for name, text in (files or {}).items():
            (work / name).write_text(text, encoding="utf-8")
        (work / "run.ys").write_text(script, encoding="utf-8")
        result = subprocess.run([sys.executable, "-c", _WORKER], cwd=work, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = (result.stderr + result.stdout).splitlines()
            errors = [line for line in lines if line.startswith("ERROR:") or "ModuleNotFoundError" in line]
            reason = errors[-1] if errors else f"exit code {result.returncode}"
            raise ToolError(f"Yosys failed: {reason.removeprefix('ERROR: ')}")
        return [(work / name).read_text(encoding="utf-8") for name in outputs]


def versions():
    """Versions of this package and of the tools that write its output, name to version."""
    return {"bnforge": __version__} | {name: importlib.metadata.version(name) for name in ("amaranth", "pyosys")}
