"""A neuron's form in any region from all that a walk has seen of it: least squares, where every bit counts.

A walk that adds crossing after crossing hands on what each of them loses. But Z = sum_i E_i z_i + b, with few unknowns
(``row_system``), holds wherever the boundary was seen: every place is one equation, as sharp as the place is known,
and every normal that was measured one per coordinate. Solved together they know the form in a region better with every
place, without a query.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb, arb_mat, fmpq

from jaxtract.geometry.grid import ONE, GridVector
from jaxtract.geometry.known_layers import KnownLayers, Pattern
from jaxtract.geometry.rational_form import AnchoredForm
from precision.balls import to_float
from precision.context import Number
from precision.estimates import combined

BROAD = 2.0**8
"""Unknowns are at most about so many times the largest number of the first normal."""


@dataclasses.dataclass(frozen=True)
class Equation:
    """sum_i E_i c_i + constant * b = value, with E_i those of the region with these sides."""

    side: np.ndarray
    coefficients: list[Number]
    constant: int
    value: arb


class JointForm:
    """What a walk has seen of one neuron.

    Args:
        layers: before the neuron's own.
        start: sides of the last of them where the walk began.
        size: largest number of the first normal.
    """

    def __init__(self, layers: KnownLayers, start: np.ndarray, size: float):
        self.layers = layers
        self.start = start.copy()
        self.broad = BROAD * size
        self._equations: list[Equation] = []

    def add_place(self, point: GridVector, pattern: Pattern, off: arb) -> None:
        """The boundary was seen at a point in the region ``pattern``; ``off`` bounds the form there."""
        heights = self.layers.preactivations(arb_mat(1, len(point), list(point)), [ONE])[-1]
        values = [x / ONE for x in heights.entries()]
        self._equations.append(Equation(pattern[-1].copy(), values, 1, _within(off)))

    def add_normal(self, pattern: Pattern, normal: Sequence[Number], axes: Sequence[int] | None = None) -> None:
        """The form has this normal, in the scale of the walk, in the region ``pattern``.

        ``axes``: along which it was measured, if not along all.
        """
        columns = self.layers.forms(self.layers.depth - 1, pattern)[0].transpose().tolist()
        for k in range(len(normal)) if axes is None else axes:
            self._equations.append(Equation(pattern[-1].copy(), columns[k], 0, arb(normal[k])))

    def add_weight(self, neuron: int, weight: Number, signs: np.ndarray) -> None:
        """w_i was told elsewhere, in the scale of the walk; every sign is known."""
        coefficients = [fmpq(int(k == neuron)) for k in range(len(signs))]
        self._equations.append(Equation(signs > 0, coefficients, 0, arb(weight) * int(signs[neuron])))

    def at(self, point: GridVector, pattern: Pattern, off: Number, signs: Sequence[int]) -> AnchoredForm:
        """The form in the region ``pattern``, at a point where it is zero but for ``off``; in the scale of the walk.

        Raises:
            NoFitError: no neuron of this layer has been seen at all of these places.
        """
        matrix, _ = self.layers.forms(self.layers.depth - 1, pattern)
        normal = self._solved(
            [self._row(pattern[-1], column, 0, signs) for column in matrix.transpose().tolist()], signs
        )
        return AnchoredForm(normal, point, _within(off))

    def weights(self, signs: Sequence[int]) -> list[arb]:
        """Every w_i, in the scale of the walk; one that no place shows may be anything.

        Raises:
            NoFitError: as ``at``.
        """
        width = len(signs)
        unknowns = width + sum(not sign for sign in signs) + 1
        return self._solved([[fmpq(int(i == k)) for k in range(unknowns)] for i in range(width)], signs)

    def _solved(self, wanted: Sequence[Sequence[Number]], signs: Sequence[int]) -> list[arb]:
        """Combinations of the unknowns, as far as all equations tell them."""
        left = [self._row(e.side, e.coefficients, e.constant, signs) for e in self._equations]
        return combined(left, [e.value for e in self._equations], wanted, self.broad)

    def _row(
        self, side: np.ndarray, coefficients: Sequence[Number], constant: int, signs: Sequence[int]
    ) -> list[Number]:
        """Coefficients of every w_i, then of the E_i of the start where the sign is open, then of b."""
        weights: list[Number] = []
        starts: list[Number] = []
        for i, (c, sign) in enumerate(zip(coefficients, signs, strict=True)):
            if sign:
                weights.append(c * int(sign) if bool(side[i]) == (sign > 0) else fmpq(0))
            else:
                weights.append(c * (int(side[i]) - int(self.start[i])))
                starts.append(c)
        return [*weights, *starts, fmpq(constant)]


def _within(off: Number) -> arb:
    """Zero, but for at most so much."""
    return arb(0, abs(arb(off)).upper())


def largest(normal: Sequence[Number]) -> float:
    """Of the numbers of a normal in modulus."""
    return max(abs(to_float(x)) for x in normal)
