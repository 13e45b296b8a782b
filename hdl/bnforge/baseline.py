"""The committed gate counts, docs/baseline_area.json: whole reports by preset name, with the generic library.

A test compares fresh reports with the file; ``make baseline`` writes it.
"""

import json
from pathlib import Path

from . import area
from .presets import PRESETS

__all__ = ["read", "write"]


def read(path):
    """Reports of a baseline file, preset name to :class:`~bnforge.area.AreaReport`."""
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    return {name: area.AreaReport.from_dict(entry) for name, entry in data.items()}


def write(path):
    """Measure every preset and write the file."""
    reports = {name: area.report(config).to_dict() for name, (config, _text) in PRESETS.items()}
    Path(path).write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
