"""bnforge: generates one-pass batch-norm normalisers for DNN training as synthesizable SystemVerilog."""

__version__ = "0.1.0"
