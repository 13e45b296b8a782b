"""Tables and picture of docs/training.json, which train_digits.py writes. Needs no torch.

``python examples/training_report.py`` writes the tables of docs/training.md and docs/training.svg again.
"""

import json
import re
import statistics
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def spread(values):
    """Mean and sample standard deviation as text; the mean alone of one value."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"


def difference(variants, name, other):
    """Accuracy of ``name`` minus that of ``other``, paired by seed."""
    if name == other:
        return "-"
    return spread([a - b for a, b in zip(variants[name]["accuracy"], variants[other]["accuracy"], strict=True)])


def accuracy_table(data):
    """Accuracy of every variant, percent of the test images."""
    lines = ["| norm and ReLU | accuracy, % | lowest … highest | minus standard | minus one-pass | training loss | "
             "core s per run | of these in the model |",
             "|---|---|---|---|---|---|---|---|"]
    variants = data["variants"]
    for name, runs in variants.items():
        accuracy, seconds, model = runs["accuracy"], sum(runs["seconds"]), sum(runs["model_seconds"])
        lines.append(
            f"| {name} | {spread(accuracy)} | {min(accuracy):.2f} … {max(accuracy):.2f} "
            f"| {difference(variants, name, 'standard')} | {difference(variants, name, 'one-pass')} "
            f"| {statistics.fmean(runs['loss']):.3f} | {seconds / len(accuracy):.1f} | {100 * model / seconds:.0f} % |")
    return "\n".join(lines)


def rates_table(data):
    """Accuracy of every variant at every learning rate, percent of the images held out."""
    accuracy = data["rates"]["accuracy"]
    lines = ["| learning rate | " + " | ".join(accuracy) + " |", "|---" * (1 + len(accuracy)) + "|"]
    for rate in next(iter(accuracy.values())):
        lines.append(f"| {rate} | " + " | ".join(spread(runs[rate]) for runs in accuracy.values()) + " |")
    return "\n".join(lines)


def versions_line(data):
    """What measured, and how long it took."""
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return (f"Measured with {versions}: {data['seconds']:.0f} s of one core "
            f"for all {len(data['seeds'])} seeds.")


TABLES = {"accuracy": accuracy_table, "rates": rates_table, "versions": versions_line}
"""Marker name to the function that makes what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""


def with_tables(text, data):
    """``text`` with every marked table made anew."""
    for name, make in TABLES.items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
                      lambda match, table=make(data): f"{match[1]}{table}\n{match[2]}", text, flags=re.S)
    return text


def draw(data, path):
    """Accuracy of every run as a picture: a point for each seed, a line at the mean."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 2.6), layout="constrained")
    for row, (name, runs) in enumerate(data["variants"].items()):
        accuracy = runs["accuracy"]
        offsets = [0.4 * index / len(accuracy) - 0.2 for index in range(len(accuracy))]
        axes.plot(accuracy, [row + offset for offset in offsets], "o", color="#2b5c9e", markersize=4, alpha=0.6)
        axes.vlines(statistics.fmean(accuracy), row - 0.3, row + 0.3, color="#2b5c9e")
        axes.annotate(f"{statistics.fmean(accuracy):.1f}", (statistics.fmean(accuracy), row - 0.32), ha="center",
                      va="bottom", fontsize=9)
    axes.set_yticks(range(len(data["variants"])), list(data["variants"]))
    axes.set_ylim(len(data["variants"]) - 0.5, -0.75)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(f"test accuracy in percent after {data['task']['epochs']} epochs, one point for each seed")
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def write(folder, new):
    """Write training.json, ``new`` over what it had, the picture, and the tables of training.md if that is there."""
    path = folder / "training.json"
    data = (json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}) | new
    text = json.dumps(data, indent=1)
    text = re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")
    if "variants" in data:
        draw(data, folder / "training.svg")
    page = folder / "training.md"
    if page.exists() and {"variants", "rates"} <= data.keys():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), data), encoding="utf-8")


if __name__ == "__main__":
    write(DOCS, {})
