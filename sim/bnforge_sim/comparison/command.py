"""``bnforge compare``: measures what is not known yet, then writes the report, its tables and its pictures."""

import sys
import time
from pathlib import Path

from bnforge.liberty import Library

from .cache import DEFAULT_CACHE, Cache
from .page import write_page
from .plan import plan
from .report import build_report, dumps
from .runner import clock, run_tasks
from .tables import aligned, target_rows, variant_tables
from .variants import chosen

__all__ = ["compare"]


def _problems(tasks, outcomes):
    """One line for each reason why something is not there."""
    reasons = {}
    for task in tasks:
        found = outcomes[task.name]
        for what in ("missing", "failed"):
            if what in found:
                reasons.setdefault((what, found[what]), []).append(task.name)
    return [f"{what}: {reason} ({', '.join(names)})" for (what, reason), names in reasons.items()]


def compare(directory, *, liberty=None, only=None, quick=False, jobs=2, cache=DEFAULT_CACHE):
    """Compare variants, and write ``compare.json``, ``compare.md`` and pictures.

    Parameters
    ----------
    directory : path
        Made if it does not exist.
    liberty : path, optional
        A cell library for all gates instead of the default ones.
    only : sequence of str, optional
        Names of variants.
    quick : bool
        Small builds, small tensors, and nothing that takes minutes.
    jobs : int
        Processes at a time.
    cache : path

    Returns
    -------
    int
        0; 1 where something failed that is no missing tool.

    Raises
    ------
    ValueError, OSError
        For a variant that there is not, a library that cannot be used, and for files.
    """
    variants, directory, started = chosen(only), Path(directory), time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    liberty = None if liberty is None else Path(liberty)
    if liberty is not None:
        Library.read(liberty)
    tasks = plan(variants, quick=quick, liberty=liberty)
    outcomes = run_tasks(tasks, Cache(cache), jobs=jobs, report=lambda line: print(line, file=sys.stderr, flush=True))
    report = build_report(tasks, outcomes, variants)
    (directory / "compare.json").write_text(dumps(report), encoding="utf-8")
    write_page(report, directory)
    print(*map(aligned, [*variant_tables(report), target_rows(report)]), *_problems(tasks, outcomes), sep="\n\n")
    print(f"\n{directory / 'compare.md'} ({clock(time.perf_counter() - started)})")
    return 1 if any("failed" in found for found in outcomes.values()) else 0
