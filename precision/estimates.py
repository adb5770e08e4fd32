"""Least squares between balls whose errors are taken for independent: radii that are estimates, not proofs.

Bounds that add up the worst lose several bits at every step. Where an answer has only fifty, a radius is what such
an error may well be, several standard deviations, from the covariance of the fit and from how well the equations
agree with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from flint import arb, arb_mat
from scipy.stats import t as student

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

CHANCE = 1e-5
"""How seldom errors that seem small only because few equations show them may make a radius too small."""

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
    radii, sizes = np.array([[float(arb(x).rad()) for x in row] for row in left]), np.ones(matrix.shape[1])
    solution, inverse = [arb(0)] * matrix.shape[1], matrix.T
    for turn in range(REFINEMENTS):
        gaps, errors = _gaps(left, right, solution)
        shares = (errors.min() / errors)[:, None]
        sizes = np.linalg.norm(matrix * shares, axis=0)
        sizes[sizes == 0] = 1.0
        left_singular, singular, axes = np.linalg.svd(matrix / sizes * shares, full_matrices=False)
        # Errors of equations are known once the solution is; they weigh the errors of coefficients, too.
        rough = np.linalg.norm(radii / sizes * shares) if turn else 0.0
        if singular[-1] <= max(SINGULAR * singular[0], rough):
            return None
        inverse = (axes.T / singular) @ left_singular.T
        step = inverse @ (gaps / errors * errors.min()) / sizes
        solution = _moved([x.mid() for x in solution], step, np.zeros(len(step)))
    gaps, errors = _gaps(left, right, solution)
    if np.any(np.abs(gaps) > CONTRADICTORY * errors):
        raise NoFitError
    spread = np.linalg.norm(inverse, axis=1) * errors.min() / sizes * _share(gaps / errors, len(solution))
    return _moved(solution, np.zeros(len(solution)), spread)


def combined(
    left: Sequence[Sequence[Number]], right: Sequence[Number], wanted: Sequence[Sequence[Number]], broad: float
) -> list[arb]:
    """Balls for combinations ``wanted`` (rows of coefficients) of the solution of left u = right.

    The unknowns are known beforehand to at most about ``broad``: what the equations do not determine stays that rough.

    Raises:
        NoFitError: the equations contradict each other.
    """
    coefficients = _balls(left)
    middles, radii = coefficients.mid(), _radii(coefficients)
    values = _balls([[x] for x in right])
    solution, inverse, errors = arb_mat(middles.ncols(), 1), np.zeros((0, 0)), np.ones(len(right))
    own, known = np.array(middles.tolist(), dtype=float), np.eye(middles.ncols()) / broad
    gaps = np.zeros(len(right))
    for turn in range(REFINEMENTS + 1):
        gaps = np.array((values.mid() - middles * solution).tolist(), dtype=float)[:, 0]
        at = np.array(solution.tolist(), dtype=float)[:, 0]
        if turn == REFINEMENTS:
            break
        errors = np.maximum(np.sqrt(_radii(values)[:, 0] ** 2 + radii**2 @ at**2), TINY * broad)
        rows, singular, axes = np.linalg.svd(np.concatenate([own / errors[:, None], known]), full_matrices=False)
        inverse = (axes.T / np.maximum(singular, 1 / broad)) @ rows.T
        step = inverse @ np.concatenate([gaps / errors, -at / broad])
        solution += arb_mat(len(step), 1, step.tolist())
    if np.any(np.abs(gaps) > CONTRADICTORY * errors):
        raise NoFitError
    factors = _balls(wanted)
    found = (factors.mid() * solution.mid()).entries()
    spread = np.linalg.norm(np.array(factors.mid().tolist(), dtype=float) @ inverse, axis=1)
    at = np.array(solution.tolist(), dtype=float)[:, 0]
    spread = np.hypot(spread, np.sqrt(_radii(factors) ** 2 @ at**2))
    return [arb(x.mid(), float(s)) for x, s in zip(found, spread, strict=True)]


def _balls(rows: Sequence[Sequence[Number]]) -> arb_mat:
    return arb_mat(len(rows), len(rows[0]), [arb(x) for row in rows for x in row])


def _radii(matrix: arb_mat) -> np.ndarray:
    return np.array([[float(x.rad()) for x in row] for row in matrix.tolist()])


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
    seen = DEVIATIONS * float(np.sqrt(left_over @ left_over / spare)) * _caution(spare)
    return min(1.0, max(seen, LEAST_SHARE))


@cache
def _caution(spare: int) -> float:
    """The factor for what so few spare equations say of their errors: two or three may agree by chance alone."""
    return max(1 + 2 / float(np.sqrt(spare)), float(student.isf(CHANCE / 2, spare)) / DEVIATIONS)


def _moved(middles: Sequence[arb], step: np.ndarray, spread: np.ndarray) -> list[arb]:
    return [arb((u.mid() + arb(float(x))).mid(), float(s)) for u, x, s in zip(middles, step, spread, strict=True)]


def _floats(rows: Sequence[Sequence[Number]]) -> np.ndarray:
    return np.array([[to_float(x) for x in row] for row in rows])
