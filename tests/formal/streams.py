"""The stability of the streams of the core, outside and inside."""

from amaranth.hdl import Signal, Value

from .control import JobQueue
from .runner import assume, check, opened

__all__ = ["StreamStability"]


class StreamStability(JobQueue):
    """Once offered, a transfer stays on offer with the same payload until taken: every output port of the core, and
    every stream between its parts that can stall.

    It holds from every state that the rules of the queues allow, reached or not; hence the depth of the sample FIFO, of
    which :class:`.fifo.FifoContract` says the same, and the values that are computed do not matter.
    """

    fifo_depth = 20
    free = ("normaliser.buffer.i_data", "scalar.o_*.code", "header.narrow")

    def specify(self, m):
        super().specify(m)
        parts = self.parts
        if self.config.has_backward:  # that no count overflows is among the rules of the passes
            order = opened(opened(parts.normaliser).submodules.order)
            for some, passes in zip(order["some"], order["counts"]):
                assume(m, passes <= self.core.fifo_depth)
                check(m, some == (passes != 0))
        streams = [self._port("m_axis"), self._port("m_axis_rec")]
        streams += [(stream.valid, stream.ready, [Value.cast(stream.payload)]) for stream in (
            parts.header.o_open, parts.input.o_beat, parts.scalar.i_job, parts.normaliser.i, parts.normaliser.o,
            parts.records.o, *([parts.scalar.i_finish] if self.config.has_backward else []))]
        for valid, ready, payload in streams:
            waiting = Signal()
            m.d.sync += waiting.eq(valid & ~ready)
            check(m, ~waiting | valid)
            for part in payload:
                held = Signal.like(part, name="held", reset_less=True)
                m.d.sync += held.eq(part)
                check(m, ~waiting | (part == held))
        self.witness.append(streams[0][0] & ~streams[0][1] & streams[1][0] & ~streams[1][1])

    def _port(self, name):
        names = [f"{name}_t{part}" for part in ("valid", "ready", "data", "last", "user")]
        valid, ready, *payload = (getattr(self.core, part) for part in names if hasattr(self.core, part))
        return valid, ready, payload
