"""Linear equations of which some are grossly wrong: the solution that most of them agree on."""

from __future__ import annotations

import numpy as np

RESIDUAL_SHARE, REWEIGHTED = 1e-6, 40
"""Least absolute residuals by reweighting: where weights stop to grow, against the largest residual, and turns."""

FITTING_SHARE = 1e-4
"""What such a residual may be at most before those that are larger are left out."""

LEAST_AGREEING = 4
"""Equations beyond the unknowns that a solution of least absolute residuals must satisfy."""


def least_absolute(matrix: np.ndarray, right: np.ndarray) -> np.ndarray | None:
    """The solution that most of the equations agree on, some of which are grossly wrong; None when none is.

    Least absolute residuals by least squares that are weighted again and again.
    """
    if matrix.shape[1] == 0 or len(matrix) < matrix.shape[1] + LEAST_AGREEING:
        return None
    solution = np.linalg.lstsq(matrix, right)[0]
    for _ in range(REWEIGHTED):
        rest = np.abs(right - matrix @ solution)
        weights = 1 / np.sqrt(np.maximum(rest, RESIDUAL_SHARE * np.max(np.abs(right))))
        solution = np.linalg.lstsq(matrix * weights[:, None], right * weights)[0]
    size = np.max(np.abs(right))
    fits = np.abs(right - matrix @ solution) <= FITTING_SHARE * size
    if fits.sum() < matrix.shape[1] + LEAST_AGREEING:
        return None
    # The others have still pulled at it a little.
    solution = np.linalg.lstsq(matrix[fits], right[fits])[0]
    fits = np.abs(right - matrix @ solution) <= RESIDUAL_SHARE * size
    return solution if fits.sum() >= matrix.shape[1] + LEAST_AGREEING else None
