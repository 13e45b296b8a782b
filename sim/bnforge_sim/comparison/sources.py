"""What a result depends on: the files of this repository that a module imports, and the text of a generated design."""

import ast
import functools
import hashlib
import json
from pathlib import Path

import bnforge
import bnforge_model
import bnforge_sim

__all__ = ["PACKAGES", "sources", "digest", "source_digest"]

PACKAGES = {package.__name__: Path(package.__file__).parent for package in (bnforge, bnforge_model, bnforge_sim)}
"""The packages of this repository, and where they lie."""
_DATA = {"bnforge_sim": (".cpp", ".h"), "bnforge_model": (), "bnforge": ()}
"""Other files that a module of a package may read, by suffix."""


def _path(module):
    """The file of a module of this repository, None of any other."""
    package, *rest = module.split(".")
    if package not in PACKAGES:
        return None
    base = PACKAGES[package].joinpath(*rest)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _imports(module, tree):
    """Names of what a module imports anywhere, attributes included: some are no modules."""
    package = module if _path(module).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            yield base
            yield from (f"{base}.{name.name}" for name in node.names)


def _describes_circuits(module, tree):
    """Whether a module of the generator imports Amaranth: the text of the design stands for it."""
    return module.split(".")[0] == "bnforge" and any(name.split(".")[0] == "amaranth"
                                                     for name in _imports(module, tree))


@functools.cache
def sources(module, circuits=False):
    """Files that decide what a module computes: its own, and those of all it imports in this repository.

    Parameters
    ----------
    module : str
    circuits : bool
        Also follow the modules of the generator that describe circuits. Without them a design is what it generates.

    Returns
    -------
    tuple of pathlib.Path
    """
    found, waiting = {}, [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or path in found:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not circuits and _describes_circuits(name, tree):
            continue
        found[path] = name
        waiting += _imports(name, tree)
    suffixes = {suffix for name in found.values() for suffix in _DATA[name.split(".")[0]]}
    data = [path for package in PACKAGES.values() for path in package.iterdir() if path.suffix in suffixes]
    return tuple(sorted({*found, *data}))


def digest(*parts):
    """SHA-256 of texts, bytes and plain data, in hexadecimal."""
    key = hashlib.sha256()
    for part in parts:
        if not isinstance(part, (str, bytes)):
            part = json.dumps(part, sort_keys=True)
        key.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return key.hexdigest()


@functools.cache
def source_digest(*modules, circuits=False):
    """SHA-256 of the sources of modules, names relative to their packages included."""
    roots = [root.parent for root in PACKAGES.values()]
    paths = sorted({path for module in modules for path in sources(module, circuits)})
    names = [next(path.relative_to(root).as_posix() for root in roots if path.is_relative_to(root)) for path in paths]
    return digest(*(item for name, path in zip(names, paths) for item in (name, path.read_bytes())))
