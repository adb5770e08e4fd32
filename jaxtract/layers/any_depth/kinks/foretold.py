"""What known layers foretell of the lines of a pool, held against what the lines show."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz

from jaxtract.geometry.known_layers import KnownLayers, Matrix
from jaxtract.layers.any_depth.kinks.pool import PER_PIECE, Pool
from precision.balls import vanishes
from precision.context import Number


@dataclasses.dataclass(frozen=True)
class Crossed:
    """Where neurons of a layer are zero on a line.

    Attributes:
        places: positions of the kinks, and one beyond them at each end.
        heights, scales: pre-activations there, (places, width), times a positive scale at each.
        seen: whether a kink is a neuron's zero, (kinks, width).
        unseen: whether a neuron has a zero inside a piece along which f is not constant, (pieces, width).
    """

    places: list[Number]
    heights: Matrix
    scales: list[fmpz]
    seen: np.ndarray
    unseen: np.ndarray

    def zero(self, piece: int, neuron: int) -> fmpq:
        """Where a neuron is zero inside a piece, were it affine all along."""
        low, high = (fmpq(self.heights[k, neuron]) / self.scales[k] for k in (piece, piece + 1))
        start, end = fmpq(self.places[piece]), fmpq(self.places[piece + 1])
        return start + (end - start) * low / (low - high)


def crossings(pool: Pool, layers: KnownLayers) -> tuple[list[int], list[int]]:
    """For every neuron of the last layer: kinks that are its zeros, and zeros on the lines where no kink is.

    Where f is constant along a line nothing of a layer need be seen: zeros there are not counted. Where a neuron is
    on that is read with an open weight nothing is predicted.
    """
    width = layers.widths[-1]
    seen, unseen = np.zeros(width, dtype=int), np.zeros(width, dtype=int)
    for index, line in enumerate(pool.lines):
        if line.kinks:
            (crossed,) = crossed_line(pool, index, [layers])
            seen += crossed.seen.sum(axis=0)
            unseen += crossed.unseen.sum(axis=0)
    return seen.tolist(), unseen.tolist()


def crossed_line(pool: Pool, index: int, stacks: Sequence[KnownLayers]) -> list[Crossed]:
    """Where neurons of the last layer of each of several stacks are zero on a line that has kinks.

    ``stacks``: each begins with the one before it.
    """
    line = pool.lines[index]
    positions = [line.middle(0), *line.kinks, line.middle(len(line.kinks))]
    heights, scales = pool.heights(stacks[-1], [(index, t) for t in positions])
    bending = np.array([any(not vanishes(x) for x in piece.slope) for piece in line.profile.pieces])
    return [_crossed(positions, layers, heights[: layers.depth], scales, bending) for layers in stacks]


def _crossed(
    positions: list[Number], layers: KnownLayers, heights: Sequence[Matrix], scales: list[fmpz], bending: np.ndarray
) -> Crossed:
    sides = np.where(layers.linear[-1], 1, _sides(heights[-1]))
    known = _foretold(layers, heights)
    crossed = (sides[:-1] * sides[1:] < 0) & known[:-1] & known[1:]
    at_kinks = (sides[1:-1] == 0) & known[1:-1]
    return Crossed(positions, heights[-1], scales, at_kinks, crossed & bending[:, None])


def bends(pool: Pool, layers: KnownLayers) -> list[np.ndarray | None]:
    """How f bends with every neuron of the last of some exact layers: its change of slope over that of |z| / 2.

    Shape (outputs,) each, the same at every kink that is the neuron's alone; None where no kink shows it. Where a
    neuron that is not known disturbs some kinks, what most of them say.
    """
    found = [collections.Counter[tuple[Number, ...]]() for _ in range(layers.widths[-1])]
    for index, line in enumerate(pool.lines):
        if not line.kinks:
            continue
        alone = _alone(pool, index, layers)
        ends = [(index, line.middle(k + side)) for k, _ in alone for side in (0, 1)]
        heights, scales = pool.heights(layers, ends)
        for place, (k, neuron) in zip(range(0, len(ends), 2), alone, strict=True):
            before, behind = (
                fmpq(heights[-1][i, neuron]) / scales[i] / (ends[i][1] - line.kinks[k]) for i in (place, place + 1)
            )
            if before == behind != 0:
                jump = line.profile.pieces[k + 1].slope - line.profile.pieces[k].slope
                found[neuron][tuple(jump / abs(before))] += 1
    return [np.array(told.most_common(1)[0][0], dtype=object) if told else None for told in found]


def _alone(pool: Pool, index: int, layers: KnownLayers) -> list[tuple[int, int]]:
    """Kinks of a line at which one neuron of the last layer is zero, and no other of any layer: (kink, neuron)."""
    heights, _ = pool.heights(layers, [(index, t) for t in pool.lines[index].kinks])
    zeros = zeros_of(layers, heights)
    single = np.concatenate(zeros, axis=1).sum(axis=1, keepdims=True) == 1
    return [(k, i) for k, i in np.argwhere(zeros[-1] & single & _foretold(layers, heights)).tolist()]


def zeros_of(layers: KnownLayers, heights: Sequence[Matrix]) -> list[np.ndarray]:
    """For every layer which of its neurons that bend are zero at which points, (points, width)."""
    return [(_sides(z) == 0) & ~linear for z, linear in zip(heights, layers.linear, strict=True)]


def quiet_places(pool: Pool, layers: KnownLayers) -> np.ndarray:
    """Which of the places of ``known_values`` are in pieces in which no known neuron changes sign.

    In the others f may bend, and bend back, between the places where it was asked.
    """
    found: list[bool] = []
    for index, line in enumerate(pool.lines):
        if not line.profile.pieces:
            continue
        crossed = np.zeros(len(line.profile.pieces), dtype=bool)
        heights, _ = pool.heights(layers, [(index, t) for t in line.ends()])
        for z, linear in zip(heights, layers.linear, strict=True):
            sides = _sides(z)
            crossed |= np.any((sides[:-1] * sides[1:] < 0) & ~linear, axis=1)
        found += np.repeat(~crossed, len(PER_PIECE)).tolist()
    return np.array(found, dtype=bool)


def _foretold(layers: KnownLayers, heights: Sequence[Matrix]) -> np.ndarray:
    """Whether no open weight acts on a neuron of the last layer at a place, (places, width)."""
    known = np.ones((heights[0].nrows(), layers.widths[-1]), dtype=bool)
    if layers.any_open:
        patterns = layers.patterns(heights)
        known[[layers.in_doubt(pattern, layers.depth - 1) for pattern in patterns]] = False
        before = np.stack([pattern[-2] for pattern in patterns])
        for neuron, source in layers.open[-1]:
            known[:, neuron] &= ~before[:, source]
    return known


def _sides(heights: Matrix) -> np.ndarray:
    """1, -1 or 0 where a pre-activation is positive, negative or neither, (points, width)."""
    sides = [int(x > 0) - int(x < 0) for x in heights.entries()]
    return np.array(sides, dtype=int).reshape(heights.nrows(), heights.ncols())
