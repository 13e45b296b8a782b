"""Configurations: what is accepted, what is refused and how, files, derived shapes."""

from pathlib import Path

import pytest
from bnforge import presets
from bnforge.config import Config, Multiplier, read_toml
from bnforge.engine_config import configuration
from bnforge.formats import BF16, E4M3, FLOAT_FORMATS, FP10, FP16, BlockFormat, FloatFormat
from refusals import PARAMETERS, message_of

EXAMPLES = sorted(Path(__file__).parent.parent.joinpath("examples").glob("*.toml"))


@pytest.mark.parametrize("expression, message", PARAMETERS, ids=[expression for expression, _ in PARAMETERS])
def test_refused_with_its_message(expression, message):
    assert message_of(expression) == message


LIMITS = [
    {"lanes": 1, "storage": FP10}, {"lanes": 32, "storage": BlockFormat(32, 4, 4)}, {"lanes": 32},
    {"sample_depth": 4, "chunk_len": 4, "lanes": 1, "storage": FP10}, {"sample_depth": 16384, "chunk_len": 4096},
    {"chunk_len": 32, "lanes": 29, "storage": E4M3}, {"x_format": FloatFormat(2, 1)}, {"x_format": FloatFormat(8, 15)},
    {"a_fraction": 1, "b_fraction": 1}, {"a_fraction": 15, "b_fraction": 15},
    {"multiplier": Multiplier.TWO_DIGIT, "a_fraction": 2}, {"multiplier": Multiplier.TWO_DIGIT, "a_fraction": 8},
    {"storage": BlockFormat(1, 12)}, {"storage": BlockFormat(16, 4, signed=False)}, {"storage": FloatFormat(8, 15)},
    {"clock_mhz": 1}, {"name": "X_1"},
]


@pytest.mark.parametrize("changes", LIMITS, ids=str)
def test_accepts_the_limits_of_each_range(changes):
    config = presets.opn16.replace(**changes)
    assert {key: getattr(config, key) for key in changes} == changes
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_is_named_after_its_name_and_survives_its_own_file_form(name):
    config, text = presets.PRESETS[name]
    assert config is getattr(presets, name) and config.name == name and text
    assert Config.from_dict(config.to_dict()) == config


def test_the_default_configuration_is_opn16_but_for_its_name():
    assert Config().replace(name="opn16") == presets.opn16


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_examples_are_read_and_named_after_their_file(path):
    config = configuration(read_toml(path))
    assert config.name == path.stem
    assert configuration(config.to_dict()) == config


def test_a_file_gives_what_it_says_and_defaults_for_the_rest(tmp_path):
    path = tmp_path / "core.toml"
    path.write_text('name = "core"\nlanes = 8\nx_format = "fp16"\nmultiplier = "two-digit"\n'
                    'storage = { group = 8, element_width = 6, signed = false }\n')
    assert Config.from_toml(path) == Config(name="core", lanes=8, x_format=FP16, multiplier=Multiplier.TWO_DIGIT,
                                            storage=BlockFormat(8, 6, signed=False))


@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_a_format_name_and_its_table_are_the_same(name):
    expected = FLOAT_FORMATS[name]
    table = {"exponent_width": expected.exponent_width, "fraction_width": expected.fraction_width}
    assert Config.from_dict({"x_format": name}).x_format == Config.from_dict({"x_format": table}).x_format == expected


SHAPES = [  # preset, header words, record words, position bits, groups, element bits
    ("opn16", 36, 9, 7, 1, 8), ("opn4", 12, 6, 7, 0, 10), ("opn32_mx", 68, 9, 7, 1, 8), ("opn1_tiny", 6, 7, 2, 1, 8),
]


@pytest.mark.parametrize("name, header, record, position, groups, element", SHAPES)
def test_derived_shapes_follow_the_interface_document(name, header, record, position, groups, element):
    config = presets.PRESETS[name][0]
    assert (config.header_words, config.record_words, config.position_width, config.n_groups,
            config.element_width) == (header, record, position, groups, element)


def test_long_chunks_take_a_record_word_each():
    assert presets.opn16.replace(chunk_len=256).record_words == 5 + 2
    assert presets.opn16.replace(chunk_len=512).record_words == 5 + 2
    assert presets.opn16.replace(chunk_len=512, sample_depth=2048).record_words == 5 + 4


def test_replace_checks_again_and_leaves_the_original_alone():
    with pytest.raises(ValueError, match="lanes must be"):
        presets.opn4.replace(lanes=0)
    assert presets.opn4.lanes == 4 and presets.opn4.x_format == FP10 and presets.opn16.x_format == BF16
