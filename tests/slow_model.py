"""docs/arithmetic.md once more, in Python integers and fractions: slow, one channel at a time, obviously right.

It shares nothing with ``bnforge_model`` but the configuration, and follows the text section by section. Every width
that the text fixes can be changed (:class:`Widths`), so that the algorithm can be told from its roundings.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

from bnforge.config import SUM_BLOCK, Activation, Multiplier
from bnforge.formats import FP32, WORKING, BlockFormat, FloatFormat

IDENTITY, RELU, RELU6 = Activation


class WideFormat(FloatFormat):
    """A float format of any width; eight exponent bits and more flush subnormals."""

    def __post_init__(self):
        pass


@dataclass(frozen=True, kw_only=True)
class Widths:
    """What the text fixes; :meth:`of` a configuration. ``extra`` bits are added to every truncation and guard."""

    x_format: FloatFormat
    a_format: FloatFormat
    b_format: FloatFormat
    storage: FloatFormat | BlockFormat
    working: FloatFormat = WORKING
    record: FloatFormat = FP32
    two_digit: bool = False
    extra: int = 0

    @classmethod
    def of(cls, config):
        return cls(x_format=config.x_format, a_format=config.a_format, b_format=config.b_format,
                   storage=config.storage, two_digit=config.multiplier is Multiplier.TWO_DIGIT)

    @property
    def is_block(self):
        return isinstance(self.storage, BlockFormat)

    @property
    def gradient_storage(self):
        """The format of dx."""
        return replace(self.storage, signed=True) if self.is_block else self.storage

    def truncate(self, value, bits):
        """trunc_bits of the text."""
        return truncate(value, bits + self.extra)


WIDE = WideFormat(8, 30)
WIDEST = Widths(x_format=WideFormat(11, 52), a_format=WIDE, b_format=WIDE, storage=WIDE, working=WIDE, record=WIDE,
                extra=16)
"""float64 codes of x and dy; everything else with 30 fraction bits, sums with 16 bits more than the text says."""


def floor_log2(value):
    """floor(log2(value)) of a positive fraction."""
    e = value.numerator.bit_length() - value.denominator.bit_length()
    return e if value >= Fraction(2) ** e else e - 1


def nearest_even(value):
    """A fraction to the nearest integer, ties to even (what ``round`` of a Fraction does)."""
    return round(value)


def largest(fmt):
    return decode(fmt, fmt.max_code)


def decode(fmt, code):
    """The value of a finite code, subnormals as IEEE."""
    fraction = code & ((1 << fmt.fraction_width) - 1)
    exponent = (code >> fmt.fraction_width) & ((1 << fmt.exponent_width) - 1)
    significand = fraction + ((1 << fmt.fraction_width) if exponent else 0)
    value = significand * Fraction(2) ** (max(exponent, 1) - fmt.bias - fmt.fraction_width)
    return -value if code >> (fmt.width - 1) else value


def encode(fmt, value):
    """The code whose value this is, by its definition: exponent and significand of |value|."""
    if value == 0:
        return 0
    magnitude = abs(value)
    e = max(floor_log2(magnitude), fmt.e_min)
    significand = magnitude / Fraction(2) ** (e - fmt.fraction_width)
    assert significand.denominator == 1
    significand = int(significand)
    exponent = e + fmt.bias if significand >> fmt.fraction_width else 0
    code = exponent << fmt.fraction_width | significand & ((1 << fmt.fraction_width) - 1)
    return code | (value < 0) << (fmt.width - 1)


def sanitise(fmt, code):
    """Value, nan, infinity of an input code."""
    magnitude = code & ((1 << (fmt.width - 1)) - 1)
    sign = -1 if code >> (fmt.width - 1) else 1
    if magnitude > fmt.max_code:
        if not fmt.is_e4m3 and magnitude == fmt.max_code + 1:
            return sign * largest(fmt), False, True
        return Fraction(0), True, False
    if fmt.exponent_width == 8 and magnitude >> fmt.fraction_width == 0:
        return Fraction(0), False, False
    return decode(fmt, code), False, False


def rounder(fmt, value):
    """Q_f: value and whether it saturated."""
    if value == 0:
        return Fraction(0), False
    magnitude = abs(value)
    e = floor_log2(magnitude)
    if fmt.has_subnormals:
        e = max(e, fmt.e_min)
    grid = Fraction(2) ** (e - fmt.fraction_width)
    return limit(fmt, value, nearest_even(magnitude / grid) * grid)


def limit(fmt, value, rounded):
    """Steps 3 and 4 of the rounder."""
    saturated = rounded > largest(fmt)
    if saturated:
        rounded = largest(fmt)
    if not fmt.has_subnormals and rounded < Fraction(2) ** fmt.e_min:
        rounded = Fraction(0)
    return (-rounded if value < 0 else rounded), saturated


def round_a(config, value):
    """Q_a of a configuration."""
    return round_scale(Widths.of(config), value)


def round_scale(widths, value):
    """Q_a, with either multiplier."""
    fmt = widths.a_format
    if not widths.two_digit or value == 0:
        return rounder(fmt, value)
    e = floor_log2(abs(value))
    significand = abs(value) / Fraction(2) ** e
    steps = [Fraction(1, 1 << k) for k in range(1, fmt.fraction_width + 1)]
    choices = sorted({Fraction(1), Fraction(2), *(1 + s for s in steps), *(2 - s for s in steps)})
    index = min(range(len(choices)), key=lambda i: (abs(choices[i] - significand), i % 2))
    return limit(fmt, value, choices[index] * Fraction(2) ** e)


def truncate(value, bits):
    """The magnitude cut to its top bits."""
    if value == 0:
        return value
    grid = Fraction(2) ** (floor_log2(abs(value)) - bits + 1)
    magnitude = math.floor(abs(value) / grid) * grid
    return -magnitude if value < 0 else magnitude


def anchored(terms, q_log2, guard):
    """The accumulator (acc, anchor) over terms (sign, integer, E), worth ± integer · 2^E each; returns the sum."""
    q = 1 << q_log2
    accumulator, anchor = 0, terms[0][2] >> q_log2
    for sign, integer, exponent in terms:
        high, low = exponent >> q_log2, exponent & (q - 1)
        new = max(anchor, high)
        accumulator = accumulator >> q * (new - anchor)
        accumulator += sign * ((integer << (low + guard)) >> q * (new - high))
        anchor = new
    return accumulator * Fraction(2) ** (q * anchor - guard)


def sum_of_codes(widths, sample_depth, codes):
    """The anchored accumulator over sanitised codes of the input format."""
    fmt = widths.x_format
    m_bits = fmt.fraction_width
    exact = fmt.exponent_width <= 5
    guard = 0 if exact else max(0, 15 + widths.extra + math.ceil(math.log2(max(sample_depth, 128))) - m_bits)
    terms = []
    for code in codes:
        exponent = code >> m_bits & ((1 << fmt.exponent_width) - 1)
        integer = code & ((1 << m_bits) - 1) | ((1 << m_bits) if exponent else 0)
        terms.append((-1 if code >> (fmt.width - 1) else 1, integer, max(exponent, 1)))
    total = anchored(terms, fmt.exponent_width if exact else 3, guard)
    return total * Fraction(2) ** (-fmt.bias - m_bits)


def sum_of_products(widths, pairs):
    """The anchored accumulator over g·y, from pairs of values."""
    offset, terms = 0, []
    for fmt in (widths.x_format, widths.storage):
        deep = isinstance(fmt, BlockFormat) or fmt.has_subnormals
        offset += fmt.bias + (fmt.fraction_width if deep else 0)
    fractions = widths.x_format.fraction_width + widths.storage.fraction_width
    for g, y in pairs:
        if g * y == 0:
            terms.append((1, 0, 0))
            continue
        e_g, e_y = floor_log2(abs(g)), floor_log2(abs(y))
        s_g = abs(g) / Fraction(2) ** (e_g - widths.x_format.fraction_width)
        s_y = abs(y) / Fraction(2) ** (e_y - widths.storage.fraction_width)
        assert s_g.denominator == s_y.denominator == 1
        terms.append((-1 if g * y < 0 else 1, int(s_g * s_y), e_g + e_y + offset))
    total = anchored(terms, 3, max(0, 22 + widths.extra - fractions))
    return total * Fraction(2) ** (-offset - fractions)


def chunks(config, sample_len):
    """K and the length of a chunk."""
    if sample_len < config.chunk_len:
        return 1, sample_len
    return sample_len // config.chunk_len, config.chunk_len


def channel_constants(config, widths, codes, gamma, beta, c, eps):
    """a, b, rinv, mu, r, argmax, argmin and saturated of a channel from its sample's sanitised codes."""
    flags = []

    def narrow(value, rounding=lambda v: rounder(widths.working, v)):
        value, saturated = rounding(value)
        flags.append(saturated)
        return value

    sample = [decode(widths.x_format, code) for code in codes]
    total = widths.truncate(sum_of_codes(widths, config.sample_depth, codes), 24)
    n_chunks, length = chunks(config, len(sample))
    argmax, argmin = [0] * config.n_chunks, [0] * config.n_chunks
    range_total = Fraction(0)
    for j in range(n_chunks):
        chunk = sample[j * length:(j + 1) * length]
        argmax[j], argmin[j] = chunk.index(max(chunk)), chunk.index(min(chunk))
        range_total = widths.truncate(range_total + widths.truncate(max(chunk) - min(chunk), 24), 24)
    mu = narrow(total * narrow(Fraction(1, len(sample))))
    r = narrow(range_total * narrow(Fraction(1, n_chunks)))
    if r == 0:
        rinv = a = Fraction(0)
    else:
        rinv = narrow(1 / widths.truncate(r + eps, 32))
        a = narrow(gamma * rinv / c, lambda v: round_scale(widths, v))
    b = narrow(beta - mu * a, lambda v: rounder(widths.b_format, v))
    return (a, b, rinv, mu, r), (argmax, argmin), any(flags)


def activate(activation, value):
    if activation == RELU:
        return max(Fraction(0), value)
    if activation == RELU6:
        return min(Fraction(6), max(Fraction(0), value))
    return value


def store_float(fmt, y, activation):
    """Code, value and saturated of one stored float."""
    value, saturated = rounder(fmt, y)
    code = encode(fmt, value)
    if activation != IDENTITY and y > 0 and code == 0:
        code = fmt.min_code
    if activation == RELU6 and y < 6 and value >= 6:
        code = encode(fmt, Fraction(6)) - 1
    return code, decode(fmt, code), saturated


def store_block(fmt, group, activation):
    """Elements, exponent code, values and saturated of one block."""
    *others, m = sorted(abs(y) for y in group)
    if m == 0:
        return [0] * len(group), 0, [Fraction(0)] * len(group), False
    if fmt.second_largest and others[-1] > 0:
        m = others[-1]
    code = floor_log2(m) + fmt.bias
    saturated = code > fmt.max_exponent_code
    code = min(max(code, 0), fmt.max_exponent_code)
    scale = Fraction(2) ** (code - fmt.bias - fmt.fraction_width)
    elements = []
    for y in group:
        element = min(max(nearest_even(y / scale), -fmt.max_element), fmt.max_element)
        if activation != IDENTITY and y > 0 and element == 0:
            element = 1
        if activation == RELU6 and y < 6 and element * scale >= 6:
            element = int(6 / scale) - 1
        elements.append(element)
    return elements, code, [element * scale for element in elements], saturated


def store_beat(widths, fmt, beat, activation):
    """Elements, exponent codes, values and saturated of one beat of all lanes."""
    if isinstance(fmt, BlockFormat):
        stored = [store_block(fmt, beat[i:i + fmt.group], activation) for i in range(0, len(beat), fmt.group)]
        return ([element for block in stored for element in block[0]], [block[1] for block in stored],
                [value for block in stored for value in block[2]], any(block[3] for block in stored))
    stored = [store_float(fmt, y, activation) for y in beat]
    return ([code for code, _, _ in stored], [], [value for _, value, _ in stored],
            any(saturated for _, _, saturated in stored))


class Flags:
    """nan, infinity and saturated of a tile, and the header values that can raise them."""

    def __init__(self):
        self.nan = self.infinity = self.saturated = False

    def narrow(self, rounded):
        """The value of a pair (value, saturated)."""
        self.saturated |= rounded[1]
        return rounded[0]

    def clean(self, fmt, code):
        """The sanitised value of a code."""
        value, nan, infinity = sanitise(fmt, code)
        self.nan |= nan
        self.infinity |= infinity
        return value

    def all(self):
        return self.nan, self.infinity, self.saturated


def store_tile(widths, fmt, columns, activation, flags):
    """``elements``, ``exponents`` and ``values`` of the columns of a tile."""
    stored = [store_beat(widths, fmt, beat, activation) for beat in zip(*columns, strict=True)]
    flags.saturated |= any(beat[3] for beat in stored)
    return {"elements": [beat[0] for beat in stored], "exponents": [beat[1] for beat in stored if beat[1]],
            "values": [beat[2] for beat in stored]}


def forward_tile(config, codes, gamma, beta, *, activation, sample_len, c, eps, frozen, mask, widths=None):
    """One tile.

    Parameters
    ----------
    codes : list of n lists of config.lanes codes
    gamma, beta : lists of config.lanes fp32 codes
    c, eps : fp32 codes
    mask : list of config.lanes bools
    widths : Widths
        Default those of the text.

    Returns
    -------
    dict
        ``elements`` and ``values`` (n x lanes), ``exponents`` (n x groups), ``scalars`` and ``positions`` per lane,
        ``flags``: (nan, infinity, saturated).
    """
    widths = widths or Widths.of(config)
    flags = Flags()

    def header(code, rounding=lambda v: rounder(widths.working, v)):
        return flags.narrow(rounding(flags.clean(FP32, code)))

    n = len(codes)
    if not frozen:
        c, eps = header(c), header(eps)
    scalars = [(Fraction(0),) * 5] * config.lanes
    positions = [([0] * config.n_chunks, [0] * config.n_chunks)] * config.lanes
    columns = []
    for lane in range(config.lanes):
        if not mask[lane]:
            columns.append([Fraction(0)] * n)
            continue
        values = [flags.clean(widths.x_format, beat[lane]) for beat in codes]
        if frozen:
            a = header(gamma[lane], lambda v: round_scale(widths, v))
            b = header(beta[lane], lambda v: rounder(widths.b_format, v))
            scalars[lane] = (a, b, Fraction(0), Fraction(0), Fraction(0))
        else:
            sample = [encode(widths.x_format, value) for value in values[:min(n, sample_len)]]
            scalars[lane], positions[lane], saturated = channel_constants(
                config, widths, sample, header(gamma[lane]), header(beta[lane]), c, eps)
            flags.saturated |= saturated
        a, b = scalars[lane][:2]
        columns.append([activate(activation, flags.narrow(rounder(widths.working, a * x + b))) for x in values])
    stored = store_tile(widths, widths.storage, columns, activation, flags)
    return {**stored, "scalars": scalars, "positions": positions, "flags": flags.all()}


def active(activation, y):
    """Whether the activation passes the gradient at a stored y."""
    return activation == IDENTITY or (y > 0 and (activation == RELU or y < 6))


def block_totals(config, widths, g, y):
    """Sg and Sgy of a channel, from its g and y in the order of the stream."""
    total_g = total_gy = Fraction(0)
    for first in range(0, len(g), SUM_BLOCK):
        part = slice(first, first + SUM_BLOCK)
        block = sum_of_codes(widths, config.sample_depth, [encode(widths.x_format, value) for value in g[part]])
        total_g = widths.truncate(total_g + widths.truncate(block, 24), 32)
        block = sum_of_products(widths, list(zip(g[part], y[part], strict=True)))
        total_gy = widths.truncate(total_gy + widths.truncate(block, 24), 32)
    return widths.truncate(total_g, 24), total_gy


def gradient_constants(widths, scalars, sums, c, eps, sample_len, n_chunks, frozen, flags):
    """(base, plus, minus) and (dgamma, dbeta) of a channel; the former 0 in frozen tiles."""
    def cut(value):
        return widths.truncate(value, 24)

    a, b, rinv, mu, r = scalars
    sg, sgy = sums
    beta_centre = cut(b + mu * a)
    p = cut(sgy - widths.truncate(beta_centre * sg, 32))
    addends = (Fraction(0),) * 3
    if not frozen:
        t = cut(-cut(p * rinv) * rounder(widths.working, Fraction(1, n_chunks))[0])
        c_term = cut(a * cut(sg * rounder(widths.working, Fraction(1, sample_len))[0]))
        addends = tuple(flags.narrow(rounder(widths.b_format, v)) for v in (-c_term, -c_term + t, -c_term - t))
    dbeta = flags.narrow(rounder(widths.record, sg))
    if a == 0:
        return addends, (Fraction(0), dbeta)
    gamma = cut(a * cut(c * cut(r + eps)))
    floor = max(Fraction(1, 64), abs(beta_centre) * Fraction(2) ** -(widths.storage.fraction_width + 1))
    if abs(gamma) < floor:
        gamma = -floor if a < 0 else floor
    return addends, (flags.narrow(rounder(widths.working, p / gamma)), dbeta)


def decode_column(config, widths, elements, exponents, lane, flags):
    """The values of a lane's stored y."""
    if not widths.is_block:
        return [flags.clean(widths.storage, beat[lane]) for beat in elements]
    fmt, values = widths.storage, []
    for beat, codes in zip(elements, exponents, strict=True):
        code = codes[lane // fmt.group]
        reserved = code > fmt.max_exponent_code
        flags.nan |= reserved
        values.append(Fraction(0) if reserved else beat[lane] * Fraction(2) ** (code - fmt.bias - fmt.fraction_width))
    return values


def backward_tile(config, codes, elements, exponents, scalars, positions, *, activation, sample_len, c, eps, frozen,
                  mask, widths=None):
    """One backward tile; beats in the order of the stream, so that the sample is what comes last.

    Parameters
    ----------
    codes : list of n lists of config.lanes codes
        dy.
    elements, exponents : lists of n lists
        The stored y: config.lanes elements (signed integers, or codes of a float format), config.n_groups codes.
    scalars, positions : per lane, as :func:`forward_tile` returns them
        Fractions a, b, Rinv, mu, R, narrowed here as header words are; argmax and argmin of each chunk.
    c, eps : fp32 codes
        Read in frozen tiles too.
    mask : list of config.lanes bools
    widths : Widths
        Default those of the text.

    Returns
    -------
    dict
        ``elements``, ``values``, ``exponents`` of dx, in the order of the stream; per lane ``gradients`` (dgamma,
        dbeta) and ``sums`` (Sg, Sgy); ``flags``: (nan, infinity, saturated).
    """
    widths = widths or Widths.of(config)
    flags = Flags()
    c, eps = (flags.narrow(rounder(widths.working, flags.clean(FP32, code))) for code in (c, eps))
    n = len(codes)
    sample_len = 0 if frozen else min(n, sample_len)
    n_chunks, length = (0, 0) if frozen else chunks(config, sample_len)
    gradients, sums = [(Fraction(0),) * 2] * config.lanes, [(Fraction(0),) * 2] * config.lanes
    columns = []
    for lane in range(config.lanes):
        if not mask[lane]:
            columns.append([Fraction(0)] * n)
            continue
        a, b, rinv, mu, r = scalars[lane]
        record = (flags.narrow(round_scale(widths, a)), flags.narrow(rounder(widths.b_format, b)),
                  *(flags.narrow(rounder(widths.working, v)) for v in (rinv, mu, r)))
        dy = [flags.clean(widths.x_format, beat[lane]) for beat in codes]
        y = decode_column(config, widths, elements, exponents, lane, flags)
        g = [value if active(activation, at) else Fraction(0) for value, at in zip(dy, y, strict=True)]
        sums[lane] = block_totals(config, widths, g, y)
        (base, plus, minus), gradients[lane] = gradient_constants(
            widths, record, sums[lane], c, eps, sample_len, n_chunks, frozen, flags)
        addends = [Fraction(0)] * (n - sample_len) + [base] * sample_len
        for j in range(n_chunks):
            high, low = (n - sample_len + j * length + positions[lane][k][j] for k in (0, 1))
            if high != low:
                addends[high], addends[low] = plus, minus
        columns.append([flags.narrow(rounder(widths.working, record[0] * value + addend))
                        for value, addend in zip(g, addends, strict=True)])
    stored = store_tile(widths, widths.gradient_storage, columns, IDENTITY, flags)
    return {**stored, "gradients": gradients, "sums": sums, "flags": flags.all()}
