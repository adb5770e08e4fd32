"""A slice of few dimensions around a line, on which f is measured before it is measured in all coordinates.

f on a slice base + y D is a network of the same hidden layer with as many inputs as D has rows. Where these are a
little more than the neurons, random rows D keep independent rows independent: every activation pattern exists there.
Dense directions see sparse weights, too; their lengths are such that a row is about as long on the slice.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from flint import fmpq, fmpz_mat

from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.points import PointBatch
from jaxtract.search.lines import Line
from jaxtract.search.random_lines import DIRECTION_BITS
from precision.balls import to_float
from precision.dyadic import DyadicMatrix, dyadic_matrix, from_float64

WIDER, SPARE = 1.25, 4
"""Dimensions for every kink of a line, and how many more; at least so many more than there are kinks."""

LARGEST_SHARE = 0.75
"""Of all inputs: on wider slices little is saved."""


@dataclasses.dataclass(frozen=True)
class LineSlice:
    """The inputs base + y directions; the first direction is that of a line through the base.

    Attributes:
        base: (inputs,).
        directions: (dimensions, inputs).
    """

    base: tuple[fmpq, ...]
    directions: DyadicMatrix

    @property
    def dimensions(self) -> int:
        return self.directions.shape[0]

    @property
    def line(self) -> Line:
        """The line in coordinates of the slice."""
        rest = (fmpq(0),) * (self.dimensions - 1)
        return Line((fmpq(0), *rest), (fmpq(1), *rest), 0)

    def embed(self, points: PointBatch) -> PointBatch:
        """A batch on the slice as a batch of inputs."""
        moved = _product(points.anchors, self.directions)
        base = dyadic_matrix([self.base], len(self.base))
        exponent = max(moved.exponent, base.exponent)
        mantissa, (shift,) = moved.at_exponent(exponent).tolist(), base.at_exponent(exponent).tolist()
        anchors = fmpz_mat([[x + p for x, p in zip(row, shift, strict=True)] for row in mantissa])
        directions = self.directions if points.directions is None else _product(points.directions, self.directions)
        return dataclasses.replace(points, anchors=DyadicMatrix(anchors, exponent), directions=directions)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """About how long rows are in all coordinates, by their entries on the slice, (rows, dimensions)."""
        return np.sqrt(self.dimensions * np.mean(rows[:, 1:] ** 2, axis=1))


class SliceOracle(Oracle):
    """The black box on a slice."""

    def __init__(self, oracle: Oracle, chosen: LineSlice):
        self._oracle = oracle
        self._slice = chosen
        self.inputs, self.outputs = chosen.dimensions, oracle.outputs
        self.number_system = oracle.number_system

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        return self._oracle.answer(self._slice.embed(points), answer_bits)


def dimensions_for(kinks: int, inputs: int) -> int | None:
    """Of a slice for so many kinks of a line; None where it would save little."""
    largest = math.floor(LARGEST_SHARE * inputs)
    return min(math.ceil(WIDER * kinks) + SPARE, largest) if 0 < kinks <= largest - SPARE else None


def slice_around(line: Line, dimensions: int, rng: np.random.Generator) -> LineSlice:
    """A random slice of so many dimensions that holds a line; its other directions are orthogonal to each other."""
    inputs = len(line.base)
    drawn = rng.standard_normal((inputs, dimensions - 1))
    along = np.array([[to_float(x)] for x in line.direction])
    others = np.linalg.qr(np.concatenate([along, drawn], axis=1))[0][:, 1:].T * math.sqrt(inputs / dimensions)
    rows = [line.direction, *from_float64(np.round(others * 2.0**DIRECTION_BITS) / 2.0**DIRECTION_BITS).rows()]
    return LineSlice(line.base, dyadic_matrix(rows, inputs))


def _product(left: DyadicMatrix, right: DyadicMatrix) -> DyadicMatrix:
    return DyadicMatrix(left.mantissa * right.mantissa, left.exponent + right.exponent)
