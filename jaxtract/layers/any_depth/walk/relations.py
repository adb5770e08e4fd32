"""Linear relations among rows of rationals or of balls, as far as they are decided.

Between balls a sum that may be zero is taken for zero where its ball is much smaller than what it is summed from; where
it is not, nothing is concluded: ``UndecidedError``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb

from jaxtract.layers.any_depth.walk.row_system import expressed_in as expressed_exactly
from jaxtract.layers.any_depth.walk.row_system import independent as independent_exactly
from precision.ball_algebra import ReducedRows, has_balls, reduce_rows
from precision.context import Number
from precision.exact import ExactContext

EXACT = ExactContext()

DECIDED_RADIUS = 0.25
"""A ball that is to be 0 or 1 must be smaller than this."""


class UndecidedError(Exception):
    """Balls are too wide to tell a rank, or one number from another."""


def rank(matrix: np.ndarray) -> int:
    """Of a (rows, columns) array. Raises UndecidedError."""
    rows = matrix.tolist()
    return _decided(rows).rank if has_balls(rows) else EXACT.rank(matrix)


def nullspace(matrix: np.ndarray) -> np.ndarray:
    """A basis of {x : matrix @ x = 0}, (columns, dimension). Raises UndecidedError."""
    rows, columns = matrix.tolist(), matrix.shape[1]
    if not has_balls(rows):
        return EXACT.nullspace(matrix)
    reduced = _decided(rows)
    free = [j for j in range(columns) if j not in set(reduced.pivots)]
    basis = np.full((columns, len(free)), arb(0), dtype=object)
    for k, j in enumerate(free):
        basis[j, k] = arb(1)
        for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
            basis[pivot, k] = -row[j]
    return basis


def independent(rows: Sequence[Sequence[Number]]) -> list[int]:
    """Indices of independent rows that span all: the first such, one after the other. Raises UndecidedError."""
    if not has_balls(rows):
        return independent_exactly(rows)
    chosen: list[int] = []
    for k in range(len(rows)):
        if _decided([rows[i] for i in [*chosen, k]]).rank > len(chosen):
            chosen.append(k)
    return chosen


def expressed_in(basis: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The factors with vectors = factors @ basis, independent vectors, if there are such; (vectors, basis).

    Raises UndecidedError.
    """
    rows = [[*a, *b] for a, b in zip(basis.T.tolist(), vectors.T.tolist(), strict=True)]
    if not has_balls(rows):
        return expressed_exactly(basis, vectors)
    reduced = reduce_rows(rows, len(basis))
    if reduced.rank < len(basis):
        raise UndecidedError
    found = np.empty((len(vectors), len(basis)), dtype=object)
    for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
        found[:, pivot] = row[len(basis) :]
    return found


def zero_or_one(value: Number) -> int | None:
    """0 or 1; None when the value is neither. Raises UndecidedError where it may be either, or anything."""
    if isinstance(value, arb) and not value.rad() < DECIDED_RADIUS:
        raise UndecidedError
    return next((number for number in (0, 1) if not value - number != 0), None)  # noqa: SIM202 (balls around zero)


def _decided(rows: Sequence[Sequence[Number]]) -> ReducedRows:
    reduced = reduce_rows(rows, len(rows[0]))
    if not reduced.decided:
        raise UndecidedError
    return reduced
