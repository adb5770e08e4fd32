"""Is there a point where affine expressions are all non-negative? Linear programs, answered exactly.

A float64 program (HiGHS) proposes; nothing rests on it, and where it is no help an exact one is solved. "No" is
believed only with multipliers over the rationals (Farkas 1902, Motzkin 1936): a non-negative combination of the
expressions that is a constant below zero, or zero with weight on one that must be positive. "Perhaps" comes with the
point that the program found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpq_mat
from scipy.optimize import linprog

from jaxtract.equality.exact_program import largest_margin
from jaxtract.equality.expressions import CONSTANT, Expression, combine

POSITIVE = 1e-9
"""Multipliers below this are taken for zero; what is left is solved for exactly and checked."""

SHARE_BITS = 40

NEARLY_OPPOSITE = -1 + 1e-9
"""Cosine of rows that float64 programs cannot tell from opposite ones reliably."""


@dataclasses.dataclass(frozen=True)
class Constraint:
    """``expression`` >= 0, or > 0 if ``strict``; ``name`` is what a certificate calls it."""

    name: tuple[str, int]
    expression: Expression
    strict: bool = False


@dataclasses.dataclass(frozen=True)
class Answer:
    """``multipliers`` prove that no point exists; else ``point`` gives a value to every key.

    The values are rationals where the point was found exactly.
    """

    multipliers: tuple[tuple[tuple[str, int], fmpq], ...] | None
    point: dict[int, fmpq] | dict[int, float] | None


@dataclasses.dataclass(frozen=True)
class _Row:
    """A non-negative combination of constraints: ``parts`` are (constraint, multiplier)."""

    expression: Expression
    strict: bool
    parts: tuple[tuple[int, fmpq], ...]


def search_point(constraints: Sequence[Constraint]) -> Answer:
    """A point where all constraints hold with the largest margin (of rows scaled to 1), or a proof of none."""
    keys = sorted({key for c in constraints for key in c.expression if key != CONSTANT})
    if not constraints:
        return Answer(None, {})
    rows = [_Row(c.expression, c.strict, ((i, fmpq(1)),)) for i, c in enumerate(constraints)]
    rows += _sums(rows, _floats(rows, keys))
    table = _floats(rows, keys)
    strict = np.array([row.strict for row in rows])
    for margin in (strict, np.ones(len(rows), dtype=bool)):
        found = _solve(table, margin)
        if found is None:
            continue  # no point even without the margins: the second program says which rows exclude it
        point, multipliers, best = found
        if best > POSITIVE:
            return Answer(None, dict(zip(keys, point, strict=True)))
        proof = _proof(constraints, rows, multipliers)
        return Answer(proof, None) if proof is not None else exact_answer(constraints)
    return exact_answer(constraints)


def exact_answer(constraints: Sequence[Constraint]) -> Answer:
    """The same over the rationals throughout: never in doubt, and slower."""
    keys = sorted({key for c in constraints for key in c.expression if key != CONSTANT})
    zero = fmpq(0)
    rows = [[c.expression.get(key, zero) for key in keys] for c in constraints]
    constants = [c.expression.get(CONSTANT, zero) for c in constraints]
    solved = largest_margin(rows, constants, [c.strict for c in constraints])
    if solved.best is not None and solved.best > 0:
        return Answer(None, dict(zip(keys, solved.point, strict=True)))
    assert refutes(constraints, solved.multipliers)
    pairs = zip(constraints, solved.multipliers, strict=True)
    return Answer(tuple((c.name, m) for c, m in pairs if m != 0), None)


def refutes(constraints: Sequence[Constraint], multipliers: Sequence[fmpq]) -> bool:
    """Do these multipliers prove, over the rationals, that no point satisfies the constraints?"""
    if any(m < 0 for m in multipliers):
        return False
    total = combine((m, c.expression) for m, c in zip(multipliers, constraints, strict=True))
    if any(key != CONSTANT for key in total):
        return False
    constant = total.get(CONSTANT, fmpq(0))
    return constant < 0 or (
        constant == 0 and any(c.strict and m > 0 for m, c in zip(multipliers, constraints, strict=True))
    )


def _floats(rows: Sequence[_Row], keys: Sequence[int]) -> np.ndarray:
    """Coefficients and constant of every row in float64, each row scaled by its largest entry."""
    column = {key: i for i, key in enumerate([*keys, CONSTANT])}
    table = np.zeros((len(rows), len(column)))
    for i, row in enumerate(rows):
        largest = max((abs(x) for x in row.expression.values()), default=fmpq(1))
        for key, x in row.expression.items():
            table[i, column[key]] = float(x / largest)
    return table


def _sums(rows: Sequence[_Row], table: np.ndarray) -> list[_Row]:
    """The exact sums of rows that are nearly opposite: what is left of them is below the sight of float64."""
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    unit = table / np.where(norms > 0, norms, 1.0)
    found = []
    for i, j in np.argwhere(np.triu(unit @ unit.T) < NEARLY_OPPOSITE):
        one, two = rows[i].expression, rows[j].expression
        key = max(one, key=lambda k: abs(one[k]))
        if key in two:
            factor = -one[key] / two[key]
            total = combine([(fmpq(1), one), (factor, two)])
            found.append(_Row(total, rows[i].strict or rows[j].strict, ((int(i), fmpq(1)), (int(j), factor))))
    return found


def _solve(table: np.ndarray, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """max t <= 1 with row >= t (rows in ``margin``) or row >= 0: point, multipliers, t; None if infeasible."""
    count, variables = table.shape[0], table.shape[1] - 1
    upper = np.concatenate([-table[:, :-1], margin[:, None].astype(float)], axis=1)
    cost = np.concatenate([np.zeros(variables), [-1.0]])
    bounds = [(None, None)] * variables + [(None, 1.0)]
    result = linprog(cost, A_ub=upper, b_ub=table[:, -1], bounds=bounds, method="highs")
    if result.status != 0 or count != len(result.ineqlin.marginals):
        return None
    return result.x[:-1], np.maximum(-result.ineqlin.marginals, 0.0), float(result.x[-1])


def _proof(
    constraints: Sequence[Constraint], rows: Sequence[_Row], estimate: np.ndarray
) -> tuple[tuple[tuple[str, int], fmpq], ...] | None:
    """Exact multipliers near the estimated ones, if they prove anything."""
    chosen = [int(i) for i in np.flatnonzero(estimate > POSITIVE)]
    support = [rows[i] for i in chosen]
    if not support:
        return None
    sizes = [max((abs(x) for x in row.expression.values()), default=fmpq(1)) for row in support]
    guess = [fmpq(round(estimate[i] * 2**SHARE_BITS), 1 << SHARE_BITS) / s for i, s in zip(chosen, sizes, strict=True)]
    for constant in (True, False):  # a combination that is zero, else one that is below zero
        balanced = _balanced(support, guess, constant=constant)
        if balanced is None:
            continue
        multipliers = [fmpq(0)] * len(constraints)
        for row, share in zip(support, balanced, strict=True):
            for i, factor in row.parts:
                multipliers[i] += share * factor
        if refutes(constraints, multipliers):
            return tuple((c.name, m) for c, m in zip(constraints, multipliers, strict=True) if m != 0)
    return None


def _balanced(support: Sequence[_Row], guess: Sequence[fmpq], *, constant: bool) -> list[fmpq] | None:
    """Multipliers near ``guess`` under which every coefficient (and the constant, if asked) cancels."""
    keys = sorted({key for c in support for key in c.expression if constant or key != CONSTANT})
    rows = [[c.expression.get(key, fmpq(0)) for c in support] for key in keys]
    if not rows:
        return list(guess)
    reduced, rank = fmpq_mat(len(rows), len(support), [x for row in rows for x in row]).rref()
    if rank == len(support):
        return None
    table = reduced.tolist()[:rank]
    pivots = [next(j for j, x in enumerate(row) if x != 0) for row in table]
    solution = list(guess)
    free = [j for j in range(len(support)) if j not in set(pivots)]
    for row, pivot in zip(table, pivots, strict=True):
        solution[pivot] = -sum((row[j] * guess[j] for j in free), fmpq(0))
    return solution
