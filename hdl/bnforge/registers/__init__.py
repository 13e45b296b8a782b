"""The registers of the engine: one table, and the circuit, the documentation and the headers that follow from it."""

from .block import RegisterBlock
from .table import Access, Field, Register, registers

__all__ = ["Access", "Field", "Register", "RegisterBlock", "registers"]
