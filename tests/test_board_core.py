"""The host against the simulated iCEBreaker: a core without an engine, tile by tile."""

import re

import numpy as np
import pytest
import serial
from board_line import Line, open_link, quiet
from bnforge import presets
from bnforge.board import Space
from bnforge.board.boards import board
from bnforge.cli import main
from bnforge.config import Directions
from bnforge_host import Device, Garbled, LinkError
from bnforge_host.simulated import SimulatedPort
from bnforge_host.tiles import core_run, run_tiles
from bnforge_model import Activation, forward
from bnforge_sim.digits import FILTERS, convolve

pytestmark = pytest.mark.xdist_group("board_core")  # one simulation for all
ICEBREAKER = board("icebreaker")
CONFIG = ICEBREAKER.config(presets.opn2_frozen, baud=ICEBREAKER.simulated_baud)


@pytest.fixture(scope="module")
def line():
    return Line(at_least=100)


@pytest.fixture(scope="module")
def board_port(line):
    with SimulatedPort(CONFIG, line) as port:
        yield port


@pytest.fixture
def device(board_port):
    with open_link(board_port, CONFIG.baud) as link:
        yield Device(link)


def digits(n_images, channels):
    from sklearn.datasets import load_digits
    return convolve(load_digits().images[:n_images], FILTERS[:channels])


def test_digits_are_as_the_model_says_and_normalised(device):
    assert device.config == CONFIG and device.identify() is None
    x, gamma, beta = digits(8, 5), np.array([1, -2, 0.5, 3, -1.0]), np.array([0, 1, -1, 0.25, 2.0])
    report, y = run_tiles(device, core_run(CONFIG, x, gamma=gamma, beta=beta), quiet)
    assert report.differences == []
    assert report.elements == x.size == 8 * 64 * 5
    assert 3 * 512 < report.cycles < 3 * 700  # three tiles of two channels, a beat in each cycle
    rows = x.reshape(-1, 5)
    wanted = np.maximum((rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * gamma + beta, 0)
    assert np.abs(y.reshape(-1, 5) - wanted).max() < 0.06 * wanted.max()  # a and b have 4 and 6 fraction bits


def test_what_is_no_number_sets_the_flags_of_the_model(device):
    x = np.random.default_rng(1).standard_normal((1, 3, 3, 2))
    x[0, 1, 1] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        report, _y = run_tiles(device, core_run(CONFIG, x, gamma=[1e38, 1], beta=[0, 0]), quiet)
    assert report.differences == [] and report.status & 3 == 3


def test_differences_are_reported(device):
    run = core_run(CONFIG, np.random.default_rng(2).standard_normal((1, 2, 3, 2)))
    (wanted,) = run.wanted
    wanted.elements[4, 1] ^= 1
    wanted.records[0] ^= 1
    object.__setattr__(wanted, "status", wanted.status ^ 4)
    report, _y = run_tiles(device, run, quiet)
    assert report.differences == [
        "y of channels 0 to 1: 1 of 6 words differ from the model, the first at 4",
        "records of channels 0 to 1: 1 of 10 words differ from the model, the first at 0",
        f"status of channels 0 to 1 must be {wanted.status:#x}, not {wanted.status ^ 4:#x}"]


def test_a_tile_that_the_core_refuses_is_said_and_the_next_one_runs(device):
    run = core_run(CONFIG, np.ones((1, 2, 2, 2)))
    object.__setattr__(run.tiles[0], "frozen", False)
    with pytest.raises(LinkError, match="the core refused the tile, with status 0x8"):
        run_tiles(device, run, quiet)
    report, _y = run_tiles(device, core_run(CONFIG, np.ones((1, 2, 2, 2))), quiet)
    assert report.differences == []


def test_a_changed_byte_in_mid_tensor_ends_in_a_clear_error_and_the_next_run_works(device, line):
    x = digits(4, 2)
    line.change = "to board", lambda data: data[:50] + bytes([data[50] ^ 8]) + data[51:]
    with pytest.raises(Garbled, match="the board received a frame with a wrong CRC"):
        run_tiles(device, core_run(CONFIG, x), quiet)
    device.link.open()
    assert run_tiles(device, core_run(CONFIG, x), quiet)[0].differences == []


def test_a_disconnect_in_mid_tensor_leaves_a_board_that_works(board_port):
    from bnforge.board.frames import Command, request
    with serial.Serial(board_port.name, CONFIG.baud) as port:
        port.write(request(Command.WRITE, Space.MEMORY, CONFIG.memory_base, range(200), 1)[:333])
    with open_link(board_port, CONFIG.baud) as link:
        assert run_tiles(Device(link), core_run(CONFIG, digits(1, 3)), quiet)[0].differences == []


def test_a_tensor_that_does_not_fit_is_refused():
    message = "tensor must have at most 2030 positions (N·H·W) with the 8192 bytes of memory of this build, not 2048"
    with pytest.raises(ValueError, match=re.escape(message)):
        core_run(CONFIG, np.zeros((32, 8, 8, 1)))


def test_a_core_with_statistics_runs_too():
    core = presets.opn1_tiny.replace(directions=Directions.FORWARD)
    config = ICEBREAKER.config(core, baud=ICEBREAKER.simulated_baud)
    x = digits(2, 2)
    with SimulatedPort(config) as port, open_link(port, config.baud) as link:
        run = core_run(config, x, gamma=[1, -2], beta=[0, 1])
        report, y = run_tiles(Device(link), run, quiet)
    assert report.differences == []
    wanted = forward(core, x.reshape(-1, 2)[run.order], [1, -2], [0, 1], activation=Activation.RELU,
                     sample_len=run.tiles[0].sample_len)
    assert (y.reshape(-1, 2)[run.order] == wanted.y).all()


def test_the_command_tests_the_board_and_runs_a_tensor(tmp_path, capsys):
    assert main(["host", "self-test", "--port", "sim", "--board", "icebreaker"]) == 0
    out = capsys.readouterr().out
    assert "core: forward, lanes: 2, x: 1-8-7, y: 2 x 8 bits, sample: none\n" in out
    assert out.splitlines()[-1] == "self-test: passed"
    x = digits(2, 3)
    np.save(tmp_path / "x.npy", x)
    run = ["host", "run", str(tmp_path / "x.npy"), "--port", "sim", "--board", "icebreaker"]
    assert main([*run, "-o", str(tmp_path)]) == 0
    assert re.search(r"forward: 384 elements, \d+ bytes equal to the model; \d+ cycles", capsys.readouterr().out)
    assert np.load(tmp_path / "y.npy").shape == x.shape
    assert main([*run, "--dy", str(tmp_path / "x.npy")]) == 2
    assert "dy must be left out: the build has no backward pass" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--preset", "opn16"], "core must be a one-pass normaliser for forward tiles without an engine, not 'one-pass' "
     "for 'both'"),
    (["--config", "bus.toml"], "bus must be left out for icebreaker, which is too small for an engine")])
def test_a_design_that_the_board_cannot_have_is_refused(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bus.toml").write_text("lanes = 1\nstorage = \"fp10\"\n[bus]\n")
    assert main(["build", "icebreaker", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
