"""Short Farkas multipliers for a case: what each unit passes on to its row is chosen, the last unit's first.

Of all multipliers float64 finds those that leave most room. Rounded to few bits they need no correction: what a unit is
read with is then known exactly, and what its s(z) >= 0, or its z >= 0 where it is on, has to make up for is the rest;
where it is read with a positive weight, s(z) is replaced by what it is at most. (Without room to round, ``farkas``
solves for exact multipliers, which are as long as the system is large.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flint import fmpq
from scipy.optimize import linprog

from jaxtract.equality.expressions import CONSTANT, Expression, table64
from jaxtract.equality.resolve import States
from precision.dyadic import floor_log2, floor_to_grid, from_float, round_to_grid

LEAST_ROOM = 2.0**-24
"""Room below which nothing is rounded."""

SPARE_BITS = 8
"""Multipliers have so many bits more than the room asks for."""

LARGEST = 2.0**20

Multiplier = tuple[tuple[str, int], fmpq]


def passed_backward(
    rows: Mapping[int, Expression],
    float_rows: Mapping[int, Mapping[int, float]],
    exact: Sequence[int],
    unit: int,
    states: States,
) -> list[Multiplier] | None:
    """Multipliers that prove a case empty, by the names of their constraints; None where there is no room to round.

    Args:
        rows: z of every unit, over what it reads; coefficients of about one.
        float_rows: the same in float64.
        exact: units of which it is known that s(z) is between z and its positive part, or their states; all others that
            are read are not negative.
        unit: the one that is asked for, not among them.
        states: of it and of some of the others.
    """
    order = sorted(exact)
    side = fmpq(1 if states[unit][0] else -1)
    guess = _with_most_room(float_rows, order, unit, states)
    if guess is None:
        return None
    passed, lifted, bits = guess
    found: list[Multiplier] = [(("side", unit), fmpq(1))]
    left = {key: side * x for key, x in rows[unit].items()}
    for i, k in reversed(list(enumerate(order))):
        own = left.pop(k, fmpq(0))
        share, lift = (round_to_grid(from_float(float(x)), bits) for x in (passed[i], lifted[i]))
        if k not in states:
            # (own - share - lift) s(z_k) is left, which s(z_k) >= 0 makes up for: less is passed on, or more lifted.
            share = min(max(share, -floor_to_grid(lift - own, bits)), fmpq(0))
            lift = max(lift, -floor_to_grid(share - own, bits), fmpq(0))
            found += [(("above", k), -share), (("below", k), lift), (("relu", k), share + lift - own)]
        elif states[k][0]:
            share, lift = max(share, -floor_to_grid(-own, bits)), fmpq(0)
            found.append((("side", k), share - own))
        else:
            share, lift = min(share, fmpq(0)), fmpq(0)
            found.append((("side", k), -share))
        for key, x in rows[k].items() if share or lift else ():
            left[key] = left.get(key, fmpq(0)) + (share + lift if x > 0 else share) * x
    constant = left.pop(CONSTANT, fmpq(0))
    found += [(("relu", k), -x) for k, x in left.items()]
    if constant > 0 or any(x < 0 for _, x in found):
        return None
    return [(name, x) for name, x in found if x != 0]


def _with_most_room(
    rows: Mapping[int, Mapping[int, float]], order: Sequence[int], unit: int, states: States
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """What every unit passes on to its row and to the row's positive part, (units,) each, and the bits to round it to.

    The program: all that is left of variables that are not negative is as far below zero as can be.
    """
    variables = sorted({key for k in (*order, unit) for key in rows[k]} | {*order, CONSTANT})
    if variables[0] < CONSTANT:
        return None  # nothing makes up for what is left of an input
    column, count = {key: i for i, key in enumerate(variables)}, len(order)
    table = table64(rows, [*order, unit], column)
    goal = table[-1] if states[unit][0] else -table[-1]
    own = table64({k: {k: 1.0} for k in order}, order, column)
    split = np.array([k in states for k in order], dtype=bool)
    on = np.array([k in states and states[k][0] for k in order], dtype=bool)
    room = np.array([[float(v not in states) for v in variables]])
    passed_on = np.vstack([table[:-1] - own, np.maximum(table[:-1], 0.0) - own, room]).T
    lower = np.concatenate([np.full(count, -LARGEST), np.zeros(count + 1)])
    upper = np.concatenate([np.where(on, LARGEST, 0.0), np.where(split, 0.0, LARGEST), [1.0]])
    kept = [column[v] for v in variables if v not in states or states[v][0]]
    result = linprog(
        np.eye(1, 2 * count + 1, 2 * count)[0] * -1.0,
        A_ub=passed_on[kept],
        b_ub=-goal[kept],
        bounds=np.stack([lower, upper], axis=1),
        method="highs",
    )
    if result.status != 0 or result.x[-1] < LEAST_ROOM:
        return None
    return result.x[:count], result.x[count:-1], SPARE_BITS - floor_log2(from_float(float(result.x[-1])))
