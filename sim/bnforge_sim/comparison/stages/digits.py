"""Accuracy of a small network on the digits, trained with the model of a core in place of batch norm."""

from dataclasses import asdict

from ...digits_accuracy import digits_accuracy

__all__ = ["run"]


def run(config, seeds, epochs, reference=False):
    """What :func:`.digits_accuracy` says, without the seconds.

    Parameters
    ----------
    config : Config
    seeds : list of int
    epochs : int
    reference : bool
        Of standard batch norm in float64, not of the core.
    """
    result = asdict(digits_accuracy(None if reference else config, tuple(seeds), epochs=epochs))
    return {name: value for name, value in result.items() if name != "seconds"}
