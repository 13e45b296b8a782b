"""Formal specifications: components that hold assumptions and assertions beside the circuit that they are about."""
