"""The systolic array (docs/array.md)."""

from .array import SystolicArray, SystolicArrayTop

__all__ = ["SystolicArray", "SystolicArrayTop"]
