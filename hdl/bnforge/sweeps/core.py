"""The core of a baseline: composition only. Ports and arithmetic as docs/baselines.md."""

from amaranth.hdl import Cat, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..axis import add_clock, axis_members
from ..config import Algorithm
from ..extrema import ExtremaLane
from ..normaliser import OutputBuffer
from ..ranges import RangeUnit
from ..streams import stored_layout, whole_bytes
from ..totals import TotalsUnit
from .bank import LaneBank, beat_flags
from .chunks import ChunkPositions
from .entry import SweepEntry
from .flow import SweepFlow, inputs_of
from .header import SweepHeader, sweep_layout
from .record import SweepRecord
from .scalar import SerialUnit

__all__ = ["SweepCore"]

_PORTS = {"operand": "s_axis", "stored": "s_axis_y", "gradient": "s_axis_g"}


class SweepCore(wiring.Component):
    """Batch norm in sweeps over the whole channel: range, single-pass or two-pass.

    Throughput: one beat per cycle within a sweep. Between sweeps: the words of the header, and what is in the pipelines
    (``pass_cycles``, ``sum_cycles``). The scalar unit works, and the record leaves, while the next sweep runs; that one
    ends when both are done.

    Latency: ``output_latency``.

    Parameters
    ----------
    config : Config
        With another algorithm than one-pass.
    clocked : bool
        Whether clock and reset come by the ports ``aclk`` and ``aresetn``, and not from the ``sync`` domain around.

    Members
    -------
    s_axis, s_axis_y, s_axis_g : AXI4-Stream: operand, stored and gradient, those that the algorithm has
    s_axis_hdr, m_axis, m_axis_rec : header words, result, record words
    status : sticky: nan, infinity, saturated, header refused, misframed, ends of streams differ
    status_clear : clears the first three
    """

    def __init__(self, config, *, clocked=True):
        self.config, self.clocked = config, clocked
        self.ranges = config.algorithm is Algorithm.RANGE
        self._bank = LaneBank(config)
        exponents = config.n_groups * config.storage.exponent_width if config.is_block else 0
        stored = whole_bytes(config.lanes * config.element_width)
        ports = {"aclk": In(1), "aresetn": In(1)} if clocked else {}
        ports |= axis_members("s_axis", In, whole_bytes(config.lanes * config.x_format.width))
        for name in inputs_of(config):
            if name != "operand":
                ports |= axis_members(_PORTS[name], In, stored, exponents)
        ports |= axis_members("s_axis_hdr", In, 32) | axis_members("m_axis", Out, stored, exponents)
        ports |= axis_members("m_axis_rec", Out, 32)
        super().__init__(ports | {"status": Out(6), "status_clear": In(1)})

    @property
    def pass_cycles(self):
        """Cycles from the taking of a beat until its result is at the output buffer."""
        return 1 + self._bank.latency

    @property
    def output_latency(self):
        """Cycles from the taking of a beat to its first cycle on ``m_axis``."""
        return self.pass_cycles + OutputBuffer.latency

    @property
    def sum_cycles(self):
        """Cycles from the taking of the last beat until all sums of the sweep can be read, and its result is out."""
        ranges = RangeUnit.latency + self.config.lanes if self.ranges else 0
        return 1 + max(self._bank.sum_cycles, ranges, self._bank.latency)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        if self.clocked:
            add_clock(m, self)
        m.submodules.header = header = SweepHeader(config)
        m.submodules.flow = flow = SweepFlow(config, pass_cycles=self.pass_cycles, sum_cycles=self.sum_cycles)
        m.submodules.entry = entry = SweepEntry(config)
        m.submodules.bank = bank = self._bank
        m.submodules.totals = totals = TotalsUnit(config)
        m.submodules.scalar = scalar = SerialUnit(config)
        m.submodules.records = records = SweepRecord(config)
        m.submodules.buffer = buffer = OutputBuffer(stored_layout(config), self.pass_cycles)
        self._axis(m, header, flow, buffer, records)
        m.d.comb += [
            flow.i_tile.eq(header.o_tile), entry.i_tile.eq(header.o_tile), bank.i_tile.eq(header.o_tile),
            flow.i_start.eq(header.o_start), header.i_release.eq(flow.o_release),
            flow.i_credit.eq(buffer.o_credit), buffer.i_issue.eq(flow.o_issue),
            entry.i_take.eq(flow.o_take),
            *(getattr(entry, f"i_{name}").eq(getattr(flow, f"o_{name}")) for name in inputs_of(config)),
            *(getattr(bank, f"i_{name}").eq(getattr(header, f"o_{name}"))
              for name in ("load", "lane", "scale", "shift", "mean")),
            bank.i_valid.eq(entry.o_valid),
            *(sink.eq(source) for sinks, sources in ((bank.i_p, entry.o_p), (bank.i_q, entry.o_q))
              for sink, source in zip(sinks, sources)),
            buffer.i_valid.eq(bank.o_valid), buffer.i_data.eq(bank.o_beat)]
        beat = Signal(beat_flags, name="beat_flags", reset_less=True)
        m.d.sync += [beat.last.eq(flow.o_last), beat.sums.eq(flow.o_sums), beat.first.eq(flow.o_first),
                     beat.end.eq(flow.o_end), beat.first_block.eq(flow.o_first_block)]
        m.d.comb += [
            bank.i_flags.eq(beat), totals.i_block_end.eq(bank.o_block_end), totals.i_first.eq(bank.o_first_block),
            totals.i_parity.eq(header.o_slot), totals.i_sum.eq(bank.o_sum), totals.i_product.eq(bank.o_product),
            bank.i_snapshots.eq(totals.o_shift)]
        slot = self._serve(m, header, flow, totals, scalar, records)
        if self.ranges:
            self._ranges(m, header, flow, entry, bank, scalar, records, slot)
        self._status(m, header, flow, entry, bank, scalar)
        return m

    def _axis(self, m, header, flow, buffer, records):
        """Flat ports to and from the streams inside. Nothing is accepted during reset, where it would be lost."""
        config = self.config
        accepting = self.aresetn if self.clocked else ~ResetSignal()
        sinks = {"s_axis_hdr": header.i} | {_PORTS[name]: getattr(flow, f"i_{name}") for name in inputs_of(config)}
        for name, sink in sinks.items():
            m.d.comb += [sink.valid.eq(getattr(self, f"{name}_tvalid")), sink.payload.last.eq(
                getattr(self, f"{name}_tlast")), getattr(self, f"{name}_tready").eq(sink.ready & accepting)]
        m.d.comb += [header.i.payload.data.eq(self.s_axis_hdr_tdata),
                     Value.cast(flow.i_operand.payload.codes).eq(self.s_axis_tdata)]
        for name in inputs_of(config):
            if name != "operand":
                beat, port = getattr(flow, f"i_{name}").payload, _PORTS[name]
                m.d.comb += beat.elements.as_value().eq(getattr(self, f"{port}_tdata"))
                if config.is_block:
                    m.d.comb += beat.exponents.as_value().eq(getattr(self, f"{port}_tuser"))
        for name, source in (("m_axis", buffer.o), ("m_axis_rec", records.o)):
            m.d.comb += [getattr(self, f"{name}_tvalid").eq(source.valid), getattr(self, f"{name}_tlast").eq(
                source.payload.last), source.ready.eq(getattr(self, f"{name}_tready"))]
        m.d.comb += [self.m_axis_tdata.eq(buffer.o.payload.elements.as_value()),
                     self.m_axis_rec_tdata.eq(records.o.payload.data)]
        if config.is_block:
            m.d.comb += self.m_axis_tuser.eq(buffer.o.payload.exponents.as_value())

    def _serve(self, m, header, flow, totals, scalar, records):
        """The scalar unit and the records, one sweep behind; returns the slot of the sweep they serve."""
        tile = Signal(sweep_layout(self.config), name="served", reset_less=True)
        slot = Signal(name="served_slot")
        start = Signal()
        busy = Signal(name="serving")
        m.d.sync += start.eq(flow.o_launch)
        with m.If(scalar.o_done):
            m.d.sync += busy.eq(0)
        with m.If(flow.o_launch):
            m.d.sync += [busy.eq(1), tile.eq(header.o_tile), slot.eq(header.o_slot)]
        m.d.comb += [
            flow.i_scalar_free.eq(~busy & records.o_free), scalar.i_start.eq(start),
            scalar.i_sweep.eq(tile.sweep), scalar.i_n.eq(tile.n), scalar.i_eps.eq(tile.eps),
            scalar.i_mask.eq(tile.mask), header.i_slot.eq(slot), header.i_read_lane.eq(scalar.o_param_lane),
            header.i_read_word.eq(scalar.o_param_word), scalar.i_param.eq(header.o_param),
            totals.i_read_parity.eq(slot), totals.i_read_lane.eq(scalar.o_total_lane),
            totals.i_read_product.eq(scalar.o_total_product), scalar.i_total.eq(totals.o_total),
            records.i_write.eq(scalar.o_write), records.i_lane.eq(scalar.o_write_lane),
            records.i_word.eq(scalar.o_write_word), records.i_data.eq(scalar.o_write_data),
            records.i_done.eq(scalar.o_done), records.i_sweep.eq(tile.sweep), records.i_mask.eq(tile.mask)]
        if self.ranges:
            m.d.comb += [scalar.i_c.eq(tile.c), scalar.i_n_chunks.eq(tile.n_chunks),
                         records.i_n_chunks.eq(tile.n_chunks)]
        return slot

    def _ranges(self, m, header, flow, entry, bank, scalar, records, slot):
        """Extrema of the chunks of a collect sweep; positions of those of a gradient sweep."""
        config = self.config
        m.submodules.ranges = ranges = RangeUnit(config)
        m.submodules.chunks = chunks = ChunkPositions(config)
        position = Signal(config.position_width, reset_less=True)
        first, end, chunk = Signal(name="chunk_first"), Signal(name="chunk_end"), Signal.like(flow.o_chunk)
        m.d.sync += [position.eq(flow.o_position), first.eq(flow.o_chunk_first), end.eq(flow.o_chunk_end),
                     chunk.eq(flow.o_chunk)]
        lanes = [ExtremaLane(config) for _ in range(config.lanes)]
        for i, lane in enumerate(lanes):
            m.submodules[f"extrema{i}"] = lane
            m.d.comb += [lane.i_valid.eq(entry.o_valid), lane.i_code.eq(entry.o_p[i]), lane.i_position.eq(position),
                         lane.i_chunk_first.eq(first), lane.i_chunk_end.eq(end)]
            if i + 1 < config.lanes:
                m.d.comb += lane.i_chain.eq(lanes[i + 1].o_extrema)
        m.d.comb += [
            ranges.i_load.eq(end), ranges.i_chunk.eq(chunk), ranges.i_tile.eq(header.o_slot),
            ranges.i_extrema.eq(lanes[0].o_extrema), ranges.i_read_parity.eq(slot),
            ranges.i_read_lane.eq(scalar.o_range_lane), scalar.i_range.eq(ranges.o_sum),
            records.i_position_valid.eq(ranges.o_position_valid), records.i_position.eq(ranges.o_position),
            records.i_slot.eq(slot),

            chunks.i_write.eq(header.o_positions), chunks.i_lane.eq(header.o_lane),
            chunks.i_write_chunk.eq(header.o_chunk), chunks.i_position.eq(header.o_position),
            chunks.i_load.eq(flow.o_load), chunks.i_chunk.eq(flow.o_chunk), flow.i_loaded.eq(chunks.o_loaded),
            bank.i_position.eq(position), bank.i_load_position.eq(chunks.o_load),
            bank.i_position_lane.eq(chunks.o_lane), bank.i_argmax.eq(chunks.o_argmax),
            bank.i_argmin.eq(chunks.o_argmin)]

    def _status(self, m, header, flow, entry, bank, scalar):
        """Sticky events, and what stops the core."""
        flags = Value.cast(header.o_flags) | Value.cast(entry.o_flags)
        events = comb(m, Cat(flags[:2], flags[2] | bank.o_saturated | scalar.o_saturated), "events")
        sticky = Signal(3)
        with m.If(self.status_clear):
            m.d.sync += sticky.eq(events)
        with m.Else():
            m.d.sync += sticky.eq(sticky | events)
        m.d.comb += self.status.eq(Cat(sticky, header.o_refused, header.o_misframed | flow.o_misframed,
                                       flow.o_unequal))
