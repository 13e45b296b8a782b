"""The host of a board: talks to it over a serial port, runs tensors, compares with the model; docs/boards.md."""

from .device import Device
from .link import Disconnected, Garbled, Link, LinkError, NoAnswer, Refused

__all__ = ["Device", "Disconnected", "Garbled", "Link", "LinkError", "NoAnswer", "Refused"]
