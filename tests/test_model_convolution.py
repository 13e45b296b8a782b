"""Convolutions of the model: against sums written out in fractions, exactly; against PyTorch within a derived bound."""

import itertools

import numpy as np
import pytest
import slow_array
from numpy.testing import assert_array_equal
from slow_model import store_block, store_float
from test_model_array import SMALL

from bnforge.array_config import ArrayConfig
from bnforge.config import Activation
from bnforge.formats import BF16, E4M3, FP16, WORKING, BlockFormat
from bnforge_model import (
    Convolution,
    Encoded,
    Flags,
    convolution as model,
    convolve,
    convolve_data,
    convolve_weights,
    encode_weights,
    operands,
)
from bnforge_model.floats import round_to

GEOMETRIES = [
    (Convolution(3, 1, 1), (5, 4)), (Convolution(3, 2, 1), (5, 6)), (Convolution(3, 2, 1), (4, 4)),
    (Convolution(1), (3, 4)), (Convolution(1, 2), (4, 5)), (Convolution(1, 3, 2), (4, 2)),
    (Convolution((2, 3), (1, 2), (0, 1)), (5, 4)), (Convolution((5, 1), 3, (2, 0)), (7, 3)),
    (Convolution(5, 1, 2), (2, 3)), (Convolution((4, 2), (3, 1), (2, 1)), (4, 3)), (Convolution(3, 3), (8, 4)),
    (Convolution((1, 5), (2, 3), (1, 2)), (1, 9)), (Convolution(2, (2, 1)), (5, 3)), (Convolution(3, 1, 2), (1, 1)),
]
"""Geometry and size of the map: some rows that no window reaches, windows in the padding alone, maps smaller than the
kernel."""


def _ids(case):
    return str(case) if isinstance(case, tuple) else f"{case.kernel} by {case.stride} pad {case.padding}"


def _values(array, rng, *shape):
    """Factors, some of them 0 as after a relu."""
    values = round_to(array.operand, rng.standard_normal(shape) * (rng.random(shape) < 0.8))[0]
    return values.reshape(shape)


def _problem(array, convolution, size, seed, images=2, c_in=3, c_out=2):
    """x, dx and the weights of either direction."""
    rng, (kh, kw) = np.random.default_rng(seed), convolution.kernel
    return (_values(array, rng, images, *size, c_in), _values(array, rng, images, *convolution.output(*size), c_out),
            _values(array, rng, kh * kw * c_in, c_out), _values(array, rng, kh * kw * c_out, c_in))


def _taps(convolution, size):
    """((ky, kx), (oy, ox), (y, x)) of all pairs of a result and what it reads, in the order of ky, kx, oy, ox."""
    (kh, kw), (sy, sx), (py, px) = convolution.kernel, convolution.stride, convolution.padding
    for ky, kx, oy, ox in itertools.product(range(kh), range(kw), *map(range, convolution.output(*size))):
        y, x = oy * sy + ky - py, ox * sx + kx - px
        if 0 <= y < size[0] and 0 <= x < size[1]:
            yield (ky, kx), (oy, ox), (y, x)


def _written_out(array, shape, terms):
    """Codes of the sums of ``terms``: (index of the result, a, b) in the order of k."""
    pairs = {}
    for index, a, b in terms:
        pairs.setdefault(index, []).append((slow_array.Fraction(a), slow_array.Fraction(b)))
    codes = np.zeros(shape, int)
    for index, found in pairs.items():
        codes[index] = slow_array.product(array, found)[0]
    return codes


ARRAYS = {"default": SMALL, "coarse sums": SMALL.replace(storage=FP16, output=WORKING, accumulate_fraction=4)}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("convolution, size", GEOMETRIES, ids=_ids)
def test_every_result_is_its_sum_written_out(convolution, size, name, seed):
    array = ARRAYS[name]
    x, dx, forward, data = _problem(array, convolution, size, seed)
    (n, *_, c_in), c_out, kw = x.shape, dx.shape[3], convolution.kernel[1]
    taps = list(_taps(convolution, size))
    result = convolve(array, convolution, x, forward)
    assert_array_equal(result.codes, _written_out(array, dx.shape, (
        ((i, *o, j), x[i, *p, c], forward[(k[0] * kw + k[1]) * c_in + c, j])
        for k, o, p in taps for c in range(c_in) for i in range(n) for j in range(c_out))))
    result = convolve_data(array, convolution, dx, data, size)
    assert_array_equal(result.codes, _written_out(array, x.shape, (
        ((i, *p, j), dx[i, *o, c], data[(k[0] * kw + k[1]) * c_out + c, j])
        for k, o, p in taps for c in range(c_out) for i in range(n) for j in range(c_in))))
    result = convolve_weights(array, convolution, x, dx)
    assert_array_equal(result.codes, _written_out(array, (*convolution.kernel, c_in, c_out), (
        ((*k, c, j), x[i, *p, c], dx[i, *o, j])
        for i in range(n) for k, o, p in taps for c in range(c_in) for j in range(c_out))))


TORCH = [(kernel, stride, padding) for kernel, stride, padding in itertools.product(
    [1, 2, 3, 4, 5, (1, 3), (3, 2), (5, 4)], [1, 2, 3, (2, 1), (1, 3)], [0, 1, 2, (0, 2), (2, 1)])]


@pytest.fixture
def one_thread():
    """These products are too small to share out; idle threads of PyTorch spin."""
    torch = pytest.importorskip("torch")  # an extra: CI installs it
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["default", "wide sums"])
def test_agrees_with_torch(name, seed, one_thread):
    """Sums of K terms t: each of the K roundings changes a sum by at most u = 2^-p of it, so that the last is off by at
    most ((1 + u)^K - 1) · sum |t|; the result by another v = 2^-(bits of the output). Nothing here is near the limits
    of range. The errors of float64's own sums are less than one more rounding."""
    import torch
    from torch.nn import grad
    from torch.nn.functional import conv2d
    array = SMALL if name == "default" else SMALL.replace(storage=BF16, output=WORKING, accumulate_fraction=23)
    u, v = (2.0 ** -fmt.significand_width for fmt in (array.accumulate, array.output))
    largest = 0.0

    def check(result, function, *arguments, n_terms):
        nonlocal largest
        exact, total = (function(*(change(torch.from_numpy(item)) for item in arguments)).numpy()
                        for change in (torch.asarray, torch.abs))
        assert result.flags == 0 and result.values.shape == exact.shape
        bound = ((1 + u) ** (n_terms + 1) - 1) * total * (1 + v) + v * np.abs(exact)
        error = np.abs(result.values - exact)
        assert (error <= bound).all()
        largest = max(largest, float((error[bound > 0] / bound[bound > 0]).max(initial=0)))

    for number, (kernel, stride, padding) in enumerate(TORCH):
        convolution, size = Convolution(kernel, stride, padding), (5 + number % 3, 5 + number % 4)
        (kh, kw), options = convolution.kernel, {"stride": convolution.stride, "padding": convolution.padding}
        x, dx, forward, data = _problem(array, convolution, size, seed + number)
        n_images, oh, ow, c_out = dx.shape
        c_in = x.shape[3]

        def nchw(tensor):
            return tensor.permute(0, 3, 1, 2)

        def nhwc(tensor):
            return tensor.permute(0, 2, 3, 1)

        check(convolve(array, convolution, x, forward), lambda x, w: nhwc(conv2d(
            nchw(x), w.reshape(kh, kw, c_in, c_out).permute(3, 2, 0, 1), **options)),
            x, forward, n_terms=kh * kw * c_in)
        check(convolve_data(array, convolution, dx, data, size), lambda dx, w: nhwc(grad.conv2d_input(
            nchw(torch.from_numpy(x)).shape, w.reshape(kh, kw, c_out, c_in).permute(2, 3, 0, 1), nchw(dx), **options)),
            dx, data, n_terms=kh * kw * c_out)
        check(convolve_weights(array, convolution, x, dx), lambda x, dx: grad.conv2d_weight(
            nchw(x), (c_out, c_in, kh, kw), nchw(dx), **options).permute(2, 3, 1, 0),
            x, dx, n_terms=n_images * oh * ow)
    assert 0.1 < largest


@pytest.mark.parametrize("convolution, size", GEOMETRIES[:4], ids=_ids)
def test_images_may_be_taken_in_any_groups(convolution, size, seed, monkeypatch):
    x, dx, forward, data = _problem(SMALL, convolution, size, seed, images=5)
    whole = [convolve(SMALL, convolution, x, forward), convolve_data(SMALL, convolution, dx, data, size),
             convolve_weights(SMALL, convolution, x, dx)]
    one = len(forward) * size[0] * size[1]
    for chunk in (1, 2 * one, 3 * one):
        monkeypatch.setattr(model, "_CHUNK", chunk)
        for result, wanted in zip((convolve(SMALL, convolution, x, forward),
                                   convolve_data(SMALL, convolution, dx, data, size),
                                   convolve_weights(SMALL, convolution, x, dx)), whole, strict=True):
            assert_array_equal(result.codes, wanted.codes)
            assert_array_equal(result.values, wanted.values)


def test_saturation_of_any_image_is_reported(monkeypatch):
    monkeypatch.setattr(model, "_CHUNK", 1)
    array, convolution, x = SMALL.replace(output=WORKING), Convolution(1), np.ones((3, 1, 1, 1))
    x[1] = -2.0 ** 127
    for weight, flags in ((1.0, Flags(0)), (4.0, Flags.SATURATED)):
        weights = np.array([[weight]])
        assert convolve(array, convolution, x, weights).flags == flags
        assert convolve_data(array, convolution, x, weights, (1, 1)).flags == flags
        assert convolve_weights(array, convolution, x, np.full((3, 1, 1, 1), weight)).flags == flags


WEIGHTS = {"default": SMALL, "two groups": SMALL.replace(storage=BlockFormat(2, 8, 5)),
           "wide": SMALL.replace(storage=BlockFormat(1, 12)), "bf16": SMALL.replace(storage=BF16),
           "e4m3": SMALL.replace(storage=E4M3),
           "six columns": ArrayConfig(rows=3, columns=6, storage=BlockFormat(3, 5))}


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_stored_as_the_text_says(name, data, seed):
    array, rng = WEIGHTS[name], np.random.default_rng(seed)
    weights = rng.standard_normal((2, 3, 5, 7)) * 2.0 ** rng.integers(-140, 130, (2, 3, 5, 7))
    weights *= rng.random(weights.shape) < 0.9
    weights[1, 1] = rng.standard_normal((5, 7))
    found, fmt = encode_weights(array, weights, data=data), array.storage
    contracted, columns = (7, 5) if data else (5, 7)
    assert found.format == fmt and found.elements.shape == (6 * contracted, columns)
    for row in range(6 * contracted):
        tap = weights[row // contracted // 3, row // contracted % 3]
        values = tap[:, row % contracted] if data else tap[row % contracted]
        values = [slow_array.Fraction(float(value)) if abs(value) >= 2.0 ** -126 else slow_array.Fraction(0)
                  for value in values]
        if not array.is_block:
            assert found.elements[row].tolist() == [store_float(fmt, value, Activation.IDENTITY)[0] for value in values]
            continue
        values += [slow_array.Fraction(0)] * (-columns % array.columns)
        for first in range(0, len(values), fmt.group):
            elements, exponent, _, _ = store_block(fmt, values[first:first + fmt.group], Activation.IDENTITY)
            assert found.elements[row, first:first + fmt.group].tolist() == elements[:max(0, columns - first)]
            assert found.exponents[row, first // fmt.group] == exponent


def test_a_stored_tensor_becomes_factors():
    encoded = Encoded(SMALL.storage, np.arange(24).reshape(6, 4), np.full((6, 1), 127, np.uint8))
    x = operands(SMALL, encoded)[0].reshape(1, 2, 3, 4)
    result = convolve(SMALL, Convolution((2, 3)), x, np.ones((24, 1)))
    assert result.values.item() == np.arange(24).sum() / 64


@pytest.mark.parametrize("convolution, size, output", [
    (Convolution(3, 2, 1), (8, 9), (4, 5)), (Convolution(), (3, 7), (1, 5)), (Convolution(5, 1, 2), (1, 1), (1, 1)),
    (Convolution((1, 4), (3, 2), (0, 3)), (7, 4), (3, 4))])
def test_size_of_the_result(convolution, size, output):
    assert convolution.output(*size) == output


def test_an_integer_stands_for_both_axes():
    assert Convolution(3, 2, 1) == Convolution((3, 3), (2, 2), (1, 1)) != Convolution((3, 3), (2, 2), (1, 0))


_ONES = np.ones((2, 4, 4, 3))


@pytest.mark.parametrize("call, message", [
    (lambda: Convolution(0), "kernel must be an integer from 1 to 255, not 0"),
    (lambda: Convolution((3, 256)), "kernel must be an integer from 1 to 255, not 256"),
    (lambda: Convolution((3, 3, 3)), r"kernel must be an integer or a pair, not \(3, 3, 3\)"),
    (lambda: Convolution(3, (1, 0)), "stride must be an integer from 1 to 255, not 0"),
    (lambda: Convolution(3, 1, -1), "padding must be an integer from 0 to 255, not -1"),
    (lambda: Convolution(3, 1.0), "stride must be an integer from 1 to 255, not 1.0"),
    (lambda: Convolution(3).output(2, 3), "height must be an integer from 3 to 2147483648, not 2"),
    (lambda: Convolution(5, 1, 1).output(3, 2), "width must be an integer from 3 to 2147483648, not 2"),
    (lambda: encode_weights(SMALL, np.ones((3, 3))), r"weights must be of shape \(kh, kw, C_in, C_out\), not \(3, 3\)"),
    (lambda: encode_weights(SMALL, [[[[1, np.nan, 2]]]]), "weights must be finite, not nan"),
    (lambda: convolve(SMALL, Convolution(1), np.ones((4, 3)), np.ones((3, 2))),
     r"x must be of shape \(N, H, W, C\), not \(4, 3\)"),
    (lambda: convolve(SMALL, Convolution(1), _ONES, np.ones((2, 2))),
     r"weights must be a matrix of 3 rows, not of shape \(2, 2\)"),
    (lambda: convolve_data(SMALL, Convolution(2), _ONES, np.ones((8, 2)), (5, 5)),
     r"weights must be a matrix of 12 rows, not of shape \(8, 2\)"),
    (lambda: convolve_data(SMALL, Convolution(2), _ONES, np.ones((12, 2)), (5, 6)),
     r"dx must be of \(4, 5\) positions an image, not \(4, 4\)"),
    (lambda: convolve_weights(SMALL, Convolution(2), _ONES, _ONES),
     r"dx must be of \(3, 3\) positions an image, not \(4, 4\)"),
    (lambda: convolve_weights(SMALL, Convolution(1), _ONES, _ONES[:1]), "dx must be of 2 images, as x, not 1")])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
