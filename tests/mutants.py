"""Bugs planted in the design on purpose, and whether the regression catches them: ``python -m tests.mutants [NAME]``.

Each mutant is one replacement in one source file of the generator, applied to a copy. The copy's Verilog then runs the
pairwise cases of small configurations; a mutant is caught when anything differs from the model, or the core hangs. One
of the engine runs random tensors and scenes of faults on two small engines, one of the array its tests and proofs.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "hdl"


@dataclass(frozen=True)
class Mutant:
    """``old`` in ``file`` becomes ``new``."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant("tie rule: the last of equal maxima wins", "extrema.py", "key > best.max", "key >= best.max"),
    Mutant("tie rule: the last of equal minima wins", "extrema.py", "key < best.min", "key <= best.min"),
    Mutant("active-code rule: a small active value may encode to 0", "converter.py", "rounded[:keep] | lost",
           "rounded[:keep]"),
    Mutant("active-code rule: an active value may encode to 6", "converter.py", "filled, fmt.six_element - 1",
           "filled, fmt.six_element"),
    Mutant("R = 0: the reciprocal of eps is used", "scalar.py",
           "operators.quotient & (~operators.quotient_zero).replicate(WORKING.width)",
           "operators.quotient"),
    Mutant("a sample may end while the sum snapshot is being read", "input.py",
           "sum_end & sum_busy", "sum_end & 0"),
    Mutant("one tile too many: a header does not wait for its slot", "header.py",
           "~(at_start & slot_taken)", "Const(1)"),
    Mutant("constants overwrite those that wait", "scalar.py",
           "free = self.i_scale_free &", "free = 1 &"),
    Mutant("b changes one beat late", "lane.py", "MultiplyAdd.addend_delay - config.has_backward",
           "MultiplyAdd.addend_delay"),
    Mutant("rounding: ties away from zero", "rounding.py", "rest[-1] & (rest[:-1].any() | kept[0])", "rest[-1]"),
    Mutant("adder: what is shifted out is forgotten", "arith.py", "addend = Cat(sticky, small)",
           "addend = Cat(Const(0, 1), small)"),
    Mutant("sum: the first element of a tile is added to the last tile's", "accumulator.py",
           "keep.eq(~(self.i_valid & self.i_first))", "keep.eq(1)"),
    Mutant("chunks: a part of a chunk at the end of the sample counts", "input.py", "(sample_end & (chunk == 0))",
           "sample_end"),
    Mutant("one credit too many", "normaliser.py", "range(self.depth + 1), init=self.depth",
           "range(self.depth + 2), init=self.depth + 1"),
    Mutant("a disabled lane sets flags", "input.py", "(nan & mask).any()", "nan.any()"),
    Mutant("records: positions of chunks that the tile does not have", "records.py",
           "(word - RECORD_SCALAR_WORDS) * per_word + i < info.n_chunks", "Const(1)"),
    Mutant("divider: the last remainder is ignored", "divider.py",
           "self.o_inexact.eq(parts.any())", "self.o_inexact.eq(0)"),

    Mutant("mask: off by one rounding, the smallest positive element is not active", "recovery.py",
           "self.i_element.any() &", "(self.i_element > 1) &"),
    Mutant("mask: 6 itself is active", "recovery.py", "self.i_element < self.i_limit",
           "self.i_element <= self.i_limit"),
    Mutant("mask: a reserved exponent code has a value", "arith.py", "(~reserved).replicate(len(magnitude))",
           "Const(-1, len(magnitude))"),
    Mutant("beta in place of beta'", "gradients.py",
           "self._kept(m, operators.normal.truncated(SUM_WIDTH), BackwardSchedule.CENTRE, \"centre\")",
           "self._kept(m, decode(m, WORKING, unit.i_beta, name=\"mutant\").extended(SUM_WIDTH), "
           "BackwardSchedule.CENTRE_SUM, \"centre\")"),
    Mutant("argmax: position off by one", "lane.py", "positions.argmax == self.i_position",
           "positions.argmax == self.i_position + 1"),
    Mutant("argmax = argmin: both corrections cancel wrongly", "lane.py", "greatest & ~least), (", "greatest), ("),
    Mutant("correction outside the sample", "order.py", "self.o_adds.eq(sample)", "self.o_adds.eq(1)"),
    Mutant("range term past the last chunk", "order.py", "self.o_matches.eq(sample & in_chunks)",
           "self.o_matches.eq(sample)"),
    Mutant("the sum of products misses the last beat", "top.py", "lane.i_valid.eq(entry.o_gradient)",
           "lane.i_valid.eq(entry.o_gradient & ~entry.o_sum_end)"),
    Mutant("the sum of gradients misses the last beat", "top.py", "Cat(entry.o_summing, entry.o_sum_first",
           "Cat(entry.o_summing & ~(entry.o_gradient & entry.o_sum_end), entry.o_sum_first"),
    Mutant("totals start again with every block", "input.py", "first_block.eq(beat.last)", "first_block.eq(1)"),
    Mutant("totals of the last tile are added to", "totals.py", "(~firsts[3]).replicate(len(own.data.as_value()))",
           "~Const(0, len(own.data.as_value()))"),
    Mutant("the sample leaves one beat early", "order.py", "loaded & ~has_pass", "loaded"),
    Mutant("constants change while a sample leaves", "order.py", "(tile_end | ~loaded) & (waiting", "(waiting"),
    Mutant("one pass too many", "input.py", "at_len.eq(at_end)", "at_len.eq(count + 2 == sample_len)"),
    Mutant("gamma' is not floored", "gradients.py", "below_least | (centre_leads & below_centre)", "Const(0)"),
    Mutant("gamma' = 0 though a is not: its dgamma is dropped", "gradients.py", "+= zero.eq(is_zero)",
           "+= zero.eq(raw.is_zero)"),
    Mutant("t has the wrong sign", "gradients.py", "operators.add(run, BackwardSchedule.PLUS, mean, t)",
           "operators.add(run, BackwardSchedule.PLUS, mean, t.negated())"),
    Mutant("positions of the next tile overwrite those in use", "header.py", "number.eq(number + 1)", "number.eq(0)"),
    Mutant("a gradient is stored by the active-code rule", "normaliser.py",
           "Mux(present.backward, Activation.IDENTITY, present.activation)", "present.activation"),
    Mutant("unsigned blocks: a gradient keeps the fraction bit of y", "converter.py",
           "places = places + self.i_gradient", "places = places + 0"),
]

ENGINE_MUTANTS = [
    Mutant("bursts cross the multiple of their longest size", "dma/bursts.py", "Mux(ends, behind, ~place)",
           "Mux(ends, behind, longest - 1)"),
    Mutant("midend: strides are unsigned", "dma/midend.py", "step.eq(stride.as_signed())", "step.eq(stride)"),
    Mutant("midend: the second dimension does not start again", "dma/midend.py", 'm.next = "AGAIN0"',
           'm.next = "ROWS"'),
    Mutant("reader: one bus beat too many is asked for", "dma/reader.py", "(free > burst.more)",
           "(free >= burst.more)"),
    Mutant("reader: a short beat is not filled up", "dma/reader.py", "queued.pad.eq(burst.short & burst.last)",
           "queued.pad.eq(0)"),
    Mutant("reader: TLAST comes with the first beat of the last bus beat", "dma/reader.py", "last & (level == size)",
           "last"),
    Mutant("writer: bytes before the first are written", "dma/writer.py",
           "(i >= target.start) & (i <= target.stop)", "(i <= target.stop)"),
    Mutant("port: draining begins further bursts", "dma/ports.py", "& ready & ~port.i_halt", "& ready"),
    Mutant("port: WLAST a beat early", "dma/ports.py", "last.eq(final),", "last.eq(number + 1 == burst.more),"),
    Mutant("port: DECERR is no error", "dma/ports.py", "self.o_error.eq(taken & self.m_axi_bresp[1])",
           "self.o_error.eq(taken & (self.m_axi_bresp == 2))"),
    Mutant("loader: a row of several beats may be of any length", "dma/loader.py", "several & (remainder != 0)", "0"),
    Mutant("loader: the third count may be 0", "dma/loader.py", "m.Case(4, 6, 8)", "m.Case(4, 6)"),
    Mutant("control: core and channels are not reset after an error", "engine.py",
           "~self.aresetn | control.o_clear", "~self.aresetn"),
    Mutant("control: the next job does not wait for the answers", "control.py", "== used) & self.i_idle", "== used)"),
    Mutant("control: no watchdog", "control.py", "waited == self.i_watchdog", "0"),
    Mutant("tiles count whose writes have failed", "engine.py", "& writes.o_end & ~control.o_draining",
           "& writes.o_end"),
    Mutant("exponents before their elements", "datapath.py",
           "for part in (tdata[group * block:(group + 1) * block], tuser[group * exponent:(group + 1) * exponent])]",
           "for part in (tuser[group * exponent:(group + 1) * exponent], tdata[group * block:(group + 1) * block])]"),
    Mutant("registers: job words change while busy", "registers/block.py", "self.i_busy & Cat(locked).any()", "0"),
]
"""Of the engine; what catches them is the system test and the fault campaign."""

ARRAY_MUTANTS = [
    Mutant("array: a reserved exponent has a value", "arith.py", "(~reserved).replicate(len(magnitude))",
           "Const(-1, len(magnitude))"),
    Mutant("array: the most negative element is 0", "arith.py",
           "Mux(negative, -element, element)[:fmt.element_width]",
           "Mux(negative, -element, element)[:fmt.element_width - 1]"),
    Mutant("array: a factor beyond the operand format sets no flag", "decoder.py",
           "self.o_flags.saturated.eq(saturated)", "self.o_flags.saturated.eq(0)"),
    Mutant("array: the next weight comes a pass early", "array/element.py", "with m.If(self.i_swap):", "with m.If(1):"),
    Mutant("array: a product is not normalised", "array/element.py", '.normalised(m, "product", limit=1)', ""),
    Mutant("array: the last row alone reports saturation", "array/element.py", "self.i_saturated | saturated",
           "saturated"),
    Mutant("array: a first pass adds to the sums of the block before", "array/column.py", "adding.eq(control.add)",
           "adding.eq(1)"),
    Mutant("array: a result that is saturated sets no flag", "array/column.py", "emitting & saturated", "0"),
    Mutant("array: a sum is written a cycle early", "array/column.py", "return config.rows + 1", "return config.rows"),
    Mutant("array: a sum is read a row too early", "array/control.py", "under_way <= top,", "under_way <= top + 1,"),
    Mutant("array: a result is overwritten before it has gone out", "array/control.py", "(sent + sends > row)",
           "(sent + sends >= row)"),
    Mutant("array: a block waits a cycle for the one before", "array/control.py", "(sent + sends > row)",
           "(sent > row)"),
    Mutant("array: a result goes out in the place of a sum that is read", "array/control.py", "sends & ~adds", "sends"),
    Mutant("array: the last row is marked before it is known", "array/control.py", "Array(known)[leaving[0]] & (sent",
           "(sent"),
    Mutant("array: a later pass may have another length", "array/control.py", "self.i_last ^ (row == top)", "0"),
    Mutant("array: a pass may be longer than the memory", "array/control.py",
           "(row == config.depth - 1) & ~self.i_last", "0"),
    Mutant("array: squares may be left over", "array/control.py", "self.i_transpose & (self.i_end ^ closes)", "0"),
    Mutant("array: weights of the next block are taken with the last tile", "array/control.py",
           "~loaded & ~ended & ~self.i_hold", "~loaded & ~self.i_hold"),
    Mutant("array: weights are taken after a wrong frame", "array/control.py", "~loaded & ~ended & ~self.i_hold",
           "~loaded & ~ended"),
    Mutant("array: rows without weights keep those of the pass before", "array/control.py",
           "self.o_load.valid.eq(filling | (self.i_valid & self.o_ready))",
           "self.o_load.valid.eq(self.i_valid & self.o_ready)"),
    Mutant("array: rows without weights have an exponent", "array/array.py", "beat.exponents[group] & wanted",
           "beat.exponents[group]"),
    Mutant("array: the queue has room for ever", "array/control.py", "self.o_free.eq(reserved != depth)",
           "self.o_free.eq(1)"),
    Mutant("array: a result that waits is replaced", "array/control.py", "here.any() & (~held | self.o.ready)",
           "here.any()"),
    Mutant("array: missing rows of a square are not 0", "array/transposer.py",
           "code & (~filling).replicate(len(code))", "code"),
    Mutant("array: all squares come from the same side", "array/transposer.py", "sideways.eq(~sideways)",
           "sideways.eq(0)"),
    Mutant("array: idle with results in the queue", "array/array.py", " & queue.o_idle", ""),
    Mutant("array: idle with rows under way", "array/control.py",
           "begins & first & ~under_way.any() & (block == leaving)", "begins & first"),
    Mutant("array: idle inputs set flags", "array/array.py", "found & taken.replicate(len(found))", "found"),
    Mutant("array: rows are taken after a wrong frame", "array/array.py", "(~full | row.ready) & ~rows.o_misframed",
           "(~full | row.ready)"),
]
"""Of the array; what catches them is tests/test_array.py, or tests/test_formal_array.py."""

FUSED_MUTANTS = [
    Mutant("fused: a tile ends a row early", "datapath.py", "row == self.i_rows - 1", "row == self.i_rows - 2"),
    Mutant("fused: the product is not chosen", "datapath.py", "self.i_array & ~self.i_product", "self.i_array"),
    Mutant("fused: a job ends with something in the array", "datapath.py", "idle.get(channel, 1)", "1"),
    Mutant("fused: flags of the array are lost", "datapath.py", " | array.o_flags.as_value()", ""),
    Mutant("fused: errors name the program, not the channel", "datapath.py",
           "Array(Const(channel, 4) for channel in config.programs)[loader.o_channel]", "loader.o_channel"),
    Mutant("fused: activations and weights change places", "datapath.py",
           "(Channel.ACTIVATION, array.i_a), (Channel.WEIGHT, array.i_w)",
           "(Channel.WEIGHT, array.i_a), (Channel.ACTIVATION, array.i_w)"),
    Mutant("fused: nothing is transposed", "control.py", "mask[TRANSPOSE.bit_length() - 1]", "0"),
    Mutant("fused: a job in registers may use the array", "control.py", "uses & here.any()", "uses"),
    Mutant("fused: the number of rows is not looked at", "control.py", "Mux(rows.any(), uses & here.any(), fits)",
           "uses & here.any() | fits"),
    Mutant("fused: a job in memory has fourteen words", "control.py", "length.eq(4 * self.config.job_words)",
           "length.eq(4 * JOB_WORDS)"),
    Mutant("fused: wrong frames of the array are not told", "engine.py", "error(datapath.o_array_misframed",
           "error(0 & datapath.o_array_misframed"),
]
"""Of an engine with an array; what catches them is test_layers_rtl.py, or test_engine_array_errors.py."""

_CHECK_ENGINE = """
import sys
import numpy as np
from bnforge_sim.engine_soak import CORES, engines, random_shape, run_case
from bnforge_sim.faults import ENGINES, run_scene
rng = np.random.default_rng(int(sys.argv[2]))
for name, width in (("narrow", 64), ("odd", 32)):
    config = engines(name, width, rng)
    for _ in range(25):
        found = run_case(config, random_shape(config, rng, 150), rng, cache=sys.argv[1])
        if found:
            sys.exit(f"caught on {name}, {width} bits: {found[0][-200:]}")
for scene in range(30):
    for name in list(ENGINES)[:3]:
        _, messages = run_scene(name, [int(sys.argv[2]), scene], sys.argv[1])
        if messages:
            sys.exit(f"caught on {name}: {messages[0][-200:]}")
"""

_CHECK = """
import sys
import numpy as np
from bnforge.presets import opn1_tiny
from bnforge.formats import BlockFormat
from bnforge_sim import SimulationError, Simulator, compare
from bnforge_sim.pairwise import pairwise
from bnforge_sim.stimulus import axes, random_segment
configs = [opn1_tiny, opn1_tiny.replace(lanes=4, chunk_len=8, storage=BlockFormat(2, 8)),
           opn1_tiny.replace(lanes=2, storage=BlockFormat(2, 8, signed=False))]
for config in configs:
    rng = np.random.default_rng(int(sys.argv[2]))
    pairs = [random_segment(config, case, rng) for case in pairwise(axes(config), rng)]
    try:
        outcomes = Simulator(config, cache=sys.argv[1]).run_segments([segment for _, segment in pairs])
    except SimulationError as error:
        sys.exit(f"caught on {config.lanes} lane(s): {error}")
    for (tiles, _), outcome in zip(pairs, outcomes, strict=True):
        messages = compare(config, tiles, outcome).messages
        if messages:
            sys.exit(f"caught on {config.lanes} lane(s): {messages[0]}")
"""

_CHECK_TESTS = f"""
import os
import sys
import pytest
os.chdir(os.path.dirname(sys.argv[1]))
class Recorder:
    failed = []
    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(f"{{report.nodeid.split('::')[-1]}}: {{report.longreprtext.splitlines()[-1]}}")
pytest.main(["-qx", "-p", "no:cacheprovider", "-n0", "--seed", sys.argv[2], *TESTS], [Recorder()])
if Recorder.failed:
    sys.exit(f"caught by {{Recorder.failed[0]}}")
"""


def _by(*names):
    """The check that these tests are."""
    return f"TESTS = {[str(ROOT / 'tests' / f'{name}.py') for name in names]!r}\n{_CHECK_TESTS}"


_CHECK_ARRAY = _by("test_array", "test_formal_array")
_CHECK_FUSED = _by("test_layers_rtl", "test_engine_array_errors")
_CHECKS = {_CHECK: MUTANTS, _CHECK_ENGINE: ENGINE_MUTANTS, _CHECK_ARRAY: ARRAY_MUTANTS, _CHECK_FUSED: FUSED_MUTANTS}
"""Which mutants each check is for."""


def run(mutant, directory, seed, check=None):
    """What caught the mutant, or None. ``mutant`` None is the design as it is, for which ``check`` is given.

    Raises
    ------
    RuntimeError
        The mutant is not a circuit.
    """
    sources = Path(directory) / "hdl"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    if mutant is not None:
        path = sources / "bnforge" / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
    if check is None:
        check = next(check for check, mutants in _CHECKS.items() if mutant in mutants)
    command = (f"import sys; sys.path[:0] = [{str(sources)!r}, {str(ROOT / 'sim')!r}]\n{check}")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", command, str(Path(directory) / "build"), str(seed)],
                          capture_output=True, text=True)
    if not done.returncode:
        return None
    message = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if not message.startswith("caught"):
        raise RuntimeError(f"the mutant could not be run: {message}")
    return message


def main():
    parser = argparse.ArgumentParser(description="Plant bugs and see each caught.")
    parser.add_argument("names", nargs="*", help="part of a mutant's name; default: all")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chosen = [mutant for mutants in _CHECKS.values() for mutant in mutants
              if not arguments.names or any(name in mutant.name for name in arguments.names)]
    survivors = 0
    for check in [check for check, mutants in _CHECKS.items() if set(mutants) & set(chosen)]:
        with tempfile.TemporaryDirectory(prefix="bnforge-mutant-") as directory:
            if caught := run(None, directory, arguments.seed, check):
                sys.exit(f"the design as it is fails: {caught}")
    print("the design as it is: no difference", flush=True)
    for number, mutant in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory(prefix="bnforge-mutant-") as directory:
            caught = run(mutant, directory, arguments.seed)
        survivors += caught is None
        print(f"[{number}/{len(chosen)}] {mutant.name} ({mutant.file}): {caught or 'SURVIVED'}"[:300], flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
