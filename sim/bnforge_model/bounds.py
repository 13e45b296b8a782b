"""The distance between the model and the float64 sampled range norm: a bound, and what is measured.

``python -m bnforge_model.bounds`` prints both for every input class, and those of the gradients
(:mod:`.gradient_bounds`); docs/error_bounds.md derives the bounds.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnforge.config import Activation, Extraction, Multiplier
from bnforge.formats import WORKING, BlockFormat
from bnforge.presets import PRESETS

from .core import forward
from .floats import max_value, min_value, two_digit_significands
from .reference import activate, quantised, range_norm
from .statistics import SUM_BITS, chunk_shape, guard_bits
from .stimulus import INPUT_CLASSES, input_class

__all__ = ["error_bound", "measure"]

_TINY = 2.0 ** WORKING.e_min


def _unit(fraction_width):
    """Largest relative error of nearest rounding: h/(1 + h), h = 2^-(fraction_width + 1)."""
    half = 2.0 ** -(fraction_width + 1)
    return half / (1 + half)


def _scale_unit(config):
    """The same for the rounding of a."""
    if config.multiplier is Multiplier.FULL:
        return _unit(config.a_fraction)
    grid = two_digit_significands(config.a_fraction)
    return float(np.max(np.diff(grid) / (grid[:-1] + grid[1:])))


def rounding_error(fmt, magnitude, unit=None):
    """|Q_f(v) - v| for any |v| <= magnitude: relative, at the bottom of the range, beyond its top."""
    relative = (_unit(fmt.fraction_width) if unit is None else unit) * magnitude
    bottom = min_value(fmt) / 2 if fmt.has_subnormals else min_value(fmt)
    return relative + np.minimum(magnitude, bottom) + np.maximum(0, magnitude - max_value(fmt))


def header_error(value):
    """Error of a header number: to fp32, then to the working format."""
    magnitude = np.abs(value)
    return magnitude * 2.0 ** -24 + rounding_error(WORKING, magnitude * (1 + 2.0 ** -24))


def reciprocal_unit(count):
    """Relative error of Q_W(1/count)."""
    return 0.0 if count & (count - 1) == 0 else _unit(WORKING.fraction_width)


@dataclass(frozen=True, eq=False)
class ChannelBounds:
    """Bounds per channel: errors of mu, a and beta, of the rounding of b, of R + eps and of Rinv; R may become 0."""

    mu: np.ndarray
    a: np.ndarray
    beta: np.ndarray
    b: np.ndarray
    d: np.ndarray
    rinv: np.ndarray
    flat: np.ndarray


def channel_bounds(config, reference):
    """Bounds of the constants (docs/error_bounds.md, steps 1 to 5)."""
    ref, x_format = reference, config.x_format
    sample = np.abs(ref.x[:ref.sample_len])
    cut = 2.0 ** -(SUM_BITS - 1)
    anchored = 0.0 if x_format.exponent_width <= 5 else 2.0 ** -(x_format.fraction_width + guard_bits(config))
    error = (anchored + ref.sample_len * 2.0 ** -53) * sample.max(axis=0)
    mean = np.abs(ref.mu)
    error = error + cut * (mean + error)
    error = error + reciprocal_unit(ref.sample_len) * (mean + error)
    e_mu = error + rounding_error(WORKING, mean + error)

    n_chunks, _ = chunk_shape(config, ref.sample_len)
    factor = (1 + cut) ** (n_chunks + 1) * (1 + reciprocal_unit(n_chunks))
    relative = factor * (1 + _unit(WORKING.fraction_width)) - 1
    e_r = ref.r * relative + np.maximum(0, ref.r * factor - max_value(WORKING))
    perhaps_flat = (ref.r > 0) & (ref.r * (1 - relative) < _TINY)
    e_d = e_r + header_error(ref.eps)
    d = ref.r + ref.eps
    e_d = e_d + 2.0 ** -31 * (d + e_d)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(e_d < d, e_d / (d - e_d) / d, np.inf)
        e_rinv = error + rounding_error(WORKING, 1 / d + error)
        gamma, e_gamma = np.abs(ref.gamma), header_error(ref.gamma)
        least_c = ref.c - header_error(ref.c)
        error = (gamma * e_rinv + e_gamma * (1 / d + e_rinv)) / least_c + gamma / d * (1 / least_c - 1 / ref.c)
    a = np.abs(ref.a)
    error = np.where(ref.r == 0, 0.0, error)
    e_a = error + rounding_error(config.a_format, a + error, _scale_unit(config))
    e_a = np.where(perhaps_flat, np.maximum(e_a, a), e_a)

    e_beta = header_error(ref.beta)
    b = np.abs(ref.beta - ref.mu * ref.a) + e_beta + (mean + e_mu) * e_a + a * e_mu
    e_rinv = np.where(perhaps_flat, np.maximum(e_rinv, 1 / np.where(d > 0, d, 1)), np.where(ref.r == 0, 0.0, e_rinv))
    return ChannelBounds(e_mu, e_a, e_beta, rounding_error(config.b_format, b), e_d, e_rinv, perhaps_flat)


def _float_storage(fmt, activation, low, high):
    """Error of storing any value between ``low`` and ``high``, float format."""
    top = np.maximum(np.abs(low), np.abs(high))
    error = rounding_error(fmt, top)
    if activation != Activation.IDENTITY:
        least = min_value(fmt)
        error = np.where((low < least) & (high > 0), np.maximum(error, least), error)
    if activation == Activation.RELU6:
        step = 2.0 ** (2 - fmt.fraction_width)
        error = np.where((high >= 6 - step) & (low < 6), np.maximum(error, step), error)
    return error


def _block_storage(fmt, activation, low, high):
    """Error of storing any value between ``low`` and ``high``, blocks."""
    top = np.maximum(np.abs(low), np.abs(high))
    channels = top.shape[1]
    padded = np.pad(top, ((0, 0), (0, -channels % fmt.group))).reshape(len(top), -1, fmt.group)
    exponent = np.frexp(padded.max(axis=2))[1] - 1
    exponent = np.clip(exponent, -fmt.bias, fmt.max_exponent_code - fmt.bias)
    step = np.repeat(np.ldexp(1.0, exponent - fmt.fraction_width), fmt.group, axis=1)[:, :channels]
    error = np.maximum(np.minimum(step / 2, top), top - fmt.max_element * step)
    if activation != Activation.IDENTITY:
        error = np.where((low < step / 2) & (high > 0), np.maximum(error, step - low), error)
    if activation == Activation.RELU6:
        error = np.where((high >= 6 - step / 2) & (low < 6), np.maximum(error, step), error)
    return error


def storage_error(fmt, activation, low, high):
    """Error of storing any value between ``low`` and ``high``."""
    return (_block_storage if isinstance(fmt, BlockFormat) else _float_storage)(fmt, activation, low, high)


def _definition_error(config, ref, channel):
    """Error of gamma·v + beta without constant extraction, before its rounding."""
    d, centred = ref.r + ref.eps, np.abs(ref.x - ref.mu)
    e_u = channel.mu + rounding_error(WORKING, centred + channel.mu)
    e_c, least_c = header_error(ref.c), ref.c - header_error(ref.c)
    with np.errstate(all="ignore"):
        v = np.where(ref.r == 0, 0.0, centred / (ref.c * d))
        if config.extraction is Extraction.SHARED_DIVIDER:
            e_inverse = (1 / least_c - 1 / ref.c) + rounding_error(WORKING, 1 / least_c)
            error = channel.rinv * (1 / ref.c + e_inverse) + e_inverse / d
            e_h = error + rounding_error(WORKING, 1 / (ref.c * d) + error)
            error = e_u * (1 / (ref.c * d) + e_h) + centred * e_h
        else:
            error = ref.c * channel.d + e_c * (d + channel.d)
            error = error + 2.0 ** -(SUM_BITS - 1) * (ref.c * d + error)
            error = error + rounding_error(WORKING, ref.c * d + error)
            error = np.where(error < ref.c * d, (e_u + v * error) / (ref.c * d - error), np.inf)
        error = error + rounding_error(WORKING, v + error)
    error = np.where(np.isnan(error), np.inf, error)
    error = np.where(ref.r == 0, 0.0, np.where(channel.flat, np.maximum(error, v), error))
    return np.abs(ref.gamma) * error + header_error(ref.gamma) * (v + error) + channel.beta


def error_bound(config, reference):
    """A bound of |y of the model - y of the reference|, element by element.

    Parameters
    ----------
    config : Config
    reference : RangeNorm
        On input as the core receives it (:func:`.reference.quantised`).

    Returns
    -------
    float64 (n, channels)
        Infinite where nothing can be said: R and eps both below the smallest number of the working format.
    """
    ref = reference
    channel = channel_bounds(config, ref)
    if config.extracts:
        error = channel.a * np.abs(ref.x - ref.mu) + (np.abs(ref.a) + channel.a) * channel.mu + channel.beta + channel.b
    else:
        error = _definition_error(config, ref, channel)
    error = error + rounding_error(WORKING, np.abs(ref.z) + error)
    low, high = activate(ref.activation, ref.z - error), activate(ref.activation, ref.z + error)
    moved = np.maximum(ref.y - low, high - ref.y)
    stored = storage_error(config.storage, ref.activation, low, high)
    return (moved + stored) * (1 + 2.0 ** -20)


def measure(config, name, *, activation=Activation.RELU, n=4096, channels=128, seed=0):
    """Worst error and bound for an input class.

    gamma is uniform in ±[0.5, 2], beta normal.

    Returns
    -------
    dict
        ``error``: the largest |model - reference|; ``bound``: the largest bound; ``ratio`` of these two;
        ``violations``: elements with an error above their bound; ``range``: max - min of the reference's y.
    """
    rng = np.random.default_rng(seed)
    x = quantised(config, input_class(name, config.x_format, rng, (n, channels)))
    gamma, beta = rng.choice([-1, 1], channels) * rng.uniform(0.5, 2, channels), rng.standard_normal(channels)
    reference = range_norm(config, x, gamma, beta, activation=activation)
    error = np.abs(forward(config, x, gamma, beta, activation=activation).y - reference.y)
    bound = error_bound(config, reference)
    worst = float(error.max())
    return {"class": name, "error": worst, "bound": float(bound.max()),
            "ratio": float(bound.max() / worst) if worst else None,
            "violations": int(np.sum(~(error <= bound))), "range": float(np.ptp(reference.y))}


def _plot(results, path):
    """The table as an SVG picture: error and bound as fractions of the range of y."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(2 + 2.2 * len(results), 3.4), sharex=True, sharey=True,
                                   squeeze=False, layout="constrained")
    names = list(INPUT_CLASSES)
    for axis, (preset, rows) in zip(axes[0], results.items(), strict=True):
        error, bound = (np.array([row[key] / row["range"] for row in rows]) for key in ("error", "bound"))
        position = np.arange(len(rows))
        axis.hlines(position, error, bound, color="#9db4d3")
        axis.plot(error, position, "o", color="#2b5c9e", label="worst error")
        axis.plot(bound, position, "|", color="#2b5c9e", markersize=10, label="bound")
        axis.set_xscale("log")
        axis.grid(axis="x", alpha=0.3)
        axis.set_title(preset)
    axes[0, 0].set_yticks(np.arange(len(names)), names)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("|y of the model - float64 y| as a fraction of the range of y", fontsize="medium")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main(arguments=None):
    """Print the tables; write the JSON and the picture where asked."""
    from .gradient_bounds import measure_gradients  # which imports this module

    parser = argparse.ArgumentParser(prog="python -m bnforge_model.bounds", description=__doc__)
    parser.add_argument("preset", nargs="*", default=list(PRESETS), help="presets to measure (default: all)")
    parser.add_argument("-n", type=int, default=4096, help="elements per channel (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random input (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path,
                        help="folder for error_bounds.json and error_bounds.svg (needs matplotlib)")
    options = parser.parse_args(arguments)
    for preset in options.preset:
        if preset not in PRESETS:
            parser.error(f"preset must be one of {', '.join(PRESETS)}, not {preset}")
    results = {}
    print(f"{'preset':10} {'class':14} {'range of y':>11} {'worst error':>12} {'bound':>10} {'ratio':>6}  violations")
    for preset in options.preset:
        results[preset] = [measure(PRESETS[preset][0], name, n=options.n, seed=options.seed) for name in INPUT_CLASSES]
        for row in results[preset]:
            ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
            print(f"{preset:10} {row['class']:14} {row['range']:11.4g} {row['error']:12.4g} {row['bound']:10.4g} "
                  f"{ratio:>6}  {row['violations']}")
    gradients = {preset: [{"class": name} | measure_gradients(PRESETS[preset][0], name, n=options.n, seed=options.seed)
                          for name in INPUT_CLASSES] for preset in options.preset}
    print(f"\n{'preset':10} {'class':14} {'of':7} {'worst error':>11} {'bound':>10}  violations")
    for preset, rows in gradients.items():
        for row in rows:
            for part in ("dx", "dgamma", "dbeta"):
                print(f"{preset:10} {row['class']:14} {part:7} {row[part]['error']:11.4g} {row[part]['bound']:10.4g}  "
                      f"{row[part]['violations']}")
    if options.output:
        data = {"n": options.n, "seed": options.seed, "activation": "relu", "presets": results, "gradients": gradients}
        (options.output / "error_bounds.json").write_text(json.dumps(data, indent=1) + "\n")
        _plot(results, options.output / "error_bounds.svg")
    broken = [row["violations"] for rows in results.values() for row in rows]
    broken += [row[part]["violations"] for rows in gradients.values() for row in rows
               for part in ("dx", "dgamma", "dbeta")]
    return int(any(broken))


if __name__ == "__main__":
    raise SystemExit(main())
