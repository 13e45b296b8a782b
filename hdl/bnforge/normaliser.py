"""Normaliser: beats from the sample FIFO through lanes and storage converters to the output, in either direction."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .config import Activation
from .converter import BlockConverter, FloatConverter
from .input import beat_layout
from .lanes import lane_class
from .order import GradientOrder
from .streams import stored_layout

__all__ = ["Normaliser", "OutputBuffer", "pipeline_length"]


_ENTRY = 1
"""Cycles from issuing a beat to its arrival at the lanes."""


def pipeline_length(config):
    """Cycles from issuing a beat to its arrival at the output buffer."""
    return _ENTRY + lane_class(config).latency + (BlockConverter if config.is_block else FloatConverter).latency


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
    """Applies the constants of each tile to its beats, in either direction.

    The lanes hold two sets of constants: of the tile that runs, and of the next. They swap with the tile's last beat,
    so there is no bubble between tiles. A backward tile begins with its scale alone: its beats outside the sample leave
    as they become known, the sample when the other constants are there.

    Latency: ``pipeline_length`` and that of the output buffer, from a beat at ``i`` to its place on ``o``, which may
    stall.

    Members
    -------
    i : beats of the sample FIFO
    i_a_shift, i_a, i_b_shift, i_b ... : the chains of the lanes, constants as the scalar unit delivers them
    i_ready, i_activation, i_backward, i_frozen : strobe, a tile can begin
    o_scale_free, o_shift_free : the next set of a is empty; of b
    o : stored beats
    o_saturated : strobe

    Members, backward
    -----------------
    i_pass, i_pass_tile, o_pass_free : strobe, one more beat of the tile at the input lies outside its sample; the
        number of that tile modulo 4; it may be strobed
    i_gradient_ready, i_n_chunks : strobe, the constants of a sample are complete
    i_position_shift, i_position, i_position_valid, o_position_swap : positions of the extrema, chunk by chunk
    """

    def __init__(self, config, fifo_depth):
        self.config = config
        self.fifo_depth = fifo_depth
        self.pipeline = pipeline_length(config)
        self.shapes = lane_class(config).shapes(config)
        ports = {"i": In(stream.Signature(beat_layout(config)))}
        for name, shape in self.shapes.items():
            ports |= {f"i_{name}_shift": In(1), f"i_{name}": In(shape)}
        ports |= {
            "i_ready": In(1), "i_activation": In(Activation), "i_backward": In(1), "i_frozen": In(1),
            "o_scale_free": Out(1), "o_shift_free": Out(1),
            "o": Out(stream.Signature(stored_layout(config))), "o_saturated": Out(1)}
        if config.has_backward:
            ports |= {
                "i_pass": In(1), "i_pass_tile": In(2), "o_pass_free": Out(1),
                "i_gradient_ready": In(1), "i_n_chunks": In(range(config.n_chunks + 1)), "i_position_valid": In(1),
                "o_position_swap": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.buffer = buffer = OutputBuffer(stored_layout(config), self.pipeline)
        order = None
        if config.has_backward:
            m.submodules.order = order = GradientOrder(config, self.fifo_depth)

        tile = data.StructLayout({"activation": Activation, "backward": 1, "frozen": 1})
        next_valid = Signal()
        next_tile = Signal(tile)
        active = Signal()
        present = Signal(tile)
        may_leave = comb(m, ~present.backward | order.o_may_leave, "may_leave") if order else Const(1)
        ready = comb(m, active & buffer.o_credit & may_leave, "ready")
        issue = comb(m, self.i.valid & ready, "issue")
        tile_end = comb(m, issue & self.i.payload.last, "tile_end")
        swap = comb(m, next_valid & (~active | tile_end), "swap")
        m.d.comb += [self.i.ready.eq(ready), buffer.i_issue.eq(issue)]
        with m.If(tile_end):
            m.d.sync += active.eq(0)
        with m.If(swap):
            m.d.sync += [active.eq(1), present.eq(next_tile), next_valid.eq(0)]
        with m.If(self.i_ready):
            m.d.sync += [next_valid.eq(1), next_tile.activation.eq(self.i_activation),
                         next_tile.backward.eq(self.i_backward), next_tile.frozen.eq(self.i_frozen)]
        if order:
            stays = active & ~tile_end & present.backward & ~present.frozen
            comes = swap & next_tile.backward & ~next_tile.frozen
            self._follow(m, order, active & present.backward, stays | comes, issue)
        swaps = self._swaps(m, {"tile": swap, "shift": (swap & ~next_tile.backward) | (order.o_swap if order else 0)})
        pending = {kind: Cat(line[:-1]).any() if len(line) > 2 else Const(0) for kind, line in swaps.items()}
        shift_free = order.o_free if order else ~next_valid
        m.d.comb += [self.o_scale_free.eq(~next_valid & ~pending["tile"]),
                     self.o_shift_free.eq(shift_free & ~pending["shift"])]

        # A gradient has no activation, and is stored like identity.
        stored_as = Mux(present.backward, Activation.IDENTITY, present.activation)
        valid = _delays(m, issue, self.pipeline, "valid", reset_less=False)
        last = _delays(m, self.i.payload.last, self.pipeline, "last")
        at_output = _ENTRY + lane_class(config).latency
        activation = _delays(m, comb(m, stored_as, "activation", Activation), at_output, "activation")
        gradient = _delays(m, present.backward, at_output, "gradient")
        lanes = self._lanes(m, swaps, activation[_ENTRY + lane_class(config).activation_delay], order, present.backward)
        over = [valid[_ENTRY + cycles] & Cat(lane.o_saturated[bit] for lane in lanes).any()
                for bit, cycles in enumerate(lane_class(config).flags)]
        stored = buffer.i_data
        over.append(valid[-1] & self._convert(m, lanes, activation[-1], gradient[-1], stored).any())
        m.d.comb += [stored.last.eq(last[-1]), buffer.i_valid.eq(valid[-1]), self.o_saturated.eq(Cat(over).any())]
        wiring.connect(m, wiring.flipped(self.o), buffer.o)
        return m

    def _follow(self, m, order, backward, gradient, issue):
        m.d.comb += [
            order.i_backward.eq(backward), order.i_gradient.eq(gradient), order.i_issue.eq(issue),
            order.i_last.eq(self.i.payload.last), order.i_pass.eq(self.i_pass),
            order.i_pass_tile.eq(self.i_pass_tile), self.o_pass_free.eq(order.o_pass_free),
            order.i_ready.eq(self.i_gradient_ready), order.i_n_chunks.eq(self.i_n_chunks),
            order.i_position_valid.eq(self.i_position_valid),
            self.o_position_swap.eq(order.o_position_swap)]

    def _swaps(self, m, kinds):
        """Strobes of each kind of constants, from 0 cycles after the first of their beats is with the lanes on.

        That beat follows, at the earliest in the next cycle.
        """
        lines, uses = {}, lane_class(self.config).swaps(self.config).values()
        for kind, swap in kinds.items():
            cycles = max(cycles for other, cycles in uses if other == kind)
            lines[kind] = _delays(m, comb(m, swap, f"{kind}_swap"), 1 + cycles, f"{kind}_swap", reset_less=False)[1:]
        return lines

    def _lanes(self, m, swaps, activation, order, backward):
        lanes = [lane_class(self.config)(self.config) for _ in range(self.config.lanes)]
        sources = {name: (getattr(self, f"i_{name}_shift"), getattr(self, f"i_{name}")) for name in self.shapes}
        entering = {"x": self.i.payload.codes}
        if order:
            entering |= {
                "adds": comb(m, ~backward | order.o_adds, "adds"), "position": order.o_position,
                "matches": comb(m, backward & order.o_matches, "matches"), "gradient": backward,
                "position_swap": self.o_position_swap}
            # The chain of positions moves with their swap.
            sources["position"] = tuple(_delays(m, source, _ENTRY, f"position_{name}")[-1]
                                        for source, name in zip(sources["position"], ("shift", "next")))
        entered = {name: _delays(m, value, _ENTRY, f"lane_{name}", reset_less=name != "position_swap")[-1]
                   for name, value in entering.items()}
        for i, lane in enumerate(lanes):
            m.submodules[f"lane{i}"] = lane
            for name, (shift, source) in sources.items():
                chain = getattr(lanes[i + 1], f"o_{name}_chain") if i + 1 < len(lanes) else source
                m.d.comb += [getattr(lane, f"i_{name}_shift").eq(shift), getattr(lane, f"i_{name}_chain").eq(chain)]
            m.d.comb += [
                *(getattr(lane, f"i_{name}_swap").eq(swaps[kind][cycles])
                  for name, (kind, cycles) in lane_class(self.config).swaps(self.config).items()),
                lane.i_x.eq(entered["x"][i]), lane.i_activation.eq(activation),
                *(getattr(lane, f"i_{name}").eq(value) for name, value in entered.items() if name in lane.follows)]
        return lanes

    def _convert(self, m, lanes, activation, gradient, stored):
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
            if converter.either:
                m.d.comb += converter.i_gradient.eq(gradient)
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
