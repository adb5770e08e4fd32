"""Far corners of a cell, by linear programs in float64."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

FAR = 64.0
"""How far to go in a cell without end, in units of 1 + the largest coordinate."""

NEAR_END = (0.6, 0.95)
"""Share of the way through a cell at which f is asked."""


def far_corner(
    walls: np.ndarray, heights: np.ndarray, normal: np.ndarray, most: float, objective: np.ndarray
) -> np.ndarray | None:
    """The step within a hyperplane through a cell along which ``objective`` (inputs,) falls most, shape (inputs,).

    Args:
        walls: normals (walls, inputs) that point into the cell.
        heights: how far inside the starting point is, (walls,), not negative.
        normal: of the hyperplane, (inputs,).
        most: largest coordinate of the step.
        objective: random for any corner.

    Returns:
        The step, or None when the program found none.
    """
    # A height above all that the step can lose is no constraint, and would only spoil the scaling.
    near = heights < most * np.sum(np.abs(walls), axis=1)
    found = linprog(
        objective,
        A_ub=-walls[near],
        b_ub=heights[near],
        A_eq=normal[None, :],
        b_eq=[0.0],
        bounds=(-most, most),
        method="highs",
    )
    return found.x if found.status == 0 else None
