"""Least squares over Gaussian points: the output layer alone, and all parameters together."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import lstsq

from jaxtract.methods.low_loss.hinges import Hinges

RANK_TOLERANCE = 1e-13
"""Directions that the points show this much more weakly than others are left alone."""

MOST_UNKNOWNS = 3000
"""Beyond these a dense Jacobian is no longer a matter of seconds."""

MOST_STEPS = 40
LEAST_PROGRESS = 0.02
"""Steps end when two in a row take less than this share off the residual."""


def mean_square(differences: np.ndarray) -> float:
    """Mean over points of the squares, summed over outputs, of (points, outputs) differences."""
    return float((differences**2).sum(axis=1).mean())


def fit_outputs(model: Hinges, points: np.ndarray, values: np.ndarray) -> Hinges:
    """Factors and affine remainder of least squares, the hyperplanes kept."""
    design = np.concatenate([model.hidden(points), points, np.ones((len(points), 1))], axis=1)
    solution = _solve(design, values - model(points))
    k, d = len(model), points.shape[1]
    return dataclasses.replace(
        model,
        factors=model.factors + solution[:k],
        matrix=model.matrix + solution[k : k + d],
        constant=model.constant + solution[-1],
    )


def fit_remainder(model: Hinges, points: np.ndarray, values: np.ndarray) -> Hinges:
    """The affine remainder of least squares, all neurons kept."""
    solution = _solve(np.concatenate([points, np.ones((len(points), 1))], axis=1), values - model(points))
    return dataclasses.replace(model, matrix=model.matrix + solution[:-1], constant=model.constant + solution[-1])


def prune(model: Hinges, points: np.ndarray, values: np.ndarray, allowed: float) -> tuple[Hinges, np.ndarray]:
    """Without the neurons that the points do not need: each takes at most ``allowed`` more mean square.

    Two neurons that nearly cancel, or one measured twice, do no harm at the points and any harm between them.

    Returns:
        The model with outputs fitted, and the indices of the neurons that it keeps.
    """
    kept = np.arange(len(model))
    while len(kept):
        design = np.concatenate([model.hidden(points), points, np.ones((len(points), 1))], axis=1)
        sizes = np.linalg.norm(design, axis=0)
        sizes = np.where(sizes > 0, sizes, 1)
        inverse = np.linalg.pinv(np.linalg.qr(design / sizes, mode="r"), rcond=RANK_TOLERANCE)
        spread = (inverse**2).sum(axis=1)[: len(kept)] * len(points)
        cost = ((model.factors * sizes[: len(kept), None]) ** 2).sum(axis=1) / np.maximum(spread, np.finfo(float).tiny)
        least = int(np.argmin(cost))
        if cost[least] > allowed:
            break
        others = np.arange(len(kept)) != least
        model, kept = fit_outputs(model.select(others), points, values), kept[others]
    return model, kept


def unknowns(model: Hinges) -> int:
    """Numbers that ``fit_all`` adjusts."""
    inputs, outputs = model.matrix.shape
    return len(model) * (inputs + 1 + outputs) + (inputs + 1) * outputs


def fit_all(model: Hinges, points: np.ndarray, values: np.ndarray, goal: float) -> Hinges:
    """Levenberg-Marquardt over hyperplanes, factors and remainder, from a model that is near.

    Args:
        model: where to begin.
        points, values: (N, inputs) and (N, outputs).
        goal: mean over points of the squared residuals, summed over outputs, at which to stop.
    """
    damping, misses = 1e-3, 0
    residual = values - model(points)
    loss = mean_square(residual)
    for _ in range(MOST_STEPS):
        if loss <= goal or misses >= 2:
            break
        jacobian = _jacobian(model, points)
        sizes = np.linalg.norm(jacobian, axis=0)
        sizes = np.where(sizes > 0, sizes, 1)
        q, r = np.linalg.qr(jacobian / sizes)
        right, before = q.T @ residual.ravel(), loss
        for _ in range(6):
            augmented = np.concatenate([r, np.sqrt(damping) * np.eye(len(sizes))])
            step = _solve(augmented, np.concatenate([right, np.zeros(len(sizes))])[:, None])[:, 0] / sizes
            moved = fit_outputs(_moved(model, step), points, values)
            new_residual = values - moved(points)
            new_loss = mean_square(new_residual)
            if new_loss < loss:
                model, residual, loss = moved, new_residual, new_loss
                damping = max(damping / 10, 1e-12)
                break
            damping *= 10
        misses = misses + 1 if loss > (1 - LEAST_PROGRESS) * before else 0
    return model


def _jacobian(model: Hinges, points: np.ndarray) -> np.ndarray:
    """d f / d (rows with offsets, factors, matrix with constant), shape (N * outputs, unknowns)."""
    count, outputs = len(points), model.matrix.shape[1]
    with_one = np.concatenate([points, np.ones((count, 1))], axis=1)
    z = points @ model.normals.T + model.offsets
    side = (z > 0)[:, None, :] * model.factors.T[None]
    rows = np.einsum("noh,nj->nohj", side, with_one).reshape(count * outputs, -1)
    linear = np.concatenate([np.maximum(z, 0), with_one], axis=1)
    outer = np.einsum("nj,op->nojp", linear, np.eye(outputs)).reshape(count * outputs, -1)
    return np.concatenate([rows, outer], axis=1)


def _moved(model: Hinges, step: np.ndarray) -> Hinges:
    k, (inputs, outputs) = len(model), model.matrix.shape
    rows = step[: k * (inputs + 1)].reshape(k, inputs + 1)
    outer = step[k * (inputs + 1) :].reshape(-1, outputs)
    normals, offsets = model.normals + rows[:, :-1], model.offsets + rows[:, -1]
    norms = np.linalg.norm(normals, axis=1)
    return Hinges(
        normals / norms[:, None],
        offsets / norms,
        (model.factors + outer[:k]) * norms[:, None],
        model.matrix + outer[k : k + inputs],
        model.constant + outer[-1],
    )


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    sizes = np.linalg.norm(matrix, axis=0)
    sizes = np.where(sizes > 0, sizes, 1)
    solution = lstsq(matrix / sizes, right, cond=RANK_TOLERANCE, lapack_driver="gelsy", check_finite=False)
    assert solution is not None
    return solution[0] / sizes[:, None]
