"""Normaliser: beats from the sample FIFO through lanes and storage converters to the output."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .config import Activation
from .converter import BlockConverter, FloatConverter
from .input import beat_layout
from .lane import NormaliserLane

__all__ = ["Normaliser", "OutputBuffer", "pipeline_length", "stored_layout"]


def stored_layout(config):
    """A stored beat."""
    return data.StructLayout({
        "elements": data.ArrayLayout(config.element_width, config.lanes),
        "exponents": data.ArrayLayout(config.storage.exponent_width if config.is_block else 1, config.n_groups),
        "last": 1})


def pipeline_length(config):
    """Cycles from issuing a beat to its arrival at the output buffer."""
    return NormaliserLane.latency + (BlockConverter if config.is_block else FloatConverter).latency


class OutputBuffer(wiring.Component):
    """Lets a pipeline that cannot stall feed a stream that can: a beat is issued only when a place is reserved for it.

    Latency: ``latency`` cycles from ``i_valid`` to ``o``.

    Parameters
    ----------
    shape : of a beat
    pipeline : int
        Cycles between issue and ``i_valid``.

    Members
    -------
    o_credit : a beat may be issued in this cycle
    i_issue : it is
    i_valid, i_data : it arrives
    o : it leaves
    """

    latency = 2

    def __init__(self, shape, pipeline):
        # Issue to release of the place: pipeline, FIFO, output transfer, credit.
        self.depth = pipeline + 4
        self.shape = shape
        super().__init__({"o_credit": Out(1), "i_issue": In(1), "i_valid": In(1), "i_data": In(shape),
                          "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = buffer = fifo.SyncFIFOBuffered(width=len(Value.cast(self.i_data)), depth=self.depth)
        free = Signal(range(self.depth + 1), init=self.depth)
        taken = comb(m, self.o.valid & self.o.ready, "taken")
        m.d.comb += [
            self.o_credit.eq(free != 0), buffer.w_en.eq(self.i_valid), buffer.w_data.eq(self.i_data),
            self.o.valid.eq(buffer.r_rdy), self.o.payload.eq(buffer.r_data), buffer.r_en.eq(self.o.ready)]
        m.d.sync += free.eq(free - self.i_issue + taken)
        return m


class Normaliser(wiring.Component):
    """Applies the constants of each tile to its beats.

    The lanes hold two sets of constants: of the tile that runs, and of the next. They swap with the tile's last beat,
    so there is no bubble between tiles.

    Latency: ``pipeline_length`` and that of the output buffer, from a beat at ``i`` to its place on ``o``, which may
    stall.

    Members
    -------
    i : beats of the sample FIFO
    i_a_shift, i_a, i_b_shift, i_b, i_ready, i_activation : constants, as the constant extraction delivers them
    o_chain_free : the next set is empty
    o : stored beats
    o_saturated : strobe
    """

    def __init__(self, config):
        self.config = config
        self.pipeline = pipeline_length(config)
        super().__init__({
            "i": In(stream.Signature(beat_layout(config))),
            "i_a_shift": In(1), "i_a": In(config.a_format.width),
            "i_b_shift": In(1), "i_b": In(config.b_format.width),
            "i_ready": In(1), "i_activation": In(Activation), "o_chain_free": Out(1),
            "o": Out(stream.Signature(stored_layout(config))), "o_saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.buffer = buffer = OutputBuffer(stored_layout(config), self.pipeline)

        next_valid, next_activation = Signal(), Signal(Activation)
        active, activation = Signal(), Signal(Activation)
        issue = comb(m, self.i.valid & active & buffer.o_credit, "issue")
        tile_end = comb(m, issue & self.i.payload.last, "tile_end")
        swap = comb(m, next_valid & (~active | tile_end), "swap")
        m.d.comb += [self.i.ready.eq(active & buffer.o_credit), buffer.i_issue.eq(issue),
                     self.o_chain_free.eq(~next_valid)]
        with m.If(tile_end):
            m.d.sync += active.eq(0)
        with m.If(swap):
            m.d.sync += [active.eq(1), activation.eq(next_activation), next_valid.eq(0)]
        with m.If(self.i_ready):
            m.d.sync += [next_valid.eq(1), next_activation.eq(self.i_activation)]

        valid = _delays(m, issue, self.pipeline, "valid", reset_less=False)
        last = _delays(m, self.i.payload.last, self.pipeline, "last")
        act = _delays(m, activation, NormaliserLane.latency, "activation")
        lanes = self._lanes(m, swap, act[-1])
        over = valid[NormaliserLane.latency] & Cat(lane.o_saturated for lane in lanes).any()
        stored = buffer.i_data
        over = over | (valid[-1] & self._convert(m, lanes, act[-1], stored).any())
        m.d.comb += [stored.last.eq(last[-1]), buffer.i_valid.eq(valid[-1]), self.o_saturated.eq(over)]
        wiring.connect(m, wiring.flipped(self.o), buffer.o)
        return m

    def _lanes(self, m, swap, activation):
        lanes = [NormaliserLane(self.config) for _ in range(self.config.lanes)]
        for i, lane in enumerate(lanes):
            m.submodules[f"lane{i}"] = lane
            above = lanes[i + 1] if i + 1 < len(lanes) else None
            m.d.comb += [
                lane.i_a_shift.eq(self.i_a_shift), lane.i_a_chain.eq(above.o_a_chain if above else self.i_a),
                lane.i_b_shift.eq(self.i_b_shift), lane.i_b_chain.eq(above.o_b_chain if above else self.i_b),
                lane.i_swap.eq(swap), lane.i_x.eq(self.i.payload.codes[i]), lane.i_activation.eq(activation)]
        return lanes

    def _convert(self, m, lanes, activation, stored):
        """Converters between lanes and ``stored``; returns their saturation flags."""
        config, flags = self.config, []
        if not config.is_block:
            for i, lane in enumerate(lanes):
                m.submodules[f"converter{i}"] = converter = FloatConverter(config)
                m.d.comb += [converter.i_y.eq(lane.o_y), converter.i_activation.eq(activation),
                             stored.elements[i].eq(converter.o_element)]
                flags.append(converter.o_saturated)
            return Cat(flags)
        group = config.storage.group
        for g in range(config.n_groups):
            m.submodules[f"converter{g}"] = converter = BlockConverter(config)
            m.d.comb += [converter.i_activation.eq(activation), stored.exponents[g].eq(converter.o_exponent)]
            for i in range(group):
                m.d.comb += [converter.i_y[i].eq(lanes[g * group + i].o_y),
                             stored.elements[g * group + i].eq(converter.o_elements[i])]
            flags.append(converter.o_saturated)
        return Cat(flags)


def _delays(m, value, n_cycles, name, *, reset_less=True):
    """``value`` and its delayed copies, by 0 to ``n_cycles`` cycles."""
    line = [value]
    for cycle in range(1, n_cycles + 1):
        line.append(Signal(value.shape(), name=f"{name}_{cycle}", reset_less=reset_less))
        m.d.sync += line[-1].eq(line[-2])
    return line
