"""Affine forms in rationals or balls, at points in grid units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.geometry.grid import ONE, GridVector, round_fraction
from jaxtract.geometry.known_layers import AffineForm
from precision.balls import middle, steepest, to_float
from precision.context import Number


@dataclasses.dataclass
class RationalForm:
    """normal . x + offset in rationals or balls; x in grid units is divided by ONE."""

    normal: list[Number]
    offset: Number

    def at(self, point: GridVector) -> Number:
        return sum((n * x for n, x in zip(self.normal, point, strict=True)), fmpq(0)) / ONE + self.offset

    def along(self, direction: GridVector) -> Number:
        return sum((n * x for n, x in zip(self.normal, direction, strict=True)), fmpq(0)) / ONE

    def plus(self, factor: Number, form: AffineForm) -> RationalForm:
        return RationalForm(
            [n + factor * m for n, m in zip(self.normal, form.normal, strict=True)], self.offset + factor * form.offset
        )

    def normal64(self) -> np.ndarray:
        """Unit normal in float64."""
        size = max(abs(n) for n in self.normal)
        values = np.array([to_float(n / size) for n in self.normal])
        return values / np.linalg.norm(values)

    def put_onto(self, point: GridVector) -> GridVector:
        """The point moved along its steepest coordinate until the form is zero, to the grid."""
        pivot = steepest(self.normal)
        moved = list(point)
        moved[pivot] -= round_fraction(middle(self.at(point) / self.normal[pivot]))
        return moved


def form_free(normal: Sequence[Number], vector: GridVector) -> GridVector:
    """``vector`` with its steepest coordinate changed so that normal . vector = 0, to the grid."""
    pivot = steepest(normal)
    rest = sum((n * v for k, (n, v) in enumerate(zip(normal, vector, strict=True)) if k != pivot), fmpq(0))
    changed = list(vector)
    changed[pivot] = -round_fraction(middle(rest / normal[pivot] / ONE))
    return changed


def dot(left: Sequence[Number], right: Sequence[int]) -> Number:
    return sum(a * b for a, b in zip(left, right, strict=True))
