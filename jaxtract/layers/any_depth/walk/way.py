"""The way along a boundary in float64: the next wall, and the direction behind it."""

from __future__ import annotations

import numpy as np

from jaxtract.geometry.known_layers import Pattern


def first_hit(
    tangent: list[np.ndarray],
    values: list[np.ndarray],
    pattern: Pattern,
    direction: np.ndarray,
    skip: tuple[int, int] | None = None,
) -> tuple[int, int, float] | None:
    """The first wall on the way: (layer, neuron, distance); None when none or two at once."""
    best: list[tuple[float, int, int]] = []
    for layer, (matrix, value, side) in enumerate(zip(tangent, values, pattern, strict=True)):
        rate = matrix @ direction
        towards = np.where(side, rate < 0, rate > 0) & (np.abs(rate) > 1e-12)
        if skip is not None and skip[0] == layer:
            towards[skip[1]] = False
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(towards, np.maximum(-value / rate, 0), np.inf)
        order = np.argsort(distance)[:2]
        best.extend((float(distance[h]), layer, int(h)) for h in order if np.isfinite(distance[h]))
    best.sort()
    if not best or best[0][0] <= 0:
        return None
    if len(best) > 1 and best[1][0] <= best[0][0] * (1 + 1e-9):
        return None
    distance, layer, neuron = best[0]
    return layer, neuron, distance


def bent_onto(normal: np.ndarray, wall: np.ndarray, direction: np.ndarray) -> np.ndarray | None:
    """The direction made tangent to the new normal while it keeps its speed away from the wall."""
    # Balls so wide that no direction is left of them.
    if not np.all(np.isfinite(normal)):
        return None
    wall = wall / (np.linalg.norm(wall) or 1.0)
    speed = wall @ direction
    pair = np.stack([normal, wall])
    gram = pair @ pair.T
    if not np.all(np.isfinite(gram)) or abs(np.linalg.det(gram)) < 1e-14:
        return None
    bent = direction - np.linalg.solve(gram, np.array([normal @ direction, 0.0])) @ pair
    size = np.linalg.norm(bent)
    if not np.isfinite(size) or size == 0 or (wall @ bent) * speed <= 0:
        return None
    return bent / size
