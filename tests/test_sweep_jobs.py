"""Jobs of the baselines' engine: what they read and write, row by row, without the engine."""

import numpy as np
import pytest
from bnforge.config import Activation, Algorithm, Config
from bnforge.engine_config import Channel, EngineConfig
from bnforge.formats import BF16, FP10, BlockFormat
from bnforge.sweeps.words import Sweep, param_words, record_words, streams, sweeps_of
from bnforge_model import Shape, tile_slices
from bnforge_model.sweep_words import sweep_header_words
from bnforge_sim.descriptors import expand
from bnforge_sim.sweep_jobs import SweepJob, head_size, read_tensor, result_tensor, sweep_workspace
from bnforge_sim.sweep_jobs import sweep_workspace_size

BLOCKS, FLOATS, LIGHT = BlockFormat(4, 8), BF16, BlockFormat(4, 6, 5, second_largest=True)
ADDRESSES = {"operand": 1 << 20, "stored": 2 << 20, "gradient": 3 << 20, "result": 4 << 20, "records": 5 << 20}
BASE = 4096
CASES = [(algorithm, storage, dims) for algorithm in Algorithm if algorithm is not Algorithm.ONE_PASS
         for storage, dims in ((BLOCKS, (3, 4, 5, 4)), (BLOCKS, (2, 3, 3, 10)), (LIGHT, (2, 3, 3, 10)),
                               (FLOATS, (1, 1, 7, 3)))]


def engine(algorithm, storage):
    x_format = FP10 if storage is LIGHT else BF16
    return EngineConfig(core=Config(lanes=4, x_format=x_format, storage=storage, algorithm=algorithm))


def job_of(config, sweep, shape):
    rng = np.random.default_rng(int(sweep))
    params = {name: rng.integers(0, 9, shape.channels) if name.startswith("arg") else
              rng.standard_normal(shape.channels).astype(np.float32) for name in param_words(config.core, sweep)}
    return SweepJob(sweep=sweep, shape=shape, activation=Activation.RELU, eps=1e-5, c=0.25, params=params,
                    addresses=ADDRESSES)


def rows_of(config, sweep, shape):
    """The workspace, and the rows of each channel that the job's words lead to."""
    data = sweep_workspace(config, job_of(config, sweep, shape), BASE)
    words = np.frombuffer(data, "<u4")[:config.job_words]
    rows = {}
    for place, channel in enumerate(config.programs):
        low, high = words[4 + 2 * place:6 + 2 * place].tolist()
        if words[2] >> channel & 1:
            rows[channel] = list(expand(data[(high << 32 | low) - BASE:]))
        else:
            assert (low, high) == (0, 0)
    return data, rows


@pytest.mark.parametrize("algorithm, storage, dims", CASES)
def test_every_channel_moves_its_whole_tensor_once_tile_by_tile(algorithm, storage, dims):
    config, shape = engine(algorithm, storage), Shape(*dims)
    for sweep in sweeps_of(config.core):
        _, rows = rows_of(config, sweep, shape)
        inputs, has_result = streams(config.core, sweep)
        used = {*inputs, *(["result"] if has_result else []), *(["record"] if record_words(config.core, sweep) else [])}
        assert set(rows) == {Channel.HEADER, *(Channel[name.upper()] for name in used)}
        for name in used - {"record"}:
            size_of = config.operand_bytes if name == "operand" else config.stored_bytes
            sizes = [size_of(tile.stop - tile.start) for tile in tile_slices(config.core, shape.channels)]
            wanted = [ADDRESSES[name] + image * shape.area * sum(sizes) + shape.area * sum(sizes[:number]) + byte
                      for number, size in enumerate(sizes) for image in range(shape.n_images)
                      for byte in range(shape.area * size)]
            moved = [address + byte for address, length in rows[Channel[name.upper()]] for byte in range(length)]
            assert moved == wanted
            assert all(length % size_of(config.core.lanes) == 0 or length < size_of(config.core.lanes)
                       for _, length in rows[Channel[name.upper()]])
        if "record" in used:
            words = len(record_words(config.core, sweep))
            assert sum(length for _, length in rows[Channel.RECORD]) == 4 * words * shape.channels
            assert rows[Channel.RECORD][0][0] == ADDRESSES["records"]


@pytest.mark.parametrize("algorithm, storage, dims", CASES[1::4])
def test_headers_have_the_words_of_each_tile(algorithm, storage, dims):
    config, shape = engine(algorithm, storage), Shape(*dims)
    for sweep in sweeps_of(config.core):
        data, rows = rows_of(config, sweep, shape)
        job = job_of(config, sweep, shape)
        for (address, length), tile in zip(rows[Channel.HEADER], tile_slices(config.core, shape.channels), strict=True):
            wanted = sweep_header_words(
                config.core, sweep, shape.n_positions, {name: values[tile] for name, values in job.params.items()},
                activation=job.activation, eps=job.eps, c=job.c, mask=np.ones(tile.stop - tile.start, bool))
            assert data[address - BASE:address - BASE + length] == wanted.tobytes()
        assert len(data) == sweep_workspace_size(config, sweep, shape)
        assert max(address + length for address, length in rows[Channel.HEADER]) == BASE + head_size(
            config, sweep, shape.channels)


def test_a_job_uses_the_channels_that_the_engine_wants():
    for algorithm in (Algorithm.RANGE, Algorithm.SINGLE_PASS, Algorithm.TWO_PASS):
        config = engine(algorithm, BLOCKS)
        for sweep in sweeps_of(config.core):
            assert set(rows_of(config, sweep, Shape(1, 2, 2, 4))[1]) == set(config.sweep_channels(sweep))


def test_tensors_lead_from_one_sweep_to_the_next():
    for algorithm in (Algorithm.RANGE, Algorithm.SINGLE_PASS, Algorithm.TWO_PASS):
        core, written = engine(algorithm, BLOCKS).core, {"x", "dy"}
        for sweep in sweeps_of(core):
            assert {read_tensor(core, sweep, stream) for stream in streams(core, sweep)[0]} <= written
            written |= {result_tensor(sweep)} if streams(core, sweep)[1] else set()
        assert {"y", "dx"} <= written
    assert read_tensor(engine(Algorithm.RANGE, BLOCKS).core, Sweep.SUMS, "stored") == "y"


def test_a_workspace_is_not_at_0():
    config = engine(Algorithm.RANGE, BLOCKS)
    with pytest.raises(ValueError, match="base must not be 0"):
        sweep_workspace(config, job_of(config, Sweep.COLLECT, Shape(1, 1, 1, 4)), 0)
