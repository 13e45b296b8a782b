"""Machines that run convolutions, norms and ReLUs of the network: the model, the simulated engine, both compared.

A machine leaves what it computes as bytes as they lie in memory, by the names of places of
:class:`bnforge_sim.network.Network`: ``l.y`` and ``l.records`` of every layer l after a forward pass; ``l.dx``,
``l.gradients`` and ``l.products``, the weight gradient, after a backward pass.
"""

import dataclasses

import numpy as np
from bnforge_model.convolution import encode_weights
from bnforge_model.matrices import pack_weights
from bnforge_model.memory import pack_gradients, pack_operand, pack_records, pack_stored
from bnforge_sim.engine import EngineBench, MemoryModel
from bnforge_sim.engine_runs import drive, register_driver
from bnforge_sim.layers import Stack, encode_images
from bnforge_sim.network import Network

__all__ = ["Difference", "ModelMachine", "EngineMachine", "ComparedMachine"]

LATENCY = 30
"""Of the simulated memory, in cycles."""
PATIENCE = 50_000_000
"""Cycles in which a chain of jobs must be done."""


class Difference(AssertionError):
    """The engine wrote something else than the model."""


class ModelMachine:
    """The bit-exact model.

    Parameters
    ----------
    task : Task
    n_images : int
    frozen : bool
        Whether gamma and beta are a and b.
    has_range_term : bool
        False: T = 0 in dx. The model gets records with argmin = argmax, for which the core adds -c in place of -c + t
        and -c - t.

    Attributes
    ----------
    stack : Stack
    scales : list of float
        C of every layer in the last forward pass.
    """

    def __init__(self, task, n_images, frozen=False, has_range_term=True):
        self.stack = Stack(task.engine, task.images(n_images), task.stack, frozen)
        self.has_range_term = has_range_term

    def forward(self, images, weights, affine):
        """Run all layers.

        Parameters
        ----------
        images : float (N, H, W, 1)
        weights : list of float (kh, kw, C_in, C_out)
        affine : list of (gamma, beta), float32 (C_out,) each
            Of every layer; a and b where frozen.

        Returns
        -------
        dict of name to bytes
        """
        stack, written = self.stack, {}
        self.inputs, self.results, self.weights = [encode_images(stack.config, images)], [], weights
        for index, (matrix, (gamma, beta)) in enumerate(zip(weights, affine, strict=True)):
            result = stack.forward_layer(index, self.inputs[-1], matrix, gamma, beta)
            self.inputs.append(result.encoded)
            self.results.append(result)
            written |= {f"{index}.y": pack_stored(stack.config, result.encoded, stack.shapes[index + 1]),
                        f"{index}.records": pack_records(stack.config, result.records)}
        self.scales = [result.c for result in self.results]
        return written

    def backward(self, dy):
        """The gradients of the last forward pass: dict of name to bytes.

        Parameters
        ----------
        dy : integers (N, H, W, C)
            Codes of the format of x: the gradient of the last y.
        """
        stack, written = self.stack, {}
        for index in reversed(range(len(self.results))):
            records = self.results[index].records
            if not self.has_range_term:
                records = dataclasses.replace(records, argmin=records.argmax)
            gradient = stack.backward_layer(index, dy, *self.inputs[index:index + 2], records)
            dx, result = gradient.result.encoded, gradient.result
            written |= {f"{index}.dx": pack_stored(stack.config, dx, stack.shapes[index + 1]),
                        f"{index}.gradients": pack_gradients(result.dgamma, result.dbeta),
                        f"{index}.products": _pack_products(stack.config, gradient.weights.codes)}
            if index:
                dy = stack.differentiate_layer(index, dx, self.weights[index])
        return written


def _pack_products(config, codes):
    """A weight gradient (kh, kw, C_in, C_out) as it lies in memory: zeros beyond the channels."""
    kh, kw, *channels = codes.shape
    rows, columns = (-size % config.lanes for size in channels)
    padded = np.pad(codes, ((0, 0), (0, 0), (0, rows), (0, columns)))
    return pack_operand(config, padded.reshape(1, 1, kh * kw * padded.shape[2], -1))


class EngineMachine:
    """The generated engine, simulated: one START for a forward pass through all layers, one for the backward pass.

    Parameters
    ----------
    task, n_images, frozen : as :class:`ModelMachine`
    alone : bool
        Start every job alone, to count what each of them needs.
    bench : dict
        Options of :class:`.EngineBench`.

    Attributes
    ----------
    network : Network
    log : list of dict
        For each START: the ``jobs``, their ``cycles``, ``read`` and ``written``: bytes on the bus. May be cleared.
    """

    def __init__(self, task, n_images, frozen=False, alone=False, bench=None):
        self.network = Network(task.engine, task.images(n_images), task.stack, frozen=frozen, backward=not frozen)
        size = -(-(self.network.end - self.network.base) // 4096) * 4096
        options = {"model": MemoryModel(read_latency=LATENCY, write_latency=LATENCY)} | (bench or {})
        self.bench = EngineBench(task.engine, size, base=self.network.base, **options)
        self.alone, self.log = alone, []
        self.network.put_jobs(self.bench.memory)
        self._driver = register_driver(self.bench)
        drive(self._driver.interrupts())

    def forward(self, images, weights, affine):
        """As :meth:`ModelMachine.forward`."""
        config, array = self.network.config, self.network.config.array
        data = {"images": pack_stored(config, encode_images(config, images), self.network.shapes[0])}
        for index, (matrix, (gamma, beta)) in enumerate(zip(weights, affine, strict=True)):
            kernel = matrix.shape[:2]
            data |= {f"{index}.weights": pack_weights(config, encode_weights(array, matrix), kernel),
                     f"{index}.gamma": gamma.astype("<f4").tobytes(), f"{index}.beta": beta.astype("<f4").tobytes()}
            if f"{index}.data_weights" in self.network.places:
                data[f"{index}.data_weights"] = pack_weights(config, encode_weights(array, matrix, data=True), kernel)
        return self._run(self.network.forward_chain, data)

    def backward(self, dy):
        """As :meth:`ModelMachine.backward`."""
        last = len(self.network.layers) - 1
        return self._run(self.network.backward_chain, {f"{last}.dy": pack_operand(self.network.config, dy)})

    def _run(self, chain, data):
        """Put ``data``, run the jobs, and return what they write."""
        network, memory = self.network, self.bench.memory
        for name, content in data.items():
            network.put(memory, name, content)
        names = [place for job in chain for place in network.steps[job].writes]
        for name in names:
            network.view(memory, name)[:] = 0xA5
        for jobs in [[job] for job in chain] if self.alone else [chain]:
            self._start(jobs)
        return {name: network.view(memory, name).tobytes() for name in names}

    def _start(self, jobs):
        """Run a chain of jobs."""
        address = self.network.link(self.bench.memory, jobs)
        self.bench.regions(self.network.regions(jobs))
        first = self.bench.totals().cycle
        drive(self._driver.start(address))
        if not self.bench.wait(PATIENCE):
            raise TimeoutError(f"irq must come within {PATIENCE} cycles, {self.bench.totals()}")
        cycles = self.bench.totals().cycle - first
        drive(self._driver.wait(polls=100))
        drive(self._driver.clear())
        totals, width = self.bench.totals(), self.network.config.bus.bytes
        self.log.append({"jobs": jobs, "cycles": cycles, "read": width * totals.read_beats,
                         "written": width * totals.write_beats})


class ComparedMachine:
    """The engine, and beside it the model; what both leave must be the same bytes.

    Parameters
    ----------
    engine : EngineMachine
    model : ModelMachine

    Attributes
    ----------
    compared : int
        Bytes, so far.

    Raises
    ------
    Difference
        From both passes.
    """

    def __init__(self, engine, model):
        self.engine, self.model, self.stack, self.compared = engine, model, model.stack, 0

    def forward(self, *arguments):
        """As :meth:`ModelMachine.forward`."""
        return self._same(self.engine.forward(*arguments), self.model.forward(*arguments))

    @property
    def scales(self):
        """As of :class:`ModelMachine`."""
        return self.model.scales

    def backward(self, dy):
        """As :meth:`ModelMachine.backward`."""
        return self._same(self.engine.backward(dy), self.model.backward(dy))

    def _same(self, found, expected):
        if found.keys() != expected.keys():
            raise Difference(f"the engine must write {', '.join(expected)}, not {', '.join(found)}")
        for name, data in expected.items():
            wrong = np.flatnonzero(np.frombuffer(found[name], np.uint8) != np.frombuffer(data, np.uint8))
            if len(wrong):
                at = wrong[0]
                raise Difference(f"{name}: {len(wrong)} of {len(data)} bytes differ from the model, the first at {at}: "
                                 f"{found[name][at]:#04x}, not {data[at]:#04x}")
            self.compared += len(data)
        return found
