"""``python -m bnforge_sim.layer_soak``: random layers on random engines with an array, memory compared byte by byte."""

import argparse
import sys
import time

import numpy as np

from bnforge.array_config import ArrayConfig
from bnforge.config import Activation, Config
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.formats import BF16, E5M2, FP10, BlockFormat
from bnforge.presets import opn1_tiny, opn4
from bnforge_model import Shape
from bnforge_model.convolution import Convolution

from .engine_runs import in_order
from .engine_soak import ODD, random_model
from .job_interpreter import run_chain
from .layer_runs import LayerRun
from .layers import Layer

__all__ = ["CORES", "engine", "random_layers", "random_run", "interpret", "run_case", "main"]

CORES = {"tiny": opn1_tiny, "odd": ODD, "opn4": opn4,
         "floats": Config(name="floats", lanes=3, x_format=BF16, sample_depth=16, chunk_len=4, storage=FP10),
         "bytes": Config(name="bytes", lanes=5, sample_depth=64, chunk_len=16, storage=E5M2),
         "blocks": Config(name="blocks", lanes=8, sample_depth=64, chunk_len=16, storage=BlockFormat(4, 8))}


def engine(name, rng):
    """An engine of a core of ``CORES`` with array and bus at random."""
    core, width = CORES[name], int(rng.choice([32, 64, 128, 256]))
    max_burst = int(rng.choice([1, 2, 8, 16]))
    bus = BusConfig(data_width=width, address_width=int(rng.choice([32, 40, 64])), max_burst=max_burst,
                    outstanding=int(rng.choice([2, 4, 32])), read_buffer=max(2, max_burst * int(rng.choice([1, 2, 8]))),
                    write_buffer=max_burst * int(rng.choice([2, 4])))
    array = ArrayConfig.of(core, depth=int(rng.choice([depth for depth in (4, 8, 16, 64) if depth >= core.lanes])),
                           accumulate_fraction=int(rng.choice([5, 15, 23])))
    return EngineConfig(name=f"{name}_array", core=core, bus=bus, array=array)


def _pair(rng, low, high):
    return tuple(int(value) for value in rng.integers(low, high + 1, 2))


def random_layers(config, rng, positions=150):
    """(Shape of the images, layers): one to three, of any geometry, maps smaller than the kernel too."""
    lanes, size, signed = config.lanes, _pair(rng, 1, 9), not config.core.is_block or config.core.storage.signed
    n_images = int(rng.choice([1, 2, 3, 1 + positions // (size[0] * size[1])]))
    images, layers = Shape(n_images, *size, int(rng.integers(1, 2 * lanes + 2))), []
    for _ in range(rng.integers(1, 4)):
        convolution = Convolution(_pair(rng, 1, 5), _pair(rng, 1, 3), _pair(rng, 0, 2))
        while any(edge + 2 * padding < kernel for edge, padding, kernel in
                  zip(size, convolution.padding, convolution.kernel, strict=True)):
            convolution = Convolution(_pair(rng, 1, 5), _pair(rng, 1, 3), _pair(rng, 0, 2))
        size = convolution.output(*size)
        layers.append(Layer(convolution=convolution, channels=int(rng.integers(1, 2 * lanes + 2)),
                            activation=Activation(int(rng.integers(0 if signed else 1, 3)))))
    return images, layers


def random_run(config, rng, positions=150):
    """A :class:`.LayerRun` of random layers, fused or not, frozen or not, scattered or not."""
    images, layers = random_layers(config, rng, positions)
    last = min(config.bus.address_width - 14, 40)
    return LayerRun(config, images, layers, seed=int(rng.integers(2**31)), scattered=bool(rng.integers(4)),
                    fused=bool(rng.integers(4)), frozen=bool(rng.integers(6) == 0),
                    backward=config.core.has_backward, base=int(rng.integers(1, 2**last)) * 4096)


def interpret(run):
    """Both chains on the engine in software: list of differences."""
    memory, network = run.image(), run.network
    chains = network.forward_chain, network.backward_chain
    for names in chains:
        run_chain(run.config, memory, network.link(memory, names), run.base)
    return run.differences(memory, *chains[0], *chains[1])


def run_case(config, rng, *, positions=150, model=None, **options):
    """One network on the engine, chain by chain: list of differences; ``options`` as :class:`.EngineBench`.

    The core has a forward pass; networks have a backward chain if it has a backward one.
    """
    run, model = random_run(config, rng, positions), random_model(rng) if model is None else model
    network, found, done = run.network, [], []
    try:
        bench = run.bench(model=model, seed=run.seed, **options)
        for names in filter(None, (network.forward_chain, network.backward_chain)):
            run.run(bench, names)
            done += names
            found += run.differences(bench.memory, *done)
    except Exception as error:  # of any kind: the case is what matters
        found.append(f"{type(error).__name__}: {error}")
    return [f"{config.to_dict()} {network.shapes[0]} {network.layers} seed {run.seed} fused {network.fused} frozen "
            f"{network.frozen} {model}: {message}" for message in found]


def _batch(name, seed, count, cache):
    """Cases on one engine: (differences, seconds)."""
    rng, start = np.random.default_rng(seed), time.perf_counter()
    config = engine(name, rng)
    found = [message for _ in range(count) for message in run_case(config, rng, cache=cache, model=None)]
    return found, time.perf_counter() - start


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bnforge_sim.layer_soak", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--engines", type=int, default=12, help="engines to build (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=40, help="networks for each (default: %(default)s)")
    parser.add_argument("--cores", nargs="+", choices=CORES, default=list(CORES), help="which cores (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another soak (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--cache", default="build/verilator", help="compiled benches (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    tasks = [(chosen.cores[index % len(chosen.cores)], [chosen.seed, index], chosen.cases, chosen.cache)
             for index in range(chosen.engines)]
    found = []
    for index, (messages, seconds) in enumerate(in_order(chosen.jobs, _batch, tasks), 1):
        found += messages
        print(f"{index}/{chosen.engines}: {tasks[index - 1][0]}, {index * chosen.cases} networks, {len(found)} wrong, "
              f"{seconds:.0f} s", flush=True)
        for message in messages:
            print(f"  {message}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
