"""A linear program over the rationals: the simplex method with Bland's rule, for what float64 cannot settle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flint import fmpq


@dataclasses.dataclass(frozen=True)
class Solved:
    """``best``: the largest t, None if there is no point at all. ``multipliers`` prove that it is no larger."""

    best: fmpq | None
    point: list[fmpq]
    multipliers: list[fmpq]


def largest_margin(rows: Sequence[Sequence[fmpq]], constants: Sequence[fmpq], strict: Sequence[bool]) -> Solved:
    """max t <= 1 with rows.x + constants >= t where strict, >= 0 elsewhere; x has no bounds.

    Solved on the dual: min m.constants + u with m.rows = 0, the sum of m where strict + u = 1, m and u >= 0. Its
    tableau has the columns m, u and the right side; x and t are the prices of its rows.
    """
    count, variables = len(rows), len(rows[0]) if rows else 0
    zero, one = fmpq(0), fmpq(1)
    tableau = [[rows[i][j] for i in range(count)] + [zero, zero] for j in range(variables)]
    tableau.append([one if s else zero for s in strict] + [one, one])
    identity = [[one if i == j else zero for j in range(variables + 1)] for i in range(variables + 1)]
    costs = [*constants, one]
    basis = [-1] * variables + [count]
    for r in range(variables):  # rows with right side 0: any entry will do as a pivot
        column = next((j for j in range(count + 1) if tableau[r][j] != 0), None)
        if column is not None:
            _pivot(tableau, identity, r, column)
            basis[r] = column
    while True:
        prices = [sum((costs[b] * row[k] for b, row in zip(basis, identity, strict=True) if b >= 0), zero)
                  for k in range(variables + 1)]  # fmt: skip
        entering = _entering(rows, constants, strict, prices, basis)
        if entering is None:
            break
        ratios = [(row[-1] / row[entering], b, r) for r, (row, b) in enumerate(zip(tableau, basis, strict=True))
                  if b >= 0 and row[entering] > 0]  # fmt: skip
        if not ratios:  # a ray: no point satisfies even what is not strict
            return Solved(None, [], _ray(tableau, basis, entering, count))
        _, _, r = min(ratios)
        _pivot(tableau, identity, r, entering)
        basis[r] = entering
    multipliers = [zero] * (count + 1)
    for b, row in zip(basis, tableau, strict=True):
        if b >= 0:
            multipliers[b] = row[-1]
    return Solved(prices[-1], [-x for x in prices[:-1]], multipliers[:count])


def _entering(
    rows: Sequence[Sequence[fmpq]],
    constants: Sequence[fmpq],
    strict: Sequence[bool],
    prices: Sequence[fmpq],
    basis: Sequence[int],
) -> int | None:
    """The first column whose reduced cost is negative."""
    taken = set(basis)
    for j, (row, constant) in enumerate(zip(rows, constants, strict=True)):
        if j in taken:
            continue
        reduced = constant - sum((a * p for a, p in zip(row, prices, strict=False)), fmpq(0))
        if (reduced - prices[-1] if strict[j] else reduced) < 0:
            return j
    return len(rows) if len(rows) not in taken and 1 - prices[-1] < 0 else None


def _ray(tableau: Sequence[Sequence[fmpq]], basis: Sequence[int], entering: int, count: int) -> list[fmpq]:
    ray = [fmpq(0)] * (count + 1)
    ray[entering] = fmpq(1)
    for b, row in zip(basis, tableau, strict=True):
        if b >= 0:
            ray[b] = -row[entering]
    return ray[:count]


def _pivot(tableau: list[list[fmpq]], identity: list[list[fmpq]], r: int, column: int) -> None:
    for table in (identity, tableau):  # the tableau last: its column is read on the way
        lead = tableau[r][column]
        own = [x / lead for x in table[r]]
        factors = [row[column] for row in tableau]
        for i, row in enumerate(table):
            if i != r and factors[i] != 0:
                table[i] = [x - factors[i] * y if y != 0 else x for x, y in zip(row, own, strict=True)]
        table[r] = own
