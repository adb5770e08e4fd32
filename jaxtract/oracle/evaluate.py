"""A ReLU network evaluated without rounding at a batch of points, on FLINT integer matrices."""

from __future__ import annotations

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.points import PointBatch

CHUNK = 4096
"""Points that are evaluated together: enough to hide the cost of a call, few enough to bound memory."""


class FlintEvaluator:
    """Exact values of one network. Denominators are cleared once; then all is integers.

    In layer l every value is an integer over one common denominator: the product of the layers' own
    denominators and the power of two that the points brought along. ReLU looks at signs only.
    """

    def __init__(self, network: ExactNetwork):
        self.inputs = network.inputs
        self.outputs = network.outputs
        # The coordinate axes are the commonest directions; their image is the first weight itself.
        self._axes: list[list[fmpz]] | None = None
        self._layers = [_integer_layer(w, b) for w, b in zip(network.weights, network.biases, strict=True)]

    def __call__(self, points: PointBatch) -> np.ndarray:
        """f at every point: an object array of ``fmpq``, shape (points, outputs)."""
        values = np.empty((len(points), self.outputs), dtype=object)
        start = 0
        first = _FirstLayer(self._layers[0], points, self._images_of_axes() if points.directions is None else None)
        for chunk in points.chunks(CHUNK):
            values[start : start + len(chunk)] = self._chunk(first, chunk)
            start += len(chunk)
        return values

    def _images_of_axes(self) -> list[list[fmpz]]:
        if self._axes is None:
            self._axes = self._layers[0][0].tolist()
        return self._axes

    def _chunk(self, first: _FirstLayer, points: PointBatch) -> np.ndarray:
        hidden = len(self._layers) > 1
        state, scale = first.image(points, relu=hidden), first.scale
        for index, (weight, bias, denominator) in enumerate(self._layers[1:], start=1):
            state = state * weight + fmpz_mat(len(points), 1, [1] * len(points)) * (bias * scale)
            scale = scale * denominator
            if index + 1 < len(self._layers):
                state = fmpz_mat(state.nrows(), state.ncols(), [z if z > 0 else 0 for z in state.entries()])
        out = np.empty((len(points), self.outputs), dtype=object)
        out.ravel()[:] = [fmpq(z, scale) for z in state.entries()]
        return out


class _FirstLayer:
    """The first layer on the structure of a batch: anchors and directions are mapped, points are added."""

    def __init__(self, layer: tuple[fmpz_mat, fmpz_mat, fmpz], points: PointBatch, axes: list[list[fmpz]] | None):
        weight, bias, denominator = layer
        power = points.exponent
        self.scale = denominator * (fmpz(1) << power)
        anchors = points.anchors.at_exponent(power) * weight
        ones = fmpz_mat(anchors.nrows(), 1, [1] * anchors.nrows())
        self._anchors = (anchors + ones * (bias * (fmpz(1) << power))).tolist()
        self._directions = (
            (axes or weight.tolist()) if points.directions is None else (points.directions.mantissa * weight).tolist()
        )
        self._shift = fmpz(1) << (power - points.step_exponent - points.direction_exponent)

    def image(self, points: PointBatch, *, relu: bool) -> fmpz_mat:
        entries: list[fmpz | int] = []
        for a, d, step in zip(points.anchor, points.direction, points.steps, strict=True):
            factor = step * self._shift
            row = zip(self._anchors[a], self._directions[d], strict=True)
            if relu:
                entries.extend([z if (z := x + factor * v) > 0 else 0 for x, v in row])
            else:
                entries.extend([x + factor * v for x, v in row])
        return fmpz_mat(len(points), len(self._anchors[0]) if self._anchors else 0, entries)


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
