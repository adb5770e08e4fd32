"""Linear equations between balls: ranks by pivots that are certainly not zero, solutions with proven radii.

Elimination finds which equations and unknowns carry the system; the solution is then computed again from the
original rows with FLINT's preconditioned solve, whose radii do not grow from step to step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flint import arb, arb_mat

from precision.context import Number

UNDECIDED_BITS = 8
"""A remainder known to fewer bits than this, relative to its row, is no evidence that it is zero."""


@dataclasses.dataclass(frozen=True)
class ReducedRows:
    """A system in reduced form.

    Attributes:
        rows: one per pivot, all columns; 1 in its own pivot column and 0 in those of the others.
        pivots: pivot column of every row, in no order.
        chosen: indices of the original rows that carry the system.
        rest: the remaining equations with their unknowns eliminated: the columns behind the unknowns.
        decided: whether what was taken for zero is known well enough to be told from anything else.
    """

    rows: list[list[arb]]
    pivots: list[int]
    chosen: list[int]
    rest: list[list[arb]]
    decided: bool

    @property
    def rank(self) -> int:
        return len(self.pivots)


def has_balls(rows: Sequence[Sequence[Number]]) -> bool:
    """Whether any entry is a ball."""
    return any(isinstance(x, arb) for row in rows for x in row)


def reduce_rows(rows: Sequence[Sequence[Number]], unknowns: int) -> ReducedRows:
    """Reduced form of equations (coefficients of the unknowns, then any number of right-hand sides)."""
    if not rows:
        return ReducedRows([], [], [], [], True)
    height, width = len(rows), len(rows[0])
    scaled = [_scaled(row, unknowns) for row in rows]
    work = arb_mat(height, width, [x for row in scaled for x in row])
    taken: list[int] = []
    pivots: list[int] = []
    while len(pivots) < min(height, unknowns):
        place = _best(work, taken, pivots, unknowns)
        if place is None:
            break
        i, j = place
        work = _eliminated(work, i, j)
        taken.append(i)
        pivots.append(j)
    left = [i for i in range(height) if i not in set(taken)]
    entries = work.tolist()
    limit = arb(2) ** -UNDECIDED_BITS
    decided = all(abs(entries[i][j]) < limit for i in left for j in range(unknowns))
    solved = _solved_again(scaled, taken, pivots) or [entries[i] for i in taken]
    return ReducedRows(solved, pivots, taken, [entries[i][unknowns:] for i in left], decided)


def _scaled(row: Sequence[Number], unknowns: int) -> list[arb]:
    """Divided by the middle of the coefficient that is largest, so that radii of rows can be compared."""
    balls = [arb(x) for x in row]
    sizes = [abs(x) for x in balls[:unknowns] if x != 0]
    if not sizes:
        return balls
    size = max(sizes).mid()
    return [x / size for x in balls]


def _best(work: arb_mat, taken: list[int], pivots: list[int], unknowns: int) -> tuple[int, int] | None:
    """The largest entry that is certainly not zero, among rows and columns that are free."""
    rows, columns = set(taken), set(pivots)
    best, place = None, None
    for i, row in enumerate(work.tolist()):
        if i in rows:
            continue
        for j in range(unknowns):
            x = row[j]
            if j not in columns and x != 0:
                size = x.abs_lower()
                if best is None or size > best:
                    best, place = size, (i, j)
    return place


def _eliminated(work: arb_mat, i: int, j: int) -> arb_mat:
    """Row i divided by its entry j, which vanishes from all other rows."""
    height, width = work.nrows(), work.ncols()
    table = work.tolist()
    pivot = [x / table[i][j] for x in table[i]]
    pivot[j] = arb(1)
    column = [arb(0) if k == i else table[k][j] for k in range(height)]
    reduced = work - arb_mat(height, 1, column) * arb_mat(1, width, pivot)
    for k in range(height):
        reduced[k, j] = arb(0)
    for k in range(width):
        reduced[i, k] = pivot[k]
    return reduced


def _solved_again(rows: list[list[arb]], taken: list[int], pivots: list[int]) -> list[list[arb]] | None:
    """The pivot rows from the original equations; None where the block cannot be solved in one piece."""
    if not taken:
        return []
    width = len(rows[0])
    others = [k for k in range(width) if k not in set(pivots)]
    if not others:
        return None
    size = len(taken)
    block = arb_mat(size, size, [rows[i][j] for i in taken for j in pivots])
    right = arb_mat(size, len(others), [rows[i][k] for i in taken for k in others])
    try:
        solution = block.solve(right, algorithm="precond").tolist()
    except ZeroDivisionError:
        return None
    found = []
    for pivot, values in zip(pivots, solution, strict=True):
        row = [arb(0)] * width
        row[pivot] = arb(1)
        for k, value in zip(others, values, strict=True):
            row[k] = value
        found.append(row)
    return found
