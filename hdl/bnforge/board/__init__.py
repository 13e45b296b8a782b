"""An engine on an FPGA board: serial line and memory around it, and the flow to a bitstream; docs/boards.md."""

from .config import BoardConfig
from .frames import Command, Space, Status
from .top import BoardTop

__all__ = ["BoardConfig", "BoardTop", "Command", "Space", "Status"]
