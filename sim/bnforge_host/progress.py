"""A progress bar for a terminal."""

import sys
import time

__all__ = ["Bar"]


class Bar:
    """Bytes done of a total, drawn on a terminal; elsewhere one line when all are done. A context.

    Parameters
    ----------
    text : str
    total : int
    stream : text stream
    """

    def __init__(self, text, total, stream=None):
        self.text, self.total, self.done = text, total, 0
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._started = time.monotonic()

    def __enter__(self):
        self._draw("")
        return self

    def __exit__(self, kind, *_rest):
        if self._live or kind is None:
            self._live = True
            self._draw("\n")

    def __call__(self, count):
        """``count`` more bytes are done."""
        self.done += count
        self._draw("")

    def _draw(self, end):
        if not self._live:
            return
        seconds = max(time.monotonic() - self._started, 1e-3)
        bar = "#" * (30 * min(self.done, self.total) // max(self.total, 1))
        self._stream.write(f"\r{self.text:<18} [{bar:<30}] {self.done / 1024:.1f} of {self.total / 1024:.1f} KiB, "
                           f"{self.done / 1024 / seconds:.1f} KiB/s{end}")
        self._stream.flush()
