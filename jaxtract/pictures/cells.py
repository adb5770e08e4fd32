"""Convex cells of a plane, and how many of them at once are cut by lines."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Cells:
    """Convex polygons in one array, each vertex list padded to the longest.

    Attributes:
        vertices: (cells, longest, 2), in order around the cell; what lies behind ``counts`` means nothing.
        counts: (cells,) vertices of each.
    """

    vertices: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def real(self) -> np.ndarray:
        """(cells, longest) where a vertex is one, not padding."""
        return np.arange(self.vertices.shape[1]) < self.counts[:, None]

    def middles(self) -> np.ndarray:
        """The mean of each cell's vertices, which lies inside it, (cells, 2)."""
        total = np.where(self.real[..., None], self.vertices, 0).sum(axis=1)
        return total / self.counts[:, None]

    def chosen(self, which: np.ndarray) -> Cells:
        """Some of the cells, by mask or index."""
        return Cells(self.vertices[which], self.counts[which])


@dataclasses.dataclass(frozen=True)
class Cut:
    """Cells after every one was cut by a line of its own, or left whole.

    Attributes:
        cells: the whole ones and both parts of the others.
        origin: (cells,) which cell before the cut each one was (part of).
        segments: (segments, 2, 2) where a line runs through a cell, or along an edge of a cell on its positive side.
    """

    cells: Cells
    origin: np.ndarray
    segments: np.ndarray


def cut(cells: Cells, forms: np.ndarray, tolerance: np.ndarray) -> Cut:
    """Cut every cell along the zeros of its affine form.

    Args:
        cells: what is cut.
        forms: (cells, 3) coefficients of (1, s, t).
        tolerance: (cells,) values up to this are zero: a vertex lies on the line.
    """
    values = forms[:, None, 0] + np.einsum("ckx,cx->ck", cells.vertices, forms[:, 1:])
    values = np.where(cells.real & (np.abs(values) > tolerance[:, None]), values, 0.0)
    above, below = np.any(values > 0, axis=1), np.any(values < 0, axis=1)
    through = above & below
    touching = above & ~below & (np.sum(cells.real & (values == 0), axis=1) > 1)
    parted, lines = _parted(cells.chosen(through), values[through], forms[through])
    edges = _ends(cells.vertices[touching], (values == 0)[touching] & cells.real[touching], forms[touching])
    index = np.arange(len(cells))
    return Cut(
        _joined([cells.chosen(~through), *parted]),
        np.concatenate([index[~through], index[through], index[through]]),
        np.concatenate([lines, edges]),
    )


def _parted(cells: Cells, values: np.ndarray, forms: np.ndarray) -> tuple[list[Cells], np.ndarray]:
    """Both parts of cells that their lines run through, and the segments between the parts."""
    rows, longest = np.arange(len(cells)), cells.vertices.shape[1]
    after = (np.arange(longest) + 1) % cells.counts[:, None]
    next_value = values[rows[:, None], after]
    next_vertex = cells.vertices[rows[:, None], after]
    crossed = cells.real & (values * next_value < 0)
    share = np.divide(values, values - next_value, out=np.zeros_like(values), where=crossed)
    crossings = cells.vertices + share[..., None] * (next_vertex - cells.vertices)
    # Around the cell: every vertex, then what is crossed on the edge behind it.
    around = np.stack([cells.vertices, crossings], axis=2).reshape(len(cells), 2 * longest, 2)
    sides = [
        np.stack([cells.real & (side * values >= 0), crossed], axis=2).reshape(len(cells), 2 * longest)
        for side in (1, -1)
    ]
    return [_packed(around, kept) for kept in sides], _ends(around, sides[0] & sides[1], forms)


def _packed(around: np.ndarray, kept: np.ndarray) -> Cells:
    """Cells of the vertices that are kept."""
    counts = kept.sum(axis=1)
    order = np.argsort(~kept, axis=1, kind="stable")[:, : int(counts.max(initial=0))]
    return Cells(np.take_along_axis(around, order[..., None], axis=1), counts)


def _ends(points: np.ndarray, on_line: np.ndarray, forms: np.ndarray) -> np.ndarray:
    """The two outermost of every cell's points on its line, (cells, 2, 2)."""
    if not len(points):
        return np.empty((0, 2, 2))
    along = np.stack([-forms[:, 2], forms[:, 1]], axis=1)
    place = np.einsum("ckx,cx->ck", points, along)
    rows = np.arange(len(points))
    first = np.argmin(np.where(on_line, place, np.inf), axis=1)
    last = np.argmax(np.where(on_line, place, -np.inf), axis=1)
    return np.stack([points[rows, first], points[rows, last]], axis=1)


def _joined(parts: list[Cells]) -> Cells:
    longest = max(part.vertices.shape[1] for part in parts)
    padded = [
        np.concatenate([part.vertices, np.zeros((len(part), longest - part.vertices.shape[1], 2))], axis=1)
        for part in parts
    ]
    return Cells(np.concatenate(padded), np.concatenate([part.counts for part in parts]))
