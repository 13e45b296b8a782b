"""Formal proofs about the array, for runs of any length; ``--all-engines`` for more sizes and formats, a minute."""

from formal.array import Frames, ResultOrder, ResultsHold, RowOrder, WeightOrder
from formal.array_operands import OperandTable, SquareOrder
from formal.runner import prove, prove_by_induction, prove_combinational, reaches
from formal.structure import Netlist

from bnforge.array import SystolicArrayTop
from bnforge.array_config import ArrayConfig
from bnforge.formats import E4M3, E5M2, FP10, BlockFormat, FloatFormat

PAIR = ArrayConfig(name="pair", rows=2, columns=2, storage=FloatFormat(3, 1), output=FloatFormat(3, 1), depth=4,
                   accumulate_fraction=2)
ONE = PAIR.replace(name="one", rows=1, columns=1)
STORAGES = [(BlockFormat(1, 5, 6), 1), (FloatFormat(3, 2), 1), (E4M3, 1), (E4M3, None), (E5M2, 15),
            (FloatFormat(8, 1), None), (FP10, 2), (BlockFormat(1, 8), None), (BlockFormat(1, 8), 2)]
"""Stored formats, and fraction bits of a factor; the first two are those that are always proved."""


def pytest_generate_tests(metafunc):
    full = metafunc.config.getoption("--all-engines", default=False)
    if "config" in metafunc.fixturenames:
        sizes = [PAIR, ONE, PAIR.replace(name="three", rows=3, columns=1), PAIR.replace(name="deep", depth=8)]
        metafunc.parametrize("config", sizes if full else sizes[:1], ids=lambda config: config.name)
    if "storage" in metafunc.fixturenames:
        metafunc.parametrize("storage, fraction", STORAGES if full else STORAGES[:2], ids=str)
    if "last" in metafunc.fixturenames:
        metafunc.parametrize("last", [1, 3] if full else [1])


def test_results_hold_until_taken():
    prove_by_induction(ResultsHold(ONE))
    reaches(ResultsHold(ONE), 2)


def test_sums_stay_in_their_places_and_results_leave_in_order(config):
    prove_by_induction(RowOrder(config), k=config.rows + 2)
    reaches(RowOrder(config), 4 * config.depth + 14)


def test_wrong_frames_are_noticed(config):
    prove(Frames(config))
    reaches(Frames(config), 8)


def test_each_row_gets_one_weight_of_its_pass(config):
    prove(WeightOrder(config))
    reaches(WeightOrder(config), 8)


def test_no_result_is_lost_or_overwritten(last):
    prove(ResultOrder(PAIR, last=last))
    reaches(ResultOrder(PAIR, last=last), 20)


def test_squares_are_transposed(config):
    prove(SquareOrder(config))
    reaches(SquareOrder(config), 20)


def test_every_stored_element_becomes_its_factor(storage, fraction):
    config = ONE.replace(storage=storage, operand_fraction=fraction)
    prove_combinational(OperandTable(config))
    reaches(OperandTable(config), 1)


def test_no_output_of_the_array_depends_on_a_stream_in_the_same_cycle():
    """``transpose`` alone does: it changes while the array is idle."""
    array = Netlist(SystolicArrayTop(ONE), registers=False)
    assert {"m_axis_tready", "s_axis_a_tvalid", "s_axis_w_tvalid", "s_axis_w_tlast", "transpose"} <= set(array.inputs)
    assert {"m_axis_tvalid", "s_axis_a_tready", "s_axis_w_tready", "status"} <= set(array.outputs)
    found = {name: array.combinational(name) for name in array.inputs}
    assert found == {name: [] for name in array.inputs} | {"transpose": ["s_axis_a_tready"]}
