"""Affine expressions in the inputs and the ReLU units of a network, over the rationals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flint import fmpq

CONSTANT = -1
"""Key of the constant term; inputs are 0 .. d - 1, unit k is d + k."""

Expression = Mapping[int, fmpq]
"""Coefficient by key; keys with the coefficient zero are absent, so equal expressions are equal dicts."""


Direction = tuple[tuple[int, fmpq], ...]


def combine(terms: Iterable[tuple[fmpq, Expression]], constant: fmpq | int = 0) -> dict[int, fmpq]:
    """constant + the sum of factor * expression."""
    total: dict[int, fmpq] = {CONSTANT: fmpq(constant)}
    for factor, expression in terms:
        if factor == 0:
            continue
        for key, coefficient in expression.items():
            before = total.get(key)
            total[key] = factor * coefficient if before is None else before + factor * coefficient
    return {key: coefficient for key, coefficient in total.items() if coefficient != 0}


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


def fixed_sign(expression: Expression, inputs: int) -> int:
    """+1 or -1 when no term can be negative or positive (units are never negative), else 0; +1 for zero."""
    if any(0 <= key < inputs for key in expression):
        return 0
    if all(coefficient > 0 for coefficient in expression.values()):
        return 1
    return -1 if all(coefficient < 0 for coefficient in expression.values()) else 0


def value(expression: Expression, known: list[fmpq]) -> fmpq:
    """The expression where inputs and units have the values ``known``, in the order of their keys."""
    total = expression.get(CONSTANT, fmpq(0))
    for key, coefficient in expression.items():
        if key != CONSTANT:
            total += coefficient * known[key]
    return total
