"""Headers and records of the baselines' sweeps as 32-bit words, of one tile each (docs/baselines.md, "Words")."""

import numpy as np

from bnforge.config import CHANNEL_CHUNKS, Algorithm
from bnforge.sweeps.words import fixed_words, param_words, record_words

from .constants import fp32_code

__all__ = ["is_position", "sweep_header_words", "sweep_record_words", "parse_sweep_record"]


def is_position(name):
    """Whether a word is a position, not a number."""
    return name.startswith("arg")


def _code(name, values):
    return np.asarray(values).astype(np.uint32) if is_position(name) else fp32_code(values)


def _rows(names, values, mask):
    """The words of the enabled channels, channel after channel."""
    if not names:
        return np.zeros(0, np.uint32)
    return np.stack([_code(name, values[name])[mask] for name in names], axis=1).ravel()


def sweep_header_words(config, sweep, n, params, *, activation, eps, c, mask):
    """The words of a header, uint32.

    Parameters
    ----------
    config : Config
    sweep : Sweep
    n : int
    params : dict of arrays (channels,)
        As :func:`bnforge_model.run_sweep`.
    activation : Activation
    eps, c : float
        c with range statistics only.
    mask : array of bool, (channels,)
        At most ``config.lanes`` channels; the lanes beyond are disabled.
    """
    mask = np.asarray(mask)
    words = np.zeros(fixed_words(config), np.uint32)
    lanes = np.sum(mask.astype(np.uint64) << np.arange(len(mask), dtype=np.uint64))
    words[:4] = int(sweep) | int(activation) << 3, n, fp32_code(eps), lanes
    if config.algorithm is Algorithm.RANGE:
        length = -(-n // CHANNEL_CHUNKS)
        words[4:] = fp32_code(c), length | -(-n // length) << 24
    return np.concatenate([words, _rows(param_words(config, sweep), params, mask)])


def sweep_record_words(config, sweep, records, mask):
    """The words of a record, uint32: none where the sweep sends no record.

    Parameters
    ----------
    records : dict of arrays (channels,)
        As of :func:`bnforge_model.run_sweep`.
    mask : array of bool, (channels,)
    """
    return _rows(record_words(config, sweep), records, np.asarray(mask))


def parse_sweep_record(config, sweep, words, mask):
    """The opposite of :func:`sweep_record_words`: dict of arrays (channels,), 0 in masked channels.

    Raises
    ------
    ValueError
        "words must be ..., not ...".
    """
    names, mask = record_words(config, sweep), np.asarray(mask)
    words = np.asarray(words, np.uint32)
    if words.shape != (len(names) * mask.sum(),):
        raise ValueError(f"words must be of shape {(len(names) * int(mask.sum()),)}, not {words.shape}")
    parsed = {}
    for name, column in zip(names, words.reshape(-1, len(names)).T, strict=True):
        if is_position(name):
            parsed[name] = np.zeros(len(mask), np.int64)
            parsed[name][mask] = column
        else:
            parsed[name] = np.zeros(len(mask))
            parsed[name][mask] = np.ascontiguousarray(column).view(np.float32)
    return parsed
