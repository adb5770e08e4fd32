"""What a line search returns: the affine pieces and kinks of f along one line."""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq

from precision.context import Context, Number


@dataclasses.dataclass(frozen=True)
class Line:
    """The line base + t direction; ``direction[pivot]`` is 1, so that dividing by it keeps numbers short."""

    base: tuple[fmpq, ...]
    direction: tuple[fmpq, ...]
    pivot: int


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
        if context.exact:
            return self.noise
        return self.noise * context.number(1 + 2 * abs(position - self.position) / self.baseline)

    def slope_error(self, context: Context) -> Number:
        return self.noise * 2 / context.number(self.baseline)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """An interval that holds more than one kink and could not be split further."""

    left: fmpq
    right: fmpq


@dataclasses.dataclass(frozen=True)
class LineProfile:
    """g(t) = f(p + t v) on the whole line, as far as it was searched.

    ``kinks[i]`` (a number of the context) separates ``pieces[i]`` from ``pieces[i + 1]``; beyond
    2^``reach_bits`` in both directions the outer pieces were seen to go on.
    """

    pieces: tuple[Piece, ...]
    kinks: tuple[Number, ...]
    clusters: tuple[Cluster, ...]
    reach_bits: int
