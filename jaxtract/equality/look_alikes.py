"""Proofs of equality for networks that differ where hardly anything is ever on.

Units of the two networks that look alike at random inputs are compared row by row: what one reads and the other does
not (a neuron that is never on, a weight that never acts) is shown to be off, or they are where it is on. Few layers say
so as a rule (``few_layers``), and then the units are one.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from flint import fmpq

from jaxtract.equality.expressions import CONSTANT, Expression, combine
from jaxtract.equality.few_layers import Allowance, FewLayers
from jaxtract.equality.resolve import Node, OutOfBudgetError, Resolved, States, needed_units, resolve, units_in
from jaxtract.equality.sampled_units import SampledUnits


class LookAlikes:
    """Args: as of ``decide_zero``; ``allowance`` of linear programs over few layers."""

    def __init__(
        self, rows: Mapping[int, Expression], targets: Sequence[Expression], inputs: int, allowance: Allowance
    ):
        self.rows, self.targets, self.inputs = rows, targets, inputs
        self.relevant = needed_units(rows, targets)
        self.samples = SampledUnits(rows, inputs)
        self.few = FewLayers(rows, inputs, allowance)

    def prove(self) -> Node | None:
        """A proof that all targets vanish everywhere, as ``decide_zero`` returns it; None where none was found."""
        try:
            return self._prove({})
        except OutOfBudgetError:
            return None

    def _prove(self, states: States) -> Node | None:
        now = resolve(self.rows, self.relevant, states, self.targets, self.inputs)
        if not any(now.targets):
            return {"zero": True}
        pair, between = self._first_pair(now, states)
        for unit in sorted(units_in(now.targets)) if pair is None else (*between, *pair):
            never = self._never_on(states, unit)
            if never is not None:
                off = self._prove({**states, unit: (False, False)})
                return None if off is None else {"unit": unit, "strict": "on", "on": never, "off": off}
        acting = [unit for unit in between if unit not in states]
        return self._split(states, acting[0]) if acting else None

    def _split(self, states: States, unit: int) -> Node | None:
        """Where a unit is on that only one of a pair reads, both may be off; where it is off, they are one."""
        nodes = {}
        for on in (True, False):
            node = self._prove({**states, unit: (on, on)})
            if node is None:
                return None
            nodes[on] = node
        return {"unit": unit, "strict": "on", "on": nodes[True], "off": nodes[False]}

    def _first_pair(self, now: Resolved, states: States) -> tuple[tuple[int, int] | None, list[int]]:
        """The first two units that look alike and are not one, and differ in little but units that they read: these."""
        needed = set(needed_units(now.z, now.targets))
        units = [k for k in now.open_units if k in needed]
        # Units that are on keep their names here: over what they read, rows are not alike.
        off = {k: state for k, state in states.items() if not state[0]}
        z = resolve(self.rows, self.relevant, off, [], self.inputs).z
        for one, two in sorted(self.samples.alike(units, self.samples.where(states))):
            between = _between(z[one], z[two])
            if between and between[0] > CONSTANT and 2 * len(between) <= max(len(z[one]), len(z[two])):
                return (one, two), between
        return None, []

    def _never_on(self, states: States, unit: int) -> Node | None:
        if unit in states or self.samples.where({**states, unit: (True, True)}).any():
            return None
        return self.few.rule_out({**states, unit: (True, True)}, unit).proof


def _between(one: Expression, two: Expression) -> list[int]:
    """What is left of a row when the multiple of another is subtracted that leaves least, ascending."""
    ratios = collections.Counter(two[key] / one[key] for key in one.keys() & two.keys())
    if not ratios:
        return [CONSTANT]
    return sorted(combine([(fmpq(1), two), (-ratios.most_common(1)[0][0], one)]))
