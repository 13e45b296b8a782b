"""What the flows need from a Liberty file: cells with area, functions, flip-flops and pin capacitances, and the NAND.

A small reader of the Liberty syntax (groups, attributes, comments); tables and everything else are passed over.
"""

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FlipFlop", "Cell", "Library", "GENERIC", "truth_table"]

GENERIC = Path(__file__).with_name("data") / "generic.lib"
"""The embedded library; its header states the source of every area."""

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{};:,()]|[^\s{};:,()"]+', re.S)


@dataclass(frozen=True)
class FlipFlop:
    """The ``ff`` group of a cell: names of the state and its inverse, and what it takes on which clock.

    ``others`` are the kinds of its further attributes: asynchronous inputs and what they do.
    """

    state: str
    inverse: str
    next_state: str
    clock: str
    others: tuple


@dataclass(frozen=True)
class Cell:
    """A library cell: area in the library's unit, what it stores, and its only output's function, if it has one.

    ``outputs`` are pairs of pin and function (or None), ``capacitances`` of the pins by name, in the library's unit.
    """

    name: str
    area: float
    inputs: tuple
    function: str | None
    is_flip_flop: bool
    is_latch: bool
    outputs: tuple = ()
    capacitances: dict = field(default_factory=dict)
    flip_flop: FlipFlop | None = None

    @property
    def is_buffer(self):
        """Whether the cell only repeats its only input."""
        return (self.function is not None and len(self.inputs) == 1 and not (self.is_flip_flop or self.is_latch)
                and truth_table(self.function, self.inputs) == 0b10)

    @property
    def is_nand2(self):
        """Whether the cell is a two-input NAND, judged by its function."""
        if self.function is None or len(self.inputs) != 2 or self.is_flip_flop or self.is_latch:
            return False
        values = itertools.product((False, True), repeat=2)
        return all(_evaluate(self.function, dict(zip(self.inputs, bits))) != all(bits) for bits in values)


@dataclass(frozen=True)
class Library:
    """A Liberty file's cells by name.

    ``voltage`` in V, and ``capacitance_unit`` in F, are None where the file does not state them.
    """

    name: str
    cells: dict
    text: str
    voltage: float | None = None
    capacitance_unit: float | None = None

    @classmethod
    def read(cls, path=None):
        """Read a Liberty file, or the embedded one.

        Raises
        ------
        OSError
            The file cannot be read.
        ValueError
            It is not Liberty, or has no two-input NAND or no flip-flop.
        """
        try:
            text = Path(path or GENERIC).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError("library must be a Liberty text file, not binary data") from None
        tokens = _TOKEN.findall(re.sub(r"/\*.*?\*/|\\\n", " ", text, flags=re.S))
        groups = _Group.parse(tokens)
        if len(groups) != 1 or groups[0].kind != "library":
            raise ValueError("library must be a Liberty file with one library group, not something else")
        cells = {}
        for group in groups[0].groups:
            if group.kind == "cell":
                cells[group.name] = _cell(group)
        library = cls(groups[0].name, cells, text, _number(groups[0].attributes.get("nom_voltage")),
                      _capacitance_unit(groups[0].attributes.get("capacitive_load_unit", "")))
        for what, found in (("a two-input NAND", library.nand2), ("a flip-flop", library.flip_flops)):
            if not found:
                raise ValueError(f"library must have {what}, which {library.name!r} has not")
        return library

    @property
    def nand2(self):
        """The smallest two-input NAND, or None."""
        nands = [cell for cell in self.cells.values() if cell.is_nand2 and cell.area > 0]
        return min(nands, key=lambda cell: (cell.area, cell.name), default=None)

    @property
    def flip_flops(self):
        """Names of the flip-flop cells."""
        return {name for name, cell in self.cells.items() if cell.is_flip_flop}

    @property
    def buffer(self):
        """The smallest buffer, or None."""
        buffers = [cell for cell in self.cells.values() if cell.is_buffer]
        return min(buffers, key=lambda cell: (cell.area, cell.name), default=None)


@dataclass
class _Group:
    kind: str
    arguments: list
    attributes: dict
    groups: list

    @property
    def name(self):
        return self.arguments[-1] if self.arguments else ""

    @classmethod
    def parse(cls, tokens):
        """Top-level groups of a token list."""
        root = cls("", [], {}, [])
        stack, position = [root], 0
        while position < len(tokens):
            token = tokens[position]
            following = tokens[position + 1] if position + 1 < len(tokens) else ""
            if token == "}":
                stack.pop()
                if not stack:
                    raise ValueError("library must be a Liberty file, not text with an unmatched brace")
                position += 1
            elif following == ":":
                end = next((i for i in range(position + 2, len(tokens)) if tokens[i] in ";}"), len(tokens))
                stack[-1].attributes[token] = " ".join(tokens[position + 2:end]).strip('"')
                position = end + (end < len(tokens) and tokens[end] == ";")
            elif following == "(":
                start = position + 2
                end = next((i for i in range(start, len(tokens)) if tokens[i] == ")"), len(tokens))
                after = tokens[end + 1] if end + 1 < len(tokens) else ""
                position = end + 1
                arguments = [argument.strip('"') for argument in tokens[start:end] if argument != ","]
                if after == "{":
                    group = cls(token, arguments, {}, [])
                    stack[-1].groups.append(group)
                    stack.append(group)
                    position += 1
                elif len(arguments) == 2:
                    stack[-1].attributes[token] = " ".join(arguments)
            else:
                position += 1
        if len(stack) != 1:
            raise ValueError("library must be a Liberty file, not text that ends inside a group")
        return root.groups


def _cell(group):
    pins = [pin for pin in group.groups if pin.kind == "pin"]
    outputs = [pin for pin in pins if pin.attributes.get("direction") == "output"]
    kinds = {inner.kind for inner in group.groups}
    try:
        area = float(group.attributes.get("area", 0))
    except ValueError:
        raise ValueError(f"area of cell {group.name} must be a number, not {group.attributes['area']!r}") from None
    return Cell(
        name=group.name, area=area,
        inputs=tuple(pin.name for pin in pins if pin.attributes.get("direction") == "input"),
        function=outputs[0].attributes.get("function") if len(outputs) == 1 else None,
        is_flip_flop=bool(kinds & {"ff", "ff_bank"}), is_latch=bool(kinds & {"latch", "latch_bank"}),
        outputs=tuple((pin.name, pin.attributes.get("function")) for pin in outputs),
        capacitances={pin.name: _number(pin.attributes.get("capacitance")) or 0.0 for pin in pins},
        flip_flop=next((_flip_flop(inner) for inner in group.groups if inner.kind == "ff"), None))


def _flip_flop(group):
    attributes = group.attributes
    return FlipFlop(*(group.arguments + ["", ""])[:2], attributes.get("next_state", ""),
                    attributes.get("clocked_on", ""), tuple(sorted(set(attributes) - {"next_state", "clocked_on"})))


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _capacitance_unit(text):
    number, _, unit = text.partition(" ")
    scale = {"ff": 1e-15, "pf": 1e-12}.get(unit.lower())
    return float(number) * scale if scale and _number(number) else None


def truth_table(function, inputs):
    """Values of a Liberty function as an integer: bit ``i`` for the inputs that are the bits of ``i``, first lowest."""
    return sum(bool(_evaluate(function, {name: bool(index >> bit & 1) for bit, name in enumerate(inputs)})) << index
               for index in range(1 << len(inputs)))


def _evaluate(function, values):
    """Value of a Liberty function: ``!a``, ``a'``, ``a*b``, ``a&b``, ``a b``, ``a^b``, ``a+b``, ``a|b``, brackets."""
    tokens = re.findall(r"[A-Za-z_]\w*|[01!'*&^+|()]", function)
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else ""

    def take():
        nonlocal position
        token = peek()
        position += 1
        return token

    def atom():
        token = take()
        if not token:
            raise ValueError(f"function must be a Boolean expression, not {function!r}")
        if token == "!":
            return not atom()
        if token == "(":
            value = disjunction()
            take()
        else:
            value = values.get(token, token == "1")
        while peek() == "'":
            take()
            value = not value
        return value

    def exclusive():
        value = atom()
        while peek() == "^":
            take()
            value ^= atom()
        return value

    def conjunction():
        value = exclusive()
        while peek() and peek() not in ")+|":
            if peek() in "*&":
                take()
            value &= exclusive()
        return value

    def disjunction():
        value = conjunction()
        while peek() and peek() in "+|":
            take()
            value |= conjunction()
        return value

    return disjunction()
