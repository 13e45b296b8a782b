"""The committed gate counts, docs/baseline_area.json: whole reports of every preset, with the generic library.

Each is counted as it is, and built for one direction only: ``opn16``, ``opn16 forward``, ``opn16 backward``; the
engine with the default bus around two of them: ``opn16 engine``; and with an array, with as many lanes: ``array 4x4``.

A test compares fresh reports with the file; ``make baseline`` writes it.
"""

import json
import sys
from pathlib import Path

from . import area
from .array_config import ArrayConfig
from .config import Directions
from .engine_config import EngineConfig
from .formats import BlockFormat
from .presets import PRESETS, opn1_tiny, opn16

__all__ = ["CORES", "fused", "read", "write"]


def fused(lanes):
    """The engine with an array of so many rows and columns, its core as ``opn16`` but for the lanes."""
    core = opn16.replace(lanes=lanes, storage=BlockFormat(lanes, 8))
    return EngineConfig(core=core, array=ArrayConfig.of(core))


CORES = {name: config for name, (config, _text) in PRESETS.items()} | {
    f"{name} {directions.value}": config.replace(directions=directions)
    for name, (config, _text) in PRESETS.items() for directions in (Directions.FORWARD, Directions.BACKWARD)} | {
    f"{config.name} engine": EngineConfig(core=config) for config in (opn16, opn1_tiny)} | {
    f"array {lanes}x{lanes}": fused(lanes) for lanes in (4, 8, 16)}
"""The cores and engines of the file, by name."""


def read(path):
    """Reports of a baseline file, name to :class:`~bnforge.area.AreaReport`."""
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    return {name: area.AreaReport.from_dict(entry) for name, entry in data.items()}


def write(path):
    """Measure every core and write the file."""
    reports = {}
    for number, (name, config) in enumerate(CORES.items()):
        print(f"[{number + 1}/{len(CORES)}] {name}", file=sys.stderr, flush=True)
        reports[name] = area.report(config).to_dict()
    Path(path).write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
