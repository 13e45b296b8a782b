"""What a backward tile may be sent as y and as records: what the forward pass gave, or what it never gives."""

import numpy as np

from bnforge.config import RECORD_SCALAR_WORDS
from bnforge_model.constants import fp32_code

__all__ = ["STORED", "RECORDS", "odd_y", "odd_records"]

STORED = ("forward", "any bits", "reserved", "most negative", "ends")
RECORDS = ("forward", "perturbed", "extreme", "any code")
_WILD = {"a": (0, 1, -1, 2.0 ** -126, -2.0 ** 127, 2.0 ** -20), "b": (0, 1, -100, 2.0 ** 127, -2.0 ** -126),
         "rinv": (0, 1, 2.0 ** -126, 2.0 ** 127), "mu": (0, 1, 2.0 ** 127, -2.0 ** 100, 2.0 ** -126),
         "r": (0, 1, 2.0 ** -126, 2.0 ** 127)}
"""Scalars of a record at the ends of their ranges, in the order of the words."""


def odd_y(config, kind, elements, exponents, rng):
    """Elements and exponents of y, as on the ports, from what the forward pass stored.

    Parameters
    ----------
    config : bnforge.config.Config
    kind : str
        One of ``STORED``; "reserved" are codes without a value, "ends" those at the ends of the range and at 6.
    elements : uint32 array, shape (n, lanes)
    exponents : uint32 array, shape (n, n_groups), or None
    rng : numpy.random.Generator

    Returns
    -------
    elements, exponents
    """
    fmt, width = config.storage, config.element_width
    top = 1 << (width - 1)
    some = rng.random(elements.shape) < 0.3
    if config.is_block:
        ends = np.array([0, 1, fmt.max_exponent_code - 1, fmt.max_exponent_code], dtype=np.uint32)
        reserved = np.uint32(fmt.max_exponent_code + 1)
    match kind:
        case "any bits":
            elements = rng.integers(1 << width, size=elements.shape, dtype=np.uint32)
            if config.is_block:
                near = exponents + rng.integers(-2, 3, exponents.shape)
                wild = rng.integers(reserved + 1, size=exponents.shape)
                exponents = np.where(rng.random(exponents.shape) < 0.5, near, wild) % (reserved + 1)
        case "reserved" if config.is_block:
            exponents = np.where(rng.random(exponents.shape) < 0.1, reserved, exponents)
        case "reserved":
            special = rng.integers(fmt.max_code + 1, top, elements.shape) | top * rng.integers(2, size=elements.shape)
            elements = np.where(rng.random(elements.shape) < 0.05, special, elements)
        case "most negative" if config.is_block:
            elements = np.where(some, top, elements)
        case "most negative":
            elements = np.where(some, top | fmt.max_code, elements ^ top)
        case "ends" if config.is_block:
            exponents = rng.choice(ends, exponents.shape)
        case "ends":
            codes = np.array([0, 1, fmt.min_code, fmt.code_of_six, fmt.code_of_six - 1, fmt.max_code], dtype=np.uint32)
            elements = np.where(some, rng.choice(codes, elements.shape), elements)
    return elements.astype(np.uint32), None if exponents is None else exponents.astype(np.uint32)


def odd_records(config, kind, words, n_sample, rng):
    """Record words of a backward tile from those of the forward one, of a kind of ``RECORDS``.

    R and Rinv are never negative, which the core refuses, and positions are in the chunks of a sample of ``n_sample``
    beats; the bits above them, which it does not read, are anything.
    """
    if kind == "forward":
        return words
    words = words.reshape(-1, config.record_words).copy()
    lanes, scalars = len(words), words[:, :RECORD_SCALAR_WORDS]
    signed = np.array([True, True, False, True, False])
    some = rng.random(scalars.shape) < 0.6
    match kind:
        case "perturbed":
            value = scalars.view(np.float32) * 2.0 ** rng.uniform(-1, 1, scalars.shape)
            changed = fp32_code(np.where(signed, value * rng.choice([-1, 1], scalars.shape), value))
        case "extreme":
            changed = fp32_code(np.stack([rng.choice(values, lanes) for values in _WILD.values()], axis=1))
        case "any code":
            changed = rng.integers(2**32, size=scalars.shape, dtype=np.uint32)
            changed &= np.where(signed, 0xFFFFFFFF, 0x7FFFFFFF).astype(np.uint32)
    words[:, :RECORD_SCALAR_WORDS] = np.where(some, changed, scalars)
    field = 32 // (2 * config.positions_per_word)
    positions = words[:, RECORD_SCALAR_WORDS:]
    length = min(config.chunk_len, n_sample)
    for shift in range(0, 32, field):
        position = rng.integers(length, size=positions.shape, dtype=np.uint32) << np.uint32(shift)
        kept = positions & np.uint32(0xFFFFFFFF ^ ((1 << field) - 1) << shift)
        positions[...] = np.where(rng.random(positions.shape) < 0.3, kept | position, positions)
        above = np.uint32((1 << field) - config.chunk_len)  # the bits of the field above the position
        positions |= (rng.integers(1 << field, size=positions.shape, dtype=np.uint32) & above) << np.uint32(shift)
    return words.ravel()
