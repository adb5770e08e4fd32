"""The coordinates that matter: f read on rank-many inputs, all others at zero.

All of f but its first weights is seen on a slice on which the first layer takes every value that it can take.
Normals and gradients there cost rank-many queries; the rows of the first layer are completed through a basis of
the row space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb_mat, fmpq, fmpq_mat, fmpz, fmpz_mat

from jaxtract.oracle.counting import Purpose
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker
from precision.ball_algebra import has_balls
from precision.context import Context, object_matrix, rational_matrix
from precision.dyadic import DyadicMatrix


@dataclasses.dataclass(frozen=True)
class InputSlice:
    """The coordinates ``axes`` of all ``inputs``, and rows that span the row space.

    Attributes:
        inputs: dimension of x.
        axes: rank-many coordinates on which the basis is regular.
        basis: (rank, inputs) rationals or balls; None where the rank is the dimension.
    """

    inputs: int
    axes: tuple[int, ...]
    basis: np.ndarray | None

    @property
    def rank(self) -> int:
        return len(self.axes)

    def full_rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows (count, rank) on the slice, completed to all coordinates: (count, inputs)."""
        if self.basis is None:
            return rows
        if has_balls(self.basis.tolist()):
            inner = arb_mat(self.basis[:, list(self.axes)].T.tolist())
            combination = inner.solve(arb_mat(rows.T.tolist()), algorithm="precond").transpose()
            return np.array((combination * arb_mat(self.basis.tolist())).tolist(), dtype=object)
        inner = rational_matrix(self.basis[:, list(self.axes)].T.copy())
        combination, denominator = inner.solve(rational_matrix(rows.T.copy())).transpose().numer_denom()
        basis, basis_denominator = rational_matrix(self.basis).numer_denom()
        # One product of integer matrices: the common denominators are long, and the rows that come out are short.
        whole = fmpq_mat(combination * basis) / (fmpz(denominator) * fmpz(basis_denominator))
        return object_matrix(whole)

    def equivalent(self, points: np.ndarray) -> np.ndarray:
        """Points (count, inputs) moved onto the slice, f unchanged, also along lines between them: (count, rank)."""
        if self.basis is None:
            return points
        if has_balls(self.basis.tolist()):
            inner = arb_mat(self.basis[:, list(self.axes)].tolist())
            images = arb_mat(self.basis.tolist()) * arb_mat(points.T.tolist())
            return np.array(inner.solve(images, algorithm="precond").transpose().tolist(), dtype=object)
        inner = rational_matrix(self.basis[:, list(self.axes)])
        images = rational_matrix(self.basis) * rational_matrix(points.T.copy())
        return object_matrix(inner.solve(images)).T

    def embed(self, points: PointBatch) -> PointBatch:
        """A batch on the slice as a batch of full inputs."""
        if self.basis is None:
            return points
        if points.directions is None:
            directions, direction = None, tuple(self.axes[k] for k in points.direction)
        else:
            directions, direction = self._wide(points.directions), points.direction
        return dataclasses.replace(
            points, anchors=self._wide(points.anchors), directions=directions, direction=direction
        )

    def _wide(self, matrix: DyadicMatrix) -> DyadicMatrix:
        wide = fmpz_mat(matrix.shape[0], self.inputs)
        for i, row in enumerate(matrix.mantissa.tolist()):
            for axis, value in zip(self.axes, row, strict=True):
                wide[i, axis] = value
        return DyadicMatrix(wide, matrix.exponent)


class SliceAsker:
    """The black box on a slice."""

    def __init__(self, asker: Asker, chosen: InputSlice):
        self._asker = asker
        self._slice = chosen
        self.context: Context = asker.context

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        return self._asker.ask(self._slice.embed(points), purpose)


def whole_space(inputs: int) -> InputSlice:
    return InputSlice(inputs, tuple(range(inputs)), None)


def embed_point(chosen: InputSlice, point: Sequence[fmpq]) -> list[fmpq]:
    """One slice point as a full input."""
    full = [fmpq(0)] * chosen.inputs
    for axis, value in zip(chosen.axes, point, strict=True):
        full[axis] = value
    return full
