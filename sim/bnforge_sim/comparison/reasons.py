"""Why targets are missed, from the figures themselves."""

from .lookup import case_row, result_of
from .parts import EXTRACTION_PARTS
from .plan import CASES
from .variants import LARGE, PRODUCT, SMALL, product_for

__all__ = ["reason"]

_SCOPE = " and ".join(EXTRACTION_PARTS)


def _split(values):
    """What is in the parts that extraction changes, and the rest."""
    inside = sum(values[part] for part in EXTRACTION_PARTS)
    return inside, sum(values.values()) - inside


def _gates(report, variant):
    return result_of(report, variant, "area", LARGE, SMALL)["parts"]


def _power(report, variant):
    gates = result_of(report, variant, "gates", LARGE, SMALL)
    return {part: gates["forward"]["power_by_part"][part] + gates["backward"]["power_by_part"][part]
            for part in gates["forward"]["power_by_part"]}


def _whole_core(report, against, values_of):
    inside, rest = _split(values_of(report, against))
    return (f"{_SCOPE} are {inside / (inside + rest):.0%} of `{against}`; the rest, which does what it does without "
            f"extraction, is {rest / (inside + rest):.0%}, so that no extraction can save more than the former.")


def _in_scope(report, against, values_of, unit):
    ours, theirs = values_of(report, PRODUCT), values_of(report, against)
    parts = ", ".join(f"{part} {ours[part]:,.3g} {unit} against {theirs[part]:,.3g}" for part in EXTRACTION_PARTS)
    return f"All lanes: {parts}."


def _bytes(report, against, what):
    case = next(case for case in CASES if what.endswith("n = {}·{}·{}, {}-bit bus".format(*case)))
    rows = [case_row(result_of(report, variant, "traffic", LARGE, SMALL), case) for variant in (PRODUCT, against)]
    totals, analytic = ([sum(row[direction][name] for direction in ("forward", "backward")) for row in rows]
                        for name in ("bytes_per_element", "analytic"))
    return (f"the accesses alone are {analytic[1] / analytic[0]:.3f}×. `{PRODUCT}` moves {totals[0] - analytic[0]:.3f} "
            f"bytes per element beyond its own, nearly all of it the rest of bus beats around sampled positions, which "
            f"lie apart in memory; `{against}` reads and writes in order, {totals[1] - analytic[1]:.3f} beyond.")


def _shared(report, against):
    ours, theirs = (_gates(report, name)["scalar unit"] for name in (product_for(against), against))
    return (f"the constants must be there while the sample waits on chip: a pipelined scalar unit of {ours / 1000:.1f} "
            f"kGE, where `{against}`, which has a whole sweep of time, has {theirs / 1000:.1f} kGE.")


def reason(report, target):
    """Why a target is missed, one sentence or two; None where nothing is known.

    Parameters
    ----------
    report : dict
    target : dict
        One of its targets, missed.
    """
    what, against = target["what"], target["against"]
    for kind, values_of, unit in (("gates saved", _gates, "GE"), ("power saved", _power, "mW")):
        if what.startswith(kind):
            if what.endswith("whole core"):
                return _whole_core(report, against, values_of)
            return _in_scope(report, against, values_of, unit)
    if what.startswith("gates per lane"):
        return _shared(report, against)
    return _bytes(report, against, what) if what.startswith("off-chip bytes") else None
