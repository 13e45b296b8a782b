"""From stored elements to the factors of the array."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith import decode, decode_element, sanitise
from ..rounding import round_to
from ..streams import FLAGS

__all__ = ["OperandDecoder", "beat_layout"]


def beat_layout(config, elements):
    """A beat of ``elements`` stored elements with their exponents, at an input of the array."""
    groups = config.n_groups(elements)
    exponents = {"exponents": data.ArrayLayout(config.storage.exponent_width, groups)} if groups else {}
    return data.StructLayout({"elements": data.ArrayLayout(config.element_width, elements), **exponents, "last": 1})


class OperandDecoder(wiring.Component):
    """One stored element as a code of the operand format: decoded, then rounded once (docs/array.md).

    Combinational.

    Members
    -------
    i_element, i_exponent : as stored; the exponent only with block storage
    o_code : of the operand format, sanitised
    o_flags : the element has no finite value, or exceeds the operand format
    """

    def __init__(self, config):
        self.config = config
        exponent = {"i_exponent": In(config.storage.exponent_width)} if config.is_block else {}
        super().__init__({"i_element": In(config.element_width), **exponent, "o_code": Out(config.operand.width),
                          "o_flags": Out(FLAGS)})

    def elaborate(self, platform):
        m = Module()
        value = self._block(m) if self.config.is_block else self._float(m)
        code, saturated = round_to(m, self.config.operand, value, name="operand")
        m.d.comb += [self.o_code.eq(code), self.o_flags.saturated.eq(saturated)]
        return m

    def _float(self, m):
        fmt = self.config.storage
        clean, nan, infinity = sanitise(m, fmt, self.i_element, name="stored")
        m.d.comb += [self.o_flags.nan.eq(nan), self.o_flags.infinity.eq(infinity)]
        return decode(m, fmt, clean, name="stored")

    def _block(self, m):
        value, reserved = decode_element(m, self.config.storage, self.i_element, self.i_exponent)
        m.d.comb += self.o_flags.nan.eq(reserved)
        return value
