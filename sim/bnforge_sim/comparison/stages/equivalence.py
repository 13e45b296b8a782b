"""The mapped gates against the RTL, module by module."""

from collections import Counter

from bnforge.flows.equivalence import Verdict, equivalence

__all__ = ["run"]


def run(config, liberty=None):
    """Modules by verdict, and the names of those that are not proved equivalent.

    Parameters
    ----------
    config : Config
    liberty : path, optional

    Raises
    ------
    RuntimeError
        A module is not what the RTL says.
    """
    found = equivalence(config, liberty)
    if different := [module.module for module in found if module.verdict is Verdict.DIFFERENT]:
        raise RuntimeError(f"gates must be equivalent to the RTL, which those of {', '.join(different)} are not")
    names = {module.module.removeprefix(f"{config.name}_"): module.verdict.value for module in found
             if module.verdict is not Verdict.EQUIVALENT}
    proved = [module for module in found if module.verdict is Verdict.EQUIVALENT]
    return {"verdicts": dict(Counter(module.verdict.value for module in found)), "others": names,
            "gates": sum(module.gates for module in found), "gates_proved": sum(module.gates for module in proved)}
