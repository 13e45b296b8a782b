"""Covering arrays: few rows in which every pair of values of every two axes occurs."""

import itertools

__all__ = ["pairwise", "uncovered"]


def uncovered(axes, rows):
    """The pairs of values of two axes that no row has: set of ((axis, value), (axis, value))."""
    wanted = {
        ((first, u), (second, v))
        for first, second in itertools.combinations(axes, 2)
        for u in axes[first]
        for v in axes[second]
    }
    for row in rows:
        wanted -= _pairs(axes, row)
    return wanted


def _pairs(axes, row):
    return {((first, row[first]), (second, row[second])) for first, second in itertools.combinations(axes, 2)}


def pairwise(axes, rng, candidates=12):
    """Rows that cover every pair, greedily: the best of some candidates, each grown around a pair not yet covered.

    Parameters
    ----------
    axes : dict of str to sequence
        Values of each axis, hashable and distinct.
    rng : numpy.random.Generator
    candidates : int
        Rows tried for each row kept.

    Returns
    -------
    list of dict
        About the product of the two longest axes; :func:`uncovered` of them is empty.
    """
    missing = uncovered(axes, [])
    rows = []
    while missing:
        ordered = sorted(missing, key=str)
        best, best_gain = None, -1
        for _ in range(candidates):
            row = dict(ordered[rng.integers(len(ordered))])
            rest = [axis for axis in axes if axis not in row]
            rng.shuffle(rest)
            for axis in rest:
                values = list(axes[axis])
                rng.shuffle(values)
                row[axis] = max(values, key=lambda value: _gain(axes, row, axis, value, missing))
            gain = len(_pairs(axes, row) & missing)
            if gain > best_gain:
                best, best_gain = row, gain
        rows.append({axis: best[axis] for axis in axes})
        missing -= _pairs(axes, best)
    return rows


def _gain(axes, row, axis, value, missing):
    """Missing pairs that ``value`` on ``axis`` makes with what ``row`` has already."""
    order = list(axes)
    count = 0
    for other, chosen in row.items():
        pair = ((axis, value), (other, chosen))
        count += (pair if order.index(axis) < order.index(other) else pair[::-1]) in missing
    return count
