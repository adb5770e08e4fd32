"""The square loss between two known networks of one hidden layer, with an upper limit that needs no assumption."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import chi2

from jaxtract.methods.low_loss.square_loss import empirical_bernstein, most_on_share
from jaxtract.network.exact_network import ExactNetwork

OUTSIDE = 1e-40
"""Share of Gaussian inputs beyond the ball inside which the difference is bounded piece by piece."""


@dataclasses.dataclass(frozen=True)
class LossBetween:
    """E |F(x) - F'(x)|^2 for x ~ N(0, I).

    Attributes:
        mean: at the inputs.
        upper: upper limit at the confidence asked, tails included.
        largest: bound on |F - F'| inside the ball that holds all but 1e-40 of the inputs.
    """

    mean: float
    upper: float
    largest: float


@dataclasses.dataclass(frozen=True)
class _Folds:
    """F(x) = sum_h factors[h] |rows[h] . (x, 1)| / 2 + (x, 1) @ affine; distinct rows with normals of length one."""

    rows: np.ndarray
    factors: np.ndarray
    affine: np.ndarray


def loss_between(first: ExactNetwork, second: ExactNetwork, points: np.ndarray, *, confidence: float) -> LossBetween:
    """Measured at given Gaussian points, so that several networks can be compared at the same ones.

    A difference that no sample shows is bounded nevertheless: neurons of F are paired with the nearest of F', and
    ||r.x| - |r'.x|| <= |(r - r').x|. With the difference bounded on a ball, empirical Bernstein (Maurer and Pontil
    2009) holds without assumption; outside, growth is at most linear and the Gaussian tail is known.

    Args:
        first, second: networks of one hidden layer.
        points: (count, inputs) Gaussian inputs that neither network depends on.
        confidence: of the upper limit.

    Raises:
        ValueError: a network has another depth or skips, or the dimensions differ.
    """
    one, other = _folds(first), _folds(second)
    if (first.inputs, first.outputs) != (second.inputs, second.outputs):
        raise ValueError(
            f"networks of {first.inputs} and {second.inputs} inputs, {first.outputs} and {second.outputs} outputs"
        )
    inputs = first.inputs
    radius = float(np.sqrt(chi2.isf(OUTSIDE, inputs)))
    largest = _largest(one, other, radius)
    differences = _values(one, points) - _values(other, points)
    squares = (differences.astype(np.float64) ** 2).sum(axis=1)
    _, upper = empirical_bernstein(squares, largest**2, 2 * confidence - 1)
    (constant, slope), (more, steeper) = _growth(one), _growth(other)
    tail = most_on_share(OUTSIDE, inputs, constant + more, slope + steeper)
    return LossBetween(float(squares.mean()), upper + tail, largest)


def _folds(network: ExactNetwork) -> _Folds:
    """max(0, z) = (|z| + z) / 2; what is on one hyperplane is one fold."""
    if len(network.weights) != 2 or network.skips:
        raise ValueError(f"widths {network.widths}: the loss is measured between networks of one hidden layer")
    weight, bias, outer, last = (
        np.array([float(x.p) / float(x.q) for x in matrix.entries()], dtype=np.longdouble).reshape(
            matrix.nrows(), matrix.ncols()
        )
        for matrix in (network.weights[0], network.biases[0], network.weights[1], network.biases[1])
    )
    rows, factors = np.concatenate([weight, bias], axis=1), outer.T
    affine = np.zeros((network.inputs + 1, network.outputs), dtype=np.longdouble)
    affine[-1] = last[:, 0]
    flat = ~weight.any(axis=1)
    affine[-1] += np.maximum(bias[flat, 0], 0) @ factors[flat]
    rows, factors = rows[~flat], factors[~flat]
    affine = affine + rows.T @ factors / 2
    norms = np.sqrt((rows[:, :-1] ** 2).sum(axis=1))
    lead = np.sign(rows[np.arange(len(rows)), np.abs(rows[:, :-1]).argmax(axis=1)])
    rows, factors = rows * (lead / norms)[:, None], factors * norms[:, None]
    distinct, place = np.unique(rows, axis=0, return_inverse=True)
    summed = np.zeros((len(distinct), network.outputs), dtype=np.longdouble)
    np.add.at(summed, place.ravel(), factors)
    kept = summed.any(axis=1)
    return _Folds(distinct[kept], summed[kept], affine)


def _values(folds: _Folds, points: np.ndarray) -> np.ndarray:
    """(points, outputs)."""
    with_one = np.concatenate([points, np.ones((len(points), 1))], axis=1).astype(np.longdouble)
    return np.abs(with_one @ folds.rows.T) @ folds.factors / 2 + with_one @ folds.affine


def _growth(folds: _Folds) -> tuple[float, float]:
    """(a, b) with |F(x)| <= a + b |x| everywhere."""
    strength = np.sqrt((folds.factors**2).sum(axis=1)) / 2
    constant = strength @ np.abs(folds.rows[:, -1]) + np.sqrt((folds.affine[-1] ** 2).sum())
    return float(constant), float(strength.sum() + np.sqrt((folds.affine[:-1] ** 2).sum()))


def _largest(first: _Folds, second: _Folds, radius: float) -> float:
    """A bound on |F - F'| for |x| <= radius."""
    first, second = (_without_far(folds, radius) for folds in (first, second))
    affine = first.affine - second.affine
    left = -second.factors
    bound = 0.0
    for row, factor in zip(first.rows, first.factors, strict=True):
        strength = np.sqrt((factor**2).sum()) / 2
        if not len(second.rows):
            bound += float(strength * _sup(row, radius))
            continue
        side = np.where((second.rows[:, :-1] @ row[:-1]) < 0, -1.0, 1.0)[:, None]
        apart = second.rows * side - row
        reach = np.sqrt((apart[:, :-1] ** 2).sum(axis=1)) * radius + np.abs(apart[:, -1])
        nearest = int(reach.argmin())
        left[nearest] += factor
        bound += float(strength * reach[nearest])
    bound += sum(
        float(np.sqrt((factor**2).sum()) / 2 * _sup(row, radius)) for row, factor in zip(second.rows, left, strict=True)
    )
    steep = np.sqrt((affine[:-1] ** 2).sum(axis=0))
    return bound + float(np.sqrt(((radius * steep + np.abs(affine[-1])) ** 2).sum()))


def _without_far(folds: _Folds, radius: float) -> _Folds:
    """Folds that no input of the ball reaches are affine there."""
    far = np.abs(folds.rows[:, -1]) >= radius
    signed = folds.rows[far] * np.sign(folds.rows[far, -1:])
    return _Folds(folds.rows[~far], folds.factors[~far], folds.affine + signed.T @ folds.factors[far] / 2)


def _sup(row: np.ndarray, radius: float) -> float:
    """Largest |row . (x, 1)| for |x| <= radius."""
    return float(np.sqrt((row[:-1] ** 2).sum()) * radius + abs(row[-1]))
