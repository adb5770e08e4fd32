"""Kinks along a line from gradients alone: binary search for the places where the gradient changes.

Between two kinks of a line the gradient is constant, and a kink changes it by one neuron's column times its row. So
two places with different gradients are halved until what lies between is one neuron (Milli, Schmidt, Dragan, Hardt
2019). How near two kinks may be is not known beforehand: n kinks at random have two of them within n^-2 of the
range, so that brackets are halved down to that, some bits further, and longer wherever two neurons are seen to be left.
Where a kink is, gradients show to the width of its bracket only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpq

from jaxtract.search.context_lines import scale_free_middle
from precision.dyadic import power_of_two

REACH_BITS = 70
"""Kinks farther out than 2^70 are not looked for."""

FINEST_BITS = 256
"""Brackets narrower than 2^-256 of their distance from the origin of the line are given up."""

Gradients = Callable[[Sequence[fmpq]], np.ndarray]
"""Gradients at these positions of a line, shape (positions, outputs, inputs)."""


@dataclasses.dataclass(frozen=True)
class Jump:
    """The gradient changes by ``change`` (outputs, inputs) between the positions ``left`` and ``right``."""

    left: fmpq
    right: fmpq
    change: np.ndarray


@dataclasses.dataclass(frozen=True)
class GradientProfile:
    """All jumps of a line in their order, and the gradients at its ends."""

    jumps: list[Jump]
    first: np.ndarray
    last: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Interval:
    left: fmpq
    right: fmpq
    before: np.ndarray
    after: np.ndarray

    @property
    def relative_width(self) -> fmpq:
        return (self.right - self.left) / max(fmpq(1), abs(self.left), abs(self.right))


def search_gradients(ask: Gradients, *, spare_bits: int) -> GradientProfile:
    """Find the jumps of a line, all brackets halved in step.

    Args:
        ask: the black box on the line, without rounding.
        spare_bits: b so that n brackets are halved to a relative width of n^-2 2^-b.
    """
    ends = [-power_of_two(REACH_BITS), fmpq(0), power_of_two(REACH_BITS)]
    found = ask(ends)
    pairs = itertools.pairwise(zip(ends, found, strict=True))
    open_ones = [_Interval(a, b, before, after) for (a, before), (b, after) in pairs]
    open_ones = [interval for interval in open_ones if _changes(interval)]
    jumps: list[Jump] = []
    while open_ones:
        width = power_of_two(-spare_bits - 2 * (len(open_ones) + len(jumps)).bit_length())
        settled = [interval for interval in open_ones if _is_settled(interval, width)]
        jumps += [Jump(s.left, s.right, s.after - s.before) for s in settled]
        open_ones = [interval for interval in open_ones if not _is_settled(interval, width)]
        if not open_ones:
            break
        places = [scale_free_middle(interval.left, interval.right) for interval in open_ones]
        halved = zip(open_ones, places, ask(places), strict=True)
        halves = [half for interval, place, gradient in halved for half in _halves(interval, place, gradient)]
        open_ones = [half for half in halves if _changes(half)]
    return GradientProfile(sorted(jumps, key=lambda jump: jump.left), found[0], found[-1])


def is_one_neuron(change: np.ndarray) -> bool:
    """Whether a change of the Jacobian is of rank one; with one output it always is."""
    row = next(r for r in change if any(x != 0 for x in r))
    lead = next(i for i, x in enumerate(row) if x != 0)
    return bool(np.all(change * row[lead] == np.outer(change[:, lead], row)))


def _halves(interval: _Interval, place: fmpq, gradient: np.ndarray) -> tuple[_Interval, _Interval]:
    return (
        _Interval(interval.left, place, interval.before, gradient),
        _Interval(place, interval.right, gradient, interval.after),
    )


def _changes(interval: _Interval) -> bool:
    return bool(np.any(interval.before != interval.after))


def _is_settled(interval: _Interval, width: fmpq) -> bool:
    if interval.relative_width > width:
        return False
    return is_one_neuron(interval.after - interval.before) or interval.relative_width < power_of_two(-FINEST_BITS)
