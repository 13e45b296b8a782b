"""Formal proofs about the engine, for runs of any length: AXI, buffers, descriptors, the end of a run."""

import pytest
from formal.axi import ReadPortContract, WritePortContract
from formal.dma import ReadChannelContract, SplitterContract, WriteChannelContract
from formal.engine import EngineRules, RegisterContract
from formal.loader import LoaderContract, LoaderWords
from formal.midend import MidendContract
from formal.runner import prove, prove_by_induction, reaches
from formal.structure import Netlist
from formal.units import Narrow

from bnforge.array_config import ArrayConfig
from bnforge.engine import Engine
from bnforge.engine_config import BusConfig, EngineConfig
from bnforge.presets import opn1_tiny

BUS = Narrow()
TINY = EngineConfig(core=opn1_tiny, bus=BUS)
FUSED = TINY.replace(array=ArrayConfig.of(opn1_tiny, depth=4))
both = pytest.mark.parametrize("config", [TINY, FUSED], ids=["core", "array"])


@pytest.mark.parametrize("contract, bus", [
    (ReadPortContract, BUS), (WritePortContract, BUS), (WritePortContract, Narrow(outstanding=8, address_width=4))])
def test_manager_port_keeps_the_rules_of_axi(contract, bus):
    prove_by_induction(contract(bus), k=2)
    reaches(contract(bus), 20)


def test_bursts_are_the_bytes_of_their_row():
    prove_by_induction(SplitterContract(BUS))
    reaches(SplitterContract(BUS), 8)


@pytest.mark.parametrize("bus", [Narrow(outstanding=4), Narrow(max_burst=1, read_buffer=2)])
def test_reader_has_room_for_what_it_asks_for(bus):
    prove_by_induction(ReadChannelContract(bus), k=2)
    reaches(ReadChannelContract(bus), 12)


def test_writer_has_all_that_it_offers():
    bus = Narrow(write_buffer=8)
    prove_by_induction(WriteChannelContract(bus), k=2)
    reaches(WriteChannelContract(bus), 30)


def test_rows_are_those_of_their_descriptor():
    prove_by_induction(MidendContract(Narrow(address_width=4)))
    reaches(MidendContract(Narrow(address_width=4)), 30)


def test_only_good_descriptors_reach_a_midend():
    prove(LoaderContract(Narrow(address_width=33)))
    reaches(LoaderContract(Narrow(address_width=33)), 50)


def test_words_of_descriptors_reach_their_midend():
    prove_by_induction(LoaderWords(Narrow(address_width=32)), k=2)
    reaches(LoaderWords(Narrow(address_width=32)), 20)


@both
def test_runs_end_once_and_never_in_the_middle_of_a_transfer(config):
    prove(EngineRules(config), merged=True)
    reaches(EngineRules(config), 16)


def test_register_port_keeps_the_rules_of_axi_lite():
    prove(RegisterContract(TINY))
    reaches(RegisterContract(TINY), 12)


@both
def test_no_output_of_the_engine_depends_on_an_input_in_the_same_cycle(config):
    """Hence no VALID waits for a READY nor a READY for a VALID (AMBA AXI, A3.2.1), and no loop can close outside."""
    bus = BusConfig(data_width=32, max_burst=2, outstanding=2, read_buffer=2, write_buffer=4)
    engine = Netlist(Engine(config.replace(bus=bus)), registers=False)
    assert {"m_axi_awready", "m_axi_wready", "m_axi_bvalid", "m_axi_arready", "m_axi_rvalid", "s_axil_awvalid",
            "s_axil_bready", "s_axil_rready"} <= set(engine.inputs)
    assert {"m_axi_awvalid", "m_axi_wvalid", "m_axi_bready", "m_axi_arvalid", "m_axi_rready", "s_axil_awready",
            "s_axil_bvalid", "irq"} <= set(engine.outputs)
    assert {name: engine.combinational(name) for name in engine.inputs} == {name: [] for name in engine.inputs}
