"""Gates by part: which modules of a core are what."""

import re

__all__ = ["PARTS", "REST", "by_part", "gates_by_part", "power_by_part", "EXTRACTION_PARTS"]

PARTS = {
    "lane arithmetic": ("normaliser_lane", "multiply_add", "definition_lane", "difference", "product", "product_lane",
                        "quotient", "quotient_lane", "range_lane", "moment_lane", "lane_bank", "mask"),
    "scalar unit": ("scalar_unit", "definition_unit", "divider", "serial_unit", "serial_float"),
    "sums": ("element_sum", "product_sum", "anchored_sum", "recovery_lane", "totals_unit"),
    "extrema, ranges": ("extrema_lane", "range_unit"),
    "storage conversion": ("block_converter", "block_element", "float_converter", "stored_decoder"),
    "input, header, records": ("input_stage", "header_unit", "record_unit", "position_loader", "gradient_order",
                               "sweep_entry", "sweep_header", "sweep_record", "chunk_positions")}
"""Parts, and the modules whose own gates they have."""
REST = "control, glue"
EXTRACTION_PARTS = ("lane arithmetic", "scalar unit")
"""The parts in which constant extraction makes a difference."""


def by_part(name, values):
    """Sums of figures of modules by part.

    Parameters
    ----------
    name : str
        Of the core, with which the names of its modules begin.
    values : iterable of (str, float)
        Module and figure.
    """
    part_of = {stem: part for part, stems in PARTS.items() for stem in stems}
    sums = dict.fromkeys([*PARTS, REST], 0.0)
    for module, value in values:
        stem = re.sub(r"_\d+$", "", module.removeprefix(f"{name}_"))
        sums[part_of.get(stem, REST)] += value
    return sums


def gates_by_part(area):
    """Gate equivalents of every part of a core, all lanes together.

    Parameters
    ----------
    area : dict
        An area report as plain data.
    """
    gates = by_part(area["name"], ((module["name"], module["own_ge"] * module["instances"])
                                   for module in area["modules"]))
    return {part: round(value, 1) for part, value in gates.items()}


def power_by_part(name, report):
    """Power of every part of a core in mW.

    Parameters
    ----------
    name : str
        Of the core.
    report : dict
        A power report as plain data.
    """
    return by_part(name, ((part["module"], part["internal"] + part["switching"] + part["leakage"])
                          for part in report["parts"]))
