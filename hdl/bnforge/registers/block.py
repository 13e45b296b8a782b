"""The register block: an AXI4-Lite subordinate with the registers of :mod:`bnforge.registers.table`."""

from functools import reduce
from operator import or_

from amaranth.hdl import C, Cat, Module, Mux, ResetSignal, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..engine_config import JOB_WORDS
from .table import ADDRESS_WIDTH, Access, registers

__all__ = ["RegisterBlock"]

_VISIBLE = ("done", "error")
"""Flags of STATUS that the engine sees."""


def _input(register, field):
    """Input that a read-only field shows: its name, and the bit of it that the field begins with."""
    name = register.name.lower()
    for half, first in (("_low", 0), ("_high", 32)):
        if name.endswith(half):
            return "i_" + name.removesuffix(half), first
    if field.name == "busy":
        return "i_busy", 0
    return f"i_{name}_{field.name}" if len(register.fields) > 1 else f"i_{name}", 0


def _stored(register, field):
    """Name of a field that the block stores."""
    name = register.name.lower()
    return f"{name}_{field.name}" if len(register.fields) > 1 else name


class RegisterBlock(wiring.Component):
    """Registers behind an AXI4-Lite port.

    Latency: a write is *executed* in the cycle after the later of its AW and W is taken, and answered in the next; a
    read in the cycle after its AR is taken, or in the one after that if a write is executed then, and answered in the
    next; either waits until the answer before has been taken. What a read returns is sampled in the cycle in which it
    is executed. Throughput: one write and one read every two cycles. AW, W and AR are taken into registers of their
    own, in any order. Of the outputs only ``o_job_*`` depend on inputs of the same cycle: on ``i_busy``, and the data,
    which come from the multiplexer, on what the registers show. In reset each ``ready`` is 0.

    The low two bits of an address, AWPROT and ARPROT are ignored. Refused is a write to an address without a writable
    field, a write to a locked field while busy, and a read of an address without a register: it is answered SLVERR,
    reads 0, changes nothing, and sets STATUS.refused.

    One multiplexer serves reads and writes: a written word is the old one with the bytes of WSTRB replaced.

    Parameters
    ----------
    config : EngineConfig
        For the values of the constant registers.

    Members
    -------
    s_axil_* : the AXI4-Lite port
    i_busy : shown in STATUS; while it is high, writes to locked fields are refused. It must rise in the cycle after
        ``o_start`` at the latest: that is the next cycle in which a write can be executed.
    i_soft_reset : puts what is stored here to its reset value, whatever else happens in the same cycle; accesses go on
    i_status_<flag> : sets the flag; a set wins over a clear of the same cycle
    i_<register>, i_<register>_<field> : what the other read-only fields show; 64 bits for a pair _LOW, _HIGH
    i_job, o_job_write, o_job_index, o_job_data : the job words, stored outside: read, and written as whole words. A
        write is to be seen in ``i_job`` in the next cycle.
    o_start, o_abort, o_reset : high for one cycle, the one after the execution of the write; a start clears
        STATUS.done and STATUS.error as it is executed
    o_watchdog, o_irq_enable_<field>, o_status_<flag> : what is stored
    irq : an enabled event is pending; from a register, one cycle after the flag is set. It is low with the answer to
        the write that clears the flag, or starts a run
    """

    def __init__(self, config):
        self.table = registers(config)
        ports = {
            "s_axil_awaddr": In(ADDRESS_WIDTH), "s_axil_awprot": In(3), "s_axil_awvalid": In(1),
            "s_axil_awready": Out(1), "s_axil_wdata": In(32), "s_axil_wstrb": In(4), "s_axil_wvalid": In(1),
            "s_axil_wready": Out(1), "s_axil_bresp": Out(2), "s_axil_bvalid": Out(1), "s_axil_bready": In(1),
            "s_axil_araddr": In(ADDRESS_WIDTH), "s_axil_arprot": In(3), "s_axil_arvalid": In(1),
            "s_axil_arready": Out(1), "s_axil_rdata": Out(32), "s_axil_rresp": Out(2), "s_axil_rvalid": Out(1),
            "s_axil_rready": In(1), "irq": Out(1), "i_soft_reset": In(1),
            "i_job": In(data.ArrayLayout(unsigned(32), JOB_WORDS)), "o_job_write": Out(1),
            "o_job_index": Out(range(JOB_WORDS)), "o_job_data": Out(32)}
        for register in self.table:
            for field in register.fields:
                if field.access is Access.READ_ONLY and not field.constant:
                    name, first = _input(register, field)
                    ports[name] = In(first + field.width)
                elif field.access is Access.READ_WRITE:
                    ports[f"o_{_stored(register, field)}"] = Out(field.width, init=field.reset)
                elif field.access is Access.PULSE:
                    ports[f"o_{field.name}"] = Out(1)
                elif field.access is Access.CLEAR_BY_ONE and field.name != "refused":
                    ports[f"i_{_stored(register, field)}"] = In(1)
                    if field.name in _VISIBLE:
                        ports[f"o_{_stored(register, field)}"] = Out(1)
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        write, read, address, written, strobe = self._port(m)
        flags = {field.name: Signal(name=field.name) for register in self.table for field in register.fields
                 if field.access is Access.CLEAR_BY_ONE}
        for name in _VISIBLE:
            m.d.comb += getattr(self, f"o_status_{name}").eq(flags[name])

        select = {register: Signal(name=f"select_{register.name.lower()}") for register in self.table}
        m.d.comb += [line.eq(address == register.offset >> 2) for register, line in select.items()]
        old = Signal(32)
        m.d.comb += old.eq(reduce(or_, (Mux(line, self._value(register, flags), 0)
                                        for register, line in select.items())))
        word = Signal(32)
        m.d.comb += [word.word_select(i, 8).eq(Mux(strobe[i], written.word_select(i, 8), old.word_select(i, 8)))
                     for i in range(4)]

        def ones(field):
            """Whether a 1 is written to a field of one bit."""
            return strobe[field.lsb // 8] & written[field.lsb]

        accepted = {register: self._accepted(m, register, line & write, ones) for register, line in select.items()}
        refused = Signal()
        m.d.comb += refused.eq(~Mux(write, Cat(accepted.values()), Cat(select.values())).any())
        answer = Signal(32, reset_less=True)
        m.d.comb += self.s_axil_rdata.eq(answer)
        with m.If(write):
            m.d.sync += self.s_axil_bresp[1].eq(refused)
        with m.If(read):
            m.d.sync += [self.s_axil_rresp[1].eq(refused), answer.eq(old)]
        self._store(m, accepted, word, ones, flags)
        with m.If((write | read) & refused):
            m.d.sync += flags["refused"].eq(1)
        with m.If(self.i_soft_reset):
            m.d.sync += [signal.eq(signal.init) for signal in (
                *flags.values(), *(getattr(self, f"o_{_stored(register, field)}") for register in self.table
                                   for field in register.fields if field.access is Access.READ_WRITE))]
        return m

    def _port(self, m):
        """The handshakes: one place for each of AW, W, B, AR and R."""
        running = ~ResetSignal()
        taken, values = {}, {}
        for channel, payloads in (("aw", ("awaddr",)), ("w", ("wdata", "wstrb")), ("ar", ("araddr",))):
            taken[channel] = full = Signal(name=f"{channel}_full")
            ready = getattr(self, f"s_axil_{channel}ready")
            m.d.comb += ready.eq(~full & running)
            for name in payloads:
                port = getattr(self, f"s_axil_{name}")
                values[name] = Signal(len(port) - 2 if "addr" in name else len(port), name=name, reset_less=True)
                with m.If(ready):
                    m.d.sync += values[name].eq(port[2:] if "addr" in name else port)
            with m.If(ready & getattr(self, f"s_axil_{channel}valid")):
                m.d.sync += full.eq(1)

        write = Signal()
        read = Signal()
        m.d.comb += [write.eq(taken["aw"] & taken["w"] & ~self.s_axil_bvalid),
                     read.eq(taken["ar"] & ~self.s_axil_rvalid & ~write)]
        for strobe, answer, channels in ((write, "b", ("aw", "w")), (read, "r", ("ar",))):
            valid = getattr(self, f"s_axil_{answer}valid")
            with m.If(strobe):
                m.d.sync += [valid.eq(1), *(taken[channel].eq(0) for channel in channels)]
            with m.Elif(getattr(self, f"s_axil_{answer}ready")):
                m.d.sync += valid.eq(0)
        address = Mux(write, values["awaddr"], values["araddr"])
        return write, read, address, values["wdata"], values["wstrb"]

    def _value(self, register, flags):
        """What a register reads."""
        if register.fields[0].access is Access.EXTERNAL:
            return self.i_job[int(register.name.removeprefix("JOB"))]
        parts, bits = [], 0
        for field in register.fields:
            if field.constant:
                value = C(field.reset, field.width)
            elif field.access is Access.READ_ONLY:
                name, first = _input(register, field)
                value = getattr(self, name)[first:first + field.width]
            elif field.access is Access.READ_WRITE:
                value = getattr(self, f"o_{_stored(register, field)}")
            else:
                value = flags[field.name] if field.access is Access.CLEAR_BY_ONE else C(0, field.width)
            parts += [C(0, field.lsb - bits), value]
            bits = field.lsb + field.width
        return Cat(*parts)

    def _accepted(self, m, register, write, ones):
        """Whether a write to a register is executed and not refused."""
        accepted = Signal(name=f"write_{register.name.lower()}")
        if register.is_writable:
            locked = [ones(field) if field.access is Access.PULSE else C(1) for field in register.fields
                      if field.locked]
            m.d.comb += accepted.eq(write & ~(self.i_busy & Cat(locked).any()))
        return accepted

    def _store(self, m, writes, word, ones, flags):
        """What writes do, and what sets flags."""
        jobs = [line for register, line in writes.items() if register.fields[0].access is Access.EXTERNAL]
        m.d.comb += [self.o_job_write.eq(Cat(jobs).any()), self.o_job_data.eq(word)]
        for i, line in enumerate(jobs):
            with m.If(line):
                m.d.comb += self.o_job_index.eq(i)
        start = Signal()
        pending = []
        for register, line in writes.items():
            for field in register.fields:
                if field.access is Access.READ_WRITE:
                    with m.If(line):
                        m.d.sync += getattr(self, f"o_{_stored(register, field)}").eq(
                            word[field.lsb:field.lsb + field.width])
                elif field.access is Access.PULSE:
                    m.d.sync += getattr(self, f"o_{field.name}").eq(line & ones(field))
                    if field.name == "start":
                        m.d.comb += start.eq(line & ones(field))
                elif field.access is Access.CLEAR_BY_ONE:
                    clear = Signal(name=f"clear_{field.name}")
                    m.d.comb += clear.eq(line & ones(field) | (start if field.name in _VISIBLE else 0))
                    with m.If(clear):
                        m.d.sync += flags[field.name].eq(0)
                    if field.name in _VISIBLE:
                        enabled = getattr(self, f"o_irq_enable_{field.name}")
                        pending.append(flags[field.name] & ~clear & enabled)
                    if field.name != "refused":
                        with m.If(getattr(self, f"i_{_stored(register, field)}")):
                            m.d.sync += flags[field.name].eq(1)
        m.d.sync += self.irq.eq(Cat(pending).any())
