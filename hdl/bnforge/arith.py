"""Exact arithmetic on unpacked floating-point values: decode, multiply, add, normalise. Nothing here rounds.

Every function adds combinational logic to a module and returns values; ``name`` prefixes the signals it makes, so
that the Verilog can be read. Numbers are narrowed only in :mod:`bnforge.rounding`.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed, unsigned

__all__ = ["Unpacked", "comb", "sanitise", "decode", "decode_element", "exponent_range", "normalise",
           "shift_right_sticky", "multiply", "add", "sum_with_carry", "exponent_shape"]


@dataclass(frozen=True)
class Unpacked:
    """A binary number: ``exponent - bias`` is the weight of the top bit of ``sig``.

    The bias is a constant that decoding leaves in place; only rounding, and adding numbers of different bias, take it
    out. Normalised when the top bit of ``sig`` is set, or ``sig`` is zero (then sign and exponent mean nothing).
    """

    sign: Value
    exponent: Value
    sig: Value
    bias: int = 0

    @property
    def is_zero(self):
        """Of a normalised number: whether it is zero."""
        return ~self.sig[-1]

    def extended(self, width):
        """The same number with zeros appended to ``sig`` up to ``width`` bits."""
        return self.with_sig(Cat(Const(0, width - len(self.sig)), self.sig))

    def truncated(self, width):
        """The top ``width`` bits of ``sig``: truncation towards zero."""
        return self.with_sig(self.sig[len(self.sig) - width:])

    def with_sig(self, sig):
        return Unpacked(self.sign, self.exponent, sig, self.bias)

    def negated(self):
        return Unpacked(~self.sign, self.exponent, self.sig, self.bias)

    def unbiased(self, m, name):
        """The same number with bias 0."""
        return Unpacked(self.sign, comb(m, self.exponent - self.bias, f"{name}_unbiased"), self.sig)

    def normalised(self, m, name, limit=None):
        """The same number normalised, by at most ``limit`` places."""
        sig, shift = normalise(m, self.sig, name=name, limit=limit)
        return Unpacked(self.sign, comb(m, self.exponent - shift, f"{name}_norm_exponent"), sig, self.bias)

    def registered(self, m, name):
        """The same number one cycle later."""
        parts = []
        for field in ("sign", "exponent", "sig"):
            value = Value.cast(getattr(self, field))
            register = Signal(value.shape(), name=f"{name}_{field}_q", reset_less=True)
            m.d.sync += register.eq(value)
            parts.append(register)
        return Unpacked(*parts, self.bias)


def comb(m, value, name, shape=None):
    """A named combinational signal of ``value``."""
    signal = Signal(Value.cast(value).shape() if shape is None else shape, name=name)
    m.d.comb += signal.eq(value)
    return signal


def exponent_range(fmt):
    """Least and greatest exponent of a normalised non-zero value of ``fmt``."""
    return fmt.e_min - (fmt.fraction_width if fmt.has_subnormals else 0), fmt.e_max


def exponent_shape(low, high):
    """Signed shape that holds the exponents ``low ... high``."""
    return signed(max((-low - 1 if low < 0 else low).bit_length(), (high if high >= 0 else -high - 1).bit_length()) + 1)


def sanitise(m, fmt, code, *, name):
    """Code with NaN → 0, infinity → largest finite, −0 → +0, and subnormals → 0 where the format has none.

    Returns
    -------
    (clean, is_nan, is_inf) : Values of ``fmt.width``, 1 and 1 bits
    """
    magnitude, sign = code[:-1], code[-1]
    fraction = code[:fmt.fraction_width]
    exponent = code[fmt.fraction_width:-1]
    if fmt.is_e4m3:
        is_nan = comb(m, magnitude.all(), f"{name}_is_nan")
        is_inf = Const(0, 1)
    else:
        is_nan = comb(m, exponent.all() & fraction.any(), f"{name}_is_nan")
        is_inf = comb(m, exponent.all() & ~fraction.any(), f"{name}_is_inf")
    is_zero = ~magnitude.any() if fmt.has_subnormals else ~exponent.any()
    keep = comb(m, ~(is_zero | is_nan), f"{name}_keep")
    finite = Mux(is_inf, fmt.max_code, magnitude)
    clean = comb(m, Cat(finite, sign) & keep.replicate(fmt.width), f"{name}_clean", unsigned(fmt.width))
    return clean, is_nan, is_inf


def decode(m, fmt, code, *, name):
    """Normalised value of a sanitised code."""
    fraction = code[:fmt.fraction_width]
    field = code[fmt.fraction_width:-1]
    if not fmt.has_subnormals:
        sig = comb(m, Cat(fraction, field.any()), f"{name}_sig")
        return Unpacked(code[-1], comb(m, field, f"{name}_exponent"), sig, fmt.bias)
    hidden = comb(m, field.any(), f"{name}_hidden")
    exponent = comb(m, Cat(field[0] | ~hidden, field[1:]), f"{name}_exponent")
    return Unpacked(code[-1], exponent, Cat(fraction, hidden), fmt.bias).normalised(m, name)


def decode_element(m, fmt, element, exponent):
    """Normalised value of an element of a block: k · 2^(e − fraction_width), zero where the exponent is reserved.

    Returns
    -------
    (value, reserved) : Unpacked, with ``fmt.element_width`` bits, of which only the most negative element needs the
        last; and a Signal
    """
    reserved = comb(m, exponent.all(), "reserved")
    negative = element[-1] if fmt.signed else Const(0, 1)
    magnitude = comb(m, Mux(negative, -element, element)[:fmt.element_width], "magnitude")
    sig, shift = normalise(m, magnitude & (~reserved).replicate(len(magnitude)), name="element")
    biased = comb(m, exponent + (fmt.element_width - 1) - shift, "stored_exponent")
    return Unpacked(negative, biased, sig, fmt.bias + fmt.fraction_width), reserved


def sum_with_carry(a, b, carry):
    """``a + b + carry`` by one adder: a column below the last makes the carry."""
    return (Cat(carry, a) + Cat(carry, b))[1:]


def normalise(m, sig, *, name, limit=None):
    """Shift ``sig`` left until its top bit is set, by at most ``limit`` places.

    Returns
    -------
    (shifted, count) : the shifted significand and the number of places; a zero stays zero
    """
    width = len(sig)
    limit = width - 1 if limit is None else limit
    bits = []
    stage = comb(m, sig, f"{name}_norm")
    for power in reversed(range(limit.bit_length())):
        step = 1 << power
        empty = comb(m, ~stage[max(0, width - step):].any(), f"{name}_empty{step}")
        stage = comb(m, Mux(empty, stage << step, stage), f"{name}_norm{step}", unsigned(width))
        bits.append(empty)
    return stage, Cat(*reversed(bits))


def shift_right_sticky(m, sig, amount, *, name):
    """``sig >> amount`` and whether a set bit was shifted out, for any unsigned ``amount``."""
    width = len(sig)
    stage = Value.cast(sig)
    sticky = Const(0, 1)
    n_bits = (width - 1).bit_length()
    for power in range(min(n_bits, len(amount))):
        step = 1 << power
        lost = stage[:min(step, width)].any()
        sticky = sticky | (amount[power] & lost)
        stage = comb(m, Mux(amount[power], stage >> step, stage), f"{name}_shift{step}", unsigned(width))
    if len(amount) > n_bits:
        beyond = comb(m, amount[n_bits:].any(), f"{name}_beyond")
        sticky = sticky | (beyond & stage.any())
        stage = comb(m, Mux(beyond, 0, stage), f"{name}_shifted", unsigned(width))
    return stage, comb(m, sticky, f"{name}_sticky")


def multiply(a, b):
    """Exact product of two normalised numbers; its significand may have one leading zero."""
    return Unpacked(a.sign ^ b.sign, a.exponent + b.exponent, a.sig * b.sig, a.bias + b.bias - 1)


def add(m, a, b, keep, *, name):
    """Sum of two normalised numbers, exact but for a sticky last bit, not normalised.

    The larger magnitude stays, the smaller is shifted right. The last bit of the result stands for all that was
    shifted out. After normalisation the top ``keep`` bits and the next one are exact for every input: when the operands
    are at most one place apart nothing is shifted out, and otherwise at most one leading bit cancels.

    Parameters
    ----------
    keep : int
        Significant bits that the next rounding, or truncation, keeps.
    """
    width = max(len(a.sig) + 1, len(b.sig) + 1, keep + 2)
    a, b = a.extended(width), b.extended(width)
    apart = comb(m, a.exponent - b.exponent + (b.bias - a.bias), f"{name}_apart")
    b_greater = apart[-1] | ((apart == 0) & (b.sig > a.sig))
    swap = comb(m, ~b.is_zero & (a.is_zero | b_greater), f"{name}_swap")
    exponent = comb(m, Mux(swap, b.exponent + (a.bias - b.bias), a.exponent), f"{name}_exponent")
    distance = comb(m, (apart ^ swap.replicate(len(apart))) + swap, f"{name}_distance", unsigned(len(apart) - 1))
    large = comb(m, Mux(swap, b.sig, a.sig), f"{name}_large")
    small = comb(m, Mux(swap, a.sig, b.sig), f"{name}_small")
    small, sticky = shift_right_sticky(m, small, distance, name=name)
    subtract = comb(m, a.sign ^ b.sign, f"{name}_subtract")
    addend = Cat(sticky, small) ^ subtract.replicate(width + 1)
    # A subtraction leaves 1 above the sum, where an addition has its carry.
    total = comb(m, sum_with_carry(Cat(Const(0, 1), large), addend, subtract) ^ (subtract << (width + 1)),
                 f"{name}_sum", unsigned(width + 2))
    return Unpacked(Mux(swap, b.sign, a.sign), exponent, total, a.bias - 1)
