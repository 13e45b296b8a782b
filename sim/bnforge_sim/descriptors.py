"""Transfer descriptors and programs: what the engine is told to read and write, row by row (docs/engine.md)."""

import itertools
from dataclasses import dataclass

import numpy as np

from bnforge.engine_config import COUNT_WIDTH, DESCRIPTOR_WORDS, DIMENSIONS
from bnforge.formats import require_int

__all__ = ["DESCRIPTOR_BYTES", "STRIDE_LIMIT", "Descriptor", "descriptors", "expand"]

DESCRIPTOR_BYTES = 4 * DESCRIPTOR_WORDS
"""Bytes of a descriptor."""
STRIDE_LIMIT = 2**31
"""Strides are below this, and at least its negative."""


@dataclass(frozen=True)
class Descriptor:
    """n1·n2·n3 rows of ``length`` bytes, i1 running fastest, at address + i1·s1 + i2·s2 + i3·s3.

    Parameters
    ----------
    address, length : int
    dimensions : tuple of (count, stride)
        Up to three; missing ones are (1, 0).
    last, ends_tile : bool
        Bits 0 and 1 of word 3.

    Raises
    ------
    ValueError
        For what does not fit the words: "X must be ..., not Y".
    """

    address: int
    length: int
    dimensions: tuple = ()
    last: bool = False
    ends_tile: bool = False

    def __post_init__(self):
        require_int("address", self.address, 0, 2**64 - 1)
        require_int("length", self.length, 1, 2**32 - 1)
        if len(self.dimensions) > DIMENSIONS:
            raise ValueError(f"dimensions must be at most {DIMENSIONS}, not {len(self.dimensions)}")
        padded = (*self.dimensions, *[(1, 0)] * (DIMENSIONS - len(self.dimensions)))
        for index, (count, stride) in enumerate(padded, 1):
            require_int(f"n{index}", count, 1, 2**COUNT_WIDTH - 1)
            require_int(f"s{index}", stride, -STRIDE_LIMIT, STRIDE_LIMIT - 1)
        object.__setattr__(self, "dimensions", padded)

    @property
    def words(self):
        """The ten 32-bit words, as integers."""
        return [self.address & 0xFFFFFFFF, self.address >> 32, self.length, self.last | self.ends_tile << 1,
                *(value & 0xFFFFFFFF for pair in self.dimensions for value in pair)]

    @classmethod
    def from_words(cls, words):
        """The descriptor of ten words."""
        low, high, length, flags, *pairs = map(int, words)
        if flags >> 2:
            raise ValueError(f"bits 31:2 of word 3 must be 0, not {flags >> 2:#x}")
        signed = [stride - (stride >> 31 << 32) for stride in pairs[1::2]]
        return cls(high << 32 | low, length, tuple(zip(pairs[::2], signed)), bool(flags & 1), bool(flags >> 1))

    def row_addresses(self, address_width=32):
        """First byte of each row in order, uint64; addresses count modulo 2^address_width."""
        addresses = np.array([self.address], np.uint64)
        for count, stride in self.dimensions:
            steps = np.arange(count, dtype=np.uint64) * np.uint64(stride % 2**64)
            addresses = (steps[:, np.newaxis] + addresses).ravel()
        return addresses & np.uint64(2**address_width - 1)


def descriptors(program):
    """The descriptors of a program, up to its last; what follows is not read.

    Parameters
    ----------
    program : buffer

    Raises
    ------
    ValueError
        When it comes to a descriptor that the engine would refuse, or to the end of the buffer.
    """
    for first in itertools.count(0, DESCRIPTOR_BYTES):
        data = bytes(program[first:first + DESCRIPTOR_BYTES])
        if len(data) < DESCRIPTOR_BYTES:
            raise ValueError(f"program must have a last descriptor in its {len(program)} bytes")
        descriptor = Descriptor.from_words(np.frombuffer(data, "<u4"))
        yield descriptor
        if descriptor.last:
            return


def expand(program, address_width=32):
    """The rows of a program in order, (address, length) each; raises as :func:`descriptors`."""
    for descriptor in descriptors(program):
        for address in descriptor.row_addresses(address_width).tolist():
            yield address, descriptor.length
