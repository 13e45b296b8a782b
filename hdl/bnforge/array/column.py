"""A column of the array: processing elements, the partial sums of a block, and the queue of results."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb, decode
from ..decoder import StoredDecoder
from ..rounding import round_to
from ..streams import FLAGS
from .element import ProcessingElement

__all__ = ["Column", "control_layout", "load_layout", "queue_layout", "queue_depth"]


def queue_depth(config):
    """Results that a column holds for the output: enough to cover the way from the first column to the last."""
    return 1 << (config.columns + 3).bit_length()


def control_layout(config):
    """What a column does with its partial sums in a cycle.

    Reads row ``address``: it is where the sum of the row that enters begins (``add``; without it, at zero), or it goes
    out (``emit``). Writes the sum that has come down to row ``target`` (``write``).
    """
    width = (config.depth - 1).bit_length()
    return data.StructLayout({"address": width, "add": 1, "emit": 1, "target": width, "write": 1})


def load_layout(config):
    """A weight for the row ``row`` (``valid``)."""
    return data.StructLayout({"valid": 1, "row": max(1, (config.rows - 1).bit_length())})


def queue_layout(config):
    """Which result leaves the queue (``take``)."""
    return data.StructLayout({"take": 1, "address": (queue_depth(config) - 1).bit_length()})


class Column(wiring.Component):
    """Everything that belongs to one column of C; the controls pass through to the next column, a cycle later.

    Latency: a row's control comes in ``control_latency`` cycles after its operand for the first row of elements; the
    sum is written ``write_latency`` cycles after that.

    Members
    -------
    i_operands, i_swaps, o_operands, o_swaps : of each row, to the elements and on to the next column
    i_load, o_load : weights come in
    i_element, i_exponent : the weight as stored
    i_control, o_control : of the partial sums
    i_queue : of the queue, in all columns at once
    o_code : the result that was taken, until the next is
    o_flags : strobes
    """

    control_latency = ProcessingElement.sum_latency - 1

    def __init__(self, config):
        self.config = config
        operands = data.ArrayLayout(config.operand.width, config.rows)
        exponent = {"i_exponent": In(config.storage.exponent_width)} if config.is_block else {}
        super().__init__({
            "i_operands": In(operands), "i_swaps": In(config.rows), "o_operands": Out(operands),
            "o_swaps": Out(config.rows), "i_load": In(load_layout(config)), "o_load": Out(load_layout(config)),
            "i_element": In(config.element_width), **exponent,
            "i_control": In(control_layout(config)), "o_control": Out(control_layout(config)),
            "i_queue": In(queue_layout(config)), "o_code": Out(config.output.width), "o_flags": Out(FLAGS)})

    @staticmethod
    def write_latency(config):
        """Cycles from the control that reads a row to the one that writes it."""
        return config.rows + 1

    def elaborate(self, platform):
        m = Module()
        config, control = self.config, self.i_control
        for source, sink, controls in ((control, self.o_control, ("add", "emit", "write")),
                                       (self.i_load, self.o_load, ("valid",))):
            for name in source.shape().members:
                value = getattr(source, name)
                register = Signal(len(value), name=f"passed_{name}", reset_less=name not in controls)
                m.d.sync += register.eq(value)
                m.d.comb += getattr(sink, name).eq(register)

        m.submodules.decoder = decoder = StoredDecoder(config.storage, config.operand)
        m.d.comb += decoder.i_element.eq(self.i_element)
        if config.is_block:
            m.d.comb += decoder.i_exponent.eq(self.i_exponent)

        m.submodules.sums = sums = memory.Memory(shape=config.accumulate.width, depth=config.depth, init=[])
        read, write = sums.read_port(), sums.write_port()
        adding = Signal()
        m.d.sync += adding.eq(control.add)
        total = comb(m, read.data & adding.replicate(len(read.data)), "entering")
        saturated = comb(m, 0, "unsaturated", 1)
        for row in range(config.rows):
            m.submodules[f"element{row}"] = element = ProcessingElement(config)
            m.d.comb += [
                element.i_operand.eq(self.i_operands[row]), element.i_swap.eq(self.i_swaps[row]),
                self.o_operands[row].eq(element.o_operand), self.o_swaps[row].eq(element.o_swap),
                element.i_load.eq(self.i_load.valid & (self.i_load.row == row)), element.i_weight.eq(decoder.o_code),
                element.i_sum.eq(total), element.i_saturated.eq(saturated)]
            total, saturated = element.o_sum, element.o_saturated
        m.d.comb += [read.en.eq(control.add | control.emit), read.addr.eq(control.address),
                     write.en.eq(control.write), write.addr.eq(control.target), write.data.eq(total)]
        result_saturated = self._queue(m, read.data)
        weight = decoder.o_flags.as_value()
        m.d.sync += self.o_flags.as_value().eq(weight & self.i_load.valid.replicate(len(weight)))
        with m.If(control.write & saturated | result_saturated):
            m.d.sync += self.o_flags.saturated.eq(1)
        return m

    def _queue(self, m, total):
        """The sum that was read to go out, rounded, at the end of the queue; returns whether it is saturated."""
        config = self.config
        emitting = Signal()
        place = Signal((queue_depth(config) - 1).bit_length())
        m.d.sync += [emitting.eq(self.i_control.emit), place.eq(place + emitting)]
        code, saturated = round_to(m, config.output, decode(m, config.accumulate, total, name="total"), name="result")
        m.submodules.queue = queue = memory.Memory(shape=config.output.width, depth=queue_depth(config), init=[])
        read, write = queue.read_port(), queue.write_port()
        m.d.comb += [write.en.eq(emitting), write.addr.eq(place), write.data.eq(code),
                     read.en.eq(self.i_queue.take), read.addr.eq(self.i_queue.address), self.o_code.eq(read.data)]
        return emitting & saturated
