"""Contexts whose answers carry finitely many bits: arbitrary precision, and plain doubles."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from flint import fmpq, fmpz

from precision.context import Context, Number
from precision.dyadic import round_to_grid

GUARD_BITS = 64
"""Bits that a solve may lose to the condition of a layer before the asked precision is touched."""

FLOAT32_BITS, FLOAT64_BITS = 24, 53
"""Significand bits of the two formats that black boxes compute in."""

PIVOT_BITS = 12
"""A pivot is told from zero when it is this many bits below its row, at least, however few bits answers have."""

FLOAT64_ANSWER_BITS = 46
"""A double has 53; seven are left to the rounding inside a network's own matrix products."""


class RoundedContext(Context):
    """mpmath numbers; answers are right to ``answer_bits`` relative to the size of their terms.

    The arithmetic itself runs ``GUARD_BITS`` above the answers, so that only the answers limit.
    The mpmath context is private: its precision is set here once, never globally.

    Attributes:
        error_unit: where it was measured, a bound on the error of an answer at x over 1 + max |x|.
    """

    def __init__(
        self,
        name: str,
        claim: str,
        *,
        prec: int,
        answer_bits: int,
        error_unit: fmpq | None = None,
        point_bits: int | None = None,
    ):
        self.name = name
        self.claim = claim
        self.prec = prec
        self.answer_bits = answer_bits
        self.error_unit = error_unit
        self.point_bits = point_bits
        self.step_bits = self.beside_bits = answer_bits // 4
        self.arithmetic: Any = type(mpmath.mp)()
        self.arithmetic.prec = answer_bits + GUARD_BITS
        self._bits = answer_bits
        self._noise_unit = self.arithmetic.ldexp(1, 1 - answer_bits)

    def coarser(self, answer_bits: int) -> RoundedContext:
        """The same context with fewer bits to an answer: for differences of answers and something rougher."""
        prec = self.prec or answer_bits
        return RoundedContext(self.name, self.claim, prec=prec, answer_bits=answer_bits, point_bits=self.point_bits)

    def measured(self, answer_bits: int, error_unit: fmpq, point_bits: int | None = None) -> RoundedContext:
        """The same context for a black box whose rounding was measured, of points and of answers."""
        return RoundedContext(
            self.name,
            self.claim,
            prec=self.prec or answer_bits,
            answer_bits=answer_bits,
            error_unit=error_unit,
            point_bits=point_bits,
        )

    def number(self, value: fmpq | fmpz | Fraction | int | float) -> Number:
        if isinstance(value, fmpq):
            return self.arithmetic.mpf(int(value.p)) / int(value.q)
        if isinstance(value, Fraction):
            return self.arithmetic.mpf(value.numerator) / value.denominator
        if isinstance(value, fmpz):
            return self.arithmetic.mpf(int(value))
        return self.arithmetic.mpf(value)

    def rational(self, value: Number) -> fmpq:
        sign, mantissa, exponent, _ = value._mpf_
        signed = -int(mantissa) if sign else int(mantissa)
        return fmpq(signed << exponent) if exponent >= 0 else fmpq(signed, 1 << -exponent)

    def noise(self, magnitude: Number) -> Number:
        return abs(magnitude) * self._noise_unit

    def is_zero(self, value: Number, error: Number) -> bool:
        return abs(value) <= error

    def solve(self, matrix: np.ndarray, right: np.ndarray) -> np.ndarray | None:
        rows, unknowns = matrix.shape
        if rows < unknowns:
            raise ValueError(f"{rows} equations cannot fix {unknowns} unknowns; give at least as many rows")
        reduced, pivots = self._eliminate(np.concatenate([matrix, right], axis=1), unknowns)
        if len(pivots) < unknowns:
            return None
        return reduced[:unknowns, unknowns:]

    def rank(self, matrix: np.ndarray) -> int:
        return len(self._eliminate(matrix, matrix.shape[1])[1])

    def nullspace(self, matrix: np.ndarray) -> np.ndarray:
        columns = matrix.shape[1]
        reduced, pivots = self._eliminate(matrix, columns)
        free = [j for j in range(columns) if j not in pivots]
        basis = self.zeros(columns, len(free))
        for k, j in enumerate(free):
            basis[j, k] = self.number(1)
            for row, pivot in enumerate(pivots):
                basis[pivot, k] = -reduced[row, j]
        return basis

    def normalise_row(self, row: Sequence[Number]) -> tuple[np.ndarray, Number]:
        norm = self.arithmetic.sqrt(self.arithmetic.fsum(x * x for x in row))
        if norm == 0:
            raise ValueError("a row of zeros has no direction")
        normal = np.empty(len(row), dtype=object)
        normal[:] = [x / norm for x in row]
        return normal, norm

    def to_grid(self, value: Number, bits: int) -> fmpq:
        return round_to_grid(self.rational(value), bits)

    def _eliminate(self, matrix: np.ndarray, columns: int) -> tuple[np.ndarray, list[int]]:
        """Gauss-Jordan with complete pivoting by row; a pivot below the noise of its row is zero."""
        work = matrix.copy()
        size = [max((abs(x) for x in row), default=self.number(0)) for row in work]
        threshold = self._noise_unit * (1 << max(0, min(GUARD_BITS // 2, self._bits - PIVOT_BITS)))
        pivots: list[int] = []
        for column in range(columns):
            row = len(pivots)
            if row == work.shape[0]:
                break
            best = max(range(row, work.shape[0]), key=lambda i: self._relative(work[i, column], size[i]))
            if self._relative(work[best, column], size[best]) <= threshold:
                continue
            work[[row, best]] = work[[best, row]]
            size[row], size[best] = size[best], size[row]
            work[row] = work[row] / work[row, column]
            for i in range(work.shape[0]):
                if i != row and work[i, column] != 0:
                    work[i] = work[i] - work[i, column] * work[row]
            pivots.append(column)
        return work, pivots

    def _relative(self, value: Number, size: Number) -> Number:
        return abs(value) / size if size > 0 else self.number(0)


def mp(prec: int) -> RoundedContext:
    """The arbitrary-precision context: a result with ``prec`` bits.

    Finite differences with a step of 2^-(answer_bits / 4) leave three quarters of an answer's bits, so
    the answers are asked at 4/3 of the asked precision and its guard bits.

    Raises:
        ValueError: fewer than 32 bits are asked (use ``float64``).
    """
    if prec < 32:
        raise ValueError(f"prec is {prec} bits; ask for at least 32, or use the float64 context")
    return RoundedContext("mp", "refined", prec=prec, answer_bits=-(-4 * (prec + GUARD_BITS) // 3))


def float64() -> RoundedContext:
    """The context of a black box that answers in doubles: arithmetic is wider, the answers are not."""
    return RoundedContext("float64", "approximate", prec=53, answer_bits=FLOAT64_ANSWER_BITS)
