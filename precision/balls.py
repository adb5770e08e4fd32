"""Measured numbers as balls: the middle is the number, the radius a bound on its error (FLINT's ``arb``).

An answer that carries finitely many bits enters as a ball, and every number formed from it carries its own bound. One
test serves all contexts: a number is nonzero when its ball does not hold zero, and an exact number is a ball of
radius zero. So ``x != y`` means "certainly different" for ``fmpq`` and ``arb`` alike; what is not certainly
different is equal as far as the precision can tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from flint import arb, ctx, fmpq, fmpq_mat, fmpz

from precision.ball_algebra import ball_rank, reduce_rows
from precision.context import Context, Number
from precision.dyadic import round_to_grid
from precision.rounded import GUARD_BITS, RoundedContext

LONGEST_STEP_BITS = 28
"""A difference is taken over at least this share of its room (in bits), however many bits an answer has.

The step h costs -log2(h) bits of a slope, and the danger of stepping over a kink falls like h: with 2^-28 of a
region's width a network of a thousand kinks on a line spoils one difference in 10^5.
"""

LONGEST_BESIDE_BITS = 40
"""The same for places beside a boundary, where only whether f bends is asked and no slope is lost."""


class BallContext(Context):
    """A rounded context whose numbers are balls.

    Args:
        rounded: the context that the answers come in; its ``answer_bits`` set the radius of an answer.
    """

    def __init__(self, rounded: RoundedContext):
        self.name = rounded.name
        self.claim = rounded.claim
        self.prec = rounded.prec
        assert rounded.answer_bits is not None, "a rounded context says how many bits its answers have"
        self.answer_bits = self.bits = rounded.answer_bits
        self.step_bits = min(LONGEST_STEP_BITS, self.bits // 4)
        self.beside_bits = min(LONGEST_BESIDE_BITS, self.bits // 4)
        self.point_bits = rounded.point_bits
        self.rounded = rounded

    def working(self) -> contextlib.AbstractContextManager[object]:
        return ctx.workprec(self.bits + GUARD_BITS)

    def number(self, value: fmpq | fmpz | Fraction | int | float) -> arb:
        return arb(fmpq(value.numerator, value.denominator)) if isinstance(value, Fraction) else arb(value)

    def rational(self, value: Number) -> fmpq:
        return middle(value)

    def measured(self, value: Number, error: Number) -> arb:
        """A number of the rounded context with a bound on its error, as a ball."""
        rational = self.rounded.rational
        return ball(rational(value), rational(self.rounded.number(1) * error))

    def noise(self, magnitude: Number) -> arb:
        return arb(abs(magnitude)) * arb(2) ** (1 - self.bits)

    def is_zero(self, value: Number, error: Number) -> bool:
        return not abs(value) > error

    def solve(self, matrix: np.ndarray, right: np.ndarray) -> np.ndarray | None:
        rows, unknowns = matrix.shape
        if rows < unknowns:
            raise ValueError(f"{rows} equations cannot fix {unknowns} unknowns; give at least as many rows")
        reduced = reduce_rows(np.concatenate([matrix, right], axis=1).tolist(), unknowns)
        if reduced.rank < unknowns:
            return None
        solution = np.empty((unknowns, right.shape[1]), dtype=object)
        for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
            solution[pivot, :] = row[unknowns:]
        return solution

    def rank(self, matrix: np.ndarray) -> int:
        return ball_rank(matrix.tolist())

    def nullspace(self, matrix: np.ndarray) -> np.ndarray:
        columns = matrix.shape[1]
        reduced = reduce_rows(matrix.tolist(), columns)
        free = [j for j in range(columns) if j not in reduced.pivots]
        basis = self.zeros(columns, len(free))
        for k, j in enumerate(free):
            basis[j, k] = arb(1)
            for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
                basis[pivot, k] = -row[j]
        return basis

    def normalise_row(self, row: Sequence[Number]) -> tuple[np.ndarray, arb]:
        norm = sum((arb(x) * x for x in row), arb(0)).sqrt()
        if vanishes(norm):
            raise ValueError("a row of zeros has no direction")
        normal = np.empty(len(row), dtype=object)
        normal[:] = [x / norm for x in row]
        return normal, norm

    def to_grid(self, value: Number, bits: int) -> fmpq:
        return round_to_grid(middle(value), bits)


def independent_sum(terms: Iterable[Number]) -> arb:
    """A sum whose terms have independent errors: the radius is the root of the sum of squares, and no proof."""
    balls = [arb(x) for x in terms]
    radii = np.array([float(x.rad()) for x in balls])
    return arb(sum((x.mid() for x in balls), arb(0)).mid(), float(np.sqrt(radii @ radii)))


def bits_in_use() -> int:
    """Bits of the answers that balls are made from just now; between ``BallContext.working()`` and its end."""
    return ctx.prec - GUARD_BITS


def ball(value: fmpq, radius: fmpq) -> arb:
    """The ball around ``value`` with the given radius."""
    return arb(value, arb(radius))


def vanishes(value: Number) -> bool:
    """Whether a number is zero as far as it is known; ``fmpq``, ``fmpz``, int or ball."""
    return not value != 0  # noqa: SIM202 (a ball around zero is neither == 0 nor != 0)


def middle(value: Number) -> fmpq:
    """A number as a rational: itself, or the middle of a ball."""
    if isinstance(value, fmpq):
        return value
    if isinstance(value, arb):
        mantissa, exponent = value.mid().man_exp()
        shift = int(exponent)
        return fmpq(mantissa << shift) if shift >= 0 else fmpq(mantissa, fmpz(1) << -shift)
    return fmpq(value)


def radius(value: Number) -> fmpq:
    """By how much a number may be off: zero for a rational, the radius of a ball."""
    return middle(arb(value.rad())) if isinstance(value, arb) else fmpq(0)


def middles(values: np.ndarray) -> fmpq_mat:
    """A (rows, columns) object array of any numbers as a rational matrix."""
    rows, columns = values.shape
    return fmpq_mat(rows, columns, [middle(x) for x in values.ravel()])


def to_float(value: Number) -> float:
    """Nearest double, or thereabouts for a ball."""
    if isinstance(value, arb):
        return float(value.mid())
    rational = middle(value)
    return int(rational.p) / int(rational.q)


def quotient(value: Number, by: Number) -> Number:
    """value / by: a rational where both are exact, a ball where one is."""
    if isinstance(value, arb) or isinstance(by, arb):
        return value / by
    if isinstance(value, fmpq) or isinstance(by, fmpq):
        return fmpq(value) / fmpq(by)
    return fmpq(value, by)


def steepest(values: Iterable[Number]) -> int:
    """Index of the entry that is largest in modulus; the first of several."""
    sizes = [abs(x) for x in values]
    return sizes.index(max(sizes))


def accuracy_bits(value: arb, size: Number) -> int:
    """-log2 of the radius over a size; 0 when nothing is known, a million when the number is exact."""
    if value.is_exact():
        return 1_000_000
    share = arb(size).abs_lower() / value.rad()
    mantissa, exponent = share.mid().man_exp()
    return max(0, int(mantissa).bit_length() - 1 + int(exponent)) if share > 0 else 0
