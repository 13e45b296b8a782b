"""What the tests of simulated boards have in common: the line between host and board, and silence."""

import contextlib

import serial
from bnforge_host import Link
from bnforge_host.progress import Bar

__all__ = ["Line", "open_link", "quiet"]


class quiet(Bar):
    """A progress bar that shows nothing."""

    def _draw(self, end):
        pass


class Line:
    """What happens to the next bytes on the line, if there are enough of them: set by a test, once.

    Attributes
    ----------
    change : (direction, function of bytes), or None
    """

    def __init__(self, at_least=1):
        self.change, self._at_least = None, at_least

    def __call__(self, data, direction):
        if self.change is None or self.change[0] != direction or len(data) < self._at_least:
            return data
        _, change = self.change
        self.change = None
        return change(data)


@contextlib.contextmanager
def open_link(port, baud):
    """A :class:`Link` to a simulated port, opened anew."""
    with serial.Serial(port.name, baud, timeout=0.05) as line:
        link = Link(line, patience=20)
        link.open()
        yield link
