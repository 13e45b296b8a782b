"""Requests and answers over a serial port: docs/boards.md, The line."""

import itertools
import random
import time

from bnforge.board.frames import (
    ANSWER, ANSWER_HEAD_BYTES, CHECK_BYTES, HAS_DATA, HEAD_BYTES, MAX_WORDS, BadFrame, Command, Space, Status,
    answer_size, parse_answer, request)
from bnforge.tools import ToolError

__all__ = ["Link", "LinkError", "NoAnswer", "Garbled", "Refused", "Disconnected"]

_LONGEST = ANSWER_HEAD_BYTES + 4 * MAX_WORDS + CHECK_BYTES
_FLUSH = bytes(HEAD_BYTES + 4 * MAX_WORDS + CHECK_BYTES + 2 * _LONGEST)
"""Ends whatever frame the board still waits for, and lasts while it answers that; no byte of it begins a frame."""


class LinkError(ToolError):
    """The line or the board failed; the message is one line."""


class NoAnswer(LinkError):
    """Nothing, or not all of an answer, came in time."""


class Garbled(LinkError):
    """What came, or what the board says it received, is not what was sent."""


class Refused(LinkError):
    """The board understood a request and did not do it.

    Attributes
    ----------
    status : Status
    """

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Disconnected(LinkError):
    """The port is gone."""


class Link:
    """Requests to a board, one at a time. Nothing is tried twice.

    Parameters
    ----------
    port : serial.Serial
        Or what has its ``write``, ``read``, ``timeout``, ``in_waiting``, ``reset_input_buffer``, ``baudrate`` and
        ``name``.
    patience : float
        Seconds in which an answer must be there.
    """

    def __init__(self, port, patience=2.0):
        self.port, self.patience = port, patience
        self._tags = itertools.cycle(random.sample(range(256), 256))

    def open(self):
        """Bring the board to the beginning of a frame, whatever was on the line before, and drop what it says of that.

        Raises
        ------
        LinkError
        """
        with _port_errors(self.port):
            tag = next(self._tags)
            self.port.write(_FLUSH + request(Command.READ, Space.IDENTITY, 0, 1, tag))
            data, wanted, end = b"", answer_size(bytes([ANSWER, HAS_DATA, tag, 0])), time.monotonic() + self.patience
            while time.monotonic() < end:
                more = self._bytes(_LONGEST, 0.05)
                data, end = data + more, end + 0.05 * bool(more)
                if len(data) >= wanted and _is_answer(data[-wanted:], tag):
                    return
            raise self._silence("greeting", data)

    def read(self, space, address, count):
        """``count`` words from an address on: a list.

        Raises
        ------
        LinkError
        """
        words = []
        while count > len(words):
            some = min(MAX_WORDS, count - len(words))
            words += self._ask(Command.READ, space, address + 4 * len(words), some, some)
        return words

    def write(self, space, address, words):
        """Write words from an address on.

        Raises
        ------
        LinkError
        """
        for first in range(0, len(words), MAX_WORDS):
            self._ask(Command.WRITE, space, address + 4 * first, words[first:first + MAX_WORDS], 0)

    def _ask(self, command, space, address, words, n_answered):
        tag = next(self._tags)
        what = f"{command.name.lower()} of {space.name.lower()} at {address:#x}"
        with _port_errors(self.port):
            self.port.write(request(command, space, address, words, tag))
            found = self._answer(what)
        if found.status is Status.BAD_CHECK:
            raise Garbled(f"{what}: the board received a frame with a wrong CRC; a byte was lost or changed on the "
                          "line")
        if found.tag != tag:
            raise Garbled(f"{what}: the answer is one to another request (tag {found.tag}, not {tag})")
        if found.status is not Status.OK:
            raise Refused(found.status, f"{what}: the board answers {found.status.name}")
        if len(found.words) != n_answered:
            raise Garbled(f"{what}: the answer has {len(found.words)} words, not {n_answered}")
        return found.words

    def _answer(self, what):
        data = self._bytes(ANSWER_HEAD_BYTES, self.patience)
        if not data or data[0] != ANSWER:
            raise self._silence(what, data + (self._bytes(_LONGEST, 0.2) if data else b""))
        if len(data) == ANSWER_HEAD_BYTES:
            data += self._bytes(answer_size(data) - len(data), self.patience)
        if len(data) < ANSWER_HEAD_BYTES or len(data) < answer_size(data):
            raise NoAnswer(f"{what}: the answer ends after {len(data)} bytes; a byte was lost on the line, or the "
                           "board was switched off")
        try:
            return parse_answer(data)
        except BadFrame as error:
            raise Garbled(f"{what}: a byte of the answer was changed on the line ({error})") from None

    def _silence(self, what, data):
        """The error for no answer, but perhaps other bytes."""
        if not data:
            return NoAnswer(f"{what}: nothing answers on {self.port.name} at {self.port.baudrate} baud within "
                            f"{self.patience:g} s; is the bitstream loaded, and the baud that of the build?")
        return Garbled(f"{what}: what comes back is no answer ({len(data)} bytes, the first {data[0]:#04x}); "
                       f"is {self.port.baudrate} the baud of the build?")

    def _bytes(self, count, patience):
        """At most ``count`` bytes: as many as come without a pause longer than ``patience`` seconds."""
        data, end = b"", time.monotonic() + patience
        while len(data) < count and time.monotonic() < end:
            more = self.port.read(min(count - len(data), max(1, self.port.in_waiting)))
            if more:
                data, end = data + more, time.monotonic() + patience
        return data


def _is_answer(data, tag):
    try:
        return data[0] == ANSWER and parse_answer(data).tag == tag
    except BadFrame:
        return False


class _port_errors:
    """Failures of the port as :class:`Disconnected`."""

    def __init__(self, port):
        self.port = port

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, OSError):  # SerialException is one
            raise Disconnected(f"{self.port.name} is gone: {error}") from error
