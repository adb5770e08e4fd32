"""Points where a known neuron changes state, found in float64 on random segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

SEGMENTS, SAMPLES, HALVINGS = 160, 24, 60
SCALES = np.array([0.5, 1.0, 3.0, 10.0])
NEAR = np.array([0.03, 0.1, 0.3, 1.0])
"""Segments around a place where the neuron was seen: sizes relative to its distance from the origin."""

WAYS, LENGTHS = 32, np.geomspace(1e-4, 4.0, 24)
"""Directions from every start, and distances at which the sign is looked at, as shares of its length."""


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
    z = _on_segments(value, start, step, grid)
    segment, left = np.nonzero(z[:, :-1] * z[:, 1:] < 0)
    return _zeros(value, start[segment], step[segment], grid[left], grid[left + 1])


def boundary_points_from(
    value: Callable[[np.ndarray], np.ndarray], starts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The first zeros of a continuous function on random ways from ``starts`` (starts, inputs): (points, inputs).

    From a start in a small region other boundaries are crossed by many ways, but not by all.
    """
    start = np.repeat(starts, WAYS, axis=0)
    reach = np.linalg.norm(start, axis=1, keepdims=True) / np.sqrt(start.shape[1])
    step = reach * rng.standard_normal(start.shape)
    return _first_zeros(value, start, step, np.concatenate([[0.0], LENGTHS]))


def boundary_points_towards(
    value: Callable[[np.ndarray], np.ndarray], starts: np.ndarray, ends: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The same on the segments from each start to some of ``ends`` (ends, inputs)."""
    start = np.repeat(starts, WAYS, axis=0)
    step = ends[rng.integers(len(ends), size=len(start))] - start
    return _first_zeros(value, start, step, np.linspace(0, 1, SAMPLES))


def _first_zeros(
    value: Callable[[np.ndarray], np.ndarray], start: np.ndarray, step: np.ndarray, grid: np.ndarray
) -> np.ndarray:
    """The first zero on every segment on which there is one, (points, inputs); the first of ``grid`` is 0."""
    z = _on_segments(value, start, step, grid)
    crossed = z[:, 1:] * z[:, :1] < 0
    (way,) = np.nonzero(crossed.any(axis=1))
    left = np.argmax(crossed[way], axis=1)
    return _zeros(value, start[way], step[way], grid[left], grid[left + 1])


def _on_segments(
    value: Callable[[np.ndarray], np.ndarray], start: np.ndarray, step: np.ndarray, grid: np.ndarray
) -> np.ndarray:
    """The function along segments: (segments, grid)."""
    points = start[:, None, :] + grid[None, :, None] * step[:, None, :]
    return value(points.reshape(-1, start.shape[1])).reshape(len(start), len(grid))


def _zeros(
    value: Callable[[np.ndarray], np.ndarray], start: np.ndarray, step: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """A zero between start + low step and start + high step, where the signs differ: (points, inputs)."""
    before = np.sign(value(start + low[:, None] * step))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        same = np.sign(value(start + middle[:, None] * step)) == before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return start + low[:, None] * step
