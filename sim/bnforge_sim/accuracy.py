"""``python -m bnforge_sim.accuracy``: how far the gradient of the numpy model is from float64, as JSON and a picture.

Three tables: relative errors of y, dx, dgamma, dbeta; effective bits of the sums Sg, Sgy and P on data made to cancel;
and dgamma where beta is much larger than gamma. Everything is seeded.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from bnforge.config import Activation, Algorithm
from bnforge.presets import opn16
from bnforge_model import backward, forward
from bnforge_model.baseline import baseline_backward, baseline_forward
from bnforge_model.blocks import is_active
from bnforge_model.reference import (
    activate,
    batch_norm,
    batch_norm_backward,
    quantised,
    range_norm,
    range_norm_backward,
)

from .hard_sums import SUM_BITS_BOUND, SUM_CASES, sum_bits

__all__ = ["DATA", "RATIOS", "accuracy_of", "errors", "large_beta", "main"]

DATA = {"zero mean": (0.0, 0.0), "mean 5, dy mean 0.3": (5.0, 0.3)}
"""Means of x and dy; both have standard deviation 1."""
RATIOS = (1, 10, 100, 1000, 10_000)
"""beta / |gamma| of the table for large beta."""


def _relative(got, want):
    """|got - want| / |want|, l2; 0 for equal ones."""
    distance = np.linalg.norm(got - want)
    return float(distance / np.linalg.norm(want)) if distance else 0.0


def errors(config, data, activation, *, n, channels, seed):
    """Relative errors (l2) of the model against float64, the mask that of the stored y.

    x and dy are what the core receives, rounded to the input format; gamma is uniform in ±[0.5, 2], beta normal.

    Parameters
    ----------
    config : Config
    data : str
        One of ``DATA``.
    activation : Activation
    n, channels, seed : int

    Returns
    -------
    dict
        ``y``, ``dx``, ``dgamma``, ``dbeta``: relative errors; ``mask``: share of elements where the stored y and the
        float64 z differ in whether they pass the gradient.
    """
    rng = np.random.default_rng([seed, list(DATA).index(data), int(activation)])
    mean, dy_mean = DATA[data]
    x = quantised(config, rng.normal(mean, 1, (n, channels)))
    dy = quantised(config, rng.normal(dy_mean, 1, (n, channels)))
    gamma = rng.choice([-1, 1], channels) * rng.uniform(0.5, 2, channels)
    beta = rng.standard_normal(channels)
    y, got = _model(config, x, dy, gamma, beta, activation)
    active = is_active(activation, y)
    z, gradients = _reference(config, x, dy, gamma, beta, activation, active)
    wanted = dict(zip(("y", "dx", "dgamma", "dbeta"), (activate(activation, z), *gradients), strict=True))
    return {"data": data, "activation": activation.name.lower(), "y": _relative(y, wanted.pop("y")),
            **{name: _relative(getattr(got, name), value) for name, value in wanted.items()},
            "mask": float(np.mean(active != is_active(activation, z)))}


def _model(config, x, dy, gamma, beta, activation):
    """y and the result of the backward pass, of the one-pass normaliser or of a baseline."""
    if not config.is_one_pass:
        stored = baseline_forward(config, x, gamma, beta, activation=activation)
        return stored.y, baseline_backward(config, dy, stored, activation=activation)
    stored = forward(config, x, gamma, beta, activation=activation)
    return stored.y, backward(config, dy, stored.encoded, stored.records, gamma, beta, activation=activation)


def _reference(config, x, dy, gamma, beta, activation, active):
    """What the algorithm of ``config`` computes, in float64: z before the activation, and (dx, dgamma, dbeta)."""
    if config.algorithm in (Algorithm.SINGLE_PASS, Algorithm.TWO_PASS):
        return (batch_norm(x, gamma, beta, activation=Activation.IDENTITY),
                batch_norm_backward(x, dy, gamma, beta, mask=active))
    reference = range_norm(config, x, gamma, beta, activation=activation)
    return reference.z, range_norm_backward(config, reference, dy, mask=active)


def accuracy_of(config, *, n=16384, channels=64, seed=0):
    """The error of a core against its own algorithm in float64, on the data of docs/gradient.json.

    Returns
    -------
    dict
        ``rows``: :func:`errors` for each of ``DATA`` with identity and relu, which every core has; ``y``, ``dx``,
        ``dgamma``, ``dbeta``: their root mean squares.
    """
    rows = [errors(config, data, activation, n=n, channels=channels, seed=seed)
            for data in DATA for activation in (Activation.IDENTITY, Activation.RELU)]
    means = {key: float(np.sqrt(np.mean([row[key] ** 2 for row in rows]))) for key in ("y", "dx", "dgamma", "dbeta")}
    return {"rows": rows, "n": n, "channels": channels, "seed": seed, **means}


def large_beta(config, ratio, *, n, seed):
    """dgamma with beta = ``ratio`` · gamma: the worst error of a tile, and its bound, both in units of Σ|g|.

    With s = min(1, |gamma'| / floor), and d the most that storage moves an element: half a step of its block, one where
    the active-code rule or the clamp acts,

        |error| <= (1 - s)·|dgamma| + (Σ|g|·(d + 2^-16·|y|) + 2^-14·(Σ|g·y| + |beta'|·Σ|g|)) / max(|gamma'|, floor)
                   + 2^-13 · mean|x| · |Σg| / (C·(R + eps)) + 2^-12 · |dgamma|

    Returns
    -------
    dict
        ``ratio``, ``error``, ``bound``; ``floored``: share of channels where the floor acts.
    """
    rng = np.random.default_rng([seed, ratio])
    x = quantised(config, rng.normal(0.5, 1, (n, config.lanes)))
    dy = quantised(config, rng.normal(0.3, 1, (n, config.lanes)))
    gamma = rng.choice([-1, 1], config.lanes) * rng.uniform(0.5, 2, config.lanes)
    beta = ratio * np.abs(gamma)
    stored = forward(config, x, gamma, beta)
    got = backward(config, dy, stored.encoded, stored.records, gamma, beta)
    reference = range_norm(config, x, gamma, beta)
    active = is_active(Activation.RELU, stored.y)
    _, dgamma, total = range_norm_backward(config, reference, dy, mask=active)
    g, y = np.abs(np.where(active, dy, 0.0)), np.abs(stored.y)
    fmt, elements = config.storage, np.abs(stored.encoded.elements)
    step = np.repeat(2.0 ** (stored.encoded.exponents.astype(float) - fmt.bias - fmt.fraction_width), fmt.group, axis=1)
    moved = np.where((elements <= 1) | (elements == fmt.max_element), step, step / 2)
    records = stored.records
    centre = np.abs(records.b + records.mu * records.a)
    scale = np.abs(records.a) * stored.c * (records.r + stored.eps)
    floor = np.maximum(2.0 ** -6, centre * 2.0 ** -(fmt.fraction_width + 1))
    lost = (g * (moved + 2.0 ** -16 * y)).sum(axis=0) + 2.0 ** -14 * ((g * y).sum(axis=0) + centre * g.sum(axis=0))
    bound = (1 - np.minimum(1, scale / floor)) * np.abs(dgamma) + lost / np.maximum(scale, floor)
    spread = reference.c * (reference.r + reference.eps)
    bound += 2.0 ** -13 * np.abs(x[:reference.sample_len]).mean(axis=0) * np.abs(total) / spread
    bound += 2.0 ** -12 * np.abs(dgamma)
    size = g.sum(axis=0)
    error = np.abs(got.dgamma - dgamma)
    return {"ratio": ratio, "error": float(np.max(error / size)), "bound": float(np.max(bound / size)),
            "violations": int(np.sum(~(error <= bound))), "floored": float(np.mean(scale < floor))}


def _plot(results, path):
    """Effective bits over n, and the relative errors, as an SVG picture."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(13, 4), layout="constrained", width_ratios=(4, 4, 4, 5))
    colours = pyplot.get_cmap("tab10").colors
    for axis, key, title in ((axes[0], "sg", "Sg"), (axes[1], "sgy", "Sgy"), (axes[2], "p", "P")):
        for index, name in enumerate(SUM_CASES):
            rows = [row for row in results["sums"] if row["case"] == name and row[key] is not None]
            axis.plot([row["log2_n"] for row in rows], [row[key] for row in rows], "o-", markersize=3, linewidth=1,
                      color=colours[index], label=name)
        axis.axhline(results["sum_bits_bound"], color="black", linewidth=1, label="derived bound")
        axis.set(title=f"effective bits of {title}", xlabel="log2 n", xticks=results["log2_sizes"])
        axis.grid(alpha=0.3)
        axis.set_ylim(14, 36)
    rows = results["errors"]
    position = np.arange(len(rows))
    for index, key in enumerate(("y", "dx", "dgamma", "dbeta")):
        axes[3].barh(position + 0.2 * index - 0.3, [100 * row[key] for row in rows], 0.2, label=key,
                     color=colours[index])
    axes[3].set_yticks(position, [f"{row['activation']}\n{row['data']}" for row in rows], fontsize=8)
    axes[3].invert_yaxis()
    axes[3].set(title="relative error, %", xlim=(0, 1.5 * axes[3].get_xlim()[1]))
    axes[3].legend(loc="center right", frameon=False, fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def measure(config, *, n, channels, log2_sizes, draws, seed):
    """All tables; prints each row when it is there."""
    def rows(title, tasks):
        print(title, flush=True)
        done = []
        for number, task in enumerate(tasks, 1):
            start = time.perf_counter()
            row = task()
            done.append(row)
            values = ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                               for key, value in row.items())
            print(f"  {number}/{len(tasks)}: {values} ({time.perf_counter() - start:.1f} s)", flush=True)
        return done

    activations = [act for act in Activation if act or not config.is_block or config.storage.signed]
    return {
        "errors": rows("relative errors", [
            lambda data=data, act=act: errors(config, data, act, n=n, channels=channels, seed=seed)
            for data in DATA for act in activations]),
        "sum_bits_bound": SUM_BITS_BOUND,
        "sums": rows("effective bits", [
            lambda name=name, size=size: sum_bits(config, name, log2_n=size, draws=draws, seed=seed)
            for name in SUM_CASES for size in log2_sizes]),
        "large_beta": rows("dgamma for large beta", [
            lambda ratio=ratio: large_beta(config, ratio, n=n, seed=seed) for ratio in RATIOS])}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.accuracy", description=__doc__.split(": ", 1)[1])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"),
                        help="folder for gradient.json and gradient.svg (needs matplotlib; default docs)")
    parser.add_argument("-n", type=int, default=16384, help="elements per channel (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=64, help="channels (default: %(default)s)")
    parser.add_argument("--largest", type=int, default=20, help="log2 of the longest sums (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random input (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    settings = {"n": chosen.n, "channels": chosen.channels, "log2_sizes": list(range(10, chosen.largest + 1, 2)),
                "draws": 2, "seed": chosen.seed}
    results = {"preset": opn16.name, **settings, **measure(opn16, **settings)}
    (chosen.output / "gradient.json").write_text(json.dumps(results, indent=1) + "\n")
    _plot(results, chosen.output / "gradient.svg")
    return int(any(row["violations"] for row in results["large_beta"]))


if __name__ == "__main__":
    sys.exit(main())
