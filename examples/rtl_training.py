"""The training loop of train_digits_rtl.py: software between two passes of a machine, and the same in PyTorch."""

import hashlib
import json
import time

import numpy as np
from bnforge_model.floats import decode_table, to_codes
from bnforge_model.matrices import unpack_products
from bnforge_model.memory import unpack_gradients, unpack_records, unpack_stored
from bnforge_sim.tensors import frozen_affine, running_statistics
from rtl_task import Sgd, batches, head, initial_parameters

__all__ = ["Training", "Checkpoint", "train_standard"]


class Training:
    """One run of a machine over the batches of a seed.

    Parameters
    ----------
    task : Task
    seed : int
        Of initial weights and batches.
    images, labels : arrays
        All of them; the task says which train.

    Attributes
    ----------
    parameters : dict
    statistics : list of pairs of float32 (C,)
        Running mean and variance of every layer.
    losses : list of float
        Of every step done.
    """

    def __init__(self, task, seed, images, labels):
        self.task, self.images, self.labels = task, images, labels
        self.parameters = initial_parameters(task, seed)
        self.sgd = Sgd(task, self.parameters)
        self.statistics = [(np.zeros(channels, np.float32), np.ones(channels, np.float32))
                           for channels, _ in task.layers]
        self.batches = list(batches(task, seed))
        self.losses = []

    @property
    def n_layers(self):
        return len(self.task.layers)

    def _layers(self, *names):
        """Parameters of every layer: of one name as they are, of several as tuples."""
        found = [tuple(self.parameters[f"{index}.{name}"] for name in names) for index in range(self.n_layers)]
        return [values[0] for values in found] if len(names) == 1 else found

    def _last(self, machine, written):
        """y of the last layer, float64 (N, H, W, C)."""
        shape = machine.stack.shapes[-1]
        return unpack_stored(self.task.engine, written[f"{self.n_layers - 1}.y"], shape).decode().reshape(shape.dims)

    def step(self, machine):
        """The next step; returns its loss."""
        batch = self.batches[len(self.losses)]
        written = machine.forward(self.images[batch], self._layers("weights"), self._layers("gamma", "beta"))
        loss, _, dy, gradients = head(self.parameters, self._last(machine, written), self.labels[batch])
        for index, pair in enumerate(self.statistics):
            records = unpack_records(self.task.engine, written[f"{index}.records"])
            self.statistics[index] = running_statistics(*pair, records, machine.scales[index],
                                                        self.task.running_momentum)
        x_format = self.task.engine.core.x_format
        written = machine.backward(to_codes(x_format, dy))
        for index in range(self.n_layers):
            dgamma, dbeta = unpack_gradients(written[f"{index}.gradients"])
            kh, kw, *channels = machine.stack.kernel(index)
            codes = unpack_products(self.task.engine, written[f"{index}.products"], (kh, kw), *channels)
            gradients |= {f"{index}.gamma": dgamma, f"{index}.beta": dbeta,
                          f"{index}.weights": decode_table(x_format)[codes]}
        self.sgd.step(len(self.losses), gradients)
        self.losses.append(loss)
        return loss

    def answers(self, machine, numbers):
        """What a frozen machine says of the images with these numbers, with running statistics: integers."""
        affine = [frozen_affine(*pair, *found)
                  for pair, found in zip(self._layers("gamma", "beta"), self.statistics, strict=True)]
        written = machine.forward(self.images[numbers], self._layers("weights"), affine)
        return head(self.parameters, self._last(machine, written), self.labels[numbers])[1]

    def accuracy(self, machines, numbers, report=lambda: None):
        """Percent of the images with these numbers that are answered right.

        Parameters
        ----------
        machines : function of a number of images to a frozen machine
        numbers : array of int
        report : function
            Called after each batch.
        """
        right, found = 0, {}
        for part in np.split(numbers, range(self.task.batch, len(numbers), self.task.batch)):
            if len(part) not in found:
                found[len(part)] = machines(len(part))
            right += int((self.answers(found[len(part)], part) == self.labels[part]).sum())
            report()
        return 100 * right / len(numbers)


class Checkpoint:
    """A run kept in a file so that it goes on where it stopped; another task, seed or design starts again.

    Parameters
    ----------
    path : Path
    design : str
        Of all that the result depends on.
    """

    def __init__(self, path, design):
        self.path, self.design = path, hashlib.sha256(design.encode()).hexdigest()

    def save(self, training, state):
        """Keep a run, and ``state``: what JSON can hold."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"parameter {name}": values for name, values in training.parameters.items()}
        arrays |= {f"velocity {name}": values for name, values in training.sgd.velocity.items()}
        arrays |= {f"statistics {index}": np.stack(pair) for index, pair in enumerate(training.statistics)}
        text = json.dumps({"design": self.design, "losses": training.losses, "state": state})
        new = self.path.with_suffix(".new.npz")
        np.savez(new, text=np.array(text), **arrays)
        new.replace(self.path)

    def load(self, training):
        """Set a run to where it was: its state, None if there is nothing to go on from."""
        if not self.path.exists():
            return None
        with np.load(self.path) as data:
            text = json.loads(str(data["text"]))
            if text["design"] != self.design:
                return None
            for name in training.parameters:
                training.parameters[name][:] = data[f"parameter {name}"]
                training.sgd.velocity[name][:] = data[f"velocity {name}"]
            training.statistics = [tuple(data[f"statistics {index}"]) for index in range(training.n_layers)]
        training.losses = text["losses"]
        return text["state"]


def train_standard(task, seed, data, test):
    """The same run in PyTorch: its convolutions, batch norm, ReLU, SGD, fp32; same initial weights and batches.

    Returns
    -------
    dict
        ``losses`` of the steps; ``accuracy`` on the images ``test``, percent; ``seconds`` of the processor.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)
    start, parts = time.process_time(), []
    parameters = {name: torch.from_numpy(values) for name, values in initial_parameters(task, seed).items()}
    for index, (channels, stride) in enumerate(task.layers):
        weights = parameters[f"{index}.weights"].permute(3, 2, 0, 1)
        convolution = nn.Conv2d(weights.shape[1], channels, 3, stride, padding=1, bias=False)
        convolution.weight = nn.Parameter(weights.contiguous())
        parts += [convolution, nn.BatchNorm2d(channels, momentum=task.running_momentum), nn.ReLU()]
    linear = nn.Linear(*parameters["head.weights"].shape)
    linear.weight = nn.Parameter(parameters["head.weights"].T.contiguous())
    linear.bias = nn.Parameter(parameters["head.bias"])
    net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    optimiser = torch.optim.SGD(net.parameters(), task.rate, task.momentum, weight_decay=task.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / task.steps)
    images, labels = torch.from_numpy(data[0]).permute(0, 3, 1, 2), torch.from_numpy(data[1])
    losses = []
    for batch in batches(task, seed):
        loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        right = net(images[test]).argmax(dim=1) == labels[test]
    return {"losses": losses, "accuracy": 100 * right.double().mean().item(), "seconds": time.process_time() - start}
