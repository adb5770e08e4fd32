"""Gaussian inputs, half of them drawn near the hyperplanes of a model, with weights that undo it.

A model that merges two neurons, or places one a little off, is wrong in a thin slab along its own hyperplane and right
elsewhere. Few Gaussian inputs lie in such a slab, although it may make most of the loss.
"""

from __future__ import annotations

import numpy as np

from jaxtract.methods.low_loss.hinges import Hinges

WIDTHS = (0.1, 0.01, 0.001)
"""Standard deviations of the distance to the hyperplane."""

REACH = 4.0
"""Hyperplanes farther than this from the origin matter to few inputs, and are left out."""

LARGEST_WEIGHT = 2.0
"""Half of the inputs are drawn from the Gaussian itself."""


def near_folds(model: Hinges, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(points, weights), shapes (count, inputs) and (count,): E_N(0,I) g(x) is the mean of weight * g.

    With probability 1/2 an input is Gaussian; else, for one hyperplane n.x + o = 0 and one width s, its coordinate
    along n is -o + s N(0, 1) and the others are Gaussian. The weight is one over the density of the mixture relative
    to the Gaussian, which is at most 2.
    """
    points = rng.standard_normal((count, model.normals.shape[1]))
    near = np.abs(model.offsets) < REACH
    normals, offsets = model.normals[near], model.offsets[near]
    if not len(offsets):
        return points, np.ones(count)
    drawn = np.flatnonzero(rng.random(count) < 1 / LARGEST_WEIGHT)
    fold, width = rng.integers(len(offsets), size=len(drawn)), rng.choice(WIDTHS, size=len(drawn))
    normal = normals[fold]
    wanted = -offsets[fold] + width * rng.standard_normal(len(drawn))
    points[drawn] += (wanted - (points[drawn] * normal).sum(axis=1))[:, None] * normal
    along = points @ normals.T
    # Density of N(-o, s^2) over that of N(0, 1), at the coordinate along every normal.
    ratio = np.mean(
        [np.exp((along**2 - ((along + offsets) / s) ** 2) / 2) / s for s in WIDTHS],
        axis=(0, 2),
    )
    plain = 1 / LARGEST_WEIGHT
    return points, 1 / (plain + (1 - plain) * ratio)
