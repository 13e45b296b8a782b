"""Tables and picture of docs/rtl_training.json, which train_digits_rtl.py writes. Needs no torch.

``python examples/rtl_report.py`` writes the tables of docs/rtl_training.md and docs/rtl_training.svg again.
"""

import json
import re
import statistics
from pathlib import Path

from training_report import DOCS, spread

__all__ = ["TABLES", "steps_table", "rates_table", "with_tables", "write"]

_COLORS = {"standard": "#888888", "one-pass": "#2b5c9e", "no range term": "#b5482f"}


def accuracy_table(data):
    """Accuracy of the run on the engine and of every variant, percent of the test images."""
    lines = ["| run | accuracy, % | seed 0 | lowest … highest | training loss, last epoch |", "|---|---|---|---|---|"]
    engine, per_epoch = data["engine"], data["engine"]["steps"] // data["task"]["epochs"]
    lines.append(f"| simulated engine, seed 0 | | {engine['accuracy']:.2f} | "
                 f"| {statistics.fmean(engine['losses'][-per_epoch:]):.4f} |")
    for name, runs in data["variants"].items():
        accuracy = runs["accuracy"]
        lines.append(f"| {name} | {spread(accuracy)} | {accuracy[0]:.2f} | {min(accuracy):.2f} … {max(accuracy):.2f} "
                     f"| {statistics.fmean(runs['loss']):.4f} |")
    return "\n".join(lines)


def engine_table(data):
    """What the run on the engine was compared in, and what it cost."""
    engine, batch = data["engine"], data["task"]["batch"]
    (cycles, read, written), (back_cycles, back_read, back_written) = engine["forward"], engine["backward"]
    total = cycles + back_cycles
    lines = ["| simulated engine | |", "|---|---|",
             f"| steps compared bit for bit | {engine['steps']} of {engine['steps']} |",
             f"| bytes compared in them | {engine['compared']:,} |",
             f"| cycles a step | {total:,.0f} ({engine['cycles'][0]:,} … {engine['cycles'][1]:,}) |",
             f"| cycles an image: forward, backward, both | {cycles / batch:,.0f}, {back_cycles / batch:,.0f}, "
             f"{total / batch:,.0f} |",
             f"| bytes on the bus a step: read, written | {read + back_read:,.0f}, {written + back_written:,.0f} |",
             f"| bytes on the bus an image, forward | {(read + written) / batch:,.0f} |",
             f"| bytes on the bus an image, backward | {(back_read + back_written) / batch:,.0f} |",
             f"| simulated cycles in all | {total * engine['steps']:,.0f} |",
             f"| seconds of one core, the model among them; cycles a second | {engine['seconds']:,}; "
             f"{total * engine['steps'] / max(1, engine['seconds']):,.0f} |"]
    return "\n".join(lines)


def jobs_table(data):
    """Cycles and bytes of every job of a step, started alone."""
    lanes = data["task"]["engine"]["lanes"]
    lines = ["| job | cycles | bytes read | bytes written | multiply-adds | of those that the array could do |",
             "|---|---|---|---|---|---|"]
    for job in data["jobs"]:
        share = f"{100 * job['products'] / lanes**2 / job['cycles']:.0f} %" if job["products"] else "-"
        lines.append(f"| `{job['job']}` | {job['cycles']:,} | {job['read']:,} | {job['written']:,} "
                     f"| {job['products']:,} | {share} |")
    sums = [sum(job[key] for job in data["jobs"]) for key in ("cycles", "read", "written", "products")]
    lines.append("| all | " + " | ".join(f"{value:,}" for value in sums)
                 + f" | {100 * sums[3] / lanes**2 / sums[0]:.0f} % |")
    return "\n".join(lines)


def rates_table(data):
    """Accuracy of every variant at every learning rate, percent of the images held out."""
    accuracy = data["rates"]["accuracy"]
    lines = ["| learning rate | " + " | ".join(accuracy) + " |", "|---" * (1 + len(accuracy)) + "|"]
    for rate in next(iter(accuracy.values())):
        lines.append(f"| {rate} | " + " | ".join(spread(runs[rate]) for runs in accuracy.values()) + " |")
    return "\n".join(lines)


def steps_table(losses, steps, batch):
    """Loss, cycles and bytes of every step done."""
    lines = ["| step | loss | cycles forward | cycles backward | cycles an image | bytes read | bytes written |",
             "|---" * 7 + "|"]
    for number, (loss, (forward, backward)) in enumerate(zip(losses, steps, strict=True)):
        lines.append(f"| {number} | {loss:.4f} | {forward[0]:,} | {backward[0]:,} "
                     f"| {(forward[0] + backward[0]) / batch:,.0f} | {forward[1] + backward[1]:,} "
                     f"| {forward[2] + backward[2]:,} |")
    return "\n".join(lines)


def versions_line(data):
    """What measured."""
    return f"Measured with {', '.join(f'{name} {version}' for name, version in data['versions'].items())}."


TABLES = {"accuracy": accuracy_table, "engine": engine_table, "jobs": jobs_table, "rates": rates_table,
          "versions": versions_line}
"""Marker name to the function that makes what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""


def with_tables(text, data):
    """``text`` with every marked table made anew."""
    for name, make in TABLES.items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
                      lambda match, table=make(data): f"{match[1]}{table}\n{match[2]}", text, flags=re.S)
    return text


def draw(data, path):
    """The training loss of every step of seed 0, and its mean over an epoch."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnforge"
    from matplotlib import pyplot

    per_epoch = data["engine"]["steps"] // data["task"]["epochs"]
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for name, runs in data["variants"].items():
        losses, color = runs["losses"], _COLORS[name]
        means = [statistics.fmean(losses[first:first + per_epoch]) for first in range(0, len(losses), per_epoch)]
        axes.plot(range(1, len(losses) + 1), losses, color=color, linewidth=0.6, alpha=0.5)
        axes.plot([per_epoch * (index + 0.5) for index in range(len(means))], means, color=color, linewidth=2,
                  label={"standard": "PyTorch, standard batch norm", "one-pass": "model"}.get(name, f"model, {name}"))
    losses = data["engine"]["losses"]
    axes.plot(range(1, len(losses) + 1), losses, "o", color="black", markersize=2, markeredgewidth=0,
              label="simulated engine, every step")
    axes.set_yscale("log")
    axes.set_xlabel(f"step, {data['task']['batch']} images each")
    axes.set_ylabel("training loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def write(folder, new):
    """Write rtl_training.json, ``new`` over what it had, the picture, and the tables of rtl_training.md if there."""
    path = folder / "rtl_training.json"
    data = (json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}) | new
    text = json.dumps(data, indent=1)
    text = re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")
    if "engine" in data:
        draw(data, folder / "rtl_training.svg")
    page = folder / "rtl_training.md"
    if page.exists() and {"engine", "rates"} <= data.keys():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), data), encoding="utf-8")


if __name__ == "__main__":
    write(Path(DOCS), {})
