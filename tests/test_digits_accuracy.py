"""Every core as a layer of a net in training; the accuracy that the comparison shows."""

import importlib.util
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bnforge.config import Algorithm, Config, Extraction
from bnforge.formats import BF16, BlockFormat
from bnforge.presets import opn4
from bnforge.tools import ToolError
from bnforge_model import backward, forward
from bnforge_model.baseline import baseline_backward, baseline_forward
from bnforge_sim.digits_accuracy import digits_accuracy

CONFIGS = {"one-pass": opn4, "extraction off": opn4.replace(extraction=Extraction.LANE_DIVIDER),
           "range": Config(algorithm=Algorithm.RANGE, lanes=4, storage=BlockFormat(4, 8)),
           "single-pass": Config(algorithm=Algorithm.SINGLE_PASS, lanes=4, storage=BF16),
           "two-pass": Config(algorithm=Algorithm.TWO_PASS, lanes=4, storage=BF16)}


def test_missing_torch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ToolError, match=r"training needs torch: pip install 'bnforge\[sim,train\]'"):
        digits_accuracy(opn4)


if importlib.util.find_spec("torch"):
    import torch

    from bnforge_sim import digits_training
    from bnforge_sim.norms import norm_of

    torch.set_num_threads(1)  # the tests run side by side

    @pytest.fixture
    def small(monkeypatch):
        """The task with one layer, a tenth of the images in their own size."""
        images, labels = digits_training.digits()
        monkeypatch.setattr(digits_training, "SIZE", 8)
        monkeypatch.setattr(digits_training, "LAYERS", ((8, 1),))
        monkeypatch.setattr(digits_training, "digits", lambda: (images[:192, :, ::2, ::2], labels[:192]))
        monkeypatch.setattr(digits_training, "TRAINING_IMAGES", 128)

    @pytest.mark.parametrize("name", CONFIGS)
    def test_layer_has_the_gradient_of_the_model(name):
        config = CONFIGS[name]
        torch.manual_seed(0)
        x, weights, layer = torch.randn(4, 8, 6, 6, requires_grad=True), torch.randn(4, 8, 6, 6), norm_of(config)(8)
        y = layer(x)
        (y * weights).sum().backward()
        order, sample_len = layer.positions(4, 6, 6)
        rows, dy = (digits_training.to_rows(value.detach(), order) for value in (x, weights))
        affine = np.ones(8), np.zeros(8)
        if config.is_one_pass:
            wanted = forward(config, rows, *affine, sample_len=sample_len)
            gradient = backward(config, dy, wanted.encoded, wanted.records, sample_len=sample_len)
        else:
            wanted = baseline_forward(config, rows, *affine)
            gradient = baseline_backward(config, dy, wanted)
        assert_array_equal(digits_training.to_rows(y.detach(), order), wanted.y)
        assert_array_equal(digits_training.to_rows(x.grad, order), gradient.dx)
        assert_array_equal(layer.gamma.grad, gradient.dgamma.astype(np.float32))

    @pytest.mark.parametrize("name", CONFIGS)
    def test_evaluation_follows_the_running_statistics(name):
        """After training on one batch long enough, evaluation gives what training gave, but for the rounding of a and b
        and of the spread's two forms: 4 fraction bits of a, 6 of b, 8-bit storage; a few per cent."""
        torch.manual_seed(1)
        layer, x = norm_of(CONFIGS[name])(8), torch.randn(8, 8, 6, 6) * 2 + 1
        for _ in range(80):
            trained = layer(x)
        evaluated = layer.eval()(x)
        assert torch.linalg.norm(evaluated - trained) < 0.06 * torch.linalg.norm(trained)

    @pytest.mark.parametrize("name", [None, "range", "two-pass"])
    def test_accuracy_repeats_and_reports(name, small):
        config = None if name is None else CONFIGS[name]
        calls = []
        result = digits_accuracy(config, (3, 4), lambda *what: calls.append(what), epochs=2)
        assert calls == [(1, 2, result.accuracy[0]), (2, 2, result.accuracy[1])]
        assert (result.mean, result.seeds, result.epochs) == (np.mean(result.accuracy), (3, 4), 2)
        assert result.spread == pytest.approx(np.std(result.accuracy, ddof=1))
        again = digits_accuracy(config, (3,), epochs=2)
        assert (again.accuracy, again.loss, again.spread) == (result.accuracy[:1], result.loss[:1], 0.0)
