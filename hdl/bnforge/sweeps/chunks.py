"""Positions of the extrema of a whole channel, from the header of a gradient sweep to the lanes."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..config import CHANNEL_CHUNKS
from ..streams import lane_width

__all__ = ["ChunkPositions"]


class ChunkPositions(wiring.Component):
    """Keeps the positions of all chunks, and brings those of one chunk to the lanes.

    Latency: ``o_loaded`` comes ``lanes + 2`` cycles after ``i_load``.

    Members
    -------
    i_write, i_lane, i_write_chunk, i_position : strobes, an argmax and an argmin
    i_load, i_chunk : strobe, bring the positions of a chunk
    o_load, o_lane, o_argmax, o_argmin : strobe, the positions of a lane
    o_loaded : strobe, all lanes have theirs
    """

    def __init__(self, config):
        self.config = config
        lane, position = lane_width(config), config.position_width
        super().__init__({
            "i_write": In(2), "i_lane": In(lane), "i_write_chunk": In(range(CHANNEL_CHUNKS)),
            "i_position": In(position), "i_load": In(1), "i_chunk": In(range(CHANNEL_CHUNKS)),
            "o_load": Out(1), "o_lane": Out(lane), "o_argmax": Out(position), "o_argmin": Out(position),
            "o_loaded": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        reading = Signal()
        lane = Signal(lane_width(config))
        end = reading & (lane == config.lanes - 1)
        with m.If(reading):
            m.d.sync += lane.eq(lane + 1)
        with m.If(end):
            m.d.sync += reading.eq(0)
        with m.If(self.i_load):
            m.d.sync += [reading.eq(1), lane.eq(0)]
        m.d.sync += [self.o_load.eq(reading), self.o_lane.eq(lane), self.o_loaded.eq(end)]
        for number, output in enumerate((self.o_argmax, self.o_argmin)):
            m.submodules[output.name[2:]] = mem = memory.Memory(
                shape=config.position_width, depth=CHANNEL_CHUNKS << lane_width(config), init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                write.en.eq(self.i_write[number]), write.addr.eq(Cat(self.i_lane, self.i_write_chunk)),
                write.data.eq(self.i_position), read.addr.eq(Cat(lane, self.i_chunk)), output.eq(read.data)]
        return m
