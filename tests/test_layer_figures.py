"""The committed measurements of layers are those of the program, and what it counts is right."""

import itertools
import json
from pathlib import Path

import pytest
from bnforge.presets import opn4
from bnforge_model import Shape
from bnforge_sim.layer_figures import JOBS, LATENCY, RUNS, LayerCase, _configuration, _products, _rows
from bnforge_sim.network import Network

ROWS = json.loads((Path(__file__).parent.parent / "docs" / "layers.json").read_text())["rows"]
CASE = LayerCase("a case", (2, 5, 4, 4), (1, 2), (4, 8))


def test_the_file_has_every_run():
    assert [(row["case"], row["data_width"], row["latency"]) for row in ROWS] == [
        (case.name, width, LATENCY) for case, width in RUNS]
    assert all(set(row[what]) == ({"fused", "unfused"} if jobs[0] != jobs[1] else {"fused"})
               for row in ROWS for what, jobs in JOBS.items())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['case']}, {row['data_width']}")
def test_shares_are_those_of_the_counts(row):
    for run in (run for what in JOBS for run in row[what].values()):
        assert run["utilisation"] == pytest.approx(run["macs"] / (256 * run["cycles"])) and run["busy_bus"] <= 1
        assert run["useful"] == run["macs"] / (256 * run["rows"]) and run["busy_array"] == run["rows"] / run["cycles"]
    for what in ("forward", "backward"):
        fused, unfused = row[what]["fused"], row[what]["unfused"]
        assert fused["cycles"] < unfused["cycles"] and sum(fused["bytes"].values()) < sum(unfused["bytes"].values())
        assert {"forward": "x", "backward": "dy"}[what] in unfused["bytes"].keys() - fused["bytes"].keys()


def _pairs(case, index):
    """Offsets that reach an input, by going through all."""
    shape, (stride, channels) = case.images, (case.strides[index], case.channels[index])
    for before in range(index):
        shape = (shape[0], *(-(-side // case.strides[before]) for side in shape[1:3]), case.channels[before])
    sides = [[0 <= o * stride + k - 1 < side for o in range(-(-side // stride)) for k in range(3)]
             for side in shape[1:3]]
    return shape[0] * shape[3] * channels * sum(y and x for y, x in itertools.product(*sides))


def test_multiply_accumulates_leave_padding_out():
    network = Network(_configuration(opn4, 64), Shape(*CASE.images), CASE.layers)
    assert [_products(network, what) for what in JOBS] == [_pairs(CASE, 0), _pairs(CASE, 1), _pairs(CASE, 0)]


def test_rows_of_the_array_are_full():
    """Where channels fill the tiles: as many elements as multiply-accumulates; of a weight gradient whole squares."""
    network = Network(_configuration(opn4, 64), Shape(*CASE.images), CASE.layers)
    for what in ("forward", "backward"):
        assert 16 * _rows(network, JOBS[what][0]) == _products(network, what)
    assert _products(network, "weight gradient") <= 16 * _rows(network, ["0.correlate"])
