"""The committed gate counts: ``python -m bnforge.baseline FILE`` measures every preset with the generic library.

The file keeps whole reports by preset name; a test compares fresh reports with it.
"""

import argparse
import json
import sys
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


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge.baseline", description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="docs/baseline_area.json in the repository")
    write(parser.parse_args(arguments).file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
