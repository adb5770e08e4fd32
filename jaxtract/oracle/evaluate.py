"""A ReLU network evaluated without rounding at a batch of points, on FLINT integer matrices."""

from __future__ import annotations

import abc

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.points import PointBatch

CHUNK = 4096
"""Points that are evaluated together: enough to hide the cost of a call, few enough to bound memory."""


class PointEvaluator(abc.ABC):
    """Exact values of one network at batches of points, however they are computed."""

    @abc.abstractmethod
    def __call__(self, points: PointBatch) -> np.ndarray:
        """f at every point: an object array of ``fmpq``, shape (points, outputs)."""

    @abc.abstractmethod
    def describe(self) -> str:
        """The method in words, with what its self-test said if it has one, for reports."""


class FlintEvaluator(PointEvaluator):
    """Exact values of one network. Denominators are cleared once; then all is integers. Skips are carried.

    In layer l every value is an integer over one common denominator: the product of the layers' own
    denominators and the power of two that the points brought along. ReLU looks at signs only.

    Attributes:
        inputs, outputs: dimensions of x and f(x).
        layers: (W^T, b^T, denominator) per layer, integers of shapes (in, out) and (1, out).
    """

    def __init__(self, network: ExactNetwork):
        network = network.plain()
        self.inputs = network.inputs
        self.outputs = network.outputs
        # The coordinate axes are the commonest directions; their image is the first weight itself.
        self._axes: list[list[fmpz]] | None = None
        self.layers = [_integer_layer(w, b) for w, b in zip(network.weights, network.biases, strict=True)]
        # A search asks the same lines again and again.
        self._anchors = _LastProduct(self.layers[0][0])
        self._directions = _LastProduct(self.layers[0][0])

    def describe(self) -> str:
        return "flint"

    def __call__(self, points: PointBatch) -> np.ndarray:
        return self.continue_from(self.first_layer(points), points)

    def first_layer(self, points: PointBatch) -> FirstLayer:
        """The first layer on the anchors and directions of a batch."""
        anchors = self._anchors(points.anchors.mantissa)
        if points.directions is not None:
            return FirstLayer(self.layers[0], points, anchors, self._directions(points.directions.mantissa), None)
        if self._axes is None:
            self._axes = self.layers[0][0].tolist()
        return FirstLayer(self.layers[0], points, anchors, self.layers[0][0], self._axes)

    def continue_from(self, first: FirstLayer, points: PointBatch) -> np.ndarray:
        """f at points that share the anchors and directions of ``first``."""
        values = np.empty((len(points), self.outputs), dtype=object)
        start = 0
        for chunk in points.chunks(CHUNK):
            values[start : start + len(chunk)] = self._chunk(first, chunk)
            start += len(chunk)
        return values

    def _chunk(self, first: FirstLayer, points: PointBatch) -> np.ndarray:
        hidden = len(self.layers) > 1
        state, scale = first.image(points, relu=hidden), first.scale
        for index, (weight, bias, denominator) in enumerate(self.layers[1:], start=1):
            state = state * weight + fmpz_mat(len(points), 1, [1] * len(points)) * (bias * scale)
            scale = scale * denominator
            if index + 1 < len(self.layers):
                state = fmpz_mat(state.nrows(), state.ncols(), [z if z > 0 else 0 for z in state.entries()])
        out = np.empty((len(points), self.outputs), dtype=object)
        out.ravel()[:] = [fmpq(z, scale) for z in state.entries()]
        return out


class FirstLayer:
    """The first layer on the structure of a batch: anchors and directions are mapped, points are added.

    Attributes:
        scale: a value of the first layer is its integer / scale.
        anchors: integers of W a + b, (anchors, width).
        directions: integers of W v, (directions, width); times ``shift`` and the step they add to an anchor's.
        shift: power of two.
    """

    def __init__(
        self,
        layer: tuple[fmpz_mat, fmpz_mat, fmpz],
        points: PointBatch,
        anchors: fmpz_mat,
        directions: fmpz_mat,
        direction_rows: list[list[fmpz]] | None,
    ):
        _, bias, denominator = layer
        unit = fmpz(1) << points.exponent
        self.scale = denominator * unit
        self.anchors = anchors * (fmpz(1) << (points.exponent - points.anchors.exponent))
        self.anchors = self.anchors + fmpz_mat(anchors.nrows(), 1, [1] * anchors.nrows()) * (bias * unit)
        self.directions = directions
        self.shift = fmpz(1) << (points.exponent - points.step_exponent - points.direction_exponent)
        self._anchor_rows: list[list[fmpz]] | None = None
        self._direction_rows = direction_rows

    def anchor_rows(self) -> list[list[fmpz]]:
        """``anchors`` row by row, kept."""
        if self._anchor_rows is None:
            self._anchor_rows = self.anchors.tolist()
        return self._anchor_rows

    def direction_rows(self) -> list[list[fmpz]]:
        """``directions`` row by row, kept."""
        if self._direction_rows is None:
            self._direction_rows = self.directions.tolist()
        return self._direction_rows

    def image(self, points: PointBatch, *, relu: bool) -> fmpz_mat:
        """Integers of all points after the first layer, (points, width)."""
        anchors, directions = self.anchor_rows(), self.direction_rows()
        entries: list[fmpz | int] = []
        for a, d, step in zip(points.anchor, points.direction, points.steps, strict=True):
            factor = step * self.shift
            row = zip(anchors[a], directions[d], strict=True)
            if relu:
                entries.extend([z if (z := x + factor * v) > 0 else 0 for x, v in row])
            else:
                entries.extend([x + factor * v for x, v in row])
        return fmpz_mat(len(points), self.anchors.ncols(), entries)


class _LastProduct:
    """matrix -> matrix * right; the last product is kept."""

    def __init__(self, right: fmpz_mat):
        self._right = right
        self._last: tuple[fmpz_mat, fmpz_mat] | None = None

    def __call__(self, matrix: fmpz_mat) -> fmpz_mat:
        if self._last is None or self._last[0] != matrix:
            self._last = matrix, matrix * self._right
        return self._last[1]


def _integer_layer(weight: object, bias: object) -> tuple[fmpz_mat, fmpz_mat, fmpz]:
    """(W^T, b^T) as integers over their common denominator: shapes (in, out) and (1, out)."""
    weights, weight_denominator = weight.numer_denom()  # type: ignore[attr-defined]
    biases, bias_denominator = bias.numer_denom()  # type: ignore[attr-defined]
    common = fmpz(weight_denominator).lcm(fmpz(bias_denominator))
    return (
        weights.transpose() * (common // weight_denominator),
        biases.transpose() * (common // bias_denominator),
        common,
    )
