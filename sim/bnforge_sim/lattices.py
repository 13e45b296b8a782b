"""Positions of a tensor as transfer descriptors of an engine with an array (docs/layers.md)."""

from dataclasses import dataclass

from bnforge_model import Shape

from .descriptors import Descriptor

__all__ = ["Tensor", "lattice"]


def lattice(address, size, beat, dimensions):
    """Positions of ``size`` bytes, the first dimension fastest, as one descriptor.

    Where a position is a whole beat, adjacent ones become one row; dimensions that continue each other become one.

    Parameters
    ----------
    address, size : int
    beat : int
        Bytes of a full beat of the channel.
    dimensions : iterable of (count, stride)
    """
    length, merged = size, []
    for count, stride in dimensions:
        if count == 1:
            continue
        if not merged and size == beat and stride == length:
            length *= count
        elif merged and stride == merged[-1][0] * merged[-1][1]:
            merged[-1] = merged[-1][0] * count, merged[-1][1]
        else:
            merged.append((count, stride))
    return Descriptor(address, length, tuple(merged))


@dataclass(frozen=True)
class Tensor:
    """A blocked tensor in memory (docs/engine.md, Memory layout).

    Parameters
    ----------
    address : int
    shape : Shape
    sizes : tuple of int
        Bytes of a position of each channel tile.
    beat : int
        Bytes of a full beat.
    """

    address: int
    shape: Shape
    sizes: tuple
    beat: int

    @classmethod
    def stored(cls, config, address, shape):
        """Of y or dx."""
        return cls._of(config, address, shape, config.stored_bytes)

    @classmethod
    def operand(cls, config, address, shape):
        """Of x or dy."""
        return cls._of(config, address, shape, config.operand_bytes)

    @classmethod
    def _of(cls, config, address, shape, position_bytes):
        lanes, channels = config.core.lanes, shape.channels
        sizes = tuple(position_bytes(min(lanes, channels - first)) for first in range(0, channels, lanes))
        return cls(address, shape, sizes, position_bytes(lanes))

    @property
    def n_tiles(self):
        return len(self.sizes)

    def lattice(self, tile, images, y, x):
        """One descriptor for a channel tile of the positions images × y × x, each a :class:`.Progression`."""
        area, width, size, total = self.shape.area, self.shape.width, self.sizes[tile], sum(self.sizes)
        first = (images.first * area * total + area * sum(self.sizes[:tile]) + (y.first * width + x.first) * size)
        return lattice(self.address + first, size, self.beat, [
            (x.count, x.step * size), (y.count, y.step * width * size), (images.count, images.step * area * total)])

    def pieces(self, tile, pieces):
        """The descriptors of a tile whose positions are those of the pieces in turn."""
        return [self.lattice(tile, piece.images, piece.y, piece.x) for piece in pieces]
