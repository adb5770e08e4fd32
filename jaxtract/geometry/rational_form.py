"""Affine forms in rationals or balls, at points in grid units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb, fmpq

from jaxtract.geometry.grid import ONE, GridVector, round_fraction
from jaxtract.geometry.known_layers import AffineForm
from precision.balls import bits_in_use, independent_sum, middle, quotient, steepest, to_float
from precision.context import FEW_BITS, Number


@dataclasses.dataclass
class RationalForm:
    """normal . x + offset in rationals or balls; x in grid units is divided by ONE."""

    normal: list[Number]
    offset: Number

    def at(self, point: GridVector) -> Number:
        return sum((n * x for n, x in zip(self.normal, point, strict=True)), fmpq(0)) / ONE + self.offset

    def along(self, direction: GridVector) -> Number:
        return sum((n * x for n, x in zip(self.normal, direction, strict=True)), fmpq(0)) / ONE

    def plus(
        self, factor: Number, form: AffineForm, anchor: GridVector, at_anchor: Number | None = None
    ) -> RationalForm:
        """self + factor * form; ``anchor``: where it is known well, and what it is there if that was measured."""
        del anchor, at_anchor
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


class AnchoredForm(RationalForm):
    """A form between balls whose errors are taken for independent, known best near a point of its zero set.

    Where every bit counts the offset at the origin says too little: what is lost on the way from there to the anchor
    and back would be counted as an error twice.

    Attributes:
        anchor: the point, in grid units.
        at_anchor: the value there.
    """

    def __init__(self, normal: Sequence[Number], anchor: GridVector, at_anchor: Number):
        self.anchor = anchor
        self.at_anchor = at_anchor
        super().__init__(list(normal), fmpq(0))
        self.offset = self.at([0] * len(anchor))

    def at(self, point: GridVector) -> Number:
        terms = (n * (x - a) / ONE for n, x, a in zip(self.normal, point, self.anchor, strict=True))
        return independent_sum([*terms, self.at_anchor])

    def along(self, direction: GridVector) -> Number:
        return independent_sum(n * x / ONE for n, x in zip(self.normal, direction, strict=True))

    def plus(
        self, factor: Number, form: AffineForm, anchor: GridVector, at_anchor: Number | None = None
    ) -> AnchoredForm:
        normal = [independent_sum([n, factor * m]) for n, m in zip(self.normal, form.normal, strict=True)]
        if at_anchor is None:
            at_anchor = independent_sum([self.at(anchor), factor * value_at(form, anchor)])
        return AnchoredForm(normal, anchor, at_anchor)


def value_at(form: AffineForm, point: GridVector) -> Number:
    """A form of known layers at a point; of balls the errors are taken for independent where bits are few."""
    if isinstance(form.offset, arb) and bits_in_use() < FEW_BITS:
        return independent_sum([*(m * x / ONE for m, x in zip(form.normal, point, strict=True)), form.offset])
    return quotient(dot(form.normal, point) + form.offset * ONE, ONE)


def form_free(normal: Sequence[Number], vector: GridVector) -> GridVector:
    """``vector`` with its steepest coordinate changed so that normal . vector = 0, to the grid."""
    pivot = steepest(normal)
    rest = sum((n * v for k, (n, v) in enumerate(zip(normal, vector, strict=True)) if k != pivot), fmpq(0))
    changed = list(vector)
    changed[pivot] = -round_fraction(middle(rest / normal[pivot] / ONE))
    return changed


def dot(left: Sequence[Number], right: Sequence[int]) -> Number:
    return sum(a * b for a, b in zip(left, right, strict=True))
