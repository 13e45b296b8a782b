"""Where figures are in a report."""

__all__ = ["figure_of", "result_of", "case_row"]


def figure_of(report, variant, column):
    """The value of a figure, None where it is not there."""
    entry = report["variants"].get(variant)
    return None if entry is None else entry["figures"][column]["value"]


def result_of(report, variant, stage, *lanes):
    """The result of a stage, of the first of some builds that has it; None where it is not there."""
    stages = report["variants"].get(variant, {"stages": {}})["stages"]
    for count in lanes:
        found = stages.get(f"{stage} {count}", {}).get("result")
        if found is not None:
            return found
    return None


def case_row(result, case):
    """The row of a traffic result for a case; KeyError without it."""
    *dims, width = case
    for row in result["rows"]:
        if row["shape"][:3] == list(dims) and row["data_width"] == width:
            return row
    raise KeyError(case)
