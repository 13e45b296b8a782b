"""What the comparison has to show, computed from the report."""

from .lookup import case_row, figure_of, result_of
from .parts import EXTRACTION_PARTS
from .plan import REFERENCE, SPEED_GRADE
from .variants import LARGE, PRODUCT, SMALL, VARIANTS, product_for

__all__ = ["TARGETS", "judged"]

_DIRECTIONS = ("forward", "backward")
_BASELINES = [variant.name for variant in VARIANTS.values() if not variant.config.is_one_pass]


def _saved(what):
    """Share that the product saves against another variant, as a function of it."""
    def of(report, against):
        ours, theirs = what(report, PRODUCT), what(report, against)
        return None if ours is None or theirs is None else 1 - ours / theirs
    return of


def _core_gates(report, variant):
    area = result_of(report, variant, "area", LARGE, SMALL)
    return None if area is None else area["ge"]


def _gates_of(parts):
    def of(report, variant):
        area = result_of(report, variant, "area", LARGE, SMALL)
        return None if area is None else sum(area["parts"][part] for part in parts)
    return of


def _power(report, variant):
    gates = result_of(report, variant, "gates", LARGE, SMALL)
    return None if gates is None else sum(gates[direction]["total"] + gates[direction]["clock"]
                                          for direction in _DIRECTIONS)


def _power_of(parts):
    def of(report, variant):
        gates = result_of(report, variant, "gates", LARGE, SMALL)
        return None if gates is None else sum(gates[direction]["power_by_part"][part] for direction in _DIRECTIONS
                                              for part in parts)
    return of


def _clock(report, variant):
    fpga = result_of(report, variant, "fpga", LARGE)
    return None if fpga is None else fpga["fmax_mhz"]


def _ratio(case):
    """Bytes of another variant over those of the product."""
    def total(report, variant):
        traffic = result_of(report, variant, "traffic", LARGE, SMALL)
        try:
            row = case_row(traffic or {"rows": []}, case)
        except KeyError:
            return None
        return row["forward"]["bytes_per_element"] + row["backward"]["bytes_per_element"]

    def of(report, against):
        ours, theirs = total(report, PRODUCT), total(report, against)
        return None if ours is None or theirs is None else theirs / ours
    return of


def _more(figure):
    """A figure of another variant over that of the product in its formats."""
    def of(report, against):
        ours, theirs = (figure_of(report, variant, figure) for variant in (product_for(against), against))
        return None if ours is None or theirs is None else theirs / ours
    return of


def _at_equal_rate(report, against):
    """Gates per lane times cycles per element: what moves an element per cycle through training."""
    products = []
    for variant in (product_for(against), against):
        figures = [figure_of(report, variant, name) for name in ("ge_per_lane", "cycles_forward", "cycles_backward")]
        if None in figures:
            return None
        products.append(figures[0] * (figures[1] + figures[2]))
    return products[1] / products[0]


def _targets():
    """(what, against, wanted at least or None, unit, function of report and variant)."""
    for against, gates, power in (("opn16_divider", 0.60, 0.75), ("opn16_shared", None, None)):
        for what, least, core, of_parts in (("gates", gates, _core_gates, _gates_of),
                                            ("power", power, _power, _power_of)):
            for scope, asked, value_of in (("whole core", least, core),
                                           ("lane arithmetic and scalar unit", least, of_parts(EXTRACTION_PARTS)),
                                           ("lane arithmetic alone", None, of_parts(EXTRACTION_PARTS[:1]))):
                yield f"{what} saved by constant extraction, {scope}", against, asked, "share", _saved(value_of)
    for case, wanted in ((REFERENCE["large"], (2.3, 3.3, 6.0)), (REFERENCE["middle"], (2.05, 2.9, 5.5))):
        n_images, height, width, bits = case
        for against, least in zip(("range16", "two16", "two16_bf16"), wanted):
            yield (f"off-chip bytes, n = {n_images}·{height}·{width}, {bits}-bit bus", against, least, "ratio",
                   _ratio(case))
    for against in _BASELINES:
        ours = "" if product_for(against) == PRODUCT else f" ({product_for(against)})"
        yield f"gates in each lane{ours}", against, 1.0, "ratio", _more("lane_ge")
        yield f"gates per lane, core over lanes{ours}", against, 1.0, "ratio", _more("ge_per_lane")
        yield f"gates per lane at one element per cycle{ours}", against, 1.0, "ratio", _at_equal_rate
    yield f"clock on ECP5, speed grade {SPEED_GRADE}, {LARGE} lanes", PRODUCT, 100.0, "MHz", _clock


TARGETS = tuple(_targets())
"""What is asked, against which variant, how much at least (None: only stated), unit, and how it is computed."""


def judged(report):
    """Every target with its value, and whether it is met; None where it was not measured or nothing is asked."""
    found = []
    for what, against, least, unit, value_of in TARGETS:
        value = value_of(report, against)
        met = None if least is None or value is None else value >= least
        found.append({"what": what, "against": against, "unit": unit, "at_least": least, "value": value, "met": met})
    return found
