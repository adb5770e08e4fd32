"""Can units be on and off as told? Often a few layers before them say no, and all layers show where.

What lies further back is only known not to be negative, so that linear programs are small and the same for whatever
feeds those layers (``held_program``). Where a point of one is cheated by units whose s(z) it takes for more than
max(0, z), cases are split: on that unit, of those that cheat most, whose two cases are both hardest to reach, as far as
earlier cases tell, and as programs tell where there were few (reliability branching: Achterberg, Koch, Martin 2005).
Float64 finds the cases; every one of them is closed by Farkas multipliers over the rationals (``farkas``), in the form
that a certificate holds.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxtract.equality.expressions import (
    CONSTANT,
    Expression,
    in_float64,
    less,
    positive_part,
    put,
    resized,
    unit_sizes,
)
from jaxtract.equality.farkas import Constraint, search_point
from jaxtract.equality.held_program import TOLERANCE, HeldProgram, Ray
from jaxtract.equality.resolve import Node, OutOfBudgetError, States, constraints_of, needed_units, resolve
from jaxtract.equality.short_multipliers import passed_backward

ABOVE_ZERO, TOO_MUCH = 1e-8, 1e-8
"""Margins, and what a program takes a unit for too much, are zero below that; variables sum up to one."""

CANDIDATES = 24
"""Units one of which is split."""

RELIABLE = 8
"""Cases of a unit by which the next ones are judged; before there are so many, they are looked at."""

LITTLE = 1e-3
"""Share of the margin that a case may keep without being told from one that keeps all."""

FARTHEST = 2.0**-30
"""Of a ray, the least share of the constant in it: no input is further out."""

SMALL = 64
"""Programs over few layers that take about as long as one over all of them."""


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

    def spent(self, programs: int) -> bool:
        """Whether there are so many left, which are then spent on something else that takes as long."""
        left = self.programs + programs <= self.most
        self.programs += programs if left else 0
        return left

    def spend(self) -> None:
        """Raises: OutOfBudgetError where none is left."""
        if not self.spent(1):
            raise OutOfBudgetError
        if self.progress is not None and self.programs % SMALL == 1:
            self.progress(self.cases)


_Sides = frozenset[tuple[int, bool]]


@dataclasses.dataclass(frozen=True)
class Answered:
    """``proof``: no input has the states. ``point``: one seems to, (inputs,), in float64. Neither: not settled."""

    proof: Node | None = None
    point: np.ndarray | None = None


class FewLayers:
    """Proofs that units are never as told, from the layers before them.

    Args:
        rows: ``rows[k]`` is z_k of unit k, affine in the inputs and earlier units.
        inputs: d.
        allowance: of linear programs.
        before: units that are the same functions, over other rows: what was not proven of them is not tried again.
    """

    def __init__(
        self, rows: Mapping[int, Expression], inputs: int, allowance: Allowance, before: FewLayers | None = None
    ):
        self.rows, self.inputs, self.allowance = rows, inputs, allowance
        self.sizes = unit_sizes(rows)
        self.resized = resized(rows, self.sizes)
        self.float_rows = in_float64(self.resized)
        self._answered: dict[tuple[int, _Sides], Answered] = before._answered if before else {}
        self._cases_of: dict[tuple[int, _Sides], tuple[int, _Case]] = before._cases_of if before else {}

    @functools.cached_property
    def levels(self) -> dict[int, int]:
        """Of every unit: one more than the highest that it reads; inputs have 0."""
        found: dict[int, int] = {}
        for k in sorted(self.rows):
            found[k] = 1 + max((found[key] for key in self.rows[k] if key > CONSTANT), default=0)
        return found

    def rule_out(self, states: States, unit: int, like: int | None = None) -> Answered:
        """Whether any input has these states, the last of which is that of ``unit``.

        ``like``: a unit that is nearly the same. Where it was ruled out, the same cases will do, or nearly.

        Raises:
            OutOfBudgetError: the allowance is spent.
        """
        # What is on, or off in an earlier layer, counts with all that it needs. (That a neighbour is off whose row is
        # nearly that of the unit leaves next to no room, and most programs.)
        level = self.levels[unit]
        others = {k: state for k, state in states.items() if k != unit and (state[0] or self.levels[k] < level)}
        asked = unit, _sides({**others, unit: states[unit]})
        found = self._answered.get(asked) or self._settled(others, unit, states[unit], like)
        if found.proof is None:
            self._answered[asked] = found
        return found

    def _behind(self, units: Sequence[int]) -> set[int]:
        """All that some units depend on, and these but for the first."""
        return {*units[1:], *needed_units(self.rows, [self.rows[k] for k in units])} - {units[0]}

    def _settled(self, others: States, unit: int, side: tuple[bool, bool], like: int | None) -> Answered:
        units, states = self._behind([unit, *others]), {**others, unit: side}
        highest = max([self.levels[unit], *(self.levels[k] + 1 for k in units)])
        first, begun = self._cases_of.get((like or unit, _sides(others)), (1, None))
        reaches = list(range(1, max(2, highest)))
        for reach in sorted(reaches, key=lambda reach: (reach != first, reach)):
            exact = sorted(k for k in units if self.levels[k] >= highest - reach)
            search = _Search(self, exact, unit, side[0])
            cases = search.cases(states, begun)
            proof = None if cases is None else search.closed(states, cases)
            if cases is not None and proof is not None:
                self._cases_of[unit, _sides(others)] = reach, cases
                return Answered(proof=proof)
            if cases is None and search.whole:
                return Answered(point=search.point)
        return Answered()


@dataclasses.dataclass(frozen=True)
class _Case:
    """A case without a point, or split by a unit into two."""

    unit: int | None = None
    inner: Mapping[bool, _Case] = dataclasses.field(default_factory=dict)


def _sides(states: States) -> _Sides:
    return frozenset((k, on) for k, (on, _) in states.items())


@dataclasses.dataclass
class _Gain:
    """What putting a unit on its side has done so far, and how often."""

    seen: int = 0
    total: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.seen

    def add(self, gain: np.ndarray) -> None:
        self.seen, self.total = self.seen + 1, self.total + gain


class _Search:
    """Cases of the units ``exact``; all others that they read are only known not to be negative."""

    def __init__(self, few: FewLayers, exact: Sequence[int], unit: int, on: bool):
        self.few, self.exact, self.unit = few, list(exact), unit
        self.point: np.ndarray | None = None
        self._program = HeldProgram(few.float_rows, self.exact, unit, on)
        self._gains: dict[tuple[int, bool], _Gain] = collections.defaultdict(_Gain)

    @property
    def whole(self) -> bool:
        """Whether all layers are in the program, so that its points are inputs'."""
        return not self._program.free

    def cases(self, states: States, begun: _Case | None = None) -> _Case | None:
        """Cases in float64 none of which has a point; None where one is found.

        They are closed over the rationals only when all are there. ``begun``: cases to begin with.
        """
        self._fix(states)
        return self._cases(self._solve(), begun)

    def _fix(self, states: States) -> list[int]:
        new = [k for k in states if k in self._program.row and k not in self._program.states]
        for k in new:
            self._program.fix(k, states[k][0])
        return new

    def _solve(self) -> Ray:
        self.few.allowance.spend()
        return self._program.solve()

    def _cases(self, ray: Ray, begun: _Case | None) -> _Case | None:
        """None where a point is found."""
        if ray.margin < ABOVE_ZERO:
            return _Case()
        cheating = self._cheating(ray)
        if not cheating:
            self.point = self._input(ray)
            return None
        return self._split(ray, cheating, begun)

    def _cheating(self, ray: Ray) -> list[tuple[float, int, bool]]:
        return [found for found in self._program.taken_too_much(ray)[:CANDIDATES] if found[0] > TOO_MUCH]

    def _split(self, ray: Ray, cheating: Sequence[tuple[float, int, bool]], begun: _Case | None) -> _Case | None:
        if begun is not None and begun.unit in self._program.row:
            unit, likely, rays = begun.unit, True, self._both(begun.unit)
        else:
            begun = None
            unit, likely, rays = self._chosen(ray, cheating)
        inner: dict[bool, _Case] = {}
        for on in (likely, not likely):
            self._program.fix(unit, on)
            case = self._cases(rays[on], begun.inner[on] if begun else None)
            self._program.release(unit)
            if case is None:
                return None
            inner[on] = case
        return _Case(unit=unit, inner=inner)

    def _chosen(self, ray: Ray, cheating: Sequence[tuple[float, int, bool]]) -> tuple[int, bool, dict[bool, Ray]]:
        """The unit to split, the side to begin with, and the rays of both of its cases."""
        best: tuple[float, int, bool, dict[bool, Ray] | None] | None = None
        for _, unit, likely in cheating:
            rays = None
            if min(self._gains[unit, on].seen for on in (True, False)) < RELIABLE:
                rays = self._both(unit)
                expected = self._note(unit, ray, rays)
            else:
                expected = [self._gains[unit, on].mean for on in (True, False)]
            score = float(np.prod([LITTLE + lost for lost, _ in expected]) + sum(empty for _, empty in expected))
            if best is None or score > best[0]:
                best = score, unit, likely, rays
        assert best is not None
        _, unit, likely, rays = best
        if rays is None:
            rays = self._both(unit)
            self._note(unit, ray, rays)
        return unit, likely, rays

    def _note(self, unit: int, ray: Ray, rays: Mapping[bool, Ray]) -> list[np.ndarray]:
        """Of both cases: the share of the margin that is lost, and whether nothing is left."""
        found = []
        for on in (True, False):
            lost = 1 - rays[on].margin / max(ray.margin, TOLERANCE)
            now = np.array([lost, rays[on].margin < ABOVE_ZERO])
            self._gains[unit, on].add(now)
            found.append(now)
        return found

    def _both(self, unit: int) -> dict[bool, Ray]:
        rays = {}
        for on in (True, False):
            self._program.fix(unit, on)
            rays[on] = self._solve()
            self._program.release(unit)
        return rays

    def _input(self, ray: Ray) -> np.ndarray | None:
        """The input on a ray; one far out where the ray is endless."""
        if not self.whole:
            return None
        constant = max(ray.values[self._program.column[CONSTANT]], FARTHEST)
        point = np.zeros(self.few.inputs)
        for v, x in zip(self._program.variables, ray.values, strict=True):
            if v < CONSTANT:
                point[v + self.few.inputs] = x / constant
        return point

    def closed(self, states: States, case: _Case) -> Node | None:
        """The proof that no input has the states; None where some case is not closed."""
        if case.unit is None:
            return self._leaf(states) or self._split_further(states)
        nodes = {}
        for on, inner in case.inner.items():
            node = self.closed({**states, case.unit: (on, on)}, inner)
            if node is None:
                return None
            nodes[on] = node
        return {"unit": case.unit, "strict": "on", "on": nodes[True], "off": nodes[False]}

    def _split_further(self, states: States) -> Node | None:
        """A case whose margin float64 takes for none, and that has a point over the rationals."""
        new = self._fix(states)
        ray = self._solve()
        cheating = self._cheating(ray)
        case = self._split(ray, cheating, None) if cheating else None
        for k in new:
            self._program.release(k)
        return None if case is None else self.closed(states, case)

    def _leaf(self, states: States) -> Node | None:
        """The case closed over the rationals: by short multipliers where there is room to round, else by exact ones."""
        local = {k: state for k, state in states.items() if k in self.exact or k == self.unit}
        short = passed_backward(self.few.resized, self.few.float_rows, self.exact, self.unit, local)
        if short is not None:
            multipliers = tuple((name, m / self.few.sizes[name[1]]) for name, m in short)
        else:
            multipliers = search_point(self._constraints(local)).multipliers
        return None if multipliers is None else {"farkas": [[kind, unit, str(m)] for (kind, unit), m in multipliers]}

    def _constraints(self, local: States) -> list[Constraint]:
        units = sorted({*self.exact, self.unit})
        read = {key for k in units for key in self.few.rows[k] if key > CONSTANT}
        free = sorted(read - set(units))
        now = resolve(self.few.rows, units, local, [], self.few.inputs, free=free)
        nonnegative = [Constraint(("relu", k), now.s[k]) for k in free]
        parts = [(k, positive_part(self.few.rows[k])) for k in now.open_units]
        below = [Constraint(("below", k), less(put(now.s, part), now.s[k])) for k, part in parts if part is not None]
        return [*constraints_of(now, local, now.open_units), *below, *nonnegative]
