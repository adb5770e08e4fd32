"""Where a recovered function begins to be wrong: the border of what it still lacks.

Between an input where it agrees with the black box and one where it does not there is a first kink of the
difference. Halving the segment and intersecting the difference with zero finds it from some twenty queries, whatever
the number of kinks in between, and on the near side of it everything is known: a neuron that is on for one input in a
thousand costs no search of whole lines. (The intersection is that of the line search of Carlini, Jagielski, Mironov
2020, section 4.1, on a difference.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator

import numpy as np
from flint import fmpq

from jaxtract.geometry.distances import distances
from jaxtract.layers.any_depth.kinks.pool import SearchedLine
from jaxtract.layers.any_depth.whole.extreme_lines import line_through
from jaxtract.measurement.gradients import gradient_columns, whole_gradient
from jaxtract.oracle.counting import Purpose
from jaxtract.oracle.points import PointBatch, on_lines
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.balls import middle, steepest, vanishes
from precision.context import Context, Number
from precision.dyadic import dyadic_matrix, floor_to_grid, from_float, power_of_two
from precision.kink import Piece

HALVINGS = 6
"""Times a segment is halved before intersections are tried, too."""

MOST_ROUNDS = 80
BESIDE_BITS = 140
"""An intersection is believed when the difference is zero 2^-140 before it, and as predicted as far behind it."""

CLOSE_BITS = 160
"""The line that the pool is given shows the border from this near, so that nothing else is on it."""


@dataclasses.dataclass(frozen=True)
class Border:
    """The first kink of f - recovered on a segment, seen from near.

    Attributes:
        searched: a line of two pieces around the kink; the gradient of the first, where both agree, is known.
        difference: f - recovered at position 1 on it, (outputs,).
    """

    searched: SearchedLine
    difference: np.ndarray

    @property
    def bends(self) -> bool:
        """Whether f itself has a kink there; otherwise it is the recovered function that should not have one."""
        left, right = self.searched.profile.pieces
        return any(left.slope != right.slope)


class Recovered:
    """The recovered function in the place of a black box; asking it costs nothing."""

    def __init__(self, evaluator: Callable[[PointBatch], np.ndarray], context: Context):
        self.context = context
        self._evaluator = evaluator

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        return self._evaluator(points)


_Wishes = Generator[list[fmpq], np.ndarray, "tuple[Number, np.ndarray] | None"]
"""Yields positions, receives differences (positions, outputs), returns (kink, slope of the difference behind it)."""


def first_borders(
    asker: Asker, recovered: Recovered, good: np.ndarray, bad: np.ndarray, rng: np.random.Generator
) -> list[Border]:
    """The border between good[i] and bad[i], for all pairs at once; queries count as ``search``.

    Args:
        asker: the black box.
        recovered: what is known of it, with the same inputs.
        good, bad: inputs (pairs, inputs), float64, where both agree and where they do not.
        rng: for pairs that coincide.

    Returns:
        One border per pair for which there is one; a pair whose ends do not turn out as expected gives none.
    """
    if not len(good):
        return []
    lines = [_towards(low, high, rng) for low, high in zip(good, bad, strict=True)]
    bases = dyadic_matrix([line.base for line in lines], good.shape[1])
    directions = dyadic_matrix([line.direction for line in lines], good.shape[1])
    beside_bits = BESIDE_BITS if asker.context.exact else distances().border_beside
    searches = [
        _first_kink(abs(floor_to_grid(from_float(high[line.pivot]) - line.base[line.pivot], 40)), beside_bits)
        for high, line in zip(bad, lines, strict=True)
    ]
    found: list[tuple[int, Number, np.ndarray]] = []
    waiting = [(i, search, next(search)) for i, search in enumerate(searches)]
    while waiting:
        index = [i for i, _, wanted in waiting for _ in wanted]
        batch = on_lines(bases, directions, index, [t for _, _, wanted in waiting for t in wanted])
        differences = asker.ask(batch, "search") - recovered.ask(batch, "search")
        following, start = [], 0
        for i, search, wanted in waiting:
            part = differences[start : start + len(wanted)]
            start += len(wanted)
            try:
                following.append((i, search, search.send(part)))
            except StopIteration as stop:
                if stop.value is not None:
                    found.append((i, *stop.value))
        waiting = following
    if asker.context.exact:
        return [_seen_from_near(recovered, lines[i], kink, slope) for i, kink, slope in found]
    return [_measured_from_near(asker, lines[i], kink, slope) for i, kink, slope in found]


def _towards(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> Line:
    """The line from ``low`` in the direction of ``high``."""
    line = line_through(low, high, rng)
    if high[line.pivot] < low[line.pivot]:
        return Line(line.base, tuple(-v for v in line.direction), line.pivot)
    return line


def _first_kink(end: fmpq, beside_bits: int) -> _Wishes:
    """The search on one segment from 0, where there is no difference, to ``end``."""
    low, high = fmpq(0), end
    at_low, value = yield [low, high]
    if end == 0 or _differs(at_low) or not _differs(value):
        return None
    for turn in range(MOST_ROUNDS):
        centre = (low + high) / 2
        if turn < HALVINGS:
            (at_centre,) = yield [centre]
        else:
            beside = high - (high - low) * power_of_two(-20)
            at_centre, near = yield [centre, beside]
            slope = (value - near) / (high - beside)
            kink = _zero_of(value, slope, high)
            if kink is not None and low < kink < high:
                step, grid_bits = power_of_two(-beside_bits), beside_bits + 20
                places = [floor_to_grid(middle(kink) + side * step, grid_bits) for side in (-1, 1)]
                before, behind = yield places
                if not _differs(before) and not _differs(behind - slope * (places[1] - kink)):
                    return kink, slope
                if _differs(before):
                    high, value = places[0], before
                elif _differs(behind):
                    low, high, value = places[0], places[1], behind
                else:
                    low = places[1]
        if low < centre < high:
            low, high, value = (low, centre, at_centre) if _differs(at_centre) else (centre, high, value)
    return None


def _differs(differences: np.ndarray) -> bool:
    return any(x != 0 for x in differences)


def _zero_of(value: np.ndarray, slope: np.ndarray, position: fmpq) -> Number | None:
    """Where all outputs of value + slope (t - position) vanish together."""
    o = steepest(slope)
    if vanishes(slope[o]):
        return None
    back = -value[o] / slope[o]
    return None if _differs(value + slope * back) else position + back


def _seen_from_near(recovered: Recovered, line: Line, kink: fmpq, slope: np.ndarray) -> Border:
    """The line moved to the kink and stretched, with what is known of the pieces on both sides."""
    near, at, unit = _stretched(line, kink, CLOSE_BITS)
    extra = slope * unit
    values = _values_near(recovered, near)
    left = Piece(fmpq(-1), values[1], values[1] - values[0], fmpq(1), 0)
    right = Piece(fmpq(1), values[2] + extra * (1 - at), values[3] - values[2] + extra, fmpq(1), 0)
    profile = LineProfile((left, right), (at,), (), 0)
    searched = SearchedLine(near, profile, {0: _gradient(recovered, near, profile)}, border=True)
    return Border(searched, extra * (1 - at))


def _measured_from_near(asker: Asker, line: Line, kink: Number, slope: np.ndarray) -> Border:
    """The same from the black box itself: the recovered function is too rough to be differenced that near."""
    near, rough, unit = _stretched(line, kink, distances().border_close)
    values = _values_near(asker, near)
    left = Piece(fmpq(-1), values[1], values[1] - values[0], fmpq(1), 0)
    right = Piece(fmpq(1), values[2], values[3] - values[2], fmpq(1), 0)
    bend = right.slope - left.slope
    at = 1 - _zero_back(values[2] - values[1] - 2 * left.slope, bend) if _differs(bend) else rough
    profile = LineProfile((left, right), (at,), (), 0)
    searched = SearchedLine(near, profile, {0: _gradient(asker, near, profile)}, border=True)
    return Border(searched, slope * unit * (1 - rough))


def _stretched(line: Line, kink: Number, bits: int) -> tuple[Line, Number, fmpq]:
    """The line from near a kink in units of 2^-bits: (line, where the kink is on it, the unit)."""
    anchor, unit = floor_to_grid(middle(kink), bits + 40), power_of_two(-bits)
    base = tuple(p + anchor * v for p, v in zip(line.base, line.direction, strict=True))
    return Line(base, tuple(v * unit for v in line.direction), line.pivot), (kink - anchor) / unit, unit


def _values_near(asker: Asker, near: Line) -> np.ndarray:
    """Answers at -2, -1, 1 and 2 on a stretched line, (4, outputs)."""
    bases, directions = (dyadic_matrix([ends], len(near.base)) for ends in (near.base, near.direction))
    return asker.ask(on_lines(bases, directions, [0] * 4, [fmpq(t) for t in (-2, -1, 1, 2)]), "search")


def _zero_back(gap: np.ndarray, bend: np.ndarray) -> Number:
    """How far back pieces meet that are ``gap`` apart here and differ by ``bend`` in slope."""
    o = steepest(bend)
    return gap[o] / bend[o]


def _gradient(asker: Asker, line: Line, profile: LineProfile) -> np.ndarray:
    """The gradient (outputs, inputs) of the left piece, where the recovered function is right."""
    axes = [k for k in range(len(line.base)) if k != line.pivot]
    (columns,) = gradient_columns(asker, line, profile, [0], axes)
    return whole_gradient(line, profile.pieces[0].slope, columns, axes)
