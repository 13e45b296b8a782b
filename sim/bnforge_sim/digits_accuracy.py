"""The accuracy of the digits task with each core's model in place of batch norm, for a comparison of cores."""

import statistics
from dataclasses import dataclass

from bnforge.tools import MissingTool

__all__ = ["EPOCHS", "SEEDS", "DigitsAccuracy", "digits_accuracy"]

EPOCHS = 10
"""Of every variant: what three runs of the slowest take in two minutes of one core."""
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class DigitsAccuracy:
    """Test accuracy of the runs, percent.

    Attributes
    ----------
    mean, spread : float
        Mean and sample standard deviation over the seeds; the latter 0 of one seed.
    accuracy, loss, seconds : tuples of float
        Of each run: percent, mean training loss of the last epoch, seconds of the processor.
    epochs : int
    seeds : tuple of int
    """

    mean: float
    spread: float
    accuracy: tuple
    loss: tuple
    seconds: tuple
    epochs: int
    seeds: tuple


def digits_accuracy(config, seeds=SEEDS, progress=None, *, epochs=EPOCHS):
    """Train the small net of docs/training.md with the model of a core in the loop.

    Parameters
    ----------
    config : Config or None
        A one-pass core or a baseline; None: standard batch norm, all of the net in float64.
    seeds : sequence of int
        Of initial weights and batches.
    progress : function, optional
        Called with the number of runs done, that of all, and the accuracy of the last one.
    epochs : int

    Returns
    -------
    DigitsAccuracy

    Raises
    ------
    MissingTool
        torch or scikit-learn is not installed.
    """
    try:
        import torch

        from .digits_training import TRAINING_IMAGES, digits, train
        from .norms import norm_of
    except ImportError as error:
        raise MissingTool(f"training needs {error.name}: pip install 'bnforge[sim,train]'") from None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images, labels = digits()
        parts = [(images[part], labels[part]) for part in (slice(TRAINING_IMAGES), slice(TRAINING_IMAGES, None))]
        runs = []
        for seed in seeds:
            runs.append(train(None if config is None else norm_of(config), seed, *parts, epochs=epochs,
                              double=config is None))
            if progress is not None:
                progress(len(runs), len(seeds), runs[-1]["accuracy"])
    finally:
        torch.set_num_threads(threads)
    accuracy = tuple(run["accuracy"] for run in runs)
    return DigitsAccuracy(
        statistics.fmean(accuracy), statistics.stdev(accuracy) if len(runs) > 1 else 0.0, accuracy,
        tuple(run["loss"] for run in runs), tuple(run["seconds"] for run in runs), epochs, tuple(seeds))
