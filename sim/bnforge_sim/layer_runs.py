"""Random networks in the memory of an engine bench: what goes in, and what must be there after each chain."""

from functools import cached_property

import numpy as np

from bnforge_model.convolution import encode_weights
from bnforge_model.floats import to_codes
from bnforge_model.matrices import pack_weights
from bnforge_model.memory import pack_gradients, pack_operand, pack_records, pack_stored

from .engine import EngineBench
from .engine_runs import drive, register_driver
from .layers import encode_images
from .network import Network

__all__ = ["LayerRun", "pack_products"]


def pack_products(config, codes):
    """A weight gradient as it lies in memory, codes (kh, kw, C_in, C_out): the opposite of
    :func:`bnforge_model.matrices.unpack_products`; zeros in padded rows and columns."""
    c_in, c_out = codes.shape[2:]
    padded = np.pad(codes, ((0, 0), (0, 0), (0, -c_in % config.lanes), (0, -c_out % config.lanes)))
    return pack_operand(config, padded.reshape(1, 1, -1, padded.shape[3]))


class LayerRun:
    """A network with random images, parameters and gradient of its last result.

    Parameters
    ----------
    config : EngineConfig
    images : Shape
    layers : sequence of Layer
    seed : int
        Of all data, of the noise in memory, and of the places if these are scattered.
    scattered : bool
        Whether everything lies in any order at any byte, sometimes with nothing between.
    base : int
        A multiple of 4096, not 0.
    options : as :class:`.Network`

    Attributes
    ----------
    network : Network
    size : int
        Bytes of the memory, a multiple of 4096.
    """

    def __init__(self, config, images, layers, *, seed=0, scattered=False, base=4096, **options):
        rng = np.random.default_rng([seed, 3])
        self.config, self.base, self.seed = config, base, seed
        self.network = network = Network(config, images, layers, base=base, rng=rng if scattered else None, **options)
        self.size = -(-(network.end - base) // 4096) * 4096
        count = range(len(network.layers))
        values = rng.standard_normal(images.dims) * 2.0 ** rng.uniform(-2, 2, images.channels)
        self.images = encode_images(config, values)
        self.weights = [rng.standard_normal(network.kernel(index)) / np.sqrt(np.prod(network.kernel(index)[:3]))
                        for index in count]
        self.gamma, self.beta = ([rng.uniform(*ends, layer.channels).astype("<f4") for layer in network.layers]
                                 for ends in ((-2, 2), (-1, 1)))
        scale = 2.0 ** rng.uniform(-14, 3, network.shapes[-1].dims)  # so that the order of sums shows
        self.dy = to_codes(config.core.x_format, rng.standard_normal(scale.shape) * scale).astype(np.uint32)

    @cached_property
    def inputs(self):
        """What software writes: dict of place to bytes."""
        network, array = self.network, self.config.array
        parts = {"images": pack_stored(self.config, self.images, network.shapes[0])}
        for index, weights in enumerate(self.weights):
            kernel = network.layers[index].convolution.kernel
            parts |= {f"{index}.gamma": self.gamma[index].tobytes(), f"{index}.beta": self.beta[index].tobytes(),
                      f"{index}.weights": pack_weights(self.config, encode_weights(array, weights), kernel)}
            if f"{index}.data_weights" in network.places:
                parts[f"{index}.data_weights"] = pack_weights(self.config, encode_weights(array, weights, True), kernel)
        if network.backward_chain:
            parts[f"{len(self.weights) - 1}.dy"] = pack_operand(self.config, self.dy)
        return parts

    @cached_property
    def forward(self):
        """The model's :class:`.ForwardResult` of each layer."""
        results, x = [], self.images
        for index, weights in enumerate(self.weights):
            results.append(self.network.forward_layer(index, x, weights, self.gamma[index], self.beta[index]))
            x = results[-1].encoded
        return results

    @cached_property
    def backward(self):
        """The model's :class:`.LayerGradient` of each layer."""
        results, dy, last = [], self.dy, len(self.weights) - 1
        for index in range(last, -1, -1):
            if index < last:
                dy = self.network.differentiate_layer(index + 1, results[-1].result.encoded, self.weights[index + 1])
            x = self.forward[index - 1].encoded if index else self.images
            result = self.forward[index]
            results.append(self.network.backward_layer(index, dy, x, result.encoded, result.records))
        return results[::-1]

    @cached_property
    def results(self):
        """What the jobs write: dict of place to bytes."""
        network, config, parts = self.network, self.config, {}
        x = self.images
        for index, result in enumerate(self.forward):
            shape = network.shapes[index + 1]
            parts |= {f"{index}.y": pack_stored(config, result.encoded, shape),
                      f"{index}.records": pack_records(config, result.records)}
            if not network.fused:
                parts[f"{index}.x"] = pack_operand(config, network.convolve_layer(index, x, self.weights[index]))
            x = result.encoded
        for index, gradient in enumerate(self.backward if network.backward_chain else ()):
            parts |= {f"{index}.dx": pack_stored(config, gradient.result.encoded, network.shapes[index + 1]),
                      f"{index}.gradients": pack_gradients(gradient.result.dgamma, gradient.result.dbeta),
                      f"{index}.products": pack_products(config, gradient.weights.codes)}
            if f"{index}.dy" in network.places:
                parts[f"{index}.dy"] = pack_operand(config, gradient.dy)
        return parts

    def image(self, *done, linked=()):
        """The memory before, or after the jobs named in ``done``: uint8 (size,), noise where nothing lies.

        ``linked`` are the chains as :meth:`.Network.link` has made them; default: those of the network.
        """
        memory, network = np.random.default_rng(self.seed).integers(256, size=self.size, dtype=np.uint8), self.network
        network.put_jobs(memory)
        for chain in linked:
            network.link(memory, chain)
        for name, data in self.inputs.items():
            network.put(memory, name, data)
        for name in (place for job in done for place in network.steps[job].writes):
            network.put(memory, name, self.results[name])
        return memory

    def differences(self, memory, *done, linked=()):
        """Where a memory is not as after these jobs: list of text; ``linked`` as :meth:`image`."""
        wrong = np.flatnonzero(memory != self.image(*done, linked=linked)) + self.base
        found, seen = [], 0
        for name, (address, size) in self.network.places.items():
            inside = wrong[(wrong >= address) & (wrong < address + size)]
            seen += len(inside)
            if len(inside):
                found.append(f"{name}: {len(inside)} bytes of {size} differ, first {inside[0] - address}")
        return found + [f"{len(wrong) - seen} bytes outside of all places have changed"] * (seen < len(wrong))

    # On a bench.

    def bench(self, **options):
        """A bench with the memory of :meth:`image`; ``options`` as :class:`.EngineBench`."""
        bench = EngineBench(self.config, self.size, base=self.base, **options)
        bench.memory[:] = self.image()
        drive(register_driver(bench).interrupts())
        return bench

    def run(self, bench, names, timeout=None):
        """Run these jobs, chained in this order: :class:`.Status`; raises as :meth:`.Driver.wait`."""
        driver = register_driver(bench)
        bench.regions(self.network.regions(names))
        drive(driver.start(self.network.link(bench.memory, names)))
        if not bench.wait(self.patience(bench, names) if timeout is None else timeout):
            raise TimeoutError(f"irq must come, status {drive(driver.status())!r}, {bench.totals()}")
        try:
            return drive(driver.wait(polls=100))
        finally:
            drive(driver.clear())

    def patience(self, bench, names):
        """Cycles in which these jobs must be done, whatever the stalls of the tests."""
        programs = [program for name in names for program in self.network.steps[name].job.programs.values()]
        rows = sum(len(part.row_addresses()) * part.length for program in programs for part in program)
        latency = bench.model.read_latency + bench.model.jitter + 100
        return 40 * rows // min(4, self.config.bus.bytes) + 20 * latency * (10 + sum(map(len, programs)))
