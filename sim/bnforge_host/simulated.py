"""A simulated board behind a pseudo-terminal: what opens it sees a serial port."""

import fcntl
import os
import select
import struct
import threading
import tty

from bnforge_sim.board import BoardBench

__all__ = ["SimulatedPort"]

_TCGETS2 = 0x802C542A
"""Linux ioctl: struct termios2, with the speeds as numbers in its last two words (asm-generic/termbits.h)."""
_TERMIOS2_BYTES = 44
_CYCLES = 4000
"""Simulated between two looks at the terminal."""


class SimulatedPort:
    """Runs a :class:`~bnforge_sim.board.BoardBench` in a thread, as a context; only on Linux.

    The adapter at the board's line has the baud that the other side sets on the terminal, as a USB adapter would.

    Parameters
    ----------
    config : bnforge.board.BoardConfig
    disturb : function of (bytes, direction), optional
        What becomes of bytes on their way; direction is ``"to board"`` or ``"to host"``.
    options
        Of :class:`.BoardBench`.

    Attributes
    ----------
    name : str
        The terminal's, to be opened.
    """

    def __init__(self, config, disturb=None, **options):
        self.bench = BoardBench(config, **options)
        self._disturb = disturb or (lambda data, direction: data)
        self._master, self._slave = os.openpty()  # the slave stays open, so that a host may come and go
        tty.setraw(self._slave)
        self.name = os.ttyname(self._slave)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._ended.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _baud(self):
        state = bytearray(_TERMIOS2_BYTES)
        fcntl.ioctl(self._master, _TCGETS2, state)
        return struct.unpack_from("<I", state, _TERMIOS2_BYTES - 4)[0]

    def _run(self):
        baud = None
        while not self._ended.is_set():
            if baud != self._baud():
                baud = self._baud()
                self.bench.set_baud(baud)
            if select.select([self._master], [], [], 0)[0] and self.bench.n_waiting < 4096:
                self.bench.send(self._disturb(os.read(self._master, 4096), "to board"))
            self.bench.run(_CYCLES)
            answer = self._disturb(self.bench.receive(), "to host")
            while answer and not self._ended.is_set():
                if select.select([], [self._master], [], 0.1)[1]:
                    answer = answer[os.write(self._master, answer):]
