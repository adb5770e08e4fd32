"""Exact evaluation piece by piece: on one affine piece of the network, a batch shares one affine map.

Queries around a few anchors meet few activation patterns. Float64 proves the pattern of nearly every point
(``float64_signs``); the exact affine map of a pattern is composed once over the integers; then a point
anchor + step * direction costs one multiplication per output, f = F[anchor] + step G[direction]. Points that float64
cannot decide, or whose piece holds too few of them, go to another exact evaluator.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from flint import fmpq, fmpz, fmpz_mat
from jaxtyping import Bool, Int

from jaxtract.evaluation.float64_signs import (
    FirstImages,
    active_units,
    float64_layer,
    nearest_float64,
    quotients,
)
from jaxtract.oracle.evaluate import FirstLayer, FlintEvaluator, PointEvaluator
from jaxtract.oracle.points import PointBatch

CHUNK = 4096
"""Points that are grouped together: bounds memory."""

BLOCK = 512
"""Points whose signs are computed at once: their float64 arrays stay in the cache."""

UNIT_PRODUCTS = 30
"""A unit of a point that passes through Python costs as much as that many products inside FLINT (1 us, 30 ns)."""

PATTERN_PRODUCTS = 1500
"""What one more affine map costs beside its products, in the same currency."""


class PieceEvaluator(PointEvaluator):
    """Proven activation patterns in float64, affine maps in FLINT integers.

    Args:
        flint: the network.
        rest: who evaluates the points that are left; ``flint`` itself unless told.

    Attributes:
        points, left: points evaluated so far, and how many of them were left to ``rest``.
    """

    def __init__(self, flint: FlintEvaluator, rest: PointEvaluator | None = None):
        self.points = 0
        self.left = 0
        self._flint = flint
        self._network = _Network(flint)
        self._rest = rest

    def describe(self) -> str:
        return "pieces (float64 signs with a proven radius, affine maps in flint)"

    def __call__(self, points: PointBatch) -> np.ndarray:
        self.points += len(points)
        if len(self._flint.layers) == 1 or not pays(points):
            self.left += len(points)
            return (self._rest or self._flint)(points)
        values = np.empty((len(points), self._flint.outputs), dtype=object)
        exact = self._flint.first_layer(points)
        batch = _Batch(self._network, points, exact)
        left: list[int] = []
        for start in range(0, len(points), CHUNK):
            left += batch.fill(values, np.arange(start, min(start + CHUNK, len(points)))).tolist()
        self.left += len(left)
        if left:
            rest = points.select(left)
            values[left] = self._flint.continue_from(exact, rest) if self._rest is None else self._rest(rest)
        return values


def pays(points: PointBatch) -> bool:
    """Whether so few anchors and directions make up the batch that sharing their images can help."""
    moved = 0 if points.directions is None else points.directions.shape[0]
    return 2 * (points.anchors.shape[0] + moved) <= len(points)


class _Network:
    """What all batches share.

    Attributes:
        layers: integers as in ``FlintEvaluator``.
        denominators: product of the denominators of the layers 1 to l - 1, for l = 0 to all layers.
        last_rows: the rows of the last W^T.
        between: the layers between the first hidden layer and the outputs, in float64.
        axes: nearest doubles of the first W^T.
        null: units of the first layer whose weights and bias are zero.
    """

    def __init__(self, flint: FlintEvaluator):
        self.layers = flint.layers
        products = itertools.accumulate((layer[2] for layer in flint.layers[1:]), operator.mul, initial=fmpz(1))
        self.denominators = [fmpz(1), *products]
        self.last_rows = flint.layers[-1][0].tolist()
        self.between = [float64_layer(*layer) for layer in flint.layers[1:-1]]
        weight, bias, denominator = flint.layers[0]
        self.axes = nearest_float64(weight, denominator)
        columns = [all(z == 0 for z in column) for column in weight.transpose().tolist()]
        self.null = np.array(columns, np.bool_) & np.array([z == 0 for z in bias.entries()], np.bool_)

    def affine_map(self, mask: Sequence[bool]) -> tuple[fmpz_mat, fmpz_mat]:
        """(M, c) with f = (z M + S c) / (S denominators[-1]) where z / S are the values of the first layer.

        ``mask`` lists the active units of all hidden layers.
        """
        ends = list(itertools.accumulate(layer[0].ncols() for layer in self.layers[:-1]))
        _, bias, _ = self.layers[-1]
        rows = self.last_rows
        offset = bias * self.denominators[len(self.layers) - 1]
        for index in range(len(self.layers) - 2, -1, -1):
            weight, bias, _ = self.layers[index]
            linear = _masked_rows(rows, mask[ends[index] - weight.ncols() : ends[index]])
            if index == 0:
                return linear, offset
            offset = offset + bias * linear * self.denominators[index]
            rows = (weight * linear).tolist()
        raise AssertionError("a network without hidden layers has no pieces")

    def map_pays(self, points: int) -> bool:
        """Whether one affine map for so many points is cheaper than the points one by one (at most 2 rows each)."""
        shapes = [(weight.nrows(), weight.ncols()) for weight, _, _ in self.layers[1:]]
        products = sum(fan_in * width for fan_in, width in shapes)
        first, outputs = shapes[0][0], shapes[-1][1]
        alone = points * (products + UNIT_PRODUCTS * sum(fan_in for fan_in, _ in shapes))
        return PATTERN_PRODUCTS + outputs * products + 2 * points * first * outputs < alone


class _Batch:
    """Images of the anchors and directions of one batch, and what follows from them."""

    def __init__(self, network: _Network, points: PointBatch, exact: FirstLayer):
        self._network, self._points, self._exact = network, points, exact
        self._anchor, self._direction = np.array(points.anchor), np.array(points.direction)
        moved = network.axes
        if points.directions is not None:
            moved = nearest_float64(exact.directions, network.layers[0][2], points.direction_exponent)
        self._first = FirstImages(nearest_float64(exact.anchors, exact.scale), moved, network.null)

    def fill(self, values: np.ndarray, rows: Int[np.ndarray, " points"]) -> Int[np.ndarray, " left"]:
        """Write the values of these rows; returns the rows that are left to do."""
        steps = quotients([self._points.steps[row] for row in rows.tolist()], fmpz(1), self._points.step_exponent)
        blocks = [self._signs(part, steps[start : start + BLOCK]) for start, part in _blocks(rows)]
        masks, decided = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        left = [rows[~decided]]
        for group, mask in _groups(masks[decided]):
            members = rows[decided][group]
            if self._network.map_pays(len(members)):
                self._evaluate(values, members, *self._network.affine_map(mask))
            else:
                left.append(members)
        return np.sort(np.concatenate(left))

    def _signs(self, rows: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def exactly_positive(points: list[int], units: list[int]) -> list[bool]:
            return self._positive(rows[points].tolist(), units)

        anchor, direction = self._anchor[rows], self._direction[rows]
        return active_units(self._first, self._network.between, anchor, direction, steps, exactly_positive)

    def _positive(self, rows: list[int], units: list[int]) -> list[bool]:
        anchors, directions, shift = self._exact.anchors, self._exact.directions, self._exact.shift
        points = self._points
        return [
            anchors[points.anchor[row], unit] + points.steps[row] * shift * directions[points.direction[row], unit] > 0
            for row, unit in zip(rows, units, strict=True)
        ]

    def _evaluate(self, values: np.ndarray, members: np.ndarray, linear: fmpz_mat, offset: fmpz_mat) -> None:
        anchor, direction, exact = self._anchor[members].tolist(), self._direction[members].tolist(), self._exact
        bases = _row_products(exact.anchors, exact.anchor_rows, anchor, linear, offset * exact.scale)
        moves = _row_products(exact.directions, exact.direction_rows, direction, linear * exact.shift, None)
        denominator, steps = exact.scale * self._network.denominators[-1], self._points.steps
        for row, a, d in zip(members.tolist(), anchor, direction, strict=True):
            step = steps[row]
            values[row] = [fmpq(z + step * v, denominator) for z, v in zip(bases[a], moves[d], strict=True)]


def _blocks(rows: Int[np.ndarray, " points"]) -> Iterator[tuple[int, Int[np.ndarray, " block"]]]:
    for start in range(0, len(rows), BLOCK):
        yield start, rows[start : start + BLOCK]


def _groups(masks: Bool[np.ndarray, "points units"]) -> list[tuple[Int[np.ndarray, " members"], list[bool]]]:
    """Members of every activation pattern, with the pattern."""
    if not len(masks):
        return []
    packed = np.packbits(masks, axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    members = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    return [(group, masks[index].tolist()) for group, index in zip(members, first, strict=True)]


def _masked_rows(rows: list[list[fmpz]], mask: Sequence[bool]) -> fmpz_mat:
    columns = len(rows[0])
    zeros = [0] * columns
    entries = [z for row, active in zip(rows, mask, strict=True) for z in (row if active else zeros)]
    return fmpz_mat(len(rows), columns, entries)


def _row_products(
    matrix: fmpz_mat, rows: Callable[[], list[list[fmpz]]], used: list[int], linear: fmpz_mat, offset: fmpz_mat | None
) -> dict[int, list[fmpz]] | list[list[fmpz]]:
    """Row r of matrix * linear + offset for every used r. Copying rows out costs more than a product too many."""
    chosen = list(dict.fromkeys(used))
    whole = 2 * len(chosen) >= matrix.nrows()
    if not whole:
        listed = rows()
        matrix = fmpz_mat(len(chosen), matrix.ncols(), [entry for row in chosen for entry in listed[row]])
    product = matrix * linear
    if offset is not None:
        product = product + _ones(product.nrows()) * offset
    return product.tolist() if whole else dict(zip(chosen, product.tolist(), strict=True))


def _ones(rows: int) -> fmpz_mat:
    return fmpz_mat(rows, 1, [1] * rows)
