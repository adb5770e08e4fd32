"""Affine pieces of a function of one variable, and the kink where two of them meet.

The two pieces beside a kink determine it: in the exact context without any error, otherwise to the bits of the
answers that the pieces were drawn through.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq

from precision.context import Context, Number


@dataclasses.dataclass(frozen=True)
class Piece:
    """One affine piece of g(t) = f(p + t v), shape of value and slope: (outputs,).

    ``value`` is g at the dyadic ``position``; ``slope`` came from two answers ``baseline`` apart, each
    with an error of at most ``noise`` (zero in the exact context).
    """

    position: fmpq
    value: np.ndarray
    slope: np.ndarray
    baseline: fmpq
    noise: Number

    def at(self, position: Number) -> np.ndarray:
        """The piece, extended, at a position given as a number of the context."""
        return self.value + self.slope * position

    def offset(self, context: Context, position: fmpq) -> Number:
        return context.number(position - self.position)

    def on(self, context: Context, position: fmpq) -> np.ndarray:
        """The piece, extended, at an exact position."""
        return self.at(self.offset(context, position))

    def error(self, context: Context, position: fmpq) -> Number:
        """Bound on the error of ``on``: it grows with the distance over the baseline."""
        if context.exact or self.noise == 0:
            return self.noise
        return self.noise * context.number(1 + 2 * abs(position - self.position) / self.baseline)

    def slope_error(self, context: Context) -> Number:
        return self.noise * 2 / context.number(self.baseline)


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Where the extended outer pieces of an interval meet, and how well that place is known."""

    position: fmpq
    error: fmpq
    number: Number
    others: tuple[fmpq, ...] | None
    """None when all outputs meet at one place, as a single kink needs; else where the others meet."""


def meeting_of(context: Context, left: Piece, right: Piece) -> Meeting | None:
    """Where two pieces meet, from the output whose slope changes most; None when no slope changes."""
    slopes = right.slope - left.slope
    gaps = right.value - left.on(context, right.position)
    error = left.error(context, right.position) + right.noise
    slope_error = left.slope_error(context) + right.slope_error(context)
    o = max(range(len(slopes)), key=lambda i: abs(slopes[i]))
    if context.is_zero(slopes[o], 4 * slope_error):
        return None
    back = gaps[o] / slopes[o]
    slack, uncertainty = error, fmpq(0)
    if not context.exact:
        spread = error + abs(back) * slope_error
        slack, uncertainty = 8 * spread, context.rational(spread / abs(slopes[o]))
    others = None
    if not all(context.is_zero(x, slack) for x in gaps - slopes * back):
        bent = [i for i in range(len(slopes)) if not context.is_zero(slopes[i], 4 * slope_error)]
        others = tuple(right.position - context.rational(gaps[i] / slopes[i]) for i in bent if i != o)
    return Meeting(right.position - context.rational(back), uncertainty, context.number(right.position) - back, others)
