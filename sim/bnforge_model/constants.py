"""The constants of a tile in numpy (docs/arithmetic.md, "Constants" and "Backward constants").

Why float64 is enough for the quotients: N/D and a midpoint m of P + 1 bits differ by |N - m·D| / D, where m·D is an
integer of P + 1 + bits(D) bits in the unit of N or finer, so that they are equal or differ by 2^-(P + 1 + bits(D)) of
their value. For 1/D that is 2^-(17 + 32), for gamma·Rinv/C (its product of 32 bits is exact) 2^-(17 + 16), for P/gamma'
2^-(17 + 24): rounding to 53 bits first reaches no midpoint.

Nothing here leaves the range of float64: sums of the gradient lie between 2^-300 and 2^276, P and beta'·Sg between
2^-470 and 2^404.
"""

from dataclasses import dataclass

import numpy as np

from bnforge.config import Multiplier
from bnforge.formats import FP32, WORKING

from .floats import add_odd, add_toward_zero, decode, round_scale, round_to, sanitise, truncate
from .statistics import SUM_BITS, TOTAL_BITS, chunk_shape

__all__ = ["Header", "Constants", "BackwardHeader", "BackwardConstants", "read_header", "moments", "constants",
           "frozen_constants", "read_backward_header", "backward_constants"]


@dataclass(frozen=True, eq=False)
class Header:
    """Header values as the constants use them: sanitised and narrowed, with the flags that doing so raised.

    Attributes
    ----------
    gamma, beta : float64 (channels,)
        In the working format; in frozen mode a and b, in their formats.
    c, eps : float
    nan, infinity, saturated : bool (channels,)
        Flags of C and eps count in every channel; those of frozen tiles are not read.
    """

    gamma: np.ndarray
    beta: np.ndarray
    c: float
    eps: float
    nan: np.ndarray
    infinity: np.ndarray
    saturated: np.ndarray


@dataclass(frozen=True, eq=False)
class Constants:
    """Per channel, float64 (channels,): values of the working format, of a's and of b's; and a saturated mask."""

    a: np.ndarray
    b: np.ndarray
    rinv: np.ndarray
    mu: np.ndarray
    r: np.ndarray
    saturated: np.ndarray


@dataclass(frozen=True, eq=False)
class BackwardHeader:
    """The numbers of a backward header as the constants use them, and the flags as in :class:`Header`.

    Attributes
    ----------
    a, b, rinv, mu, r : float64 (channels,)
        a and b in their formats, the others in the working format.
    c, eps : float
    nan, infinity, saturated : bool (channels,)
    """

    a: np.ndarray
    b: np.ndarray
    rinv: np.ndarray
    mu: np.ndarray
    r: np.ndarray
    c: float
    eps: float
    nan: np.ndarray
    infinity: np.ndarray
    saturated: np.ndarray


@dataclass(frozen=True, eq=False)
class BackwardConstants:
    """Per channel, float64 (channels,): the addends of the sample, the gradients; and a saturated mask."""

    base: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    dgamma: np.ndarray
    dbeta: np.ndarray
    saturated: np.ndarray


def fp32_code(value):
    """fp32 codes of numbers, uint32: nearest-even, infinity beyond the range; the bits of float32 are kept."""
    value = np.asarray(value)
    if value.dtype != np.float32:
        value = value.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        return value.astype(np.float32).view(np.uint32)


def fp32_value(value):
    """A header number as the core reads it, before it is narrowed."""
    return decode(FP32, fp32_code(value))


def _narrow(value, rounder):
    values, nan, infinity = sanitise(FP32, fp32_code(value))
    values, saturated = rounder(values)
    return values, nan, infinity, saturated


def _round_a(config, values):
    return round_scale(config.a_format, values, config.multiplier is Multiplier.TWO_DIGIT)


def _round_w(values):
    return round_to(WORKING, values)


def read_header(config, gamma, beta, c, eps, frozen):
    """The header's numbers, narrowed; see :class:`Header`."""
    fields = [_narrow(gamma, (lambda v: _round_a(config, v)) if frozen else _round_w),
              _narrow(beta, (lambda v: round_to(config.b_format, v)) if frozen else _round_w)]
    if not frozen:
        fields += [_narrow([c], _round_w), _narrow([eps], _round_w)]
    values, flags = _merged(fields)
    scalars = (1.0, 0.0) if frozen else (float(values[2][0]), float(values[3][0]))
    return Header(values[0], values[1], *scalars, *flags)


def _merged(fields):
    """Values of the results of :func:`_narrow`, and their flags together."""
    flags = (np.logical_or.reduce(np.broadcast_arrays(*(field[i] for field in fields))) for i in (1, 2, 3))
    return [field[0] for field in fields], flags


def moments(config, header, statistics, sample_len):
    """mu, R and Rinv of a normal tile, and where one of them saturated; parameters as :func:`constants`.

    R + eps is exact in float64, or else eps is below 2^-36 of R or the reverse, and the sum cuts to the greater at 32
    bits.
    """
    n_chunks, _ = chunk_shape(config, sample_len)
    mu, mu_saturated = _round_w(statistics.total * _round_w(1 / sample_len)[0])
    r, r_saturated = _round_w(statistics.range_total * _round_w(1 / n_chunks)[0])
    flat = r == 0
    divisor = truncate(r + header.eps, 32)
    rinv, rinv_saturated = _round_w(np.where(flat, 0.0, 1 / np.where(flat, 1.0, divisor)))
    return mu, r, rinv, mu_saturated | r_saturated | rinv_saturated


def constants(config, header, statistics, sample_len):
    """a, b, Rinv, mu and R of a normal tile.

    Products are exact in float64: 24 x 16 and 16 x 16 bits.

    Parameters
    ----------
    config : Config
    header : Header
    statistics : SampleStatistics
    sample_len : int
        S_eff.
    """
    mu, r, rinv, saturated = moments(config, header, statistics, sample_len)
    a, a_saturated = _round_a(config, header.gamma * rinv / header.c)
    b, b_saturated = round_to(config.b_format, add_odd(header.beta, -(mu * a)))
    return Constants(a, b, rinv, mu, r, saturated | a_saturated | b_saturated)


def frozen_constants(header):
    """a and b as loaded, the statistics 0."""
    zero = np.zeros_like(header.gamma)
    return Constants(header.gamma, header.beta, zero, zero, zero, np.zeros(zero.shape, bool))


def read_backward_header(config, records, c, eps):
    """The numbers of a backward header, narrowed; see :class:`BackwardHeader`."""
    fields = [_narrow(records.a, lambda v: _round_a(config, v)),
              _narrow(records.b, lambda v: round_to(config.b_format, v)),
              *(_narrow(value, _round_w) for value in (records.rinv, records.mu, records.r, [c], [eps]))]
    values, flags = _merged(fields)
    return BackwardHeader(*values[:5], float(values[5][0]), float(values[6][0]), *flags)


def _cut(values):
    return truncate(values, SUM_BITS)


def backward_constants(config, header, sums, sample_len, frozen):
    """Addends and gradients of a tile.

    Products are exact in float64: 24 x 24 bits at most.

    Parameters
    ----------
    config : Config
    header : BackwardHeader
    sums : (Sg, Sgy), each float64 (channels,)
    sample_len : int
        S_eff; not used in frozen mode.
    frozen : bool
        The addends are 0 then.
    """
    total, product = sums
    a = header.a
    beta = _cut(add_toward_zero(header.b, header.mu * a))
    p = _cut(add_toward_zero(product, -truncate(beta * total, TOTAL_BITS)))
    if frozen:
        addends, saturated = np.zeros((3, a.size)), np.zeros(a.size, bool)
    else:
        n_chunks, _ = chunk_shape(config, sample_len)
        t = _cut(-_cut(p * header.rinv) * _round_w(1 / n_chunks)[0])
        mean = _cut(a * _cut(total * _round_w(1 / sample_len)[0]))
        exact = np.stack([0 - mean, add_odd(t, -mean), add_odd(-t, -mean)])
        addends, saturated = round_to(config.b_format, exact)
        saturated = saturated.any(axis=0)
    gamma = _cut(a * _cut(header.c * _cut(add_toward_zero(header.r, header.eps))))
    floor = np.maximum(2.0 ** -6, np.abs(beta) * 2.0 ** -(config.storage.fraction_width + 1))
    gamma = np.where(np.abs(gamma) < floor, np.copysign(floor, a), gamma)
    dgamma, gamma_saturated = _round_w(np.where(a == 0, 0.0, p / gamma))
    dbeta, beta_saturated = round_to(FP32, total)
    return BackwardConstants(*addends, dgamma, dbeta, saturated | gamma_saturated | beta_saturated)
