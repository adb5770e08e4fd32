"""A batch of query points: anchor + step * direction, kept in that form until somebody evaluates it.

A batch of many thousand points in a 784-dimensional space holds few anchors and few directions. Whoever
evaluates the batch may use that: a linear layer maps anchors and directions once, not every point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from precision.dyadic import DyadicMatrix, dyadic_exponent, dyadic_matrix


@dataclasses.dataclass(frozen=True)
class PointBatch:
    """``len(anchor)`` points of dimension d; point r is anchors[anchor[r]] + steps[r] * direction[r].

    Attributes:
        anchors: (A, d) dyadic matrix.
        directions: (D, d) dyadic matrix, or None for the d coordinate axes.
        anchor, direction: row indices, one per point.
        steps: dyadic step per point, in units of 2^-step_exponent.
    """

    anchors: DyadicMatrix
    directions: DyadicMatrix | None
    anchor: tuple[int, ...]
    direction: tuple[int, ...]
    steps: tuple[fmpz, ...]
    step_exponent: int

    def __len__(self) -> int:
        return len(self.anchor)

    @property
    def dimension(self) -> int:
        return self.anchors.shape[1]

    @property
    def direction_exponent(self) -> int:
        return 0 if self.directions is None else self.directions.exponent

    @property
    def exponent(self) -> int:
        """All points lie on the grid 2^-exponent."""
        return max(self.anchors.exponent, self.step_exponent + self.direction_exponent, 0)

    def take(self, start: int, stop: int) -> PointBatch:
        """Points start..stop-1; anchors and directions are shared, not copied."""
        return dataclasses.replace(
            self,
            anchor=self.anchor[start:stop],
            direction=self.direction[start:stop],
            steps=self.steps[start:stop],
        )

    def select(self, rows: Sequence[int]) -> PointBatch:
        """The points of these rows, in this order; anchors and directions are shared, not copied."""
        return dataclasses.replace(
            self,
            anchor=tuple(self.anchor[row] for row in rows),
            direction=tuple(self.direction[row] for row in rows),
            steps=tuple(self.steps[row] for row in rows),
        )

    def chunks(self, size: int) -> Iterator[PointBatch]:
        for start in range(0, len(self), size):
            yield self.take(start, start + size)

    def dense(self) -> DyadicMatrix:
        """All coordinates written out, (points, d)."""
        exponent = self.exponent
        rows = self.anchors.at_exponent(exponent).tolist()
        shift = fmpz(1) << (exponent - self.step_exponent - self.direction_exponent)
        directions = None if self.directions is None else self.directions.mantissa.tolist()
        entries: list[fmpz] = []
        for a, d, step in zip(self.anchor, self.direction, self.steps, strict=True):
            row = rows[a]
            if directions is None:
                row = list(row)
                row[d] = row[d] + step * shift
            elif step != 0:
                factor = step * shift
                row = [x + factor * v for x, v in zip(row, directions[d], strict=True)]
            entries.extend(row)
        return DyadicMatrix(fmpz_mat(len(self), self.dimension, entries), exponent)

    def fractions(self) -> list[list[Fraction]]:
        """All coordinates as ``fractions.Fraction``, for callables that know no FLINT."""
        return [[Fraction(int(x.p), int(x.q)) for x in row] for row in self.dense().rows()]

    def to_float64(self) -> np.ndarray:
        """Nearest doubles, shape (points, d)."""
        return self.dense().to_float64()


def scattered(matrix: DyadicMatrix) -> PointBatch:
    """One point per row of ``matrix``."""
    count = matrix.shape[0]
    return PointBatch(matrix, None, tuple(range(count)), (0,) * count, (fmpz(0),) * count, 0)


def on_lines(
    bases: DyadicMatrix, directions: DyadicMatrix, line: Sequence[int], positions: Sequence[fmpq]
) -> PointBatch:
    """The points bases[line] + position * directions[line]; positions are dyadic rationals."""
    steps, exponent = _dyadic_steps(positions)
    return PointBatch(bases, directions, tuple(line), tuple(line), steps, exponent)


def stars(bases: DyadicMatrix, steps: Sequence[fmpq], axes: Sequence[int]) -> PointBatch:
    """Around every base one step along each of the given coordinate axes; base-major order."""
    mantissas, exponent = _dyadic_steps(steps)
    count = len(axes)
    return PointBatch(
        bases,
        None,
        tuple(g for g in range(len(steps)) for _ in range(count)),
        tuple(axes) * len(steps),
        tuple(step for step in mantissas for _ in range(count)),
        exponent,
    )


def rays(bases: DyadicMatrix, directions: DyadicMatrix, steps: Sequence[fmpq]) -> PointBatch:
    """From every base one step (a dyadic per base) along each of the directions; base-major order."""
    mantissas, exponent = _dyadic_steps(steps)
    count = directions.shape[0]
    return PointBatch(
        bases,
        directions,
        tuple(g for g in range(len(steps)) for _ in range(count)),
        tuple(range(count)) * len(steps),
        tuple(step for step in mantissas for _ in range(count)),
        exponent,
    )


def points_on_line(base: Sequence[fmpq], direction: Sequence[fmpq], positions: Sequence[fmpq]) -> DyadicMatrix:
    """base + position * direction for every position, written out."""
    return dyadic_matrix([[p + t * v for p, v in zip(base, direction, strict=True)] for t in positions], len(base))


def _dyadic_steps(steps: Sequence[fmpq]) -> tuple[tuple[fmpz, ...], int]:
    exponent = max((dyadic_exponent(step) for step in steps), default=0)
    scale = fmpz(1) << exponent
    return tuple(step.p * (scale // step.q) for step in steps), exponent
