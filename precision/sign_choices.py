"""Signs as a subset sum between roundings: all choices that fulfil some equations to an error."""

from __future__ import annotations

import numpy as np

MOST_SIGNS = 40
"""Half of them are written out."""

MOST_CHOICES = 1 << 20
"""Choices that fulfil the sharpest equation; where there are more it tells next to nothing."""


def sign_choices(table: np.ndarray, target: np.ndarray, error: float) -> np.ndarray | None:
    """All signs s with |table @ s - target| <= error in every equation, (choices, k); None where they are too many.

    The choices of one half of the signs are sorted by what they add to the sharpest equation, and for every choice of
    the other half those that fulfil it looked up (Horowitz and Sahni 1974).

    Args:
        table: (equations, k), float64.
        target: (equations,).
        error: of every equation.
    """
    count = table.shape[1]
    if count > MOST_SIGNS or not len(table):
        return None
    first, second = _all_signs(count // 2), _all_signs(count - count // 2)
    sharpest = int(np.argmax(np.linalg.norm(table, axis=1)))
    left = first @ table[sharpest, : count // 2]
    right = second @ table[sharpest, count // 2 :]
    order = np.argsort(right)
    wanted = target[sharpest] - left
    start = np.searchsorted(right[order], wanted - error, side="left")
    sizes = np.searchsorted(right[order], wanted + error, side="right") - start
    if sizes.sum() > MOST_CHOICES:
        return None
    owner = np.repeat(np.arange(len(first)), sizes)
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + start[owner]
    choices = np.hstack([first[owner], second[order[place]]])
    fulfilled = np.all(np.abs(choices @ table.T - target) <= error, axis=1)
    return choices[fulfilled].astype(int)


def _all_signs(count: int) -> np.ndarray:
    """Every choice, (2^count, count)."""
    bits = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    return 2.0 * bits - 1.0
