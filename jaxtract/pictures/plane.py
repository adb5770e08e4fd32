"""A square window in a plane of input space."""

from __future__ import annotations

import dataclasses

import numpy as np

WINDOW = 1.5
"""Half of the window's side, in units of the largest distance of the three inputs from their mean."""

LEAST_ANGLE = 1e-9
"""Three inputs whose triangle is flatter than this (its smaller extent over its larger one) span no plane."""


@dataclasses.dataclass(frozen=True)
class Window:
    """The inputs centre + s axes[0] + t axes[1] with |s| <= reach and |t| <= reach.

    Attributes:
        centre: (inputs,).
        axes: (2, inputs), orthonormal.
        reach: half of the side.
        marks: (points, 2) places (s, t) that the plane was laid through.
    """

    centre: np.ndarray
    axes: np.ndarray
    reach: float
    marks: np.ndarray

    @property
    def inputs(self) -> int:
        return len(self.centre)

    def corners(self) -> np.ndarray:
        """(4, 2) places (s, t) of the corners, counter-clockwise."""
        return self.reach * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])

    def coordinates(self) -> np.ndarray:
        """The inputs as affine forms (1, s, t) of the plane, (inputs, 3)."""
        return np.stack([self.centre, *self.axes], axis=1)

    def embed(self, places: np.ndarray) -> np.ndarray:
        """Inputs (points, inputs) at places (points, 2)."""
        return self.centre + places @ self.axes


def random_window(inputs: int, seed: int, *, scale: float = 1.0) -> Window:
    """A window in the plane through three inputs drawn from the standard Gaussian; of two inputs the plane itself.

    Args:
        inputs: dimension of the input space.
        seed: of the three inputs.
        scale: of the window; at 1 its side is three times the largest distance of an input from their mean.

    Raises:
        ValueError: a single input has no plane, or a scale that is not positive.
    """
    if inputs == 2:
        return Window(np.zeros(2), np.eye(2), 2 * WINDOW * _positive(scale), np.empty((0, 2)))
    return window_through(np.random.default_rng(seed).standard_normal((3, inputs)), scale=scale)


def window_through(points: np.ndarray, *, scale: float = 1.0) -> Window:
    """A window in the plane through three inputs, (3, inputs), about their mean.

    Raises:
        ValueError: not three inputs of two or more coordinates, or they lie on one line.
    """
    if points.ndim != 2 or points.shape[0] != 3 or points.shape[1] < 2:
        raise ValueError(
            f"a plane goes through 3 inputs of 2 or more coordinates; got an array of shape {points.shape}"
        )
    if not np.all(np.isfinite(points)):
        raise ValueError("an input that the plane should go through holds NaN or infinity")
    centre = points.mean(axis=0)
    _, extents, axes = np.linalg.svd(points - centre, full_matrices=False)
    if not extents[1] > LEAST_ANGLE * extents[0]:
        raise ValueError("the three inputs lie on one line, so that many planes go through them; move one of them")
    marks = (points - centre) @ axes[:2].T
    reach = WINDOW * _positive(scale) * float(np.linalg.norm(marks, axis=1).max())
    return Window(centre, axes[:2], reach, marks)


def _positive(scale: float) -> float:
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale is {scale}; the window needs a positive one, such as 1 or 10")
    return scale
