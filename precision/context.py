"""One interface over the number systems; algorithms are written once against it.

``README.md`` in this folder defines precision, error, accuracy and claim.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat, fmpz, fmpz_mat

FEW_BITS = 80
"""Answers with fewer bits are measured over distances as long as regions allow."""

ROUGH_BITS = 32
"""Answers with fewer bits, those of float32 or rounded to some decimals, leave nothing to waste."""

Number = Any
"""A number of a context: ``fmpq`` in the exact one, ``mpf`` in the others. Both know + - * / and <."""


class Context(abc.ABC):
    """A number system: how answers are read, when a number counts as zero, how systems are solved.

    Arrays of numbers are numpy object arrays, so that the operators of the numbers do the work.
    """

    name: str
    claim: str
    prec: int | None
    """Bits asked of the result; None where the result is exact."""
    answer_bits: int | None
    """Bits that an answer of the oracle carries; None where answers are exact."""
    step_bits: int
    """A difference is taken over 2^-step_bits of the room that it has."""
    beside_bits: int
    """Places 2^-beside_bits on both sides of a boundary show whether f bends there."""
    point_bits: int | None = None
    """Significand bits that a coordinate of a query point may have; None where any dyadic will do."""

    @property
    def few_bits(self) -> bool:
        """Whether answers have so few bits that short differences are too dear: doubles, or thereabouts."""
        return self.answer_bits is not None and self.answer_bits < FEW_BITS

    @property
    def rough(self) -> bool:
        """Whether answers have hardly more bits than float32: rows are good to a few before they are refined."""
        return self.point_bits is not None and self.answer_bits is not None and self.answer_bits < ROUGH_BITS

    @property
    def exact(self) -> bool:
        return self.answer_bits is None

    def working(self) -> contextlib.AbstractContextManager[object]:
        """Arithmetic with this context's numbers belongs inside; the exact ones need nothing."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def number(self, value: fmpq | fmpz | Fraction | int | float) -> Number:
        """``value`` in this context: exact, or rounded once at the working precision."""

    @abc.abstractmethod
    def rational(self, value: Number) -> fmpq:
        """The exact rational value that a number of this context has."""

    @abc.abstractmethod
    def noise(self, magnitude: Number) -> Number:
        """Bound on the error of one answer whose terms are of this magnitude (zero where exact)."""

    @abc.abstractmethod
    def is_zero(self, value: Number, error: Number) -> bool:
        """Whether ``value`` is zero as far as ``error``, a bound on its own error, can tell."""

    @abc.abstractmethod
    def solve(self, matrix: np.ndarray, right: np.ndarray) -> np.ndarray | None:
        """The unique solution X of ``matrix @ X = right`` or None where it is not unique.

        Shapes (rows, unknowns) and (rows, columns); rows >= unknowns. Whether an overdetermined system
        is consistent is for the caller to check: its residual is a statement about the data.
        """

    @abc.abstractmethod
    def rank(self, matrix: np.ndarray) -> int:
        """Rank of a (rows, columns) array."""

    @abc.abstractmethod
    def nullspace(self, matrix: np.ndarray) -> np.ndarray:
        """A basis of {x : matrix @ x = 0}, shape (columns, dimension)."""

    @abc.abstractmethod
    def normalise_row(self, row: Sequence[Number]) -> tuple[np.ndarray, Number]:
        """``(normal, scale)`` with ``row = scale * normal`` and scale > 0.

        Exact: a primitive integer vector, so that the scale is fixed by the data. Otherwise: unit norm.
        Raises ValueError for a zero row.
        """

    @abc.abstractmethod
    def to_grid(self, value: Number, bits: int) -> fmpq:
        """Nearest multiple of 2^-bits, as an exact dyadic: query points are rounded, results never."""

    def coarser(self, answer_bits: int) -> Context:
        """This context for answers that are only good to ``answer_bits``; the exact one has no such thing."""
        return self

    def array(self, values: Iterable[fmpq | fmpz | Fraction | int | float]) -> np.ndarray:
        """A one-dimensional object array of numbers of this context."""
        numbers = [self.number(value) for value in values]
        out = np.empty(len(numbers), dtype=object)
        out[:] = numbers
        return out

    def zeros(self, *shape: int) -> np.ndarray:
        out = np.empty(shape, dtype=object)
        out[...] = self.number(0)
        return out


def integer_rows(matrix: np.ndarray) -> fmpz_mat:
    """A (rows, columns) array of ``fmpq`` scaled row by row to integers; nullspace and rank are unchanged."""
    rows, columns = matrix.shape
    entries: list[fmpz] = []
    for row in matrix:
        whole, _ = fmpq_mat(1, columns, list(row)).numer_denom()
        entries.extend(whole.entries())
    return fmpz_mat(rows, columns, entries)


def common_denominator(values: Iterable[fmpq]) -> fmpz:
    """Least common multiple of the denominators."""
    common = fmpz(1)
    for value in values:
        denominator = value.q
        # Most rows share one power of two: the division test is far cheaper than an lcm.
        if common % denominator != 0:
            common = common.lcm(denominator)
    return common


def rational_matrix(values: np.ndarray) -> fmpq_mat:
    """A (rows, columns) object array of ``fmpq`` as an ``fmpq_mat``."""
    rows, columns = values.shape
    return fmpq_mat(rows, columns, list(values.ravel()))


def rational_array(context: Context, values: np.ndarray) -> np.ndarray:
    """The exact rational values of an object array of numbers of a context, same shape."""
    out = np.empty(values.shape, dtype=object)
    out.ravel()[:] = [context.rational(x) for x in values.ravel()]
    return out


def object_matrix(matrix: fmpq_mat | fmpz_mat) -> np.ndarray:
    """A FLINT matrix as a (rows, columns) object array of ``fmpq``."""
    out = np.empty((matrix.nrows(), matrix.ncols()), dtype=object)
    out.ravel()[:] = [fmpq(x) for x in matrix.entries()]
    return out
