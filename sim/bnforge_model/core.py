"""The forward pass of the core in numpy."""

import functools
import math

import numpy as np

from bnforge.config import Activation, Config
from bnforge.formats import WORKING

from .blocks import Store
from .constants import constants, fp32_value, frozen_constants, read_header
from .definition import definition_constants, evaluate
from .floats import add_odd, round_significand, round_to
from .inputs import CodeInput, FloatInput
from .result import Flags, ForwardResult, Records
from .statistics import SampleStatistics, sample_statistics

__all__ = ["forward", "forward_codes", "expected_range", "default_c", "default_eps", "tile_slices"]

_SMALL_FLOATS = ("bfloat16", "float8")
"""Names of number types outside numpy (ml_dtypes) that convert to float64 exactly."""
_BLOCK = 1 << 14
"""Elements normalised at a time: the fastest of the powers of two tried; larger temporaries are new pages each time."""


@functools.cache
def expected_range(count):
    """d2: the expected range of ``count`` standard normal numbers.

    d2(k) = ∫ 1 - Phi(t)^k - (1 - Phi(t))^k dt (Tippett 1925), by the trapezoidal rule, which converges faster than
    any power of the step for such integrands. d2(1) = 0.
    """
    t = np.linspace(-12, 12, 2401)
    phi = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in t])
    tail = np.array([math.erfc(v / math.sqrt(2)) / 2 for v in t])
    return float(np.sum(1 - phi ** count - tail ** count) * (t[1] - t[0]))


def default_c(config, n, sample_len=None):
    """C = 1/d2(elements of a chunk); a chunk of one element, whose range is 0 for any C, counts as two."""
    length = min(config.chunk_len, n if sample_len is None else min(n, sample_len))
    return 1 / expected_range(max(2, length))


def default_eps(c):
    """eps = sqrt(1e-5)/C: the usual 1e-5 of a variance, in units of the range."""
    return math.sqrt(1e-5) / c


def tile_slices(config, channels):
    """The channels of each tile, as slices; the last may be short."""
    return [slice(first, min(first + config.lanes, channels)) for first in range(0, channels, config.lanes)]


def forward(config, x, gamma, beta, *, activation=Activation.RELU, sample_len=None, c=None, eps=None, frozen=False,
            mask=None):
    """Normalise as the core does, bit for bit (docs/arithmetic.md).

    y = act(a·x + b) per channel, with a and b from the first ``sample_len`` rows; channels are served in tiles of
    ``config.lanes``.

    Parameters
    ----------
    config : Config
    x : array of floats or integers, (n, channels)
        In stream order, n >= 1. Rounded to ``config.x_format`` first, saturating; the core itself sees codes.
    gamma, beta : arrays of real numbers, (channels,)
        Sent as fp32. In frozen mode a and b.
    activation : Activation
    sample_len : int
        1 ... ``config.sample_depth``; default min(n, ``config.sample_depth``).
    c, eps : float
        Sent as fp32, C > 0 and eps >= 0; default :func:`default_c` and :func:`default_eps`.
    frozen : bool
        Use gamma and beta as a and b, take no statistics.
    mask : array of bool, (channels,)
        Enabled channels, at least one in each tile; default all.

    Returns
    -------
    ForwardResult

    Raises
    ------
    ValueError
        "X must be ..., not Y", for what the core would refuse and for shapes that do not fit.
    """
    return _forward(config, float_input(config, "x", x), gamma, beta, activation, sample_len, c, eps, frozen, mask)


def forward_codes(config, x_codes, gamma, beta, *, activation=Activation.RELU, sample_len=None, c=None, eps=None,
                  frozen=False, mask=None):
    """:func:`forward` with x as codes of ``config.x_format``: integers (n, channels), NaN and infinity allowed."""
    return _forward(config, code_input(config, "x_codes", x_codes), gamma, beta, activation, sample_len, c, eps,
                    frozen, mask)


def float_input(config, name, values):
    """The input of an array of real numbers; ``name`` is what refusals call it."""
    _check_config(config)
    values = np.asarray(values)
    if values.dtype.kind in "iu" or values.dtype.name.startswith(_SMALL_FLOATS):
        values = values.astype(np.float64)
    if values.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"{name} must be an array of real numbers of at most 64 bits, not {values.dtype}")
    _check_shape(name, values)
    return FloatInput(config.x_format, values)


def code_input(config, name, codes):
    """The input of an array of codes."""
    _check_config(config)
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise ValueError(f"{name} must be an array of integers, not {codes.dtype}")
    _check_shape(name, codes)
    if codes.min() < 0 or codes.max() >> config.x_format.width:
        raise ValueError(f"{name} must be codes of {config.x_format.width} bits, not {codes.min()} ... {codes.max()}")
    return CodeInput(config.x_format, codes)


def _check_config(config):
    if not isinstance(config, Config):
        raise ValueError(f"config must be a Config, not {config!r}")


def _check_shape(name, array):
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be of shape (n, channels) with n, channels >= 1, not {array.shape}")


def check_vector(name, value, channels):
    value = np.asarray(value)
    if value.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be an array of real numbers, not {value.dtype}")
    if value.shape != (channels,):
        raise ValueError(f"{name} must be of shape {(channels,)}, not {value.shape}")
    return value


def check_header(config, *, activation, sample_len, c, eps, frozen, backward=False):
    """Refuse what the core refuses in a header; returns the activation.

    Frozen tiles do not read ``sample_len``: any number of its 16 bits will do; and ``c`` and ``eps`` only in backward
    tiles.

    Raises
    ------
    ValueError
        "X must be ..., not Y".
    """
    if activation not in list(Activation):
        raise ValueError(f"activation must be an Activation, not {activation!r}")
    if activation == Activation.IDENTITY and config.is_block and not config.storage.signed:
        raise ValueError("activation must be RELU or RELU6 with unsigned blocks, not IDENTITY")
    if not isinstance(frozen, (bool, np.bool_)):
        raise ValueError(f"frozen must be true or false, not {frozen!r}")
    if frozen and not config.extracts:
        raise ValueError("frozen must be false without constant extraction, not true")
    if not (frozen or config.has_statistics):
        raise ValueError("frozen must be true without statistics, not false")
    if frozen and not backward:
        return Activation(activation)
    low, high = (0, 65535) if frozen else (1, config.sample_depth)
    if not isinstance(sample_len, (int, np.integer)) or not low <= sample_len <= high:
        raise ValueError(f"sample_len must be an integer from {low} to {high}, not {sample_len!r}")
    for name, value in (("c", c), ("eps", eps)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise ValueError(f"{name} must be a real number, not {value!r}")
    if not fp32_value(c) > 0:
        raise ValueError(f"c must be a positive fp32 number, not {c!r}")
    if not fp32_value(eps) >= 0:
        raise ValueError(f"eps must not be negative, not {eps!r}")
    return Activation(activation)


def check_mask(config, mask, channels):
    """The lane mask as an array of bool (channels,)."""
    if mask is None:
        return np.ones(channels, bool)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (channels,):
        raise ValueError(f"mask must be an array of bool of shape {(channels,)}, not {mask.dtype} {mask.shape}")
    for tile in tile_slices(config, channels):
        if not mask[tile].any():
            raise ValueError(f"mask must enable a channel of every tile, not none of {tile.start} ... {tile.stop - 1}")
    return mask


def _forward(config, source, gamma, beta, activation, sample_len, c, eps, frozen, mask):
    n, channels = source.shape
    sample_len = min(n, config.sample_depth) if sample_len is None else sample_len
    activation = check_header(config, activation=activation, sample_len=sample_len, c=1.0 if c is None else c,
                              eps=0.0 if eps is None else eps, frozen=frozen)
    c = default_c(config, n, None if frozen else sample_len) if c is None else c
    eps = default_eps(c) if eps is None else eps
    gamma, beta = check_vector("gamma", gamma, channels), check_vector("beta", beta, channels)
    mask = check_mask(config, mask, channels)
    header = read_header(config, gamma, beta, c, eps, frozen)
    effective = min(n, sample_len)
    if frozen:
        sample = None
        statistics = SampleStatistics(None, None, *np.zeros((2, channels, 0), np.int64))
        tile = frozen_constants(header)
    else:
        sample = source.rows(0, effective)
        statistics = sample_statistics(config, sample)
        tile = (constants if config.extracts else definition_constants)(config, header, statistics, effective)
    a, b, rinv, mu, r = (np.where(mask, value, 0.0) for value in (tile.a, tile.b, tile.rinv, tile.mu, tile.r))
    rows = (a, b) if config.extracts else (mu, np.where(mask, tile.scale, 0.0), a, b)
    store = _normalise(config, source, sample, rows, activation)
    saturated = store.saturated | header.saturated | tile.saturated
    flags, tile_flags = merge_flags(config, mask, source.nan | header.nan, source.infinity | header.infinity, saturated)
    positions = [np.pad(np.where(mask[:, None], array, 0), ((0, 0), (0, config.n_chunks - array.shape[1])))
                 for array in (statistics.argmax, statistics.argmin)]
    return ForwardResult(store.values, store.encoded, Records(a, b, rinv, mu, r, *positions), flags, tile_flags,
                         int(sample_len), float(c), float(eps))


def merge_flags(config, mask, nan, infinity, saturated):
    """The flags of all tiles together, and of each, from those of the channels; masked channels have none."""
    flags = np.where(mask, Flags.NAN * nan | Flags.INFINITY * infinity | Flags.SATURATED * saturated, 0)
    tile_flags = tuple(Flags(int(np.bitwise_or.reduce(flags[part]))) for part in tile_slices(config, len(mask)))
    return functools.reduce(Flags.__or__, tile_flags), tile_flags


def padded_width(config, channels):
    """Channels of full tiles."""
    return -(-channels // config.lanes) * config.lanes


def row_step(width):
    """Rows of ``width`` channels to work on at a time."""
    return max(1, _BLOCK // width)


def _normalise(config, source, sample, constants, activation):
    """The :class:`.Store` of y; ``constants`` are those of the lanes, each (channels,)."""
    n, channels = source.shape
    width = padded_width(config, channels)
    padded = np.zeros((len(constants), width))
    padded[:, :channels] = constants
    elements = lanes if config.extracts else evaluate
    store = Store(config.storage, n, channels, width)
    step = row_step(width)
    for first in range(0, n, step):
        last = min(first + step, n)
        if sample is not None and last <= len(sample):
            x = sample[first:last]
        else:
            x = source.rows(first, last)
        if width > channels:
            x = np.pad(x, ((0, 0), (0, width - channels)))
        store.put(first, *elements(config, x, *padded, activation), activation)
    return store


def lanes(config, x, a, b, activation):
    """act(Q_W(a·x + b)) of a block of rows, but for the flush below 2^-126, which is left to the storage.

    ``a`` is (channels,); ``b`` too, or (rows, channels), or None for 0.

    The product is exact in float64. Where it has no more than 16 bits the plain float64 sum is as good as the exact
    one: it is inexact only if the lesser term lies below 2^-36 of the greater, which then is a value of W itself and
    the nearest for both sums. Else the sum is rounded to odd.

    Returns
    -------
    y : array of float64, (rows, channels)
    saturated : array of bool, (channels,)
        Before the activation.
    """
    y = x * a
    short = config.a_fraction + config.x_format.fraction_width + 2 <= WORKING.significand_width
    if short and b is not None:
        y += b
    elif b is not None:
        y = add_odd(y, np.broadcast_to(b, y.shape))
    if max(-y.min(), y.max()) < 2.0 ** WORKING.e_max:
        saturated = np.zeros(len(a), bool)
        if b is not None or not short:
            round_significand(y, WORKING.fraction_width, out=y)
    else:
        y, saturated = round_to(WORKING, y)
        saturated = saturated.any(axis=0)
    if activation != Activation.IDENTITY:
        np.maximum(y, 0.0, out=y)
    if activation == Activation.RELU6:
        np.minimum(y, 6.0, out=y)
    return y, saturated
