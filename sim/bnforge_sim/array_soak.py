"""``python -m bnforge_sim.array_soak``: random products through arrays of random shape and formats."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from bnforge.array_config import ArrayConfig
from bnforge.formats import BF16, E4M3, E5M2, FP10, FP10_1_6_3, FP16, WORKING, BlockFormat, FloatFormat

from .array import ArrayBench
from .array_simulate import run_random
from .build import DEFAULT_CACHE

__all__ = ["random_array", "main"]

_FLOATS = (BF16, FP16, FP10, FP10_1_6_3, E4M3, E5M2, WORKING, FloatFormat(5, 3), FloatFormat(2, 1), FloatFormat(8, 1))


def random_array(rng, number=0, largest=8):
    """An :class:`bnforge.array_config.ArrayConfig` with everything random, of at most ``largest`` rows and columns."""
    rows, columns = (int(size) for size in rng.integers(1, largest + 1, 2))
    storage = _FLOATS[rng.integers(len(_FLOATS))]
    if rng.integers(2):
        group = int(rng.choice([1, 2, 3, 4]))
        rows, columns = (max(1, size // group) * group for size in (rows, columns))
        storage = BlockFormat(group, int(rng.integers(4, 13)), int(rng.integers(4, 9)))
    transposes = bool(rng.integers(3))
    return ArrayConfig(
        name=f"array_{number}", rows=rows, columns=columns, storage=storage, output=_FLOATS[rng.integers(len(_FLOATS))],
        operand_fraction=None if rng.integers(2) else int(rng.integers(1, 16)),
        accumulate_fraction=int(rng.integers(1, 24)), transposes=transposes,
        depth=max(4, 1 << (rows - 1).bit_length()) << int(rng.integers(3)))


def soak_array(number, seed, runs, cache):
    """One random array: its description, products compared, and messages."""
    rng = np.random.default_rng([seed, number])
    config, products, messages = random_array(rng, number), 0, []
    bench = ArrayBench(config, seed=seed, cache=cache, optimise=False)
    for run in range(runs):
        cases, found = run_random(bench, [seed, number, run])
        products += len(cases)
        messages += [f"array {number}: {message}" for message in found]
    bench.close()
    return str(config), products, messages


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.array_soak", description=__doc__.split("``: ")[1])
    parser.add_argument("--arrays", type=int, default=40, help="random arrays (default 40)")
    parser.add_argument("--runs", type=int, default=200, help="runs of each, of one to three products (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another soak (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--cache", default=str(DEFAULT_CACHE), help=f"default {DEFAULT_CACHE}")
    chosen = parser.parse_args(arguments)
    start, products, wrong = time.perf_counter(), 0, 0
    with ProcessPoolExecutor(chosen.jobs) as pool:
        tasks = [pool.submit(soak_array, number, chosen.seed, chosen.runs, chosen.cache)
                 for number in range(chosen.arrays)]
        for number, task in enumerate(tasks):
            config, done, messages = task.result()
            products, wrong = products + done, wrong + len(messages)
            print(f"[{number + 1}/{chosen.arrays}] {config}: {done} products, {len(messages)} differences", flush=True)
            for message in messages[:5]:
                print(f"  {message}")
    print(f"seed {chosen.seed}: {products} products, {wrong} differences, {time.perf_counter() - start:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
