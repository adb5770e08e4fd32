"""The layers recovered so far: exact where something is measured, float64 where a way is planned.

Rows are primitive integer vectors, so that a point with a common denominator is carried through all layers
in integers. Where answers are rounded they are balls of unit norm, and so is everything computed from them. The rows
of the last layer may still be known up to sign only: z is then known as +-z, and the regions of the layers before it
do not depend on that. Units may be linear (no ReLU): they carry inputs and earlier activations to where a skip
connection reads them; they have no boundary and count as on everywhere.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpz_mat, nmod_mat

from precision.balls import to_float
from precision.context import Number
from precision.modular import masked_rows, modular

ROUNDING = 2.0**-53
TINY, SLACK = 2.0**-500, 1.0001
"""What underflow may lose, and the rounding of a radius itself."""

Pattern = list[np.ndarray]
"""Per layer a boolean array: which pre-activations are positive."""

Matrix = Any
"""``fmpz_mat``, or ``arb_mat`` where answers are rounded."""


@dataclasses.dataclass(frozen=True)
class AffineForm:
    """normal . x + offset over the inputs, in integers or balls."""

    normal: list[Number]
    offset: Number


class KnownLayers:
    """Layers 1..L over ``inputs`` coordinates.

    Args:
        weights: (width_l, width_{l-1}) matrices, one per layer, all of integers or all of balls.
        biases: width_l numbers of the same kind per layer.
        linear: per layer, which units have no ReLU; none where left out.
        carriers: which linear unit of the last layer carries the activation of (layer, neuron), layers from 0.
        open_weights: per layer, which weights are not known and set to zero, booleans (width_l, width_{l-1}).
    """

    def __init__(
        self,
        weights: Sequence[Matrix],
        biases: Sequence[Sequence[Number]],
        *,
        linear: Sequence[np.ndarray] | None = None,
        carriers: Mapping[tuple[int, int], int] | None = None,
        open_weights: Sequence[np.ndarray] | None = None,
    ):
        self.linear = (
            [np.zeros(weight.nrows(), dtype=bool) for weight in weights] if linear is None else [*map(np.array, linear)]
        )
        self.carriers = dict(carriers or {})
        self.open = [np.argwhere(table) for table in open_weights] if open_weights is not None else []
        self.weights = list(weights)
        self._matrix: Any = type(self.weights[0]) if self.weights else fmpz_mat
        self.biases = [list(bias) for bias in biases]
        self._transposed = [weight.transpose() for weight in self.weights]
        self._bias_rows = [self._matrix(1, len(bias), bias) for bias in self.biases]
        self._modular: list[nmod_mat] = []

    @property
    def any_open(self) -> bool:
        """Whether some weight is not known."""
        return any(len(pairs) for pairs in self.open)

    def in_doubt(self, pattern: Pattern, depth: int) -> bool:
        """Whether in a region some open weight of the first ``depth`` layers may act: both its neurons are on."""
        return any(
            bool(np.any(pattern[layer][pairs[:, 0]] & pattern[layer - 1][pairs[:, 1]]))
            for layer, pairs in enumerate(self.open[:depth])
            if len(pairs)
        )

    @functools.cached_property
    def _rounded(self) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Number]]:
        return _float_layers(self.weights, self.biases)

    @property
    def _float_layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return self._rounded[0]

    @property
    def scales(self) -> list[Number]:
        """Of the last layer: its pre-activations over those in float64."""
        return self._rounded[1]

    @property
    def depth(self) -> int:
        return len(self.weights)

    @property
    def inputs(self) -> int:
        return self.weights[0].ncols()

    @property
    def widths(self) -> list[int]:
        return [weight.nrows() for weight in self.weights]

    @property
    def exact(self) -> bool:
        return self._matrix is fmpz_mat

    def preactivations(self, numerators: Matrix, scales: Sequence[Number]) -> list[Matrix]:
        """Every z of every layer at the points numerators[k] / scales[k], times scales[k]; (points, width)."""
        if not self.exact:
            numerators = arb_mat(numerators)
        first = numerators * self._transposed[0] + self._column(scales) * self._bias_rows[0]
        return self.preactivations_behind(first, scales)

    def preactivations_behind(self, first: Matrix, scales: Sequence[Number]) -> list[Matrix]:
        """The same from the first layer's pre-activations (points, width), times scales."""
        column, found = self._column(scales), [first]
        for weight, bias, linear in zip(self._transposed[1:], self._bias_rows[1:], self.linear, strict=False):
            z = found[-1]
            state = self._matrix(z.nrows(), z.ncols(), _through_relu(z, linear.tolist() * z.nrows()))
            found.append(state * weight + column * bias)
        return found

    def _column(self, scales: Sequence[Number]) -> Matrix:
        return self._matrix(len(scales), 1, list(scales))

    def pattern(self, numerators: Matrix, scales: Sequence[Number]) -> list[Pattern]:
        """The region of every point, exactly."""
        return self.patterns(self.preactivations(numerators, scales))

    def patterns(self, heights: Sequence[Matrix]) -> list[Pattern]:
        """The region of every point, from its pre-activations (points, width) per layer."""
        sides = patterns_of(heights)
        return [[side | free for side, free in zip(pattern, self.linear, strict=True)] for pattern in sides]

    def form(self, layer: int, neuron: int, pattern: Pattern) -> AffineForm:
        """The pre-activation of one neuron as an affine form of the input, in the region ``pattern``."""
        row = self._matrix(
            1, self.weights[layer].ncols(), [self.weights[layer][neuron, k] for k in range(self.weights[layer].ncols())]
        )
        offset = self.biases[layer][neuron]
        for k in reversed(range(layer)):
            row = _masked_columns(row, pattern[k])
            offset += (row * self._bias_rows[k].transpose())[0, 0]
            row = row * self.weights[k]
        return AffineForm([whole(x) for x in row.entries()], whole(offset))

    def forms(self, layer: int, pattern: Pattern) -> tuple[Matrix, list[Number]]:
        """All pre-activations of a layer as affine forms in a region: ((width, inputs), width offsets)."""
        matrix = self.weights[0]
        offsets = self._matrix(len(self.biases[0]), 1, self.biases[0])
        for k in range(layer):
            weight = _masked_columns(self.weights[k + 1], pattern[k])
            matrix = weight * matrix
            offsets = weight * offsets + self._bias_rows[k + 1].transpose()
        return matrix, offsets.entries()

    def gradients_modular(self, layer: int, pattern: Pattern) -> nmod_mat:
        """Gradients of all pre-activations of a layer in a region modulo the prime, (width, inputs); if exact."""
        if not self._modular:
            self._modular = [modular(weight) for weight in self.weights]
        matrix = self._modular[0]
        for weight, side in zip(self._modular[1 : layer + 1], pattern, strict=False):
            matrix = weight * masked_rows(matrix, side)
        return matrix

    def derivative(self, layer: int, neuron: int, last: int, pattern: Pattern) -> list[Number]:
        """d z_last / d a_neuron in a region: how a unit of an earlier layer acts on layer ``last`` (> layer)."""
        weight = self.weights[layer + 1]
        column = self._matrix(weight.nrows(), 1, [weight[k, neuron] for k in range(weight.nrows())])
        for k in range(layer + 1, last):
            column = _masked_columns(self.weights[k + 1], pattern[k]) * column
        return [whole(x) for x in column.entries()]

    def forms64(self, pattern: Pattern) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same for all layers in float64, every neuron in a scale of its own (positive factor)."""
        weight, bias = self._float_layers[0]
        found = [(weight, bias)]
        for k in range(1, len(self._float_layers)):
            weight, bias = self._float_layers[k]
            active = weight * pattern[k - 1]
            found.append((active @ found[-1][0], active @ found[-1][1] + bias))
        return found

    def walls64(self, pattern: Pattern) -> list[tuple[np.ndarray, np.ndarray]]:
        """``forms64`` with the forms of linear units zero: where there is a boundary to cross."""
        return [
            (np.where(linear[:, None], 0.0, matrix), np.where(linear, 0.0, offset))
            for (matrix, offset), linear in zip(self.forms64(pattern), self.linear, strict=True)
        ]

    def values64(self, points: np.ndarray) -> list[np.ndarray]:
        """Pre-activations in float64, (points, width) per layer, in the scale of ``forms64``."""
        state, found = points, []
        for (weight, bias), linear in zip(self._float_layers, self.linear, strict=True):
            z = state @ weight.T + bias
            found.append(z)
            state = np.where(linear, z, np.maximum(z, 0))
        return found

    def surely_in(self, point: np.ndarray, pattern: Pattern) -> bool | None:
        """Whether a point, given to the nearest doubles, lies inside a region of exact layers.

        None where rounding leaves it open (Higham 2002, section 3.3: a radius is carried along with every value).
        """
        values, radius = point, ROUNDING * np.abs(point)
        for (weight, bias), linear, side in zip(self._float_layers, self.linear, pattern, strict=True):
            roundings = 2 * (len(values) + 8) * ROUNDING
            z = weight @ values + bias
            reach = np.abs(weight) @ (radius + roundings * np.abs(values)) + roundings * np.abs(bias) + TINY
            if not np.all((np.abs(z) > SLACK * reach) | linear):
                return None
            if not np.array_equal((z > 0) | linear, side):
                return False
            values = np.where(side, z, 0)
            radius = np.where(side, SLACK * reach, 0)
        return True

    def activations64(self, points: np.ndarray) -> np.ndarray:
        """What the last layer passes on, (points, width), in the scale of ``forms64``."""
        heights = self.values64(points)[-1]
        return np.where(self.linear[-1], heights, np.maximum(heights, 0))

    def pull_back64(self, points: np.ndarray, outer: np.ndarray) -> np.ndarray:
        """Gradients at the points of functions of the last activations with gradients ``outer`` (points, width)."""
        gradients = outer
        heights = self.values64(points)
        for (weight, _), z, linear in zip(self._float_layers[::-1], heights[::-1], self.linear[::-1], strict=True):
            gradients = (gradients * ((z > 0) | linear)) @ weight
        return gradients


def carrying_before(layers: KnownLayers) -> KnownLayers:
    """The layers with linear units behind the last one that carry the activations of the one before, in their order."""
    width, before = layers.widths[-1], layers.widths[-2]
    copies = [int(i == k) for i in range(before) for k in range(before)]
    matrix = type(layers.weights[-1])
    weights = matrix(width + before, before, [*layers.weights[-1].entries(), *copies])
    bending = np.nonzero(~layers.linear[-2])[0].tolist()
    return KnownLayers(
        [*layers.weights[:-1], weights],
        [*layers.biases[:-1], [*layers.biases[-1], *([0] * before)]],
        linear=[*layers.linear[:-1], np.concatenate([layers.linear[-1], np.ones(before, dtype=bool)])],
        carriers={(layers.depth - 2, i): width + i for i in bending},
    )


def whole(value: Number) -> Number:
    """FLINT integers as Python's, balls as they are."""
    return value if isinstance(value, arb) else int(value)


def patterns_of(heights: Sequence[Matrix]) -> list[Pattern]:
    """The region of every point, from its pre-activations (points, width) per layer.

    On a boundary the side of a ball is that of its middle; of an exact zero it is the lower one.
    """
    layers = [
        np.array([x > 0 for x in (z.mid() if isinstance(z, arb_mat) else z).entries()], dtype=bool).reshape(
            z.nrows(), z.ncols()
        )
        for z in heights
    ]
    return [[layer[k] for layer in layers] for k in range(heights[0].nrows())]


def _through_relu(matrix: Matrix, linear: Sequence[bool]) -> list[Number]:
    """The entries through ReLU, but for those of linear units."""
    if isinstance(matrix, arb_mat):
        return [_positive_part(x) if not free else x for x, free in zip(matrix.entries(), linear, strict=True)]
    return [x if x > 0 or free else 0 for x, free in zip(matrix.entries(), linear, strict=True)]


def _positive_part(value: arb) -> arb:
    return arb(0) if value < 0 else value.nonnegative_part()


def _masked_columns(matrix: Matrix, mask: np.ndarray) -> Matrix:
    columns = matrix.ncols()
    entries: list[Number] = [x if mask[i % columns] else 0 for i, x in enumerate(matrix.entries())]
    return type(matrix)(matrix.nrows(), columns, entries)


def _float_layers(
    weights: Sequence[Matrix], biases: Sequence[Sequence[Number]]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Number]]:
    """Rows scaled to unit size, and the scales of the last layer; a scale moves into the columns of the next layer."""
    scales: list[Number] = [1] * weights[0].ncols() if weights else []
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        rows, next_scales = [], []
        for row in weight.tolist():
            scaled = [whole(x) * c for x, c in zip(row, scales, strict=True)]
            size = _largest(scaled)
            rows.append([share64(x, size) for x in scaled])
            next_scales.append(size)
        layers.append(
            (
                np.array(rows, dtype=np.float64).reshape(weight.nrows(), weight.ncols()),
                np.array([share64(b, size) for b, size in zip(bias, next_scales, strict=True)], dtype=np.float64),
            )
        )
        scales = next_scales
    return layers, scales


def _largest(values: Sequence[Number]) -> Number:
    """The largest modulus, 1 where all are zero; of balls the middle counts."""
    size = max((abs(x) for x in values), default=0)
    return (size.mid() if isinstance(size, arb) else size) or 1


def share64(value: Number, size: Number) -> float:
    """value / size in float64, of integers, rationals or balls."""
    return value / size if isinstance(value, int) else to_float(value / size)
