"""Lines on which rarely seen neurons are seen: between opposite extremes of what the known layers can do.

A neuron that is on for one input in a hundred is met by one random line in fifty. Its pre-activation is a linear
function of the layer before it, which is known: a line from a point where some random combination of that layer is
largest to one where it is smallest crosses most boundaries.
"""

from __future__ import annotations

import numpy as np
from flint import fmpq

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.search.lines import Line
from jaxtract.search.random_lines import BASE_BITS, DIRECTION_BITS

STARTS, STEPS = 8, 40

SHIFTED = 0.75
"""Share of the combinations whose weights are shifted to the negative."""


def extreme_line(layers: KnownLayers, rng: np.random.Generator) -> Line:
    """A line through the two extremes of a random combination of the last layer's activations."""
    weights = _combinations(layers.widths[-1], 1, rng)[0]
    high, low = (_extreme(layers, sign * weights, rng) for sign in (1.0, -1.0))
    return line_through(high, low, rng)


def line_through(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Line:
    """The line through two points, rounded to short dyadics; through a random direction where they coincide."""
    direction = second - first
    if np.max(np.abs(direction)) < 2.0**-BASE_BITS:
        direction = rng.standard_normal(len(first))
    pivot = int(np.argmax(np.abs(direction)))
    unit = 1 << DIRECTION_BITS
    entries = [fmpq(int(x), unit) for x in np.rint(direction / direction[pivot] * unit)]
    entries[pivot] = fmpq(1)
    base = [fmpq(int(x), 1 << BASE_BITS) for x in np.rint(first * (1 << BASE_BITS))]
    return Line(tuple(base), tuple(entries), pivot)


def extreme_points(layers: KnownLayers, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points where random combinations of the last layer's activations are largest, (count, inputs)."""
    return _extremes(layers, _combinations(layers.widths[-1], count, rng), rng)


def _combinations(width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random weights (count, width), some of them with a negative mean.

    A neuron with mostly negative weights is on only where the few others have the activations to themselves; its
    opposite is off only there.
    """
    shift = np.abs(rng.standard_normal((count, 1))) * 1.5 * (rng.random((count, 1)) < SHIFTED)
    return rng.standard_normal((count, width)) - shift


def _extreme(layers: KnownLayers, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _extremes(layers, weights[None, :], rng)[0]


def _extremes(layers: KnownLayers, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every row of weights, of several starts the point where weights . a / (size of a) ends largest.

    Gradient ascent in float64, all rows and starts together; (rows, inputs).
    """
    count = len(weights)
    rows = np.repeat(weights, STARTS, axis=0)
    points = rng.standard_normal((len(rows), layers.inputs)) * np.exp(rng.standard_normal((len(rows), 1)))
    best, best_value = points.copy(), np.full(len(rows), -np.inf)
    step = 0.5
    for _ in range(STEPS):
        values, gradients = _share(layers, rows, points)
        better = values > best_value
        best[better], best_value[better] = points[better], values[better]
        sizes = np.linalg.norm(gradients, axis=1, keepdims=True)
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        points = points + step * lengths * gradients / np.maximum(sizes, 1e-300)
        points *= lengths / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-300)
        step *= 0.93
    winners = best_value.reshape(count, STARTS).argmax(axis=1)
    return best.reshape(count, STARTS, -1)[np.arange(count), winners]


def _share(layers: KnownLayers, weights: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weights . a / |a| and its gradient, for every point (one row of weights each)."""
    activations = layers.activations64(points)
    size = np.linalg.norm(activations, axis=1) + 1e-12
    value = np.sum(activations * weights, axis=1) / size
    outer = (weights - value[:, None] * activations / size[:, None]) / size[:, None]
    return value, layers.pull_back64(points, outer)
