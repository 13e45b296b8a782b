"""Which scalar unit a core has."""

from .definition_unit import DefinitionUnit
from .scalar import ScalarUnit

__all__ = ["scalar_class"]


def scalar_class(config):
    """The scalar unit of a configuration."""
    return ScalarUnit if config.extracts else DefinitionUnit
