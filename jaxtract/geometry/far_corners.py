"""Far corners of a cell, by linear programs in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

from jaxtract.geometry.known_layers import Pattern

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


@dataclasses.dataclass(frozen=True)
class Cell:
    """A hyperplane through a cell, seen from a point on it: as the arguments of ``far_corner``."""

    walls: np.ndarray
    heights: np.ndarray
    normal: np.ndarray
    most: float

    @classmethod
    def around(
        cls, point: np.ndarray, normal: np.ndarray, forms: Sequence[tuple[np.ndarray, np.ndarray]], pattern: Pattern
    ) -> Cell:
        """The cell of ``pattern`` that ``point`` (inputs,) is in; ``forms`` are its walls, as of ``walls64``."""
        walls = [np.where(side, 1.0, -1.0)[:, None] * matrix for (matrix, _), side in zip(forms, pattern, strict=True)]
        heights = [np.abs(matrix @ point + offset) for matrix, offset in forms]
        return cls(np.concatenate(walls), np.concatenate(heights), normal, FAR * (1 + float(np.max(np.abs(point)))))

    def corner(self, objective: np.ndarray) -> np.ndarray | None:
        """The step along the hyperplane to the corner where ``objective`` (inputs,) is least; None without one."""
        return far_corner(self.walls, self.heights, self.normal, self.most, objective)

    def random_corner(self, rng: np.random.Generator) -> np.ndarray | None:
        """The step to the corner in a random direction."""
        return self.corner(rng.standard_normal(len(self.normal)))
