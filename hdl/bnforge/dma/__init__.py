"""The DMA engine, in the direction that a transfer takes through it.

:mod:`.loader` fetches descriptors from memory (frontend), :mod:`.midend` turns each into rows, :mod:`.bursts` cuts rows
into AXI bursts, :mod:`.reader` and :mod:`.writer` move bytes between bursts and the beats of a stream, and
:mod:`.ports` share one AXI4 manager port among the channels. :mod:`.copier` is all of it alone, from memory to memory.
"""

from .bursts import BurstSplitter
from .copier import Copier
from .loader import DescriptorLoader
from .midend import Midend
from .ports import ReadPort, WritePort
from .reader import ReadChannel
from .writer import WriteChannel

__all__ = ["BurstSplitter", "Copier", "DescriptorLoader", "Midend", "ReadChannel", "ReadPort", "WriteChannel",
           "WritePort"]
