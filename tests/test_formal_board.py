"""Formal proofs about what is around an engine on a board, for runs of any length."""

from formal.board import BridgeContract, MemoryContract, RunnerContract
from formal.runner import prove, prove_by_induction, reaches
from formal.units import Narrow


def test_memory_keeps_the_rules_of_axi():
    prove_by_induction(MemoryContract(Narrow(data_width=32, address_width=6)), k=2)
    reaches(MemoryContract(Narrow(data_width=32, address_width=6)), 12)


def test_bridge_holds_what_it_offers():
    prove(BridgeContract())
    reaches(BridgeContract(), 40)


def test_runner_holds_what_it_offers():
    prove_by_induction(RunnerContract(), k=2)
    reaches(RunnerContract(), 20)
