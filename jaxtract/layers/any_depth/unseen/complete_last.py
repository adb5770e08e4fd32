"""Open weights of the last hidden layer, from inputs at which both neurons are on.

The boundary of neuron q may lie where neuron i is off, always; w_qi is then seen only where q is on, as a change
of f by gamma_q w_qi a_i. Inputs at which both are on are sought in the known network, in float64; two of them must
agree exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from precision.balls import steepest, vanishes
from precision.context import Number

STARTS, STEPS = 128, 60
DIFFERENCE = 1e-6


def inputs_with_both_on(
    layers: KnownLayers, row: Row, neuron: int, sign: int, weight: int, rng: np.random.Generator
) -> np.ndarray:
    """Inputs where neuron ``neuron`` of the last layer (times its sign) and ``weight`` of the one before are on.

    Other open weights of the row are off there. (points, inputs), those first where ``weight`` is weakest: its
    contribution must not switch ``neuron`` off.
    """
    others = [i for i in row.missing if i != weight]

    def heights(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = layers.values64(x)
        before = values[-2]
        rest = before[:, others].max(axis=1) if others else np.full(len(x), -1.0)
        return sign * values[-1][:, neuron], before[:, weight], rest

    def least(x: np.ndarray) -> np.ndarray:
        own, other, rest = heights(x)
        return np.minimum(np.minimum(own, other), -rest if others else np.inf)

    points = _ascend(least, _starts(layers.inputs, row, rng))
    own, other, rest = heights(points)
    good = (own > 1e-9) & (other > 1e-9) & (rest <= 0)
    order = np.argsort(other[good] / own[good])
    return points[good][order]


def weight_from(residual: np.ndarray, gamma: np.ndarray, activation: Number) -> Number | None:
    """w with residual = gamma w activation for every output (arrays (outputs,)), or None."""
    o = steepest(gamma)
    if vanishes(gamma[o]) or vanishes(activation):
        return None
    weight = residual[o] / (gamma[o] * activation)
    return None if any(residual != gamma * (weight * activation)) else weight


def _starts(inputs: int, row: Row, rng: np.random.Generator) -> np.ndarray:
    starts = rng.standard_normal((STARTS, inputs)) * np.exp(rng.standard_normal((STARTS, 1)))
    if row.seen_at:
        half = STARTS // 2
        centres = np.stack(row.seen_at)[rng.integers(len(row.seen_at), size=half)]
        starts[:half] = centres * (1 + 0.1 * rng.standard_normal((half, inputs)))
    return starts


def _ascend(value: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    """Gradient ascent by differences, all points together; each keeps its best place."""
    count, inputs = points.shape
    best, best_value = points.copy(), value(points)
    step = 0.3
    for _ in range(STEPS):
        sizes = np.linalg.norm(points, axis=1, keepdims=True) + 1e-3
        moved = points[:, None, :] + DIFFERENCE * sizes[:, :, None] * np.eye(inputs)[None, :, :]
        gradient = value(moved.reshape(-1, inputs)).reshape(count, inputs) - value(points)[:, None]
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        points = points + step * sizes * gradient / np.maximum(length, 1e-300)
        now = value(points)
        better = now > best_value
        best[better], best_value[better] = points[better], now[better]
        step *= 0.95
    return best
