"""Linear least squares, and how well their equations determine the unknowns."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import qr, solve_triangular

from jaxtract.polish.chosen_inputs import MOST_PARAMETERS

LEAST_SHARE = 1e-13
"""There corrections along what the residuals do not show are kept small by rows of this size."""

WEAKEST = 1e-10
"""Corrections that the residuals show this much more weakly than others are not made."""


@dataclasses.dataclass(frozen=True)
class Determined:
    """How well residuals show parameters: R^-1, with R^T R the normal equations, in the directions that they show.

    Attributes:
        inverse: (parameters, directions); rows of parameters that they do not show are zero.
        seen: which parameters (booleans) they show.
        free: (parameters, others), directions along which they do not change, one for each parameter not shown.
    """

    inverse: np.ndarray
    seen: np.ndarray
    free: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of every parameter for residuals of size one, infinite where none shows it."""
        return np.where(self.seen, np.linalg.norm(self.inverse, axis=1), np.inf)

    def foreseen(self, rows: np.ndarray) -> np.ndarray:
        """What errors of the parameters then do to further residuals, from their rows of the Jacobian."""
        return np.linalg.norm(rows @ self.inverse, axis=1)


def least_squares(matrix: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, Determined]:
    """(solution, how well it is known); columns are scaled to one size."""
    sizes = np.linalg.norm(matrix, axis=0)
    seen = sizes > 0
    step, unknowns = np.zeros(matrix.shape[1]), matrix.shape[1]
    if not seen.any():
        return step, Determined(np.empty((unknowns, 0)), seen, np.eye(unknowns))
    free = np.eye(unknowns)
    if unknowns > MOST_PARAMETERS:
        step[seen], inverse = _least_squares_of_many(matrix[:, seen], sizes[seen], right)
        places, sizes = np.flatnonzero(seen), sizes[seen]
    else:
        q, r, order = map(np.asarray, qr(matrix[:, seen] / sizes[seen], mode="economic", pivoting=True))
        diagonal = np.abs(np.diag(r))
        strong = int(np.sum(diagonal > WEAKEST * diagonal[0]))
        inverse = solve_triangular(r[:strong, :strong], np.eye(strong))
        places, weak = np.split(np.flatnonzero(seen)[order], [strong])
        # What one of these is changed by others make up for.
        free[np.ix_(places, weak)] = -(inverse @ r[:strong, strong:]) / sizes[places, None] * sizes[weak]
        sizes = sizes[places]
        step[places] = inverse @ (q[:, :strong].T @ right) / sizes
    shown = np.isin(np.arange(unknowns), places)
    known = Determined(np.zeros((unknowns, inverse.shape[1])), shown, free[:, ~shown])
    known.inverse[places] = inverse / sizes[:, None]
    return step, known


def _least_squares_of_many(matrix: np.ndarray, sizes: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(solution, R^-1 of the scaled columns) without pivots, in blocks: minutes become seconds. All are shown."""
    count = len(sizes)
    stacked = np.zeros((len(matrix) + count, count + 1))
    stacked[: len(matrix), :count] = matrix / sizes
    stacked[: len(matrix), count] = right
    stacked[len(matrix) + np.arange(count), np.arange(count)] = LEAST_SHARE
    triangle = np.asarray(qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0])
    whole = triangle[:count]
    inverse = solve_triangular(whole[:, :count], np.eye(count))
    return inverse @ whole[:, count] / sizes, inverse
