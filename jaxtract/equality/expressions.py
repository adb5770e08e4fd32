"""Affine expressions over the rationals, in the inputs and in neurons or units that are never negative."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from flint import fmpq

from precision.dyadic import floor_log2, power_of_two

CONSTANT = 0
"""Key of the constant term. Input j of d has the key j - d; neurons, or units, have the keys 1, 2, ..."""

Expression = Mapping[int, fmpq]
"""Coefficient by key; keys with the coefficient zero are absent, so equal expressions are equal dicts."""

Direction = tuple[tuple[int, fmpq], ...]


def combine(terms: Iterable[tuple[fmpq, Expression]]) -> dict[int, fmpq]:
    """The sum of factor * expression."""
    total: dict[int, fmpq] = {}
    for factor, expression in terms:
        if factor == 0:
            continue
        for key, coefficient in expression.items():
            before = total.get(key)
            total[key] = factor * coefficient if before is None else before + factor * coefficient
    return {key: coefficient for key, coefficient in total.items() if coefficient != 0}


def less(one: Expression, two: Expression) -> dict[int, fmpq]:
    """one - two."""
    return combine([(fmpq(1), one), (fmpq(-1), two)])


def over_inputs(inputs: int) -> dict[int, Expression]:
    """What the constant and the inputs stand for: themselves."""
    return {key: {key: fmpq(1)} for key in range(-inputs, CONSTANT + 1)}


def put(forms: Mapping[int, Expression], expression: Expression) -> dict[int, fmpq]:
    """The expression with ``forms`` for what it is over."""
    return combine((coefficient, forms[key]) for key, coefficient in expression.items())


def direction(expression: Expression) -> tuple[Direction, fmpq]:
    """(key, lead): the expression is lead times the one that key stands for; opposite ones share the key.

    Raises:
        ValueError: the expression is zero.
    """
    if not expression:
        raise ValueError("the zero expression has no direction")
    ordered = sorted(expression.items())
    lead = ordered[-1][1]
    return tuple((key, coefficient / lead) for key, coefficient in ordered), lead


def fixed_sign(expression: Expression) -> int:
    """+1 or -1 when no term can be negative or positive, else 0; +1 for zero."""
    if any(key < CONSTANT for key in expression):
        return 0
    if all(coefficient > 0 for coefficient in expression.values()):
        return 1
    return -1 if all(coefficient < 0 for coefficient in expression.values()) else 0


def value(expression: Expression, known: Mapping[int, fmpq]) -> fmpq:
    """The expression where its keys have the values ``known``."""
    total = fmpq(0)
    for key, coefficient in expression.items():
        total += coefficient * known[key]
    return total


def unit_sizes(rows: Mapping[int, Expression]) -> dict[int, fmpq]:
    """Powers of two: with every unit in units of its own no coefficient exceeds 2, and one of each row reaches 1."""
    sizes: dict[int, fmpq] = {}
    for k in sorted(rows):
        largest = max((abs(x * sizes.get(key, fmpq(1))) for key, x in rows[k].items()), default=fmpq(1))
        sizes[k] = power_of_two(floor_log2(largest))
    return sizes


def resized(rows: Mapping[int, Expression], sizes: Mapping[int, fmpq]) -> dict[int, dict[int, fmpq]]:
    """Rows of units, every unit in units of its own."""
    one = fmpq(1)
    return {k: {key: x * sizes.get(key, one) / sizes[k] for key, x in row.items()} for k, row in rows.items()}


def float64_rows(rows: Mapping[int, Expression]) -> dict[int, dict[int, float]]:
    """Rows of units in float64, every unit in units of its own power of two, so that no coefficient exceeds 2."""
    return in_float64(resized(rows, unit_sizes(rows)))


def in_float64(rows: Mapping[int, Expression]) -> dict[int, dict[int, float]]:
    return {k: {key: float(x) for key, x in row.items()} for k, row in rows.items()}


def table64(rows: Mapping[int, Mapping[int, float]], units: Sequence[int], column: Mapping[int, int]) -> np.ndarray:
    """Rows of some units as a matrix, (units, variables); ``column`` is the place of every variable."""
    table = np.zeros((len(units), len(column)))
    for i, k in enumerate(units):
        for key, x in rows[k].items():
            table[i, column[key]] = x
    return table


def positive_part(row: Expression) -> Expression | None:
    """What s(z) never exceeds: z without the terms that are never positive; None where inputs are read.

    Of all affine bounds over units that are not negative it is the least (Anderson, Huchette, Ma, Tjandraatmadja,
    Vielma 2020, "Strong mixed-integer programming formulations for trained neural networks", on the orthant).
    """
    return None if row and min(row) < CONSTANT else {key: x for key, x in row.items() if x > 0}
