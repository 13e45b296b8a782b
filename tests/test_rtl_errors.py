"""Headers that are refused or framed wrongly, reset in the middle, and the status flags."""

import dataclasses

import numpy as np
import pytest
from test_rtl_configs import CONFIGS

from bnforge.config import HEADER_FIXED_WORDS, Activation
from bnforge.presets import PRESETS
from bnforge_model.constants import fp32_code
from bnforge_sim import Simulator, Stall, Stalls, State, Tile, compare, header_words, segment
from bnforge_sim.expect import expect
from bnforge_sim.figures import backward_of

OPN4 = PRESETS["opn4"][0]
UNSIGNED, FORWARD, BACKWARD, GROUPS, FROZEN = (next(config for config in CONFIGS if config.name == name) for name in (
    "unsigned_blocks", "forward_only", "backward_only", "small_exponent", "frozen_only"))
REFUSED, MISFRAMED, DIFFERED = 8, 16, 32
NAN, MINUS_ONE = 0x7FC00000, 0xBF800000


def small_codes(config, shape, rng):
    """Codes of 0 to 1."""
    return rng.integers(config.x_format.bias << config.x_format.fraction_width, size=shape, dtype=np.uint32)


def plain_tile(config, n, rng, **changes):
    """A tile that sets no flag."""
    x = small_codes(config, (n, config.lanes), rng)
    gamma, beta = fp32_code(rng.uniform(0.5, 2, (2, config.lanes)))
    tile = Tile(x, gamma, beta, int(fp32_code(0.25)), int(fp32_code(0.01)), config.sample_depth, Activation.RELU,
                frozen=not config.has_statistics)
    return dataclasses.replace(tile, **changes)


def plain_backward(config, n, rng, **changes):
    """The backward tile of such a tile, without a flag too; ``changes`` of the forward tile."""
    tile = plain_tile(config, n, rng, **changes)
    return backward_of(config, tile, small_codes(config, tile.x.shape, rng))


def plain_mix(config, count, longest, rng):
    """Tiles of up to ``longest`` beats, the directions that are built in turn."""
    makers = [plain_tile] * config.has_forward + [plain_backward] * config.has_backward
    return [makers[index % len(makers)](config, int(rng.integers(1, longest)), rng) for index in range(count)]


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


def record_word(lane, index, config=OPN4):
    """Where a word of a lane's record is in the header of a backward tile with all lanes."""
    return HEADER_FIXED_WORDS + lane * config.record_words + index


RINV, R = 2, 4
BAD_HEADERS = [
    ("direction not built", FORWARD, bits(1), REFUSED),
    ("not frozen, no statistics", FROZEN, bits(8), REFUSED),
    ("not frozen, no statistics, a sample", FROZEN, word_is(0, 1 << 16), REFUSED),
    ("direction not built, no statistics", FROZEN, bits(1), REFUSED),
    ("TLAST one early, no statistics", FROZEN, last_at(FROZEN.header_words - 2), MISFRAMED),
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
    ("C = -1", OPN4, word_is(1, MINUS_ONE), REFUSED),
    ("C = -infinity", OPN4, word_is(1, 0xFF800000), REFUSED),
    ("C = NaN", OPN4, word_is(1, NAN), REFUSED),
    ("eps = -1", OPN4, word_is(2, MINUS_ONE), REFUSED),
    ("eps = -infinity", OPN4, word_is(2, 0xFF800000), REFUSED),
    ("TLAST on word 0", OPN4, last_at(0), MISFRAMED),
    ("TLAST on word 3", OPN4, last_at(3), MISFRAMED),
    ("TLAST on word 4", OPN4, last_at(4), MISFRAMED),
    ("TLAST one early", OPN4, last_at(OPN4.header_words - 2), MISFRAMED),
    ("TLAST missing", OPN4, last_at(None), MISFRAMED),
]
BAD_BACKWARD = [
    ("direction not built", BACKWARD, {}, bits(1), REFUSED),
    ("activation 3", OPN4, {}, bits(4), REFUSED),
    ("identity, unsigned", UNSIGNED, {}, bits(2), REFUSED),
    ("no lane", OPN4, {}, word_is(3, 0), REFUSED),
    ("lane not built", OPN4, {}, word_is(3, 0x1F), REFUSED),
    ("reserved bit 15", OPN4, {}, bits(1 << 15), REFUSED),
    ("sample_len 0", OPN4, {}, sample_len(0), REFUSED),
    ("sample_len S + 1", OPN4, {}, sample_len(OPN4.sample_depth + 1), REFUSED),
    ("C = 0", OPN4, {}, word_is(1, 0), REFUSED),
    ("C = 0, frozen", OPN4, {"frozen": True}, word_is(1, 0), REFUSED),
    ("eps = -1", OPN4, {}, word_is(2, MINUS_ONE), REFUSED),
    ("eps = -1, frozen", OPN4, {"frozen": True}, word_is(2, MINUS_ONE), REFUSED),
    ("R = -1", OPN4, {}, word_is(record_word(0, R), MINUS_ONE), REFUSED),
    ("R = -1 in the last lane", OPN4, {}, word_is(record_word(3, R), MINUS_ONE), REFUSED),
    ("R = -infinity", OPN4, {}, word_is(record_word(1, R), 0xFF800000), REFUSED),
    ("R = -1, frozen", OPN4, {"frozen": True}, word_is(record_word(1, R), MINUS_ONE), REFUSED),
    ("Rinv = -1", OPN4, {}, word_is(record_word(0, RINV), MINUS_ONE), REFUSED),
    ("Rinv = -1 in the last lane", OPN4, {}, word_is(record_word(3, RINV), MINUS_ONE), REFUSED),
    ("TLAST on word 0", OPN4, {}, last_at(0), MISFRAMED),
    ("TLAST on word 3", OPN4, {}, last_at(3), MISFRAMED),
    ("TLAST on word 4", OPN4, {}, last_at(4), MISFRAMED),
    ("TLAST after a lane", OPN4, {}, last_at(record_word(1, -1)), MISFRAMED),
    ("TLAST one early", OPN4, {}, last_at(record_word(4, -2)), MISFRAMED),
    ("TLAST missing", OPN4, {}, last_at(None), MISFRAMED),
    ("a lane too few", OPN4, {"mask": 0b1011}, word_is(3, 0b1111), MISFRAMED),
    ("a lane too many", OPN4, {}, word_is(3, 0b1011), MISFRAMED),
]
GOOD_HEADERS = [
    ("eps = -0", word_is(2, 1 << 31), {"eps": 1 << 31}, 0),
    ("eps negative subnormal", word_is(2, 0x80000001), {"eps": 0}, 0),
    ("eps = NaN", word_is(2, NAN), {"eps": NAN}, 1),
    ("C = infinity", word_is(1, 0x7F800000), {"c": 0x7F800000}, 2),
]
GOOD_RECORDS = [("R = -0", R, 1 << 31, 0), ("R negative subnormal", R, 0x80000001, 0),
                ("R = -NaN", R, NAN | 1 << 31, 1), ("R = infinity", R, 0x7F800000, 2), ("Rinv = -0", RINV, 1 << 31, 0),
                ("Rinv = -NaN", RINV, NAN | 1 << 31, 1)]
FROZEN_UNREAD = [("C", word_is(1, NAN)), ("eps", word_is(2, 0xFF800000)), ("sample_len", sample_len(0)),
                 ("large sample_len", sample_len(65535))]


def with_header(config, before, victim, after, change, **options):
    """``before``, ``victim`` with a changed header, ``after``; complete once ``before`` is out."""
    stretch = segment(config, [*before, victim, *after], **options)
    first = sum(len(header_words(config, tile)) for tile in before)
    at = slice(first, first + len(header_words(config, victim)))
    change(stretch.header[at], stretch.header_last[at])
    return stretch


def check_stop(config, before, outcome, status):
    """Everything before a bad tile is out, nothing else."""
    assert outcome.status & ~7 == status
    if before:
        kept = outcome.status  # the refused header may have set flags of its own: a NaN, an infinity
        result = compare(config, before, outcome, state=State.IDLE, status=kept, cleared=status)
        assert result.messages == []
    else:
        assert (len(outcome.last), len(outcome.records), outcome.cleared) == (0, 0, status)


@pytest.mark.parametrize("name, config, change, status", BAD_HEADERS, ids=[case[0] for case in BAD_HEADERS])
def test_bad_header_stops_the_core(name, config, change, status, seed):
    rng = np.random.default_rng(seed)
    simulator = Simulator(config)
    for n_before in (0, 1, 3):
        before = plain_mix(config, n_before, 2 * config.chunk_len, rng)
        rest = [plain_tile(config, 20, rng) for _ in range(3)]
        stretch = with_header(config, before, rest[0], rest[1:], change, seed=seed, idle_limit=2000,
                              stalls=Stalls(output=Stall(0.2, 5)))
        outcome, = simulator.run_segments([stretch], seed=seed)
        assert len(outcome.header_cycles) <= len(np.concatenate([header_words(config, t) for t in [*before, rest[0]]]))
        check_stop(config, before, outcome, status)


@pytest.mark.parametrize("name, config, fields, change, status", BAD_BACKWARD, ids=[case[0] for case in BAD_BACKWARD])
def test_bad_backward_header_stops_the_core(name, config, fields, change, status, seed):
    rng = np.random.default_rng(seed)
    simulator = Simulator(config)
    for n_before in (0, 1, 3):
        before = plain_mix(config, n_before, 2 * config.chunk_len, rng)
        victim = plain_backward(config, 2 * config.sample_depth, rng, **fields)
        after = [plain_backward(config, 20, rng) for _ in range(2)]
        stretch = with_header(config, before, victim, after, change, seed=seed, idle_limit=2000,
                              stalls=Stalls(output=Stall(0.2, 5)))
        outcome, = simulator.run_segments([stretch], seed=seed)
        assert len(outcome.header_cycles) <= len(np.concatenate([header_words(config, t) for t in [*before, victim]]))
        check_stop(config, before, outcome, status)


@pytest.mark.parametrize("n, before_the_end", [(1, 0), (20, 0), (20, 1), (20, 19), (600, 0), (600, 1), (600, 400)])
@pytest.mark.parametrize("port", ["dy", "y"])
def test_last_of_one_stream_only_stops_the_core(port, n, before_the_end, seed):
    """TLAST ``before_the_end`` beats early on one stream (0: missing there); the beats before have been taken."""
    rng = np.random.default_rng(seed)
    simulator = Simulator(OPN4)
    for n_before in (0, 2, 3):
        before = plain_mix(OPN4, n_before, 300, rng)
        victim = plain_backward(OPN4, n, rng)
        stretch = segment(OPN4, [*before, victim, plain_tile(OPN4, 20, rng)], seed=seed, idle_limit=2000,
                          stalls=Stalls(output=Stall(0.2, 5), y=Stall(0.1, 3), data=Stall(0.1, 3)))
        taken = [sum(len(tile.beats) for tile in before if not only_y or tile in before[1::2]) + n - 1 - before_the_end
                 for only_y in (False, True)]
        last, at = (stretch.last, taken[0]) if port == "dy" else (stretch.y_last, taken[1])
        last[at] ^= True
        again = segment(OPN4, [*before, victim])
        outcome, after = simulator.run_segments([stretch, again], seed=seed)
        assert (outcome.state, outcome.status, outcome.cleared) == (State.IDLE, DIFFERED, DIFFERED)
        for cycles, count in zip((outcome.data_cycles, outcome.y_cycles), taken):
            assert count <= len(cycles) <= count + 1  # 1: the input register
        wanted = [expect(OPN4, tile) for tile in before]
        n_out, rest = sum(len(item.last) for item in wanted), expect(OPN4, victim).elements
        elements = np.concatenate([*(item.elements for item in wanted), rest])
        assert n_out <= len(outcome.last) <= n_out + max(0, n - OPN4.sample_depth)
        assert np.array_equal(outcome.elements, elements[:len(outcome.elements)])
        assert outcome.records.tolist() == [word for item in wanted for word in item.records]
        assert compare(OPN4, [*before, victim], after).messages == []


@pytest.mark.parametrize("name, change, fields, status", GOOD_HEADERS, ids=[case[0] for case in GOOD_HEADERS])
@pytest.mark.parametrize("make, frozen", [(plain_tile, False), (plain_backward, False), (plain_backward, True)],
                         ids=["forward", "backward", "frozen backward"])
def test_odd_header_is_accepted(make, frozen, name, change, fields, status, seed):
    rng = np.random.default_rng(seed)
    tiles = [make(OPN4, 300, rng, frozen=frozen) for _ in range(3)]
    outcome, = Simulator(OPN4).run_segments([with_header(OPN4, tiles[:1], tiles[1], tiles[2:], change)])
    tiles[1] = dataclasses.replace(tiles[1], **fields)
    assert compare(OPN4, tiles, outcome).messages == []
    assert outcome.status & status == status


@pytest.mark.parametrize("name, index, value, status", GOOD_RECORDS, ids=[case[0] for case in GOOD_RECORDS])
@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
def test_odd_record_is_accepted(frozen, name, index, value, status, seed):
    rng = np.random.default_rng(seed)
    tiles = [plain_backward(OPN4, 300, rng, frozen=frozen) for _ in range(3)]
    tiles[1].records[record_word(2, index) - HEADER_FIXED_WORDS] = value
    outcome = Simulator(OPN4).run(tiles)
    assert compare(OPN4, tiles, outcome).messages == []
    assert outcome.status & status == status


@pytest.mark.parametrize("name, change", FROZEN_UNREAD, ids=[case[0] for case in FROZEN_UNREAD])
def test_frozen_header_ignores(name, change, seed):
    rng = np.random.default_rng(seed)
    tiles = [plain_tile(OPN4, 30, rng, frozen=True) for _ in range(3)]
    outcome, = Simulator(OPN4).run_segments([with_header(OPN4, tiles[:1], tiles[1], tiles[2:], change)])
    assert compare(OPN4, tiles, outcome).messages == []


@pytest.mark.parametrize("length", [0, 65535])
def test_frozen_backward_header_ignores_sample_len(length, seed):
    rng = np.random.default_rng(seed)
    tiles = [plain_backward(OPN4, 300, rng, frozen=True) for _ in range(3)]
    outcome, = Simulator(OPN4).run_segments([with_header(OPN4, tiles[:1], tiles[1], tiles[2:], sample_len(length))])
    assert compare(OPN4, tiles, outcome).messages == []


@pytest.mark.parametrize("preset", ["opn1_tiny", "opn4", "opn16"])
def test_reset_in_the_middle(preset, seed):
    config = PRESETS[preset][0]
    rng = np.random.default_rng(seed)
    stalls = Stalls(*[Stall(0.1, 4)] * 5)
    runs, stretches = [], []
    for index in range(20):
        tiles = plain_mix(config, 4, 2 * config.sample_depth, rng)
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
@pytest.mark.parametrize("make", [plain_tile, plain_backward], ids=["forward", "backward"])
def test_disabled_lanes_set_no_flag(make, disabled_code, seed):
    rng = np.random.default_rng(seed)
    tile = make(OPN4, 300, rng, mask=0b0101)
    code = {"nan": OPN4.x_format.max_code + 2, "infinity": OPN4.x_format.max_code + 1}[disabled_code]
    if make is plain_tile:
        tile.x[:, 1::2] = code
        tile.gamma[1::2], tile.beta[1::2] = NAN, 0x7F800000
    else:
        tile.dy[:, 1::2] = tile.elements[:, 1::2] = code  # x and y have one format
    outcome = Simulator(OPN4).run([tile])
    assert compare(OPN4, [tile], outcome).messages == []
    assert outcome.status == 0


@pytest.mark.parametrize("mask, status", [(0b1100, 0), (0b1110, 1)])
def test_reserved_exponent_of_a_group_with_an_enabled_lane_sets_a_flag(mask, status, seed):
    rng = np.random.default_rng(seed)
    tile = plain_backward(GROUPS, 100, rng, mask=mask)
    tile.exponents[70, 0] = GROUPS.storage.max_exponent_code + 1
    outcome = Simulator(GROUPS).run([tile])
    assert compare(GROUPS, [tile], outcome).messages == []
    assert outcome.status & 1 == status


@pytest.mark.parametrize("flag, port, code", [(1, "dy", 2), (2, "dy", 1), (1, "elements", 2), (2, "elements", 1)])
def test_value_that_is_none_sets_a_flag(flag, port, code, seed):
    tile = plain_backward(OPN4, 300, np.random.default_rng(seed))
    getattr(tile, port)[200, 1] = OPN4.x_format.max_code + code
    outcome = Simulator(OPN4).run([tile])
    assert compare(OPN4, [tile], outcome).messages == []
    assert outcome.status & 3 == flag
