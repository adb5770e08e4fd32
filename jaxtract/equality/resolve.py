"""One case, written out: some units are on or off, and what is left of all others over the inputs and open units."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flint import fmpq

from jaxtract.equality.expressions import (
    CONSTANT,
    Expression,
    combine,
    direction,
    fixed_sign,
    less,
    over_inputs,
    put,
)
from jaxtract.equality.farkas import Constraint

Node = dict[str, Any]
"""{"zero": true}, {"farkas": [[kind, unit, "p/q"], ...]}, {"unit": k, "strict": s, "on": node, "off": node} or
{"same": [k, j, "p/q"], "proof": node, "then": node}.

``strict`` is the side that z = 0 is taken from, "on", "off" or "both".
"""

States = Mapping[int, tuple[bool, bool]]
"""Of every split unit: whether it is on, and whether strictly (z = 0 excluded)."""


class OutOfBudgetError(Exception):
    """More linear programs than allowed."""


@dataclasses.dataclass(frozen=True)
class Resolved:
    """What is left in a case: z and s(z) of every unit that matters, over inputs and open units."""

    z: dict[int, Expression]
    s: dict[int, Expression]
    open_units: list[int]
    targets: list[Expression]


def resolve(
    rows: Mapping[int, Expression],
    relevant: Sequence[int],
    states: States,
    targets: Sequence[Expression],
    inputs: int,
    *,
    free: Sequence[int] = (),
) -> Resolved:
    """Put the states of split units in, and merge the units that are then equal up to scale or side.

    ``free``: units that are not relevant themselves, of which nothing is known but that they are not negative.
    """
    z: dict[int, Expression] = {}
    s = {**over_inputs(inputs), **{k: {k: fmpq(1)} for k in free}}
    first: dict[object, tuple[int, fmpq]] = {}
    open_units: list[int] = []
    for k in relevant:
        z[k] = put(s, rows[k])
        sign = (1 if states[k][0] else -1) if k in states else fixed_sign(z[k])
        key, lead = direction(z[k]) if z[k] else ((), fmpq(1))
        if sign:
            s[k] = z[k] if sign > 0 else {}
            first.setdefault(key, (k, lead))
        elif key in first:
            unit, other = first[key]
            ratio = lead / other
            term = (abs(ratio), s[unit])
            s[k] = combine([term] if ratio > 0 else [term, (fmpq(1), z[k])])
        else:
            first[key] = (k, lead)
            s[k] = {k: fmpq(1)}
            open_units.append(k)
    return Resolved(z, s, open_units, [put(s, target) for target in targets])


def constraints_of(now: Resolved, states: States, open_units: Sequence[int]) -> list[Constraint]:
    """What is known in a case: the sides of split units; s(z) >= 0 and s(z) >= z for the open ones that matter."""
    found = []
    for k, (on, strict) in states.items():
        found.append(Constraint(("side", k), now.z[k] if on else less({}, now.z[k]), strict))
    for k in open_units:
        one = {k: fmpq(1)}
        found.append(Constraint(("relu", k), one))
        found.append(Constraint(("above", k), less(one, now.z[k])))
    return found


def needed_units(rows: Mapping[int, Expression], targets: Sequence[Expression]) -> list[int]:
    """Units that the targets depend on, directly or through other units, ascending."""
    needed: set[int] = set()
    todo = units_in(targets)
    while todo:
        unit = todo.pop()
        needed.add(unit)
        todo |= units_in([rows[unit]]) - needed
    return sorted(needed)


def units_in(expressions: Sequence[Expression]) -> set[int]:
    """Units that the expressions are over."""
    return {key for expression in expressions for key in expression if key > CONSTANT}
