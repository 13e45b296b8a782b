"""From the beats of a sweep to the codes that the lanes compute with."""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import comb, sanitise
from ..decoder import StoredDecoder
from ..streams import FLAGS
from .flow import inputs_of
from .header import sweep_layout
from .words import streams, sweeps_of

__all__ = ["SweepEntry", "where"]


def where(m, config, tile, holds, name):
    """Whether the sweep of ``tile`` is one for which ``holds``."""
    return comb(m, Cat(tile.sweep == sweep for sweep in sweeps_of(config) if holds(sweep)).any(), name)


class SweepEntry(wiring.Component):
    """Cleans and decodes a beat, and puts the codes where the sweep needs them.

    Latency: 1 cycle. One beat per cycle.

    Members
    -------
    i_tile, i_take : the sweep; strobe, there is a beat
    i_NAME : beats of the streams; those that the sweep does not read do not matter
    o_valid : there are codes
    o_p : what a lane multiplies by a: the gradient, the operand, or what comes alone
    o_q : what it is combined with: the stored element, or p itself where there is none
    o_flags : strobes, with ``i_take``
    """

    def __init__(self, config):
        self.config = config
        codes = Out(config.x_format.width).array(config.lanes)
        super().__init__({"i_tile": In(sweep_layout(config)), "i_take": In(1),
                          **{f"i_{name}": In(shape) for name, shape in inputs_of(config).items()},
                          "o_valid": Out(1), "o_p": codes, "o_q": codes, "o_flags": Out(FLAGS)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        codes, flags = {}, []
        for name in inputs_of(config):
            lanes = [self._operand(m, i) if name == "operand" else self._stored(m, name, i)
                     for i in range(config.lanes)]
            codes[name] = [code for code, _events in lanes]
            used = where(m, config, self.i_tile, lambda sweep, name=name: name in streams(config, sweep)[0],
                         f"reads_{name}")
            counts = self.i_tile.mask & used.replicate(config.lanes)
            flags.append(Cat((Cat(bits) & counts).any() for bits in zip(*(events for _code, events in lanes))))
        seen = flags[0] | (flags[1] | flags[2] if len(flags) > 2 else flags[1])
        m.d.comb += Value.cast(self.o_flags).eq(seen & self.i_take.replicate(len(seen)))

        def reads(*names):
            return where(m, config, self.i_tile, lambda sweep: streams(config, sweep)[0] == names, "_".join(names))

        alone, gradient = reads("stored"), reads("gradient", "stored")
        no_other = reads("operand")
        m.d.sync += self.o_valid.eq(self.i_take)
        for i in range(config.lanes):
            operand, stored = codes["operand"][i], codes["stored"][i]
            first = Mux(gradient, codes["gradient"][i], operand) if "gradient" in codes else operand
            m.d.sync += [self.o_p[i].eq(Mux(alone, stored, first)), self.o_q[i].eq(Mux(no_other, operand, stored))]
        return m

    def _operand(self, m, lane):
        code, nan, infinity = sanitise(m, self.config.x_format, self.i_operand.codes[lane], name=f"x{lane}")
        return code, (nan, infinity, Const(0, 1))

    def _stored(self, m, name, lane):
        config, beat = self.config, getattr(self, f"i_{name}")
        m.submodules[f"{name}{lane}"] = decoder = StoredDecoder(config.storage, config.x_format)
        m.d.comb += decoder.i_element.eq(beat.elements[lane])
        if config.is_block:
            m.d.comb += decoder.i_exponent.eq(beat.exponents[lane // config.storage.group])
        flags = decoder.o_flags
        return decoder.o_code, (flags.nan, flags.infinity, flags.saturated)
