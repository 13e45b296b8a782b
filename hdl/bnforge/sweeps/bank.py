"""The lanes of a baseline with what surrounds them: pipeline, storage converters, chains of sums."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..config import Activation, Algorithm
from ..converter import BlockConverter, FloatConverter
from ..streams import lane_width, stored_layout
from ..totals import TotalsUnit
from .entry import where
from .header import sweep_layout
from .lane import REGISTERS, lane_of
from .words import Sweep, streams

__all__ = ["LaneBank", "beat_flags"]

beat_flags = data.StructLayout({"last": 1, "sums": 1, "first": 1, "end": 1, "first_block": 1})
"""What accompanies a beat: the last of its sweep; it counts in sums; the first, the last of its block; the block is
the first of its sweep."""


class LaneBank(wiring.Component):
    """All lanes.

    Latency: ``latency`` cycles from ``i_valid`` to ``o_valid``. One beat per cycle.

    Members
    -------
    i_load, i_lane, i_scale, i_shift, i_mean : constants, as the header delivers them
    i_tile : the sweep
    i_valid, i_p, i_q, i_flags : codes of a beat
    o_valid, o_beat : the result, in sweeps that have one
    o_saturated : strobe
    i_snapshots, o_sum, o_product : moves the chains of sums on; snapshots of lane 0
    o_block_end, o_first_block : strobe, a block ends; it is the first of its sweep

    Members, range statistics
    -------------------------
    i_position : of the beat in its chunk
    i_load_position, i_position_lane, i_argmax, i_argmin : positions, lane by lane
    """

    def __init__(self, config):
        self.config = config
        self.ranges = config.algorithm is Algorithm.RANGE
        self.lanes = [lane_of(config) for _ in range(config.lanes)]
        self.converter = BlockConverter if config.is_block else FloatConverter
        codes, lane, position = In(config.x_format.width).array(config.lanes), lane_width(config), config.position_width
        ranges = {} if not self.ranges else {
            "i_position": In(position), "i_load_position": In(1), "i_position_lane": In(lane),
            "i_argmax": In(position), "i_argmin": In(position)}
        first = self.lanes[0].signature.members
        super().__init__({
            "i_load": In(len(REGISTERS[config.algorithm])), "i_lane": In(lane),
            **{name: first[name] for name in ("i_scale", "i_shift", "i_mean", "i_snapshots", "o_sum", "o_product")},
            "i_tile": In(sweep_layout(config)), "i_valid": In(1), "i_p": codes, "i_q": codes, "i_flags": In(beat_flags),
            "o_valid": Out(1), "o_beat": Out(stored_layout(config)), "o_saturated": Out(1),
            "o_block_end": Out(1), "o_first_block": Out(1), **ranges})

    @property
    def latency(self):
        return self.lanes[0].latency + self.converter.latency

    @property
    def sum_cycles(self):
        """Cycles from ``i_valid`` of the last beat until its sums can be read."""
        return self.lanes[0].sum_delay + TotalsUnit.latency + 2 * self.config.lanes

    def elaborate(self, platform):
        m = Module()
        config, tile, lane0 = self.config, self.i_tile, self.lanes[0]
        valid, flags = [self.i_valid], [self.i_flags]
        for cycle in range(1, self.latency + 1):
            valid.append(Signal(name=f"valid_{cycle}"))
            flags.append(Signal(beat_flags, name=f"flags_{cycle}", reset_less=True))
            m.d.sync += [valid[-1].eq(valid[-2]), flags[-1].eq(flags[-2])]
        summed, summed_valid = flags[lane0.sum_delay], valid[lane0.sum_delay]
        counts = comb(m, summed_valid & summed.sums, "counts")
        m.d.comb += [self.o_block_end.eq(counts & summed.end), self.o_first_block.eq(summed.first_block),
                     self.o_sum.eq(lane0.o_sum), self.o_product.eq(lane0.o_product)]
        results = where(m, config, tile, lambda sweep: streams(config, sweep)[1], "results")
        normalises, corrects = tile.sweep == Sweep.NORMALISE, tile.sweep == Sweep.GRADIENT
        over = []
        for i, lane in enumerate(self.lanes):
            m.submodules[f"lane{i}"] = lane
            self._connect(m, lane, i, normalises, corrects)
            m.d.comb += [
                lane.i_sums.eq(counts & (tile.sweep != Sweep.VARIANCE)), lane.i_products.eq(counts),
                lane.i_first.eq(summed.first), lane.i_end.eq(counts & summed.end)]
            events = lane.o_saturated & valid[lane.latency] & results
            if not self.ranges:
                events = events | (lane.o_correction_saturated & valid[lane.correction_delay] & corrects)
            if config.algorithm is Algorithm.TWO_PASS:
                deviates = where(m, config, tile, lambda sweep: sweep in (
                    Sweep.VARIANCE, Sweep.SUMS, Sweep.GRADIENT), f"deviates{i}")
                events = events | (lane.o_deviation_saturated & valid[lane.sum_delay] & deviates)
            over.append(events & tile.mask[i])
        converted = self._convert(m, Mux(normalises, tile.activation, Activation.IDENTITY))
        over.append(converted & valid[-1] & results)
        m.d.comb += [self.o_valid.eq(valid[-1] & results), self.o_beat.last.eq(flags[-1].last),
                     self.o_saturated.eq(Cat(over).any())]
        return m

    def _connect(self, m, lane, i, normalises, corrects):
        config, tile = self.config, self.i_tile
        masked = (Sweep.SUMS, Sweep.GRADIENT) if config.algorithm is Algorithm.TWO_PASS else (Sweep.SUMS,)
        m.d.comb += [
            lane.i_load.eq(self.i_load & (self.i_lane == i).replicate(len(self.i_load))),
            lane.i_scale.eq(self.i_scale), lane.i_shift.eq(self.i_shift), lane.i_mean.eq(self.i_mean),
            lane.i_p.eq(self.i_p[i]), lane.i_q.eq(self.i_q[i]), lane.i_activation.eq(tile.activation),
            lane.i_passes.eq(~normalises & ~corrects), lane.i_normalises.eq(normalises),
            lane.i_masks.eq(Cat(tile.sweep == sweep for sweep in masked).any()),
            lane.i_snapshots.eq(self.i_snapshots)]
        if i + 1 < config.lanes:
            m.d.comb += [lane.i_sum_chain.eq(self.lanes[i + 1].o_sum),
                         lane.i_product_chain.eq(self.lanes[i + 1].o_product)]
        if self.ranges:
            m.d.comb += [lane.i_adds.eq(corrects), lane.i_position.eq(self.i_position),
                         lane.i_load_position.eq(self.i_load_position & (self.i_position_lane == i)),
                         lane.i_argmax.eq(self.i_argmax), lane.i_argmin.eq(self.i_argmin)]
        else:
            m.d.comb += lane.i_corrects.eq(corrects)
        if config.algorithm is Algorithm.TWO_PASS:
            m.d.comb += lane.i_squares.eq(tile.sweep == Sweep.VARIANCE)

    def _convert(self, m, activation):
        """Storage converters between lanes and ``o_beat``; returns whether one saturates. Disabled lanes store 0."""
        config, stored = self.config, self.o_beat
        values = [comb(m, lane.o_y & self.i_tile.mask[i].replicate(len(lane.o_y)), f"y{i}")
                  for i, lane in enumerate(self.lanes)]
        group, flags = config.storage.group if config.is_block else 1, []
        for number in range(config.lanes // group):
            m.submodules[f"converter{number}"] = converter = self.converter(config)
            m.d.comb += converter.i_activation.eq(activation)
            flags.append(converter.o_saturated)
            for i in range(number * group, (number + 1) * group):
                value, element = (converter.i_y[i % group], converter.o_elements[i % group]) if config.is_block else (
                    converter.i_y, converter.o_element)
                m.d.comb += [value.eq(values[i]), stored.elements[i].eq(element)]
            if config.is_block:
                m.d.comb += stored.exponents[number].eq(converter.o_exponent)
        return Cat(flags).any()
