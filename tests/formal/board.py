"""What is around an engine or a core on a board: the memory keeps the rules of AXI, the bridge those of its ports."""

from amaranth.hdl import Signal
from bnforge.board import BoardConfig
from bnforge.board.bridge import Bridge
from bnforge.board.memory import BoardMemory
from bnforge.board.tiles import TileRunner
from bnforge.presets import opn2_frozen

from .runner import assume, check
from .units import Line, Specification, held

__all__ = ["MemoryContract", "BridgeContract", "RunnerContract"]

_SIZE = 16


class _Tiny(BoardMemory):
    """A memory of a few words, whose addresses have one bit more."""

    def _outside(self, address):
        return address[_SIZE.bit_length() - 1]


class MemoryContract(Specification):
    """The AXI4 port: answers in order, as many beats as asked for, held until taken; and the host is served in the end.

    Nothing is assumed of the manager but that it holds what it offers, and of the host.
    """

    def __init__(self, bus):
        super().__init__(_Tiny(bus, 0, _SIZE))

    def specify(self, m):
        unit = self.unit
        wire = {name.removeprefix("m_axi_"): getattr(unit, name) for name in unit.signature.members
                if name.startswith("m_axi_")}

        def channel(prefix, *payload):
            return [wire[prefix + name] for name in ("valid", "ready", *payload)]

        assume(m, held(m, *channel("ar", "id", "addr", "len")), held(m, *channel("aw", "id", "addr", "len")),
               held(m, *channel("w", "data", "strb", "last")),
               held(m, unit.i_read | unit.i_write, unit.o_done, unit.i_read, unit.i_write, unit.i_address, unit.i_data),
               ~(unit.i_read & unit.i_write))
        check(m, held(m, *channel("r", "id", "data", "resp", "last")), held(m, *channel("b", "id", "resp")),
              ~self.first | ~(wire["rvalid"] | wire["bvalid"]))

        asked = wire["arvalid"] & wire["arready"]
        beat = wire["rvalid"] & wire["rready"]
        line = Line(m, 2, enter=asked, entry=wire["arlen"], leave=beat & wire["rlast"], name="burst")
        number = Signal(8)
        with m.If(beat):
            m.d.sync += number.eq(number + 1)
            with m.If(wire["rlast"]):
                m.d.sync += number.eq(0)
        check(m, ~wire["rvalid"] | ((line.count != 0) & (wire["rlast"] == (number == line.oldest))))
        # Invariant: the burst that is read is the oldest, or the one behind the last beat of the oldest.
        active, left = self.inside["read_active"], self.inside["left"]
        last = wire["rvalid"] & wire["rlast"]
        check(m, line.count == active + last, (line.count != 0) | (number == 0), ~wire["rvalid"] | last | active,
              ~active | last | (number + wire["rvalid"] + left == line.oldest),
              ~active | ~last | (left == line.entries[1]))

        begun, ended = wire["awvalid"] & wire["awready"], wire["bvalid"] & wire["bready"]
        written = wire["wvalid"] & wire["wready"]
        open_burst, answer_due = Signal(), Signal()
        with m.If(begun):
            m.d.sync += open_burst.eq(1)
        with m.If(written & wire["wlast"]):
            m.d.sync += [open_burst.eq(0), answer_due.eq(1)]
        with m.If(ended):
            m.d.sync += answer_due.eq(0)
        check(m, self.inside["write_active"] == open_burst, ~(open_burst & answer_due), ~written | open_burst,
              ~begun | ~(open_burst | answer_due), wire["bvalid"] == answer_due,
              ~(self.inside["asked"] | self.inside["read_done"]) | unit.i_read,
              ~self.inside["write_done"] | unit.i_write)
        self.witness = [beat & wire["rlast"] & (number == 1), ended & wire["bresp"].any(), unit.o_done & unit.i_read,
                        unit.o_done & unit.i_write]


class BridgeContract(Specification):
    """Bytes to the line, and the requests on the register port, stay until they are taken.

    The words of a frame are left free, but for what a memory does: nothing, while its address stays and it is not
    written.
    """

    free = ("word",)

    def __init__(self):
        super().__init__(Bridge([1, 2, 3], 8))

    def specify(self, m):
        unit = self.unit
        self.inside
        moved, before, index = Signal(), Signal(32, reset_less=True), Signal.like(unit._index, reset_less=True)
        m.d.sync += [moved.eq((index != unit._index) | unit._write.en), before.eq(unit._word), index.eq(unit._index)]
        assume(m, moved | (unit._word == before))

        lite = {name.removeprefix("s_axil_"): getattr(unit, name) for name in unit.signature.members
                if name.startswith("s_axil_")}
        check(m, held(m, unit.o.valid, unit.o.ready, unit.o.payload),
              held(m, lite["awvalid"], lite["awready"], lite["awaddr"], lite["awprot"]),
              held(m, lite["wvalid"], lite["wready"], lite["wdata"], lite["wstrb"]),
              held(m, lite["arvalid"], lite["arready"], lite["araddr"], lite["arprot"]))
        # One access at a time, answered by a subordinate that answers only what it was asked.
        due = {kind: Signal(name=f"{kind}_due") for kind in ("write", "read")}
        for kind, begin, answer in (("write", "w", "b"), ("read", "ar", "r")):
            with m.If(lite[begin + "valid"] & lite[begin + "ready"]):
                m.d.sync += due[kind].eq(1)
            with m.If(lite[answer + "valid"] & lite[answer + "ready"]):
                m.d.sync += due[kind].eq(0)
            assume(m, ~lite[answer + "valid"] | due[kind])
        assume(m, ~(lite["bvalid"] & lite["awvalid"]))  # the address is taken before the answer
        check(m, ~(due["read"] & lite["arvalid"]), ~(due["write"] & lite["wvalid"]), ~self.first | ~unit.o.valid)
        self.witness = [unit.o.valid & unit.o.ready, lite["bvalid"] & lite["bready"], lite["rvalid"] & lite["rready"]]


class RunnerContract(Specification):
    """Words of a tile to the core, and answers on the register port, stay until they are taken; or until the run ends,
    after which the core takes nothing before its reset.

    The words read are left free, but that one stays until the next is read.
    """

    free = ("word",)

    def __init__(self):
        super().__init__(TileRunner(BoardConfig(engine=opn2_frozen, memory_bytes=4096)))

    def specify(self, m):
        unit, inside = self.unit, self.inside
        word, ended = inside["word"], inside["ended"]
        reads, before = Signal(), Signal(32, reset_less=True)
        m.d.sync += [reads.eq(inside["step"] | inside["asks"]), before.eq(word)]
        assume(m, reads | (word == before))
        for name in ("s_axis_hdr", "s_axis"):
            valid, ready, data, last = (getattr(unit, f"{name}_t{part}") for part in ("valid", "ready", "data", "last"))
            check(m, held(m, valid, ready | ended, data, last), ~valid | unit.o_busy)
        check(m, held(m, unit.s_axil_bvalid, unit.s_axil_bready, unit.s_axil_bresp),
              held(m, unit.s_axil_rvalid, unit.s_axil_rready, unit.s_axil_rdata, unit.s_axil_rresp),
              ~(unit.s_axis_hdr_tvalid & unit.s_axis_tvalid), ~unit.o_reset | ~unit.o_busy,
              ~inside["fetching"] | unit.o_busy, ~inside["asks"] | ~unit.o_busy)
        self.witness = [unit.s_axis_tvalid & unit.s_axis_tready & unit.s_axis_tlast, ended & ~unit.i_status[3:].any(),
                        ended & unit.i_status[3:].any(), unit.o_done & unit.i_read, unit.o_done & unit.i_write]
