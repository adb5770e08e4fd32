"""Can units be on and off as told? Often a few layers before them say no.

What lies further back is only known not to be negative, so that linear programs are small and the same for whatever
feeds those layers. They are homogeneous: the constant is a variable that is not negative either, and their answer is a
ray. Cases are split on the unit whose s(z) the program takes for most above max(0, z). Float64 finds the cases; every
one of them is closed by Farkas multipliers over the rationals (``farkas``), in the form that a certificate holds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from scipy.optimize import linprog

from jaxtract.equality.expressions import CONSTANT, Expression, float64_rows
from jaxtract.equality.farkas import Constraint, search_point
from jaxtract.equality.resolve import Node, OutOfBudgetError, States, constraints_of, needed_units, resolve

ABOVE_ZERO = 1e-7
"""Margins, and what a program takes a unit for too much, are zero below that; no coefficient exceeds 2."""

SMALL = 16
"""Programs over few layers that take about as long as one over all of them."""

SPARING = 1e-3
"""Cost of s(z) against the margin: programs take units for as little as they need."""


class Allowance:
    """Linear programs that may still be solved: so many cases, each as long as ``SMALL`` programs over few layers.

    Args:
        cases: how many.
        progress: told how many were begun.
    """

    def __init__(self, cases: int, progress: Callable[[int], None] | None = None):
        self.most, self.programs, self.progress = SMALL * cases, 0, progress

    @property
    def cases(self) -> int:
        """How many were begun."""
        return -(-self.programs // SMALL)

    def spend(self) -> None:
        """Raises: OutOfBudgetError where none is left."""
        if self.programs >= self.most:
            raise OutOfBudgetError
        self.programs += 1
        if self.progress is not None and self.programs % SMALL == 1:
            self.progress(self.cases)


class FewLayers:
    """Proofs that units are never as told, from the layers before them.

    Args:
        rows: ``rows[k]`` is z_k of unit k, affine in the inputs and earlier units.
        inputs: d.
        allowance: of linear programs.
    """

    def __init__(self, rows: Mapping[int, Expression], inputs: int, allowance: Allowance):
        self.rows, self.inputs, self.allowance = rows, inputs, allowance
        self.float_rows = float64_rows(rows)
        self._refused: set[tuple[int, frozenset[tuple[int, bool]]]] = set()

    @functools.cached_property
    def levels(self) -> dict[int, int]:
        """Of every unit: one more than the highest that it reads; inputs have 0."""
        found: dict[int, int] = {}
        for k in sorted(self.rows):
            found[k] = 1 + max((found[key] for key in self.rows[k] if key > CONSTANT), default=0)
        return found

    def rule_out(self, states: States, unit: int) -> Node | None:
        """A proof that no input has these states, the last of which is that of ``unit``; None where none is found.

        Raises:
            OutOfBudgetError: the allowance is spent.
        """
        asked = unit, frozenset((k, on) for k, (on, _) in states.items() if k != unit)
        if asked in self._refused:
            return None
        behind = set(needed_units(self.rows, [self.rows[unit]]))
        # What is on besides, and is not read, is put in only where nothing is proven without it.
        beside = {k for k, (on, _) in states.items() if on and k != unit} - behind
        found = self._proven(states, unit, behind)
        if found is None and beside:
            both = behind | beside | set(needed_units(self.rows, [self.rows[k] for k in beside]))
            found = self._proven(states, unit, both)
        if found is None:
            self._refused.add(asked)
        return found

    def _proven(self, states: States, unit: int, units: set[int]) -> Node | None:
        highest = max([self.levels[unit], *(self.levels[k] + 1 for k in units)])
        for reach in range(1, highest + 1):
            exact = sorted(k for k in units if self.levels[k] >= highest - reach)
            found = _Search(self, exact, unit).prove(states)
            if found is not None:
                return found
        return None


@dataclasses.dataclass(frozen=True)
class _Ray:
    """Values of the variables of a program, its margin, and the constraints that it rests on."""

    values: np.ndarray
    margin: float
    support: frozenset[tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class _Case:
    """A case without a point, or split by a unit into two."""

    support: frozenset[tuple[str, int]]
    unit: int | None = None
    inner: Mapping[bool, _Case] = dataclasses.field(default_factory=dict)


class _Search:
    """Cases of the units ``exact``; all others that they read are only known not to be negative."""

    def __init__(self, few: FewLayers, exact: Sequence[int], unit: int):
        self.few, self.exact, self.unit = few, list(exact), unit
        read = {key for k in (*exact, unit) for key in few.rows[k] if key != CONSTANT}
        self.variables = [*sorted(read | set(exact)), CONSTANT]
        self.column = {key: i for i, key in enumerate(self.variables)}
        self.table = self._table()

    def _table(self) -> dict[int, np.ndarray]:
        """z of the units over the variables, (variables,)."""
        found = {}
        for k in sorted([*self.exact, self.unit]):
            found[k] = np.zeros(len(self.variables))
            for key, x in self.few.float_rows[k].items():
                found[k][self.column[key]] = x
        return found

    def prove(self, states: States) -> Node | None:
        """All cases in float64 first; they are closed over the rationals only where none of them has a point."""
        cases = self._cases(states)
        return None if cases is None else self._closed(states, cases)

    def _cases(self, states: States) -> _Case | None:
        ray = self._solve(states, SPARING)
        if ray.margin < ABOVE_ZERO:
            ray = self._solve(states, 0.0)
        if ray.margin < ABOVE_ZERO:
            return _Case(ray.support)
        split = self._cheated(states, ray)
        if split is None:
            return None
        unit, on = split
        inner: dict[bool, _Case] = {}
        for side in (on, not on):
            case = self._cases({**states, unit: (side, side)})
            if case is None:
                return None
            inner[side] = case
        return _Case(ray.support, unit, inner)

    def _closed(self, states: States, case: _Case) -> Node | None:
        if case.unit is None:
            return self._leaf(states, case.support)
        nodes = {}
        for on, inner in case.inner.items():
            node = self._closed({**states, case.unit: (on, on)}, inner)
            if node is None:
                return None
            nodes[on] = node
        return {"unit": case.unit, "strict": "on", "on": nodes[True], "off": nodes[False]}

    def _cheated(self, states: States, ray: _Ray) -> tuple[int, bool] | None:
        """The unit that is taken for most above max(0, z), and whether z is positive there."""
        heights = {k: float(self.table[k] @ ray.values) for k in self.exact if k not in states}
        above = {k: ray.values[self.column[k]] - max(z, 0.0) for k, z in heights.items()}
        worst = max(above, key=lambda k: above[k], default=None)
        return None if worst is None or above[worst] < ABOVE_ZERO else (worst, heights[worst] > 0)

    def _solve(self, states: States, sparing: float) -> _Ray:
        """The largest margin t <= 1 by which ``unit`` is on its side."""
        self.few.allowance.spend()
        count = len(self.variables)
        upper: list[tuple[tuple[str, int], np.ndarray]] = []
        equal: list[np.ndarray] = []
        bounds: list[tuple[float | None, float | None]] = [
            (None if v < CONSTANT else 0.0, None) for v in self.variables
        ]
        cost = np.zeros(count + 1)
        cost[-1] = -1.0
        for k, row in self.table.items():
            own = np.eye(1, count + 1, self.column[k])[0] if k != self.unit else np.zeros(count + 1)
            z = np.append(row, 0.0)
            if k == self.unit:
                upper.append((("side", k), np.eye(1, count + 1, count)[0] - (z if states[k][0] else -z)))
                continue
            if k not in states:
                upper.append((("above", k), z - own))
                cost += sparing * own
                continue
            on = states[k][0]
            upper.append((("side", k), -z if on else z))
            if on:
                equal.append(own - z)
            else:
                bounds[self.column[k]] = (0.0, 0.0)
        result = linprog(
            cost,
            A_ub=np.array([row for _, row in upper]),
            b_ub=np.zeros(len(upper)),
            A_eq=np.array(equal) if equal else None,
            b_eq=np.zeros(len(equal)) if equal else None,
            bounds=[*bounds, (0.0, 1.0)],
            method="highs",
        )
        if result.status != 0:
            return _Ray(np.zeros(count), 0.0, frozenset())
        used = {name for (name, _), m in zip(upper, result.ineqlin.marginals, strict=True) if abs(m) > ABOVE_ZERO}
        low = result.lower.marginals[:count]
        used |= {("relu", v) for v, m in zip(self.variables, low, strict=True) if v > CONSTANT and abs(m) > ABOVE_ZERO}
        return _Ray(result.x[:count], float(result.x[-1]), frozenset(used))

    def _leaf(self, states: States, support: Collection[tuple[str, int]]) -> Node | None:
        """The case closed over the rationals: by the constraints that the program rests on, else by all of them."""
        constraints = self._constraints(states)
        few = [c for c in constraints if c.name in support or c.name == ("side", self.unit)]
        for chosen in (few, constraints):
            multipliers = search_point(chosen).multipliers
            if multipliers is not None:
                return {"farkas": [[kind, unit, str(m)] for (kind, unit), m in multipliers]}
        return None

    def _constraints(self, states: States) -> list[Constraint]:
        units = sorted({*self.exact, self.unit})
        local = {k: state for k, state in states.items() if k in units}
        free = [v for v in self.variables if v > CONSTANT and v not in units]
        now = resolve(self.few.rows, units, local, [], self.few.inputs, free=free)
        nonnegative = [Constraint(("relu", k), now.s[k]) for k in free]
        return [*constraints_of(now, local, now.open_units), *nonnegative]
