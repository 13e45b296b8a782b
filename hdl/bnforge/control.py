"""Frontend of the engine: runs jobs and chains of jobs, and ends a run at the first error."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arith import comb
from .dma.layouts import beat_layout, row_layout
from .dma.loader import DESCRIPTOR_BYTES
from .engine_config import JOB_WORDS, TRANSPOSE, Cause, Channel
from .sweeps.words import sweeps_of

__all__ = ["JobControl", "error_layout", "NO_CHANNEL"]

NO_CHANNEL = 15
"""Where an error belongs to no channel."""
_USED, _ROWS, _PROGRAMS = 2, 3, 4
_TILE_COUNT_WIDTH = 16
_TILED = (Channel.HEADER, Channel.RESULT, Channel.RECORD)
"""Streams that have a tile for each one of the operand; of the stored tensor only backward tiles have one."""


def _mask(*channels):
    return sum(1 << channel for channel in channels)


_FORWARD = _mask(Channel.HEADER, Channel.RESULT, Channel.RECORD)
_BACKWARD = _FORWARD | _mask(Channel.STORED)
_ARRAY = _mask(Channel.ACTIVATION, Channel.WEIGHT)


def error_layout(config):
    """An error: a strobe, and what CAUSE and ERROR_ADDRESS will show."""
    return data.StructLayout({"valid": 1, "cause": Cause, "channel": 4, "address": config.bus.address_width})


class JobControl(wiring.Component):
    """Job words, the chain, and the end of a run.

    What has a bit or an item per program has them in the order of ``config.programs``.

    A run ends well when a job with next address 0 has ended. At an error it *drains*: no burst begins, and once nothing
    is outstanding ``o_clear`` resets core and channels.

    Latency: 2 cycles from ``i_start`` to the start of the programs.

    Members
    -------
    i_start, i_abort, i_reset : commands, strobes
    i_watchdog : cycles, 0: off
    i_job_write, i_job_index, i_job_data, o_job : the job words that are registers
    o_row, i : the next job is wanted from memory; its words. Only while ``o_fetching``
    o_start, o_pointers, i_advance : programs, to the loader
    o_array, o_product, o_transpose, o_rows : with an array: the job uses it, its results go to memory, its activations
        come transposed; rows of a tile
    i_finished : per stream, its program has ended and nothing of it is left inside
    i_tiles : per stream, strobe at the end of a tile: as it enters the core, as it leaves it
    i_idle : nothing is outstanding on the bus
    i_moved : strobe, something is getting on
    i_errors : errors, the first one goes first
    i_oldest : what is outstanding, should the bus not answer
    o_busy, o_draining : state
    o_halt, o_clear : begin no burst; reset core and channels
    o_soft_reset : strobe, reset all registers
    o_job_done, o_done, o_error : strobes
    o_cause, o_channel, o_address : the error of the run
    """

    def __init__(self, config, n_errors):
        self.config = config
        width, error, n = config.bus.address_width, error_layout(config), len(config.programs)
        array = {} if config.array is None else {
            "o_array": Out(1), "o_product": Out(1), "o_transpose": Out(1), "o_rows": Out(32)}
        super().__init__({
            "i_start": In(1), "i_abort": In(1), "i_reset": In(1), "i_watchdog": In(32),
            "i_job_write": In(1), "i_job_index": In(range(JOB_WORDS)), "i_job_data": In(32),
            "o_job": Out(data.ArrayLayout(32, JOB_WORDS)),
            "o_row": Out(stream.Signature(row_layout(config.bus))), "i": In(stream.Signature(beat_layout(4))),
            "o_fetching": Out(1), "o_start": Out(n), "o_pointers": Out(data.ArrayLayout(width, n)), "i_advance": In(n),
            "i_finished": In(n), "i_tiles": In(n), "i_idle": In(1), "i_moved": In(1), **array,
            "i_errors": In(error).array(n_errors), "i_oldest": In(error),
            "o_busy": Out(1), "o_draining": Out(1), "o_halt": Out(1), "o_clear": Out(1), "o_soft_reset": Out(1),
            "o_job_done": Out(1), "o_done": Out(1), "o_error": Out(1), "o_cause": Out(Cause), "o_channel": Out(4),
            "o_address": Out(width)})

    def elaborate(self, platform):
        m = Module()
        here = Signal(self.config.bus.address_width)  # of the job; 0: it came by register
        word = Signal(range(self.config.job_words))
        follows, used, valid = self._words(m, word, here)
        ended = comb(m, ((self.i_finished & used) == used) & self.i_idle, "ended")
        uneven = self._tiles(m) if self.config.core.is_one_pass else self._uneven(m, used)
        resetting = Signal()
        error = self._first_error(m, here, comb(m, ~valid, "invalid"), uneven)

        failed = comb(m, error.any | self.i_reset, "failed")
        idle = Signal()
        draining = Signal()
        fetching = Signal()

        def leave():
            """Out of a state of a run, whatever else it wanted."""
            with m.If(failed):
                m.next = "DRAIN"

        with m.FSM(name="run"):
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(self.i_start):
                    m.d.sync += [here.eq(0), self.o_cause.eq(Cause.NONE), self.o_channel.eq(0), self.o_address.eq(0)]
                    m.next = "BEGIN"
                with m.If(self.i_reset):
                    m.d.sync += resetting.eq(1)
                    m.next = "DRAIN"
            with m.State("BEGIN"):
                m.d.comb += [error.check_job.eq(1), self.o_start.eq(Mux(valid, used, 0))]
                m.next = "RUN"
                with m.If(used == 0):
                    m.next = "NEXT"
                leave()
            with m.State("RUN"):
                with m.If(ended):
                    m.d.comb += [error.check_tiles.eq(1), self.o_job_done.eq(~error.any)]
                    m.next = "NEXT"
                leave()
            with m.State("NEXT"):
                with m.If(follows.any()):
                    m.d.sync += here.eq(follows)
                    m.next = "ASK"
                with m.Else():
                    m.d.comb += self.o_done.eq(~failed)
                    m.next = "IDLE"
                leave()
            with m.State("ASK"):
                m.d.comb += [fetching.eq(1), self.o_row.valid.eq(1)]
                with m.If(self.o_row.ready):
                    m.next = "FETCH"
                leave()
            with m.State("FETCH"):
                m.d.comb += [fetching.eq(1), self.i.ready.eq(1)]
                with m.If(self.i.valid):
                    m.d.sync += word.eq(word + 1)
                    with m.If(word == self.config.job_words - 1):
                        m.d.sync += word.eq(0)
                        m.next = "BEGIN"
                leave()
            with m.State("DRAIN"):
                m.d.comb += draining.eq(1)
                with m.If(self.i_reset):
                    m.d.sync += resetting.eq(1)
                with m.If(self.i_idle):
                    m.d.comb += [self.o_clear.eq(1), self.o_soft_reset.eq(resetting | self.i_reset)]
                    m.d.sync += [resetting.eq(0), word.eq(0)]
                    m.next = "IDLE"
        running = comb(m, ~idle & ~draining, "running")
        with m.If(running & self.i_reset):
            m.d.sync += resetting.eq(1)
        with m.If(running & error.any):
            m.d.comb += self.o_error.eq(1)
            m.d.sync += [self.o_cause.eq(error.record.cause), self.o_channel.eq(error.record.channel),
                         self.o_address.eq(error.record.address)]
        with m.If(self.o_soft_reset):
            m.d.sync += [self.o_cause.eq(Cause.NONE), self.o_channel.eq(0), self.o_address.eq(0)]
        m.d.comb += [
            self.o_busy.eq(~idle), self.o_draining.eq(draining), self.o_halt.eq(draining),
            self.o_fetching.eq(fetching), self.o_row.payload.address.eq(here),
            self.o_row.payload.length.eq(4 * self.config.job_words)]
        self._watch(m, error, running)
        return m

    def _words(self, m, fetched, here):
        """The job words: next address, programs used, and whether nothing is wrong with them."""
        config = self.config
        width, n_words, array = config.bus.address_width, config.job_words, config.array is not None
        bits = TRANSPOSE.bit_length() if array else max(config.programs) + 1
        follows = Signal(width)
        mask = Signal(bits, name="used")
        rows = Signal(32) if array else Const(0, 0)
        pointers = [Signal(width, name=f"pointer{i}") for i in range(len(config.programs))]
        strange = Signal(n_words)  # words with bits that must be 0
        write = Signal()
        index = Signal(range(n_words))
        value = Signal(32)
        m.d.comb += [write.eq(self.i_job_write), index.eq(self.i_job_index), value.eq(self.i_job_data)]
        with m.If(self.i.valid & self.i.ready):
            m.d.comb += [write.eq(1), index.eq(fetched), value.eq(self.i.payload.data)]
        addresses = [follows, None, *pointers]
        for number in range(n_words):
            part = {_USED: mask, _ROWS: rows}.get(number)
            if part is None:
                part = addresses[number // 2][32 * (number % 2):][:32]
            if number < JOB_WORDS:
                m.d.comb += self.o_job[number].eq(part)
            with m.If(write & (index == number)):
                if len(part):
                    m.d.sync += part.eq(value)
                if len(part) < 32:
                    m.d.sync += strange[number].eq(value[len(part):].any())
        for number, pointer in enumerate(pointers):
            m.d.comb += self.o_pointers[number].eq(pointer)
            with m.If(self.i_advance[number]):
                m.d.sync += pointer.eq(pointer + DESCRIPTOR_BYTES)
        with m.If(self.o_soft_reset):
            m.d.sync += [mask.eq(0), strange.eq(0), follows.eq(0), *(pointer.eq(0) for pointer in pointers)]
            if array:
                m.d.sync += rows.eq(0)
        used = Cat(mask[channel] for channel in config.programs)
        fits = self._fits(m, mask, rows, here)
        odd = [strange[_PROGRAMS + 2 * i:][:2].any() & used[i] for i in range(len(pointers))]
        return follows, used, fits & ~strange[:_PROGRAMS].any() & ~Cat(odd).any()

    def _fits(self, m, mask, rows, here):
        """Whether the channels used make a job. Those that have more words than there are registers come from
        memory."""
        core = self.config.core
        if not core.is_one_pass:
            return self._fits_sweep(mask, here)
        operand = _mask(Channel.OPERAND)
        passes = [_FORWARD] * core.has_forward + [_BACKWARD] * core.has_backward
        fits = (mask == 0) | Cat(mask == (used | operand) for used in passes).any()
        if self.config.array is None:
            return fits
        product = _ARRAY | _mask(Channel.PRODUCT)
        products = [product] + [product | TRANSPOSE] * self.config.array.transposes
        uses = comb(m, Cat(mask == wanted for wanted in (*(used | _ARRAY for used in passes), *products)).any(), "uses")
        m.d.comb += [self.o_array.eq(mask[Channel.ACTIVATION]), self.o_product.eq(mask[Channel.PRODUCT]),
                     self.o_transpose.eq(mask[TRANSPOSE.bit_length() - 1]), self.o_rows.eq(rows)]
        return Mux(rows.any(), uses & here.any(), fits)

    def _fits_sweep(self, mask, here):
        """The same of a baseline: the channels of a sweep."""
        used = {self.config.sweep_channels(sweep) for sweep in sweeps_of(self.config.core)}
        uses = [(mask == _mask(*channels)) & (here.any() if Channel.GRADIENT in channels else 1)
                for channels in sorted(used, key=sorted)]
        return (mask == 0) | Cat(uses).any()

    def _uneven(self, m, used):
        """Whether each stream of a sweep has had another number of tiles than the header in this job."""
        channels = self.config.programs
        counts = [Signal(_TILE_COUNT_WIDTH, name=f"tiles{channel:d}") for channel in channels]
        for number, count in enumerate(counts):
            with m.If(self.i_tiles[number]):
                m.d.sync += count.eq(count + 1)
            with m.If(self.o_start.any() | self.o_clear):
                m.d.sync += count.eq(0)
        header = counts[channels.index(Channel.HEADER)]
        return {channel: comb(m, used[number] & (count != header), f"uneven{channel:d}")
                for number, (channel, count) in enumerate(zip(channels, counts)) if channel is not Channel.HEADER}

    def _tiles(self, m):
        """Whether each stream of ``_TILED`` has had another number of tiles than the operand in this job."""
        counts = {number: Signal(_TILE_COUNT_WIDTH, name=f"tiles{number:d}") for number in (*_TILED, Channel.OPERAND)}
        for number, count in counts.items():
            with m.If(self.i_tiles[number]):
                m.d.sync += count.eq(count + 1)
            with m.If(self.o_start.any() | self.o_clear):
                m.d.sync += count.eq(0)
        return {number: comb(m, counts[number] != counts[Channel.OPERAND], f"uneven{number:d}") for number in _TILED}

    def _first_error(self, m, here, invalid, uneven):
        """The error of this cycle. The state machine says when a job and its tiles are to be checked."""
        error = _Error(m, error_layout(self.config))
        sources = [(item.valid, item.cause, item.channel, item.address) for item in self.i_errors]
        sources.append((error.check_job & invalid, Const(Cause.DESCRIPTOR_RESERVED), Const(Channel.FETCH, 4), here))
        sources += [(error.check_tiles & differs, Const(Cause.FRAMING), Const(number, 4), Const(0))
                    for number, differs in uneven.items()]
        sources += [
            (error.expired & ~self.i_idle, Const(Cause.BUS_TIMEOUT), self.i_oldest.channel, self.i_oldest.address),
            (error.expired, Const(Cause.STARVED), Const(NO_CHANNEL, 4), Const(0)),
            (self.i_abort, Const(Cause.ABORTED), Const(NO_CHANNEL, 4), Const(0))]
        m.d.comb += error.any.eq(Cat(valid for valid, *_rest in sources).any())
        for valid, cause, channel, address in reversed(sources):
            with m.If(valid):
                m.d.comb += [error.record.cause.eq(Value.cast(cause)), error.record.channel.eq(channel),
                             error.record.address.eq(address)]
        return error

    def _watch(self, m, error, watched):
        """The watchdog."""
        waited = Signal(32)
        m.d.comb += error.expired.eq(watched & (waited == self.i_watchdog) & self.i_watchdog.any())
        m.d.sync += waited.eq(Mux(watched & ~self.i_moved, waited + 1, 0))


class _Error:
    """Signals between the state machine and what finds errors."""

    def __init__(self, m, layout):
        self.any, self.expired = Signal(name="error"), Signal(name="expired")
        self.check_job, self.check_tiles = Signal(name="check_job"), Signal(name="check_tiles")
        self.record = Signal(layout, name="error_record")
