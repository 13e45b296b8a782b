"""From stored elements to codes that can be computed with."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arith import decode, decode_element, sanitise
from .formats import BlockFormat
from .rounding import round_to
from .streams import FLAGS

__all__ = ["StoredDecoder"]


class StoredDecoder(wiring.Component):
    """One stored element as a code of a float format: decoded exactly, then rounded once (docs/array.md).

    Combinational.

    Parameters
    ----------
    storage : FloatFormat or BlockFormat
    target : FloatFormat

    Members
    -------
    i_element, i_exponent : as stored; the exponent only with block storage
    o_code : of the target format, sanitised
    o_flags : the element has no finite value, or exceeds the target format
    """

    def __init__(self, storage, target):
        self.storage, self.target = storage, target
        self.is_block = isinstance(storage, BlockFormat)
        width = storage.element_width if self.is_block else storage.width
        exponent = {"i_exponent": In(storage.exponent_width)} if self.is_block else {}
        super().__init__({"i_element": In(width), **exponent, "o_code": Out(target.width), "o_flags": Out(FLAGS)})

    def elaborate(self, platform):
        m = Module()
        value = self._block(m) if self.is_block else self._float(m)
        code, saturated = round_to(m, self.target, value, name="target")
        m.d.comb += [self.o_code.eq(code), self.o_flags.saturated.eq(saturated)]
        return m

    def _float(self, m):
        clean, nan, infinity = sanitise(m, self.storage, self.i_element, name="stored")
        m.d.comb += [self.o_flags.nan.eq(nan), self.o_flags.infinity.eq(infinity)]
        return decode(m, self.storage, clean, name="stored")

    def _block(self, m):
        value, reserved = decode_element(m, self.storage, self.i_element, self.i_exponent)
        m.d.comb += self.o_flags.nan.eq(reserved)
        return value
