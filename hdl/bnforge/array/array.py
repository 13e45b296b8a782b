"""The systolic array (docs/array.md): composition only."""

from amaranth.hdl import Cat, ClockDomain, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb
from ..decoder import StoredDecoder
from ..streams import FLAGS, whole_bytes
from .column import Column
from .control import ResultQueue, RowControl, WeightControl
from .layouts import beat_layout
from .transposer import Transposer, row_layout

__all__ = ["SystolicArray", "SystolicArrayTop", "result_layout"]


def result_layout(config):
    """A row of C."""
    return data.StructLayout({"codes": data.ArrayLayout(config.output.width, config.columns), "last": 1})


class SystolicArray(wiring.Component):
    """Multiplies matrices, docs/array.md.

    Throughput: one row per cycle; a pass takes at least ``pass_interval`` cycles. Latency: ``latency`` cycles from
    taking the row of a block's last pass to its result, if no partial sum is read meanwhile.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    i_a, i_w : beats of A and B
    o : rows of C
    i_transpose : A comes transposed; changes only while ``o_idle``
    o_flags : strobes
    o_misframed : sticky
    o_idle : nothing is inside
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_a": In(stream.Signature(beat_layout(config, config.rows))),
            "i_w": In(stream.Signature(beat_layout(config, config.columns))),
            "o": Out(stream.Signature(result_layout(config))),
            **({"i_transpose": In(1)} if config.transposes else {}),
            "o_flags": Out(FLAGS), "o_misframed": Out(1), "o_idle": Out(1)})

    @property
    def pass_interval(self):
        """Cycles of the shortest pass: a partial sum must be back before it is read."""
        return Column.write_latency(self.config) + 1

    @property
    def latency(self):
        """Cycles from a row at ``i_a`` to its result."""
        return Column.write_latency(self.config) + self.config.columns + 5

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.weights = weights = WeightControl(config)
        m.submodules.rows = rows = RowControl(config)
        m.submodules.queue = queue = ResultQueue(config)
        columns = [Column(config) for _ in range(config.columns)]
        for number, column in enumerate(columns):
            m.submodules[f"column{number}"] = column

        source, held, flags = self._operands(m, rows)
        m.d.comb += [
            weights.i_valid.eq(self.i_w.valid), weights.i_last.eq(self.i_w.payload.last),
            self.i_w.ready.eq(weights.o_ready), weights.i_hold.eq(rows.o_misframed), weights.i_swap.eq(rows.o_swap),
            rows.i_loaded.eq(weights.o_loaded), rows.i_final.eq(weights.o_final),
            rows.i_valid.eq(source.valid), rows.i_last.eq(source.payload.last), source.ready.eq(rows.o_ready),
            rows.i_free.eq(queue.o_free), queue.i_emit.eq(rows.o_emit), queue.i_last.eq(rows.o_last),
            queue.i_arrived.eq(columns[-1].o_control.emit),
            columns[0].i_control.eq(rows.o_control), columns[0].i_load.eq(weights.o_load)]
        if config.transposes:
            m.d.comb += [rows.i_transpose.eq(self.i_transpose), rows.i_end.eq(source.payload.end)]
        for before, after in zip(columns, columns[1:]):
            m.d.comb += [after.i_operands.eq(before.o_operands), after.i_swaps.eq(before.o_swaps),
                         after.i_load.eq(before.o_load), after.i_control.eq(before.o_control)]
        for row in range(config.rows):  # each row of elements a cycle after the one above
            code = comb(m, source.payload.codes[row] & rows.o_go.replicate(config.operand.width), f"operand{row}")
            m.d.comb += [columns[0].i_operands[row].eq(_delayed(m, code, row, f"operand{row}")),
                         columns[0].i_swaps[row].eq(_delayed(m, rows.o_swap, row, f"swap{row}"))]
        beat = self.i_w.payload
        for number, column in enumerate(columns):
            wanted = (~weights.o_zero).replicate(config.element_width)
            element = comb(m, beat.elements[number] & wanted, f"weight{number}")
            m.d.comb += column.i_element.eq(_delayed(m, element, number, f"weight{number}"))
            m.d.comb += [column.i_queue.take.eq(queue.o_take), column.i_queue.address.eq(queue.o_address),
                         self.o.payload.codes[number].eq(column.o_code)]
        if config.is_block:  # one exponent for the columns of a group, delayed from one to the next
            for group in range(config.n_groups(config.columns)):
                begin, wanted = group * config.storage.group, (~weights.o_zero).replicate(len(beat.exponents[group]))
                exponent = comb(m, beat.exponents[group] & wanted, f"exponent{group}_now")
                exponent = _delayed(m, exponent, begin, f"exponent{begin}")
                for number in range(begin, begin + config.storage.group):
                    m.d.comb += columns[number].i_exponent.eq(exponent)
                    exponent = _delayed(m, exponent, 1, f"exponent{number + 1}")

        collected = [column.o_flags.as_value() for column in columns] + [flags]
        gathered = Signal(FLAGS)
        m.d.sync += gathered.eq(_any(collected))
        m.d.comb += [
            self.o.valid.eq(queue.o.valid), self.o.payload.last.eq(queue.o.payload), queue.o.ready.eq(self.o.ready),
            self.o_flags.eq(gathered), self.o_misframed.eq(rows.o_misframed),
            self.o_idle.eq(~held & weights.o_idle & rows.o_idle & queue.o_idle)]
        return m

    def _operands(self, m, rows):
        """Rows of A, decoded, held, and perhaps transposed: (stream, whether a row is held, flags)."""
        config = self.config
        beat, decoders = self.i_a.payload, []
        for number in range(config.rows):
            m.submodules[f"decoder{number}"] = decoder = StoredDecoder(config.storage, config.operand)
            decoders.append(decoder)
            m.d.comb += decoder.i_element.eq(beat.elements[number])
            if config.is_block:
                m.d.comb += decoder.i_exponent.eq(beat.exponents[number // config.storage.group])
        row = stream.Signature(row_layout(config)).create(path=("row",))
        taken = comb(m, self.i_a.valid & self.i_a.ready, "taken")
        codes = Signal(row.payload.codes.shape(), reset_less=True)
        last = Signal(reset_less=True)
        full = Signal()
        m.d.comb += [self.i_a.ready.eq((~full | row.ready) & ~rows.o_misframed), row.valid.eq(full),
                     row.payload.codes.eq(codes), row.payload.last.eq(last)]
        with m.If(taken):
            m.d.sync += [full.eq(1), last.eq(beat.last),
                         *(code.eq(decoder.o_code) for code, decoder in zip(codes, decoders))]
        with m.Elif(row.ready):
            m.d.sync += full.eq(0)
        found = comb(m, _any(decoder.o_flags.as_value() for decoder in decoders), "found")
        flags = found & taken.replicate(len(found))
        if not config.transposes:
            return row, full, flags
        m.submodules.transposer = transposer = Transposer(config)
        m.d.comb += [transposer.i.valid.eq(row.valid), transposer.i.payload.eq(row.payload),
                     row.ready.eq(transposer.i.ready), transposer.i_transpose.eq(self.i_transpose)]
        return transposer.o, full | ~transposer.o_idle, flags


def _any(flags):
    """Bit by bit, whether one of the values has it."""
    total = 0
    for value in flags:
        total = total | value
    return total


def _delayed(m, value, cycles, name):
    """``value`` so many cycles later."""
    for number in range(cycles):
        register = Signal(len(value), name=f"{name}_{number}", reset_less=len(value) > 1)
        m.d.sync += register.eq(value)
        value = register
    return value


class SystolicArrayTop(wiring.Component):
    """The array between AXI4-Streams.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    The ports of docs/array.md.
    """

    def __init__(self, config):
        self.config = config
        ports = {"aclk": In(1), "aresetn": In(1)}
        for name, elements in (("s_axis_a", config.rows), ("s_axis_w", config.columns)):
            ports |= {f"{name}_tdata": In(whole_bytes(elements * config.element_width))}
            if config.is_block:
                ports |= {f"{name}_tuser": In(config.n_groups(elements) * config.storage.exponent_width)}
            ports |= {f"{name}_tvalid": In(1), f"{name}_tready": Out(1), f"{name}_tlast": In(1)}
        if config.transposes:
            ports |= {"transpose": In(1)}
        ports |= {"m_axis_tdata": Out(whole_bytes(config.columns * config.output.width)), "m_axis_tvalid": Out(1),
                  "m_axis_tready": In(1), "m_axis_tlast": Out(1)}
        super().__init__(ports | {"status": Out(5), "status_clear": In(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        domain = ClockDomain("sync", local=True)
        domain.clk = self.aclk
        m.domains += domain
        m.d.comb += domain.rst.eq(~self.aresetn)
        m.submodules.array = array = SystolicArray(config)
        for name, port, elements in (("s_axis_a", array.i_a, config.rows), ("s_axis_w", array.i_w, config.columns)):
            beat = port.payload
            m.d.comb += [
                port.valid.eq(getattr(self, f"{name}_tvalid")),
                getattr(self, f"{name}_tready").eq(port.ready & self.aresetn),
                beat.last.eq(getattr(self, f"{name}_tlast")),
                beat.elements.as_value().eq(getattr(self, f"{name}_tdata"))]
            if config.is_block:
                m.d.comb += beat.exponents.as_value().eq(getattr(self, f"{name}_tuser"))
        if config.transposes:
            m.d.comb += array.i_transpose.eq(self.transpose)
        m.d.comb += [
            self.m_axis_tvalid.eq(array.o.valid), array.o.ready.eq(self.m_axis_tready),
            self.m_axis_tlast.eq(array.o.payload.last),
            self.m_axis_tdata.eq(array.o.payload.codes.as_value())]
        sticky = Signal(3)
        m.d.sync += sticky.eq(Mux(self.status_clear, 0, sticky) | array.o_flags.as_value())
        m.d.comb += self.status.eq(Cat(sticky, array.o_misframed, array.o_idle))
        return m
