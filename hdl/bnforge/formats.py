"""Number formats: what a code is worth, as pure Python data. The circuits are in :mod:`bnforge.arith`.

Design contract, section 3. Nothing here imports Amaranth or numpy, so that generator and model share it.
"""

from dataclasses import dataclass

__all__ = ["FloatFormat", "BlockFormat", "BF16", "FP16", "FP10", "FP10_1_6_3", "E4M3", "E5M2", "FP32", "WORKING",
           "FLOAT_FORMATS", "require_int"]


def require_int(name, value, low, high):
    """Check that ``value`` is an integer in ``low ... high``.

    Raises
    ------
    ValueError
        "NAME must be an integer from LOW to HIGH, not VALUE".
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format: sign, exponent, fraction, from the most significant bit down.

    The bias is ``2**(exponent_width - 1) - 1`` (IEEE 754-2019, section 3.4). Below eight exponent bits there are IEEE
    subnormals; with eight, subnormals flush to zero. The all-ones exponent is infinity or NaN, except in the
    1-4-3 format, which follows E4M3 of "OCP 8-bit Floating Point Specification (OFP8)" 1.0: no infinity, one NaN.

    Parameters
    ----------
    exponent_width : int
        Bits of the exponent, 2 to 8.
    fraction_width : int
        Stored bits of the significand, 1 to 23.
    """

    exponent_width: int
    fraction_width: int

    def __post_init__(self):
        require_int("exponent_width", self.exponent_width, 2, 8)
        require_int("fraction_width", self.fraction_width, 1, 23)

    @property
    def width(self):
        """Bits of a code."""
        return 1 + self.exponent_width + self.fraction_width

    @property
    def significand_width(self):
        """Bits of the significand, the hidden one included."""
        return 1 + self.fraction_width

    @property
    def bias(self):
        return (1 << (self.exponent_width - 1)) - 1

    @property
    def has_subnormals(self):
        return self.exponent_width < 8

    @property
    def is_e4m3(self):
        """Whether the OCP rule for the top exponent holds (one NaN, no infinity)."""
        return (self.exponent_width, self.fraction_width) == (4, 3)

    @property
    def max_code(self):
        """Code of the largest finite value."""
        if self.is_e4m3:
            return 0b0_1111_110
        return (((1 << self.exponent_width) - 1) << self.fraction_width) - 1

    @property
    def min_code(self):
        """Code of the smallest positive value: subnormal where the format has them."""
        return 1 if self.has_subnormals else 1 << self.fraction_width

    @property
    def e_max(self):
        """Exponent of the largest finite value."""
        return (self.max_code >> self.fraction_width) - self.bias

    @property
    def e_min(self):
        """Exponent of the smallest normal value."""
        return 1 - self.bias

    @property
    def code_of_six(self):
        """Code of 6.0 = 1.1b · 2², the upper limit of relu6; None where the format cannot hold it."""
        if self.e_max < 2:
            return None
        return ((2 + self.bias) << self.fraction_width) | (1 << (self.fraction_width - 1))

    def __str__(self):
        return f"1-{self.exponent_width}-{self.fraction_width}"


@dataclass(frozen=True)
class BlockFormat:
    """Block floating point: ``group`` neighbouring channels share a scale 2**e, each keeps an integer element.

    An element ``k`` is worth ``k · 2**(e - fraction_width)``. The conversion is that of "OCP Microscaling Formats (MX)
    Specification" 1.0, section 6.3, made symmetric: e = floor(log2 max|v|) of the unrounded values, nearest-even
    elements, clamped to ``±max_element``; the most negative code is never produced, but decodes. The all-ones
    exponent code is reserved as in MX: it decodes to zeros and sets a flag.

    Parameters
    ----------
    group : int
        Elements that share an exponent, 1 to 32. Must divide the number of lanes.
    element_width : int
        Bits of an element, the sign included when ``signed``; 4 to 12.
    exponent_width : int
        Bits of the shared exponent, 4 to 8; its bias is ``2**(exponent_width - 1) - 1``.
    signed : bool
        False drops the sign bit: only for relu and relu6 outputs.
    second_largest : bool
        The scale is that of the second largest magnitude (of the largest where all others are 0), and the largest is
        clamped: the rule of LightNorm (Noh et al., 2022), for baselines only. The group has at least two elements.
    """

    group: int
    element_width: int
    exponent_width: int = 8
    signed: bool = True
    second_largest: bool = False

    def __post_init__(self):
        require_int("group", self.group, 1, 32)
        require_int("element_width", self.element_width, 4, 12)
        require_int("exponent_width", self.exponent_width, 4, 8)
        if not isinstance(self.signed, bool):
            raise ValueError(f"signed must be true or false, not {self.signed!r}")
        if not isinstance(self.second_largest, bool):
            raise ValueError(f"second_largest must be true or false, not {self.second_largest!r}")
        if self.second_largest and self.group < 2:
            raise ValueError(f"group must be at least 2 with second_largest, not {self.group!r}")

    @property
    def fraction_width(self):
        """Fraction bits of an element relative to the scale: M of the design contract."""
        return self.element_width - (2 if self.signed else 1)

    @property
    def max_element(self):
        """Largest magnitude that is produced."""
        return (1 << (self.fraction_width + 1)) - 1

    @property
    def bias(self):
        return (1 << (self.exponent_width - 1)) - 1

    @property
    def max_exponent_code(self):
        """Largest exponent code that is produced; the one above is reserved."""
        return (1 << self.exponent_width) - 2

    @property
    def six_element(self):
        """Element of 6.0 in a block of exponent 2, the only exponent where a value can round to 6."""
        return 6 << (self.fraction_width - 2)

    def __str__(self):
        return f"{self.group} x {'' if self.signed else 'u'}{self.element_width} bits"


BF16 = FloatFormat(8, 7)
FP16 = FloatFormat(5, 10)
FP10 = FloatFormat(5, 4)
FP10_1_6_3 = FloatFormat(6, 3)
E4M3 = FloatFormat(4, 3)
E5M2 = FloatFormat(5, 2)
FP32 = FloatFormat(8, 23)
"""The format of header and record words. Its subnormals flush to zero here, as for every eight-bit exponent."""
WORKING = FloatFormat(8, 15)
"""The working format 1-8-15 of mu, R, Rinv, 1/S_eff, 1/K and of y before storage."""

FLOAT_FORMATS = {"bf16": BF16, "fp16": FP16, "fp10": FP10, "fp10_1_6_3": FP10_1_6_3, "e4m3": E4M3, "e5m2": E5M2,
                 "working": WORKING}
"""Names that a configuration file may use."""
