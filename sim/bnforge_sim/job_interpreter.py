"""An engine with an array in software: runs a chain of jobs on a memory, by docs/engine.md and docs/array.md.

It knows nothing of layers: programs become bytes and beats, beats become tiles and passes, and these go through the
model. What an engine refuses raises ValueError.
"""

import itertools

import numpy as np

from bnforge.config import HEADER_FIXED_WORDS
from bnforge.engine_config import TRANSPOSE, Channel
from bnforge_model import Encoded, Shape, backward_codes, backward_order, forward_codes
from bnforge_model.array import matmul, operands
from bnforge_model.memory import pack_operand, pack_stored, unpack_operand, unpack_stored
from bnforge_model.words import gradient_words, parse_header, parse_records, record_words

from .descriptors import descriptors

__all__ = ["run_chain", "run_job"]

_ALLOWED = (0, 0x1B, 0x1F, 0xD9, 0xDD, 0x1C0, 0x1C0 | TRANSPOSE)
_CHAIN_LIMIT = 1000


def run_chain(config, memory, address, base=0):
    """Run a job and those that it is chained to.

    Parameters
    ----------
    config : EngineConfig
        With an array.
    memory : uint8 array
        Changed in place.
    address : int
        Of the first job.
    base : int
        Address of the first byte of ``memory``.

    Returns
    -------
    list of int
        The addresses of the jobs.
    """
    done = []
    while address:
        done.append(address)
        if len(done) > _CHAIN_LIMIT:
            raise ValueError(f"chain must be of at most {_CHAIN_LIMIT} jobs")
        address = run_job(config, memory, address, base)
    return done


def run_job(config, memory, address, base=0):
    """Run one job: returns the address of the next."""
    low, high, used, rows, *starts = memory[address - base:][:4 * config.job_words].view("<u4").tolist()
    if used not in _ALLOWED:
        raise ValueError(f"channels must be those of a job, not {used:#x}")
    if bool(rows) != bool(used >> Channel.ACTIVATION & 1):
        raise ValueError(f"rows of a tile must be given with channel 6, and only then, not {rows} with {used:#x}")
    job = _Job(config, memory, base, {channel: starts[2 * index] | starts[2 * index + 1] << 32
                                      for index, channel in enumerate(config.programs) if used >> channel & 1})
    if used >> Channel.ACTIVATION & 1:
        codes = _product(config, *(job.read(channel) for channel in (Channel.ACTIVATION, Channel.WEIGHT)),
                         bool(used & TRANSPOSE))
        tiles = _even(codes, rows)
    elif used:
        tiles = [job.operand(beats) for beats in job.read(Channel.OPERAND)]
    if used >> Channel.PRODUCT & 1:
        job.write(Channel.PRODUCT, [pack_operand(config, tile[None, None]) for tile in tiles])
    elif used:
        job.normalise(tiles)
    return high << 32 | low


def _even(codes, rows):
    if len(codes) % rows:
        raise ValueError(f"results must be whole tiles of {rows} rows, not {len(codes)}")
    return codes.reshape(-1, rows, codes.shape[1])


class _Job:
    """The channels of a job: ``starts`` are the addresses of their programs."""

    def __init__(self, config, memory, base, starts):
        self.config, self.memory, self.base, self.starts = config, memory, base, starts

    def rows(self, channel):
        """For each tile of a channel its rows: lists of (indices of ``memory`` (n, length), beats of a row)."""
        beat, tiles = self.config.beat_bytes(channel), [[]]
        for part in descriptors(self.memory[self.starts[channel] - self.base:]):
            if part.length > beat and part.length % beat:
                raise ValueError(f"length must be a multiple of {beat}, not {part.length}")
            first = part.row_addresses(self.config.bus.address_width).astype(np.int64) - self.base
            if first.min() < 0 or first.max() + part.length > len(self.memory):
                raise ValueError(f"rows must be in memory, not at {first.min()} ... {first.max()}")
            tiles[-1].append((first[:, None] + np.arange(part.length), max(1, part.length // beat)))
            if part.ends_tile:
                tiles.append([])
        if tiles.pop():
            raise ValueError("last descriptor must end a tile")
        return tiles

    def read(self, channel):
        """The beats of each tile, uint8 (n, bytes); short ones filled with zeros."""
        beat = self.config.beat_bytes(channel)
        return [np.concatenate([self._beats(self.memory[places], beat) for places, _ in tile])
                for tile in self.rows(channel)]

    @staticmethod
    def _beats(rows, beat):
        if rows.shape[1] < beat:
            rows = np.pad(rows, ((0, 0), (0, beat - rows.shape[1])))
        return rows.reshape(-1, beat)

    def write(self, channel, tiles):
        """Write tiles of bytes; of short beats the beginning."""
        beat, rows = self.config.beat_bytes(channel), self.rows(channel)
        if len(rows) != len(tiles):
            raise ValueError(f"tiles must be {len(rows)}, as the program has them, not {len(tiles)}")
        for tile, data in zip(rows, tiles, strict=True):
            beats, n_beats = np.frombuffer(data, np.uint8).reshape(-1, beat), [len(p) * n for p, n in tile]
            if sum(n_beats) != len(beats):
                raise ValueError(f"beats of a tile must be {sum(n_beats)}, as the program has them, not {len(beats)}")
            for (places, _), part in zip(tile, np.split(beats, np.cumsum(n_beats)[:-1]), strict=True):
                self.memory[places] = part.reshape(len(places), -1)[:, :places.shape[1]]

    def operand(self, beats):
        """Codes (n, lanes) of beats of x or dy."""
        shape = Shape(1, 1, len(beats), self.config.lanes)
        return unpack_operand(self.config, beats, shape).reshape(-1, self.config.lanes)

    def normalise(self, tiles):
        """Codes of x or dy through the core, and what it writes to memory."""
        headers = [beats.view("<u4").ravel() for beats in self.read(Channel.HEADER)]
        backward = Channel.STORED in self.starts
        stored = self.read(Channel.STORED) if backward else [None] * len(headers)
        if not len(headers) == len(tiles) == len(stored):
            raise ValueError(f"headers must be {len(tiles)}, not {len(headers)}, and stored tiles, not {len(stored)}")
        results, records = [], []
        for words, codes, beats in zip(headers, tiles, stored, strict=True):
            if backward != bool(words[0] & 1):
                raise ValueError(f"header must be of the direction of the job, not {words[0]:#x}")
            encoded, record = (_backward(self.config, words, codes, _stored(self.config, beats)) if backward else
                               _forward(self.config.core, words, codes))
            results.append(pack_stored(self.config, encoded, Shape(1, 1, len(codes), self.config.lanes)))
            records.append(record.astype("<u4").tobytes())
        self.write(Channel.RESULT, results)
        self.write(Channel.RECORD, records)


def _stored(config, beats):
    """What beats of the storage format hold, elements (n, lanes)."""
    return unpack_stored(config, beats, Shape(1, 1, len(beats), config.lanes))


def _product(config, passes, sweeps, transposed):
    """Codes of the array's results (n, columns), from the beats of its two streams, cut at TLAST."""
    results, size = [], config.array.rows
    factors = [[operands(config.array, _stored(config, beats))[0] for beats in stream] for stream in (passes, sweeps)]
    left = iter(factors[0])
    for sweep in factors[1]:
        n_tiles = -(-len(sweep) // size)
        if transposed:
            found = [next(left).T]
            if -(-found[0].shape[1] // size) != n_tiles:
                raise ValueError(f"transposed block must have {n_tiles} tiles, not {found[0].shape[1]} rows")
            sweep = sweep[:found[0].shape[1]]
            found[0] = found[0][:, :len(sweep)]
        else:
            found = list(itertools.islice(left, n_tiles))
            lengths = {len(rows) for rows in found}
            if len(found) < n_tiles or len(lengths) > 1 or max(lengths) > config.array.depth:
                raise ValueError(f"passes must be {n_tiles} of equal length up to {config.array.depth}, not {lengths}")
            sweep = np.pad(sweep, ((0, n_tiles * size - len(sweep)), (0, 0)))
        results.append(matmul(config.array, np.concatenate(found, axis=1), sweep).codes)
    if next(left, None) is not None:
        raise ValueError("passes must end with the weights")
    return np.concatenate(results)


def _forward(core, words, codes):
    """(Encoded, record words) of a forward tile."""
    header = parse_header(core, words)
    numbers = {} if header.frozen else {"c": header.c, "eps": header.eps, "sample_len": header.sample_len}
    result = forward_codes(core, codes, header.gamma, header.beta, activation=header.activation, mask=header.mask,
                           frozen=header.frozen, **numbers)
    return result.encoded, record_words(core, result.records, header.mask)


def _backward(config, words, codes, encoded):
    """(Encoded, gradient words) of a backward tile, whose beats come in backward order."""
    core, first = config.core, int(words[0])
    mask = int(words[3]) >> np.arange(core.lanes) & 1 == 1
    frozen, n = bool(first >> 3 & 1), len(codes)
    c, eps = words[1:3].view(np.float32)
    sample_len = 0 if frozen else first >> 16
    order = backward_order(n, sample_len)
    forward = np.argsort(order)
    result = backward_codes(core, codes[forward], _rows(encoded, forward),
                            parse_records(core, words[HEADER_FIXED_WORDS:], mask), activation=first >> 1 & 3,
                            sample_len=sample_len, c=c, eps=eps, frozen=frozen, mask=mask)
    return _rows(result.encoded, order), gradient_words(result.dgamma, result.dbeta, mask)


def _rows(encoded, order):
    exponents = None if encoded.exponents is None else encoded.exponents[order]
    return Encoded(encoded.format, encoded.elements[order], exponents)
