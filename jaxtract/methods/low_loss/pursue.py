"""Neurons that no line shows above the noise: guessed, judged by what they explain at the points asked, and fitted.

Where answers are rough, a bend drowns in the noise of every single line, and still makes most of the loss at all points
together. Guesses cost no queries.
"""

from __future__ import annotations

import math

import numpy as np

from jaxtract.methods.low_loss.fit import fit_outputs
from jaxtract.methods.low_loss.hinges import Hinges

GUESSES = 600
"""Hyperplanes tried at a time: half through points in random directions, half beside known neurons."""

NEAREST, FARTHEST = 0.03, 0.3
"""How far those are from a known row, in units of the row."""

MOST_POINTS = 3000


def with_best_guess(model: Hinges, points: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> Hinges:
    """The model with the one neuron more, of many guessed, that leaves the least squares; outputs are fitted."""
    points, values = points[-MOST_POINTS:], values[-MOST_POINTS:]
    normals, offsets = _guesses(model, points, rng)
    design = np.concatenate([model.hidden(points), points, np.ones((len(points), 1))], axis=1)
    q, _ = np.linalg.qr(design / np.maximum(np.linalg.norm(design, axis=0), np.finfo(np.float64).tiny))
    columns = np.maximum(points @ normals.T + offsets, 0)
    columns = columns - q @ (q.T @ columns)
    left = values - model(points)
    sizes = np.maximum((columns**2).sum(axis=0), 1e-12 * len(points))
    explained = ((columns.T @ left) ** 2).sum(axis=1) / sizes
    best = [int(explained.argmax())]
    wider = model.with_hinges(normals[best], offsets[best], np.zeros((1, values.shape[1])))
    return fit_outputs(wider, points, values)


def _guesses(model: Hinges, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    count, inputs = GUESSES // 2, points.shape[1]
    normals = rng.standard_normal((count, inputs))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    through = points[rng.integers(len(points), size=count)]
    rows = np.concatenate([normals, -(normals * through).sum(axis=1)[:, None]], axis=1)
    if len(model):
        own = model.rows()[rng.integers(len(model), size=count)]
        apart = np.exp(rng.uniform(math.log(NEAREST), math.log(FARTHEST), (count, 1))) / np.sqrt(inputs)
        rows = np.concatenate([rows, own + apart * rng.standard_normal(own.shape)])
    norms = np.linalg.norm(rows[:, :-1], axis=1)
    return rows[:, :-1] / norms[:, None], rows[:, -1] / norms
