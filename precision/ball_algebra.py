"""Linear equations between balls: ranks by pivots that are certainly not zero, solutions with proven radii.

Elimination finds which equations and unknowns carry the system, in an order that is planned in float64 as far as that
tells pivots from rounding. The solution, where it is asked for, is then computed again from the original rows with
FLINT's preconditioned solve, whose radii do not grow from step to step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from flint import arb, arb_mat

from precision.context import Number

UNDECIDED_BITS = 8
"""A remainder known to fewer bits than this, relative to its row, is no evidence that it is zero."""

PLANNED_PIVOT = 2.0**-36
"""Pivots down to this share of the largest entry are chosen in float64, whose rounding is far below."""

WELL_CONDITIONED = 2.0**-30
"""Singular values above this share of the norm are not zero for certain: rounding to float64 moves them by less."""


@dataclasses.dataclass(frozen=True)
class ReducedRows:
    """A system in reduced form.

    Attributes:
        pivots: the columns of the unknowns that are expressed by the others, in no order.
        chosen: indices of the original rows that carry the system.
        rest: the remaining equations with their unknowns eliminated: the columns behind the unknowns.
        decided: whether what was taken for zero is known well enough to be told from anything else.
        carrying: the chosen rows themselves, in the order of the pivots.
    """

    pivots: list[int]
    chosen: list[int]
    rest: list[list[arb]]
    decided: bool
    carrying: list[list[arb]]

    @property
    def rank(self) -> int:
        return len(self.pivots)

    @functools.cached_property
    def rows(self) -> list[list[arb]]:
        """One per pivot, all columns; 1 in its own pivot column and 0 in those of the others."""
        return _solved(self.carrying, self.pivots) or _eliminated(self.carrying, self.pivots)


def has_balls(rows: Sequence[Sequence[Number]]) -> bool:
    """Whether any entry is a ball."""
    return any(isinstance(x, arb) for row in rows for x in row)


def reduce_rows(rows: Sequence[Sequence[Number]], unknowns: int) -> ReducedRows:
    """Reduced form of equations (coefficients of the unknowns, then any number of right-hand sides)."""
    if not rows:
        return ReducedRows([], [], [], True, [])
    height, width = len(rows), len(rows[0])
    scaled = [_scaled(row, unknowns) for row in rows]
    work = arb_mat(height, width, [x for row in scaled for x in row])
    planned = _planned(scaled, unknowns)
    taken: list[int] = []
    pivots: list[int] = []
    while len(pivots) < min(height, unknowns):
        place = next(planned, None)
        if place is None or not work[place[0], place[1]] != 0:  # noqa: SIM202 (a ball around zero is neither)
            planned = iter(())
            place = _best(work, taken, pivots, unknowns)
        if place is None:
            break
        taken.append(place[0])
        pivots.append(place[1])
        work = _without(work, taken, *place)
    left = [i for i in range(height) if i not in set(taken)]
    free = [j for j in range(unknowns) if j not in set(pivots)]
    limit = arb(2) ** -UNDECIDED_BITS
    decided = all(abs(work[i, j]) < limit for i in left for j in free)
    rest = [[work[i, j] for j in range(unknowns, width)] for i in left]
    return ReducedRows(pivots, taken, rest, decided, [scaled[i] for i in taken])


def ball_rank(rows: Sequence[Sequence[Number]]) -> int:
    """The rank that is certain; a full one, well conditioned, is told in float64 (Weyl's inequality)."""
    if not rows or not len(rows[0]):
        return 0
    scaled = [_scaled(row, len(row)) for row in rows]
    middles = np.array([[float(x.mid()) for x in row] for row in scaled])
    radii = np.array([[float(x.rad()) for x in row] for row in scaled])
    if np.all(np.isfinite(middles)) and np.all(np.isfinite(radii)):
        smallest = np.linalg.svd(middles, compute_uv=False)[-1]
        if smallest > np.linalg.norm(radii) + WELL_CONDITIONED * np.linalg.norm(middles):
            return min(middles.shape)
    return reduce_rows(rows, len(rows[0])).rank


def _planned(rows: list[list[arb]], unknowns: int) -> Iterator[tuple[int, int]]:
    """Pivots (row, column) by elimination of the middles in float64, the largest first, down to rounding."""
    work = np.array([[float(x.mid()) for x in row[:unknowns]] for row in rows]).reshape(len(rows), unknowns)
    if not work.size or not np.all(np.isfinite(work)):
        return
    limit = PLANNED_PIVOT * np.max(np.abs(work))
    while True:
        i, j = np.unravel_index(np.argmax(np.abs(work)), work.shape)
        if not abs(work[i, j]) > limit:
            return
        yield int(i), int(j)
        work = work - np.outer(work[:, j] / work[i, j], work[i])
        work[i, :], work[:, j] = 0.0, 0.0


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


def _without(work: arb_mat, taken: list[int], i: int, j: int) -> arb_mat:
    """Unknown j eliminated by row i from all rows that are not taken."""
    height, width = work.nrows(), work.ncols()
    done, pivot = set(taken), work[i, j]
    factors = [arb(0) if k in done else work[k, j] / pivot for k in range(height)]
    row = [arb(0) if k == j else work[i, k] for k in range(width)]
    return work - arb_mat(height, 1, factors) * arb_mat(1, width, row)


def _eliminated(rows: list[list[arb]], pivots: list[int]) -> list[list[arb]]:
    """Every row divided by its own pivot, and without the pivots of the others, step by step."""
    found = [list(row) for row in rows]
    for i, j in enumerate(pivots):
        own = [arb(1) if k == j else x / found[i][j] for k, x in enumerate(found[i])]
        found = [
            own if k == i else [arb(0) if c == j else x - row[j] * own[c] for c, x in enumerate(row)]
            for k, row in enumerate(found)
        ]
    return found


def _solved(rows: list[list[arb]], pivots: list[int]) -> list[list[arb]] | None:
    """The pivot rows from the original equations; None where the block cannot be solved in one piece."""
    if not pivots:
        return []
    width = len(rows[0])
    others = [k for k in range(width) if k not in set(pivots)]
    if not others:
        return None
    size = len(pivots)
    block = arb_mat(size, size, [row[j] for row in rows for j in pivots])
    right = arb_mat(size, len(others), [row[k] for row in rows for k in others])
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
