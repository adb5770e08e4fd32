"""What has been measured of one neuron's row: single weights from crossings, linear equations from the rest.

In a region of the layers before it, the neuron's pre-activation is sum_i w_i max(0, s_i z_i) + b, s_i = +-1. Crossing z_i = 0 gives w_i
alone, whatever the sign of row i. Every other measurement is one equation sum_i [i on] s_i w_i c_i = value with
known c_i; which neurons are on follows from the side of z_i = 0 and the sign of row i, and that sign may
be unknown for the time being.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz_mat

from precision.context import integer_rows


class InconsistentRow(Exception):  # noqa: N818  (a finding about the neuron, not a failure)
    """The equations contradict each other: the neuron does not belong to this layer."""


@dataclasses.dataclass(frozen=True)
class Equation:
    """sum over active i of s_i w_i coefficients[i] = value; ``side[i]`` tells whether z_i > 0 there."""

    side: np.ndarray
    coefficients: Sequence[int]
    value: fmpq


class RowSystem:
    """One neuron's unknown row over a layer of ``width`` neurons.

    Args:
        width: neurons of the layer before.
        signs: +1 or -1 per neuron of that layer, 0 where it is not known whether the row is z or -z.
    """

    def __init__(self, width: int, signs: Sequence[int]):
        self.width = width
        self.signs = np.array(signs, dtype=int)
        self.weights: dict[int, fmpq] = {}
        self.equations: list[Equation] = []

    @property
    def unknown(self) -> list[int]:
        return [i for i in range(self.width) if i not in self.weights]

    def factors(self, side: np.ndarray) -> np.ndarray:
        """max(0, s z) = factor * z: 0 where off, s where on; meaningless where the sign is not known."""
        return np.where(side, self.signs > 0, -(self.signs < 0).astype(int)).astype(int)

    def value(self, side: np.ndarray, coefficients: Sequence[int]) -> fmpq | None:
        """sum over active i of s_i w_i coefficients[i], or None when it is not determined."""
        total = fmpq(0)
        for i, (factor, c) in enumerate(zip(self.factors(side), coefficients, strict=True)):
            if c == 0 or self.weights.get(i) == 0 or (factor == 0 and self.signs[i] != 0):
                continue
            if self.signs[i] == 0 or i not in self.weights:
                return None
            total += self.weights[i] * (c * int(factor))
        return total

    def add_weight(self, neuron: int, value: fmpq) -> None:
        """Raises InconsistentRow when another value is known."""
        if self.weights.setdefault(neuron, value) != value:
            raise InconsistentRow

    def add(self, equation: Equation) -> None:
        self.equations.append(equation)

    def resolve(self) -> None:
        """Weights that the equations determine by now. Raises InconsistentRow."""
        unknown = self.unknown
        rows = []
        for equation in self.equations:
            if any(sign == 0 and c != 0 for sign, c in zip(self.signs, equation.coefficients, strict=True)):
                continue
            effects = [int(f) * c for f, c in zip(self.factors(equation.side), equation.coefficients, strict=True)]
            rest = equation.value - sum((w * effects[i] for i, w in self.weights.items() if effects[i]), fmpq(0))
            rows.append([*(effects[i] for i in unknown), rest])
        if not rows:
            return
        for column, value in determined(rows, len(unknown)).items():
            self.weights[unknown[column]] = value


def determined(rows: Sequence[Sequence[fmpq | int]], unknowns: int) -> dict[int, fmpq]:
    """The unknowns that the linear equations ``rows`` (coefficients, then value) fix, by column.

    Raises:
        InconsistentRow: no solution.
    """
    reduced, denominator, rank = reduced_rows(rows)
    found: dict[int, fmpq] = {}
    column = 0
    for r in range(rank):
        while reduced[r, column] == 0:
            column += 1
        if column == unknowns:
            raise InconsistentRow
        if all(reduced[r, k] == 0 for k in range(column + 1, unknowns)):
            found[column] = fmpq(reduced[r, unknowns], denominator)
    return found


def reduced_rows(rows: Sequence[Sequence[fmpq | int]]) -> tuple[fmpz_mat, object, int]:
    """Reduced row echelon form over the integers: (matrix, common pivot, rank)."""
    matrix = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        matrix[i, :] = [fmpq(x) for x in row]
    return integer_rows(matrix).rref()
