"""Which scalar unit a core has."""

from .definition_unit import DefinitionUnit
from .load_unit import LoadUnit
from .scalar import ScalarUnit

__all__ = ["scalar_class"]


def scalar_class(config):
    """The scalar unit of a configuration."""
    if not config.has_statistics:
        return LoadUnit
    return ScalarUnit if config.extracts else DefinitionUnit
