"""Proofs of equality for networks that differ where hardly anything is ever on.

Units of the two networks that look alike at random inputs are compared row by row: what one reads and the other does
not (a neuron that is never on, a weight that never acts) is shown to be off, or they are where it is on. Few layers say
so as a rule (``few_layers``), and then the units are one: a lemma, with which the rest is proven as if one had the row
of the other. Lemmas come one after the other, so that proofs add up; cases within cases would multiply.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from flint import fmpq

from jaxtract.equality.expressions import CONSTANT, Expression, combine
from jaxtract.equality.few_layers import Allowance, FewLayers
from jaxtract.equality.resolve import Node, OutOfBudgetError, Resolved, States, needed_units, resolve, units_in
from jaxtract.equality.sampled_units import SampledUnits

Pair = tuple[int, int]
"""Two units that look alike, the earlier one first."""


class LookAlikes:
    """Args: as of ``decide_zero``; ``allowance`` of linear programs over few layers."""

    def __init__(
        self, rows: Mapping[int, Expression], targets: Sequence[Expression], inputs: int, allowance: Allowance
    ):
        self.targets = targets
        self.units = _Units(rows, FewLayers(rows, inputs, allowance), SampledUnits(rows, inputs))

    def prove(self) -> Node | None:
        """A proof that all targets vanish everywhere, as ``decide_zero`` returns it; None where none was found."""
        try:
            return self._one_by_one(self.units, {}, frozenset())
        except OutOfBudgetError:
            return None

    def _one_by_one(self, units: _Units, states: States, in_vain: frozenset[Pair]) -> Node | None:
        """Units that are never on are put off, and units that are one get one row, the earliest first."""
        now = units.resolved(states, self.targets)
        if not any(now.targets):
            return {"zero": True}
        pair, between = units.first_pair(now, states, in_vain)
        for unit in sorted(units_in(now.targets)) if pair is None else between:
            never = units.never_on(states, unit)
            if never is not None:
                off = self._one_by_one(units, {**states, unit: (False, False)}, in_vain)
                return None if off is None else {"unit": unit, "strict": "on", "on": never, "off": off}
        if pair is None:
            return None
        one, two = pair
        ratio = _ratio(units.rows[one], units.rows[two])
        apart = combine([(fmpq(1), {two: fmpq(1)}), (-ratio, {one: fmpq(1)})])
        proof = units.same([apart], states) if ratio > 0 else None
        if proof is None:
            return self._one_by_one(units, states, in_vain | {pair})
        rest = self._one_by_one(units.with_row_of(one, two, ratio), states, in_vain)
        return None if rest is None else {"same": [two, one, str(ratio)], "proof": proof, "then": rest}


class _Units:
    """Units over the rows that lemmas have given them."""

    def __init__(self, rows: Mapping[int, Expression], few: FewLayers, samples: SampledUnits):
        self.rows, self.few, self.samples = rows, few, samples

    def with_row_of(self, one: int, two: int, ratio: fmpq) -> _Units:
        """The second of two units has the row of the first from now on, times a ratio."""
        apart = {one: ratio, two: fmpq(-1)}
        # Readers of the second read the first: few layers do not see that the two are one.
        rows = {k: combine([(fmpq(1), row), (row.get(two, fmpq(0)), apart)]) for k, row in self.rows.items()}
        rows[two] = {key: ratio * x for key, x in self.rows[one].items()}
        return _Units(rows, FewLayers(rows, self.few.inputs, self.few.allowance, self.few), self.samples)

    def resolved(self, states: States, targets: Sequence[Expression]) -> Resolved:
        return resolve(self.rows, needed_units(self.rows, targets), states, targets, self.few.inputs)

    def same(self, targets: Sequence[Expression], states: States) -> Node | None:
        """A proof that targets vanish, by cases of what only one of a pair reads."""
        now = self.resolved(states, targets)
        if not any(now.targets):
            return {"zero": True}
        pair, between = self.first_pair(now, states)
        one, two = pair or (None, None)
        for unit in sorted(units_in(now.targets)) if pair is None else (*between, *pair):
            never = self.never_on(states, unit, one if unit == two else None)
            if never is not None:
                off = self.same(targets, {**states, unit: (False, False)})
                return None if off is None else {"unit": unit, "strict": "on", "on": never, "off": off}
        acting = [unit for unit in between if unit not in states]
        return self._split(targets, states, acting[0]) if acting else None

    def _split(self, targets: Sequence[Expression], states: States, unit: int) -> Node | None:
        """Where a unit is on that only one of a pair reads, both may be off; where it is off, they are one."""
        nodes = {}
        for on in (True, False):
            node = self.same(targets, {**states, unit: (on, on)})
            if node is None:
                return None
            nodes[on] = node
        return {"unit": unit, "strict": "on", "on": nodes[True], "off": nodes[False]}

    def first_pair(
        self, now: Resolved, states: States, in_vain: frozenset[Pair] = frozenset()
    ) -> tuple[Pair | None, list[int]]:
        """The first two units that look alike and are not one, and differ in little but units that they read: these."""
        needed = set(needed_units(now.z, now.targets))
        units = [k for k in now.open_units if k in needed]
        # Units that are on keep their names here: over what they read, rows are not alike.
        off = {k: state for k, state in states.items() if not state[0]}
        z = resolve(self.rows, list(now.z), off, [], self.few.inputs).z
        for one, two in sorted(self.samples.alike(units, self.samples.where(states))):
            between = _between(z[one], z[two])
            few = between and between[0] > CONSTANT and 2 * len(between) <= max(len(z[one]), len(z[two]))
            if few and (one, two) not in in_vain:
                return (one, two), between
        return None, []

    def never_on(self, states: States, unit: int, like: int | None = None) -> Node | None:
        if unit in states or self.samples.where({**states, unit: (True, True)}).any():
            return None
        return self.few.rule_out({**states, unit: (True, True)}, unit, like).proof


def _between(one: Expression, two: Expression) -> list[int]:
    """What is left of a row when the multiple of another is subtracted that leaves least, ascending."""
    if not one.keys() & two.keys():
        return [CONSTANT]
    return sorted(combine([(fmpq(1), two), (-_ratio(one, two), one)]))


def _ratio(one: Expression, two: Expression) -> fmpq:
    """The ratio that most coefficients of two rows have."""
    ratios = collections.Counter(two[key] / one[key] for key in one.keys() & two.keys())
    return ratios.most_common(1)[0][0]
