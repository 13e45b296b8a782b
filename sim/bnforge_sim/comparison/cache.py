"""Results that are kept: one JSON file each, named by a hash of all that they depend on."""

import json
import os
from pathlib import Path

__all__ = ["DEFAULT_CACHE", "Cache"]

DEFAULT_CACHE = Path("build") / "compare"
"""Where results are kept, relative to the current directory."""


class Cache:
    """A directory of JSON files.

    Parameters
    ----------
    directory : path
        Made when something is stored.
    """

    def __init__(self, directory=DEFAULT_CACHE):
        self.directory = Path(directory)

    def _path(self, key):
        return self.directory / f"{key[:32]}.json"

    def load(self, key):
        """What was stored under a key; None where nothing was, or the file cannot be read."""
        try:
            entry = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return entry["result"] if entry.get("key") == key else None

    def store(self, key, result):
        """Keep plain data under a key; a reader sees the whole file or none."""
        self.directory.mkdir(parents=True, exist_ok=True)
        part = self._path(key).with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({"key": key, "result": result}, indent=1) + "\n", encoding="utf-8")
        part.replace(self._path(key))
