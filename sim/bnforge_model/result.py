"""What the model returns."""

import enum
from dataclasses import dataclass, fields

import numpy as np

from .blocks import Encoded

__all__ = ["Flags", "Records", "ForwardResult", "BackwardResult"]


class Flags(enum.IntFlag):
    """Status bits 0 to 2 of the core (docs/interfaces.md, Status)."""

    NAN = 1
    INFINITY = 2
    SATURATED = 4


@dataclass(frozen=True, eq=False)
class Records:
    """Channel records.

    Attributes
    ----------
    a, b, rinv, mu, r : float64 (channels,)
        Exact in fp32. 0 for masked channels.
    argmax, argmin : int64 (channels, S/L)
        Chunk-relative positions, in stream order; 0 where the tile has no such chunk.
    """

    a: np.ndarray
    b: np.ndarray
    rinv: np.ndarray
    mu: np.ndarray
    r: np.ndarray
    argmax: np.ndarray
    argmin: np.ndarray

    def __getitem__(self, channels):
        """The records of some channels: a slice, a mask or indices."""
        return Records(*(getattr(self, field.name)[channels] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class ForwardResult:
    """The result of :func:`bnforge_model.forward`.

    Attributes
    ----------
    y : float64 (n, channels)
        Decoded from storage; 0 in masked channels.
    encoded : Encoded
        y as stored.
    records : Records
    flags : Flags
        Of all tiles together.
    tile_flags : tuple of Flags
        Of each tile of ``config.lanes`` channels.
    sample_len, c, eps : int, float, float
        The header values used, defaults filled in.
    """

    y: np.ndarray
    encoded: Encoded
    records: Records
    flags: Flags
    tile_flags: tuple
    sample_len: int
    c: float
    eps: float


@dataclass(frozen=True, eq=False)
class BackwardResult:
    """The result of :func:`bnforge_model.backward`.

    Attributes
    ----------
    dx : float64 (n, channels)
        Decoded from storage, in forward order; 0 in masked channels.
    dgamma, dbeta : float64 (channels,)
        Exact in fp32. 0 for masked channels.
    encoded : Encoded
        dx as stored.
    flags : Flags
        Of all tiles together.
    tile_flags : tuple of Flags
        Of each tile of ``config.lanes`` channels.
    sample_len, c, eps : int, float, float
        The header values used, defaults filled in.
    """

    dx: np.ndarray
    dgamma: np.ndarray
    dbeta: np.ndarray
    encoded: Encoded
    flags: Flags
    tile_flags: tuple
    sample_len: int
    c: float
    eps: float
