"""What is compared: the product, the product with constant extraction off, and the baselines (docs/baselines.md)."""

from dataclasses import dataclass, replace

from bnforge.config import Config
from bnforge.presets import COMPARED, opn16

__all__ = ["Variant", "VARIANTS", "PRODUCT", "LARGE", "SMALL", "chosen", "product_for"]

PRODUCT = opn16.name
LARGE, SMALL = 16, 4
"""Lanes of the two builds of a variant: the default, and the one for what takes long on a netlist."""


@dataclass(frozen=True)
class Variant:
    """A core to compare.

    Parameters
    ----------
    name : str
    text : str
        What it is, one line.
    config : Config
        With :data:`LARGE` lanes.
    """

    name: str
    text: str
    config: Config

    def build(self, lanes):
        """The configuration with so many lanes; blocks that are larger than that become as large."""
        if lanes == self.config.lanes:
            return self.config
        storage = self.config.storage
        if self.config.is_block and storage.group > lanes:
            storage = replace(storage, group=lanes)
        return self.config.replace(name=f"{self.name}_{lanes}", lanes=lanes, storage=storage)


VARIANTS = {name: Variant(name, text, config) for name, (config, text) in (
    (PRODUCT, (opn16, "one-pass normaliser, default configuration")), *COMPARED.items())}
"""By name, in the order of the tables."""


def product_for(name):
    """Name of the product in the formats of a variant: of its elements, else the default."""
    def formats(config):
        return config.x_format, config.element_width
    return next((other for other in (PRODUCT, "opn16_fp10")
                 if formats(VARIANTS[other].config) == formats(VARIANTS[name].config)), PRODUCT)


def chosen(names=None):
    """Variants by name, all without names.

    Raises
    ------
    ValueError
        For a name that there is not.
    """
    for name in names or ():
        if name not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {name!r}")
    return [variant for variant in VARIANTS.values() if not names or variant.name in names]
