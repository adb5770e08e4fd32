"""Kinks of what is not explained yet, on lines through Gaussian points, at any noise.

The line search of ``jaxtract.search`` places a kink between two short affine pieces, which takes answers with far more
bits than kinks are apart. Here a piece is what many samples agree on: cells of a line are split until four samples
of a cell are affine within the noise, and neighbours that agree are one piece. Kinks nearer to each other than the
noise allows to tell apart come out as one: the clusters of Chen, Klivans and Meka 2021.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

REACHES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 9.0, 12.0, 18.0, 24.0, 48.0, 96.0)
"""Ends of the first cells of a line on either side of its base, in units of sqrt(inputs), a Gaussian point's size.

A hyperplane at the distance of a neuron that matters crosses a random line at a distance that is Cauchy distributed:
beyond the last one are 1 in 100. Another line has another chance.
"""

FIRST, SECOND = 0.38, 0.69
"""Where in a cell it is asked; unequal parts, so that opposite kinks do not cancel."""

DEVIATIONS = 5.0
"""Standard errors that a sample may be off."""

SHORTEST = 1e-13
"""Cells shorter than this share of their distance from the origin are not split."""

LEVELS = 40
MOST_OPEN = 5000
"""Cells of a line that are open at a time: more are not kinks but steps of rounding."""

FEWEST = 3
"""Samples that a piece needs: any two lie on a line."""

Unexplained = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(points, inputs) to what a model leaves of f, (points, outputs) in units of the outputs, and its noise, (points,)."""


class Staircase(Exception):  # noqa: N818  (a finding about the answers)
    """A line has so many kinks that the noise must be larger than was assumed."""


@dataclasses.dataclass(frozen=True)
class Kinks:
    """Kinks on one line p + t v, ascending, and the affine pieces beside them.

    Attributes:
        base, direction: of the line; the direction has length one.
        places: (kinks,) t; kinks nearer than the noise allows to tell apart are one.
        jumps: (kinks, outputs) changes of slope.
        left, right: (kinks, 2) first and last sample of the pieces on both sides.
    """

    base: np.ndarray
    direction: np.ndarray
    places: np.ndarray
    jumps: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def place(self, first: int, last: int) -> float:
        """Where a group of kinks is, each counted by its jump."""
        own = slice(first, last + 1)
        weights = np.maximum(np.abs(self.jumps[own]).max(axis=1), np.finfo(np.float64).tiny)
        return float(np.average(self.places[own], weights=weights))

    def merged(self, least: float) -> Kinks:
        """Neighbours become one kink where telling them apart changes values by less than ``least``."""
        if not len(self.places):
            return self
        sizes = np.abs(self.jumps).max(axis=1)
        apart = np.diff(self.places) * np.minimum(sizes[1:], sizes[:-1]) > least
        first = np.flatnonzero(np.concatenate([[True], apart]))
        last = np.append(first[1:], len(sizes)) - 1
        return dataclasses.replace(
            self,
            places=np.array([self.place(int(a), int(b)) for a, b in zip(first, last, strict=True)]),
            jumps=np.add.reduceat(self.jumps, first, axis=0),
            left=self.left[first],
            right=self.right[last],
        )


def kinks_on_lines(unexplained: Unexplained, bases: np.ndarray, directions: np.ndarray) -> list[Kinks]:
    """Search lines, all at once, for kinks.

    Args:
        unexplained: what is looked at.
        bases, directions: (lines, inputs).

    Raises:
        Staircase: the noise is larger than ``unexplained`` says.
    """
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    samples = _sample(unexplained, bases, directions)
    return [_kinks(base, direction, *own) for base, direction, own in zip(bases, directions, samples, strict=True)]


class _Asked:
    """Samples of all lines, as they come."""

    def __init__(self, unexplained: Unexplained, bases: np.ndarray, directions: np.ndarray):
        self.unexplained, self.bases, self.directions = unexplained, bases, directions
        self.line: list[np.ndarray] = []
        self.place: list[np.ndarray] = []
        self.value: list[np.ndarray] = []
        self.noise: list[np.ndarray] = []

    def __call__(self, line: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and noise."""
        values, noise = self.unexplained(self.bases[line] + place[:, None] * self.directions[line])
        self.line.append(line)
        self.place.append(place)
        self.value.append(values)
        self.noise.append(noise)
        return values, noise

    def of_lines(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(places, values, noise) of every line, ascending and without repetition."""
        line, place, value, noise = map(np.concatenate, (self.line, self.place, self.value, self.noise))
        out = []
        for i in range(len(self.bases)):
            own = np.flatnonzero(line == i)
            t, first = np.unique(place[own], return_index=True)
            out.append((t, value[own[first]], noise[own[first]]))
        return out


def _sample(unexplained, bases, directions) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Samples of every line, dense where it bends."""
    asked = _Asked(unexplained, bases, directions)
    lines, inputs = bases.shape
    edges = np.sqrt(inputs) * np.array([*(-x for x in REACHES[::-1]), 0.0, *REACHES])
    cells = len(edges) - 1
    values, noise = asked(np.repeat(np.arange(lines), len(edges)), np.tile(edges, lines))
    values, noise = values.reshape(lines, len(edges), -1), noise.reshape(lines, len(edges))
    open_cells = _Cells(
        np.repeat(np.arange(lines), cells),
        np.tile(edges[:-1], lines),
        np.tile(edges[1:], lines),
        values[:, :-1].reshape(lines * cells, -1),
        values[:, 1:].reshape(lines * cells, -1),
        np.maximum(noise[:, :-1], noise[:, 1:]).ravel(),
    )
    closed: list[_Cells] = []
    for _ in range(LEVELS):
        if not len(open_cells):
            break
        thirds, affine = _look_inside(asked, open_cells)
        closed.append(open_cells.take(affine))
        reach = np.maximum(np.abs(open_cells.left), np.abs(open_cells.right)) + np.sqrt(inputs)
        split = ~affine & (open_cells.right - open_cells.left > SHORTEST * reach)
        split[split] = ~_single_kink(asked, open_cells.take(split), _Cells.join(closed))
        open_cells = _Cells.join([part.take(split) for part in thirds])
        if len(open_cells) > MOST_OPEN * lines:
            raise Staircase
    return asked.of_lines()


@dataclasses.dataclass(frozen=True)
class _Cells:
    """Intervals of lines with the values at both ends, and the larger of their errors."""

    line: np.ndarray
    left: np.ndarray
    right: np.ndarray
    left_value: np.ndarray
    right_value: np.ndarray
    noise: np.ndarray

    def __len__(self) -> int:
        return len(self.line)

    def take(self, kept: np.ndarray) -> _Cells:
        return _Cells(*(getattr(self, field.name)[kept] for field in dataclasses.fields(self)))

    @classmethod
    def join(cls, parts: list[_Cells]) -> _Cells:
        return cls(*(np.concatenate([getattr(p, field.name) for p in parts]) for field in dataclasses.fields(cls)))


def _look_inside(asked: _Asked, cells: _Cells) -> tuple[list[_Cells], np.ndarray]:
    """Two samples in every cell: its three parts, and whether all four samples are on one line."""
    length = cells.right - cells.left
    first, second = cells.left + FIRST * length, cells.left + SECOND * length
    both, noise = asked(np.tile(cells.line, 2), np.concatenate([first, second]))
    one, two = both[: len(cells)], both[len(cells) :]
    noise = np.maximum(cells.noise, np.maximum(noise[: len(cells)], noise[len(cells) :]))
    chord = cells.right_value - cells.left_value
    miss = np.maximum(
        np.abs(one - cells.left_value - FIRST * chord), np.abs(two - cells.left_value - SECOND * chord)
    ).max(axis=1)
    # A sample and two others that it is compared with: 1 + 0.69^2 + 0.31^2 at most.
    affine = miss <= DEVIATIONS * 1.26 * noise
    parts = [
        _Cells(cells.line, cells.left, first, cells.left_value, one, noise),
        _Cells(cells.line, first, second, one, two, noise),
        _Cells(cells.line, second, cells.right, two, cells.right_value, noise),
    ]
    return parts, affine


def _single_kink(asked: _Asked, cells: _Cells, closed: _Cells) -> np.ndarray:
    """Cells between two affine ones whose lines meet inside, and where samples beside the meeting agree."""
    ends = {(int(i), b): k for k, (i, b) in enumerate(zip(closed.line, closed.right, strict=True))}
    starts = {(int(i), a): k for k, (i, a) in enumerate(zip(closed.line, closed.left, strict=True))}
    left = np.array([ends.get((int(i), a), -1) for i, a in zip(cells.line, cells.left, strict=True)])
    right = np.array([starts.get((int(i), b), -1) for i, b in zip(cells.line, cells.right, strict=True)])
    done = np.zeros(len(cells), dtype=bool)
    between = np.flatnonzero((left >= 0) & (right >= 0))
    if not len(between):
        return done
    own, before, after = cells.take(between), closed.take(left[between]), closed.take(right[between])
    slope_before = (before.right_value - before.left_value) / (before.right - before.left)[:, None]
    slope_after = (after.right_value - after.left_value) / (after.right - after.left)[:, None]
    jump = slope_after - slope_before
    length = own.right - own.left
    ahead = own.right_value - slope_after * length[:, None] - own.left_value
    square = np.maximum((jump**2).sum(axis=1), np.finfo(np.float64).tiny)
    meet = -(jump * ahead).sum(axis=1) / square
    noise = own.noise
    error_before = noise * (1 + 2 * length / (before.right - before.left))
    error_after = noise * (1 + 2 * length / (after.right - after.left))
    spread = DEVIATIONS * (error_before + error_after) / np.sqrt(square)
    inside = (meet > 2 * spread) & (meet < length - 2 * spread)
    chosen = np.flatnonzero(inside)
    if not len(chosen):
        return done
    beside = [own.left[chosen] + (meet + side * spread)[chosen] for side in (-1, 1)]
    values, _ = asked(np.tile(own.line[chosen], 2), np.concatenate(beside))
    low, high = values[: len(chosen)], values[len(chosen) :]
    miss_low = np.abs(low - own.left_value[chosen] - slope_before[chosen] * (beside[0] - own.left[chosen])[:, None])
    miss_high = np.abs(high - own.right_value[chosen] - slope_after[chosen] * (beside[1] - own.right[chosen])[:, None])
    agree = (miss_low.max(axis=1) <= DEVIATIONS * (error_before + noise)[chosen]) & (
        miss_high.max(axis=1) <= DEVIATIONS * (error_after + noise)[chosen]
    )
    done[between[chosen[agree]]] = True
    return done


def _kinks(base: np.ndarray, direction: np.ndarray, t: np.ndarray, y: np.ndarray, noise: np.ndarray) -> Kinks:
    pieces = [piece for piece in _pieces(t, y, noise) if piece[1] - piece[0] >= FEWEST]
    lines = [_line(t[a:b], y[a:b], noise[a:b]) for a, b in pieces]
    places, jumps, left, right = [], [], [], []
    for i in range(len(pieces) - 1):
        (a, b), (c, d) = pieces[i], pieces[i + 1]
        jump = lines[i + 1][1] - lines[i][1]
        # Values of both lines at the end of the left piece.
        gap = lines[i + 1][0] + lines[i + 1][1] * (t[b - 1] - lines[i + 1][2])
        gap = gap - lines[i][0] - lines[i][1] * (t[b - 1] - lines[i][2])
        square = float(jump @ jump)
        meet = t[b - 1] - float(jump @ gap) / square if square > 0 else (t[b - 1] + t[c]) / 2
        places.append(float(np.clip(meet, t[b - 1], t[c])))
        jumps.append(jump)
        left.append((t[a], t[b - 1]))
        right.append((t[c], t[d - 1]))
    return Kinks(
        base,
        direction,
        np.array(places),
        np.array(jumps).reshape(-1, y.shape[1]),
        np.array(left).reshape(-1, 2),
        np.array(right).reshape(-1, 2),
    )


def _pieces(t: np.ndarray, y: np.ndarray, noise: np.ndarray) -> list[tuple[int, int]]:
    """Runs [start, stop) of samples that agree with one line, from left to right."""
    pieces, start = [], 0
    while start < len(t):
        stop = min(start + 2, len(t))
        while stop < len(t):
            value, slope, centre, weight, spread = _line(t[start:stop], y[start:stop], noise[start:stop])
            # Double the run while all of it agrees; then sample by sample.
            ahead = slice(stop, min(len(t), stop + max(1, stop - start)))
            off = t[ahead] - centre
            error = np.sqrt(noise[ahead] ** 2 + 1 / weight + off**2 / spread)
            good = np.abs(y[ahead] - value - slope * off[:, None]).max(axis=1) <= DEVIATIONS * error
            count = int(np.argmin(good)) if not good.all() else len(good)
            stop += count if stop - start > 3 else min(count, 1)
            if count < len(good) and (stop - start > 3 or count == 0):
                break
        pieces.append((start, stop))
        start = stop
    return pieces


def _line(t: np.ndarray, y: np.ndarray, noise: np.ndarray):
    """(value at centre, slope, centre, weight, spread) of weighted least squares; values and slopes (outputs,)."""
    w = 1 / noise**2
    weight = w.sum()
    centre = float((w * t).sum() / weight)
    off = t - centre
    spread = max(float((w * off**2).sum()), np.finfo(np.float64).tiny)
    base = y[0]
    value = base + (w[:, None] * (y - base)).sum(axis=0) / weight
    slope = (w[:, None] * off[:, None] * (y - base)).sum(axis=0) / spread
    return value, slope, centre, weight, spread
