"""The square loss between two known networks of one hidden layer, with an upper limit that needs no assumption."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.stats import chi2

from jaxtract.methods.low_loss.square_loss import empirical_bernstein, most_on_share
from jaxtract.network.exact_network import ExactNetwork

OUTSIDE = 1e-40
"""Share of Gaussian inputs beyond the ball inside which the difference is bounded piece by piece."""

RARE = 1e-7
"""Share of Gaussian inputs beyond a smaller ball; they count with the largest difference in the larger one."""


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

    A difference that no sample shows is bounded nevertheless: folds of F and F' that are near are gathered, for
    ||r.x| - |r'.x|| <= |(r - r').x|. With the difference bounded on a ball, empirical Bernstein (Maurer and Pontil
    2009) holds without assumption; beyond a larger one growth is at most linear and the Gaussian tail is known.

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
    usual, radius = (float(np.sqrt(chi2.isf(share, inputs))) for share in (RARE, OUTSIDE))
    largest = _largest(one, other, radius)
    differences = _values(one, points) - _values(other, points)
    squares = (differences.astype(np.float64) ** 2).sum(axis=1)
    inside = np.where((points**2).sum(axis=1) <= usual**2, squares, 0)
    _, upper = empirical_bernstein(inside, _largest(one, other, usual) ** 2, 2 * confidence - 1)
    (constant, slope), (more, steeper) = _growth(one), _growth(other)
    tail = RARE * largest**2 + most_on_share(OUTSIDE, inputs, constant + more, slope + steeper)
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
    steep = np.sqrt((affine[:-1] ** 2).sum(axis=0))
    rest = float(np.sqrt(((radius * steep + np.abs(affine[-1])) ** 2).sum()))
    rows, factors = np.concatenate([first.rows, second.rows]), np.concatenate([first.factors, -second.factors])
    return rest + _largest_of_folds(rows, factors / 2, radius)


@dataclasses.dataclass(frozen=True)
class _Gathered:
    """Folds moved onto one of them.

    Attributes:
        place: index of that one.
        factor: (outputs,) sum of their factors.
        cost: bound on the change of the function.
        bound: the least bound on the sum of these folds that is known.
    """

    place: int
    factor: np.ndarray
    cost: float
    bound: float


def _largest_of_folds(rows: np.ndarray, factors: np.ndarray, radius: float) -> float:
    """A bound on |sum_h factors[h] |rows[h] . (x, 1)|| for |x| <= radius: nearest folds are gathered first."""
    reach = _reach(rows, radius)
    height = radius + np.abs(rows[:, -1]).astype(np.float64)

    def gathered(place: int, factor: np.ndarray, cost: float, other: float) -> _Gathered:
        return _Gathered(place, factor, cost, min(cost + _length(factor) * height[place], other))

    found = [gathered(i, factor, 0.0, np.inf) for i, factor in enumerate(factors)]
    if len(found) < 2:
        return sum(one.bound for one in found)
    for i, j, *_ in linkage(reach[np.triu_indices(len(rows), 1)], "single"):
        one, other = found[int(i)], found[int(j)]
        apart, both, summed = reach[one.place, other.place], one.bound + other.bound, one.factor + other.factor
        cost = one.cost + other.cost
        ways = (
            gathered(other.place, summed, cost + _length(one.factor) * apart, both),
            gathered(one.place, summed, cost + _length(other.factor) * apart, both),
            gathered(other.place, other.factor, one.bound + other.cost, both),
            gathered(one.place, one.factor, other.bound + one.cost, both),
        )
        found.append(min(ways, key=lambda way: way.bound))
    return found[-1].bound


def _length(factor: np.ndarray) -> float:
    return float(np.sqrt((factor**2).sum()))


def _reach(rows: np.ndarray, radius: float) -> np.ndarray:
    """(folds, folds): how far |r.(x, 1)| and |r'.(x, 1)| are apart at most for |x| <= radius."""
    side = np.where(rows[:, :-1] @ rows[:, :-1].T < 0, -1.0, 1.0)[..., None]
    apart = rows[:, None] - side * rows[None]
    return (np.sqrt((apart[..., :-1] ** 2).sum(axis=-1)) * radius + np.abs(apart[..., -1])).astype(np.float64)


def _without_far(folds: _Folds, radius: float) -> _Folds:
    """Folds that no input of the ball reaches are affine there."""
    far = np.abs(folds.rows[:, -1]) >= radius
    signed = folds.rows[far] * np.sign(folds.rows[far, -1:])
    return _Folds(folds.rows[~far], folds.factors[~far], folds.affine + signed.T @ folds.factors[far] / 2)
