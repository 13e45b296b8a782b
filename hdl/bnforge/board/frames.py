"""The frames on the serial line, for gateware and host: docs/boards.md, The line.

Plain data; the host encodes and decodes with these functions, the gateware takes the numbers.
"""

import enum
import struct
from typing import NamedTuple

from amaranth.lib.crc import catalog

__all__ = ["REQUEST", "ANSWER", "MAX_WORDS", "HEAD_BYTES", "ANSWER_HEAD_BYTES", "CHECK_BYTES", "HAS_DATA", "PROTOCOL",
           "CRC", "Command", "Space", "Status", "Answer", "BadFrame", "request", "answer", "answer_size",
           "parse_answer"]

PROTOCOL = 1
"""Version of what is described here; in the identity of a board."""
REQUEST, ANSWER = 0xB5, 0x5B
"""First byte of a frame from the host, and of one to it."""
MAX_WORDS = 256
"""32-bit words in a frame."""
HEAD_BYTES = 8
"""Of a request: first byte, command, tag, words - 1, address."""
ANSWER_HEAD_BYTES = 4
"""First byte, status, tag, words - 1."""
CHECK_BYTES = 4
CRC = catalog.CRC32_ISO_HDLC(data_width=8)
"""Over all of a frame but its first byte; least significant byte first. That of zlib and Ethernet."""
HAS_DATA = 0x80
"""Bit of an answer's second byte: words follow."""


class Space(enum.IntEnum):
    """What an address is one of."""

    MEMORY = 0
    """The memory that the engine sees, at the addresses of the engine."""
    REGISTERS = 1
    """The registers of the engine, or those of :class:`.TileRegister`, by their offsets."""
    IDENTITY = 2
    """What was built, read-only: :meth:`.BoardConfig.identity`."""


class Command(enum.IntEnum):
    """What is done with the words from an address on."""

    READ = 0
    WRITE = 1


class Status(enum.IntEnum):
    """How a request ended."""

    OK = 0
    BAD_CHECK = 1
    """The CRC is wrong: nothing was done."""
    BAD_REQUEST = 2
    """No such command or space, or an address that is no multiple of 4: nothing was done."""
    BAD_ADDRESS = 3
    """There is nothing at an address, or it cannot be written; the words before it are done."""
    REFUSED = 4
    """An access to a register was refused; the words before it are done."""


class BadFrame(ValueError):
    """Bytes that are no frame."""


class Answer(NamedTuple):
    """A parsed answer."""

    status: Status
    tag: int
    words: tuple


def _checked(body):
    return body + struct.pack("<I", CRC.compute(body))


def request(command, space, address, words, tag):
    """Bytes of a request.

    Parameters
    ----------
    command : Command
    space : Space
    address : int
        Of the first word, in bytes.
    words : int or sequence of int
        1 to :data:`MAX_WORDS`: how many are read, or what is written.
    tag : int
        0 to 255; the answer has it too.
    """
    values = () if command is Command.READ else tuple(words)
    count = words if command is Command.READ else len(values)
    if not 1 <= count <= MAX_WORDS:
        raise ValueError(f"words must be 1 to {MAX_WORDS}, not {count}")
    head = struct.pack("<BBBI", command | space << 1, tag, count - 1, address)
    return bytes([REQUEST]) + _checked(head + struct.pack(f"<{len(values)}I", *values))


def answer(status, tag, words=()):
    """Bytes of an answer; ``words`` is empty for a write, or for a request that failed."""
    head = bytes([status | HAS_DATA * bool(words), tag, max(len(words), 1) - 1])
    return bytes([ANSWER]) + _checked(head + struct.pack(f"<{len(words)}I", *words))


def answer_size(head):
    """Bytes of an answer that begins with the :data:`ANSWER_HEAD_BYTES` bytes ``head``."""
    return ANSWER_HEAD_BYTES + CHECK_BYTES + (4 * (head[3] + 1) if head[1] & HAS_DATA else 0)


def parse_answer(data):
    """:class:`Answer` of the bytes of a frame.

    Raises
    ------
    BadFrame
    """
    body, (check,) = data[1:-CHECK_BYTES], struct.unpack("<I", data[-CHECK_BYTES:])
    if CRC.compute(body) != check:
        raise BadFrame(f"CRC must be {CRC.compute(body):#010x}, not {check:#010x}")
    code = body[0] & ~HAS_DATA
    if code not in tuple(Status):
        raise BadFrame(f"status must be 0 to {max(Status)}, not {code}")
    return Answer(Status(code), body[1], struct.unpack(f"<{(len(body) - 3) // 4}I", body[3:]))
