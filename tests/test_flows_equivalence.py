"""Mapped modules against their RTL: what is equivalent is proved so, and planted faults are found."""

import copy
import functools

import flow_circuit
import pytest
from bnforge import emit
from bnforge.flows.equivalence import Verdict, compare_module, rtl_modules
from bnforge.lane import MultiplyAdd
from bnforge.presets import opn1_tiny
from bnforge.synthesis import mapped

MIXER, TOP = f"{flow_circuit.NAME}_mixer", flow_circuit.NAME


@functools.cache
def rtl():
    return rtl_modules(flow_circuit.rtlil(), TOP)


def verdict(module, gates):
    return compare_module(rtl()[module], gates, flow_circuit.library())


def mixer():
    """The mapped module, to be spoiled."""
    return copy.deepcopy(flow_circuit.modules()[MIXER])


def test_a_mapped_module_is_equivalent_to_its_rtl():
    assert verdict(MIXER, mixer()) is Verdict.EQUIVALENT


def test_a_multiply_add_is_equivalent_to_its_rtl():
    text = emit.component_rtlil(MultiplyAdd(opn1_tiny), "unit")
    modules = mapped(text, "unit", flow_circuit.library())
    for name, module in rtl_modules(text, "unit").items():
        assert compare_module(module, modules[name], flow_circuit.library()) is Verdict.EQUIVALENT, name


def of_type(module, *kinds):
    return next(cell for cell in module["cells"].values() if cell["type"] in kinds)


def other_gate(module):
    cell = of_type(module, "NAND2", "XOR2", "XNOR2", "NOR2")
    cell["type"] = {"NAND2": "NOR2", "NOR2": "NAND2", "XOR2": "XNOR2", "XNOR2": "XOR2"}[cell["type"]]


def swapped_registers(module):
    one, other = [cell for cell in module["cells"].values() if cell["type"] == "DFF"][:2]
    pins = one["connections"], other["connections"]
    pins[0]["D"], pins[1]["D"] = pins[1]["D"], pins[0]["D"]


def out(module):
    """The bits of its output port."""
    return next(port["bits"] for port in module["ports"].values() if port["direction"] == "output")


def stuck_output(module):
    out(module)[2] = "0"


@pytest.mark.parametrize("fault", [other_gate, swapped_registers, stuck_output])
def test_a_planted_fault_is_found(fault):
    module = mixer()
    fault(module)
    assert verdict(MIXER, module) is Verdict.DIFFERENT


def lost_register(module):
    name = next(name for name, cell in module["cells"].items() if cell["type"] == "DFF")
    lost, = module["cells"].pop(name)["connections"]["Q"]
    out(module)[:] = ["0" if bit == lost else bit for bit in out(module)]


def lost_port(module):
    out(module).pop()


@pytest.mark.parametrize("fault", [lost_register, lost_port])
def test_what_has_no_partner_is_said(fault):
    module = mixer()
    fault(module)
    assert verdict(MIXER, module) is Verdict.UNMATCHED


def test_memories_are_left_to_simulation():
    assert verdict(TOP, flow_circuit.modules()[TOP]) is Verdict.MEMORY


def without_memory(module):
    """A copy whose memory is a module that is cut out, so that the registers beside it are compared."""
    module = copy.deepcopy(module)
    module["cells"] = {name: cell for name, cell in module["cells"].items() if not cell["type"].startswith("$mem")}
    return module


def test_registers_that_synthesis_removes_are_no_difference():
    """``twin`` always takes what ``count`` takes, ``low`` is always 0: neither is in the mapped circuit."""
    flip_flops = sum(cell["type"] == "DFF" for cell in flow_circuit.modules()[TOP]["cells"].values())
    there = sum(cell["type"] == "$_DFF_P_" for cell in rtl()[TOP]["cells"].values())
    assert there - flip_flops >= 8
    from bnforge.flows.equivalence import _cells, _logic, _reduced
    cells = _cells(flow_circuit.library())
    kept = _logic(without_memory(flow_circuit.modules()[TOP]), cells).registers
    reduced = _reduced(_logic(without_memory(rtl()[TOP]), cells), {name for names, *_ in kept for name in names})
    assert len([register for register in reduced.registers if register[0]]) == len(kept)
