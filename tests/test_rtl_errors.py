"""Headers that are refused or framed wrongly, reset in the middle, and the status flags."""

import dataclasses

import numpy as np
import pytest
from test_rtl_configs import CONFIGS

from bnforge.config import Activation
from bnforge.presets import PRESETS
from bnforge_model.constants import fp32_code
from bnforge_sim import Simulator, Stall, Stalls, State, Tile, compare, segment

OPN4 = PRESETS["opn4"][0]
UNSIGNED = next(config for config in CONFIGS if config.name == "unsigned_blocks")
REFUSED, MISFRAMED = 8, 16
NAN = 0x7FC00000


def plain_tile(config, n, rng, **changes):
    """A tile that sets no flag."""
    x = rng.integers(config.x_format.bias << config.x_format.fraction_width, size=(n, config.lanes), dtype=np.uint32)
    gamma, beta = fp32_code(rng.uniform(0.5, 2, (2, config.lanes)))
    tile = Tile(x, gamma, beta, int(fp32_code(0.25)), int(fp32_code(0.01)), config.sample_depth, Activation.RELU)
    return dataclasses.replace(tile, **changes)


def word_is(index, value):
    def change(words, last):
        words[index] = value
    return change


def bits(mask):
    def change(words, last):
        words[0] ^= mask
    return change


def sample_len(value):
    def change(words, last):
        words[0] = int(words[0]) & 0xFFFF | value << 16
    return change


def last_at(index):
    def change(words, last):
        last[-1] = False
        if index is not None:
            last[index] = True
    return change


BAD_HEADERS = [
    ("direction", OPN4, bits(1), REFUSED),
    ("activation 3", OPN4, bits(4), REFUSED),
    ("identity, unsigned", UNSIGNED, bits(2), REFUSED),
    ("no lane", OPN4, word_is(3, 0), REFUSED),
    ("lane not built", OPN4, word_is(3, 0x1F), REFUSED),
    ("lane 31 not built", OPN4, word_is(3, 0x8000000F), REFUSED),
    *[(f"reserved bit {bit}", OPN4, bits(1 << bit), REFUSED) for bit in range(4, 16)],
    ("sample_len 0", OPN4, sample_len(0), REFUSED),
    ("sample_len S + 1", OPN4, sample_len(OPN4.sample_depth + 1), REFUSED),
    ("sample_len 65535", OPN4, sample_len(65535), REFUSED),
    ("C = 0", OPN4, word_is(1, 0), REFUSED),
    ("C = -0", OPN4, word_is(1, 1 << 31), REFUSED),
    ("C subnormal", OPN4, word_is(1, 1), REFUSED),
    ("C = -1", OPN4, word_is(1, int(fp32_code(-1.0))), REFUSED),
    ("C = -infinity", OPN4, word_is(1, 0xFF800000), REFUSED),
    ("C = NaN", OPN4, word_is(1, NAN), REFUSED),
    ("eps = -1", OPN4, word_is(2, int(fp32_code(-1.0))), REFUSED),
    ("eps = -infinity", OPN4, word_is(2, 0xFF800000), REFUSED),
    ("TLAST on word 0", OPN4, last_at(0), MISFRAMED),
    ("TLAST on word 3", OPN4, last_at(3), MISFRAMED),
    ("TLAST on word 4", OPN4, last_at(4), MISFRAMED),
    ("TLAST one early", OPN4, last_at(OPN4.header_words - 2), MISFRAMED),
    ("TLAST missing", OPN4, last_at(None), MISFRAMED),
]
GOOD_HEADERS = [
    ("eps = -0", word_is(2, 1 << 31), {"eps": 1 << 31}, 0),
    ("eps negative subnormal", word_is(2, 0x80000001), {"eps": 0}, 0),
    ("eps = NaN", word_is(2, NAN), {"eps": NAN}, 1),
    ("C = infinity", word_is(1, 0x7F800000), {"c": 0x7F800000}, 2),
]
FROZEN_UNREAD = [("C", word_is(1, NAN)), ("eps", word_is(2, 0xFF800000)), ("sample_len", sample_len(0)),
                 ("large sample_len", sample_len(65535))]


def with_header(config, before, victim, after, change, **options):
    """``before``, ``victim`` with a changed header, ``after``; complete once ``before`` is out."""
    stretch = segment(config, [*before, victim, *after], **options)
    at = slice(len(before) * config.header_words, (len(before) + 1) * config.header_words)
    change(stretch.header[at], stretch.header_last[at])
    return stretch


@pytest.mark.parametrize("name, config, change, status", BAD_HEADERS, ids=[case[0] for case in BAD_HEADERS])
def test_bad_header_stops_the_core(name, config, change, status, seed):
    rng = np.random.default_rng(seed)
    simulator = Simulator(config)
    for n_before in (0, 1, 3):
        before = [plain_tile(config, int(rng.integers(1, 2 * config.chunk_len)), rng) for _ in range(n_before)]
        rest = [plain_tile(config, 20, rng) for _ in range(3)]
        stretch = with_header(config, before, rest[0], rest[1:], change, seed=seed, idle_limit=2000,
                              stalls=Stalls(output=Stall(0.2, 5)))
        outcome, = simulator.run_segments([stretch], seed=seed)
        assert len(outcome.header_cycles) <= (n_before + 1) * config.header_words
        assert outcome.status & ~7 == status
        if before:
            kept = outcome.status  # the refused header may have set flags of its own: a NaN, an infinity
            result = compare(config, before, outcome, state=State.IDLE, status=kept, cleared=status)
            assert result.messages == []
        else:
            assert (len(outcome.last), len(outcome.records), outcome.cleared) == (0, 0, status)


@pytest.mark.parametrize("name, change, fields, status", GOOD_HEADERS, ids=[case[0] for case in GOOD_HEADERS])
def test_odd_header_is_accepted(name, change, fields, status, seed):
    rng = np.random.default_rng(seed)
    tiles = [plain_tile(OPN4, 300, rng) for _ in range(3)]
    outcome, = Simulator(OPN4).run_segments([with_header(OPN4, tiles[:1], tiles[1], tiles[2:], change)])
    tiles[1] = dataclasses.replace(tiles[1], **fields)
    assert compare(OPN4, tiles, outcome).messages == []
    assert outcome.status & status == status


@pytest.mark.parametrize("name, change", FROZEN_UNREAD, ids=[case[0] for case in FROZEN_UNREAD])
def test_frozen_header_ignores(name, change, seed):
    rng = np.random.default_rng(seed)
    tiles = [plain_tile(OPN4, 30, rng, frozen=True) for _ in range(3)]
    outcome, = Simulator(OPN4).run_segments([with_header(OPN4, tiles[:1], tiles[1], tiles[2:], change)])
    assert compare(OPN4, tiles, outcome).messages == []


@pytest.mark.parametrize("preset", ["opn1_tiny", "opn4", "opn16"])
def test_reset_in_the_middle(preset, seed):
    config = PRESETS[preset][0]
    rng = np.random.default_rng(seed)
    stalls = Stalls(*[Stall(0.1, 4)] * 4)
    runs, stretches = [], []
    for index in range(20):
        tiles = [plain_tile(config, int(rng.integers(1, 2 * config.sample_depth)), rng) for _ in range(4)]
        cut = int(rng.integers(1, 8 * config.sample_depth)) if index % 2 == 0 else None
        runs.append((tiles, cut))
        stretches.append(segment(config, tiles, stop_cycle=cut, stalls=stalls, seed=seed + index))
    outcomes = Simulator(config).run_segments(stretches, seed=seed)
    for (tiles, cut), outcome in zip(runs, outcomes, strict=True):
        if cut is None:
            assert compare(config, tiles, outcome).messages == []
        else:
            assert outcome.state is State.STOPPED


@pytest.mark.parametrize("flag, fields", [(1, {"beta": NAN}), (2, {"beta": 0x7F800000}), (4, {"beta": 0x7F7FFFFF})])
def test_flag_is_sticky_until_cleared(flag, fields, seed):
    rng = np.random.default_rng(seed)
    first = plain_tile(OPN4, 10, rng, **{name: np.full(OPN4.lanes, value) for name, value in fields.items()})
    outcome = Simulator(OPN4).run([first, *[plain_tile(OPN4, 300, rng) for _ in range(3)]])
    assert outcome.status & flag
    assert outcome.cleared == 0
    assert np.all(outcome.status_log[np.flatnonzero(outcome.status_log[:, 1] & flag)[0]:, 1] & flag)


@pytest.mark.parametrize("disabled_code", ["nan", "infinity"])
def test_disabled_lanes_set_no_flag(disabled_code, seed):
    rng = np.random.default_rng(seed)
    tile = plain_tile(OPN4, 300, rng, mask=0b0101)
    code = {"nan": OPN4.x_format.max_code + 2, "infinity": OPN4.x_format.max_code + 1}[disabled_code]
    tile.x[:, 1::2] = code
    tile.gamma[1::2], tile.beta[1::2] = NAN, 0x7F800000
    outcome = Simulator(OPN4).run([tile])
    assert compare(OPN4, [tile], outcome).messages == []
    assert outcome.status == 0
