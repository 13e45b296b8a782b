"""Versions of the tools behind a result; a tool that is not installed has none."""

import functools
import importlib.metadata
import platform
import subprocess

import bnforge

__all__ = ["versions_of"]

_PROGRAMS = {"c++": ("c++", "--version"), "opensta": ("sta", "-version")}
"""Tools that are no Python packages: what prints their version in the first line."""


@functools.cache
def _version(name):
    if name == "bnforge":
        return bnforge.__version__
    if name == "python":
        return platform.python_version()
    if name in _PROGRAMS:
        try:
            done = subprocess.run(_PROGRAMS[name], capture_output=True, text=True, check=False, timeout=60)
        except OSError:
            return None
        return next(iter(done.stdout.splitlines()), "").strip() or None
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions_of(names):
    """Name to version, None of what is not installed.

    Parameters
    ----------
    names : iterable of str
        "bnforge", "python", "c++", "opensta" or distributions on PyPI.
    """
    return {name: _version(name) for name in names}
