"""Least squares between balls whose errors are taken for independent: radii that are estimates, not proofs.

Bounds that add up the worst lose several bits at every step. Where an answer has only fifty, a radius is what such
an error may well be, several standard deviations, from the covariance of the fit and from how well the equations
agree with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb

from precision.balls import independent_sum, to_float
from precision.context import Number

DEVIATIONS = 6
"""A radius is about so many standard deviations."""

LEAST_SHARE = 0.05
"""Equations that agree much better than their errors let expect make a radius smaller, but not beyond this share."""

CONTRADICTORY = 2.0
"""Least squares that leave more than this share of an error are no fit."""

SPARE = 2
"""Equations beyond the unknowns from which on their agreement says something."""

SINGULAR = 2.0**-30
"""Directions that the equations show this much more weakly than the others are not determined."""

REFINEMENTS = 3
"""The errors of equations depend on their solution, and float64 takes more than one step to it."""

TINY = 2.0**-100


class NoFitError(ValueError):
    """The equations contradict each other, or what was known before."""


def improved(left: Sequence[Sequence[Number]], right: Sequence[Number], start: Sequence[arb]) -> list[arb]:
    """Balls for the solution of left u = right, known before to lie in ``start``.

    Raises:
        NoFitError: the equations do not go together, or not with ``start``.
    """
    gaps, errors = _gaps(left, right, start)
    before = np.array([max(to_float(x.rad()), TINY) for x in start])
    # Unknowns in units of what was known before; every equation in units of its error.
    scaled = np.concatenate([_floats(left) * before / errors[:, None], np.eye(len(before))])
    inverse = np.linalg.pinv(scaled)
    step = inverse[:, : len(gaps)] @ (gaps / errors)
    left_over = gaps / errors - scaled[: len(gaps)] @ step
    if np.any(np.abs(left_over) > CONTRADICTORY) or np.any(np.abs(step) > CONTRADICTORY):
        raise NoFitError
    share = _share(left_over, len(before))
    spread = np.hypot(
        np.linalg.norm(inverse[:, : len(gaps)], axis=1) * share, np.linalg.norm(inverse[:, len(gaps) :], axis=1)
    )
    return _moved([x.mid() for x in start], step * before, spread * before)


def fitted(left: Sequence[Sequence[Number]], right: Sequence[Number]) -> list[arb] | None:
    """Balls for the solution of left u = right; None where the equations do not determine it.

    Raises:
        NoFitError: the equations contradict each other.
    """
    matrix = _floats(left)
    if len(matrix) < matrix.shape[1]:
        return None
    sizes = np.linalg.norm(matrix, axis=0)
    roughest = max(
        (to_float(arb(x).rad()) / size for row in left for x, size in zip(row, sizes, strict=True) if size), default=0
    )
    solution, inverse = [arb(0)] * matrix.shape[1], matrix.T
    for _ in range(REFINEMENTS):
        gaps, errors = _gaps(left, right, solution)
        scaled = matrix / np.where(sizes > 0, sizes, 1.0) / errors[:, None] * errors.min()
        left_singular, singular, axes = np.linalg.svd(scaled, full_matrices=False)
        if singular[-1] <= max(SINGULAR, 16 * roughest) * singular[0]:
            return None
        inverse = (axes.T / singular) @ left_singular.T
        step = inverse @ (gaps / errors * errors.min()) / sizes
        solution = _moved([x.mid() for x in solution], step, np.zeros(len(step)))
    gaps, errors = _gaps(left, right, solution)
    if np.any(np.abs(gaps) > CONTRADICTORY * errors):
        raise NoFitError
    spread = np.linalg.norm(inverse, axis=1) * errors.min() / sizes * _share(gaps / errors, len(solution))
    return _moved(solution, np.zeros(len(solution)), spread)


def _gaps(
    left: Sequence[Sequence[Number]], right: Sequence[Number], solution: Sequence[arb]
) -> tuple[np.ndarray, np.ndarray]:
    """right - left u for the middles of u, and bounds on the errors that the equations give it."""
    middles = [x.mid() for x in solution]
    rest = [
        independent_sum([value, *(-x * u for x, u in zip(row, middles, strict=True))])
        for row, value in zip(left, right, strict=True)
    ]
    return np.array([to_float(x) for x in rest]), np.array([max(to_float(x.rad()), TINY) for x in rest])


def _share(left_over: np.ndarray, unknowns: int) -> float:
    """By how much errors turn out to be smaller than was expected; ``left_over`` in units of what was expected."""
    spare = len(left_over) - unknowns
    if spare < SPARE:
        return 1.0
    seen = DEVIATIONS * float(np.sqrt(left_over @ left_over / spare)) * (1 + 2 / np.sqrt(spare))
    return min(1.0, max(seen, LEAST_SHARE))


def _moved(middles: Sequence[arb], step: np.ndarray, spread: np.ndarray) -> list[arb]:
    return [arb((u.mid() + arb(float(x))).mid(), float(s)) for u, x, s in zip(middles, step, spread, strict=True)]


def _floats(rows: Sequence[Sequence[Number]]) -> np.ndarray:
    return np.array([[to_float(x) for x in row] for row in rows])
