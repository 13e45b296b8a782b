"""Exact arithmetic on unpacked floating-point values: decode, multiply, add, normalise. Nothing here rounds.

Every function adds combinational logic to a module and returns values; ``name`` prefixes the signals it makes, so
that the Verilog can be read. Numbers are narrowed only in :mod:`bnforge.rounding`.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed, unsigned

__all__ = ["Unpacked", "Ordered", "comb", "registered", "sanitise", "decode", "decode_element", "element_parts",
           "exponent_range", "normalise", "empty_groups", "shift_left", "leading_zeros", "shift_right_sticky",
           "multiply", "order", "add_ordered", "add", "sum_with_carry", "exponent_shape"]


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

    def stuck(self, width):
        """The top ``width`` bits of ``sig``, the last of which stands for all that is left out."""
        rest = len(self.sig) - width
        return self if rest <= 0 else self.with_sig(Cat(self.sig[:rest + 1].any(), self.sig[rest + 1:]))

    def rebiased(self, m, bias, name, shape=None):
        """The same number with another bias, and an exponent of ``shape``."""
        exponent = comb(m, self.exponent + (bias - self.bias), f"{name}_rebiased", shape)
        return Unpacked(self.sign, exponent, self.sig, bias)

    def unbiased(self, m, name):
        """The same number with bias 0."""
        return self.rebiased(m, 0, name)

    def normalised(self, m, name, limit=None, shape=None):
        """The same number normalised, by at most ``limit`` places, with an exponent of ``shape``.

        By one place at most the exponent grows where nothing is shifted, against a bias that is one more.
        """
        if limit == 1:
            sig = comb(m, Mux(self.sig[-1], self.sig, self.sig << 1)[:len(self.sig)], f"{name}_norm1")
            exponent = comb(m, Mux(self.sig[-1], self.exponent + 1, self.exponent), f"{name}_norm_exponent", shape)
            return Unpacked(self.sign, exponent, sig, self.bias + 1)
        sig, shift = normalise(m, self.sig, name=name, limit=limit)
        return Unpacked(self.sign, comb(m, self.exponent - shift, f"{name}_norm_exponent", shape), sig, self.bias)

    def normalised_late(self, m, name, shape=None):
        """The same number normalised, one cycle later; before that zeros are counted, in groups of four."""
        value = self.registered(m, f"{name}_raw")
        groups = registered(m, empty_groups(m, self.sig, name=name), f"{name}_groups")
        stage = shift_left(m, value.sig, Cat(Const(0, 2), groups), name=name)
        sig, fine = normalise(m, stage, name=f"{name}_fine", limit=3)
        exponent = comb(m, value.exponent - Cat(fine, groups), f"{name}_norm_exponent", shape)
        return Unpacked(value.sign, exponent, sig, value.bias)

    def registered(self, m, name):
        """The same number one cycle later."""
        fields = ("sign", "exponent", "sig")
        return Unpacked(*(registered(m, getattr(self, field), f"{name}_{field}") for field in fields), self.bias)


def comb(m, value, name, shape=None):
    """A named combinational signal of ``value``."""
    signal = Signal(Value.cast(value).shape() if shape is None else shape, name=name)
    m.d.comb += signal.eq(value)
    return signal


def registered(m, value, name):
    """``value`` one cycle later, in a register without reset."""
    value = Value.cast(value)
    register = Signal(value.shape(), name=f"{name}_q", reset_less=True)
    m.d.sync += register.eq(value)
    return register


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
    negative, sig, shift = element_parts(m, fmt, element, reserved)
    biased = comb(m, exponent + (fmt.element_width - 1) - shift, "stored_exponent")
    return Unpacked(negative, biased, sig, fmt.bias + fmt.fraction_width), reserved


def element_parts(m, fmt, element, reserved):
    """Sign and magnitude of an element, zero where ``reserved``; normalised, with the number of places."""
    negative = element[-1] if fmt.signed else Const(0, 1)
    magnitude = comb(m, Mux(negative, -element, element)[:fmt.element_width], "magnitude")
    return negative, *normalise(m, magnitude & (~reserved).replicate(len(magnitude)), name="element")


def sum_with_carry(a, b, carry):
    """``a + b + carry`` by one adder: a column below the last makes the carry."""
    return (Cat(carry, a) + Cat(carry, b))[1:]


def normalise(m, sig, *, name, limit=None):
    """Shift ``sig`` left until its top bit is set, by at most ``limit`` places.

    First by multiples of four, which depend on whether groups of four bits are empty, then by what is left.

    Returns
    -------
    (shifted, count) : the shifted significand and the number of places; a zero gives zero and any count
    """
    n_bits = (len(sig) - 1 if limit is None else limit).bit_length()
    fine, groups = min(2, n_bits), Const(0, 0)
    if n_bits > 2:
        groups = empty_groups(m, sig, name=name, limit=limit)
        sig = shift_left(m, sig, Cat(Const(0, 2), groups), name=name)
    count = leading_zeros(m, _top(sig, 1 << fine), fine, name=f"{name}_fine")
    return shift_left(m, sig, count, name=f"{name}_fine"), Cat(count, groups)


def empty_groups(m, sig, *, name, limit=None):
    """Groups of four zeros above the highest set bit; of a zero, any number."""
    n_bits = (len(sig) - 1 if limit is None else limit).bit_length()
    return leading_zeros(m, _top(sig, 1 << n_bits), n_bits, 2, name=name)


def _top(sig, width):
    """The top ``width`` bits of ``sig``, with zeros below where it has fewer."""
    return Cat(Const(0, width - len(sig)), sig) if len(sig) < width else sig[len(sig) - width:]


def leading_zeros(m, sig, power, group=0, *, name):
    """Zeros above the highest set bit of ``2**power`` bits, in units of ``2**group``; of a zero, any number.

    A tree: half as many zeros where the upper half is zero. The highest bits of the count come first.
    """
    def zeros(bits, power):
        if power == group:
            return [], ~bits.any()
        half = len(bits) // 2
        low, low_empty = zeros(bits[:half], power - 1)
        high, high_empty = zeros(bits[half:], power - 1)
        empty = comb(m, high_empty, f"{name}_empty{half}")
        return [*(Mux(empty, *pair) for pair in zip(low, high)), empty], empty & low_empty

    return comb(m, Cat(zeros(sig, power)[0]), f"{name}_zeros")


def shift_left(m, sig, places, *, name):
    """``sig << places`` in the width of ``sig``."""
    width, stage = len(sig), sig
    for power in reversed(range(len(places))):
        stage = comb(m, Mux(places[power], stage << (1 << power), stage), f"{name}_norm{1 << power}", unsigned(width))
    return stage


def shift_right_sticky(m, sig, amount, *, name):
    """``sig >> amount`` and whether a set bit was shifted out, for any unsigned ``amount``."""
    width = len(sig)
    stage = Value.cast(sig)
    sticky = Const(0, 1)
    n_bits = (width - 1).bit_length()
    # The widest step first, so that the last ones lose few bits.
    for power in reversed(range(min(n_bits, len(amount)))):
        step = 1 << power
        lost = stage[:min(step, width)].any()
        sticky = sticky | (amount[power] & lost)
        stage = comb(m, Mux(amount[power], stage >> step, stage), f"{name}_shift{step}", unsigned(width))
    if len(amount) > n_bits:
        beyond = comb(m, amount[n_bits:].any(), f"{name}_beyond")
        sticky = sticky | (beyond & sig.any())
        stage = comb(m, stage & (~beyond).replicate(width), f"{name}_shifted", unsigned(width))
    return stage, comb(m, sticky, f"{name}_sticky")


def multiply(a, b):
    """Exact product of two normalised numbers; its significand may have one leading zero."""
    return Unpacked(a.sign ^ b.sign, a.exponent + b.exponent, a.sig * b.sig, a.bias + b.bias - 1)


@dataclass(frozen=True)
class Ordered:
    """Two numbers ready to be added: of ``large``, ``exponent - bias`` is the weight of the top bit."""

    sign: Value
    exponent: Value
    large: Value
    small: Value
    distance: Value
    subtract: Value
    bias: int = 0

    def registered(self, m, name):
        """The same numbers one cycle later."""
        fields = ("sign", "exponent", "large", "small", "distance", "subtract")
        return Ordered(*(registered(m, getattr(self, field), f"{name}_{field}") for field in fields), self.bias)


def order(m, a, b, keep, *, name):
    """The larger and the smaller magnitude of two normalised numbers, and how far they are apart.

    Parameters
    ----------
    keep : int
        As of :func:`add`.
    """
    width = max(len(a.sig) + 1, len(b.sig) + 1, keep + 2)
    a, b = a.extended(width), b.extended(width)
    b_exponent = b.exponent if a.bias == b.bias else comb(m, b.exponent + (a.bias - b.bias), f"{name}_rebiased")
    apart = comb(m, a.exponent - b_exponent, f"{name}_apart")
    back = comb(m, b_exponent - a.exponent, f"{name}_back")
    # One comparison of exponent and significand together.
    key_a, key_b = (Cat(sig, comb(m, exponent, f"{name}_key", apart.shape())).as_signed()
                    for sig, exponent in ((a.sig, a.exponent), (b.sig, b_exponent)))
    b_greater = comb(m, key_a < key_b, f"{name}_greater")
    swap = comb(m, ~b.is_zero & (a.is_zero | b_greater), f"{name}_swap")
    return Ordered(
        Mux(swap, b.sign, a.sign), comb(m, Mux(swap, b_exponent, a.exponent), f"{name}_exponent"),
        comb(m, Mux(swap, b.sig, a.sig), f"{name}_large"), comb(m, Mux(swap, a.sig, b.sig), f"{name}_small"),
        comb(m, Mux(swap, back, apart), f"{name}_distance", unsigned(len(apart) - 1)),
        comb(m, a.sign ^ b.sign, f"{name}_subtract"), a.bias)


def add_ordered(m, operands, *, name, late=False):
    """Sum of :class:`Ordered` numbers, as :func:`add`; ``late``: one cycle later, by a register behind the shifter."""
    small, sticky = shift_right_sticky(m, operands.small, operands.distance, name=name)
    if late:
        small, sticky = registered(m, small, f"{name}_shifted"), registered(m, sticky, f"{name}_sticky")
        operands = operands.registered(m, f"{name}_late")
    large, subtract, width = operands.large, operands.subtract, len(operands.large)
    addend = Cat(sticky, small)
    # The column above the last has the carry of an addition, and 0 after a subtraction.
    total = comb(m, sum_with_carry(Cat(Const(0, 1), large), Cat(addend, Const(0, 1)) ^ subtract.replicate(width + 2),
                                   subtract)[:width + 2], f"{name}_sum", unsigned(width + 2))
    return Unpacked(operands.sign, operands.exponent, total, operands.bias - 1)


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
    return add_ordered(m, order(m, a, b, keep, name=name), name=name)
