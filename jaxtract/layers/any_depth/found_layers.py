"""Rows found so far: a neuron's weights over the layer before, some of them perhaps still open."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from flint import arb, arb_mat, fmpq, fmpz, fmpz_mat

from jaxtract.geometry.known_layers import KnownLayers
from precision.balls import accuracy_bits, bits_in_use, middle, steepest, vanishes
from precision.context import FEW_BITS, Number, common_denominator

ALIKE_BITS, LEAST_ALIKE = 14, 4
"""Rows that agree to so many bits, in all weights known of both, are those of one neuron; the fewest such weights."""

TOLD_BITS = 12
"""Bits to which an open weight must be told, against the largest of its row."""


@dataclasses.dataclass(frozen=True)
class Output:
    """f = ... + weights (outputs,) times relu(side * z), z in the scale of the row."""

    weights: np.ndarray
    side: int


@dataclasses.dataclass
class Row:
    """z = weights . a + bias up to sign and scale; ``None`` where a weight is not known.

    ``seen_at`` holds places (float64) where the neuron's boundary was seen, ``sightings`` points on it as balls.
    ``output``, of a row of the last layer, is what it adds to f as far as that was read before. ``linear``: without
    ReLU, a neuron that was on wherever it was read; its bias counts with the rows that read it.
    """

    weights: list[Number | None]
    bias: Number
    seen_at: list[np.ndarray] = dataclasses.field(default_factory=list)
    output: Output | None = None
    sightings: list[list[Number]] = dataclasses.field(default_factory=list)
    linear: bool = False

    @property
    def missing(self) -> list[int]:
        return [i for i, w in enumerate(self.weights) if w is None]

    @property
    def exact(self) -> bool:
        return not isinstance(self.bias, arb)

    @property
    def accuracy(self) -> float:
        """Bits to which the known numbers are known, relative to the largest weight; infinite when they are exact."""
        if self.exact:
            return math.inf
        known = [w for w in self.weights if w is not None]
        size = max((abs(w) for w in known), default=arb(0))
        return min(accuracy_bits(x, size) for x in [*known, self.bias])

    def scaled(self) -> tuple[list[Number], Number]:
        """The positive multiple that a layer is made of, open weights as zero.

        Primitive integers; where answers are rounded, weights of unit norm, in which those that are not told from zero
        are zero.
        """
        return self.integers() if self.exact else self._unit()

    def _unit(self) -> tuple[list[Number], Number]:
        values = [arb(0) if w is None or vanishes(w) else w for w in self.weights]
        norm = sum((w * w for w in values), arb(0)).mid().sqrt().mid()
        return [w / norm for w in values], self.bias / norm

    def integers(self) -> tuple[list[int], int]:
        """Primitive integer multiple, by a positive factor; open weights count as zero."""
        values = [*(w if w is not None else fmpq(0) for w in self.weights), self.bias]
        common = common_denominator(values)
        whole = [x.p * (common // x.q) for x in values]
        divisor = fmpz(0)
        for x in whole:
            divisor = divisor.gcd(x)
        reduced = [int(x // divisor) for x in whole]
        return reduced[:-1], reduced[-1]

    def integer_factor(self) -> Number:
        """The positive factor from this row to its scaled multiple."""
        if not self.exact:
            values = [w for w in self.weights if w is not None and not vanishes(w)]
            return 1 / sum((w * w for w in values), arb(0)).mid().sqrt().mid()
        weights, bias = self.integers()
        for whole, value in zip([*weights, bias], [*self.weights, self.bias], strict=True):
            if value is not None and value != 0:
                return whole / value
        return fmpq(1)

    def in_integers(self) -> Row:
        """The scaled multiple that the weights of the next layer refer to; open weights as zero."""
        weights, bias = self.scaled()
        if not self.exact:
            return Row(list(weights), bias, self.seen_at, sightings=self.sightings, linear=self.linear)
        return Row([fmpq(w) for w in weights], fmpq(bias), self.seen_at, linear=self.linear)

    def fill(self, weights: Mapping[int, Number]) -> bool:
        """Set open weights, by neuron, that are known in the scale of ``in_integers``; whether any was."""
        factor = self.integer_factor()
        scaled = {i: weight / factor for i, weight in weights.items()}
        told = {i: weight for i, weight in scaled.items() if self.tells(weight)}
        for neuron, weight in told.items():
            self.weights[neuron] = weight
        return bool(told)

    def tells(self, weight: Number) -> bool:
        """Whether a weight is known well enough to be set: one that may be anything is better left open."""
        if not isinstance(weight, arb):
            return True
        size = max((abs(w) for w in self.weights if w is not None), default=abs(weight))
        return accuracy_bits(weight, size) >= TOLD_BITS

    def negative(self) -> Row:
        """-z: the same boundary, the other side."""
        output = None if self.output is None else Output(self.output.weights, -self.output.side)
        weights = [None if w is None else -w for w in self.weights]
        return dataclasses.replace(self, weights=weights, bias=-self.bias, output=output)

    def merged(self, other: Row) -> Row | None:
        """Both together when they are one neuron up to sign and scale, else None.

        Two known numbers in common must have one ratio; with fewer nothing can be told.
        """
        if self.linear != other.linear:
            return None
        factor, informative = None, 0
        for a, b in zip([*self.weights, self.bias], [*other.weights, other.bias], strict=True):
            if a is None or b is None or not (a != 0 or b != 0):
                continue
            if vanishes(a) or vanishes(b):
                return None
            factor = a / b if factor is None else factor
            if a != factor * b:
                return None
            informative += 1
        if factor is None or informative < 2:
            return None
        if other.accuracy > self.accuracy:
            # The sharper one counts, in the scale of this one as far as that is known.
            scale = middle(factor)
            weights = [
                scale * b if b is not None else (None if a is None else a * (scale / factor))
                for a, b in zip(self.weights, other.weights, strict=True)
            ]
            return self._with_sightings(other, weights, scale * other.bias)
        weights = [
            a if a is not None else (None if b is None else factor * b)
            for a, b in zip(self.weights, other.weights, strict=True)
        ]
        return self._with_sightings(other, weights, self.bias)

    def merged_roughly(self, other: Row) -> Row | None:
        """Both together when they agree to ``ALIKE_BITS``, else None: between balls that hold both.

        Errors of rounded answers are estimates, and one in a hundred walks is rougher than it says. Distinct neurons
        do not agree to so many bits in every weight.
        """
        if self.linear or other.linear or self.exact:
            return None
        pairs = list(zip([*self.weights, self.bias], [*other.weights, other.bias], strict=True))
        common = [(a, b) for a, b in pairs if a is not None and b is not None]
        pivot = steepest([a for a, _ in common])
        own, theirs = common[pivot]
        if len(common) < LEAST_ALIKE or vanishes(own) or vanishes(theirs):
            return None
        factor, limit = own / theirs, abs(own) / (1 << ALIKE_BITS)
        if not all(abs(a - factor * b) < limit for a, b in common):
            return None
        *weights, bias = [_both(a, None if b is None else factor * b) for a, b in pairs]
        return None if bias is None else self._with_sightings(other, weights, bias)

    def _with_sightings(self, other: Row, weights: list[Number | None], bias: Number) -> Row:
        return dataclasses.replace(
            self,
            weights=weights,
            bias=bias,
            seen_at=[*self.seen_at, *other.seen_at],
            sightings=[*self.sightings, *other.sightings],
        )


def _both(one: Number | None, other: Number | None) -> Number | None:
    """A ball that holds both."""
    if one is None or other is None:
        return other if one is None else one
    return arb(one).union(arb(other))


@dataclasses.dataclass
class FoundLayer:
    """Rows of one layer; ``signs[i]`` is +1 or -1 when row i or its negative is the neuron, 0 while unknown."""

    rows: list[Row]
    signs: list[int]

    def oriented(self) -> FoundLayer:
        """Rows multiplied by their known signs."""
        rows = [row.negative() if sign < 0 else row for row, sign in zip(self.rows, self.signs, strict=True)]
        return FoundLayer(rows, [abs(sign) for sign in self.signs])

    def chosen(self, kept: Sequence[int]) -> FoundLayer:
        """Some of its rows, with their signs."""
        return FoundLayer([self.rows[i] for i in kept], [self.signs[i] for i in kept])

    def fill(self, weights: Mapping[tuple[int, int], Number]) -> None:
        """``Row.fill`` for open weights by (row, neuron of the layer before)."""
        for reader in {reader for reader, _ in weights}:
            self.rows[reader].fill({i: weight for (row, i), weight in weights.items() if row == reader})


def rescaled_columns(rows: Sequence[Row], factors: Sequence[Number]) -> list[Row]:
    """Rows over a layer whose own rows were multiplied by positive factors: the functions stay what they are."""
    if all(factor == 1 for factor in factors):
        return list(rows)
    return [
        dataclasses.replace(
            row, weights=[None if w is None else w / f for w, f in zip(row.weights, factors, strict=True)]
        )
        for row in rows
    ]


def stacked(inputs: int, layers: Sequence[FoundLayer]) -> KnownLayers:
    """The scaled rows of all layers, open weights as zero."""
    weights, biases = [], []
    width = inputs
    matrix = arb_mat if any(not row.exact for layer in layers for row in layer.rows) else fmpz_mat
    for layer in layers:
        scaled = [row.scaled() for row in layer.rows]
        weights.append(matrix(len(scaled), width, [x for row, _ in scaled for x in row]))
        biases.append([bias for _, bias in scaled])
        width = len(scaled)
    return KnownLayers(
        weights,
        biases,
        linear=[np.array([row.linear for row in layer.rows], dtype=bool) for layer in layers],
        open_weights=[
            np.array([[w is None for w in row.weights] for row in layer.rows]).reshape(table.nrows(), table.ncols())
            for layer, table in zip(layers, weights, strict=True)
        ],
    )


def without_linear(layers: Sequence[FoundLayer]) -> list[FoundLayer]:
    """The same function without linear rows but in the last layer: z = relu(z) - relu(-z).

    Activations are not negative: of weights of one sign, one of the two is zero and left out.
    """
    found = list(layers)
    for level, layer in enumerate(layers[:-1]):
        if not any(row.linear for row in layer.rows):
            continue
        parts = [_bending_parts(row) for row in found[level].rows]
        rows = [part for both in parts for part, _ in both]
        found[level] = FoundLayer(rows, [1] * len(rows))
        readers = []
        for reader in found[level + 1].rows:
            negative = reader.negative().weights
            weights = [
                reader.weights[i] if side > 0 else negative[i] for i, both in enumerate(parts) for _, side in both
            ]
            readers.append(dataclasses.replace(reader, weights=weights))
        found[level + 1] = FoundLayer(readers, layers[level + 1].signs)
    return found


def _bending_parts(row: Row) -> list[tuple[Row, int]]:
    """Neurons (rows) that add up to a row, each times its side."""
    if not row.linear:
        return [(row, 1)]
    plain = dataclasses.replace(row, linear=False)
    weights = [*row.weights, row.bias]
    rises, falls = (all(w is None or w * side >= 0 for w in weights) for side in (1, -1))
    return [(plain, 1)] * (not falls) + [(plain.negative(), -1)] * (not rises)


def merge_rows(rows: Sequence[Row]) -> list[Row]:
    """Sightings of one neuron become one row."""
    merged: list[Row] = []
    for row in rows:
        for i, known in enumerate(merged):
            both = known.merged(row) or (known.merged_roughly(row) if bits_in_use() < FEW_BITS else None)
            if both is not None:
                merged[i] = both
                break
        else:
            merged.append(row)
    return merged


def without_unread(layers: Sequence[FoundLayer], gamma: np.ndarray) -> tuple[list[FoundLayer], np.ndarray]:
    """The layers without neurons that nothing reads; gamma (outputs, width) reads the last one."""
    kept_layers = list(layers)
    read = np.array([any(x != 0 for x in column) for column in gamma.T])
    gamma = gamma[:, read]
    for level in reversed(range(len(kept_layers))):
        layer = kept_layers[level]
        rows = [row for row, used in zip(layer.rows, read, strict=True) if used]
        kept_layers[level] = FoundLayer(rows, [1] * len(rows))
        if level == 0:
            break
        width = len(kept_layers[level - 1].rows)
        # A weight that is open counts as zero here, too: it is set to zero in the result.
        read = np.array([any(reads(row, i) for row in rows) for i in range(width)], dtype=bool)
        kept_layers[level] = FoundLayer(
            [Row([w for w, used in zip(row.weights, read, strict=True) if used], row.bias) for row in rows],
            [1] * len(rows),
        )
    return kept_layers, gamma


def reads(row: Row, neuron: int) -> bool:
    """Whether a row is known to read a neuron of the layer before; an open weight is not known to be anything."""
    weight = row.weights[neuron]
    return weight is not None and bool(weight != 0)
