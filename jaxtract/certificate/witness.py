"""Inputs at which two networks differ, shown by exact evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpq_mat, fmpz

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.normal_form import Hyperplane, NormalForm
from precision.dyadic import floor_log2, power_of_two

SCALES = (0, -3, 3, -8, 8, -16, 16, 30)
"""Random inputs are Gaussian with standard deviation 2^scale, tried in this order."""

POINTS_PER_SCALE = 32
MANTISSA_BITS = 8
"""Random coordinates have about this many bits: short inputs are evaluated faster and read better."""


@dataclasses.dataclass(frozen=True)
class Witness:
    """An input and the two different outputs there, all as exact rationals "p/q".

    Attributes:
        point: the input, d numbers.
        recovered, reference: the values of the two networks at it, m numbers each.
    """

    point: tuple[str, ...]
    recovered: tuple[str, ...]
    reference: tuple[str, ...]

    @property
    def difference(self) -> str:
        """By how much they differ there: max_o |f'_o - f_o|, exactly."""
        pairs = zip(self.recovered, self.reference, strict=True)
        return str(max(abs(_number(x) - _number(y)) for x, y in pairs))


def first_witness(recovered: ExactNetwork, reference: ExactNetwork, points: Sequence[Sequence[fmpq]]) -> Witness | None:
    """The first of the points at which the networks differ, or None if they agree at all of them."""
    left, right = values(recovered, points), values(reference, points)
    for point, one, two in zip(points, left, right, strict=True):
        if one != two:
            return Witness(*(tuple(str(x) for x in numbers) for numbers in (point, one, two)))
    return None


def witness_at(recovered: ExactNetwork, reference: ExactNetwork, point: Sequence[fmpq]) -> Witness:
    """What is known of one point, whether or not the networks differ there."""
    (one,), (two,) = values(recovered, [point]), values(reference, [point])
    return Witness(*(tuple(str(x) for x in numbers) for numbers in (point, one, two)))


def random_witness(recovered: ExactNetwork, reference: ExactNetwork, *, seed: int) -> Witness | None:
    """Searches random inputs at all ``SCALES``. None proves nothing: the networks may differ elsewhere."""
    rng = np.random.default_rng(seed)
    for scale in SCALES:
        mantissas = np.rint(rng.standard_normal((POINTS_PER_SCALE, reference.inputs)) * 2**MANTISSA_BITS)
        unit = power_of_two(scale - MANTISSA_BITS)
        points = [[unit * int(x) for x in row] for row in mantissas]
        witness = first_witness(recovered, reference, points)
        if witness is not None:
            return witness
    return None


def separating_points(one: NormalForm, two: NormalForm, *, seed: int) -> list[list[fmpq]]:
    """A few points at one of which, for certain, two different one-hidden-layer functions differ.

    If the difference D has a kink on a hyperplane, take p on it and p +- t v with no other kink between:
    D(p + tv) - 2 D(p) + D(p - tv) = 2 t c |w.v| is not zero, so one of the three values is not. Else D is
    affine, and 0 or a unit vector will do.

    Raises:
        ValueError: the normal forms are equal.
    """
    differing = sorted(set(one.kinks).symmetric_difference(two.kinks))
    if differing:
        hyperplanes = {h for h, _ in (*one.kinks, *two.kinks)}
        return _around(differing[0][0], hyperplanes, np.random.default_rng(seed))
    inputs = one.slope.ncols()
    origin = [fmpq(0)] * inputs
    if one.offset != two.offset:
        return [origin]
    for axis, column in enumerate((one.slope - two.slope).transpose().tolist()):
        if any(x != 0 for x in column):
            return [[*origin[:axis], fmpq(1), *origin[axis + 1 :]]]
    raise ValueError("the normal forms are equal, so no input separates them")


def values(network: ExactNetwork, points: Sequence[Sequence[fmpq]]) -> list[list[fmpq]]:
    """f at every point, exactly: one list of m outputs per point."""
    network = network.plain()
    state = fmpq_mat(len(points), network.inputs, [x for point in points for x in point]).transpose()
    ones = fmpq_mat(1, len(points), [1] * len(points))
    zero = fmpq(0)
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        state = weight * state + bias * ones
        if layer + 1 < len(network.weights):
            relu = [z if z > 0 else zero for z in state.entries()]
            state = fmpq_mat(state.nrows(), state.ncols(), relu)
    return state.transpose().tolist()


def _number(text: str) -> fmpq:
    numerator, _, denominator = text.partition("/")
    return fmpq(fmpz(numerator), fmpz(denominator or "1"))


def _around(hyperplane: Hyperplane, hyperplanes: set[Hyperplane], rng: np.random.Generator) -> list[list[fmpq]]:
    """p - t v, p, p + t v with p on ``hyperplane`` and no other hyperplane on the closed segment."""
    inputs = len(hyperplane) - 1
    others = [h for h in hyperplanes if h != hyperplane]
    while True:  # a random line meets two hyperplanes in one point with probability next to none
        start, direction = ([int(x) for x in rng.integers(-99, 100, inputs)] for _ in range(2))
        rate = _linear(hyperplane, direction)
        if rate == 0:
            continue
        position = -fmpq(_linear(hyperplane, start) + hyperplane[-1], rate)
        crossings = [-fmpq(_linear(h, start) + h[-1], slope) for h in others if (slope := _linear(h, direction)) != 0]
        if position not in crossings:
            break
    gap = min((abs(position - t) for t in crossings), default=fmpq(2))
    step = power_of_two(floor_log2(gap) - 1)
    return [[x + (position + t) * v for x, v in zip(start, direction, strict=True)] for t in (-step, fmpq(0), step)]


def _linear(hyperplane: Hyperplane, vector: Sequence[int]) -> int:
    return sum(w * x for w, x in zip(hyperplane[:-1], vector, strict=True))
