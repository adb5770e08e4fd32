"""What is linear in a form, its outer weights and its affine part, from fresh queries.

Hyperplanes that f does not bend at drop out.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtract.measurement.ridge_form import RidgeForm
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import scattered
from jaxtract.search.random_lines import gaussian_points
from precision.balls import to_float
from precision.context import Context

SCALES = (-1, 0, 1, 2)
"""Inputs are Gaussian times 2^scale."""

SPARE = 1.0
"""Further inputs, as a share of the unknowns."""

DEVIATIONS = 6.0
"""A hyperplane whose outer weights are within so many standard deviations of zero is none."""

INCOMPLETE = 2.0**-6
"""Where so much is left a hyperplane is missing, and none can be told to be superfluous."""


def fit_form(oracle: CountingOracle, form: RidgeForm, rng: np.random.Generator) -> RidgeForm:
    """The form with factors, matrix and constant by least squares; queries count as ``measure``.

    Args:
        oracle: the black box, in a rounded context.
        form: its hyperplanes.
        rng: chooses inputs.

    Raises:
        BudgetSpent: before anything was asked.
    """
    context = oracle.context
    normals, biases = _floats(context, form.normals()), _floats(context, form.biases())
    unknowns = len(biases) + oracle.inputs + 1
    each = -(-int((1 + SPARE) * unknowns) // len(SCALES)) + 1
    drawn = [gaussian_points(each, oracle.inputs, scale, rng) for scale in SCALES]
    answers = np.concatenate([_floats(context, oracle.ask(scattered(points), "measure")) for points in drawn])
    points = np.concatenate([batch.to_float64() for batch in drawn])
    weights = 1 / (1 + np.max(np.abs(points), axis=1, keepdims=True))
    bends = np.abs(points @ normals.T + biases) / 2
    affine = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    kept, solution = _significant(bends * weights, affine * weights, answers * weights)
    factors, matrix, constant = np.split(solution, [len(kept), len(kept) + oracle.inputs])
    ridges = [
        dataclasses.replace(form.ridges[k], factor=context.array(map(float, factor)))
        for k, factor in zip(kept, factors, strict=True)
    ]
    slopes = context.array(map(float, matrix.T.ravel())).reshape(matrix.T.shape)
    return RidgeForm(context, ridges, slopes, context.array(map(float, constant[0])))


def _significant(bends: np.ndarray, affine: np.ndarray, values: np.ndarray) -> tuple[list[int], np.ndarray]:
    """(hyperplanes that are needed, least squares solution): the least significant one leaves until none may.

    Shapes (points, hyperplanes), (points, inputs + 1), (points, outputs).
    """
    kept = list(range(bends.shape[1]))
    while True:
        system = np.concatenate([bends[:, kept], affine], axis=1)
        inverse = np.linalg.pinv(system)
        solution = inverse @ values
        rest = values - system @ solution
        spread = np.sqrt(np.sum(rest**2, axis=0) / (len(values) - system.shape[1]))
        errors = np.linalg.norm(inverse, axis=1)[: len(kept), None] * spread
        shares = np.max(np.abs(solution[: len(kept)]) / np.maximum(errors, np.finfo(np.float64).tiny), axis=1)
        rough = np.linalg.norm(rest) > INCOMPLETE * np.linalg.norm(values)
        if not kept or rough or np.min(shares) > DEVIATIONS:
            return kept, solution
        kept.pop(int(np.argmin(shares)))


def _floats(context: Context, values: np.ndarray) -> np.ndarray:
    return np.array([to_float(context.rational(x)) for x in values.ravel()], dtype=np.float64).reshape(values.shape)
