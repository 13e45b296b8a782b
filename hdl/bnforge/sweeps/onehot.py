"""A state machine with a flip-flop per state, and selectors made of AND and OR: short paths from state to data."""

import functools
import operator

from amaranth.hdl import Signal, Value

__all__ = ["OneHot"]


class OneHot:
    """Collects what happens under conditions of which, for each register, at most one holds at a time.

    Parameters
    ----------
    m : Module
    first : str
        The state after reset.
    """

    def __init__(self, m, first):
        self._m, self._first = m, first
        self._states, self._groups, self._next, self._wires, self._registers = {}, {}, {}, {}, {}

    def at(self, name):
        """Whether this is the state."""
        if name not in self._states:
            self._states[name] = Signal(name=f"at_{name.lower()}", init=name == self._first)
        return self._states[name]

    def go(self, condition, name):
        """``name`` is the next state; in every cycle one is."""
        self._next.setdefault(name, []).append(condition)

    def let(self, condition, *assignments):
        """Wires have values; of several whose conditions hold, the OR, and 0 without any."""
        self._collect(self._wires, condition, assignments)

    def set(self, condition, *assignments):
        """Registers take values; without a condition that holds they stay."""
        self._collect(self._registers, condition, assignments)

    @staticmethod
    def _collect(where, condition, assignments):
        for signal, value in assignments:
            where.setdefault(id(signal), (signal, []))[1].append((condition, value))

    def build(self):
        """Adds all of it to the module."""
        m = self._m
        for name, conditions in self._next.items():
            m.d.sync += self.at(name).eq(_any(conditions))
        for signal, choices in self._wires.values():
            m.d.comb += signal.eq(self._choice(signal, choices, self._early))
        for signal, choices in self._registers.values():
            with m.If(_any(condition for condition, _value in choices)):
                m.d.sync += signal.eq(self._choice(signal, choices, _any))

    def _early(self, conditions):
        """The OR of conditions; that of states, from a flip-flop."""
        names = [name for condition in conditions for name, state in self._states.items() if state is condition]
        rest = [condition for condition in conditions if not any(self._states[name] is condition for name in names)]
        if len(names) < 2:
            return _any(conditions)
        key = frozenset(names)
        if key not in self._groups:
            self._groups[key] = Signal(name="at_" + "_".join(name.lower() for name in names), init=self._first in names)
            self._m.d.sync += self._groups[key].eq(_any(part for name in names for part in self._next[name]))
        return _any([self._groups[key], *rest])

    def _choice(self, signal, choices, any_of):
        """The OR of all values, each where its condition holds; equal values are written once."""
        by_value = {}
        for condition, value in choices:
            by_value.setdefault(id(value), (value, []))[1].append(condition)
        parts = [0]
        for number, (value, conditions) in enumerate(by_value.values()):
            if isinstance(value, int) and not value:
                continue
            part = Signal(signal.shape(), name=f"{signal.name}_from_{number}")
            self._m.d.comb += part.eq(value)
            parts.append(part.as_unsigned() & any_of(conditions).replicate(len(part)))
        return functools.reduce(operator.or_, parts)


def _any(conditions):
    return functools.reduce(operator.or_, (Value.cast(condition).bool() for condition in conditions))
