"""Input classes: what the model is measured and tested on."""

import numpy as np

from .floats import max_value, min_value

__all__ = ["INPUT_CLASSES", "input_class"]


def _normal(fmt, rng, shape):
    return rng.standard_normal(shape)


def _large_mean(fmt, rng, shape):
    return 20 * rng.choice([-1, 1], shape[1]) + rng.standard_normal(shape)


def _sparse(fmt, rng, shape):
    return np.maximum(rng.standard_normal(shape) - 0.5, 0)


def _small_spread(fmt, rng, shape):
    return rng.standard_normal(shape) * 2.0 ** -10


def _constant(fmt, rng, shape):
    return np.broadcast_to(rng.uniform(-8, 8, shape[1]), shape).copy()


def _outlier(fmt, rng, shape):
    x = rng.standard_normal(shape)
    x[rng.integers(0, shape[0], shape[1]), np.arange(shape[1])] = rng.choice([-1, 1], shape[1]) * 1000.0
    return x


def _subnormals(fmt, rng, shape):
    return rng.integers(-(1 << fmt.fraction_width), (1 << fmt.fraction_width) + 1, shape) * min_value(fmt)


def _extremes(fmt, rng, shape):
    ends = np.array([1.0, -1.0, 0.5, -0.5]) * max_value(fmt)
    return rng.choice([*ends, min_value(fmt), 0.0], shape)


def _not_finite(fmt, rng, shape):
    x = rng.standard_normal(shape)
    x[rng.random(shape) < 0.01] = np.nan
    x[:, ::8][rng.random(x[:, ::8].shape) < 0.01] = np.inf
    return x


INPUT_CLASSES = {
    "normal": (_normal, "standard normal"),
    "large mean": (_large_mean, "standard normal about +20 or -20"),
    "sparse": (_sparse, "max(0, normal - 0.5): what follows a ReLU"),
    "small spread": (_small_spread, "normal, standard deviation 2^-10"),
    "constant": (_constant, "one value per channel: R = 0"),
    "outlier": (_outlier, "standard normal with one element of +1000 or -1000"),
    "subnormals": (_subnormals, "up to 2^fraction_width times the smallest value of the format"),
    "extremes": (_extremes, "the ends and halves of the range, the smallest value, 0"),
    "NaN, infinity": (_not_finite, "normal, 1 % NaN, and 1 % infinity in every eighth channel"),
}
"""Name to generator and description."""


def input_class(name, fmt, rng, shape):
    """Random input of a class.

    Parameters
    ----------
    name : str
        One of ``INPUT_CLASSES``.
    fmt : FloatFormat
        Of the input; some classes live at the ends of its range.
    rng : numpy.random.Generator
    shape : (n, channels)

    Returns
    -------
    float64 (n, channels), not yet rounded to the format
    """
    if name not in INPUT_CLASSES:
        raise ValueError(f"name must be one of {', '.join(INPUT_CLASSES)}, not {name!r}")
    return INPUT_CLASSES[name][0](fmt, rng, shape)
