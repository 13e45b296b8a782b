"""docs/arithmetic.md once more, in Python integers and fractions: slow, one channel at a time, obviously right.

It shares nothing with ``bnforge_model`` but the configuration, and follows the text section by section.
"""

import math
from fractions import Fraction

from bnforge.config import Activation, Multiplier
from bnforge.formats import FP32, WORKING

IDENTITY, RELU, RELU6 = Activation


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
    """Q_a, with either multiplier."""
    fmt = config.a_format
    if config.multiplier is Multiplier.FULL or value == 0:
        return rounder(fmt, value)
    e = floor_log2(abs(value))
    significand = abs(value) / Fraction(2) ** e
    steps = [Fraction(1, 1 << k) for k in range(1, config.a_fraction + 1)]
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


def anchored_sum(config, codes):
    """The anchored accumulator over sanitised codes."""
    fmt = config.x_format
    m_bits = fmt.fraction_width
    q_log2 = fmt.exponent_width if fmt.exponent_width <= 5 else 3
    q = 1 << q_log2
    guard = 0
    if fmt.exponent_width > 5:
        guard = max(0, 14 + math.ceil(math.log2(config.sample_depth)) + 1 - m_bits)
    accumulator = anchor = None
    for code in codes:
        exponent = code >> m_bits & ((1 << fmt.exponent_width) - 1)
        significand = code & ((1 << m_bits) - 1) | ((1 << m_bits) if exponent else 0)
        sign = -1 if code >> (fmt.width - 1) else 1
        exponent = max(exponent, 1)
        high, low = exponent >> q_log2, exponent & (q - 1)
        if anchor is None:
            accumulator, anchor = 0, high
        new = max(anchor, high)
        term = sign * ((significand << (low + guard)) >> q * (new - high))
        accumulator = (accumulator >> q * (new - anchor)) + term
        anchor = new
    return accumulator * Fraction(2) ** (q * anchor - fmt.bias - m_bits - guard)


def chunks(config, sample_len):
    """K and the length of a chunk."""
    if sample_len < config.chunk_len:
        return 1, sample_len
    return sample_len // config.chunk_len, config.chunk_len


def channel_constants(config, codes, gamma, beta, c, eps):
    """a, b, rinv, mu, r, argmax, argmin and saturated of a channel from its sample's sanitised codes."""
    flags = []

    def narrow(value, rounding=lambda v: rounder(WORKING, v)):
        value, saturated = rounding(value)
        flags.append(saturated)
        return value

    sample = [decode(config.x_format, code) for code in codes]
    total = truncate(anchored_sum(config, codes), 24)
    n_chunks, length = chunks(config, len(sample))
    argmax, argmin = [0] * config.n_chunks, [0] * config.n_chunks
    range_total = Fraction(0)
    for j in range(n_chunks):
        chunk = sample[j * length:(j + 1) * length]
        argmax[j], argmin[j] = chunk.index(max(chunk)), chunk.index(min(chunk))
        range_total = truncate(range_total + truncate(max(chunk) - min(chunk), 24), 24)
    mu = narrow(total * narrow(Fraction(1, len(sample))))
    r = narrow(range_total * narrow(Fraction(1, n_chunks)))
    if r == 0:
        rinv = a = Fraction(0)
    else:
        rinv = narrow(1 / truncate(r + eps, 32))
        a = narrow(gamma * rinv / c, lambda v: round_a(config, v))
    b = narrow(beta - mu * a, lambda v: rounder(config.b_format, v))
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
    m = max(abs(y) for y in group)
    if m == 0:
        return [0] * len(group), 0, [Fraction(0)] * len(group), False
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


def forward_tile(config, codes, gamma, beta, *, activation, sample_len, c, eps, frozen, mask):
    """One tile.

    Parameters
    ----------
    codes : list of n lists of config.lanes codes
    gamma, beta : lists of config.lanes fp32 codes
    c, eps : fp32 codes
    mask : list of config.lanes bools

    Returns
    -------
    dict
        ``elements`` and ``values`` (n x lanes), ``exponents`` (n x groups), ``scalars`` and ``positions`` per lane,
        ``flags``: (nan, infinity, saturated).
    """
    flags = [False, False, False]

    def header(code, rounding=lambda v: rounder(WORKING, v)):
        value, nan, infinity = sanitise(FP32, code)
        value, saturated = rounding(value)
        for i, flag in enumerate((nan, infinity, saturated)):
            flags[i] |= flag
        return value

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
        clean = []
        for beat in codes:
            value, nan, infinity = sanitise(config.x_format, beat[lane])
            flags[0] |= nan
            flags[1] |= infinity
            clean.append(encode(config.x_format, value))
        if frozen:
            a = header(gamma[lane], lambda v: round_a(config, v))
            b = header(beta[lane], lambda v: rounder(config.b_format, v))
            scalars[lane] = (a, b, Fraction(0), Fraction(0), Fraction(0))
        else:
            scalars[lane], positions[lane], saturated = channel_constants(
                config, clean[:min(n, sample_len)], header(gamma[lane]), header(beta[lane]), c, eps)
            flags[2] |= saturated
        a, b = scalars[lane][:2]
        column = []
        for code in clean:
            y, saturated = rounder(WORKING, a * decode(config.x_format, code) + b)
            flags[2] |= saturated
            column.append(activate(activation, y))
        columns.append(column)
    elements, values, exponents = [], [], []
    for beat in zip(*columns, strict=True):
        if config.is_block:
            size = config.storage.group
            stored = [store_block(config.storage, beat[i:i + size], activation)
                      for i in range(0, config.lanes, size)]
            elements.append([element for block in stored for element in block[0]])
            exponents.append([block[1] for block in stored])
            values.append([value for block in stored for value in block[2]])
            flags[2] |= any(block[3] for block in stored)
        else:
            stored = [store_float(config.storage, y, activation) for y in beat]
            elements.append([code for code, _, _ in stored])
            values.append([value for _, value, _ in stored])
            flags[2] |= any(saturated for _, _, saturated in stored)
    return {"elements": elements, "values": values, "exponents": exponents, "scalars": scalars,
            "positions": positions, "flags": tuple(flags)}
