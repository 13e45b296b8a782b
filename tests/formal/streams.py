"""The stability of the streams of the core, outside and inside."""

from amaranth.hdl import Signal, Value

from .control import JobQueue
from .runner import check

__all__ = ["StreamStability"]


class StreamStability(JobQueue):
    """Once offered, a transfer stays on offer with the same payload until taken: every output port of the core, and
    every stream between its parts that can stall.
    """

    def specify(self, m):
        super().specify(m)
        parts = self.parts
        streams = [self._port("m_axis"), self._port("m_axis_rec")]
        streams += [(stream.valid, stream.ready, [Value.cast(stream.payload)]) for stream in (
            parts.header.o_open, parts.input.o_beat, parts.constants.i_job, parts.normaliser.i, parts.normaliser.o,
            parts.records.o)]
        for valid, ready, payload in streams:
            waiting = Signal()
            m.d.sync += waiting.eq(valid & ~ready)
            check(m, ~waiting | valid)
            for part in payload:
                held = Signal.like(part, name="held", reset_less=True)
                m.d.sync += held.eq(part)
                check(m, ~waiting | (part == held))
        self.witness = streams[0][0] & ~streams[0][1] & streams[1][0] & ~streams[1][1]

    def _port(self, name):
        names = [f"{name}_t{part}" for part in ("valid", "ready", "data", "last", "user")]
        valid, ready, *payload = (getattr(self.core, part) for part in names if hasattr(self.core, part))
        return valid, ready, payload
