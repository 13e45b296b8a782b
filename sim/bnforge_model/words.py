"""What crosses the ports, as words and bytes (docs/interfaces.md). All functions take one tile."""

from dataclasses import dataclass

import numpy as np

from bnforge.config import GRADIENT_WORDS, HEADER_FIXED_WORDS, RECORD_SCALAR_WORDS, Activation

from .blocks import Encoded, element_dtype
from .constants import fp32_code
from .core import check_header, check_mask
from .floats import code_dtype
from .gradient import check_records
from .result import Records

__all__ = ["TileHeader", "header_words", "parse_header", "backward_header_words", "record_words", "parse_records",
           "gradient_words", "parse_gradients", "pack_beats", "unpack_beats", "pack_x", "pack_y", "unpack_y"]

_SCALARS = ("a", "b", "rinv", "mu", "r")


@dataclass(frozen=True, eq=False)
class TileHeader:
    """The fields of a tile header as sent: floats are fp32, arrays have ``config.lanes`` entries."""

    backward: bool
    activation: int
    frozen: bool
    sample_len: int
    c: np.float32
    eps: np.float32
    mask: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray


def header_words(config, gamma, beta, *, activation=Activation.RELU, sample_len=None, c=None, eps=None, frozen=False,
                 mask=None):
    """The words of a tile header, uint32 (config.header_words,).

    Parameters
    ----------
    config : Config
    gamma, beta : arrays of real numbers, (channels,)
        channels <= lanes; in frozen mode a and b. The lanes beyond are disabled and read 0.
    activation, sample_len, c, eps, frozen : as :func:`bnforge_model.forward`
        Required unless frozen; the three numbers read 0 where they are left out.
    mask : array of bool, (channels,)

    Raises
    ------
    ValueError
        For what the core would refuse: "X must be ..., not Y".
    """
    gamma, beta = np.atleast_1d(gamma), np.atleast_1d(beta)
    channels = len(gamma)
    if gamma.shape != beta.shape or gamma.ndim != 1 or not 1 <= channels <= config.lanes:
        raise ValueError(f"gamma and beta must be of one shape (1 ... {config.lanes},), "
                         f"not {gamma.shape} and {beta.shape}")
    if not frozen and None in (sample_len, c, eps):
        raise ValueError(f"sample_len, c and eps must be given unless frozen, not {sample_len}, {c}, {eps}")
    activation = check_header(config, activation=activation, sample_len=sample_len, c=c, eps=eps, frozen=frozen)
    mask = check_mask(config, mask, channels)
    words = np.zeros(config.header_words, np.uint32)
    words[:HEADER_FIXED_WORDS] = _fixed_words(False, activation, frozen, sample_len, c, eps, mask)
    words[HEADER_FIXED_WORDS:][:2 * channels] = np.stack([fp32_code(gamma), fp32_code(beta)], axis=1).ravel()
    return words


def _fixed_words(backward, activation, frozen, sample_len, c, eps, mask):
    """The words before those of the lanes."""
    lanes = np.sum(mask.astype(np.uint64) << np.arange(len(mask), dtype=np.uint64))
    first = backward | activation << 1 | frozen << 3 | int(sample_len or 0) << 16
    return [first, *fp32_code([c or 0, eps or 0]), lanes]


def backward_header_words(config, records, *, activation=Activation.RELU, sample_len=None, c=None, eps=None,
                          frozen=False, mask=None):
    """The words of a backward tile's header, uint32 (config.backward_header_words(enabled channels),).

    Parameters
    ----------
    config : Config
    records : Records
        Of the forward tile: at most ``config.lanes`` channels. The lanes beyond are disabled.
    activation, sample_len, c, eps, frozen : as :func:`bnforge_model.backward`
        Required, but ``sample_len`` in frozen mode, which does not read it.
    mask : array of bool, (channels,)

    Raises
    ------
    ValueError
        For what the core would refuse: "X must be ..., not Y".
    """
    if None in (c, eps) or sample_len is None and not frozen:
        raise ValueError(f"sample_len (unless frozen), c and eps must be given, not {sample_len}, {c}, {eps}")
    sample_len = 0 if sample_len is None else sample_len
    activation = check_header(config, activation=activation, sample_len=sample_len, c=c, eps=eps, frozen=frozen,
                              backward=True)
    mask = check_mask(config, mask, len(records.a))
    lanes = record_words(config, records, mask)
    fixed = _fixed_words(True, activation, frozen, sample_len, c, eps, mask)
    return np.concatenate([np.array(fixed, np.uint32), lanes])


def parse_header(config, words):
    """The fields of a tile header; the opposite of :func:`header_words`, without its checks."""
    words = np.asarray(words, np.uint32)
    if words.shape != (config.header_words,):
        raise ValueError(f"words must be of shape {(config.header_words,)}, not {words.shape}")
    word = int(words[0])
    c, eps = words[1:3].view(np.float32)
    gamma, beta = words[HEADER_FIXED_WORDS:].view(np.float32).reshape(config.lanes, 2).T
    mask = int(words[3]) >> np.arange(config.lanes) & 1 == 1
    return TileHeader(bool(word & 1), word >> 1 & 3, bool(word >> 3 & 1), word >> 16, c, eps, mask, gamma, beta)


def record_words(config, records, mask=None):
    """The channel records of a tile, uint32 (enabled · config.record_words,).

    Parameters
    ----------
    config : Config
    records : Records
        Of the tile's channels, at most ``config.lanes``.
    mask : array of bool, (channels,)
    """
    channels = len(records.a)
    if not 1 <= channels <= config.lanes:
        raise ValueError(f"records must be of 1 to {config.lanes} channels, not {channels}")
    check_records(config, records, channels)
    records = records[check_mask(config, mask, channels)]
    words = np.zeros((len(records.a), config.record_words), np.uint32)
    for i, name in enumerate(_SCALARS):
        words[:, i] = fp32_code(getattr(records, name))
    positions = np.zeros((len(words), config.record_words - RECORD_SCALAR_WORDS, config.positions_per_word, 2), "<u4")
    pairs = positions.reshape(len(words), -1, 2)
    pairs[:, :config.n_chunks] = np.stack([records.argmax, records.argmin], axis=2)
    shifts = np.array([[0, 8], [16, 24]] if config.positions_per_word == 2 else [[0, 16]], np.uint32)
    words[:, RECORD_SCALAR_WORDS:] = (positions << shifts).sum(axis=(2, 3))
    return words.ravel()


def parse_records(config, words, mask=None):
    """The records of a tile's channels from its words; zeros for the disabled ones.

    Parameters
    ----------
    config : Config
    words : array of uint32, (enabled · config.record_words,)
    mask : array of bool, (channels,)
        Default: ``config.lanes`` enabled channels.
    """
    mask = check_mask(config, mask, config.lanes if mask is None else len(mask))
    words = np.asarray(words, np.uint32)
    expected = (int(mask.sum()) * config.record_words,)
    if words.shape != expected:
        raise ValueError(f"words must be of shape {expected}, not {words.shape}")
    enabled = words.reshape(-1, config.record_words)
    words = np.zeros((len(mask), config.record_words), np.uint32)
    words[mask] = enabled
    scalars = np.ascontiguousarray(words[:, :RECORD_SCALAR_WORDS].T).view(np.float32).astype(np.float64)
    width = 8 if config.positions_per_word == 2 else 16
    shifts = np.arange(0, 32, width, dtype=np.uint32)
    fields = words[:, RECORD_SCALAR_WORDS:, None] >> shifts & np.uint32(config.chunk_len - 1)
    pairs = fields.reshape(len(mask), -1, 2)[:, :config.n_chunks].astype(np.int64)
    return Records(*scalars, pairs[..., 0], pairs[..., 1])


def gradient_words(dgamma, dbeta, mask=None):
    """The gradient records of a tile, uint32 (enabled · 2,).

    Parameters
    ----------
    dgamma, dbeta : arrays of numbers, (channels,)
    mask : array of bool, (channels,)
    """
    words = np.stack([fp32_code(dgamma), fp32_code(dbeta)], axis=1)
    return (words if mask is None else words[_as_mask(mask, len(words))]).ravel()


def parse_gradients(words, mask=None):
    """(dgamma, dbeta) of a tile's channels from its words, float64; zeros for the disabled ones.

    Parameters
    ----------
    words : array of uint32, (enabled · 2,)
    mask : array of bool, (channels,)
        Default: as many enabled channels as there are records.
    """
    words = np.asarray(words, np.uint32)
    mask = np.ones(words.size // GRADIENT_WORDS, bool) if mask is None else _as_mask(mask, np.size(mask))
    expected = (int(mask.sum()) * GRADIENT_WORDS,)
    if words.shape != expected:
        raise ValueError(f"words must be of shape {expected}, not {words.shape}")
    gradients = np.zeros((len(mask), GRADIENT_WORDS))
    gradients[mask] = words.view(np.float32).reshape(-1, GRADIENT_WORDS)
    return gradients[:, 0], gradients[:, 1]


def _as_mask(mask, channels):
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (channels,):
        raise ValueError(f"mask must be an array of bool of shape {(channels,)}, not {mask.dtype} {mask.shape}")
    return mask


def pack_beats(codes, width):
    """Beats as bytes: code i in bits [i·width, (i+1)·width), padded with zeros to whole bytes.

    Parameters
    ----------
    codes : integer array, (n, lanes)
        Negative elements go out as two's complement.
    width : int
        Bits of a code, at most 32.

    Returns
    -------
    array of uint8, (n, ceil(lanes · width / 8))
    """
    codes = np.asarray(codes)
    n, lanes = codes.shape
    if width in (8, 16, 32):
        return np.ascontiguousarray(codes.astype(f"<u{width // 8}", casting="unsafe")).view(np.uint8)
    codes = (codes.astype(np.int64) & ((1 << width) - 1)).astype("<u4")
    bits = np.unpackbits(codes[..., None].view(np.uint8), axis=2, count=width, bitorder="little")
    return np.packbits(bits.reshape(n, lanes * width), axis=1, bitorder="little")


def unpack_beats(data, lanes, width, signed=False):
    """Codes from the bytes of beats; the opposite of :func:`pack_beats`.

    Parameters
    ----------
    data : array of uint8, (n, ceil(lanes · width / 8))
    lanes, width : int
    signed : bool
        Sign-extend.

    Returns
    -------
    array of uint32 (int32 when signed), (n, lanes)
    """
    data = np.asarray(data, np.uint8)
    if data.ndim != 2 or data.shape[1] != -(-lanes * width // 8):
        raise ValueError(f"data must be of shape (n, {-(-lanes * width // 8)}), not {data.shape}")
    if width in (8, 16, 32):
        codes = np.ascontiguousarray(data).view(f"<u{width // 8}").astype(np.uint32)
    else:
        bits = np.unpackbits(data, axis=1, count=lanes * width, bitorder="little").reshape(len(data), lanes, width)
        padded = np.zeros((len(data), lanes, 32), np.uint8)
        padded[..., :width] = bits
        codes = np.packbits(padded, axis=2, bitorder="little").view("<u4")[..., 0].astype(np.uint32)
    if not signed:
        return codes
    return (codes << np.uint32(32 - width)).view(np.int32) >> (32 - width)


def pack_x(config, codes):
    """``s_axis_tdata`` of a tile of x or dy: codes (n, channels), the lanes beyond 0."""
    codes = np.asarray(codes)
    return pack_beats(np.pad(codes, ((0, 0), (0, config.lanes - codes.shape[1]))), config.x_format.width)


def pack_y(config, encoded):
    """TDATA and TUSER of a tile of y or dx; TUSER is None with float storage.

    Parameters
    ----------
    config : Config
    encoded : Encoded
        Of one tile: at most ``config.lanes`` channels, in the order of the stream.
    """
    elements = np.pad(encoded.elements, ((0, 0), (0, config.lanes - encoded.elements.shape[1])))
    tdata = pack_beats(elements, config.element_width)
    if encoded.exponents is None:
        return tdata, None
    return tdata, pack_beats(encoded.exponents, encoded.format.exponent_width)


def unpack_y(config, tdata, tuser=None, fmt=None):
    """The :class:`.Encoded` of a full tile from its bytes; the opposite of :func:`pack_y`.

    Parameters
    ----------
    config : Config
    tdata, tuser : arrays of uint8, (n, bytes)
    fmt : FloatFormat or BlockFormat
        ``config.storage`` (the default), or ``config.gradient_storage`` for dx.
    """
    fmt = config.storage if fmt is None else fmt
    if fmt not in (config.storage, config.gradient_storage):
        raise ValueError(f"fmt must be a storage format of the configuration, not {fmt}")
    signed = config.is_block and fmt.signed
    elements = unpack_beats(tdata, config.lanes, config.element_width, signed).astype(element_dtype(fmt))
    if not config.is_block:
        return Encoded(fmt, elements)
    exponents = unpack_beats(tuser, config.n_groups, fmt.exponent_width)
    return Encoded(fmt, elements, exponents.astype(code_dtype(8)))
