"""The core: composition only. Ports as docs/interfaces.md."""

from amaranth.hdl import Cat, Const, Module, ResetSignal, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out, connect

from .accumulator import ElementSum
from .axis import add_clock, axis_members
from .extrema import ExtremaLane
from .header import HeaderUnit
from .input import InputStage
from .normaliser import Normaliser, OutputBuffer, pipeline_length
from .positions import PositionLoader
from .ranges import RangeUnit
from .records import RecordUnit
from .recovery import RecoveryLane
from .lanes import drain_cycles
from .sample_fifo import SampleFIFO
from .scalars import scalar_class
from .streams import FLAGS, whole_bytes
from .totals import TotalsUnit

__all__ = ["Top", "core_streams"]


def core_streams(config):
    """Members of the core for its streams, as docs/interfaces.md has them."""
    y_width = whole_bytes(config.lanes * config.element_width)
    exponents = config.n_groups * config.storage.exponent_width if config.is_block else 0
    ports = axis_members("s_axis", In, whole_bytes(config.lanes * config.x_format.width))
    if config.has_backward:
        ports |= axis_members("s_axis_y", In, y_width, exponents)
    return (ports | axis_members("s_axis_hdr", In, 32) | axis_members("m_axis", Out, y_width, exponents) |
            axis_members("m_axis_rec", Out, 32))


class Top(wiring.Component):
    """The one-pass normaliser, forward, backward or both.

    Throughput: one beat per cycle while all tiles of a direction have the same n ≥ max(S_eff, ``tile_interval``), or
    ``gradient_interval``; where the directions change, also S_eff ≥ ``constants_latency``. Two things take longer.
    Short tiles behind a long one wait until its records and beats have left, once four tiles are in flight. The last
    block of sums of a backward tile waits, if it has fewer than ``block_interval`` beats, for the difference.

    Latency: ``constants_latency`` cycles from the last beat of the sample to the first beat that meets its constants,
    or ``gradient_latency`` from the last beat of a backward tile to the first of its sample; then ``output_latency``.

    Parameters
    ----------
    config : Config
    clocked : bool
        Whether clock and reset come by the ports ``aclk`` and ``aresetn``, as docs/interfaces.md has them, and not from
        the ``sync`` domain around the core.

    Members
    -------
    The ports of docs/interfaces.md.
    """

    def __init__(self, config, *, clocked=True):
        self.config, self.clocked = config, clocked
        ports = {"aclk": In(1), "aresetn": In(1)} if clocked else {}
        super().__init__(ports | core_streams(config) | {"status": Out(6), "status_clear": In(1)})

    @property
    def constants_latency(self):
        """Cycles from taking the last beat of the sample to issuing the first beat of a forward tile.

        Without statistics: from taking the first beat.
        """
        if not self.config.has_statistics:
            return scalar_class(self.config).load_cycles(self.config) + 3
        forward, _ = scalar_class(self.config).schedules(self.config)
        return forward.cycles(self.config.lanes) + 4

    @property
    def gradient_latency(self):
        """Cycles from taking the last beat of a backward tile to issuing the first beat of its sample."""
        _, backward = scalar_class(self.config).schedules(self.config)
        return backward.cycles(self.config.lanes) + 3

    @property
    def output_latency(self):
        """Cycles from issuing a beat to its first cycle on ``m_axis``."""
        return pipeline_length(self.config) + OutputBuffer.latency

    @property
    def tile_interval(self):
        """n from which on equal forward tiles with S_eff = n follow each other without a stall.

        The longest of: the records of a full tile; a header; a run of the scalar unit, which waits for the one before
        to hand its constants over.
        """
        return max(self.config.lanes * self.config.record_words + 1, self.config.header_words + 1,
                   self.constants_latency + 3 + drain_cycles(self.config))

    @property
    def gradient_interval(self):
        """The same of backward tiles: their records come in; the scalar unit loads the scales before it runs."""
        lanes, unit = self.config.lanes, scalar_class(self.config)
        run = unit.schedules(self.config)[1].run_cycles(lanes)
        return max(self.config.backward_header_words(lanes) + 2,
                   run + unit.load_cycles(self.config) + 6 + drain_cycles(self.config))

    @property
    def block_interval(self):
        """Beats in which the sums of a block are read, so that the next block can end."""
        return TotalsUnit.busy(self.config)

    @property
    def fifo_depth(self):
        """Beats that arrive before the first can leave; with one place less a full-rate stream stalls."""
        latency = self.constants_latency if self.config.has_forward else self.gradient_latency
        return max(1, self.config.sample_depth) + latency

    def elaborate(self, platform):
        m = Module()
        config = self.config
        if self.clocked:
            add_clock(m, self)

        m.submodules.header = header = HeaderUnit(config)
        m.submodules.input = entry = InputStage(config)
        m.submodules.scalar = scalar = scalar_class(config)(config)
        m.submodules.normaliser = normaliser = Normaliser(config, self.fifo_depth)
        m.submodules.records = records = RecordUnit(config)
        self._ports(m, header, entry, normaliser, records)

        connect(m, header.o_open, entry.i_open)
        self._buffers(m, entry, scalar, normaliser)
        sums = []
        if config.has_statistics:
            sums = self._chain(m, [ElementSum(config) for _ in range(config.lanes)], "sum")
            summing = self._counted(m, Cat(entry.o_summing, entry.o_sum_first, entry.o_sum_end), "summing")
            for lane in sums:
                m.d.comb += Cat(lane.i_valid, lane.i_first, lane.i_end).eq(summing)
        m.d.comb += [
            *(sink.eq(source) for unit in (entry.i_tiles, scalar.i_tiles)
              for sink, source in zip(unit, header.o_tiles)),
            scalar.i_complete.eq(header.o_complete), header.i_release.eq(scalar.o_release),
            header.i_slot.eq(scalar.o_slot), header.i_gamma_lane.eq(scalar.o_gamma_lane),
            header.i_beta_lane.eq(scalar.o_beta_lane), scalar.i_gamma.eq(header.o_gamma),
            scalar.i_beta.eq(header.o_beta),

            scalar.i_scale_free.eq(normaliser.o_scale_free), scalar.i_shift_free.eq(normaliser.o_shift_free),
            *(getattr(normaliser, f"i_{name}{end}").eq(getattr(scalar, f"o_{name}{end}"))
              for name in scalar.chains for end in ("", "_shift")),
            normaliser.i_ready.eq(scalar.o_ready), normaliser.i_activation.eq(scalar.o_activation),
            normaliser.i_backward.eq(scalar.o_backward), normaliser.i_frozen.eq(scalar.o_frozen),

            scalar.i_record_free.eq(records.o_free), records.i_slot.eq(scalar.o_record_slot),
            records.i_done.eq(scalar.o_done), records.i_mask.eq(scalar.o_mask)]
        shifts, frees = [], []
        if config.has_forward:
            constants = [records.i_a.eq(scalar.o_record_a), records.i_b.eq(scalar.o_record_b)]
            if config.has_statistics:
                self._statistics(m, entry, sums, scalar, records, constants)
                shifts.append(scalar.o_sum_shift)
                frees.append(scalar.o_sum_free)
            else:
                m.d.comb += constants
        if config.has_backward:
            totals = self._backward(m, header, entry, sums, scalar, normaliser, records)
            shifts.append(totals.o_shift)
            frees.append(totals.o_free)
        m.d.comb += [entry.i_sum_free.eq(Cat(frees).any()), *(lane.i_shift.eq(Cat(shifts).any()) for lane in sums)]
        self._status(m, header, entry, scalar, normaliser)
        return m

    def _ports(self, m, header, entry, normaliser, records):
        """Flat ports to and from the streams inside. Nothing is accepted during reset, where it would be lost."""
        config = self.config
        width, element = config.x_format.width, config.element_width
        stored = normaliser.o.payload
        accepting = self.aresetn if self.clocked else ~ResetSignal()
        m.d.comb += [
            header.i.valid.eq(self.s_axis_hdr_tvalid), self.s_axis_hdr_tready.eq(header.i.ready & accepting),
            header.i.payload.data.eq(self.s_axis_hdr_tdata), header.i.payload.last.eq(self.s_axis_hdr_tlast),
            entry.i.valid.eq(self.s_axis_tvalid), self.s_axis_tready.eq(entry.i.ready & accepting),
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
        if config.has_backward:
            y = entry.i_y.payload
            m.d.comb += [
                entry.i_y.valid.eq(self.s_axis_y_tvalid), self.s_axis_y_tready.eq(entry.i_y.ready & accepting),
                y.last.eq(self.s_axis_y_tlast), y.elements.as_value().eq(self.s_axis_y_tdata)]
            if config.is_block:
                m.d.comb += y.exponents.as_value().eq(self.s_axis_y_tuser)

    def _buffers(self, m, entry, scalar, normaliser):
        """Sample FIFO, and the queues of tiles that wait for the scalar unit."""
        m.submodules.sample_fifo = sample = SampleFIFO(
            entry.o_beat.payload.shape(), depth=self.fifo_depth, late=self.config.has_backward)
        # Each tile in a queue holds one of the two header slots, so that the queue never overflows.
        queues = {"jobs": (entry.o_job, scalar.i_job)}
        if self.config.has_backward:
            queues["finishes"] = (entry.o_finish, scalar.i_finish)
        buffers = [(entry.o_beat, sample, normaliser.i)]
        for name, (source, sink) in queues.items():
            m.submodules[name] = queue = fifo.SyncFIFO(width=len(Value.cast(source.payload)), depth=2)
            buffers.append((source, queue, sink))
        for source, buffer, sink in buffers:
            m.d.comb += [buffer.w_en.eq(source.valid), buffer.w_data.eq(source.payload),
                         sink.valid.eq(buffer.r_rdy), sink.payload.eq(buffer.r_data), buffer.r_en.eq(sink.ready)]
        m.d.comb += [entry.o_beat.ready.eq(sample.w_rdy)]

    def _chain(self, m, lanes, name, snapshot="o_sum"):
        """Submodules of all lanes, their snapshots chained towards lane 0."""
        for i, lane in enumerate(lanes):
            m.submodules[f"{name}{i}"] = lane
            if i + 1 < len(lanes):
                m.d.comb += lane.i_chain.eq(getattr(lanes[i + 1], snapshot))
        return lanes

    def _counted(self, m, control, name):
        """What accompanies an element to sums and extrema: with a backward pass the recovery lanes deliver the elements
        of both directions, one cycle after their beat."""
        if not self.config.has_backward:
            return control
        late = Signal(len(control), name=f"{name}_late")
        m.d.sync += late.eq(control)
        return late

    def _statistics(self, m, entry, sums, scalar, records, constants):
        """What only the samples of forward tiles need: extrema, ranges, and the records of a channel, with its
        ``constants``."""
        config = self.config
        m.submodules.ranges = ranges = RangeUnit(config)
        sampling = self._counted(m, Cat(entry.o_sampling, entry.o_chunk_first, entry.o_chunk_end, entry.o_position),
                                 "sampling")
        chunk = self._counted(m, Cat(entry.o_chunk_end, entry.o_chunk, entry.o_tile), "chunk")
        lanes = self._chain(m, [ExtremaLane(config) for _ in range(config.lanes)], "extrema", "o_extrema")
        for i, lane in enumerate(lanes):
            if not config.has_backward:
                m.d.comb += sums[i].i_code.eq(entry.o_codes[i])
            m.d.comb += [
                Cat(lane.i_valid, lane.i_chunk_first, lane.i_chunk_end, lane.i_position).eq(sampling),
                lane.i_code.eq(sums[i].i_code)]
        m.d.comb += [
            Cat(ranges.i_load, ranges.i_chunk, ranges.i_tile).eq(chunk),
            ranges.i_extrema.eq(lanes[0].o_extrema),
            ranges.i_read_parity.eq(scalar.o_range_parity), ranges.i_read_lane.eq(scalar.o_range_lane),
            scalar.i_range.eq(ranges.o_sum), scalar.i_sum.eq(sums[0].o_sum),
            *constants,
            records.i_rinv.eq(scalar.o_rinv), records.i_mu.eq(scalar.o_mu), records.i_r.eq(scalar.o_r),
            records.i_position_valid.eq(ranges.o_position_valid), records.i_position.eq(ranges.o_position),
            records.i_n_chunks.eq(scalar.o_n_chunks), records.i_frozen.eq(scalar.o_frozen)]

    def _backward(self, m, header, entry, sums, scalar, normaliser, records):
        """What only backward tiles need: mask and products, totals, and the positions of the extrema."""
        config = self.config
        m.submodules.totals = totals = TotalsUnit(config)
        m.submodules.positions = positions = PositionLoader(config)
        lanes = self._chain(m, [RecoveryLane(config) for _ in range(config.lanes)], "recovery")
        for i, lane in enumerate(lanes):
            m.d.comb += [
                lane.i_valid.eq(entry.o_gradient), lane.i_dy.eq(entry.o_codes[i]),
                lane.i_element.eq(entry.o_y.elements[i]), lane.i_activation.eq(entry.o_activation),
                lane.i_first.eq(entry.o_sum_first), lane.i_end.eq(entry.o_sum_end), lane.i_shift.eq(totals.o_shift),
                sums[i].i_code.eq(lane.o_g_late), m.submodules.sample_fifo.i_codes[i].eq(lane.o_g_late),
                entry.i_g[i].eq(lane.o_g), entry.i_y_nan[i].eq(lane.o_nan),
                entry.i_y_infinity[i].eq(lane.o_infinity)]
            if config.is_block:
                group = i // config.storage.group
                m.d.comb += [lane.i_reserved.eq(entry.o_y_reserved[group]), lane.i_limit.eq(entry.o_y_limits[group]),
                             lane.i_exponent.eq(entry.o_y_exponents[group])]
        m.d.comb += [
            totals.i_block_end.eq(entry.o_gradient & entry.o_sum_end), totals.i_first.eq(entry.o_first_block),
            totals.i_parity.eq(entry.o_tile[0]), totals.i_sum.eq(sums[0].o_sum), totals.i_product.eq(lanes[0].o_sum),
            totals.i_read_parity.eq(scalar.o_slot), totals.i_read_lane.eq(scalar.o_total_lane),
            totals.i_read_product.eq(scalar.o_total_product), scalar.i_total.eq(totals.o_total),

            header.i_mean_lane.eq(scalar.o_mean_lane), scalar.i_mean.eq(header.o_mean),
            scalar.i_range_sent.eq(header.o_range), header.i_rinv_lane.eq(scalar.o_rinv_lane),
            scalar.i_rinv.eq(header.o_rinv),

            positions.i_sent.eq(header.o_positions), positions.i_start.eq(scalar.o_gradient_start),
            positions.i_tile.eq(scalar.o_tile), positions.i_n_chunks.eq(scalar.o_n_chunks),
            positions.i_swap.eq(normaliser.o_position_swap), normaliser.i_position_shift.eq(positions.o_shift),
            normaliser.i_position.eq(positions.o_pair), normaliser.i_position_valid.eq(positions.o_valid),

            normaliser.i_pass.eq(entry.o_pass), normaliser.i_pass_tile.eq(entry.o_tile),
            entry.i_pass_free.eq(normaliser.o_pass_free), normaliser.i_gradient_ready.eq(scalar.o_gradient_ready),
            normaliser.i_n_chunks.eq(scalar.o_n_chunks),

            records.i_dgamma.eq(scalar.o_dgamma), records.i_dbeta.eq(scalar.o_dbeta),
            records.i_backward.eq(scalar.o_backward)]
        return totals

    def _status(self, m, header, entry, scalar, normaliser):
        """Sticky flags: numeric ones until cleared, errors until reset."""
        sticky, events = Signal(FLAGS, name="sticky"), Signal(FLAGS, name="events")
        unequal = entry.o_unequal if self.config.has_backward else Const(0)
        m.d.comb += [
            events.nan.eq(header.o_flags.nan | entry.o_flags.nan),
            events.infinity.eq(header.o_flags.infinity | entry.o_flags.infinity),
            events.saturated.eq(header.o_flags.saturated | scalar.o_saturated | normaliser.o_saturated),
            self.status.eq(Cat(sticky, header.o_refused, header.o_misframed, unequal))]
        for flag in FLAGS.members:
            with m.If(events[flag]):
                m.d.sync += sticky[flag].eq(1)
            with m.Elif(self.status_clear):
                m.d.sync += sticky[flag].eq(0)
