"""The way of operands into the systolic array: elements as docs/array.md has them, and transposed squares."""

from fractions import Fraction

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Array, Cat, Const, Mux, Signal, signed
from bnforge.array.transposer import Transposer
from bnforge.decoder import StoredDecoder

from .arithmetic import value
from .runner import assume, check
from .units import Line, Specification, stream_held

__all__ = ["SquareOrder", "OperandTable"]


class SquareOrder(Specification):
    """Transposed, the element in row i and column j of a square comes out in row j and column i of that square; rows
    that are missing are zeros; squares and blocks end where they end. Not transposed, rows pass.
    """

    def __init__(self, config):
        self.rows = config.rows
        super().__init__(Transposer(config))

    def specify(self, m):
        unit, n = self.unit, self.rows
        row, offer, came, left = unit.i.payload, unit.o.payload, Signal(range(n), name="came"), Signal(
            range(n), name="left")
        taken, given = unit.i.valid & unit.i.ready, unit.o.valid & unit.o.ready
        full = unit.i_transpose & taken & (row.last | (came == n - 1))
        gone = unit.i_transpose & given & (left == n - 1)
        squares = Line(m, 2, enter=full, entry=Cat(row.last, came), leave=gone, name="squares")
        block_ends, rows = squares.oldest[0], squares.oldest[1:]
        with m.If(unit.i_transpose & taken):
            m.d.sync += came.eq(Mux(full, 0, came + 1))
        with m.If(unit.i_transpose & given):
            m.d.sync += left.eq(Mux(gone, 0, left + 1))
        # One element, and how many squares there are before its own.
        column, mode = AnyConst(range(n)), Signal(name="mode")
        watching, place, symbol, ahead = Signal(), Signal(range(n)), Signal(), Signal(2)
        m.d.sync += mode.eq(unit.i_transpose)
        assume(m, column < n, unit.o_idle | (mode == unit.i_transpose), stream_held(m, unit.i))
        with m.If(watching):
            m.d.sync += [ahead.eq(ahead - gone), watching.eq(~gone | (ahead != 0))]
        with m.Elif(unit.i_transpose & taken & AnySeq(1)):
            m.d.sync += [watching.eq(1), place.eq(came), ahead.eq(squares.count - gone),
                         symbol.eq(Array(code[0] for code in row.codes)[column])]
        on_offer, passed = unit.i_transpose & unit.o.valid, ~unit.i_transpose
        arrives = on_offer & watching & (ahead == 0) & (left == column)
        check(m, ~arrives | (Array(code[0] for code in offer.codes)[place] == symbol),
              *(~on_offer | (number <= rows) | (offer.codes[number] == 0) for number in range(n)),
              *(~on_offer | claim for claim in (
                  squares.count != 0, offer.last == (left == n - 1), offer.end == block_ends)),
              unit.o_idle == ((squares.count == 0) & (came == 0)), stream_held(m, unit.o) | unit.o_idle,
              *(unit.i_transpose | claim for claim in (
                  unit.o.valid == unit.i.valid, unit.i.ready == unit.o.ready, offer.last == row.last,
                  offer.codes.as_value() == row.codes.as_value())))
        self.witness = [arrives & (place == n - 1) & (column == 0), unit.o_idle & mode & passed,
                        *([on_offer & (rows == 0)] if n > 1 else [])]


def _rounded(number, fraction_width):
    """(field, fraction) of a positive number, nearest-even, and of the exponent field as if it had no limits."""
    exponent = 0
    while number >= 2:
        number, exponent = number / 2, exponent + 1
    while number < 1:
        number, exponent = number * 2, exponent - 1
    whole = round(number * (1 << fraction_width))  # of a Fraction: to even
    if whole == 2 << fraction_width:
        return exponent + 1, 0
    return exponent, whole - (1 << fraction_width)


class OperandTable(Specification):
    """Every stored element against the definition of its format, rounded once by fractions; flags as docs/array.md."""

    def __init__(self, config):
        self.config = config
        super().__init__(StoredDecoder(config.storage, config.operand))

    def specify(self, m):
        config, unit = self.config, self.unit
        fmt, operand = config.storage, config.operand
        rows = [self._read(code) for code in range(1 << config.element_width)]
        some, scale, fraction, nan, infinity = (Array(Const(item, shape) for item in column)[unit.i_element]
                                                for column, shape in zip(zip(*rows), (1, signed(12), 16, 1, 1)))
        if config.is_block:
            nan = unit.i_exponent.all()
            scale = scale + unit.i_exponent - fmt.bias
            some = some & ~nan
        field = Signal(signed(12), name="field")
        m.d.comb += field.eq(scale + operand.bias)
        over, under = some & (field > 254), ~some | (field < 1)
        largest = operand.max_code
        body = Mux(over, largest, Mux(under, 0, (field[:8] << operand.fraction_width) + fraction))
        check(m, unit.o_code[:-1] == body, unit.o_code[-1] == (unit.i_element[-1] & (body != 0)),
              unit.o_flags.nan == nan, unit.o_flags.infinity == infinity, unit.o_flags.saturated == over)
        self.witness = [nan & (body == 0), body[:operand.fraction_width] != 0]

    def _read(self, code):
        """Whether an element is not zero, its exponent and fraction once rounded, whether it is a NaN or infinity."""
        config, fmt = self.config, self.config.storage
        magnitude = code & (1 << config.element_width - 1) - 1
        if config.is_block:
            negative = code >> config.element_width - 1
            number = Fraction((1 << config.element_width - 1) - magnitude if negative else magnitude,
                              1 << fmt.fraction_width)
            nan = infinity = False
        else:
            nan, infinity = magnitude > fmt.max_code, not fmt.is_e4m3 and magnitude == fmt.max_code + 1
            nan = nan and not infinity
            number = Fraction(0) if nan else value(fmt, fmt.max_code if infinity else magnitude)
        exponent, fraction = _rounded(number, config.operand.fraction_width) if number else (0, 0)
        return number != 0, exponent, fraction, nan, infinity
