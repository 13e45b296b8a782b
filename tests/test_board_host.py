"""The host against the simulated board: tensors, and everything that can go wrong on the line."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
import serial
from board_line import Line, open_link, quiet
from bnforge import presets
from bnforge.board import Space
from bnforge.board.boards import BOARDS, board
from bnforge.cli import main
from bnforge_host import Device, Disconnected, Garbled, Link, LinkError, NoAnswer, Refused, command
from bnforge_host.simulated import SimulatedPort
from bnforge_host.tensors import run_pass, tensor_run
from bnforge_model.floats import decode
from bnforge_sim.engine_runs import BACKWARD, FORWARD, digits_tensors

pytestmark = pytest.mark.xdist_group("board")  # one simulation for all
BOARD = replace(board("ulx3s-12f"), memory_bytes=8192)
CONFIG = BOARD.config(presets.opn1_tiny, baud=BOARD.simulated_baud)
CORE = CONFIG.engine.core


@pytest.fixture(scope="module")
def line():
    return Line()


@pytest.fixture(scope="module")
def board_port(line):
    with SimulatedPort(CONFIG, line) as port:
        yield port


@pytest.fixture
def link(board_port):
    with open_link(board_port, CONFIG.baud) as link:
        yield link


def works(board_port):
    """A run from the start, as a user would do it again."""
    with open_link(board_port, CONFIG.baud) as link:
        x = np.random.default_rng(3).standard_normal((1, 2, 2, 1))
        device = Device(link)
        report, _ = run_pass(device, tensor_run(CONFIG, x), FORWARD, quiet)
        return report.differences == []


def test_a_board_says_what_it_is(link):
    device = Device(link)
    assert device.config == CONFIG
    assert device.identify() == (0, 1, 0)


def test_any_bytes_are_written_and_read_back(link):
    device = Device(link)
    data = np.random.default_rng(1).integers(256, size=1100, dtype=np.uint8).tobytes()
    for at, size in ((0, 1100), (1, 1), (2, 5), (3, 1030), (100, 4)):
        there = max(at + size + 3, 16)
        device.write(CONFIG.memory_base, bytes(there))
        device.write(CONFIG.memory_base + at, data[:size])
        assert device.read(CONFIG.memory_base, there) == (bytes(at) + data[:size]).ljust(there, bytes(1))
        assert device.read(CONFIG.memory_base + at, size) == data[:size]


def test_digits_forward_and_backward_are_as_the_model_says(link):
    codes = digits_tensors(CONFIG.engine, 2, 3, 5)
    x, dy = (decode(CORE.x_format, values) for values in codes)
    device, seen = Device(link), []
    run = tensor_run(CONFIG, x, dy, gamma=[1.5, -0.5, 1.0], beta=[0.1, 0.2, -0.3])
    assert all((run_codes == wanted).all() for run_codes, wanted in zip((run.x, run.dy), codes))
    for direction in (FORWARD, BACKWARD):
        report, written = run_pass(device, run, direction, quiet)
        assert report.differences == []
        assert report.elements == x.size and report.cycles > x.size
        seen += written
    assert seen == ["y", "records", "dx", "gradients"]


def test_a_difference_is_reported(link):
    run = tensor_run(CONFIG, np.random.default_rng(2).standard_normal((1, 3, 3, 2)))
    run.results[FORWARD]["y"] = bytes([run.results[FORWARD]["y"][0] ^ 1]) + run.results[FORWARD]["y"][1:]
    report, _ = run_pass(Device(link), run, FORWARD, quiet)
    size = len(run.results[FORWARD]["y"])
    assert report.differences == [f"y: 1 of {size} bytes differ from the model, the first at 0"]


def test_what_is_outside_is_refused(link):
    for space, address in ((Space.MEMORY, 0), (Space.MEMORY, CONFIG.memory_base + CONFIG.memory_bytes),
                           (Space.REGISTERS, 0xFFC), (Space.IDENTITY, 1 << 16)):
        with pytest.raises(Refused, match=f"read of {space.name.lower()} at {address:#x}: the board answers"):
            link.read(space, address, 1)


# The line.

def flipped(data):
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 0x04
    return bytes(changed)


@pytest.mark.parametrize(("direction", "change", "kind", "message"), [
    ("to board", flipped, Garbled, "the board received a frame with a wrong CRC"),
    ("to host", flipped, Garbled, "a byte of the answer was changed on the line"),
    ("to board", lambda data: data[:20] + data[21:], NoAnswer, "nothing answers"),
    ("to host", lambda data: data[:-1], NoAnswer, "a byte was lost on the line")])
def test_a_disturbed_byte_ends_in_a_clear_error_and_the_next_run_works(board_port, line, link, direction, change, kind,
                                                                       message):
    link.patience = 3 if kind is NoAnswer else 20
    words = list(range(64))
    link.write(Space.MEMORY, CONFIG.memory_base, words)
    line.change = direction, change
    with pytest.raises(kind, match=message):
        link.read(Space.MEMORY, CONFIG.memory_base, 64) if direction == "to host" else \
            link.write(Space.MEMORY, CONFIG.memory_base, words[::-1])
    assert line.change is None
    link.patience = 20
    link.open()
    assert link.read(Space.MEMORY, CONFIG.memory_base, 64) == words  # nothing of the bad frame was done
    link.port.close()
    assert works(board_port)


@pytest.mark.parametrize("n_bytes", [1, 7, 300])
def test_after_a_disconnect_in_the_middle_of_a_frame_the_next_run_works(board_port, n_bytes):
    from bnforge.board.frames import Command, request
    with serial.Serial(board_port.name, CONFIG.baud) as port:
        port.write(request(Command.WRITE, Space.MEMORY, CONFIG.memory_base, range(256), 1)[:n_bytes])
    assert works(board_port)


def test_a_port_that_goes_away_is_said(board_port):
    class Gone:
        name, baudrate, timeout, in_waiting = "/dev/ttyX", 9600, 0.05, 0

        def write(self, data):
            raise serial.SerialException("write failed: device disconnected")

    with pytest.raises(Disconnected, match=re.escape("/dev/ttyX is gone: write failed: device disconnected")):
        Link(Gone()).open()


@pytest.mark.parametrize("factor", [0.5, 0.9, 3])
def test_a_wrong_baud_ends_in_a_clear_error_and_the_right_one_works(board_port, factor):
    baud = int(CONFIG.baud * factor)
    with serial.Serial(board_port.name, baud, timeout=0.05) as port, pytest.raises(
            LinkError, match=f"{baud}.*the baud|the baud.*{baud}|is {baud} the baud of the build"):
        Link(port, patience=3).open()
    assert works(board_port)


# Tensors that cannot be run.

@pytest.mark.parametrize(("arguments", "message"), [
    ({"x": np.zeros((1, 100, 100, 4))}, "tensor must fit the 8192 bytes of memory of this build with all that its "
     "passes need, not "),
    ({"x": np.zeros((3, 3, 4))}, "x must be of shape (N, H, W, C), not (3, 3, 4)"),
    ({"x": np.zeros((1, 0, 4, 4))}, "x must be of shape (N, H, W, C), not (1, 0, 4, 4)"),
    ({"x": np.array([["a"]])}, "x must be an array of numbers, not <U1"),
    ({"x": np.zeros((1, 3, 4, 2)), "dy": np.zeros((1, 3, 4, 1))}, "dy must be of the shape of x, (1, 3, 4, 2), not "
     "(1, 3, 4, 1)"),
    ({"x": np.zeros((1, 3, 4, 2)), "gamma": np.zeros(3)}, "gamma must be numbers of shape (2,), not float64 of (3,)")])
def test_a_tensor_that_cannot_be_run_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tensor_run(CONFIG, **arguments)


def test_a_build_without_backward_pass_refuses_a_gradient():
    from bnforge.config import Directions
    forward = BOARD.config(presets.opn1_tiny.replace(directions=Directions.FORWARD))
    x = np.zeros((1, 2, 2, 1))
    with pytest.raises(ValueError, match="dy must be left out: the build has no backward pass"):
        tensor_run(forward, x, x)
    baseline = BOARD.config(presets.COMPARED["range16"][0].replace(lanes=1, storage=presets.opn1_tiny.storage))
    with pytest.raises(ValueError, match="algorithm must be 'one-pass' for the host, not 'range'"):
        tensor_run(baseline, x)


# The command.

SIM = ["--port", "sim", "--preset", "opn1_tiny"]


@pytest.fixture(autouse=True)
def small_memory(monkeypatch):
    """One design for all tests."""
    monkeypatch.setitem(BOARDS, BOARD.name, BOARD)


def test_the_command_runs_a_tensor_and_writes_what_the_board_gave(tmp_path, capsys):
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((2, 2, 3, 3, 2))
    for name, values in (("x", x), ("dy", dy), ("gamma", np.array([1.0, -2.0]))):
        np.save(tmp_path / f"{name}.npy", values)
    assert main(["host", "run", str(tmp_path / "x.npy"), "--dy", str(tmp_path / "dy.npy"), "--gamma",
                 str(tmp_path / "gamma.npy"), "-o", str(tmp_path / "out"), *SIM]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"bytes equal to the model; \d+ cycles, [\d.]+ ms in the engine", out)) == 2
    y, dx, dgamma, dbeta = (np.load(tmp_path / "out" / f"{name}.npy") for name in ("y", "dx", "dgamma", "dbeta"))
    run = tensor_run(CONFIG, x, dy, gamma=[1.0, -2.0])
    assert (y == run.forward.y.reshape(x.shape)).all() and (dx == run.backward.dx.reshape(x.shape)).all()
    assert (dgamma == run.backward.dgamma).all() and (dbeta == run.backward.dbeta).all()


def test_the_command_identifies_and_tests_a_board(capsys):
    assert main(["host", "self-test", *SIM]) == 0
    out = capsys.readouterr().out
    assert "engine: forward and backward, lanes: 1, x: 1-8-7, y: 1 x 8 bits, sample: 16 in chunks of 4, bus: 32" in out
    assert "memory: 8 KiB at 0x10000000" in out
    assert out.splitlines()[-1] == "self-test: passed"


def test_a_self_test_counts_what_fails(link, monkeypatch, capsys):
    device = Device(link)
    read = device.read
    monkeypatch.setattr(device, "read", lambda address, size, progress=None: bytes(size) if size > 1000 else
                        read(address, size, progress))
    assert command.self_test(device, progress=quiet) == 1
    assert re.search(r"memory: \d+ of 8192 bytes differ, the first at 0x1000000", capsys.readouterr().out)


def test_the_command_says_that_nothing_answers(monkeypatch, capsys):
    monkeypatch.setattr(command, "_PATIENCE", 0.3)
    master, slave = os.openpty()
    try:
        assert main(["host", "identify", "--port", os.ttyname(slave), "--baud", "1000000"]) == 2
    finally:
        os.close(master)
        os.close(slave)
    err = capsys.readouterr().err
    assert "nothing answers on /dev/pts/" in err and "at 1000000 baud" in err and err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (["run", "--port", "sim"], "X.npy must be given with run"),
    (["identify", "x.npy", "--port", "sim"], "X.npy must be left out with identify"),
    (["identify", "--port", "sim", "--dy", "a"], "dy must be left out of identify, not 'a'"),
    (["identify", "--port", "sim", "--board", "x"], "board must be one of ulx3s-12f"),
    (["identify", "--port", "/nowhere"],
     "port must be a serial port that can be opened at 1000000 baud, not '/nowhere'"),
    (["identify", "--port", "sim", "--baud", "9000000"], "baud must be a rate that 50 MHz over a whole number"),
    (["run", "nowhere.npy", *SIM], "nowhere.npy: No such file or directory"),
    (["run", __file__, *SIM], "must be a .npy file of numbers")])
def test_the_command_says_what_is_wrong_in_one_line(arguments, message, capsys):
    assert main(["host", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
