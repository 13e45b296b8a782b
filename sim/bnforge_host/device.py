"""A board as a host sees it: what was built, the engine's registers, and memory."""

import json
import struct
import time
import zlib

import numpy as np
from bnforge.board import BoardConfig, Space
from bnforge.board.config import IDENTITY_WORDS, MAGIC, TileRegister
from bnforge.board.frames import MAX_WORDS, PROTOCOL
from bnforge_sim.driver import Driver
from bnforge_sim.engine_runs import drive

from .link import LinkError

__all__ = ["Device"]


class Device:
    """A board that answers.

    Parameters
    ----------
    link : Link
        Open.

    Attributes
    ----------
    config : BoardConfig
        What was built, as the board says.
    driver : bnforge_sim.driver.Driver
        The registers of the engine; :func:`bnforge_sim.engine_runs.drive` runs what it does. None without an engine.

    Raises
    ------
    LinkError
        When the line fails, or what answers is not a board of this version.
    """

    def __init__(self, link):
        self.link = link
        head = link.read(Space.IDENTITY, 0, IDENTITY_WORDS)
        magic, protocol, _clock, _baud, _base, _size, length, check = head
        if magic != MAGIC:
            raise LinkError(f"identity must begin with {MAGIC:#010x}, not {magic:#010x}: this is no board of bnforge")
        if protocol != PROTOCOL:
            raise LinkError(f"protocol must be {PROTOCOL}, not {protocol}: build the bitstream again with this version")
        words = link.read(Space.IDENTITY, 4 * IDENTITY_WORDS, -(-length // 4))
        text = struct.pack(f"<{len(words)}I", *words)[:length]
        if zlib.crc32(text) != check:
            raise LinkError("identity must agree with its CRC: the bitstream is damaged")
        try:
            self.config = BoardConfig.from_dict(json.loads(text))
        except ValueError as error:
            raise LinkError(f"configuration of the board is not one of this version: {error}") from None
        self.driver = None
        if self.config.has_engine:
            self.driver = Driver(self.config.engine, self._read_register, self._write_register)

    async def _read_register(self, offset):
        return self.link.read(Space.REGISTERS, offset, 1)[0]

    async def _write_register(self, offset, word):
        self.link.write(Space.REGISTERS, offset, [word])

    @property
    def end(self):
        """First address after the memory."""
        return self.config.memory_base + self.config.memory_bytes

    def identify(self):
        """Version of the generator, (major, minor, patch), from the engine's own registers; None without an engine.

        Raises
        ------
        LinkError, ValueError
            When the registers are not those of the configuration.
        """
        return drive(self.driver.identify()) if self.driver else None

    def write(self, address, data, progress=None):
        """Write bytes at an address, whole words: up to 3 bytes before and behind are read and written back.

        Parameters
        ----------
        progress : function of int, optional
            Called with the number of bytes just written.
        """
        first, last = address & ~3, -(-(address + len(data)) // 4) * 4
        before, behind = (self.read(at, size) for at, size in (
            (first, address - first), (address + len(data), last - address - len(data))))
        words = np.frombuffer(before + bytes(data) + behind, "<u4").tolist()
        for start in range(0, len(words), MAX_WORDS):
            some = words[start:start + MAX_WORDS]
            self.link.write(Space.MEMORY, first + 4 * start, some)
            if progress is not None:
                progress(4 * len(some))

    def read(self, address, size, progress=None):
        """Bytes at an address."""
        first, last = address & ~3, -(-(address + size) // 4) * 4
        data = bytearray()
        for at in range(first, last if size else first, 4 * MAX_WORDS):
            count = min(MAX_WORDS, (last - at) // 4)
            data += np.array(self.link.read(Space.MEMORY, at, count), "<u4").tobytes()
            if progress is not None:
                progress(4 * count)
        return bytes(data[address - first:address - first + size])

    def write_words(self, place, words, progress=None):
        """Write 32-bit words at a word of the memory."""
        self.write(self.config.memory_base + 4 * place, np.asarray(words, "<u4").tobytes(), progress)

    def read_words(self, place, count, progress=None):
        """uint32 array of words of the memory."""
        return np.frombuffer(self.read(self.config.memory_base + 4 * place, 4 * count, progress), "<u4")

    def run_tile(self, n_beats):
        """Run the tile in the memory of a board without an engine: cycles, and the flags of the core.

        Raises
        ------
        LinkError
            The core does not end, or refuses the tile.
        """
        self.link.write(Space.REGISTERS, TileRegister.RUN, [n_beats])
        end = time.monotonic() + self.link.patience
        while (status := self.link.read(Space.REGISTERS, TileRegister.STATUS, 1)[0]) & 1:
            if time.monotonic() > end:
                raise LinkError(f"tile of {n_beats} beats must end in {self.link.patience:g} s, and does not: load the "
                                "bitstream again")
        flags = status >> 8
        if flags >> 3:
            raise LinkError(f"the core refused the tile, with status {flags:#x}")
        return self.link.read(Space.REGISTERS, TileRegister.CYCLES, 1)[0], flags
