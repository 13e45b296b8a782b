"""Proofs: a specification to AIGER, and the AIGER to ABC.

A *specification* is an Amaranth component with inputs only. Its inputs are free in every cycle; it holds the circuit,
says with :func:`assume` and :func:`check` what it takes for granted and what it claims, and sets ``witness`` in
``elaborate``: a condition that must be reachable, or a list of them, without which a proof could be empty. Its ``free``
names signals of the core whose values are left free in every cycle: what is proven without them holds with them.

Nothing is taken from initial values: every register and memory starts with any content, the reset is active in cycle 0
and inactive from then on, and assumptions and claims count from cycle 1. A proof therefore also shows that the
reset is enough.

Tools: Yosys and ABC, both of the pyosys wheel. What is called a proof here holds for runs of any length: property
directed reachability (IC3; Bradley, "SAT-based model checking without unrolling", VMCAI 2011) finds the inductive
invariant by itself, k-induction needs it among the claims.
"""

import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from amaranth.asserts import Initial
from amaranth.back import rtlil
from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    ClockDomain,
    Elaboratable,
    Module,
    ResetSignal,
    Signal,
    Value,
    ValueCastable,
)
from amaranth.hdl._ir import PortDirection
from bnforge.emit import flat_ports

__all__ = ["Refuted", "check", "assume", "Opened", "opened", "pyosys", "aiger", "prove", "prove_by_induction",
           "prove_from_any_state", "prove_combinational", "reaches"]

TIMEOUT = 60
"""Seconds that ABC may take for one property."""
SEARCH = 80
"""Frames searched for a counterexample to explain an induction that fails."""
_FAILS = "was asserted in frame"

_WORKER = "from pyosys import libyosys as ys; ys.Design().run_pass('script run.ys')"
_PREPARE = """
read_rtlil design.il
hierarchy -check -top harness
{only}
proc -norom
flatten
{free}
delete t:$meminit t:$meminit_v2
setattr -unset init w:* w:*formal_keep_init* %d
chformal -lower
opt_clean
memory_collect
memory_dff
memory_map
formalff -clk2ff -ff2anyinit
opt -keepdc
techmap
opt -keepdc
aigmap
formalff -anyinit2ff -fine
opt_clean
setundef -undriven -anyseq
setundef -anyseq
write_aiger -zinit -B -symbols design.aig
"""


class Refuted(AssertionError):
    """A property does not hold, or its witness is not reachable; the message is that of the tool."""


def check(m, *claims):
    """Assert each claim in every cycle after the reset."""
    m.d.comb += [Assert(claim | ResetSignal()) for claim in claims]


def assume(m, *conditions):
    """Assume each condition in every cycle after the reset."""
    m.d.comb += [Assume(condition | ResetSignal()) for condition in conditions]


def _is_seen(value):
    if isinstance(value, (list, Array)):
        return all(_is_seen(element) for element in value)
    return isinstance(value, (Value, ValueCastable)) or type(value).__module__.startswith("bnforge.")


class Opened:
    """A component elaborated ahead of time, so that a specification can see what is inside.

    Attributes
    ----------
    submodules : as those of its module
    signals : the signals of its ``elaborate`` and of what that calls on the component, lists of them, and the objects
        of the generator that hold further ones, by the names they have there
    """

    def __init__(self, component):
        self.signals = signals = {}

        def remember(frame, event, _result):
            if event == "return" and frame.f_locals.get("self") is component:
                signals.update((name, value) for name, value in frame.f_locals.items() if _is_seen(value))

        before = sys.getprofile()
        sys.setprofile(remember)
        try:
            module = component.elaborate(None)
        finally:
            sys.setprofile(before)
        component.elaborate = lambda platform: module
        component.formal_opened = self
        self.submodules = module.submodules

    def __getitem__(self, name):
        return self.signals[name]


def opened(component):
    """:class:`Opened` of ``component``, the same one every time."""
    return component.formal_opened if hasattr(component, "formal_opened") else Opened(component)


def _witnesses(spec):
    return spec.witness if isinstance(spec.witness, list) else [spec.witness]


class _Harness(Elaboratable):
    """Clock and reset around a specification; with ``only_witness`` the assertions that no witness ever holds."""

    def __init__(self, spec, *, reset, only_witness):
        self.spec, self.reset, self.only_witness = spec, reset, only_witness
        self.clk = Signal()

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain(local=True)
        m.d.comb += [sync.clk.eq(self.clk), sync.rst.eq(Initial() & self.reset)]
        m.submodules.spec = self.spec
        opened(self.spec)
        if self.only_witness:
            check(m, *(~witness for witness in _witnesses(self.spec)))
        return m


def pyosys(script, directory):
    """Run a Yosys script in a process of its own, in ``directory``."""
    (directory / "run.ys").write_text(script, encoding="utf-8")
    result = subprocess.run([sys.executable, "-c", _WORKER], cwd=directory, capture_output=True, text=True, check=False)
    if result.returncode:
        errors = [line for line in (result.stdout + result.stderr).splitlines() if "rror" in line]
        raise RuntimeError(f"Yosys failed: {errors[-1] if errors else result.returncode}")


def _abc(commands, directory):
    abc = resources.files("pyosys") / "yosys-abc"
    result = subprocess.run([str(abc), "-c", "; ".join(commands)], cwd=directory, capture_output=True, text=True,
                            check=False, timeout=2 * TIMEOUT)
    return result.stdout + result.stderr


def aiger(spec, directory, *, reset=True, only_witness=False):
    """Write the specification to ``design.aig`` in ``directory``, its assertions as bad states; returns the path."""
    harness = _Harness(spec, reset=reset, only_witness=only_witness)
    ports = {"clk": harness.clk} | {name: value for name, (value, _) in flat_ports(spec).items()}
    text = rtlil.convert(harness, name="harness", emit_src=False,
                         ports={name: (value, PortDirection.Input) for name, value in ports.items()})
    (directory / "design.il").write_text(text, encoding="utf-8")
    free = getattr(spec, "free", ())
    pyosys(_PREPARE.format(only="chformal -assert -remove * harness %d" if only_witness else "",
                           free="\n".join(f"cutpoint w:*.core.{name}\nselect -assert-any w:*.core.{name}"
                                          for name in free)),
           directory)
    return directory / "design.aig"


def _run(spec, engine, *, merge=True, **options):
    """Log of the engine on the specification, its assertions merged into one."""
    commands = ["read_aiger design.aig", "fold", *(["orpos"] if merge else []), "strash", "dc2"]
    with tempfile.TemporaryDirectory(prefix="bnforge-formal-") as name:
        directory = Path(name)
        aiger(spec, directory, **options)
        return _abc([*commands, engine], directory)


def _bmc(depth):
    """Engine that looks at cycles 0 to ``depth``, and what it says when it finds nothing."""
    return f"bmc3 -F {depth + 1} -T {TIMEOUT}", f"No output asserted in {depth + 1} frames"


def _require(spec, log, wanted):
    if wanted not in log:
        raise Refuted(f"{type(spec).__name__}: {_outcome(log)}")


def prove(spec, *, merged=False):
    """Prove the claims of ``spec`` for runs of any length, by property directed reachability.

    With ``merged`` registers that are always equal are merged first, which halves the time of the largest proof and
    costs the others some.

    Raises
    ------
    Refuted
    """
    log = _run(spec, f"{'scleanup; scorr -c; dc2; ' * merged}pdr -T {TIMEOUT}")
    _require(spec, log, "Property proved")


def prove_by_induction(spec, k=1):
    """Prove the claims of ``spec`` for runs of any length, by induction over ``k`` cycles; they contain the invariant.

    Raises
    ------
    Refuted
        With a frame in which a claim fails; where none is found, the step fails: from a state that the claims do not
        exclude.
    """
    engine, wanted = _bmc(k + 1)
    log = _run(spec, f"{engine}; ind -F {k + 1}")
    _require(spec, log, wanted)
    if "Networks are equivalent" not in log:
        search = _run(spec, f"bmc3 -F {SEARCH} -T {TIMEOUT // 3}")
        raise Refuted(f"{type(spec).__name__}: {_outcome(search) if _FAILS in search else 'the step fails'}")


def prove_from_any_state(spec, depth):
    """Prove claims about the ``depth`` cycles after any state, reachable or not, without a reset: hence for every run.

    The specification counts its cycles in registers named ``formal_keep_init...``, which alone start from their
    initial values.

    Raises
    ------
    Refuted
    """
    engine, wanted = _bmc(depth)
    log = _run(spec, engine, reset=False)
    _require(spec, log, wanted)


def prove_combinational(spec):
    """Prove the claims of a specification without registers.

    Raises
    ------
    Refuted
    """
    engine, wanted = _bmc(1)
    log = _run(spec, engine)
    _require(spec, log, wanted)


def reaches(spec, depth, *, reset=True):
    """Check that each witness of ``spec`` holds in some run of ``depth`` cycles that keeps its assumptions.

    Raises
    ------
    Refuted
    """
    log = _run(spec, f"bmc3 -a -F {depth + 1} -T {TIMEOUT}", merge=False, only_witness=True, reset=reset)
    if log.count(_FAILS) != len(_witnesses(spec)):
        raise Refuted(f"{type(spec).__name__}: {_outcome(log)}")


def _outcome(log):
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "asserted" in line or "rror" in line or "imeout" in line]
    return (telling or lines or ["no output"])[-1]
