"""Layers in the memory of an engine with an array: where everything lies, and the jobs (docs/layers.md)."""

from dataclasses import dataclass

import numpy as np

from bnforge_model.core import check_header
from bnforge_model.matrices import products_size, weights_size
from bnforge_model.memory import gradient_size, operand_size, record_size, stored_size

from .engine_memory import Region
from .lattices import Tensor
from .layer_jobs import Head, LayerJob, Normalisation, fused_job, gradient_job, memory_job, product_job
from .layers import Stack
from .sums import convolution, data_gradient, weight_gradient
from .tile_programs import WORD_BYTES, scale

__all__ = ["Network", "Step"]


@dataclass(frozen=True)
class Step:
    """A job, and the places that it reads and writes beside its area."""

    job: LayerJob
    reads: tuple
    writes: tuple


class Network(Stack):
    """A :class:`.Stack` with its places in memory.

    The places of layer i, "i.NAME": ``weights``, ``gamma``, ``beta``, ``y``, ``records``; for the backward pass ``dx``,
    ``gradients``, ``products`` (the weight gradient), from layer 1 on ``data_weights``, and of the last layer ``dy``.
    Unfused networks have ``x``, and ``dy`` of every layer. ``images`` is what layer 0 reads. Jobs, named alike:
    ``forward``, ``backward`` and ``correlate`` (the weight gradient); unfused ``convolve`` before ``forward`` and
    ``differentiate`` before ``backward``.

    Parameters
    ----------
    config, images, layers, frozen : as :class:`.Stack`
    fused : bool
        Whether results of the array go straight into the core.
    backward : bool
        Whether there is a backward pass.
    base : int
        Address of the first byte; not 0.
    align : int
        Everything begins at a multiple of it.
    rng : numpy.random.Generator
        If given, the places are shuffled, at any byte.
    c, eps : float
        Of all layers; default: :func:`.tile_programs.scale` of each.

    Attributes
    ----------
    places : dict of name to (address, bytes)
        Job areas too.
    steps : dict of name to job with what it reads and writes
    forward_chain, backward_chain : list of job names
    end : int
        The first address after all that.
    """

    def __init__(self, config, images, layers, *, frozen=False, fused=True, backward=True, base=4096, align=64,
                 rng=None, c=None, eps=None):
        super().__init__(config, images, layers, frozen)
        if base <= 0:
            raise ValueError(f"base must be above 0, which stands for no job, not {base!r}")
        built = config.core.has_forward and (config.core.has_backward or not backward)
        if not built:
            raise ValueError(f"directions must be those of the network, not {config.core.directions.value}")
        self.fused, self.base, self._align, self._rng = fused, base, align, rng
        self.c, self.eps = c, eps
        self.places, self.steps, self.end = {}, {}, base
        sizes = self._sizes(backward)
        for name in sizes if rng is None else rng.permutation(list(sizes)).tolist():
            self._put(name, self._next(), sizes[name])
        count = range(len(self.layers))
        self.forward_chain = [name for index in count for name in self._forward_jobs(index)]
        self.backward_chain = [name for index in reversed(count) if backward for name in self._backward_jobs(index)]

        width = config.bus.address_width
        if self.end > 2**width:
            raise ValueError(f"base must be an address with {self.end - base} bytes below 2^{width}, not {base}")

    def _next(self):
        """Where the next place begins."""
        if self._rng is None:
            return -(-self.end // self._align) * self._align
        return self.end + int(self._rng.integers(4) and self._rng.integers(100))

    def _put(self, name, address, size):
        self.places[name], self.end = (address, size), address + size

    def _sizes(self, backward):
        config, sizes = self.config, {"images": stored_size(self.config, self.shapes[0])}
        for index in range(len(self.layers)):
            kh, kw, c_in, c_out = self.kernel(index)
            shape, last = self.shapes[index + 1], index == len(self.layers) - 1
            parts = {"weights": weights_size(config, (kh, kw), c_in, c_out), "gamma": WORD_BYTES * c_out,
                     "beta": WORD_BYTES * c_out, "y": stored_size(config, shape),
                     "records": record_size(config, c_out)}
            if not self.fused:
                parts["x"] = operand_size(config, shape)
            if backward:
                parts |= {"dx": stored_size(config, shape), "gradients": gradient_size(c_out),
                          "products": products_size(config, (kh, kw), c_in, c_out)}
                if index:
                    parts["data_weights"] = weights_size(config, (kh, kw), c_out, c_in)
                if last or not self.fused:
                    parts["dy"] = operand_size(config, shape)
            sizes |= {f"{index}.{name}": size for name, size in parts.items()}
        return sizes

    # Jobs.

    def _at(self, name):
        return self.places[name][0]

    def _stored(self, index, name):
        """Tensor y or dx of a layer; of layer -1 the images."""
        name = f"{index}.{name}" if index >= 0 else "images"
        return Tensor.stored(self.config, self._at(name), self.shapes[index + 1])

    def _operand(self, index, name):
        return Tensor.operand(self.config, self._at(f"{index}.{name}"), self.shapes[index + 1])

    def _normalisation(self, index, backward):
        plan = self.plans[index]
        c, eps = scale(self.config.core, plan.sampling.length, self.c, self.eps)
        check_header(self.config.core, activation=self.layers[index].activation, sample_len=plan.sampling.length, c=c,
                     eps=eps, frozen=self.frozen, backward=backward)
        common = {"plan": plan, "activation": self.layers[index].activation, "c": c, "eps": eps,
                  "records": self._at(f"{index}.records")}
        if backward:
            return Normalisation(result=self._stored(index, "dx"), stored=self._stored(index, "y"),
                                 gradients=self._at(f"{index}.gradients"), **common)
        return Normalisation(result=self._stored(index, "y"), gamma=self._at(f"{index}.gamma"),
                             beta=self._at(f"{index}.beta"), **common)

    def _job(self, name, make, *accesses):
        """Place a job, ``make`` of its address; the last of ``accesses`` is what it writes."""
        address = self._next()
        job = make(address)
        self._put(name, address, job.size)
        self.steps[name] = Step(job, accesses[:-1], accesses[-1])
        return name

    def _forward_jobs(self, index):
        config, plan, norm = self.config, self.plans[index], self._normalisation(index, False)
        source, at = f"{index - 1}.y" if index else "images", f"{index}."

        def sums(base):
            return convolution(config, plan, self._stored(index - 1, "y"), self._at(at + "weights"),
                               Head(config, base).zeros)

        norm_reads, results = (at + "gamma", at + "beta"), (at + "y", at + "records")
        if self.fused:
            return [self._job(at + "forward", lambda base: fused_job(config, base, norm, sums(base)),
                              source, at + "weights", *norm_reads, results)]
        x = self._operand(index, "x")
        return [self._job(at + "convolve", lambda base: product_job(config, base, plan, sums(base), x), source,
                          at + "weights", (at + "x",)),
                self._job(at + "forward", lambda base: memory_job(config, base, norm, x), at + "x", *norm_reads,
                          results)]

    def _backward_jobs(self, index):
        config, plan, norm = self.config, self.plans[index], self._normalisation(index, True)
        at, after = f"{index}.", f"{index + 1}."

        def sums(base):
            return data_gradient(config, plan, self._stored(index + 1, "dx"), self._at(after + "data_weights"),
                                 Head(config, base).zeros)

        sources, norm_reads = (after + "dx", after + "data_weights"), (at + "y", at + "records")
        results, last = (at + "dx", at + "gradients"), index == len(self.layers) - 1
        jobs = []
        if self.fused and not last:
            jobs.append(self._job(at + "backward", lambda base: fused_job(config, base, norm, sums(base)), *sources,
                                  *norm_reads, results))
        else:
            dy = self._operand(index, "dy")
            if not last:
                jobs.append(self._job(at + "differentiate", lambda base: product_job(config, base, plan, sums(base), dy,
                                                                                     True), *sources, (at + "dy",)))
            jobs.append(self._job(at + "backward", lambda base: memory_job(config, base, norm, dy), at + "dy",
                                  *norm_reads, results))
        return [*jobs, self._correlation(index)]

    def _correlation(self, index):
        config, at, source = self.config, f"{index}.", f"{index - 1}.y" if index else "images"

        def make(base):
            sums = weight_gradient(config, self.windows[index], self._stored(index - 1, "y"), self._stored(index, "dx"),
                                   Head(config, base).zeros)
            return gradient_job(config, base, sums, *self.places[at + "products"])

        return self._job(at + "correlate", make, source, at + "dx", (at + "products",))

    # Memory: a writable array of bytes that begins at ``base``.

    def view(self, memory, name):
        """The bytes of a place, a view of ``memory``: a uint8 array whose first byte has the address ``base``."""
        address, size = self.places[name]
        if address - self.base + size > len(memory):
            raise ValueError(f"memory must be of at least {self.end - self.base} bytes, not {len(memory)}")
        return memory[address - self.base:address - self.base + size]

    def put(self, memory, name, data):
        """Put the bytes of a place."""
        place, data = self.view(memory, name), np.frombuffer(data, np.uint8)
        if place.size != data.size:
            raise ValueError(f"{name} must be of {place.size} bytes, not {data.size}")
        place[:] = data

    def put_jobs(self, memory, *chains):
        """Put the areas of all jobs, each chain linked; default: the forward and the backward chain."""
        for chain in chains or (self.forward_chain, self.backward_chain):
            for index, name in enumerate(chain, 1):
                next_job = self._at(chain[index]) if index < len(chain) else 0
                self.put(memory, name, self.steps[name].job.area(next_job))

    def link(self, memory, names):
        """Chain jobs, whose areas are in memory, anew; returns the address of the first, to be started."""
        addresses = [self._at(name) for name in names]
        for name, next_job in zip(names, [*addresses[1:], 0], strict=True):
            self.view(memory, name)[:8] = np.array([next_job], "<u8").view(np.uint8)
        return addresses[0]

    def regions(self, names):
        """What the bus of an engine may read and write in these jobs, by place: list of :class:`.Region`."""
        reads = {place for name in names for place in self.steps[name].reads} | set(names)
        writes = {place for name in names for place in self.steps[name].writes}
        return [Region(place, self._at(place), sum(self.places[place]), read=place in reads, write=place in writes)
                for place in self.places if place in reads | writes]
