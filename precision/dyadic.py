"""Matrices of dyadic rationals: the form in which query points are kept.

A dyadic matrix is an integer matrix and one exponent, value = mantissa * 2^-exponent. Every float64 is
dyadic, sums and products of dyadics are dyadic, and FLINT adds and multiplies the integer matrices in C.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz, fmpz_mat


@dataclasses.dataclass(frozen=True)
class DyadicMatrix:
    """``mantissa * 2**-exponent``; mantissa is an ``fmpz_mat`` of shape (rows, columns)."""

    mantissa: fmpz_mat
    exponent: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.mantissa.nrows(), self.mantissa.ncols()

    def at_exponent(self, exponent: int) -> fmpz_mat:
        """The mantissa for a larger exponent. Raises ValueError when that would lose bits."""
        if exponent < self.exponent:
            raise ValueError(f"cannot write numbers on the grid 2^-{self.exponent} on the grid 2^-{exponent}")
        if exponent == self.exponent:
            return self.mantissa
        return self.mantissa * fmpz(1 << (exponent - self.exponent))

    def rows(self) -> list[list[fmpq]]:
        scale = fmpz(1) << max(self.exponent, 0)
        lift = fmpz(1) << max(-self.exponent, 0)
        return [[fmpq(x * lift, scale) for x in row] for row in self.mantissa.tolist()]

    def to_float64(self) -> np.ndarray:
        """Nearest float64 of every entry, shape (rows, columns)."""
        # Python's integer division and ldexp round once; through float(fmpq) it would be unspecified.
        scale = 1 << max(self.exponent, 0)
        lift = 1 << max(-self.exponent, 0)
        values = [int(x) * lift / scale for x in self.mantissa.entries()]
        return np.array(values, dtype=np.float64).reshape(self.shape)


def dyadic_exponent(value: fmpq) -> int:
    """The e >= 0 with value * 2^e an integer in lowest terms. Raises ValueError when there is none."""
    denominator = int(value.q)
    exponent = denominator.bit_length() - 1
    if denominator != 1 << exponent:
        raise ValueError(f"{value} is not dyadic: its denominator is no power of two; round it to a grid first")
    return exponent


def dyadic_matrix(rows: Sequence[Sequence[fmpq]], columns: int) -> DyadicMatrix:
    """Rationals that are all dyadic, as one matrix. Raises ValueError when one is not."""
    flat = [x for row in rows for x in row]
    exponent = max((dyadic_exponent(x) for x in flat), default=0)
    scale = fmpz(1) << exponent
    return DyadicMatrix(fmpz_mat(len(rows), columns, [x.p * (scale // x.q) for x in flat]), exponent)


def from_float(value: float) -> fmpq:
    """A finite double as the rational that it is."""
    return fmpq(*float(value).as_integer_ratio())


def from_float64(values: np.ndarray) -> DyadicMatrix:
    """A (rows, columns) float64 array, exactly. Raises ValueError on NaN or infinity."""
    if not np.all(np.isfinite(values)):
        raise ValueError("query points must be finite; found NaN or infinity")
    return dyadic_matrix([[from_float(x) for x in row] for row in values], values.shape[1])


def round_to_grid(value: fmpq, bits: int) -> fmpq:
    """Nearest multiple of 2^-bits (bits may be negative); ties go down."""
    scaled = value * _power_of_two(bits)
    return fmpq((2 * scaled + 1).floor() // 2) / _power_of_two(bits)


def floor_to_grid(value: fmpq, bits: int) -> fmpq:
    """Largest multiple of 2^-bits that is at most ``value``."""
    return fmpq((value * _power_of_two(bits)).floor()) / _power_of_two(bits)


def simple_between(left: fmpq, right: fmpq, *, spread: int = 3) -> fmpq:
    """A dyadic near the middle of (left, right) with few bits: within 2^-spread of the length from it.

    Query points are free to choose, and short ones are evaluated faster.
    """
    if not left < right:
        raise ValueError(f"need left < right, got {left} and {right}")
    return round_to_grid((left + right) / 2, spread - floor_log2(right - left))


def floor_log2(value: fmpq) -> int:
    """floor(log2 |value|). Raises ValueError for zero."""
    numerator, denominator = abs(int(value.p)), int(value.q)
    if numerator == 0:
        raise ValueError("zero has no logarithm")
    guess = numerator.bit_length() - denominator.bit_length()
    # 2^guess <= value holds or the guess is one too large.
    holds = numerator >= denominator << guess if guess >= 0 else numerator << -guess >= denominator
    return guess if holds else guess - 1


def power_of_two(exponent: int) -> fmpq:
    """2^exponent, exactly."""
    return _power_of_two(exponent)


def _power_of_two(exponent: int) -> fmpq:
    if exponent >= 0:
        return fmpq(fmpz(1) << exponent)
    return fmpq(fmpz(1), fmpz(1) << -exponent)
