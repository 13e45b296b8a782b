"""Named configurations, both directions unless they say so. The text beside each is what ``bnforge list`` prints."""

from .config import Algorithm, Config, Directions, Extraction
from .formats import BF16, FP10, BlockFormat

__all__ = ["opn16", "opn4", "opn32_mx", "opn1_tiny", "PRESETS", "COMPARED", "SMALL", "NAMED"]

opn16 = Config(name="opn16")
opn4 = Config(name="opn4", lanes=4, x_format=FP10, sample_depth=256, chunk_len=128, storage=FP10)
opn32_mx = Config(name="opn32_mx", lanes=32, storage=BlockFormat(32, 8))
opn1_tiny = Config(name="opn1_tiny", lanes=1, x_format=BF16, sample_depth=16, chunk_len=4, storage=BlockFormat(1, 8))

PRESETS = {
    "opn16": (opn16, "16 lanes, x bf16, S = 1024, L = 128, y and dx in blocks of 16 x 8 bits (default)"),
    "opn4": (opn4, "4 lanes, x and y FP10 1-5-4, S = 256, L = 128, y and dx as plain floats"),
    "opn32_mx": (opn32_mx, "32 lanes, x bf16, S = 1024, L = 128, y and dx as OCP MXINT8 (groups of 32)"),
    "opn1_tiny": (opn1_tiny, "1 lane, x bf16, S = 16, L = 4, for proofs and quick tests"),
}

_LIGHTNORM = {"x_format": FP10, "storage": BlockFormat(4, 6, 5)}
COMPARED = {config.name: (config, text) for config, text in (
    (opn16.replace(name="opn16_fp10", **_LIGHTNORM),
     "opn16 with the formats of lightnorm16"),
    (opn16.replace(name="opn16_shared", extraction=Extraction.SHARED_DIVIDER),
     "opn16 without constant extraction: lanes subtract, multiply by the shared 1/R, apply gamma and beta"),
    (opn16.replace(name="opn16_divider", extraction=Extraction.LANE_DIVIDER),
     "the same with a divider in each lane"),
    (Config(name="range16", algorithm=Algorithm.RANGE), "range batch norm over the whole channel, formats of opn16"),
    (Config(name="lightnorm16", algorithm=Algorithm.RANGE, **_LIGHTNORM),
     "range batch norm, x FP10, y and dx in blocks of 4 x 6 bits"),
    (Config(name="lightnorm16_second", algorithm=Algorithm.RANGE, x_format=FP10,
            storage=BlockFormat(4, 6, 5, second_largest=True)), "the same with the second largest exponent of a block"),
    (Config(name="single16", algorithm=Algorithm.SINGLE_PASS),
     "batch norm, mean and variance in one sweep, formats of opn16"),
    (Config(name="two16", algorithm=Algorithm.TWO_PASS),
     "batch norm, mean and variance in a sweep each, the same formats"),
    (Config(name="two16_bf16", algorithm=Algorithm.TWO_PASS, storage=BF16), "the same, everything stored as bf16"))}
"""What opn16 is compared with (docs/baselines.md); 16 lanes."""

opn2_frozen = Config(name="opn2_frozen", lanes=2, storage=BlockFormat(2, 8), sample_depth=0,
                     directions=Directions.FORWARD)
SMALL = {"opn2_frozen": (opn2_frozen, "2 lanes, x bf16, forward without statistics: constants in the header")}
"""For the smallest devices."""
NAMED = PRESETS | COMPARED | SMALL
"""All named configurations."""
