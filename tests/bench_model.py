"""Speed of the numpy model on one core, the better of some runs: ``make bench``."""

import argparse
import os
import sys
import time

import numpy as np
from bnforge.presets import PRESETS
from bnforge_model import forward


def rate(config, n=1 << 15, seconds=2.0):
    """Elements per second of :func:`bnforge_model.forward` on four channel tiles of ``n`` normal float32 values."""
    channels = 4 * config.lanes
    x = np.random.default_rng(0).standard_normal((n, channels)).astype(np.float32)
    gamma, beta = np.ones(channels), np.zeros(channels)
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < seconds:
        before = time.perf_counter()
        forward(config, x, gamma, beta)
        best = min(best, time.perf_counter() - before)
    return x.size / best


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench_model", description=__doc__)
    parser.add_argument("preset", nargs="*", default=list(PRESETS), help="presets to time (default: all)")
    chosen = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in chosen.preset:
        if name not in PRESETS:
            parser.error(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
        print(f"{name:<12}{rate(PRESETS[name][0]):.3g} elements/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
