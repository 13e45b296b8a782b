"""The serial unit of the baselines equals its model, and the model equals exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from bnforge.config import Algorithm, Config
from bnforge.formats import FP10, FP32, WORKING, BlockFormat
from bnforge.ranges import range_sum_layout
from bnforge.sweeps.scalar import SerialUnit
from bnforge.sweeps.words import Sweep, has_sums, param_words, record_words, sweeps_of
from bnforge.totals import total_layout
from bnforge_model import floats
from bnforge_model.sweep_constants import sweep_constants

BASELINES = [kind for kind in Algorithm if kind is not Algorithm.ONE_PASS]


def config_of(algorithm, **changes):
    return Config(**{"name": "unit", "lanes": 4, "storage": BlockFormat(4, 8), "algorithm": algorithm, **changes})


LIGHT = {"x_format": FP10, "storage": FP10, "a_fraction": 7, "b_fraction": 15}


def scalar_words(words):
    return [word for word in words if not word.startswith("arg")]


def param_format(config, name):
    return {"a": config.a_format, "b": config.b_format}.get(name, WORKING)


def random_values(rng, size, spread, bits=24, signed=True):
    """Numbers of up to ``bits`` bits, of exponents in ±spread; some 0, some with few bits."""
    keep = rng.integers(1, bits + 1, size)
    sig = rng.integers(1 << (bits - 1), 1 << bits, size) >> (bits - keep) << (bits - keep)
    values = np.ldexp(sig.astype(float), rng.integers(-spread, spread + 1, size) - bits + 1)
    values *= rng.choice([-1, 1], size) if signed else 1
    return np.where(rng.random(size) < 0.08, 0.0, values)


class Case:
    """Operands of one tile: four lanes, of which ``mask`` are enabled. Lane 1 has a or gamma 0, lane 2 a range of 0.

    ``spread``: how far exponents are from 0, for parameters; sums are limited to what their layout holds.
    """

    def __init__(self, config, sweep, rng, *, spread, n=None, mask=None):
        self.config, self.sweep = config, sweep
        lanes = config.lanes
        self.n = int(rng.integers(1, 1 << rng.integers(1, 21))) if n is None else n
        self.mask = int(rng.integers(1, 1 << lanes)) if mask is None else mask
        self.n_chunks = int(rng.integers(1, 9))
        positive = {"r", "rinv", "rstd"}
        self.params = {name: floats.round_to(param_format(config, name), random_values(
            rng, lanes, spread, signed=name not in positive))[0] for name in param_words(config, sweep)}
        self.params.get("a", self.params.get("gamma", np.zeros(lanes)))[1] = 0
        self.eps, self.c = (float(floats.round_to(WORKING, random_values(rng, 1, spread, signed=False))[0][0])
                            for _ in range(2))
        top = (1 << (total_layout(config)["exponent"].shape.width - 1)) - 1
        reach = min(spread, top - 2)
        self.s1, self.s2 = (random_values(rng, lanes, reach, 32, signed)
                            for signed in (True, sweep is not Sweep.VARIANCE))
        if config.algorithm is Algorithm.SINGLE_PASS and sweep is Sweep.COLLECT and rng.random() < 0.5:
            # Hardly any variance.
            squares = floats.truncate(self.s1 * self.s1 / self.n * (1 + rng.random(lanes) / 64), 32)
            self.s2 = np.where(np.abs(np.frexp(squares)[1]) < top, squares, self.s2)
        reach = min(spread, (1 << (range_sum_layout(config)["exponent"].shape.width - 1)) - 2)
        self.range_sum = random_values(rng, lanes, reach, 24, signed=False)
        self.range_sum[2] = 0

    @property
    def enabled(self):
        return [lane for lane in range(self.config.lanes) if self.mask >> lane & 1]


def golden(case):
    """Record words and flag by the model: {(lane, word): fp32 code}."""
    words, saturated = sweep_constants(case.config, case.sweep, case.params, case.n, case.eps, case.c, case.n_chunks,
                                       case.s1, case.s2, case.range_sum)
    names = scalar_words(record_words(case.config, case.sweep))
    assert set(words) == set(names)
    codes = {(lane, names.index(name)): int(floats.encode(FP32, values[lane])[0])
             for name, values in words.items() for lane in case.enabled}
    return codes, bool(saturated[case.enabled].any())


def slow(case):
    """As golden, in exact fractions."""
    codes, saturated = {}, False
    for lane in case.enabled:
        unit = SlowUnit(case, lane)
        values = unit.words()
        for number, name in enumerate(scalar_words(record_words(case.config, case.sweep))):
            codes[lane, number] = int(floats.encode(FP32, float(values[name]))[0])
        saturated |= unit.saturated
    return codes, saturated


def t(value):
    """The magnitude cut to 24 significant bits."""
    value = Fraction(value)
    if not value:
        return value
    top = abs(value.numerator).bit_length() - value.denominator.bit_length()
    unit = Fraction(2) ** (top - (Fraction(2) ** top > abs(value)) - 23)
    return math.trunc(value / unit) * unit


def ratio(p, q):
    return t(Fraction(p) / q) if q else Fraction(0)


def root(value):
    scale = Fraction(4) ** 700
    return t(Fraction(math.isqrt(int(value * scale)), 2 ** 700)) if value > 0 else Fraction(0)


class SlowUnit:
    """docs/baselines.md, "Constants", for one channel, word for word."""

    def __init__(self, case, lane):
        self.case, self.config, self.saturated = case, case.config, False
        self.param = {name: Fraction(values[lane]) for name, values in case.params.items()}
        self.s1, self.s2, self.d = (t(values[lane]) for values in (case.s1, case.s2, case.range_sum))
        self.inv_n, self.inv_k = t(Fraction(1, case.n)), t(Fraction(1, case.n_chunks))
        self.eps, self.c = Fraction(case.eps), Fraction(case.c)

    def q(self, fmt, value):
        rounded, saturated = floats.round_to(fmt, float(value))
        self.saturated |= bool(saturated[0])
        return Fraction(rounded[0])

    def words(self):
        is_range = self.config.algorithm is Algorithm.RANGE
        if self.case.sweep is Sweep.SUMS:
            return self.range_gradient() if is_range else self.gradient()
        return self.range() if is_range else self.variance()

    def variance(self):
        config, w = self.config, {}
        if self.case.sweep is Sweep.COLLECT:
            w["mu"] = self.q(WORKING, t(self.s1 * self.inv_n))
            if config.algorithm is Algorithm.TWO_PASS:
                return w
            v = max(Fraction(0), t(t(self.s2 * self.inv_n) - t(w["mu"] * w["mu"])))
        else:
            w["mu"] = self.param["mu"]
            v = t(self.s2 * self.inv_n)
        w["rstd"] = self.q(WORKING, ratio(1, root(t(v + self.eps))))
        w["a"] = self.q(config.a_format, t(self.param["gamma"] * w["rstd"]))
        w["b"] = self.q(config.b_format, t(self.param["beta"] - t(w["mu"] * w["a"])))
        return w

    def range(self):
        config, w = self.config, {}
        w["mu"] = self.q(WORKING, t(self.s1 * self.inv_n))
        w["r"] = self.q(WORKING, t(self.d * self.inv_k))
        w["rinv"] = self.q(WORKING, ratio(1, t(w["r"] + self.eps))) if w["r"] else Fraction(0)
        w["a"] = self.q(config.a_format, ratio(t(self.param["gamma"] * w["rinv"]), self.c))
        w["b"] = self.q(config.b_format, t(self.param["beta"] - t(w["mu"] * w["a"])))
        return w

    def gradient(self):
        p, config, w = self.param, self.config, {"dbeta": self.q(FP32, self.s1)}
        centred = config.algorithm is Algorithm.TWO_PASS
        product = self.s2 if centred else t(self.s2 - t(p["mu"] * self.s1))
        w["dgamma"] = self.q(WORKING, t(product * p["rstd"]))
        w["e"] = self.q(config.a_format, -t(t(p["a"] * p["rstd"]) * t(t(product * p["rstd"]) * self.inv_n)))
        m = t(p["a"] * t(self.s1 * self.inv_n))
        w["c"] = self.q(config.b_format, -m if centred else t(-m - t(w["e"] * p["mu"])))
        return w

    def range_gradient(self):
        p, config, w = self.param, self.config, {"dbeta": self.q(FP32, self.s1)}
        centre = t(p["b"] + t(p["mu"] * p["a"]))
        product = t(self.s2 - t(centre * self.s1))
        term = t(-t(product * p["rinv"]) * self.inv_k)
        m = t(p["a"] * t(self.s1 * self.inv_n))
        w |= {name: self.q(config.b_format, value) for name, value in (
            ("base", -m), ("plus", t(term - m)), ("minus", t(-term - m)))}
        s = t(p["a"] * t(self.c * t(p["r"] + self.eps)))
        floor = max(Fraction(1, 64), abs(centre) / 2 ** (config.storage.fraction_width + 1))
        if abs(s) < floor:
            s = floor if p["a"] >= 0 else -floor
        w["dgamma"] = self.q(WORKING, ratio(product, s)) if p["a"] else Fraction(0)
        return w


def number(layout, value):
    """A total, or a sum of ranges."""
    fraction, exponent = math.frexp(abs(value))
    width = layout["sig"].width
    fields = {"sig": int(fraction * (1 << width)), "exponent": exponent - 1 if value else 0}
    assert abs(fields["exponent"]) < 1 << (layout["exponent"].shape.width - 1)
    return fields | ({"sign": int(value < 0)} if "sign" in layout.members else {})


def run_rtl(cases):
    """Words, flag and cycles of each case, in Amaranth's simulator, one after the other on one unit."""
    config = cases[0].config
    unit = SerialUnit(config)
    is_range = config.algorithm is Algorithm.RANGE
    code = {id(case): {name: [int(c) for c in floats.encode(WORKING, values)] for name, values in case.params.items()}
            for case in cases}
    results = []

    async def serve(ctx, case):
        """The memories around: what was addressed in the last cycle."""
        words = param_words(config, case.sweep)
        lane, word = ctx.get(unit.o_param_lane), ctx.get(unit.o_param_word)
        at_total = ctx.get(unit.o_total_lane), ctx.get(unit.o_total_product)
        at_range = ctx.get(unit.o_range_lane) if is_range else 0
        flag, done = ctx.get(unit.o_saturated), ctx.get(unit.o_done)
        write = (ctx.get(unit.o_write_lane), ctx.get(unit.o_write_word), ctx.get(unit.o_write_data)) if ctx.get(
            unit.o_write) else None
        await ctx.tick()
        inside = lane < config.lanes
        ctx.set(unit.i_param, code[id(case)][words[word]][lane] if inside and word < len(words) else 0)
        sums = (case.s1, case.s2)[at_total[1]]
        ctx.set(unit.i_total, number(unit.i_total.shape(), sums[at_total[0]] if at_total[0] < config.lanes else 0))
        if is_range:
            ctx.set(unit.i_range, number(unit.i_range.shape(), case.range_sum[at_range]))
        return write, flag, done

    async def bench(ctx):
        for case in cases:
            values = {"sweep": case.sweep, "n": case.n, "eps": int(floats.encode(WORKING, case.eps)[0]),
                      "mask": case.mask}
            if is_range:
                values |= {"c": int(floats.encode(WORKING, case.c)[0]), "n_chunks": case.n_chunks}
            for name, value in values.items():
                ctx.set(getattr(unit, f"i_{name}"), value)
            ctx.set(unit.i_start, 1)
            words, saturated, cycles, done = {}, False, 0, False
            while not done:
                write, flag, done = await serve(ctx, case)
                ctx.set(unit.i_start, 0)
                cycles += 1
                saturated |= bool(flag)
                if write:
                    assert write[:2] not in words
                    words[write[:2]] = write[2]
                assert cycles < 5000
            results.append((words, saturated, cycles - 1))

    simulator = Simulator(Fragment.get(unit, None))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return unit, results


def cases_of(config, seed, count):
    """Random tiles of all sweeps with sums: the first of one beat, then of as many as can be; wide and narrow masks."""
    rng = np.random.default_rng(seed)
    sweeps = [sweep for sweep in sweeps_of(config) if has_sums(config, sweep)]
    edges = dict.fromkeys(range(len(sweeps)), 1) | dict.fromkeys(range(len(sweeps), 2 * len(sweeps)), (1 << 20) - 1)
    masks = {0: 15, 1: 10, 2: 5}
    return [Case(config, sweeps[number % len(sweeps)], rng, spread=(4, 126, 20)[number // len(sweeps) % 3],
                 n=edges.get(number), mask=masks.get(number, 1 << int(rng.integers(4)))) for number in range(count)]


@pytest.mark.parametrize("changes", [{}, LIGHT], ids=["blocks", "fp10"])
@pytest.mark.parametrize("algorithm", BASELINES, ids=lambda kind: kind.value)
def test_model_is_exact(algorithm, changes, seed):
    for case in cases_of(config_of(algorithm, **changes), seed, 45):
        assert golden(case) == slow(case)


@pytest.mark.parametrize("algorithm, changes, count", [
    pytest.param(kind, changes, count, id=f"{kind.value}-{size}") for kind in BASELINES
    for changes, count, size in ((LIGHT if kind is Algorithm.TWO_PASS else {}, 6, "few"), ({}, 60, "many"),
                                 (LIGHT, 60, "fp10-many"))])
def test_unit_is_the_model(algorithm, changes, count, seed):
    cases = cases_of(config_of(algorithm, **changes), seed + count, count)
    unit, results = run_rtl(cases)
    for case, (words, saturated, cycles) in zip(cases, results):
        assert (words, saturated) == golden(case)
        assert cycles <= unit.longest(case.sweep, len(case.enabled))


def test_sweep_without_sums_is_refused():
    with pytest.raises(ValueError, match="sweep must be one that takes sums, not"):
        sweep_constants(config_of(Algorithm.RANGE), Sweep.NORMALISE, {}, 1, 0.0, 1.0, 1, None, None, None)
