"""The pictures of a report; the same report gives the same bytes."""

from pathlib import Path

from .lookup import case_row, figure_of, result_of
from .parts import PARTS, REST
from .plan import CLOCK_MHZ, REFERENCE, SPEED_GRADE
from .variants import LARGE, SMALL

__all__ = ["PICTURES", "draw"]

_COLOURS = ("#1f77b4", "#aec7e8", "#ff7f0e", "#2ca02c", "#9467bd", "#bcbd22", "#c7c7c7")


def _pyplot():
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "bnforge", "font.size": 9})
    from matplotlib import pyplot
    return pyplot


def _save(figure, path):
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    _pyplot().close(figure)


def _bars(n_variants, height=0.32, legend_lines=1):
    figure, axes = _pyplot().subplots(figsize=(9, 0.9 + 0.2 * legend_lines + height * n_variants),
                                      layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _stacked(axes, names, layers, label_of):
    """Horizontal bars of ``layers``, label to values; ``label_of`` makes the text at the end of a total."""
    left = [0.0] * len(names)
    for colour, (label, values) in zip(_COLOURS, layers.items()):
        axes.barh(names, values, left=left, label=label, color=colour, edgecolor="white", linewidth=0.5)
        left = [start + value for start, value in zip(left, values)]
    for row, total in enumerate(left):
        axes.annotate(f" {label_of(total)}", (total, row), va="center")
    axes.set_xlim(0, 1.12 * max(left))
    axes.invert_yaxis()


def _gates(report, path):
    areas = {name: result_of(report, name, "area", LARGE, SMALL) for name in report["variants"]}
    areas = {name: area for name, area in areas.items() if area}
    if not areas:
        return False
    figure, axes = _bars(len(areas), legend_lines=2)
    layers = {part: [area["parts"][part] / area["lanes"] for area in areas.values()] for part in [*PARTS, REST]}
    _stacked(axes, list(areas), layers, lambda total: f"{total:,.0f}")
    lanes = ", ".join(sorted({str(area["lanes"]) for area in areas.values()}))
    libraries = ", ".join(sorted({area["library"]["name"] for area in areas.values()}))
    axes.set_xlabel(f"gate equivalents per lane, {lanes} lanes, shared units divided by the lanes (measured, library "
                    f"{libraries})")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    _save(figure, path)
    return True


def _traffic_rows(report):
    """The row of each variant that has one at the largest tensor, else at the first that it has."""
    rows = {}
    for name in report["variants"]:
        result = result_of(report, name, "traffic", LARGE, SMALL)
        if result:
            try:
                rows[name] = case_row(result, REFERENCE["large"])
            except KeyError:
                rows[name] = result["rows"][0]
    return rows


def _bytes(report, path):
    rows = _traffic_rows(report)
    if not rows:
        return False
    figure, axes = _bars(len(rows))
    layers = {direction: [row[direction]["bytes_per_element"] for row in rows.values()]
              for direction in ("forward", "backward")}
    _stacked(axes, list(rows), layers, lambda total: f"  {total:.2f}")
    for index, row in enumerate(rows.values()):
        forward, backward = (row[direction]["analytic"] for direction in ("forward", "backward"))
        axes.plot([forward, forward + backward], [index, index], "k|", markersize=14,
                  label="accesses × stored bytes (modelled)" if not index else None)
    tensors = sorted({("·".join(map(str, row["shape"][:3])), row["data_width"]) for row in rows.values()})
    where = ", ".join(f"n = {n}, {bits}-bit bus" for n, bits in tensors)
    axes.set_xlabel(f"off-chip bytes per element (measured), {where}")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    _save(figure, path)
    return True


def _grouped(report, columns, xlabel, path):
    """Bars beside each other, label to column, of the variants that have one of the figures."""
    values = {name: [figure_of(report, name, column) for column in columns.values()] for name in report["variants"]}
    values = {name: row for name, row in values.items() if any(value is not None for value in row)}
    if not values:
        return False
    figure, axes = _bars(len(values), height=0.12 + 0.13 * len(columns))
    thickness = 0.8 / len(columns)
    for index, (label, colour) in enumerate(zip(columns, _COLOURS)):
        at = [row - 0.4 + thickness * (index + 0.5) for row in range(len(values))]
        widths = [row[index] or 0.0 for row in values.values()]
        axes.barh(at, widths, height=thickness, label=label, color=colour, edgecolor="white", linewidth=0.5)
        for where, width in zip(at, widths):
            axes.annotate(f" {width:.3g}" if width else " -", (width, where), va="center", fontsize=8)
    axes.set_yticks(range(len(values)), list(values))
    axes.set(xlabel=xlabel, xlim=(0, 1.12 * max(value or 0.0 for row in values.values() for value in row)))
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=len(columns), frameon=False)
    _save(figure, path)
    return True


def _power(report, path):
    return _grouped(report, {"forward": "power_forward", "backward": "power_backward"},
                    f"mW at {CLOCK_MHZ:.0f} MHz, {SMALL} lanes, gates only (from measured activity)", path)


def _clock(report, path):
    return _grouped(report, {f"ECP5, speed grade {SPEED_GRADE}": "fpga_mhz", "mapped gates": "gates_mhz"},
                    f"MHz, {SMALL} lanes (measured)", path)


def _pareto(report, path):
    columns = ("bytes_sum", "ge_per_lane")
    points = {name: tuple(figure_of(report, name, column) for column in columns) for name in report["variants"]}
    points = {name: point for name, point in points.items() if None not in point}
    if not points:
        return False
    figure, axes = _pyplot().subplots(figsize=(7, 4.2), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    for name, (x, y) in points.items():
        best = not any(other != (x, y) and other[0] <= x and other[1] <= y for other in points.values())
        axes.plot(x, y, "o" if best else "s", color=_COLOURS[0] if best else _COLOURS[6], markersize=8,
                  markeredgecolor="black", markeredgewidth=0.5)
        axes.annotate(name, (x, y), xytext=(8, 0), textcoords="offset points", va="center")
    axes.set(xlabel="off-chip bytes per element, forward and backward (measured)",
             ylabel="gate equivalents per lane (measured)", xlim=(0, 1.25 * max(x for x, _ in points.values())),
             ylim=(0, 1.15 * max(y for _, y in points.values())))
    axes.set_title("round: no other variant has both less traffic and fewer gates", fontsize=9)
    _save(figure, path)
    return True


PICTURES = {"gates": (_gates, "gates per lane by part"), "bytes": (_bytes, "off-chip bytes per element"),
            "power": (_power, "power of the gates"), "clock": (_clock, "maximum clock"),
            "pareto": (_pareto, "gates per lane against off-chip bytes")}
"""Name to what draws it, and what it shows."""


def draw(report, directory):
    """Draw what the report has figures for: names of the pictures that are there, ``compare_NAME.svg``.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    return [name for name, (make, _text) in PICTURES.items() if make(report, Path(directory) / f"compare_{name}.svg")]
