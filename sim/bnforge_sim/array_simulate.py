"""Random products through one array, compared bit for bit: the ``simulate`` verb of an array."""

import time

import numpy as np

from .array import ArrayBench
from .array_cases import STALLS, differences, random_case, run_cases
from .build import DEFAULT_CACHE

__all__ = ["simulate_array", "run_random"]


def simulate_array(config, *, elements=200_000, seed=0, cache=DEFAULT_CACHE, waves=None, report=print):
    """Products of random shape, data, blocks and stalls, transposed too where the array can.

    Parameters
    ----------
    config : bnforge.array_config.ArrayConfig
    elements : int
        Stop after the products in which this many results have been compared.
    seed : int
    cache : path
    waves : path, optional
        VCD file of the first run; only that one runs.
    report : callable
        Gets lines of text.

    Returns
    -------
    int
        Differences: results that are not as the model says, rules broken, runs that did not end.
    """
    compared, products, runs, n_differences, start = 0, 0, 0, 0, time.perf_counter()
    bench = ArrayBench(config, seed=seed, cache=cache, waves=waves)
    while compared < elements:
        cases, found = run_random(bench, [seed, runs])
        runs += 1
        products += len(cases)
        compared += config.columns * sum(sum(case.blocks) for case in cases)
        n_differences += len(found)
        for message in found:
            report(f"  {message}")
        if waves is not None:
            report(f"waves in {waves}")
            break
    bench.close()
    report(f"{config.name}: seed {seed}, {products} random products, {compared} elements compared, "
           f"{n_differences} differences, {compared / (time.perf_counter() - start):.3g} elements/s, building included")
    return n_differences


def run_random(bench, seed):
    """Some random products in one run: the cases, and what is wrong with it.

    Parameters
    ----------
    bench : ArrayBench
    seed : list of int

    Returns
    -------
    cases : list of Case
    found : list of str
    """
    config, rng = bench.config, np.random.default_rng(seed)
    transpose = config.transposes and bool(rng.integers(2))
    cases = [random_case(config, rng, transpose=transpose) for _ in range(rng.integers(1, 4))]
    stalls = tuple(STALLS[index] for index in rng.integers(len(STALLS), size=3))
    try:
        outcome = run_cases(bench, cases, stalls=stalls, seed=int(rng.integers(1 << 30)))
        found = differences(config, cases, outcome)
    except AssertionError as error:  # a rule of the ports
        found = [str(error)]
    return cases, [f"seed {seed}, transpose {transpose}, blocks {[case.blocks for case in cases]}, "
                   f"stalls {stalls}: {message}" for message in found]
