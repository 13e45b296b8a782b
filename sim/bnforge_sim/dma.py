"""The DMA engine alone, from memory to memory, in simulation: the memory and the rules of :mod:`.engine`'s bench."""

import ctypes
import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from bnforge import emit
from bnforge.dma import Copier

from . import build
from .build import CXX, DEFAULT_CACHE, FAST, SLOW, SOURCES, VERILATOR_FLAGS, verilator_root
from .dma_programs import bursts, copied, random_program, rows, tile_ends

__all__ = ["Broken", "Traffic", "CopierBench", "copy_at_random"]

CHANNELS = 5
PART = 2.0 ** 32


class Broken(AssertionError):
    """The engine broke a rule of its ports, or did not come to an end; the message says which, and when."""


@dataclass(frozen=True)
class Traffic:
    """How memory answers, as :class:`.engine.MemoryModel`.

    Parameters
    ----------
    read_latency, write_latency, jitter, order : int
    after_valid : bool
        READY of AR, AW and W only in answer to VALID, within the cycle.
    stalls : tuple of (float, int)
        Probability and longest length of the stalls of AR, R, AW, W and B.
    words : (float, int)
        The same of the words of descriptors.
    fault : (bool, int, int), optional
        Whether it is a write, which burst, and its response.
    """

    read_latency: int = 1
    write_latency: int = 1
    jitter: int = 0
    order: int = 0
    after_valid: bool = False
    stalls: tuple = ((0.0, 1),) * CHANNELS
    words: tuple = (0.0, 1)
    fault: tuple | None = None

    @classmethod
    def random(cls, rng):
        """Nothing in the way, or latencies, stalls and orders of all kinds."""
        if rng.random() < 0.15:
            return cls(read_latency=rng.choice([1, 2, 5]))

        def stall():
            return rng.choice([(0.0, 1), (0.0, 1), (0.1, 4), (0.5, 1), (0.9, 3), (0.02, 100)])

        return cls(rng.choice([1, 1, 3, 20, 60, 150]), rng.choice([1, 1, 3, 20, 60, 150]), rng.choice([0, 0, 5, 50]),
                   rng.randint(0, 2), rng.random() < 0.5, tuple(stall() for _ in range(CHANNELS)), stall())


class _Settings(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_void_p), *((name, ctypes.c_uint64) for name in ("base", "size", "seed")),
                *((name, ctypes.c_uint32) for name in ("max_burst", "outstanding", "read_latency", "write_latency",
                                                       "jitter", "order", "after_valid")),
                ("stall", ctypes.c_uint32 * CHANNELS), ("longest", ctypes.c_uint32 * CHANNELS),
                ("word_stall", ctypes.c_uint32), ("word_longest", ctypes.c_uint32)]


class CopierBench:
    """A :class:`bnforge.dma.Copier` under Verilator.

    Parameters
    ----------
    bus : bnforge.engine_config.BusConfig
    beat_bytes : int
    seed : int
        Of the values that registers start at.
    cache : path
        Where the compiled simulation is kept.
    """

    def __init__(self, bus, beat_bytes, *, seed=1, cache=DEFAULT_CACHE):
        self.bus, self.beat_bytes = bus, beat_bytes
        self._library = _library(bus, beat_bytes, cache)
        self._handle = self._library.dma_make(seed)
        self._fresh = True

    def close(self):
        """Free the simulation."""
        if self._handle:
            self._library.dma_delete(self._handle)
            self._handle = None

    def copy(self, memory, base, reads, writes, *, traffic=Traffic(), seed=1, reset=False, patience=1 << 20):
        """Run transfers on ``memory``, whose first byte is at address ``base``.

        Parameters
        ----------
        memory : bytes
        base : int
        reads, writes : lists of :class:`.dma_programs.Transfer`
        traffic : Traffic
        seed : int
            Of the traffic, and the garbage on idle inputs.
        reset : bool
            Reset before; always done for the first copy, and after a broken one.
        patience : int
            Cycles it may take.

        Returns
        -------
        (bytes, int)
            ``memory`` when the engine became idle, and the cycles until then.

        Raises
        ------
        Broken
            For a broken AXI rule, an access outside ``memory``, anything that moves once the engine is idle, or no end.
        """
        image = ctypes.create_string_buffer(bytes(memory), len(memory))
        settings = _Settings(
            ctypes.addressof(image), base, len(memory), seed, self.bus.max_burst, self.bus.outstanding,
            traffic.read_latency, traffic.write_latency, traffic.jitter, traffic.order, traffic.after_valid,
            *((ctypes.c_uint32 * CHANNELS)(*values) for values in (
                [int(probability * PART) for probability, _ in traffic.stalls], [n for _, n in traffic.stalls])),
            int(traffic.words[0] * PART), traffic.words[1])
        if traffic.fault is not None:
            self._library.dma_fault(self._handle, *traffic.fault)
        lists = [[word for transfer in part for word in transfer.words()] for part in (reads, writes)]
        words = [item for part in lists for item in ((ctypes.c_uint32 * len(part))(*part), len(part))]
        cycles = self._library.dma_run(self._handle, ctypes.byref(settings), *words, reset or self._fresh, patience)
        self._library.dma_heal(self._handle)
        self._fresh = cycles < 0
        if cycles < 0:
            raise Broken(self._library.dma_message(self._handle).decode() if cycles == -1 else "no end")
        return image.raw, cycles

    @property
    def error(self):
        """Whether the engine shows an error."""
        return bool(self._library.dma_error(self._handle))

    @property
    def strobed(self):
        """Bytes written in the last run."""
        return self._library.dma_strobed(self._handle)

    def flow(self):
        """Beats, first and last cycle of R and of W in the last run."""
        values = (ctypes.c_uint64 * 6)()
        self._library.dma_flow(self._handle, values)
        return tuple(values[:3]), tuple(values[3:])

    def bursts(self, write):
        """(address, bus beats) of all bursts of the last run, in their order."""
        values = (ctypes.c_uint64 * (2 * self._library.dma_bursts(self._handle, write, None)))()
        self._library.dma_bursts(self._handle, write, values)
        return list(zip(values[::2], values[1::2]))


def copy_at_random(bench, rng):
    """One copy with everything random, compared with :mod:`.dma_programs`; sometimes tiles end differently.

    Returns
    -------
    str or None
        What is wrong. The memory, the bursts asked for, the bytes strobed, and the error for tiles are compared.
    """
    bus, size = bench.bus, bench.beat_bytes
    top, area = 1 << bus.address_width, rng.choice([4096, 8192, 16384, 65536])
    base = rng.choice([0, top - area + rng.randrange(0, 2 * area, 4096), rng.randrange(0, top, 4096),
                       rng.randrange(0, top, bus.bytes)]) % top
    parts = [base, (base + area // 2) % top]
    rng.shuffle(parts)
    most = rng.choice([1, 3, 10, 30, 30, max(1, rng.randint(1, 20000 // size))])
    tiles = [[rng.randint(1, most) for _ in range(rng.choice([1, 1, 2, 3, 6]))]] * 2
    if rng.random() < 0.15:
        tiles[1] = rng.sample(tiles[0], len(tiles[0])) if rng.random() < 0.5 else [sum(tiles[0])]
    longest = rng.choice([None, None, 1, 3])
    reads, writes = (random_program(rng, bus, size, part, area // 2, numbers, longest)
                     for part, numbers in zip(parts, tiles))
    memory, traffic = rng.randbytes(area), Traffic.random(rng)
    expected = [[burst for start, length, _end in rows(part, bus.address_width) for burst in bursts(start, length, bus)]
                for part in (reads, writes)]
    n_beats = sum(tiles[0]) + sum(beats for part in expected for _address, beats in part)
    result, _cycles = bench.copy(memory, base, reads, writes, traffic=traffic, seed=rng.getrandbits(32),
                                 reset=bench.error or rng.random() < 0.1, patience=20000 + 400 * n_beats)
    wrong = [name for name, found, wanted in (
        ("AR", bench.bursts(False), expected[0]), ("AW", bench.bursts(True), expected[1]),
        ("memory", result, copied(memory, base, bus, size, reads, writes)),
        ("strobes", bench.strobed, sum(length for _start, length, _end in rows(writes, bus.address_width))),
        ("error", bench.error, tile_ends(reads, size) != tile_ends(writes, size))) if found != wanted]
    return f"{', '.join(wrong)} differ: {reads=} {writes=} {traffic=}" if wrong else None


@functools.cache
def _library(bus, beat_bytes, cache):
    library = ctypes.CDLL(str(_build(bus, beat_bytes, Path(cache).resolve())))
    handle, word, long = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    for name, result, arguments in (
            ("make", handle, [word]), ("delete", None, [handle]), ("message", ctypes.c_char_p, [handle]),
            ("run", ctypes.c_int64, [handle, handle, handle, word, handle, word, word, long]),
            ("error", word, [handle]), ("strobed", long, [handle]), ("flow", None, [handle, handle]),
            ("bursts", long, [handle, word, handle]), ("fault", None, [handle, word, long, word]),
            ("heal", None, [handle])):
        function = getattr(library, f"dma_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _build(bus, beat_bytes, cache):
    """The bench library, compiled once per design."""
    verilog = emit.component_verilog(Copier(bus, beat_bytes), "copier")
    options = [*build._defines(False), "-fPIC"]
    tools = [*build._tool_versions(), *VERILATOR_FLAGS, *CXX, FAST, SLOW, *options]
    sources = [(SOURCES / name).read_text() for name in (
        "dma.cpp", "engine_memory.h", "engine_monitor.h", "engine.h", "design.h")]
    include = verilator_root() / "include"

    def link(folder):
        names = ["verilated", "verilated_threads"]
        runtime = build._once(cache, f"dma-runtime-{build._hash(tools)}", lambda target: build._compile(
            target, [(include / f"{name}.cpp", f"{name}.o", SLOW, options) for name in names], [include]))
        source, generated = folder / "copier.sv", folder / "verilated"
        source.write_text(verilog)
        build._run(["verilator", *VERILATOR_FLAGS, "--top-module", "copier", "--Mdir", str(generated), str(source)])
        files = [SOURCES / "dma.cpp", *sorted(generated.glob("Vtop*.cpp"))]
        (folder / "all.cpp").write_text("".join(f'#include "{path}"\n' for path in files))
        widths = [f"-DDATA_BITS={bus.data_width}", f"-DADDRESS_BITS={bus.address_width}"]
        build._compile(folder, [(folder / "all.cpp", "all.o", FAST, [*options, *widths])],
                       [SOURCES, generated, include])
        objects = [folder / "all.o", *sorted(runtime.glob("*.o"))]
        build._run([*CXX, "-shared", *map(str, objects), "-o", str(folder / "dma.so"), "-pthread"])
        shutil.rmtree(generated)
        for name in ("all.o", "all.cpp"):
            (folder / name).unlink()

    key = build._hash([*tools, *sources, str(bus), verilog])
    return build._once(cache, f"copier-{key}", link) / "dma.so"
