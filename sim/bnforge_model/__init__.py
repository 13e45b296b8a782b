"""The bit-exact numpy model of core, baselines and systolic array, and the float64 reference. Needs numpy alone."""

from bnforge.config import Activation

from .array import Product, matmul, operands
from .baseline import BaselineBackward, BaselineForward, baseline_backward, baseline_forward
from .blocks import Encoded
from .convolution import Convolution, convolve, convolve_data, convolve_weights, encode_weights
from .core import default_c, default_eps, expected_range, forward, forward_codes, tile_slices
from .gradient import backward, backward_codes, backward_order
from .memory import Layout, Shape
from .result import BackwardResult, Flags, ForwardResult, Records
from .sweeps import SweepResult, run_sweep

__all__ = ["Activation", "forward", "forward_codes", "ForwardResult", "backward", "backward_codes", "backward_order",
           "BackwardResult", "Encoded", "Records", "Flags", "expected_range", "default_c", "default_eps",
           "tile_slices", "Layout", "Shape", "Product", "operands", "matmul", "Convolution", "encode_weights",
           "convolve", "convolve_data", "convolve_weights", "BaselineForward", "BaselineBackward", "baseline_forward",
           "baseline_backward", "SweepResult", "run_sweep"]
