"""Seeded random sweeps of the baselines; a case is one value per axis."""

import numpy as np

from bnforge.config import Activation, Algorithm
from bnforge.formats import FP32
from bnforge.sweeps.words import Sweep, param_words, streams, sweeps_of
from bnforge_model.sweep_header import channel_c, channel_eps, chunks_of
from bnforge_model.sweep_words import is_position

from .files import Stall, Stalls
from .odd import STORED, odd_y
from .stimulus import GAMMAS, GRADIENTS, INPUTS, MASKS, PLAIN_GRADIENTS, PLAIN_INPUTS
from .stimulus import random_affine, random_codes, random_mask
from .sweep_tiles import Stored, SweepTile, sweep_result, sweep_segment

__all__ = ["SWEEP_STALLS", "sweep_axes", "random_sweeps", "random_sweep_segment"]

_LIGHT, _HEAVY, _AFTER = Stall(0.06, 3), Stall(0.3, 8), Stall(0.2, 4, after_valid=True)
SWEEP_STALLS = {
    "none": Stalls(),
    "light": Stalls(*[_LIGHT] * 6),
    "heavy": Stalls(*[_HEAVY] * 6),
    "inputs starved": Stalls(data=Stall(0.5, 10), y=Stall(0.4, 12), gradient=Stall(0.3, 20)),
    "output blocked": Stalls(output=Stall(0.02, 300)),
    "records blocked": Stalls(record=Stall(0.02, 600)),
    "ready after valid": Stalls(_LIGHT, _LIGHT, _LIGHT, _AFTER, _AFTER, _LIGHT),
    "header slow": Stalls(header=Stall(0.5, 40), record=_LIGHT),
}
LENGTHS = ("n = 1", "n below 8", "n to 64", "n to 700", "blocks of sums", "chunks")
PARAMS = ("chain", "perturbed", "extreme", "any code", "edge")
"""What becomes of the numbers that the sweeps before gave; "edge": a·x' + b is 0 at some elements."""
EPS = ("default", "0", "large", "any")
_EXTREMES = (0.0, -0.0, 1.0, -1.0, 2.0 ** -126, -2.0 ** 127, 2.0 ** -20, 3e38, -100.0, 2.0 ** 100)


def sweep_axes(config):
    """The axes of the covering array for a configuration: dict of name to values."""
    ranges = config.algorithm is Algorithm.RANGE
    return {
        "activation": [act for act in Activation if act is not Activation.RELU6 or ranges], "length": LENGTHS,
        "stalls": tuple(SWEEP_STALLS), "inputs": INPUTS, "gradient": GRADIENTS, "gamma": GAMMAS, "eps": EPS,
        "mask": MASKS if config.lanes > 1 else MASKS[:1], "stored": STORED, "params": PARAMS}


def _length(kind, rng):
    match kind:
        case "n = 1":
            return 1
        case "n below 8":
            return int(rng.integers(2, 9))
        case "n to 64":
            return int(rng.integers(9, 65))
        case "n to 700":
            return int(rng.integers(65, 701))
        case "blocks of sums":
            return int(128 * rng.integers(1, 5) + rng.integers(-1, 2))
        case "chunks":
            return int(8 * rng.integers(1, 60) + rng.integers(-1, 2))
    raise ValueError(f"length must be one of {', '.join(LENGTHS)}, not {kind!r}")


def _eps(kind, config, c, rng):
    match kind:
        case "0":
            return 0.0
        case "large":
            return 2.0 ** rng.uniform(4, 20)
        case "any":
            return float(rng.choice([2.0 ** rng.uniform(-120, 120), 2.0 ** rng.uniform(-10, 10), np.inf, np.nan],
                                    p=[0.4, 0.4, 0.1, 0.1]))
    return channel_eps(config, c)


def _odd(kind, values, rng):
    """Numbers of a header, float32, from what the sweeps before gave."""
    values = np.asarray(values, np.float64)
    some = rng.random(values.shape) < 0.6
    match kind:
        case "perturbed":
            changed = values * rng.choice([-1, 1], values.shape) * 2.0 ** rng.uniform(-1, 1, values.shape)
        case "extreme":
            changed = rng.choice(_EXTREMES, values.shape)
        case "any code":
            changed = rng.integers(1 << FP32.width, size=values.shape, dtype=np.uint32)
            return np.where(some, changed, values.astype(np.float32).view(np.uint32)).view(np.float32)
        case _:
            return values.astype(np.float32)
    with np.errstate(over="ignore"):  # infinity, then
        return np.where(some, changed, values).astype(np.float32)


def _param(config, kind, name, value, n, rng):
    """One P word of each lane; scales are not negative, which the core refuses; positions may be beyond their chunk."""
    if is_position(name):
        if kind in ("chain", "edge"):
            return value
        length = chunks_of(n)[1]
        beyond = min(int(rng.choice([length, 2 * length, 1 << config.position_width])), 1 << config.position_width)
        return np.where(rng.random(value.shape) < 0.4, rng.integers(beyond, size=value.shape), value)
    values = _odd(kind, value, rng)
    if name in ("rinv", "rstd", "r"):
        values = (values.view(np.uint32) & np.uint32(0x7FFFFFFF)).view(np.float32)
    return values


def _edge(config, stored, rng):
    """a and b for which a·x' + b = 0 at a random element of each lane, where the formats hold such a b."""
    x = np.nan_to_num(stored.encoded(config).decode())
    a = rng.choice([-1.0, 1.0, 2.0], config.lanes)
    b = -a * x[rng.integers(len(x), size=config.lanes), np.arange(config.lanes)]
    with np.errstate(over="ignore"):
        return {"a": a.astype(np.float32), "b": b.astype(np.float32)}


def random_sweeps(config, case, rng):
    """The sweeps of a forward and a backward pass over one tile, each with what the one before gave or odder things.

    Parameters
    ----------
    config : bnforge.config.Config
        Of a baseline.
    case : dict
        One value per axis of :func:`sweep_axes`.
    rng : numpy.random.Generator

    Returns
    -------
    list of SweepTile
    """
    n, lanes = _length(case["length"], rng), config.lanes
    c = channel_c(n) if case["eps"] != "any" else 2.0 ** rng.uniform(-100, 100)
    settings = {"eps": np.float32(_eps(case["eps"], config, c, rng)), "c": np.float32(c),
                "activation": case["activation"], "mask": random_mask(case["mask"], lanes, rng)}
    gamma, beta = (words.view(np.float32) for words in random_affine(case["gamma"], lanes, rng))
    known = {"gamma": gamma, "beta": beta}
    x = random_codes(config.x_format, case["inputs"], PLAIN_INPUTS, n, lanes, rng)
    dy = random_codes(config.x_format, case["gradient"], PLAIN_GRADIENTS, n, lanes, rng)
    results, tiles = {}, []
    for sweep in sweeps_of(config):
        params = {name: known[name] if name in ("gamma", "beta") else
                  _param(config, case["params"], name, known[name], n, rng) for name in param_words(config, sweep)}
        inputs = {"operand": None, "stored": None, "gradient": None}
        for name in streams(config, sweep)[0]:
            inputs[name] = {"operand": x if sweep is Sweep.COLLECT else dy}.get(name)
            if name != "operand":
                inputs[name] = Stored(*odd_y(config, case["stored"], *results[_source(config, sweep, name)], rng))
        if case["params"] == "edge" and {"a", "b"} <= set(params) and inputs["stored"] is not None:
            params |= _edge(config, inputs["stored"], rng)
        tiles.append(SweepTile(sweep=sweep, params=params, **inputs, **settings))
        result, _ = sweep_result(config, tiles[-1])
        known |= result.records
        if result.encoded is not None:
            stored = Stored.of(config, result.encoded)
            results[sweep] = stored.elements, stored.exponents
    return tiles


def _source(config, sweep, name):
    """The sweep whose result a stream carries."""
    if name == "gradient":
        return Sweep.COPY if config.algorithm is Algorithm.TWO_PASS else Sweep.SUMS
    if config.algorithm is Algorithm.RANGE and sweep in (Sweep.SUMS, Sweep.GRADIENT):
        return Sweep.NORMALISE if sweep is Sweep.SUMS else Sweep.SUMS
    return Sweep.COLLECT


def random_sweep_segment(config, cases, rng):
    """Sweeps of some cases one after the other, and the segment that runs them with the stalls of the first."""
    tiles = [tile for case in cases for tile in random_sweeps(config, case, rng)]
    return tiles, sweep_segment(config, tiles, stalls=SWEEP_STALLS[cases[0]["stalls"]], seed=int(rng.integers(2**32)))
