"""Constants of frozen tiles, from statistics that are not the core's."""

import numpy as np

__all__ = ["frozen_affine"]


def frozen_affine(x, gamma=None, beta=None, eps=1e-5):
    """a and b of batch norm with mean and variance of ``x`` itself (Ioffe and Szegedy, 2015, algorithm 1), in float64.

    Parameters
    ----------
    x : array of real numbers, (n, channels)
    gamma, beta : arrays, (channels,)
        Default: ones and zeros.
    eps : float
        Added to the variance.

    Returns
    -------
    a, b : float64 arrays, (channels,)
        a = gamma/√(variance + eps), b = beta − mean·a; neither rounded.
    """
    x = np.asarray(x, np.float64)
    a = (np.ones(x.shape[1]) if gamma is None else gamma) / np.sqrt(x.var(axis=0) + eps)
    return a, (0 if beta is None else beta) - x.mean(axis=0) * a
