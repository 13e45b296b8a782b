"""The shapes of the array's streams."""

from amaranth.lib import data

__all__ = ["beat_layout"]


def beat_layout(config, elements):
    """A beat of ``elements`` stored elements with their exponents, at an input of the array."""
    groups = config.n_groups(elements)
    exponents = {"exponents": data.ArrayLayout(config.storage.exponent_width, groups)} if groups else {}
    return data.StructLayout({"elements": data.ArrayLayout(config.element_width, elements), **exponents, "last": 1})
