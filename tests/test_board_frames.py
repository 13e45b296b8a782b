"""The frames on the serial line, and the gateware that takes them byte by byte, in amaranth's simulator."""

import re
import zlib

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from bnforge import presets
from bnforge.board import BoardConfig, Command, Space, Status
from bnforge.board.bridge import Bridge
from bnforge.board.boards import BUS
from bnforge.board.frames import CRC, MAX_WORDS, REQUEST, BadFrame, answer, answer_size, parse_answer, request
from bnforge.board.memory import BoardMemory
from bnforge.board.uart import UartReceiver, UartTransmitter
from bnforge.engine_config import BusConfig, EngineConfig

IDENTITY = [0x11111111 * n for n in range(12)]
BASE, SIZE = 0x10000, 4096 + 8192
PATIENCE = 500


def simulate(component, *benches):
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


# Frames in Python.

def test_the_check_is_that_of_zlib():
    assert CRC.compute(b"bnforge") == zlib.crc32(b"bnforge")


@pytest.mark.parametrize("words", [(), (1,), tuple(range(MAX_WORDS))])
def test_an_answer_is_parsed_as_it_was_made(words):
    data = answer(Status.OK, 77, words)
    assert len(data) == answer_size(data[:4])
    assert parse_answer(data) == (Status.OK, 77, words)


def test_a_changed_bit_anywhere_is_found():
    data = answer(Status.OK, 5, (1, 2, 3))
    for bit in range(8, 8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadFrame, match="CRC must be"):
            parse_answer(bytes(changed))


def test_a_status_that_does_not_exist_is_refused():
    with pytest.raises(BadFrame, match="status must be 0 to 4, not 9"):
        parse_answer(answer(9, 0))


@pytest.mark.parametrize(("command", "words"), [(Command.READ, 0), (Command.READ, 257), (Command.WRITE, []),
                                                (Command.WRITE, [0] * 257)])
def test_a_request_of_too_many_words_is_refused(command, words):
    with pytest.raises(ValueError, match="words must be 1 to 256"):
        request(command, Space.MEMORY, 0, words, 0)


# The serial line.

@pytest.mark.parametrize("divisor", [4, 5, 16, 87])
def test_bytes_go_over_the_line_and_back(divisor):
    data, got = bytes([0x00, 0xFF, 0x55, 0xB5, 0x01, 0x80]), []
    sender, receiver = UartTransmitter(divisor), UartReceiver(divisor)

    m = Module()
    m.submodules += [sender, receiver]
    m.d.comb += receiver.i_rx.eq(sender.o_tx)

    async def send(ctx):
        for byte in data:
            ctx.set(sender.i.payload, byte)
            ctx.set(sender.i.valid, 1)
            await ctx.tick().until(sender.i.ready)
            ctx.set(sender.i.valid, 0)
        await ctx.tick().repeat(12 * divisor)

    async def receive(ctx):
        for _ in range(11 * divisor * len(data) + 12 * divisor):
            assert not ctx.get(receiver.o_error)
            if ctx.get(receiver.o_valid):
                got.append(ctx.get(receiver.o_data))
            await ctx.tick()

    simulate(m, send, receive)
    assert bytes(got) == data


def line_levels(byte, divisor, stop=1):
    return [level for level in (0, *(byte >> n & 1 for n in range(8)), stop) for _ in range(divisor)]


@pytest.mark.parametrize("offset", [-0.03, 0.03])
def test_a_sender_three_percent_off_is_understood(offset):
    divisor, got = 50, []
    receiver = UartReceiver(divisor)

    async def bench(ctx):
        for byte in (0xA5, 0x00, 0xFF):
            levels = [0, *(byte >> n & 1 for n in range(8)), 1]
            for index in range(int(10 * divisor * (1 + offset))):
                ctx.set(receiver.i_rx, levels[min(9, int(index / (divisor * (1 + offset))))])
                await ctx.tick()
                if ctx.get(receiver.o_valid):
                    got.append(ctx.get(receiver.o_data))
        for _ in range(2 * divisor):
            await ctx.tick()
            if ctx.get(receiver.o_valid):
                got.append(ctx.get(receiver.o_data))

    simulate(receiver, bench)
    assert got == [0xA5, 0x00, 0xFF]


def test_a_low_stop_bit_is_an_error_and_the_next_byte_comes():
    divisor, events = 8, []
    receiver = UartReceiver(divisor)

    async def bench(ctx):
        glitch = [0] * (divisor // 2 - 2) + [1] * 20  # shorter than half a bit: nothing
        for level in [*glitch, *line_levels(0x42, divisor, stop=0), *[0] * 30, *[1] * divisor,
                      *line_levels(0x43, divisor), *[1] * 20]:
            ctx.set(receiver.i_rx, level)
            await ctx.tick()
            if ctx.get(receiver.o_valid):
                events.append(ctx.get(receiver.o_data))
            if ctx.get(receiver.o_error):
                events.append("error")

    simulate(receiver, bench)
    assert events == ["error", 0x43]


def test_too_few_cycles_for_a_bit_are_refused():
    with pytest.raises(ValueError, match="divisor must be at least 4, not 3"):
        UartReceiver(3)


# The bridge.

class Registers:
    """An AXI4-Lite subordinate in a test bench: the register at 0x40 is refused."""

    def __init__(self, bridge, delay):
        self.bridge, self.delay, self.words = bridge, delay, {}

    async def serve(self, ctx):
        b = self.bridge
        while True:
            await ctx.tick()
            if ctx.get(b.s_axil_awvalid):
                address = ctx.get(b.s_axil_awaddr)
                await self.take(ctx, b.s_axil_awready)
                if ctx.get(b.s_axil_wvalid):
                    assert ctx.get(b.s_axil_wstrb) == 0xF
                    self.words[address] = ctx.get(b.s_axil_wdata)
                    await self.take(ctx, b.s_axil_wready)
                await self.answer(ctx, b.s_axil_bvalid, b.s_axil_bready, b.s_axil_bresp, address)
            elif ctx.get(b.s_axil_arvalid):
                address = ctx.get(b.s_axil_araddr)
                await self.take(ctx, b.s_axil_arready)
                ctx.set(b.s_axil_rdata, self.words.get(address, 0xDEADBEEF))
                await self.answer(ctx, b.s_axil_rvalid, b.s_axil_rready, b.s_axil_rresp, address)

    async def take(self, ctx, ready):
        await ctx.tick().repeat(self.delay + 1)
        ctx.set(ready, 1)
        await ctx.tick()
        ctx.set(ready, 0)

    async def answer(self, ctx, valid, ready, response, address):
        await ctx.tick().repeat(self.delay + 2)
        ctx.set(response, 2 if address == 0x40 else 0)
        ctx.set(valid, 1)
        await ctx.tick().until(ready)
        ctx.set(valid, 0)


def converse(lines, *, delay=0, stall=0):
    """What the bridge answers, frame by frame, to lines: bytes, or a number of cycles of silence.

    ``stall``: cycles between two bytes that the line takes."""

    bus = BusConfig(data_width=64, address_width=40)
    bridge, memory = Bridge(IDENTITY, PATIENCE), BoardMemory(bus, BASE, SIZE)
    m = Module()
    m.submodules += [bridge, memory]
    m.d.comb += [memory.i_read.eq(bridge.o_memory_read), memory.i_write.eq(bridge.o_memory_write),
                 memory.i_address.eq(bridge.o_address), memory.i_data.eq(bridge.o_data),
                 bridge.i_memory_done.eq(memory.o_done), bridge.i_memory_data.eq(memory.o_data),
                 bridge.i_memory_outside.eq(memory.o_outside)]
    registers, answers = Registers(bridge, delay), []

    async def bench(ctx):
        for line in lines:
            if isinstance(line, int):
                await ctx.tick().repeat(line)
                continue
            for byte in line:
                ctx.set(bridge.i_data, byte & 0xFF)
                ctx.set(bridge.i_error if byte > 0xFF else bridge.i_valid, 1)
                await ctx.tick()
                ctx.set(bridge.i_error, 0)
                ctx.set(bridge.i_valid, 0)
                await ctx.tick().repeat(2)
            data = b""
            for cycle in range(9000):
                if ctx.get(bridge.o.valid):
                    byte = ctx.get(bridge.o.payload)
                    for _ in range(stall):
                        await ctx.tick()
                        assert (ctx.get(bridge.o.valid), ctx.get(bridge.o.payload)) == (1, byte)
                    ctx.set(bridge.o.ready, 1)
                    data += bytes([byte])
                await ctx.tick()
                ctx.set(bridge.o.ready, 0)
                if len(data) >= 4 and len(data) == answer_size(data):
                    break
                if not data and not ctx.get(bridge.o.valid) and cycle > 3000:
                    break
            answers.append(parse_answer(data) if data else None)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(registers.serve, background=True)
    simulator.add_testbench(bench)
    simulator.run()
    return answers


@pytest.mark.parametrize(("delay", "stall"), [(0, 0), (0, 3), (2, 1)])
def test_what_is_written_is_read_back_in_every_space(delay, stall):
    values = [0x01020304 * n & 0xFFFFFFFF for n in range(40)]
    lines = [request(Command.WRITE, Space.MEMORY, BASE + 4, values, 1),
             request(Command.READ, Space.MEMORY, BASE + 4, 40, 2),
             request(Command.READ, Space.MEMORY, BASE + 12, 1, 3),
             request(Command.WRITE, Space.REGISTERS, 0x20, [7, 8], 4),
             request(Command.READ, Space.REGISTERS, 0x20, 2, 5),
             request(Command.READ, Space.IDENTITY, 8, 10, 6)]
    assert converse(lines, delay=delay, stall=stall) == [
        (Status.OK, 1, ()), (Status.OK, 2, tuple(values)), (Status.OK, 3, (values[2],)), (Status.OK, 4, ()),
        (Status.OK, 5, (7, 8)), (Status.OK, 6, tuple(IDENTITY[2:]))]


def test_a_frame_of_256_words_goes_both_ways():
    values = [n * 0x9E3779B1 & 0xFFFFFFFF for n in range(MAX_WORDS)]
    assert converse([request(Command.WRITE, Space.MEMORY, BASE, values, 1),
                     request(Command.READ, Space.MEMORY, BASE, MAX_WORDS, 2)]) == [
        (Status.OK, 1, ()), (Status.OK, 2, tuple(values))]


@pytest.mark.parametrize(("frame", "status"), [
    (request(Command.READ, Space.MEMORY, BASE + SIZE, 1, 9), Status.BAD_ADDRESS),
    (request(Command.READ, Space.MEMORY, BASE + SIZE - 4, 2, 9), Status.BAD_ADDRESS),
    (request(Command.WRITE, Space.MEMORY, BASE - 4, [1], 9), Status.BAD_ADDRESS),
    (request(Command.READ, Space.REGISTERS, 0x1000, 1, 9), Status.BAD_ADDRESS),
    (request(Command.READ, Space.REGISTERS, 0x40, 1, 9), Status.REFUSED),
    (request(Command.WRITE, Space.REGISTERS, 0x3C, [1, 2], 9), Status.REFUSED),
    (request(Command.READ, Space.IDENTITY, 4 * len(IDENTITY), 1, 9), Status.BAD_ADDRESS),
    (request(Command.WRITE, Space.IDENTITY, 0, [1], 9), Status.BAD_ADDRESS),
    (request(Command.READ, 3, 0, 1, 9), Status.BAD_REQUEST),
    (request(9, Space.MEMORY, BASE, [1], 9), Status.BAD_REQUEST),
    (request(Command.READ, Space.MEMORY, BASE + 2, 1, 9), Status.BAD_REQUEST)])
def test_a_bad_request_is_named_and_the_next_is_served(frame, status):
    good = request(Command.READ, Space.IDENTITY, 4, 1, 10)
    assert converse([frame, good]) == [(status, 9, ()), (Status.OK, 10, (IDENTITY[1],))]


def test_a_wrong_check_changes_nothing():
    zero = request(Command.WRITE, Space.MEMORY, BASE, [0, 0], 1)
    frame = request(Command.WRITE, Space.MEMORY, BASE, [5, 6], 2)
    for place in (9, 15, len(frame) - 1):
        bad = bytearray(frame)
        bad[place] ^= 0x10
        assert converse([zero, bytes(bad), request(Command.READ, Space.MEMORY, BASE, 2, 3)]) == [
            (Status.OK, 1, ()), (Status.BAD_CHECK, 2, ()), (Status.OK, 3, (0, 0))]


@pytest.mark.parametrize("length", [1, 4, 7, 8, 12, 15])
def test_a_frame_that_stops_is_forgotten(length):
    frame = request(Command.WRITE, Space.MEMORY, BASE, [5, 6], 2)
    good = request(Command.READ, Space.IDENTITY, 0, 1, 3)
    assert converse([frame[:length], PATIENCE + 5, good]) == [None, (Status.OK, 3, (0,))]


def test_a_byte_that_the_receiver_refuses_ends_its_frame():
    frame = request(Command.WRITE, Space.MEMORY, BASE, [5, 6], 2)
    good = request(Command.READ, Space.IDENTITY, 0, 1, 3)
    assert converse([[*frame[:6], 0x100, *good]]) == [(Status.OK, 3, (0,))]


def test_noise_between_frames_is_ignored():
    good = request(Command.READ, Space.IDENTITY, 0, 1, 3)
    noise = bytes(byte for byte in range(256) if byte != REQUEST)
    assert converse([noise + good]) == [(Status.OK, 3, (0,))]


# The configuration.

def small(**changes):
    engine = EngineConfig(core=presets.opn1_tiny, bus=BusConfig(data_width=32, read_buffer=16, write_buffer=32))
    return BoardConfig(**{"engine": engine} | changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"engine": BUS}, "engine must be an EngineConfig or a Config"),
    ({"baud": 20_000_000}, "baud must be an integer from 300 to 12000000"),
    ({"clock_hz": 12_000_000, "baud": 5_000_000}, "baud must be a rate that 12 MHz over a whole number, at least 4"),
    ({"clock_hz": 10_000_000, "baud": 1_300_000}, "baud must be a rate that 10 MHz over a whole number"),
    ({"memory_bytes": 5000}, "memory_bytes must be a multiple of 4096, not 5000"),
    ({"memory_bytes": 2048}, "memory_bytes must be an integer from 4096"),
    ({"memory_base": 0}, "memory_base must be an integer from 4096"),
    ({"memory_base": 0x11000}, "memory_base must be a multiple of 0x10000, not 0x11000"),
    ({"name": "1x"}, "name must be a Verilog identifier")])
def test_a_board_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small(**changes)


def test_a_configuration_is_read_back_from_its_identity():
    import json
    import struct
    config = small(memory_bytes=12288, baud=2_000_000)
    words = config.identity()
    text = struct.pack(f"<{len(words) - 8}I", *words[8:])[:words[6]]
    assert BoardConfig.from_dict(json.loads(text)) == config
    assert words[2:6] == [config.clock_hz, config.baud, config.memory_base, config.memory_bytes]
    assert zlib.crc32(text) == words[7]


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ValueError, match="parameters must be an engine or a core, and those of a board, not engine, l"):
        BoardConfig.from_dict({"engine": {}, "leds": 3})
