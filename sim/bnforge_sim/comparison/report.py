"""The report: every figure with what it is, its build, configuration and tools; or why it is not there."""

import json

from .columns import COLUMNS
from .parts import gates_by_part
from .plan import STANDARD
from .targets import judged
from .versions import versions_of

__all__ = ["build_report", "dumps"]


def _figure(column, variant, outcomes):
    """One figure, from the first build that has it."""
    figure = {"unit": column.unit, "kind": "measured", "stage": column.stage}
    reason = "not measured in this run"
    for lanes in column.lanes:
        found = outcomes.get(f"{variant} {column.stage} {lanes}")
        if found is None:
            continue
        if "result" not in found:
            (what, why), = found.items()
            reason = f"{what}: {why}"
            continue
        value = column.value(found["result"])
        return {**(value if isinstance(value, dict) else {"value": value}), **figure, "lanes": lanes}
    return {"value": None, **figure, "reason": reason}


def build_report(tasks, outcomes, variants):
    """Plain data of docs/compare.json.

    Parameters
    ----------
    tasks : sequence of Task
    outcomes : dict of task name to outcome
    variants : sequence of Variant
    """
    tools = sorted({"bnforge", "python", "numpy", *(tool for task in tasks for tool in task.stage.tools)})
    report = {"versions": versions_of(tools),
              "columns": {column.name: {"title": column.title, "unit": column.unit, "text": column.text,
                                        "digits": column.digits, "circuit": column.is_circuit}
                          for column in COLUMNS},
              STANDARD: {task.stage.name: outcomes[task.name] for task in tasks if task.variant == STANDARD},
              "variants": {}, "targets": []}
    for variant in variants:
        builds = {str(task.config.lanes): task.config.to_dict() for task in tasks if task.variant == variant.name}
        report["variants"][variant.name] = {
            "text": variant.text, "builds": builds,
            "figures": {column.name: _figure(column, variant.name, outcomes) for column in COLUMNS},
            "stages": {f"{task.stage.name} {task.config.lanes}": _stage(outcomes[task.name]) for task in tasks
                       if task.variant == variant.name}}
    report["targets"] = judged(report)
    return report


def _stage(outcome):
    """An outcome as it is reported; of an area report the parts and the totals."""
    result = outcome.get("result")
    if isinstance(result, dict) and "modules" in result:
        kept = {name: value for name, value in result.items() if name not in ("modules", "memories", "configuration")}
        return {**outcome, "result": kept | {"parts": gates_by_part(result)}}
    return outcome


def dumps(report):
    """The text of the file; the same report gives the same bytes."""
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
