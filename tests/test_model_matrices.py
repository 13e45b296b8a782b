"""Weights and weight gradients in memory, against the bit strings of docs/layers.md written down once more."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_model_memory import bit_string

from bnforge.array_config import ArrayConfig
from bnforge.config import Config
from bnforge.engine_config import EngineConfig
from bnforge.formats import BF16, E4M3, BlockFormat
from bnforge_model import Encoded, encode_weights
from bnforge_model.matrices import pack_weights, products_size, unpack_products, weights_size

CORES = {"opn4-like": Config(lanes=4, sample_depth=16, chunk_len=4, storage=BlockFormat(4, 8)),
         "three lanes": Config(lanes=3, sample_depth=16, chunk_len=4, x_format=E4M3, storage=BF16),
         "odd blocks": Config(lanes=6, sample_depth=48, chunk_len=16, storage=BlockFormat(3, 11, 5))}


@pytest.mark.parametrize("c_in, c_out", [(1, 1), (4, 6), (7, 12), (3, 5)])
@pytest.mark.parametrize("name", CORES)
def test_weights_in_memory(name, c_in, c_out, seed):
    """Tiles of columns; of each, taps of whole K tiles of rows of full beats."""
    core = CORES[name]
    config = EngineConfig(core=core, array=ArrayConfig.of(core))
    fmt, lanes, kernel = core.storage, core.lanes, (2, 3)
    encoded = encode_weights(config.array, np.random.default_rng(seed).standard_normal((*kernel, c_in, c_out)))
    wanted = b""
    for first in range(0, c_out, lanes):
        for tap in range(6):
            for c in range(-(-c_in // lanes) * lanes):
                row = tap * c_in + c

                def element(column):
                    return encoded.elements[row, column] if c < c_in and column < c_out else 0

                fields = []
                for group in range(first, first + lanes, fmt.group if core.is_block else 1):
                    size = fmt.group if core.is_block else 1
                    fields += [(element(column), core.element_width) for column in range(group, group + size)]
                    if core.is_block:
                        code = encoded.exponents[row, group // size] if c < c_in else 0
                        fields.append((code, fmt.exponent_width))
                wanted += bit_string(fields)
    assert pack_weights(config, encoded, kernel) == wanted
    assert len(wanted) == weights_size(config, kernel, c_in, c_out)


@pytest.mark.parametrize("c_in, c_out", [(1, 1), (4, 6), (7, 12), (3, 5)])
@pytest.mark.parametrize("name", CORES)
def test_weight_gradients_in_memory(name, c_in, c_out, seed):
    core, rng = CORES[name], np.random.default_rng(seed)
    config, kernel, width = EngineConfig(core=core, array=ArrayConfig.of(core)), (2, 3), core.x_format.width
    codes, lanes = rng.integers(1 << width, size=(*kernel, c_in, c_out)), core.lanes
    data = b"".join(
        bit_string([(codes[ky, kx, c, column] if c < c_in and column < c_out else rng.integers(1 << width), width)
                    for column in range(first, first + lanes)])
        for first in range(0, c_out, lanes) for ky in range(2) for kx in range(3)
        for c in range(-(-c_in // lanes) * lanes))
    assert len(data) == products_size(config, kernel, c_in, c_out)
    assert_array_equal(unpack_products(config, data, kernel, c_in, c_out), codes)


def test_rows_are_whole_taps():
    with pytest.raises(ValueError, match="^encoded elements must have a multiple of 2 rows, not 5$"):
        pack_weights(EngineConfig(core=CORES["three lanes"]), Encoded(BF16, np.zeros((5, 2), int)), (1, 2))
