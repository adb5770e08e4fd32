"""Points where a known neuron changes state, found in float64 on random segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

SEGMENTS, SAMPLES, HALVINGS = 160, 24, 60
SCALES = np.array([0.5, 1.0, 3.0, 10.0])
NEAR = np.array([0.03, 0.1, 0.3, 1.0])
"""Segments around a place where the neuron was seen: sizes relative to its distance from the origin."""


def boundary_points(
    value: Callable[[np.ndarray], np.ndarray],
    inputs: int,
    seen_at: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Zeros of a continuous function, (points, inputs).

    Args:
        value: maps (count, inputs) to (count,).
        inputs: dimension.
        seen_at: places near which half of the segments are drawn; neurons that are rarely on are found there only.
        rng: chooses the segments.
    """
    start = rng.standard_normal((SEGMENTS, inputs)) * SCALES[rng.integers(len(SCALES), size=(SEGMENTS, 1))]
    step = rng.standard_normal((SEGMENTS, inputs)) * SCALES[rng.integers(len(SCALES), size=(SEGMENTS, 1))]
    if seen_at:
        half = SEGMENTS // 2
        centres = np.stack(seen_at)[rng.integers(len(seen_at), size=half)]
        reach = NEAR[rng.integers(len(NEAR), size=(half, 1))] * (0.1 + np.linalg.norm(centres, axis=1, keepdims=True))
        start[:half] = centres + reach * rng.standard_normal((half, inputs)) / np.sqrt(inputs)
        step[:half] = reach * rng.standard_normal((half, inputs)) / np.sqrt(inputs)
    grid = np.linspace(-2, 2, SAMPLES)
    points = (start[:, None, :] + grid[None, :, None] * step[:, None, :]).reshape(-1, inputs)
    z = value(points).reshape(SEGMENTS, SAMPLES)
    segment, left = np.nonzero(z[:, :-1] * z[:, 1:] < 0)
    low, high = grid[left], grid[left + 1]
    before = np.sign(z[segment, left])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        same = np.sign(value(start[segment] + middle[:, None] * step[segment])) == before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return start[segment] + low[:, None] * step[segment]
