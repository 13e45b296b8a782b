"""The configuration of an array: alone, in an engine, from files, and what follows from it."""

import pytest
from bnforge.array_config import ArrayConfig
from bnforge.config import Config, Directions
from bnforge.engine_config import BusConfig, Channel, EngineConfig, configuration
from bnforge.formats import BF16, E4M3, FP16, FP32, BlockFormat, FloatFormat
from bnforge.presets import opn4, opn16

ALONE = [ArrayConfig(), ArrayConfig(name="other", rows=6, columns=12, storage=BlockFormat(3, 5), output=FP16, depth=8,
                                    operand_fraction=7, accumulate_fraction=23, clock_mhz=250.0),
         ArrayConfig(rows=32, columns=1, storage=E4M3, depth=4, transposes=False),
         ArrayConfig(rows=3, columns=2, storage=FloatFormat(2, 1), output=FloatFormat(8, 15))]


@pytest.mark.parametrize("config", ALONE, ids=["default", "blocks", "floats", "too small for a core"])
def test_an_array_is_what_its_data_say(config):
    assert ArrayConfig.from_dict(config.to_dict()) == configuration(config.to_dict()) == config
    assert configuration({**config.to_dict(), "array": {}}, array=True) == config.replace(
        rows=config.columns, depth=256, operand_fraction=None, accumulate_fraction=15, transposes=True)


@pytest.mark.parametrize("options", [{}, {"depth": 64, "operand_fraction": 3}, {"transposes": False}])
def test_an_engine_is_what_its_data_say(options):
    config = EngineConfig(core=opn4, bus=BusConfig(data_width=32), array=ArrayConfig.of(opn4, **options))
    assert configuration(config.to_dict()) == config
    assert configuration({**opn4.to_dict(), "name": "bnforge_engine", "bus": {"data_width": 32}, "array": options}) == \
        config
    assert configuration(opn4.to_dict() | {"name": "e"}, engine=True).array is None
    assert configuration(opn4.to_dict() | {"name": "e"}, engine=True, array=True).array == ArrayConfig.of(opn4)


@pytest.mark.parametrize("directions", Directions)
def test_an_array_transposes_for_a_backward_pass(directions):
    core = opn16.replace(directions=directions)
    assert ArrayConfig.of(core).transposes == core.has_backward
    assert ArrayConfig.of(core, transposes=True).transposes


def test_the_array_of_an_engine_has_no_name_or_clock_of_its_own():
    array = ArrayConfig.of(opn16).replace(name="mine", clock_mhz=250.0)
    assert EngineConfig(core=opn16, array=array).array == ArrayConfig.of(opn16)


@pytest.mark.parametrize("storage, fraction, groups", [
    (BlockFormat(16, 8), 6, 2), (BlockFormat(8, 12), 10, 4), (BF16, 7, 0), (FloatFormat(2, 15), 15, 0)])
def test_factors_hold_every_stored_significand(storage, fraction, groups):
    config = ArrayConfig(rows=32, columns=32, storage=storage)
    assert (config.operand, config.n_groups(32)) == (FloatFormat(8, fraction), groups)
    assert config.replace(operand_fraction=2).operand == FloatFormat(8, 2)
    assert config.replace(accumulate_fraction=23).accumulate == FP32


def test_jobs_of_an_engine_with_an_array_are_longer():
    core, fused = EngineConfig(core=Config()), EngineConfig(array=ArrayConfig.of(Config()))
    assert (core.job_words, fused.job_words) == (14, 20)
    assert fused.programs == (*core.programs, Channel.ACTIVATION, Channel.WEIGHT, Channel.PRODUCT)
    assert [fused.beat_bytes(channel) for channel in fused.programs] == [4, 32, 17, 17, 4, 17, 17, 32]
