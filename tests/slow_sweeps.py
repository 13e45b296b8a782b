"""docs/baselines.md once more, in Python integers and fractions: slow, one channel at a time, obviously right.

It shares nothing with ``bnforge_model`` but the configuration; numbers, rounding, sums and storage are those of
``slow_model``.
"""

import math
from dataclasses import replace
from fractions import Fraction

import slow_model
from slow_model import IDENTITY, Flags, Widths, active, encode, floor_log2, rounder, sum_of_codes, sum_of_products

from bnforge.config import Activation, Algorithm
from bnforge.formats import FP32, WORKING
from bnforge.sweeps.words import Sweep, param_words, record_words, streams

RANGE, SINGLE, TWO = Algorithm.RANGE, Algorithm.SINGLE_PASS, Algorithm.TWO_PASS
ZERO = Fraction(0)


def t(value):
    """trunc24."""
    return slow_model.truncate(value, 24)


def inverse(value):
    return t(1 / value) if value else ZERO


def root(value):
    """trunc24 of the square root: the integer one of value · 4^k, so large that it has more than 24 bits."""
    if value <= 0:
        return ZERO
    k = 40 - floor_log2(value) // 2
    scaled = value * Fraction(4) ** k
    return t(math.isqrt(scaled.numerator // scaled.denominator) / Fraction(2) ** k)


class Channel:
    """One channel of one sweep: its parameters and streams, then its results and constants."""

    def __init__(self, config, sweep, params, flags, *, n, eps, c, activation):
        self.config, self.sweep, self.flags, self.n = config, sweep, flags, n
        self.eps, self.c, self.activation = eps, c, activation
        self.x_format, self.algorithm = config.x_format, config.algorithm
        self.params = params

    def q(self, fmt, value):
        return self.flags.narrow(rounder(fmt, value))

    def run(self, streams):
        """(results before storage or None, record)."""
        method = getattr(self, self.sweep.name.lower())
        return method(**streams)

    def totals(self, first, pairs):
        """S1 and S2."""
        widths = replace(Widths.of(self.config), storage=self.x_format)
        s1 = s2 = ZERO
        for at in range(0, self.n, 128):
            part = slice(at, at + 128)
            block = sum_of_codes(widths, 128, [encode(self.x_format, value) for value in first[part]])
            s1 = slow_model.truncate(s1 + t(block), 32)
            s2 = slow_model.truncate(s2 + t(sum_of_products(widths, pairs[part])), 32)
        return t(s1), t(s2)

    # Lanes.

    def collect(self, operand):
        s1, s2 = self.totals(operand, [(x, x) for x in operand])
        mu = self.q(WORKING, t(s1 * t(Fraction(1, self.n))))
        if self.algorithm is TWO:
            return operand, {"mu": mu}
        if self.algorithm is SINGLE:
            v = t(t(s2 * t(Fraction(1, self.n))) - t(mu * mu))
            return operand, self.affine(max(v, ZERO), mu)
        return operand, self.range_record(operand, mu)

    def copy(self, operand):
        return operand, {}

    def variance(self, stored):
        mu = self.params["mu"]
        d = [self.q(self.x_format, x - mu) for x in stored]
        s2 = self.totals(d, [(v, v) for v in d])[1]
        return None, self.affine(t(s2 * t(Fraction(1, self.n))), mu)

    def normalise(self, stored):
        a, b = self.params["a"], self.params["b"]
        return [slow_model.activate(self.activation, self.q(WORKING, a * x + b)) for x in stored], {}

    def passed(self, dy, x):
        a, b = self.params["a"], self.params["b"]
        return [g if self.activation == IDENTITY or a * v + b > 0 else ZERO for g, v in zip(dy, x, strict=True)]

    def sums(self, stored, operand=None, gradient=None):
        if self.algorithm is RANGE:
            g = [v if active(self.activation, y) else ZERO for v, y in zip(operand, stored, strict=True)]
            return g, self.range_gradient(*self.totals(g, list(zip(g, stored, strict=True))))
        if self.algorithm is SINGLE:
            g = self.passed(operand, stored)
            return g, self.moment_gradient(*self.totals(g, list(zip(g, stored, strict=True))))
        d = [self.q(self.x_format, x - self.params["mu"]) for x in stored]
        g = self.passed(gradient, stored)
        return None, self.moment_gradient(*self.totals(g, list(zip(g, d, strict=True))))

    def gradient(self, stored, gradient=None):
        p = self.params
        if self.algorithm is RANGE:
            addends = self.addends()
            return [self.q(WORKING, p["a"] * g + more) for g, more in zip(stored, addends, strict=True)], {}
        g, x = gradient, stored
        if self.algorithm is TWO:
            g, x = self.passed(g, x), [self.q(self.x_format, v - p["mu"]) for v in x]
        inner = [self.q(self.config.b_format, p["e"] * v + p["c"]) for v in x]
        return [self.q(WORKING, p["a"] * v + more) for v, more in zip(g, inner, strict=True)], {}

    def addends(self):
        length = -(-self.n // 8)
        values = []
        for beat in range(self.n):
            j, position = divmod(beat, length)
            high, low = self.params[f"argmax{j}"] == position, self.params[f"argmin{j}"] == position
            values.append(self.params["base" if high == low else "plus" if high else "minus"])
        return values

    # Constants.

    def affine(self, v, mu):
        gamma, beta = self.params["gamma"], self.params["beta"]
        rstd = self.q(WORKING, inverse(root(t(v + self.eps))))
        a = self.q(self.config.a_format, t(gamma * rstd))
        return {"a": a, "b": self.q(self.config.b_format, t(beta - t(mu * a))), "rstd": rstd, "mu": mu}

    def range_record(self, x, mu):
        length, total = -(-self.n // 8), ZERO
        record = {f"{name}{j}": 0 for name in ("argmax", "argmin") for j in range(8)}
        starts = range(0, self.n, length)
        for j, start in enumerate(starts):
            chunk = x[start:start + length]
            record[f"argmax{j}"], record[f"argmin{j}"] = chunk.index(max(chunk)), chunk.index(min(chunk))
            total = t(total + t(max(chunk) - min(chunk)))
        r = self.q(WORKING, t(total * t(Fraction(1, len(starts)))))
        rinv = self.q(WORKING, inverse(t(r + self.eps))) if r else ZERO
        a = self.q(self.config.a_format, t(t(self.params["gamma"] * rinv) / self.c))
        b = self.q(self.config.b_format, t(self.params["beta"] - t(mu * a)))
        return {"a": a, "b": b, "rinv": rinv, "mu": mu, "r": r, **record}

    def moment_gradient(self, s1, s2):
        a, rstd, mu = (self.params[name] for name in ("a", "rstd", "mu"))
        over_n = t(Fraction(1, self.n))
        p = t(s2 - t(mu * s1)) if self.algorithm is SINGLE else s2
        e = self.q(self.config.a_format, -t(t(a * rstd) * t(t(p * rstd) * over_n)))
        m = t(a * t(s1 * over_n))
        c = self.q(self.config.b_format, t(-m - t(e * mu)) if self.algorithm is SINGLE else -m)
        return {"dgamma": self.q(WORKING, t(p * rstd)), "dbeta": self.q(FP32, s1), "c": c, "e": e}

    def range_gradient(self, s1, s2):
        a, b, rinv, mu, r = (self.params[name] for name in ("a", "b", "rinv", "mu", "r"))
        n_chunks = -(-self.n // -(-self.n // 8))
        centre = t(b + t(mu * a))
        p = t(s2 - t(centre * s1))
        step = t(-t(p * rinv) * t(Fraction(1, n_chunks)))
        m = t(a * t(s1 * t(Fraction(1, self.n))))
        base, plus, minus = (self.q(self.config.b_format, v) for v in (-m, t(step - m), t(-step - m)))
        s = t(a * t(self.c * t(r + self.eps)))
        floor = max(Fraction(1, 64), abs(centre) / 2 ** (self.config.storage.fraction_width + 1))
        if abs(s) < floor:
            s = floor if a > 0 else -floor
        dgamma = self.q(WORKING, t(p / s)) if a else ZERO
        return {"dgamma": dgamma, "dbeta": self.q(FP32, s1), "base": base, "plus": plus, "minus": minus}


def stored_column(config, beats, lane, flags):
    """A lane of stored elements as codes of X; ``beats``: pairs of elements and exponent codes."""
    values = []
    for elements, exponents in beats:
        if not config.is_block:
            value = flags.clean(config.storage, elements[lane])
        else:
            fmt = config.storage
            code = exponents[lane // fmt.group]
            flags.nan |= code > fmt.max_exponent_code
            value = elements[lane] * Fraction(2) ** (code - fmt.bias - fmt.fraction_width)
            value = ZERO if code > fmt.max_exponent_code else value
        values.append(flags.narrow(rounder(config.x_format, value)))
    return values


def sweep_tile(config, sweep, params, inputs, *, activation, eps, c, mask):
    """One tile.

    Parameters
    ----------
    params : dict of lists of config.lanes fp32 codes, or of positions
    inputs : dict
        ``operand``: list of n lists of codes; ``stored``, ``gradient``: list of n pairs of elements and exponent codes.
    activation : Activation
    eps, c : fp32 codes
    mask : list of bools

    Returns
    -------
    dict
        ``elements``, ``exponents`` of the result; ``records``: by name, a list; ``flags``.
    """
    flags, widths = Flags(), Widths.of(config)
    eps, c = (flags.narrow(rounder(WORKING, flags.clean(FP32, code))) for code in (eps, c))
    n = len(next(iter(inputs.values())))
    columns, records = [], {name: [ZERO] * config.lanes for name in record_words(config, sweep)}
    formats = {"a": config.a_format, "e": config.a_format,
               **dict.fromkeys(("b", "c", "base", "plus", "minus"), config.b_format)}
    for lane in range(config.lanes):
        if not mask[lane]:
            columns.append([ZERO] * n)
            continue
        narrowed = {name: params[name][lane] if name.startswith("arg") else flags.narrow(rounder(
            formats.get(name, WORKING), flags.clean(FP32, params[name][lane]))) for name in param_words(config, sweep)}
        channel = Channel(config, sweep, narrowed, flags, n=n, eps=eps, c=c, activation=activation)
        columns_in = {name: [flags.clean(config.x_format, beat[lane]) for beat in beats] if name == "operand" else
                      stored_column(config, beats, lane, flags) for name, beats in inputs.items()}
        column, record = channel.run(columns_in)
        columns.append(column)
        for name, value in record.items():
            records[name][lane] = value
    stored = {"elements": [], "exponents": []}
    if streams(config, sweep)[1]:
        act = activation if sweep is Sweep.NORMALISE else Activation.IDENTITY
        stored = slow_model.store_tile(widths, config.storage, columns, act, flags)
    return {"elements": stored["elements"], "exponents": stored["exponents"], "records": records,
            "flags": flags.all()}
