"""Is a combination of ReLU units zero everywhere? Decided by cases, each closed by an exact argument.

A unit is on or off; in each case its s(z) is z or nothing, units may become equal, and what is left of the combination
may vanish formally. A case that no input reaches is closed by Farkas multipliers, where units not yet
split are only known to satisfy s(z) >= 0 and s(z) >= z. Cases are split only as far as needed: the program's point
shows which unit it cheats on. With all units split the answer is exact, so the only way not to decide is
the budget. (Deciding this is coNP-hard in general, so that a budget there must be.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from flint import fmpq

from jaxtract.equality.expressions import CONSTANT, Expression, combine, value
from jaxtract.equality.farkas import Answer, Constraint, exact_answer, search_point
from jaxtract.equality.few_layers import Allowance
from jaxtract.equality.look_alikes import LookAlikes
from jaxtract.equality.resolve import (
    Node,
    OutOfBudgetError,
    Resolved,
    States,
    constraints_of,
    needed_units,
    resolve,
    units_in,
)
from precision.dyadic import floor_log2, from_float, power_of_two, round_to_grid

Point = list[fmpq]
Values = dict[int, fmpq] | dict[int, float]

POINT_BITS = 30

FOR_LOOK_ALIKES = 2
"""One of so many cases may be spent on them first."""

NEAR = 1e-9
"""Units whose directions differ by less (squared sine) are taken two by two."""
STEP_BITS = (2, 8, 20, 40, 80, 160, 320, 1000, 4000)


class DifferenceFoundError(Exception):
    """The combination is not zero at ``point``."""

    def __init__(self, point: Point):
        super().__init__("the expressions are not zero at a point")
        self.point = point


@dataclasses.dataclass(frozen=True)
class Decision:
    """``proof``: zero everywhere, with the tree of cases. ``point``: not zero there. Neither: budget spent."""

    proof: Node | None
    point: Point | None
    cases: int


def decide_zero(
    rows: Mapping[int, Expression],
    targets: Sequence[Expression],
    inputs: int,
    *,
    budget: int,
    progress: Callable[[int], None] | None = None,
) -> Decision:
    """Decide whether all ``targets`` vanish at every input.

    Units of the two that look alike are tried first, a few layers at a time (``look_alikes``).

    Args:
        rows: ``rows[k]`` is z_k of unit k, affine in the inputs and earlier units.
        targets: affine in inputs and units.
        inputs: d.
        budget: linear programs that may be solved.
        progress: told how many were.
    """
    allowance = Allowance(budget // FOR_LOOK_ALIKES, progress)
    proof, spent = LookAlikes(rows, targets, inputs, allowance).prove(), allowance.cases
    if proof is not None:
        return Decision(proof, None, spent)
    for deepest_first in (True, False):
        before, share = spent, budget // 4 if deepest_first else budget - spent
        search = _Cases(rows, targets, inputs, share, deepest_first, _after(progress, before))
        try:
            return Decision(search.prove({}), None, before + search.cases)
        except DifferenceFoundError as found:
            return Decision(None, found.point, before + search.cases)
        except OutOfBudgetError:
            spent += search.cases
    return Decision(None, None, spent)


class _Cases:
    def __init__(
        self,
        rows: Mapping[int, Expression],
        targets: Sequence[Expression],
        inputs: int,
        budget: int,
        deepest_first: bool,
        progress: Callable[[int], None],
    ):
        self.rows, self.targets, self.inputs, self.deepest_first = rows, targets, inputs, deepest_first
        self.budget, self.progress, self.cases = budget, progress, 0
        self.relevant = needed_units(rows, targets)

    def prove(self, states: States, answer: Answer | None = None) -> Node:
        """The proof of one case; ``answer`` is what is known of its points already."""
        now = resolve(self.rows, self.relevant, states, self.targets, self.inputs)
        if not any(now.targets):
            return {"zero": True}
        answer = answer or self._search(now, states)
        if answer.multipliers is not None:
            return {"farkas": [[kind, unit, str(m)] for (kind, unit), m in answer.multipliers]}
        candidates = self._open(now, states)
        if answer.point is not None:
            self._try(now, answer.point, last=not candidates)
        if not candidates:  # the case is fully split and, so float64 says, not empty: now exactly
            answer = exact_answer(self._constraints(now, states))
            if answer.multipliers is not None:
                return {"farkas": [[kind, unit, str(m)] for (kind, unit), m in answer.multipliers]}
            self._try(now, answer.point or {}, last=True)
            raise OutOfBudgetError  # deepest first, cases may shrink to their edges; layer by layer they are open
        unit = self._choose(now, candidates, answer.point)
        return self._split(states, unit, now.z[unit])

    def _search(self, now: Resolved, states: States) -> Answer:
        if self.cases >= self.budget:
            raise OutOfBudgetError
        self.cases += 1
        self.progress(self.cases)
        return search_point(self._constraints(now, states))

    def _split(self, states: States, unit: int, z: Expression) -> Node:
        """Both cases of a unit.

        If z is affine in the inputs alone, z = 0 is a null set and goes to neither: continuity fills it. Else
        it goes to one of them; to the other, where one is empty without it.
        """
        found: dict[bool, Answer | None] = {True: None, False: None}
        for on in (True, False):
            trial = {**states, unit: (on, True)}
            now = resolve(self.rows, self.relevant, trial, self.targets, self.inputs)
            found[on] = self._search(now, trial) if any(now.targets) else None
        if max(z) <= CONSTANT:
            nodes = {on: self.prove({**states, unit: (on, True)}, found[on]) for on in (True, False)}
            return {"unit": unit, "strict": "both", "on": nodes[True], "off": nodes[False]}
        on, off = found[True], found[False]
        strict = on is None or on.multipliers is not None or off is None or off.multipliers is None
        weak = found[not strict]
        if weak is not None and weak.multipliers is not None:
            weak = None  # that proof may lean on z = 0 being elsewhere
        nodes = {
            strict: self.prove({**states, unit: (strict, True)}, found[strict]),
            not strict: self.prove({**states, unit: (not strict, False)}, weak),
        }
        return {"unit": unit, "strict": "on" if strict else "off", "on": nodes[True], "off": nodes[False]}

    def _constraints(self, now: Resolved, states: States) -> list[Constraint]:
        return constraints_of(now, states, self._open(now, states))

    def _open(self, now: Resolved, states: States) -> list[int]:
        """Open units that the targets or the split units still depend on."""
        seen = [*now.targets, *(now.z[k] for k in states)]
        found = set(now.open_units)
        return [k for k in needed_units(now.z, seen) if k in found]

    def _choose(self, now: Resolved, candidates: Sequence[int], point: Values | None) -> int:
        """What to split next: a guess, which costs cases when it is bad, and nothing else.

        Deepest first: a unit that keeps two near ones apart, else that on which the program's point cheats most.
        Few cases where a few units matter. Else layer by layer: every case is then a region of the input space,
        of which low dimensions have few.
        """
        if not self.deepest_first:
            return min(candidates)
        apart = self._keeps_apart(now, set(candidates))
        if apart is not None:
            return apart
        if point is not None:
            cheats = {k: self._cheat(now, k, point) for k in candidates}
            worst = max(cheats, key=lambda k: cheats[k])
            if cheats[worst] > 1e-6:
                return worst
        direct = units_in(now.targets)
        return max([k for k in candidates if k in direct] or candidates)

    def _keeps_apart(self, now: Resolved, candidates: set[int]) -> int | None:
        """A unit in the difference of the first two open units that are nearly one (a changed last bit, say).

        Where it is off the two may be one; where it is on they must both be off or both be on.
        """
        floats = {k: _floats(now.z[k]) for k in now.open_units}
        for position, two in enumerate(now.open_units):
            for one in now.open_units[:position]:
                if not _near(floats[one], floats[two]):
                    continue
                lead = max(now.z[one], key=lambda key: abs(now.z[one][key]))
                ratio = now.z[two].get(lead, fmpq(0)) / now.z[one][lead]
                left = combine([(fmpq(1), now.z[two]), (-ratio, now.z[one])])
                between = candidates.intersection(left)
                if between or one in candidates:
                    return min(between) if between else one
        return None

    def _cheat(self, now: Resolved, unit: int, point: Values) -> float:
        size = float(max(abs(x) for x in now.z[unit].values()))
        known = {**point, CONSTANT: 1.0}
        z = sum(float(x) * float(known.get(key, 0.0)) for key, x in now.z[unit].items())
        return (float(known.get(unit, 0.0)) - max(z, 0.0)) / size

    def _try(self, now: Resolved, point: Values, *, last: bool) -> None:
        """Look for a difference at the point; in a case that is fully split, around it too."""
        start = [_rational(point.get(key, 0.0)) for key in range(-self.inputs, CONSTANT)]
        self._test(start)
        if not last:
            return
        moved = sorted(key + self.inputs for key in set().union(*now.targets) if key < CONSTANT)
        for bits in STEP_BITS:
            for j in moved:
                self._test([*start[:j], start[j] + power_of_two(-bits), *start[j + 1 :]])

    def _test(self, point: Point) -> None:
        known = dict(enumerate([*point, fmpq(1)], start=-self.inputs))
        for unit, row in self.rows.items():
            z = value(row, known)
            known[unit] = z if z > 0 else fmpq(0)
        if any(value(target, known) != 0 for target in self.targets):
            raise DifferenceFoundError(point)


def _after(progress: Callable[[int], None] | None, before: int) -> Callable[[int], None]:
    return (lambda done: None) if progress is None else (lambda done: progress(before + done))


def _floats(z: Expression) -> dict[int, float]:
    largest = max(abs(x) for x in z.values())
    return {key: float(x / largest) for key, x in z.items()}


def _near(one: dict[int, float], two: dict[int, float]) -> bool:
    """The same or opposite direction, as far as float64 sees."""
    product = sum(x * two.get(key, 0.0) for key, x in one.items())
    squares = sum(x * x for x in one.values()) * sum(x * x for x in two.values())
    return product * product > (1 - NEAR) * squares


def _rational(x: fmpq | float) -> fmpq:
    """Of a float the nearest number with about 30 bits: witnesses that read well and evaluate fast."""
    if isinstance(x, fmpq):
        return x
    if x == 0.0:
        return fmpq(0)
    exact = from_float(x)
    return round_to_grid(exact, POINT_BITS - max(0, floor_log2(exact)))
