"""The output layer, and with it the signs of the last hidden one, from values at random inputs.

f = sum_i gamma_i |z_i| / 2 + sum_i y_i z_i / 2 + c is linear in what is unknown, and y_i = +-gamma_i says on which side
neuron i is on. The lines that were searched know f at enough points: as a rule this costs no query at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.row_system import Shared, solve_shared
from jaxtract.measurement.ridge_form import RidgeForm, oriented_ridge
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.points import scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.random_lines import gaussian_points
from jaxtract.signs.solve_signs import SignMethod, solve_signs
from precision.context import Context, object_matrix, rational_matrix

SPARE_POINTS = 6
"""Equations beyond the unknowns: a function of more layers does not satisfy them."""

SCALES = (0, 1, 2, -1)


@dataclasses.dataclass(frozen=True)
class KnownValues:
    """Where f is known.

    Attributes:
        before: activations of the layer before the last one (of the input, for one hidden layer), per point.
        heights: pre-activations of the last layer, up to sign, per point.
        values: f (outputs,), per point.
    """

    before: list[list[fmpq]]
    heights: list[list[fmpq]]
    values: list[np.ndarray]

    def joined(self, other: KnownValues) -> KnownValues:
        return KnownValues(self.before + other.before, self.heights + other.heights, self.values + other.values)


@dataclasses.dataclass(frozen=True)
class Tail:
    """The last hidden layer and the output layer as a network over the activations before them."""

    network: ExactNetwork
    method: str


def fit_output(
    asker: Asker, layers: KnownLayers, known: KnownValues, context: Context, rng: np.random.Generator
) -> Tail | None:
    """The output layer over the last known layer, or None when f is not affine in its neurons.

    First with z_i itself as the second feature of every neuron. Where these depend on each other (more neurons than the
    layer before has) or do not suffice (a neuron that was never seen to bend is on), with the activations of the layer
    before, and the signs from what is then a network of one hidden layer over them.

    Args:
        asker: the black box.
        layers: all hidden layers, the last one up to signs.
        known: where f is known already; more is asked, as ``measure``, only where that does not determine the layer.
        context: number system.
        rng: chooses more points.
    """
    width = layers.widths[-1]
    for features in (_own_features, _features_before):
        unknowns = len(features(known)[0])
        solved = solve_shared(_equations(features(known), known), unknowns)
        if solved is Shared.OPEN:
            known = known.joined(_fresh(asker, layers, unknowns + SPARE_POINTS, rng))
            solved = solve_shared(_equations(features(known), known), unknowns)
        if isinstance(solved, np.ndarray):
            if features is _features_before:
                return _by_signs(layers, solved, width, context)
            tail = _oriented(layers, solved, width)
            if tail is not None:
                return tail
    return None


def _own_features(known: KnownValues) -> list[list[fmpq]]:
    return [[*(abs(x) for x in z), *z, fmpq(2)] for z in known.heights]


def _features_before(known: KnownValues) -> list[list[fmpq]]:
    return [[*(abs(x) for x in z), *a, fmpq(2)] for z, a in zip(known.heights, known.before, strict=True)]


def _equations(features: list[list[fmpq]], known: KnownValues) -> list[list[fmpq]]:
    """Features, then 2 f for every output."""
    return [[*row, *(2 * x for x in value)] for row, value in zip(features, known.values, strict=True)]


def known_at(
    heights: Sequence[fmpz_mat], scales: Sequence[fmpz], points: Sequence[Sequence[fmpq]], values: list[np.ndarray]
) -> KnownValues:
    """Features of points from the pre-activations of all layers, times a scale each; ``points`` for one layer only."""
    last = [[fmpq(x, scale) for x in z] for z, scale in zip(heights[-1].tolist(), scales, strict=True)]
    if len(heights) == 1:
        return KnownValues([list(point) for point in points], last, values)
    before = [
        [fmpq(x, scale) if x > 0 else fmpq(0) for x in z] for z, scale in zip(heights[-2].tolist(), scales, strict=True)
    ]
    return KnownValues(before, last, values)


def _fresh(asker: Asker, layers: KnownLayers, count: int, rng: np.random.Generator) -> KnownValues:
    found = KnownValues([], [], [])
    for exponent in SCALES:
        points = gaussian_points(-(-count // len(SCALES)), layers.inputs, exponent, rng)
        scales = [fmpz(1) << max(points.exponent, 0)] * points.shape[0]
        heights = layers.preactivations(points.mantissa, scales)
        values = list(asker.ask(scattered(points), "measure"))
        found = found.joined(known_at(heights, scales, points.rows(), values))
    return found


def _last_rows(layers: KnownLayers) -> tuple[np.ndarray, np.ndarray]:
    rows = object_matrix(layers.weights[-1])
    biases = np.empty(len(rows), dtype=object)
    biases[:] = [fmpq(b) for b in layers.biases[-1]]
    return rows, biases


def _oriented(layers: KnownLayers, solution: np.ndarray, width: int) -> Tail | None:
    """From the coefficients (2 width + 1, outputs) of |z| and z; None when they are not +- each other."""
    bends, slopes = solution[:width], solution[width : 2 * width]
    signs = np.empty(width, dtype=object)
    for i, (bend, slope) in enumerate(zip(bends, slopes, strict=True)):
        if all(slope == bend):
            signs[i] = fmpq(1)
        elif all(slope == -bend):
            signs[i] = fmpq(-1)
        else:
            return None
    rows, biases = _last_rows(layers)
    network = ExactNetwork(
        (rational_matrix(rows * signs[:, None]), rational_matrix(bends.T.copy())),
        (rational_matrix((biases * signs)[:, None]), rational_matrix(solution[2 * width][:, None])),
    )
    return Tail(network, SignMethod.LINEAR.value)


def _by_signs(layers: KnownLayers, solution: np.ndarray, width: int, context: Context) -> Tail:
    """From the coefficients of |z| and of the activations before: signs as for one hidden layer."""
    rows, biases = _last_rows(layers)
    ridges = [
        oriented_ridge(context, row, bias, factor)
        for row, bias, factor in zip(rows, biases, solution[:width], strict=True)
        if any(factor != 0)
    ]
    form = RidgeForm(context, ridges, solution[width:-1].T.copy() / fmpq(2), solution[-1].copy())
    signed = solve_signs(form)
    return Tail(signed.network, signed.method.value)
