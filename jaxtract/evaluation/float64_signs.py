"""Which units of a network are active at every point of a batch, proven in float64 wherever that is enough.

Running error analysis (Higham 2002, *Accuracy and Stability of Numerical Algorithms*, section 3.3): beside
every value z goes a radius r with |z - exact| <= r, from the standard model fl(x op y) = (x op y)(1 + d) + t,
|d| <= 2^-53, |t| <= 2^-1075. A sum of n products in any order, fused or not, is within (n + 2) 2^-53 of its sum
of moduli. A unit is decided when |z| > r, or when z is zero by construction; what overflows is undecided.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpz, fmpz_mat
from jaxtyping import Bool, Float, Int

ROUNDING = 2.0**-53
TINY = 2.0**-500
"""Stands for every non-zero factor in the radius: the product of two exceeds all that underflow can lose."""

SLACK = 1.0001
"""Covers the rounding of the radius itself, whose sums have fewer than 2^37 terms, none of them negative."""

ExactSigns = Callable[[list[int], list[int]], list[bool]]
"""(points, units) to whether each unit of the first layer is positive at its point, exactly."""


@dataclasses.dataclass(frozen=True)
class Float64Layer:
    """One layer after the first, rounded: values (n, width) = inputs @ weight + bias, and the moduli of both."""

    weight: Float[np.ndarray, "fan_in width"]
    bias: Float[np.ndarray, " width"]
    weight_modulus: Float[np.ndarray, "fan_in width"]
    bias_modulus: Float[np.ndarray, " width"]


@dataclasses.dataclass(frozen=True)
class FirstImages:
    """The first layer on anchors and directions, rounded from exact values.

    Attributes:
        anchors: W a + b of every anchor, (anchors, width).
        directions: W v of every direction, (directions, width).
        null: units whose weights and bias are all zero.
    """

    anchors: Float[np.ndarray, "anchors width"]
    directions: Float[np.ndarray, "directions width"]
    null: Bool[np.ndarray, " width"]


def float64_layer(weight: fmpz_mat, bias: fmpz_mat, denominator: fmpz) -> Float64Layer:
    """Nearest doubles of an integer layer over its denominator."""
    weights, biases = nearest_float64(weight, denominator), nearest_float64(bias, denominator)[0]
    return Float64Layer(weights, biases, np.abs(weights) + _tiny(weight), np.abs(biases) + _tiny(bias)[0])


def active_units(
    first: FirstImages,
    hidden: Sequence[Float64Layer],
    anchor: Int[np.ndarray, " points"],
    direction: Int[np.ndarray, " points"],
    steps: Float[np.ndarray, " points"],
    exactly_positive: ExactSigns,
) -> tuple[Bool[np.ndarray, "points units"], Bool[np.ndarray, " points"]]:
    """Active units of all hidden layers side by side, and the points at which every one of them is proven.

    Args:
        first, anchor, direction, steps: point r has the first values anchors[anchor[r]] + steps[r] *
            directions[direction[r]]; steps are nearest doubles.
        hidden: the layers between the first hidden layer and the output layer.
        exactly_positive: decides the units of the first layer that float64 leaves open; a few products each.
    """
    with np.errstate(all="ignore"):
        base, slope = first.anchors[anchor], first.directions[direction]
        move = steps[:, None] * slope
        values = base + move
        # Rounded anchors, rounded directions, rounded steps, one product, one sum: 8 roundings cover them.
        radius = 8 * ROUNDING * (np.abs(base) + np.abs(move))
        radius += (TINY * (1 + np.abs(steps)))[:, None] * (1 + np.abs(slope))
        radius[:, first.null] = 0
        mask, open_ = _signs(values, radius)
        rows, units = np.nonzero(open_)
        mask[rows, units] = exactly_positive(rows.tolist(), units.tolist())
        return _through(values, radius, mask, hidden)


def _signs(values: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(proven positive, neither proven positive nor proven not positive)."""
    positive = values > radius
    return positive, ~(positive | (values < -radius) | (radius == 0))


def _through(
    values: np.ndarray, radius: np.ndarray, mask: np.ndarray, hidden: Sequence[Float64Layer]
) -> tuple[np.ndarray, np.ndarray]:
    masks, decided = [mask], np.ones(len(values), np.bool_)
    for layer in hidden:
        # An active unit is at least 0; where its double is not, 0 is nearer to it.
        values, radius = _next(layer, np.where(mask, np.maximum(values, 0), 0), np.where(mask, radius, 0))
        mask, open_ = _signs(values, radius)
        decided &= ~open_.any(axis=1)
        masks.append(mask)
    return np.concatenate(masks, axis=1), decided


def _next(layer: Float64Layer, values: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    roundings = 2 * (values.shape[1] + 8) * ROUNDING
    moduli = radius + roundings * values + TINY * (values > 0)
    reach = moduli @ layer.weight_modulus + roundings * layer.bias_modulus
    return values @ layer.weight + layer.bias, SLACK * reach


def nearest_float64(matrix: fmpz_mat, denominator: fmpz, exponent: int = 0) -> Float[np.ndarray, "rows columns"]:
    """matrix / denominator * 2^-exponent, every entry rounded once; what exceeds float64 becomes infinite."""
    return quotients(matrix.entries(), denominator, exponent).reshape(matrix.nrows(), matrix.ncols())


def quotients(numbers: Sequence[fmpz], denominator: fmpz, exponent: int = 0) -> Float[np.ndarray, " numbers"]:
    """Every number / denominator (positive) * 2^-exponent, rounded once."""
    divisor, lift = int(denominator) << max(exponent, 0), max(-exponent, 0)
    integers = [int(z) << lift for z in numbers]
    try:
        # Python divides integers with one rounding, whatever their length.
        return np.array([z / divisor for z in integers], np.float64)
    except OverflowError:
        limit = divisor << 1023
        return np.array([z / divisor if abs(z) < limit else np.inf if z > 0 else -np.inf for z in integers])


def _tiny(matrix: fmpz_mat) -> np.ndarray:
    zero = np.array([z == 0 for z in matrix.entries()]).reshape(matrix.nrows(), matrix.ncols())
    return np.where(zero, 0.0, TINY)
