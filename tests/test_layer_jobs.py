"""Jobs of layers: an engine in software that follows them leaves in memory what the model says of whole tensors."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge.array_config import ArrayConfig
from bnforge.config import Activation, Directions
from bnforge.engine_config import Channel, EngineConfig
from bnforge.presets import opn4
from bnforge_model import Shape, default_c, default_eps
from bnforge_model.constants import fp32_code
from bnforge_model.convolution import Convolution
from bnforge_model.floats import round_to
from bnforge_sim.descriptors import Descriptor, expand
from bnforge_sim.job_interpreter import run_chain, run_job
from bnforge_sim.lattices import Tensor, lattice
from bnforge_sim.layer_runs import LayerRun
from bnforge_sim.layer_soak import CORES, interpret, random_run
from bnforge_sim.layers import Layer, Stack, encode_images
from bnforge_sim.network import Network
from bnforge_sim.plan import Plan, Progression
from bnforge_sim.tensors import backward_tensor, forward_tensor


def engine(name, depth=16):
    core = CORES[name]
    return EngineConfig(core=core, array=ArrayConfig.of(core, depth=depth))


OPN4 = engine("opn4")
SHORT = opn4.replace(sample_depth=16, chunk_len=4)
"""Samples 16 positions."""


def layer(channels, *geometry, activation=Activation.RELU):
    return Layer(convolution=Convolution(*geometry), channels=channels, activation=activation)


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("name", CORES)
def test_random_layers(name, case, seed):
    assert interpret(random_run(engine(name), np.random.default_rng([seed, case]), positions=60)) == []


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("shape, layers, depth", [
    pytest.param((1, 1, 1, 1), [layer(1, 1)], 4, id="one number"),
    pytest.param((1, 2, 1, 3), [layer(2, 5, 1, 2), layer(5, (3, 2), 1, 1)], 4, id="kernels larger than the maps"),
    pytest.param((2, 5, 5, 2), [layer(3, 3, 1, 1), layer(2, 1, 2, 0)], 16, id="positions without a gradient"),
    pytest.param((2, 3, 4, 2), [layer(3, 1, 1, 1), layer(2, 1, 3, 2)], 16, id="positions that take padding only"),
    pytest.param((18, 2, 2, 5), [layer(6, 2, 1, 1)], 16, id="more images than the sample"),
    pytest.param((3, 9, 7, 5), [layer(5, 3, 1, 1)], 4, id="blocks cut in x"),
    pytest.param((3, 7, 5, 5), [layer(5, 3, 1, 1)], 16, id="blocks cut in y"),
    pytest.param((50, 4, 3, 3), [layer(5, 3, 1, 1)], 64, id="blocks cut between images"),
    pytest.param((2, 6, 6, 2), [layer(3, 3, 1, 1), layer(2, 5, 2, 2)], 16, id="every other offset"),
    pytest.param((2, 9, 9, 5), [layer(9, 3, 3, 1), layer(9, (1, 3), (2, 1), (0, 1))], 8, id="strides")])
def test_corners(shape, layers, depth, fused):
    config = EngineConfig(core=SHORT, array=ArrayConfig.of(SHORT, depth=depth))
    assert interpret(LayerRun(config, Shape(*shape), layers, fused=fused)) == []


def test_fused_and_unfused_are_the_same():
    shape, layers = Shape(2, 6, 5, 3), [layer(6, 3, 1, 1), layer(5, 3, 2, 1)]
    fused, unfused = (LayerRun(OPN4, shape, layers, fused=choice).results for choice in (True, False))
    assert set(unfused) - set(fused) == {"0.x", "1.x", "0.dy"}
    assert all(unfused[name] == data for name, data in fused.items())


def test_frozen_layers_apply_constants():
    """Positions come in the order of the pieces, also in the sums of a backward pass; a header has sample_len."""
    config = engine("blocks", 64)
    run = LayerRun(config, Shape(3, 9, 9, 3), [layer(6, 3, 1, 1)], frozen=True)
    assert interpret(run) == []
    assert run.network.steps["0.forward"].job.fixed[0] == 3 * 18 << 16 | 1 << 3 | 2
    assert_array_equal(run.forward[0].records.b, round_to(config.core.b_format, run.beta[0])[0])


def test_networks_without_a_backward_pass():
    run = LayerRun(OPN4, Shape(2, 4, 4, 3), [layer(6, 3, 1, 1)], backward=False)
    memory, network = run.image(), run.network
    assert network.backward_chain == [] and not {"0.dx", "0.dy"} & set(network.places)
    assert run_chain(OPN4, memory, network.link(memory, ["0.forward"]), run.base) == [network.places["0.forward"][0]]
    assert run.differences(memory, "0.forward") == []


def test_a_changed_byte_is_seen():
    """In whatever lies in memory before: then what is written, or the layer itself, differs."""
    for place in ("images", "0.weights", "1.data_weights", "1.dy"):
        run = LayerRun(OPN4, Shape(2, 4, 4, 4), [layer(4, 3, 1, 1), layer(4, 3, 1, 1)])
        memory, network = run.image(), run.network
        network.view(memory, place)[3] ^= 0x42
        for names in (network.forward_chain, network.backward_chain):
            run_chain(OPN4, memory, network.link(memory, names), run.base)
        found = run.differences(memory, *network.forward_chain, *network.backward_chain)
        assert any(text.startswith(place + ":") for text in found) and len(found) > 1


def small():
    """One layer of 5 x 5 maps, two images, 4 to 5 channels, 3 x 3."""
    return Network(OPN4, Shape(2, 5, 5, 4), [layer(5, 3, 1, 1)], base=0x1000, align=0x1000)


def test_words_of_a_job():
    network = small()
    assert {name: address for name, (address, _) in network.places.items()} == {
        "images": 0x1000, "0.weights": 0x2000, "0.gamma": 0x3000, "0.beta": 0x4000, "0.y": 0x5000, "0.records": 0x6000,
        "0.dx": 0x7000, "0.gradients": 0x8000, "0.products": 0x9000, "0.dy": 0xA000, "0.forward": 0xB000,
        "0.backward": 0xD000, "0.correlate": 0xE000}
    words = {name: np.frombuffer(step.job.area(0x1234), "<u4") for name, step in network.steps.items()}
    assert {name: word[:4].tolist() for name, word in words.items()} == {
        "0.forward": [0x1234, 0, 0xD9, 50], "0.backward": [0x1234, 0, 0x1F, 0], "0.correlate": [0x1234, 0, 0x101C0, 72]}
    c = default_c(OPN4.core, 50)
    scale = fp32_code([c, default_eps(c)]).tolist()
    assert words["0.forward"][4:28].tolist() == [
        0xB080, 0, 0, 0, 0, 0, 0xB148, 0, 0xB418, 0, 0xB468, 0, 0xC688, 0, 0, 0,
        50 << 16 | 2, *scale, 0xF, 50 << 16 | 2, *scale, 1]
    assert not words["0.forward"][28:32].any()


def test_descriptors_of_a_layer():
    """The upper edge of the maps: no offset ky = 0, weights from the fourth of nine on, of all kx."""
    network = small()
    program = network.steps["0.forward"].job.programs
    edge = 2 * 3  # offsets; before them come the 4 of the corner
    assert program[Channel.RESULT][1] == Descriptor(0x5005, 15, ((2, 175),))
    assert program[Channel.WEIGHT][1] == Descriptor(0x2000 + 3 * 20, 120, ends_tile=True)
    assert program[Channel.ACTIVATION][4:4 + edge] == [
        Descriptor(0x1000 + 5 * (5 * y + x), 15, ((2, 125),), ends_tile=True) for y in (0, 1) for x in (0, 1, 2)]
    assert program[Channel.WEIGHT][-1].last and program[Channel.ACTIVATION][-1].last
    product = network.steps["0.correlate"].job.programs
    assert product[Channel.PRODUCT] == [Descriptor(0x9000, 360, last=True, ends_tile=True)]
    assert product[Channel.ACTIVATION][0] == Descriptor(0x1000, 20, ((4, 25), (2, 125)), ends_tile=True)
    assert product[Channel.WEIGHT][0] == Descriptor(0x7000 + 30, 20, ((4, 25), (2, 175)), ends_tile=True)


def test_few_descriptors():
    """A pass is one, whatever its images; results are one for each piece."""
    network = Network(engine("opn4", 4096), Shape(8, 8, 8, 8), [layer(8, 3, 1, 1)])
    assert {name: {channel.name: len(part) for channel, part in step.job.programs.items()}
            for name, step in network.steps.items()} == {
        "0.forward": {"RESULT": 2 * 12, "HEADER": 4, "RECORD": 2, "ACTIVATION": 2 * 2 * 70, "WEIGHT": 2 * 12},
        "0.backward": {"OPERAND": 24, "STORED": 24, "RESULT": 24, "HEADER": 4, "RECORD": 2},
        "0.correlate": {"PRODUCT": 1, "ACTIVATION": 36, "WEIGHT": 36}}


@pytest.mark.parametrize("size, dimensions, length, merged", [
    (5, [(4, 5), (3, 20), (2, 60)], 120, ()), (5, [(4, 5), (3, 30), (2, 90)], 20, ((6, 30),)),
    (5, [(4, 10), (3, 40), (2, 130)], 5, ((12, 10), (2, 130))), (5, [(1, 7), (3, 5), (1, 9)], 15, ()),
    (3, [(4, 3), (3, 12), (2, 40)], 3, ((12, 3), (2, 40))), (5, [(2, 0), (2, 5)], 5, ((2, 0), (2, 5)))])
def test_lattices(size, dimensions, length, merged):
    """The same bytes in the same order in as few rows as beats of 5 bytes allow."""
    found = lattice(0x100, size, 5, dimensions)
    assert found == Descriptor(0x100, length, merged)
    plain = Descriptor(0x100, size, tuple(dimensions))
    starts = [address + offset for address, _ in expand(words(found)) for offset in range(0, length, size)]
    assert starts == [address for address, _ in expand(words(plain))]


def words(descriptor):
    return np.array(dataclasses.replace(descriptor, last=True, ends_tile=True).words, "<u4").tobytes()


def test_tensors_lie_as_documented():
    tensor = Tensor.stored(OPN4, 0x1000, Shape(3, 4, 5, 6))
    assert (tensor.sizes, tensor.n_tiles, tensor.beat) == ((5, 3), 2, 5)
    found = tensor.lattice(1, Progression(1, 1, 2), Progression(3, -2, 2), Progression(2, 2, 2))
    assert list(expand(words(found))) == [(0x1000 + image * 20 * 8 + 20 * 5 + 3 * (5 * y + x), 3)
                                          for image in (1, 2) for y in (3, 1) for x in (2, 4)]


def planted(index, value):
    """The forward job of :func:`small` in its memory, with another word."""
    network = small()
    memory = np.zeros(network.end - 0x1000, np.uint8)
    network.put_jobs(memory)
    place = network.view(memory, "0.forward")[4 * index:4 * index + 4]
    place[:] = np.array([value], "<u4").view(np.uint8)
    return memory, network.places["0.forward"][0]


@pytest.mark.parametrize("index, value, message", [
    (2, 0xDB, "channels must be those of a job, not 0xdb"),
    (3, 0, "rows of a tile must be given with channel 6, and only then, not 0 with 0xd9"),
    (3, 49, "results must be whole tiles of 49 rows, not 100"),
    (3, 25, "headers must be 4, not 2, and stored tiles, not 2"),
    (28 + 4, 0xC000_0000, r"rows must be in memory, not at \d+ \.\.\. \d+"),
    (28 + 4 + 2, 14, r"length must be a multiple of 4, not 14"),
    (32 + 10 * 25 + 4, 3, r"passes must be 4 of equal length up to 16, not \{2, 3\}"),
    (32 + 10 * 25 + 3, 0, r"passes must be 4 of equal length up to 16, not \{2, 4, 6\}"),
    (32 + 10 * 18, 0x8000_0000, r"rows must be in memory, .*")])
def test_the_interpreter_refuses(index, value, message):
    memory, address = planted(index, value)
    with pytest.raises(ValueError, match=f"^{message}$"):
        run_job(OPN4, memory, address, 0x1000)


@pytest.mark.parametrize("call, message", [
    (lambda: Stack(EngineConfig(core=opn4), Shape(1, 1, 1, 1), []),
     "config must be of an engine with an array, not without"),
    (lambda: encode_images(OPN4, np.array([[1.0]])),
     r"images must be finite numbers of shape \(N, H, W, C\), not of \(1, 1\)"),
    (lambda: encode_images(OPN4, np.full((1, 1, 1, 1), np.nan)), "images must be finite .*"),
    (lambda: Network(OPN4, Shape(1, 1, 1, 1), [layer(1, 1)], base=0),
     "base must be above 0, which stands for no job, not 0"),
    (lambda: Network(OPN4, Shape(1, 1, 1, 1), [layer(1, 1)], base=2**32 - 64),
     r"base must be an address with \d+ bytes below 2\^32, not 4294967232"),
    (lambda: Network(OPN4.replace(core=opn4.replace(directions=Directions.FORWARD)), Shape(1, 1, 1, 1), [layer(1, 1)]),
     "directions must be those of the network, not forward"),
    (lambda: Network(OPN4, Shape(1, 1, 1, 1), [layer(1, 1, activation=3)]), "activation must be an Activation, not 3"),
    (lambda: Layer(convolution=3, channels=1), "convolution must be a Convolution, not 3"),
    (lambda: small().put(np.zeros(0x10000, np.uint8), "0.gamma", b"12"), "0.gamma must be of 20 bytes, not 2"),
    (lambda: small().view(np.zeros(10, np.uint8), "0.gamma"), r"memory must be of at least \d+ bytes, not 10"),
    (lambda: forward_tensor(OPN4, np.zeros((1, 2, 1, 1), int), [1.0], [0.0], plan=Plan(Shape(1, 1, 2, 1), 16)),
     r"plan must be of Shape\(.*\) and frozen as False, not of Shape\(.*\) and False"),
    (lambda: backward_tensor(OPN4, np.zeros((1, 1, 2, 1), int), None, None,
                             plan=Plan(Shape(1, 1, 2, 1), 16, frozen=True)),
     r"plan must be of Shape\(.*\) and frozen as False, not of Shape\(.*\) and True"),
    (lambda: Network(OPN4, Shape(1, 1, 1, 1), [layer(1, 1)], c=0.0), "c must be a positive fp32 number, not 0.0")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
