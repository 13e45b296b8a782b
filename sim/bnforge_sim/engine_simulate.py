"""Random tensors through one engine, memory compared byte by byte: the ``simulate`` verb of an engine."""

import time

import numpy as np

from .build import DEFAULT_CACHE
from .engine_soak import random_shape, run_case
from .layer_soak import run_case as run_network

__all__ = ["simulate_engine"]


def simulate_engine(config, *, elements=200_000, seed=0, cache=DEFAULT_CACHE, waves=None, report=print):
    """Tensors of random shape, layout, place and stalls, forward and backward as the engine has it; with an array,
    after each tensor a random network of one to three layers.

    Parameters
    ----------
    config : bnforge.engine_config.EngineConfig
    elements : int
        Stop after the tensor in which this many stored elements have been compared.
    seed : int
    cache : path
    waves : path, optional
        VCD file of the first tensor; only that one runs.
    report : callable
        Gets lines of text.

    Returns
    -------
    int
        Differences: arrays that are not as the model says, rules broken, passes that did not end.
    """
    rng = np.random.default_rng(seed)
    passes = config.core.has_forward + config.core.has_backward
    compared, differences, tensors, networks, start = 0, 0, 0, 0, time.perf_counter()
    while compared < elements:
        shape = random_shape(config, rng, positions=4000)
        found = run_case(config, shape, rng, cache=cache, waves=waves)
        tensors += 1
        if config.array is not None and config.core.has_forward and waves is None:
            found += run_network(config, rng, cache=cache)
            networks += 1
        compared += passes * shape.n_positions * shape.channels
        differences += len(found)
        for message in found:
            report(f"  {message}")
        if waves is not None:
            report(f"waves in {waves}")
            break
    directions = " and ".join(["forward"] * config.core.has_forward + ["backward"] * config.core.has_backward)
    layers = f" and {networks} networks" if networks else ""
    report(f"{config.name}: seed {seed}, {tensors} random tensors {directions}{layers}, {compared} elements compared, "
           f"{differences} differences, "
           f"{compared / (time.perf_counter() - start):.3g} elements/s, building included")
    return differences
