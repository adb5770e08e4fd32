"""Which neuron of one network is which of another: permutation and positive scale, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from jaxtract.equality.units import UnitTable, over_units
from jaxtract.network.canonical import primitive_row
from jaxtract.network.exact_network import ExactNetwork
from precision.dyadic import floor_log2, round_to_grid

MATCH_RADIUS = 2.0**-7
"""Unit rows further apart than this are two neurons, not one neuron with an error."""

NEAR = 1e-6
"""Below this distance float64 does not rank candidates reliably; they are ranked exactly."""

GUARD_BITS = 64

Row = list[fmpq]


@dataclasses.dataclass(frozen=True)
class Matching:
    """How far two networks agree neuron by neuron.

    Attributes:
        matched: pairs of hidden neurons.
        unmatched: hidden neurons of either network without a partner.
        error: largest relative error over matched neurons and outputs: entries of a (row, bias) against
            the largest of them in the reference. Zero if and only if all of these are exactly equal.
            Inputs from neurons without a partner are left out. None where errors were not compared.
    """

    matched: int
    unmatched: int
    error: fmpq | None


@dataclasses.dataclass(frozen=True)
class Pair:
    """Row ``one`` is row ``two`` times ``scale``, up to the relative ``error``."""

    one: int
    two: int
    scale: fmpq
    error: fmpq


def match(recovered: ExactNetwork, reference: ExactNetwork) -> Matching:
    """Pairs the hidden neurons of two networks in canonical form.

    Exactly proportional rows first (a dictionary), then nearest rows on the unit sphere (an assignment
    problem). Columns are permuted and scaled by the pairs of the layer before; signs are not free.

    Raises:
        ValueError: the networks differ in inputs, outputs or depth.
    """
    shapes = [(n.inputs, n.outputs, len(n.weights)) for n in (recovered, reference)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"(inputs, outputs, layers) are {shapes[0]} and {shapes[1]}; they must be equal")
    pairs = [Pair(i, i, fmpq(1), fmpq(0)) for i in range(reference.inputs)]
    matched, error = 0, fmpq(0)
    last = len(reference.weights) - 1
    for layer in range(last):
        pairs = match_rows(*_aligned(recovered, reference, layer, pairs))
        matched += len(pairs)
        error = max([error, *(pair.error for pair in pairs)])
    rows = zip(*_aligned(recovered, reference, last, pairs), strict=True)
    error = max([error, *(_output_error(one, two) for one, two in rows)])
    neurons = sum(recovered.widths[1:-1]) + sum(reference.widths[1:-1])
    return Matching(matched, neurons - 2 * matched, error)


def shared_units(recovered: ExactNetwork, reference: ExactNetwork) -> Matching:
    """Hidden neurons that are one and the same ReLU unit, whatever their sign, in two networks with skips.

    In the class of networks with all skips a neuron can be turned round, s(-v) = s(v) - v, and its expression over the
    inputs and earlier units is unique up to scale and sign: equal or not, with no error between.
    """
    table = UnitTable()
    units, neurons = [], 0
    for network in (reference, recovered):
        parts = over_units(network, table).parts
        units.append({part[0] for part in parts if not isinstance(part, str)})
        neurons += len(parts)
    shared = len(units[0] & units[1])
    return Matching(shared, neurons - 2 * shared, None)


def _aligned(
    recovered: ExactNetwork, reference: ExactNetwork, layer: int, pairs: Sequence[Pair]
) -> tuple[list[Row], list[Row]]:
    """Rows with bias of both networks, columns in the same order and scale."""
    one = zip(recovered.weights[layer].tolist(), recovered.biases[layer].entries(), strict=True)
    two = zip(reference.weights[layer].tolist(), reference.biases[layer].entries(), strict=True)
    return (
        [[*(row[p.one] * p.scale for p in pairs), bias] for row, bias in one],
        [[*(row[p.two] for p in pairs), bias] for row, bias in two],
    )


def match_rows(ones: list[Row], twos: list[Row], *, opposite: bool = False) -> list[Pair]:
    """Pairs of rows, sorted by ``two``; rows of zeros stay alone.

    With ``opposite`` a row may also be paired with the negative of another; the scale is then negative.
    """
    one_vectors, two_vectors = _primitive(ones, opposite), _primitive(twos, opposite)
    free: dict[tuple[int, ...], list[int]] = {}
    for q, (vector, _) in one_vectors.items():
        free.setdefault(vector, []).append(q)
    pairs = []
    for p, (vector, scale) in two_vectors.items():
        if free.get(vector):
            q = free[vector].pop(0)
            pairs.append(Pair(q, p, one_vectors[q][1] / scale, fmpq(0)))
    for pair in pairs:
        del one_vectors[pair.one], two_vectors[pair.two]
    if one_vectors and two_vectors:
        pairs += _match_nearest(ones, twos, one_vectors, two_vectors, opposite)
    return sorted(pairs, key=lambda pair: pair.two)


_Vectors = dict[int, tuple[tuple[int, ...], fmpq]]


def _match_nearest(
    ones: list[Row], twos: list[Row], one_left: _Vectors, two_left: _Vectors, opposite: bool
) -> list[Pair]:
    one_index, two_index = list(one_left), list(two_left)
    units = _unit_rows(one_left), _unit_rows(two_left)
    distance = cdist(*units)
    if opposite:
        distance = np.minimum(distance, cdist(units[0], -units[1]))
    near = [
        pair
        for a, b in np.argwhere(distance < NEAR)
        if (pair := _compared(one_index[a], two_index[b], ones, twos, opposite)) is not None
    ]
    pairs: list[Pair] = []
    for pair in sorted(near, key=lambda pair: pair.error):
        if pair.one in one_left and pair.two in two_left:
            pairs.append(pair)
            del one_left[pair.one], two_left[pair.two]
    rest_one = [a for a, q in enumerate(one_index) if q in one_left]
    rest_two = [b for b, p in enumerate(two_index) if p in two_left]
    # Clipping makes "no partner" cost the same wherever it happens, so as many as possible find one.
    cost = np.minimum(distance[np.ix_(rest_one, rest_two)], MATCH_RADIUS)
    for a, b in zip(*linear_sum_assignment(cost), strict=True):
        if cost[a, b] < MATCH_RADIUS:
            pair = _compared(one_index[rest_one[a]], two_index[rest_two[b]], ones, twos, opposite)
            pairs += [pair] if pair is not None else []
    return pairs


def _compared(one: int, two: int, ones: list[Row], twos: list[Row], opposite: bool) -> Pair | None:
    """The pair with its scale, read off the reference's largest entry; None if the scale is of the wrong sign."""
    left, right = ones[one], twos[two]
    k = max(range(len(right)), key=lambda i: abs(right[i]))
    scale = left[k] / right[k]
    if scale == 0 or (scale < 0 and not opposite):
        return None
    largest = max(abs(x - scale * y) for x, y in zip(left, right, strict=True))
    error = largest / abs(scale * right[k])
    if error != 0:
        # The scale goes into the next layer's columns. Far below the error its digits say nothing, and
        # kept in full they would make the rationals of deep networks grow without end.
        scale = round_to_grid(scale, GUARD_BITS - floor_log2(error) - floor_log2(scale))
    return Pair(one, two, scale, error)


def _output_error(one: Row, two: Row) -> fmpq:
    largest = max(abs(x - y) for x, y in zip(one, two, strict=True))
    if largest == 0:
        return fmpq(0)
    norm = max(abs(y) for y in two)
    return largest / (norm if norm != 0 else largest)


def _primitive(rows: list[Row], opposite: bool) -> _Vectors:
    found = {i: primitive_row(row) for i, row in enumerate(rows) if any(x != 0 for x in row)}
    return {i: _upright(vector, scale) if opposite else (vector, scale) for i, (vector, scale) in found.items()}


def _upright(vector: tuple[int, ...], scale: fmpq) -> tuple[tuple[int, ...], fmpq]:
    positive = next(x for x in vector if x != 0) > 0
    return (vector, scale) if positive else (tuple(-x for x in vector), -scale)


def _unit_rows(vectors: _Vectors) -> np.ndarray:
    scaled = []
    for vector, _ in vectors.values():
        largest = max(abs(x) for x in vector)
        scaled.append([x / largest for x in vector])
    array = np.array(scaled, dtype=np.float64)
    return array / np.linalg.norm(array, axis=1, keepdims=True)
