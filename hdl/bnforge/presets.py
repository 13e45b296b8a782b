"""Named configurations, all for both directions. The text beside each is what ``bnforge list`` prints."""

from .config import Config
from .formats import BF16, FP10, BlockFormat

__all__ = ["opn16", "opn4", "opn32_mx", "opn1_tiny", "PRESETS"]

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
