"""Errors of y, dx, dgamma and dbeta against the same algorithm in float64."""

from ...accuracy import accuracy_of

__all__ = ["run"]


def run(config):
    """What :func:`.accuracy_of` says."""
    return accuracy_of(config)
