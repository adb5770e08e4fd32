"""Affine forms in rationals or balls, at points in grid units."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Sequence

import numpy as np
from flint import arb, fmpq, fmpz

from jaxtract.geometry.grid import ONE, GridVector, round_fraction
from jaxtract.geometry.known_layers import AffineForm, share64
from precision.balls import bits_in_use, independent_sum, middle, quotient, steepest
from precision.context import FEW_BITS, Number, common_denominator


@dataclasses.dataclass
class RationalForm:
    """normal . x + offset in rationals, balls or integers; x in grid units is divided by ONE."""

    normal: list[Number]
    offset: Number
    _unit: np.ndarray | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def in_integers(self) -> tuple[RationalForm, Number]:
        """(form, factor > 0) with self = factor * form, in primitive integers; one between balls as it is."""
        if any(isinstance(x, arb) for x in (*self.normal, self.offset)):
            return self, fmpq(1)
        values = [fmpq(x) for x in (*self.normal, self.offset)]
        common = common_denominator(values)
        return _primitive([int(x.p * (common // x.q)) for x in values], common)

    def at(self, point: GridVector) -> Number:
        return quotient(dot(self.normal, point), ONE) + self.offset

    def along(self, direction: GridVector) -> Number:
        return quotient(dot(self.normal, direction), ONE)

    def plus(
        self, factor: Number, form: AffineForm, anchor: GridVector, at_anchor: Number | None = None
    ) -> tuple[RationalForm, Number]:
        """self + factor * form as (sum, number > 0) to be multiplied; integers stay primitive integers.

        ``anchor``: where the sum is known well, and what it is there if that was measured.
        """
        del anchor, at_anchor
        pairs = zip((*self.normal, self.offset), (*form.normal, form.offset), strict=True)
        if isinstance(factor, arb) or not isinstance(self.offset, int):
            *normal, offset = (n + factor * m for n, m in pairs)
            return RationalForm(normal, offset), fmpq(1)
        p, q = int(factor.p), int(factor.q)
        return _primitive([q * n + p * m for n, m in pairs], q)

    def normal64(self) -> np.ndarray:
        """Unit normal in float64."""
        if self._unit is None:
            self._unit = shares64(self.normal)
            self._unit /= np.linalg.norm(self._unit)
        return self._unit

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
    ) -> tuple[AnchoredForm, Number]:
        normal = [independent_sum([n, factor * m]) for n, m in zip(self.normal, form.normal, strict=True)]
        if at_anchor is None:
            at_anchor = independent_sum([self.at(anchor), factor * value_at(form, anchor)])
        return AnchoredForm(normal, anchor, at_anchor), fmpq(1)


def value_at(form: AffineForm, point: GridVector) -> Number:
    """A form of known layers at a point; of balls the errors are taken for independent where bits are few."""
    if isinstance(form.offset, arb) and bits_in_use() < FEW_BITS:
        return independent_sum([*(m * x / ONE for m, x in zip(form.normal, point, strict=True)), form.offset])
    return quotient(dot(form.normal, point) + form.offset * ONE, ONE)


def form_free(normal: Sequence[Number], vector: GridVector) -> GridVector:
    """``vector`` with its steepest coordinate changed so that normal . vector = 0, to the grid."""
    pivot = steepest(normal)
    changed = list(vector)
    changed[pivot] = 0
    changed[pivot] = -round_fraction(middle(quotient(dot(normal, changed), normal[pivot]) / ONE))
    return changed


def shares64(values: Sequence[Number]) -> np.ndarray:
    """Numbers over the largest of them in modulus, in float64."""
    size = max(abs(x) for x in values)
    return np.array([share64(x, size) for x in values])


def dot(left: Sequence[Number], right: Sequence[int]) -> Number:
    return sum(map(operator.mul, left, right))


def _primitive(values: list[int], over: fmpz | int) -> tuple[RationalForm, fmpq]:
    """(form, factor): integers (normal, then offset) over a positive number."""
    divisor = math.gcd(*values) or 1
    *normal, offset = (x // divisor for x in values)
    return RationalForm(normal, offset), fmpq(divisor, over)
