"""Elements per second of the numpy model beside a plain float64 numpy batch norm, in one run and one thread.

``python benchmarks/bench_model.py`` from a checkout with bnforge installed; numpy starts no threads for what is used.
"""

import argparse
import time

import numpy as np

from bnforge.presets import PRESETS
from bnforge_model import backward, forward
from bnforge_model.reference import batch_norm, batch_norm_backward


def best_time(function, repeats):
    """The shortest of ``repeats`` runs, in seconds, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="opn16", choices=PRESETS, help="default: %(default)s")
    parser.add_argument("-n", type=int, default=4096, help="elements per channel (default: %(default)s)")
    parser.add_argument("-c", "--channels", type=int, default=64, help="default: %(default)s")
    parser.add_argument("-r", "--repeats", type=int, default=20, help="runs, the best counts (default: %(default)s)")
    options = parser.parse_args()
    config, _ = PRESETS[options.preset]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((options.n, options.channels))
    gamma, beta = rng.uniform(0.5, 2, options.channels), rng.standard_normal(options.channels)
    dy = rng.standard_normal(x.shape)
    print(f"{options.preset}, n = {options.n}, {options.channels} channels, million elements per second:")
    plain = [best_time(lambda: function(x, *more, gamma, beta), options.repeats)
             for function, more in ((batch_norm, ()), (batch_norm_backward, (dy,)))]
    for name, seconds in zip(("forward", "backward"), plain, strict=True):
        print(f"  float64 batch norm, {name:8}           {x.size / seconds / 1e6:7.1f}")
    for dtype in (np.float32, np.float64):
        data, gradient = x.astype(dtype), dy.astype(dtype)
        result = forward(config, data, gamma, beta)
        model = [best_time(call, options.repeats) for call in (
            lambda: forward(config, data, gamma, beta),
            lambda: backward(config, gradient, result.encoded, result.records, gamma, beta))]
        for name, variable, seconds, of in zip(("forward", "backward"), ("x", "dy"), model, plain, strict=True):
            print(f"  model, {name:8} {variable:>2} {np.dtype(dtype)}           {x.size / seconds / 1e6:7.1f}   "
                  f"{seconds / of:.1f} times the time of the batch norm")


if __name__ == "__main__":
    main()
