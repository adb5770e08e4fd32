"""The context of exact rationals, on python-flint."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from flint import fmpq, fmpz

from precision.context import Context, common_denominator, integer_rows, object_matrix, rational_matrix
from precision.dyadic import round_to_grid

STEP_BITS = 64
"""A step is this much shorter than its region is wide along the line: room for weights that differ by 2^60."""

BESIDE_BITS = 80
"""Nothing else bends that near to a boundary, and short points are evaluated faster."""


class ExactContext(Context):
    """Rationals of any size. Zero is zero, and every result is an identity over the rationals."""

    name = "exact"
    claim = "exact"
    prec = None
    answer_bits = None
    step_bits = STEP_BITS
    beside_bits = BESIDE_BITS

    def number(self, value: fmpq | fmpz | Fraction | int | float) -> fmpq:
        if isinstance(value, fmpq):
            return value
        if isinstance(value, float):
            return fmpq(*value.as_integer_ratio())
        if isinstance(value, Fraction):
            return fmpq(value.numerator, value.denominator)
        return fmpq(value)

    def rational(self, value: fmpq) -> fmpq:
        return value

    def noise(self, magnitude: fmpq) -> fmpq:
        return fmpq(0)

    def is_zero(self, value: fmpq, error: fmpq) -> bool:
        return value == 0

    def solve(self, matrix: np.ndarray, right: np.ndarray) -> np.ndarray | None:
        rows, unknowns = matrix.shape
        _need_tall(rows, unknowns)
        pivots = independent_rows(matrix)
        if len(pivots) < unknowns:
            return None
        return object_matrix(rational_matrix(matrix[pivots]).solve(rational_matrix(right[pivots])))

    def rank(self, matrix: np.ndarray) -> int:
        return integer_rows(matrix).rank() if matrix.size else 0

    def nullspace(self, matrix: np.ndarray) -> np.ndarray:
        basis, dimension = integer_rows(matrix).nullspace()
        return object_matrix(basis)[:, :dimension]

    def normalise_row(self, row: Sequence[fmpq]) -> tuple[np.ndarray, fmpq]:
        common = common_denominator(row)
        integers = [x.p * (common // x.q) for x in row]
        divisor = fmpz(0)
        for x in integers:
            divisor = divisor.gcd(x)
        if divisor == 0:
            raise ValueError("a row of zeros has no direction")
        normal = np.empty(len(integers), dtype=object)
        normal[:] = [fmpq(x // divisor) for x in integers]
        return normal, fmpq(divisor, common)

    def to_grid(self, value: fmpq, bits: int) -> fmpq:
        return round_to_grid(value, bits)


def independent_rows(matrix: np.ndarray) -> list[int]:
    """Indices of a maximal independent set of rows of an ``fmpq`` array: the first such, greedily."""
    reduced, _, rank = integer_rows(matrix.T).rref()
    pivots: list[int] = []
    column = 0
    for row in range(rank):
        while reduced[row, column] == 0:
            column += 1
        pivots.append(column)
    return pivots


def _need_tall(rows: int, unknowns: int) -> None:
    if rows < unknowns:
        raise ValueError(f"{rows} equations cannot fix {unknowns} unknowns; give at least as many rows")
