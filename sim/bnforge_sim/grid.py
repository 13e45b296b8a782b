"""The default sample: a grid of positions over all images (design contract, section 2)."""

import math

import numpy as np

from bnforge.formats import require_int

__all__ = ["grid_order"]


def grid_order(n_images, height, width, sample_depth=1024):
    """Forward order of the positions of a channel, and how many of them are the sample.

    q = max(1, S // N) positions of every image at the spacing p = ⌈H·W/q⌉, raised until it shares no factor with W,
    starting at p // 2; every position when q ≥ H·W; when N > S one position from each of the first S images. The rest
    follows as head, runs and tail: what lies before the first sampled position of each image, between two, and after
    the last; then the images without a sample.

    Parameters
    ----------
    n_images, height, width : int
        N, H, W, each at least 1.
    sample_depth : int
        S.

    Returns
    -------
    order : int64 array, shape (N·H·W,)
        Flat positions in an array of shape (N, H, W).
    sample_len : int
        How many of them, from the first on, are the sample; at most S.

    Raises
    ------
    ValueError
        For a size below 1.
    """
    for name, value in (("n_images", n_images), ("height", height), ("width", width), ("sample_depth", sample_depth)):
        require_int(name, value, 1, 2**31)
    area = height * width
    per_image = max(1, sample_depth // n_images)
    spacing = -(-area // per_image)
    while math.gcd(spacing, width) > 1:
        spacing += 1
    sampled = np.arange(spacing // 2, area, spacing)
    runs = np.setdiff1d(np.arange(sampled[0], sampled[-1]), sampled)
    parts = (sampled, np.arange(sampled[0]), runs, np.arange(sampled[-1] + 1, area))
    n_sampled = min(n_images, sample_depth)
    starts = np.arange(n_sampled)[:, np.newaxis] * area
    order = [(starts + part).ravel() for part in parts]
    order.append(np.arange(n_sampled * area, n_images * area))
    return np.concatenate(order), n_sampled * len(sampled)
