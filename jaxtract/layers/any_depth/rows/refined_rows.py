"""Rows between balls, sharpened by every kink that is theirs: least squares over all sightings.

A walk hands its error on from crossing to crossing. The kinks of the pool that lie on the neuron's boundary were
measured each for itself: with the activations a of the layer before, w . a + b = 0 at every one of them, and solving
all of these equations together leaves the error of a kink and the condition of their places, nothing else.

With Y a float64 pseudo-inverse of the equations G u = g, and u known to lie in a ball around u0, the identity
u = u0 + Y (g - G u0) + (I - Y G)(u - u0) encloses u again, in a ball that is smaller by the rounding of Y (Krawczyk
1969). Directions that the kinks do not determine keep the ball that they had.

Where bits are few, bounds that add up the worst leave nothing. Errors are then taken for independent: weighted least
squares over the kinks and what was known before, with radii from the covariance, and from how well the kinks agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb, arb_mat

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from precision.balls import bits_in_use, steepest, to_float, vanishes
from precision.context import FEW_BITS, Number
from precision.estimates import NoFitError, improved

MOST_ROUNDS = 80
SPARE_KINKS = 2
"""Kinks beyond the unknowns."""

SINGULAR = 1e-9
"""Directions that the kinks show this much more weakly than the others keep the ball that they had."""

AS_SHARP = (0.0, 0.5)
"""Shares of the kinks, one after the other, that count as equally sharp.

Few that are much sharper than the others make directions singular that only the others show.
"""


def refined(row: Row, activations: Sequence[Sequence[Number]]) -> Row:
    """The row between smaller balls.

    Args:
        row: of any scale. Where weights are open, kinks count at which what they read is off.
        activations: of the layer before at kinks on the row's boundary, (kinks, width).

    Returns:
        The same row where there are too few kinks, or where they contradict it.
    """
    known = [i for i, w in enumerate(row.weights) if w is not None]
    activations = [[a[i] for i in known] for a in activations if all(a[i] == 0 for i in row.missing)]
    width = len(known)
    estimated = bits_in_use() < FEW_BITS
    few = len(activations) < (1 if estimated and not row.missing else width + SPARE_KINKS)
    if row.exact or row.linear or few:
        return row
    weights = [arb(w) for w in row.weights if w is not None]
    pivot = steepest(weights)
    if vanishes(weights[pivot]):
        return row
    others = [i for i in range(width) if i != pivot]
    start = [*(weights[i] / weights[pivot] for i in others), row.bias / weights[pivot]]
    left = arb_mat([[*(arb(a[i]) for i in others), arb(1)] for a in activations])
    right = arb_mat([[-arb(a[pivot])] for a in activations])
    solved = _estimated(left, right, start) if estimated else _enclosed(left, right, start)
    if solved is None:
        return row
    scale = weights[pivot].mid()
    found: list[Number | None] = [None] * len(row.weights)
    found[known[pivot]] = scale
    for i, value in zip(others, solved, strict=False):
        found[known[i]] = value * scale
    return dataclasses.replace(row, weights=found, bias=solved[-1] * scale)


def activations_at(known: KnownLayers, points: Sequence[Sequence[Number]]) -> list[list[Number]]:
    """Activations of the last of the known layers at points between balls, (points, width)."""
    if not points:
        return []
    heights = known.preactivations(arb_mat([list(point) for point in points]), [1] * len(points))[-1]
    return passed_on(heights.tolist(), known.linear[-1])


def passed_on(heights: Sequence[Sequence[Number]], linear: np.ndarray) -> list[list[Number]]:
    """What a layer makes of its pre-activations (points, width): linear units pass on whatever they are."""
    return [[x if free or x > 0 else arb(0) for x, free in zip(z, linear, strict=True)] for z in heights]


def _estimated(left: arb_mat, right: arb_mat, start: Sequence[arb]) -> list[arb] | None:
    try:
        return improved(left.tolist(), right.entries(), start)
    except NoFitError:
        return None


def _enclosed(left: arb_mat, right: arb_mat, start: Sequence[arb]) -> list[arb] | None:
    """Balls within ``start`` that hold the solution of left u = right; None when there is none."""
    balls: list[arb] | None = list(start)
    for share in AS_SHARP:
        inverse = _pseudo_inverse(left, right, balls, share)
        balls = None if inverse is None else _contracted(left, right, balls, inverse)
        if balls is None:
            break
    return balls


def _contracted(left: arb_mat, right: arb_mat, balls: list[arb], inverse: arb_mat) -> list[arb] | None:
    """Smaller balls by one approximate inverse; None when there is no solution in them."""
    remainder = _identity(len(balls)) - inverse * left
    for _ in range(MOST_ROUNDS):
        centre = _column([x.mid() for x in balls])
        error = _column([x - x.mid() for x in balls])
        again = (centre + inverse * (right - left * centre) + remainder * error).entries()
        if any(not x.overlaps(y) for x, y in zip(balls, again, strict=True)):
            return None
        smaller = [x.intersection(y) for x, y in zip(balls, again, strict=True)]
        settled = all(2 * x.rad() > y.rad() for x, y in zip(smaller, balls, strict=True))
        balls = smaller
        if settled:
            break
    return balls


def _pseudo_inverse(left: arb_mat, right: arb_mat, start: Sequence[arb], share: float) -> arb_mat | None:
    """(unknowns, kinks), each kink weighted by how well its equation is known, the sharpest ``share`` of them alike."""
    errors = [x.rad() for x in (right - left * _column([x.mid() for x in start])).entries()]
    sharp = sorted(errors)[int(share * len(errors))]
    shares = np.array([to_float(sharp / x) if x > sharp else 1.0 for x in errors])
    matrix = np.array([[to_float(x) for x in row] for row in left.tolist()])
    if not np.all(np.isfinite(matrix)) or not np.all(np.isfinite(shares)):
        return None
    # Far fewer digits than the answers have are enough to weight them.
    shares = np.maximum(shares, 2.0**-40)
    inverse = np.linalg.pinv(matrix * shares[:, None], rcond=SINGULAR) * shares[None, :]
    return arb_mat(inverse.tolist())


def _identity(size: int) -> arb_mat:
    return arb_mat([[int(i == k) for k in range(size)] for i in range(size)])


def _column(values: Sequence[arb]) -> arb_mat:
    return arb_mat(len(values), 1, list(values))
