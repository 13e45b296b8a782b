"""Simulation of generated cores: a compiled bench driven in bulk, random stimulus, comparison with the model."""

from .files import Outcome, Rule, Segment, Stall, Stalls, State
from .simulator import Comparison, SimulationError, Simulator, compare, simulate
from .tiles import BackwardTile, Tile, header_words, segment

__all__ = ["BackwardTile", "Comparison", "Outcome", "Rule", "Segment", "SimulationError", "Simulator", "Stall",
           "Stalls", "State", "Tile", "compare", "header_words", "segment", "simulate"]
