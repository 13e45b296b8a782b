"""The core: composition only. Ports as docs/interfaces.md."""

from amaranth.hdl import Cat, ClockDomain, Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .constants import ConstantExtraction, Schedule
from .header import HeaderUnit
from .input import InputStage, beat_layout
from .normaliser import Normaliser, OutputBuffer, pipeline_length
from .ranges import RangeUnit
from .records import RecordUnit
from .statistics import StatisticsLane
from .streams import FLAGS, job_layout

__all__ = ["Top"]


def _bytes(width):
    """``width`` padded to whole bytes."""
    return -(-width // 8) * 8


class Top(wiring.Component):
    """The forward one-pass normaliser.

    Throughput: one beat per cycle while all tiles have the same n ≥ max(S_eff, ``tile_interval``). Short tiles behind a
    long one wait until its records and beats have left, once four tiles are in flight.

    Latency: ``constants_latency`` cycles from the last beat of the sample to the first beat that meets its constants,
    then ``output_latency``.

    Members
    -------
    The ports of docs/interfaces.md.
    """

    def __init__(self, config):
        self.config = config
        x_width = _bytes(config.lanes * config.x_format.width)
        y_width = _bytes(config.lanes * config.element_width)
        ports = {"aclk": In(1), "aresetn": In(1)}

        def axis(name, direction, width, user=0):
            other = Out if direction is In else In
            ports.update({f"{name}_tdata": direction(width), f"{name}_tvalid": direction(1),
                          f"{name}_tready": other(1), f"{name}_tlast": direction(1)})
            if user:
                ports[f"{name}_tuser"] = direction(user)

        axis("s_axis", In, x_width)
        axis("s_axis_hdr", In, 32)
        axis("m_axis", Out, y_width, config.n_groups * config.storage.exponent_width if config.is_block else 0)
        axis("m_axis_rec", Out, 32)
        super().__init__(ports | {"status": Out(5), "status_clear": In(1)})

    @property
    def constants_latency(self):
        """Cycles from taking the last beat of the sample to issuing the first beat of the tile."""
        return Schedule.cycles(self.config.lanes) + 4

    @property
    def output_latency(self):
        """Cycles from issuing a beat to its first cycle on ``m_axis``."""
        return pipeline_length(self.config) + OutputBuffer.latency

    @property
    def tile_interval(self):
        """n from which on equal tiles with S_eff = n follow each other without a stall.

        The longest of: the records of a full tile; a header; a constant extraction, which waits for the one before to
        hand its constants over.
        """
        return max(self.config.lanes * self.config.record_words + 1, self.config.header_words,
                   self.constants_latency + 3)

    @property
    def fifo_depth(self):
        """Beats that arrive before the first can leave; with one place less a full-rate stream stalls."""
        return self.config.sample_depth + self.constants_latency

    def elaborate(self, platform):
        m = Module()
        domain = ClockDomain("sync", local=True)
        domain.clk = self.aclk
        m.domains += domain
        m.d.comb += domain.rst.eq(~self.aresetn)

        m.submodules.header = header = HeaderUnit(self.config)
        m.submodules.input = entry = InputStage(self.config)
        m.submodules.ranges = ranges = RangeUnit(self.config)
        m.submodules.constants = constants = ConstantExtraction(self.config)
        m.submodules.normaliser = normaliser = Normaliser(self.config)
        m.submodules.records = records = RecordUnit(self.config)
        self._ports(m, header, entry, normaliser, records)

        connect(m, header.o_open, entry.i_open)
        self._buffers(m, entry, constants, normaliser)
        lanes = self._statistics(m, entry, constants)
        m.d.comb += [
            *(sink.eq(source) for unit in (entry.i_tiles, constants.i_tiles)
              for sink, source in zip(unit, header.o_tiles)),
            constants.i_complete.eq(header.o_complete), header.i_release.eq(constants.o_release),
            header.i_slot.eq(constants.o_slot), header.i_gamma_lane.eq(constants.o_gamma_lane),
            header.i_beta_lane.eq(constants.o_beta_lane), constants.i_gamma.eq(header.o_gamma),
            constants.i_beta.eq(header.o_beta),

            ranges.i_load.eq(entry.o_chunk_end), ranges.i_chunk.eq(entry.o_chunk), ranges.i_tile.eq(entry.o_tile),
            ranges.i_extrema.eq(lanes[0].o_extrema),
            ranges.i_read_parity.eq(constants.o_range_parity), ranges.i_read_lane.eq(constants.o_range_lane),
            constants.i_range.eq(ranges.o_sum), constants.i_sum.eq(lanes[0].o_sum),
            entry.i_sum_free.eq(constants.o_sum_free),

            constants.i_chain_free.eq(normaliser.o_chain_free), normaliser.i_a_shift.eq(constants.o_a_shift),
            normaliser.i_a.eq(constants.o_a), normaliser.i_b_shift.eq(constants.o_b_shift),
            normaliser.i_b.eq(constants.o_b), normaliser.i_ready.eq(constants.o_ready),
            normaliser.i_activation.eq(constants.o_activation),

            constants.i_record_free.eq(records.o_free), records.i_slot.eq(constants.o_record_slot),
            records.i_a.eq(constants.o_record_a), records.i_b.eq(constants.o_record_b),
            records.i_rinv.eq(constants.o_rinv), records.i_mu.eq(constants.o_mu), records.i_r.eq(constants.o_r),
            records.i_position_valid.eq(ranges.o_position_valid), records.i_position.eq(ranges.o_position),
            records.i_done.eq(constants.o_ready), records.i_mask.eq(constants.o_mask),
            records.i_n_chunks.eq(constants.o_n_chunks), records.i_frozen.eq(constants.o_frozen)]
        self._status(m, header, entry, constants, normaliser)
        return m

    def _ports(self, m, header, entry, normaliser, records):
        """Flat ports to and from the streams inside. Nothing is accepted during reset, where it would be lost."""
        config = self.config
        width, element = config.x_format.width, config.element_width
        stored = normaliser.o.payload
        m.d.comb += [
            header.i.valid.eq(self.s_axis_hdr_tvalid), self.s_axis_hdr_tready.eq(header.i.ready & self.aresetn),
            header.i.payload.data.eq(self.s_axis_hdr_tdata), header.i.payload.last.eq(self.s_axis_hdr_tlast),
            entry.i.valid.eq(self.s_axis_tvalid), self.s_axis_tready.eq(entry.i.ready & self.aresetn),
            entry.i.payload.last.eq(self.s_axis_tlast),
            self.m_axis_tvalid.eq(normaliser.o.valid), normaliser.o.ready.eq(self.m_axis_tready),
            self.m_axis_tlast.eq(stored.last),
            self.m_axis_rec_tvalid.eq(records.o.valid), records.o.ready.eq(self.m_axis_rec_tready),
            self.m_axis_rec_tdata.eq(records.o.payload.data), self.m_axis_rec_tlast.eq(records.o.payload.last)]
        for lane in range(config.lanes):
            m.d.comb += [
                entry.i.payload.codes[lane].eq(self.s_axis_tdata[lane * width:(lane + 1) * width]),
                self.m_axis_tdata[lane * element:(lane + 1) * element].eq(stored.elements[lane])]
        if config.is_block:
            m.d.comb += self.m_axis_tuser.eq(Cat(stored.exponents[group] for group in range(config.n_groups)))

    def _buffers(self, m, entry, constants, normaliser):
        """Sample FIFO, and the queue of tiles whose statistics are complete."""
        width = len(entry.o_beat.payload.as_value())
        m.submodules.sample_fifo = sample = fifo.SyncFIFOBuffered(width=width, depth=self.fifo_depth)
        # Each tile in the queue holds one of the two header slots, so that the queue never overflows.
        job_width = len(entry.o_job.payload.as_value())
        m.submodules.jobs = jobs = fifo.SyncFIFO(width=job_width, depth=2)
        for source, buffer, sink in ((entry.o_beat, sample, normaliser.i), (entry.o_job, jobs, constants.i_job)):
            m.d.comb += [buffer.w_en.eq(source.valid), buffer.w_data.eq(source.payload),
                         sink.valid.eq(buffer.r_rdy), sink.payload.eq(buffer.r_data), buffer.r_en.eq(sink.ready)]
        m.d.comb += entry.o_beat.ready.eq(sample.w_rdy)

    def _statistics(self, m, entry, constants):
        """One statistics unit per lane, their snapshots chained towards lane 0."""
        lanes = [StatisticsLane(self.config) for _ in range(self.config.lanes)]
        for i, lane in enumerate(lanes):
            m.submodules[f"statistics{i}"] = lane
            m.d.comb += [
                lane.i_valid.eq(entry.o_sampling), lane.i_code.eq(entry.o_beat.payload.codes[i]),
                lane.i_position.eq(entry.o_position), lane.i_first.eq(entry.o_first),
                lane.i_chunk_first.eq(entry.o_chunk_first), lane.i_chunk_end.eq(entry.o_chunk_end),
                lane.i_sample_end.eq(entry.o_sample_end), lane.i_sum_shift.eq(constants.o_sum_shift)]
            if i + 1 < len(lanes):
                m.d.comb += [lane.i_sum_chain.eq(lanes[i + 1].o_sum), lane.i_extrema_chain.eq(lanes[i + 1].o_extrema)]
        return lanes

    def _status(self, m, header, entry, constants, normaliser):
        """Sticky flags: numeric ones until cleared, errors until reset."""
        sticky, events = Signal(FLAGS, name="sticky"), Signal(FLAGS, name="events")
        m.d.comb += [
            events.nan.eq(header.o_flags.nan | entry.o_flags.nan),
            events.infinity.eq(header.o_flags.infinity | entry.o_flags.infinity),
            events.saturated.eq(header.o_flags.saturated | constants.o_saturated | normaliser.o_saturated),
            self.status.eq(Cat(sticky, header.o_refused, header.o_misframed))]
        for flag in FLAGS.members:
            with m.If(events[flag]):
                m.d.sync += sticky[flag].eq(1)
            with m.Elif(self.status_clear):
                m.d.sync += sticky[flag].eq(0)
