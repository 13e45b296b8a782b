"""Seeded random tiles over the space that the tests cover; a case is one value per axis."""

import math

import numpy as np

from bnforge.config import HEADER_FIXED_WORDS, SUM_BLOCK, Activation
from bnforge.totals import TotalsUnit
from bnforge_model import default_c, default_eps
from bnforge_model.constants import fp32_code
from bnforge_model.floats import to_codes

from .expect import expect
from .files import Stall, Stalls
from .odd import RECORDS, STORED, odd_records, odd_y
from .tiles import BackwardTile, Tile, header_words, segment

__all__ = ["SHAPES", "STALLS", "INPUTS", "PLAIN_INPUTS", "DIRECTIONS", "GAMMAS", "GRADIENTS", "MASKS",
           "PLAIN_GRADIENTS", "axes", "random_codes", "random_affine", "random_mask", "random_tiles", "random_segment"]

_LIGHT, _HEAVY = Stall(0.06, 3), Stall(0.3, 8)
STALLS = {
    "none": Stalls(),
    "light": Stalls(_LIGHT, _LIGHT, _LIGHT, _LIGHT, _LIGHT),
    "heavy": Stalls(_HEAVY, _HEAVY, _HEAVY, _HEAVY, _HEAVY),
    "starved": Stalls(data=Stall(0.5, 10)),
    "output blocked": Stalls(output=Stall(0.02, 600)),
    "records blocked": Stalls(record=Stall(0.02, 600)),
    "ready after valid": Stalls(_LIGHT, _LIGHT, _LIGHT, Stall(0.2, 4, after_valid=True),
                                Stall(0.2, 4, after_valid=True)),
    "header late": Stalls(output=_LIGHT),
    "gamma late": Stalls(data=_LIGHT),
    "header slow": Stalls(header=Stall(0.5, 40), record=_LIGHT),
}
"""Stall patterns; "header late" and "gamma late" also delay whole headers, or their gamma and beta or records."""
Y_STALLS = {"y starved": Stalls(y=Stall(0.5, 10)), "y late": Stalls(data=_LIGHT, output=_LIGHT)}
"""Further ones where there is a backward pass; "y late" also delays the first y of every tile."""

SHAPES = ("n = 1", "n = 2", "n = S - 1", "n = S", "n = S + 1", "n to 4S", "mixed n", "sample multiple of L",
          "sample not multiple of L", "sample below L", "sample of 1", "blocks of sums")
INPUTS = ("normal", "large mean", "constant", "outlier", "subnormal", "huge", "any finite", "few values", "nonfinite",
          "any code", "by lane")
PLAIN_INPUTS = INPUTS[:-1]
GAMMAS = ("positive", "signed", "zeros", "any code")
SCALES = ("default", "eps 0", "eps large", "c 1", "any")
FROZEN = ("no", "some", "all")
MASKS = ("full", "partial", "one lane")
DIRECTIONS = ("alternating", "in sequence", "random")
"""How the directions follow each other in a core that has both; every case has tiles of both."""
GRADIENTS = ("normal", "large mean", "sparse", "constant", "cancelling", "subnormal", "huge", "any finite", "nonfinite",
             "any code", "by lane")
PLAIN_GRADIENTS = GRADIENTS[:-1]


def axes(config):
    """The axes of the covering array for a configuration: dict of name to values."""
    unsigned = config.is_block and not config.storage.signed
    space = {
        "activation": [act for act in Activation if not (unsigned and act is Activation.IDENTITY)],
        "shape": SHAPES,
        "stalls": (*STALLS, *Y_STALLS) if config.has_backward else tuple(STALLS),
        "inputs": INPUTS,
        "gamma": GAMMAS,
        "scale": SCALES,
        "frozen": (FROZEN if config.has_statistics else FROZEN[-1:]) if config.extracts else FROZEN[:1],
        "mask": MASKS if config.lanes > 1 else MASKS[:1],
    }
    if config.has_backward:
        space |= {"gradient": GRADIENTS, "stored": STORED, "records": RECORDS}
        if config.has_forward:
            space["direction"] = DIRECTIONS
    return space


def _float_codes(fmt, kind, n, lanes, rng):
    """Codes of one input class: uint32 array, shape (n, lanes)."""
    shape = (n, lanes)
    sign = rng.integers(2, size=shape, dtype=np.uint32) << (fmt.width - 1)
    fraction = rng.integers(1 << fmt.fraction_width, size=shape, dtype=np.uint32)
    if kind == "subnormal":
        return sign | rng.integers(3, size=shape, dtype=np.uint32) << fmt.fraction_width | fraction
    if kind == "huge":
        code = fmt.max_code - rng.integers(3 << fmt.fraction_width, size=shape)
        small = rng.random(shape) < 0.2
        return sign | np.where(small, fraction, code).astype(np.uint32)
    if kind == "any finite":
        return sign | rng.integers(fmt.max_code + 1, size=shape, dtype=np.uint32)
    if kind == "any code":
        return rng.integers(1 << fmt.width, size=shape, dtype=np.uint32)
    value = rng.standard_normal(shape)
    if kind == "large mean":
        value += rng.choice([-1, 1], lanes) * 2.0 ** rng.uniform(4, 8, lanes)
    elif kind == "constant":
        value = np.broadcast_to(np.round(rng.standard_normal(lanes) * rng.integers(2, size=lanes), 3), shape)
    elif kind == "sparse":
        value *= rng.random(shape) < 0.1
    elif kind == "cancelling":
        value *= 2.0 ** rng.uniform(-8, 8, shape)
        value[n - n // 2:] = -rng.permutation(value[:n // 2])
    elif kind == "outlier":
        value[rng.integers(n, size=lanes), np.arange(lanes)] *= 1000
    elif kind == "few values":
        value = rng.choice([-2.0, -0.5, -0.0, 0.0, 1.0, 2.0], shape)
    else:
        value = value * 2.0 ** rng.uniform(-3, 3, lanes) + rng.standard_normal(lanes)
    codes = to_codes(fmt, value).astype(np.uint32)
    codes = np.where(codes == 0, sign, codes)  # both zeros
    if kind == "nonfinite":
        top = 0xF if fmt.is_e4m3 else (1 << fmt.exponent_width) - 1
        special = sign | np.uint32(top << fmt.fraction_width) | fraction * rng.integers(2, size=shape, dtype=np.uint32)
        codes = np.where(rng.random(shape) < 0.02, special, codes)
    return codes


def random_codes(fmt, kind, plain, n, lanes, rng):
    """Codes of one input class, or of one of ``plain`` for each lane: uint32 array, shape (n, lanes)."""
    if kind != "by lane":
        return _float_codes(fmt, kind, n, lanes, rng)
    return np.concatenate([_float_codes(fmt, rng.choice(plain), n, 1, rng) for _ in range(lanes)], axis=1)


def _depth(config):
    """S; of a core without statistics the length of a chunk, for the lengths of its tiles."""
    return config.sample_depth or config.chunk_len


def _lengths(config, shape, rng):
    """(n, sample_len) of the tiles of one case: more of the longer ones where S is small, each direction once."""
    repeat = 1 if shape in ("n = 1", "n = 2", "sample of 1", "blocks of sums") else max(1, 256 // _depth(config))
    lengths = [tile for _ in range(repeat) for tile in _few_lengths(config, shape, rng)]
    both = config.has_forward and config.has_backward
    return lengths * 2 if both and len(lengths) < 3 else lengths


def _few_lengths(config, shape, rng):
    depth, chunk = _depth(config), config.chunk_len

    def short(sample_len):
        """Few chunks of sample, followed by little, nothing or more than a full sample."""
        return int(rng.choice([sample_len, sample_len + 1, sample_len + int(rng.integers(1, depth))])), sample_len

    def mixed():
        return int(2 ** rng.uniform(0, math.log2(4 * depth)))

    match shape:
        case "n = 1" | "n = 2":
            return [(int(shape[-1]), depth)] * 10
        case "n = S - 1":
            return [(depth - 1, depth)] * 2
        case "n = S":
            return [(depth, depth)] * 2
        case "n = S + 1":
            return [(depth + 1, depth)] * 2
        case "n to 4S":
            return [(int(rng.integers(depth, 4 * depth + 1)), depth)]
        case "mixed n":
            return [(mixed(), int(rng.integers(1, depth + 1)) if rng.random() < 0.3 else depth) for _ in range(7)]
        case "sample multiple of L":
            return [short(chunk * int(rng.integers(1, depth // chunk + 1))) for _ in range(3)]
        case "sample not multiple of L":
            return [short(int(rng.integers(depth)) // chunk * chunk + int(rng.integers(1, chunk))) for _ in range(3)]
        case "sample below L":
            return [short(int(rng.integers(1, chunk))) for _ in range(5)]
        case "sample of 1":
            return [short(1) for _ in range(5)]
        case "blocks of sums":
            # Whole blocks, and a last one about as long as it takes to read the sums of the one before.
            read = TotalsUnit.busy(config)
            return [(SUM_BLOCK * int(rng.integers(1, 4)) + last + int(rng.integers(-1, 2)), depth)
                    for last in (0, 1, read, int(rng.integers(SUM_BLOCK)))]
    raise ValueError(f"shape must be one of {', '.join(SHAPES)}, not {shape!r}")


def random_affine(kind, lanes, rng):
    """fp32 codes of gamma and beta."""
    gamma, beta = rng.uniform(0.25, 4, lanes), rng.standard_normal(lanes) * 2
    if kind in ("signed", "zeros"):
        gamma *= rng.choice([-1, 1], lanes)
    if kind == "zeros":
        gamma, beta = gamma * (rng.random(lanes) < 0.5), beta * (rng.random(lanes) < 0.5)
    gamma, beta = fp32_code(gamma), fp32_code(beta)
    if kind == "any code":
        for words in (gamma, beta):
            wild = rng.random(lanes) < 0.5
            words[wild] = rng.integers(2**32, size=int(wild.sum()), dtype=np.uint32)
    return gamma, beta


def _scale(kind, config, n, sample_len, rng):
    """Values of C and eps."""
    c = default_c(config, n, sample_len)
    match kind:
        case "eps 0":
            return c, 0.0
        case "eps large":
            return c, 2.0 ** rng.uniform(4, 20)
        case "c 1":
            return 1.0, default_eps(1.0)
        case "any":
            eps = rng.choice([2.0 ** rng.uniform(-120, 120), 2.0 ** rng.uniform(-10, 10), np.inf, np.nan],
                             p=[0.4, 0.4, 0.1, 0.1])
            return (np.inf if rng.random() < 0.1 else 2.0 ** rng.uniform(-100, 100)), eps
    return c, default_eps(c)


def random_mask(kind, lanes, rng):
    match kind:
        case "partial":
            return int(rng.integers(1, 1 << lanes))
        case "one lane":
            return 1 << int(rng.integers(lanes))
    return (1 << lanes) - 1


def _directions(config, kind, count, rng):
    """Whether each tile is a backward one."""
    if not (config.has_forward and config.has_backward):
        return [config.has_backward] * count
    first = bool(rng.integers(2))
    match kind:
        case "alternating":
            return [first ^ bool(index % 2) for index in range(count)]
        case "in sequence":
            return [first ^ (index >= count // 2) for index in range(count)]
        case "random":
            chosen = [first, not first, *rng.integers(2, size=count - 2)]
            return [bool(backward) for backward in rng.permutation(chosen)]
    raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, not {kind!r}")


def _backward_tile(config, case, tile, rng):
    """The backward tile of a forward one."""
    wanted = expect(config, tile)
    elements, exponents = odd_y(config, case["stored"], wanted.elements, wanted.exponents, rng)
    dy = random_codes(config.x_format, case["gradient"], PLAIN_GRADIENTS, *tile.x.shape, rng)
    sample_len = int(rng.integers(1 << 16)) if tile.frozen else tile.sample_len
    records = odd_records(config, case["records"], wanted.records, min(tile.sample_len, len(dy)), rng)
    return BackwardTile(dy, elements, exponents, records, tile.c, tile.eps, sample_len, tile.activation, tile.frozen,
                        tile.mask)


def random_tiles(config, case, rng):
    """Tiles of one case.

    Parameters
    ----------
    config : bnforge.config.Config
    case : dict
        One value per axis of :func:`axes`.
    rng : numpy.random.Generator

    Returns
    -------
    list of Tile and BackwardTile
    """
    tiles = []
    lengths = _lengths(config, case["shape"], rng)
    for (n, sample_len), backward in zip(lengths, _directions(config, case.get("direction"), len(lengths), rng)):
        gamma, beta = random_affine(case["gamma"], config.lanes, rng)
        c, eps = _scale(case["scale"], config, n, sample_len, rng)
        frozen = case["frozen"] == "all" or case["frozen"] == "some" and bool(rng.integers(2))
        x = random_codes(config.x_format, case["inputs"], PLAIN_INPUTS, n, config.lanes, rng)
        tile = Tile(x, gamma, beta, int(fp32_code(c)), int(fp32_code(eps)), sample_len, case["activation"], frozen,
                    random_mask(case["mask"], config.lanes, rng))
        tiles.append(_backward_tile(config, case, tile, rng) if backward else tile)
    return tiles


def random_segment(config, case, rng):
    """Tiles of one case, and the segment that runs them with the stalls of the case."""
    tiles = random_tiles(config, case, rng)
    stalls = (STALLS | Y_STALLS)[case["stalls"]]
    late = {"header late": 0, "gamma late": HEADER_FIXED_WORDS}.get(case["stalls"])
    waits = []
    for tile in tiles:
        wait = np.zeros(len(header_words(config, tile)), dtype=np.uint32)
        if late is not None:
            wait[late] = rng.integers(1, 2 * _depth(config))
        waits.append(wait)
    stretch = segment(config, tiles, stalls=stalls, seed=int(rng.integers(2**32)), header_wait=waits)
    if case["stalls"] == "y late":
        stretch.y_wait = np.zeros(len(stretch.y), dtype=np.uint32)
        first = np.concatenate([[0], np.flatnonzero(stretch.y_last)[:-1] + 1])
        stretch.y_wait[first] = rng.integers(1, 2 * _depth(config), len(first))
    return tiles, stretch
