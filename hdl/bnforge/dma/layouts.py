"""What flows between the parts of the DMA engine."""

from amaranth.lib import data

__all__ = ["LENGTH_WIDTH", "row_layout", "burst_layout", "request_layout", "read_beat_layout", "write_beat_layout",
           "beat_layout", "joined"]

LENGTH_WIDTH = 32
"""Bits of the length of a row in bytes."""


def row_layout(bus):
    """Bytes in one stretch. ``end``: the last row of a descriptor that ends a tile."""
    return data.StructLayout({"address": bus.address_width, "length": LENGTH_WIDTH, "end": 1})


def burst_layout(bus):
    """One burst of a row.

    ``address`` counts bus beats, ``more`` is the number of beats less one. ``start`` is the place of the first byte in
    the first beat, ``stop`` that of the last byte in the last beat; ``first`` and ``last`` say where in its row the
    burst is; ``short`` that the row is less than a stream beat; ``end`` that a tile ends with the burst.
    """
    return data.StructLayout({
        "address": bus.address_width - bus.offset_width, "more": 8, "start": bus.offset_width,
        "stop": bus.offset_width, "first": 1, "last": 1, "short": 1, "end": 1})


def request_layout(bus):
    """What a port needs of a burst."""
    return data.StructLayout({"address": bus.address_width - bus.offset_width, "more": 8, "end": 1})


def read_beat_layout(bus):
    """A bus beat as it was read."""
    return data.StructLayout({"data": bus.data_width})


def write_beat_layout(bus):
    """A bus beat to write."""
    return data.StructLayout({"data": bus.data_width, "strobe": bus.bytes})


def beat_layout(n_bytes):
    """A beat of a channel's stream."""
    return data.StructLayout({"data": 8 * n_bytes, "last": 1})


def joined(source, sink):
    """Statements that pass a stream on; unlike ``connect``, between members of the same direction and to a queue."""
    return [sink.valid.eq(source.valid), sink.payload.eq(source.payload), source.ready.eq(sink.ready)]
