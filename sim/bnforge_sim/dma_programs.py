"""Transfer descriptors in plain Python: the rows, bursts and bytes that they stand for, and random programs of them.

The loops are those of docs/engine.md, written without a look at the hardware.
"""

from dataclasses import dataclass

__all__ = ["Transfer", "rows", "bursts", "copied", "tile_ends", "random_program"]

STRIDES = (-1 << 31, (1 << 31) - 1)


@dataclass(frozen=True)
class Transfer:
    """A transfer descriptor; ``dimensions``: (count, stride) of the three dimensions from the innermost on."""

    address: int
    length: int
    dimensions: tuple = ((1, 0),) * 3
    end: bool = True

    @property
    def n_rows(self):
        """Rows in all."""
        (n1, _), (n2, _), (n3, _) = self.dimensions
        return n1 * n2 * n3

    def words(self, *, last=False):
        """The ten words in memory."""
        pairs = [value & 0xffffffff for pair in self.dimensions for value in pair]
        return [self.address & 0xffffffff, self.address >> 32, self.length, last + 2 * self.end, *pairs]


def rows(program, address_width):
    """(address, length, whether it ends a tile) of every row of a list of transfers."""
    for transfer in program:
        (n1, s1), (n2, s2), (n3, s3) = transfer.dimensions
        starts = [transfer.address + i1 * s1 + i2 * s2 + i3 * s3
                  for i3 in range(n3) for i2 in range(n2) for i1 in range(n1)]
        for number, start in enumerate(starts, 1):
            yield start % (1 << address_width), transfer.length, transfer.end and number == len(starts)


def bursts(start, length, bus):
    """(address, bus beats) of the bursts of one row: whole bus beats, cut at each multiple of the longest burst."""
    longest, stop = bus.max_burst * bus.bytes, start + length
    start -= start % bus.bytes
    while start < stop:
        cut = min(stop, start - start % longest + longest)
        yield start % (1 << bus.address_width), -(-(cut - start) // bus.bytes)
        start = cut


def copied(memory, base, bus, beat_bytes, reads, writes):
    """``memory``, whose first byte is at address ``base``, after the beats of ``reads`` have gone to ``writes``."""
    memory, stream = bytearray(memory), bytearray()

    def place(start, length):
        at = (start - base) % (1 << bus.address_width)
        assert at + length <= len(memory)
        return slice(at, at + length)

    for start, length, _end in rows(reads, bus.address_width):
        stream += memory[place(start, length)].ljust(beat_bytes, b"\0")
    taken = 0
    for start, length, _end in rows(writes, bus.address_width):
        memory[place(start, length)] = stream[taken:taken + length]
        taken += max(length, beat_bytes)
    assert taken == len(stream)
    return bytes(memory)


def tile_ends(program, beat_bytes):
    """Numbers of beats before each end of a tile."""
    n_beats, result = 0, []
    for transfer in program:
        n_beats += transfer.n_rows * max(1, transfer.length // beat_bytes)
        result += [n_beats] * transfer.end
    return result


def random_program(rng, bus, beat_bytes, base, size, tiles, longest=None):
    """Random transfers within the ``size`` bytes from ``base`` on, with as many beats in each tile as ``tiles`` says.

    Short rows, overlaps, and strides of both signs and 0 among them; rows of at most ``longest`` beats.
    """
    result = []
    for left in tiles:
        while left:
            per_row = 1 if rng.random() < 0.3 else rng.randint(1, min(left, longest or left, size // beat_bytes))
            length = per_row * beat_bytes
            if per_row == 1 and rng.random() < 0.5:
                length = rng.randint(1, beat_bytes)
            counts, rest = [], left // per_row
            for _ in range(3):
                counts.append(rng.choice([1, rng.randint(1, rest), rng.randint(1, min(rest, 4)), rest]))
                rest //= counts[-1]
            rng.shuffle(counts)
            dimensions, low, high = _random_dimensions(rng, counts, length, size, bus)
            first = rng.randint(-low, size - length - high)
            if rng.random() < 0.3:
                first = max(-low, first - first % rng.choice([bus.bytes, 4096]))
            transfer = Transfer((base + first) % (1 << bus.address_width), length, dimensions, False)
            left -= transfer.n_rows * per_row
            result.append(transfer if left else Transfer(transfer.address, length, dimensions))
    return result


def _random_dimensions(rng, counts, length, size, bus):
    """Counts with strides, and how far below and above the first row the others begin."""
    low, high, dimensions = 0, 0, []
    for count in counts:
        limit = (size - length - (high - low)) // (count - 1) if count > 1 else -STRIDES[0]
        step = rng.choice([0, rng.randint(0, limit), length, 2 * bus.bytes, length + rng.randint(0, 8)])
        step = max(STRIDES[0], min(STRIDES[1], min(step, limit) * rng.choice([1, -1])))
        dimensions.append((count, step))
        low, high = low + min(0, step * (count - 1)), high + max(0, step * (count - 1))
    return tuple(dimensions), low, high
