"""The output layer, and with it the signs of the last hidden one, from values at random inputs.

f = sum_i gamma_i |z_i| / 2 + sum_i y_i z_i / 2 + c is linear in what is unknown, and y_i = +-gamma_i says on which side
neuron i is on. The lines that were searched know f at enough points: as a rule this costs no query at all.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq, fmpz

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.row_system import Shared, solve_shared
from jaxtract.oracle.points import scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.random_lines import gaussian_points

SPARE_POINTS = 6
"""Equations beyond the unknowns: a function of more layers does not satisfy them."""

SCALES = (0, 1, 2, -1)


@dataclasses.dataclass(frozen=True)
class OutputLayer:
    """gamma (outputs, width) over neurons max(0, signs_i z_i), constant (outputs,)."""

    gamma: np.ndarray
    signs: list[int]
    constant: np.ndarray


@dataclasses.dataclass(frozen=True)
class KnownValues:
    """Where f is known: pre-activations of the last layer times a scale, the scales, and f (outputs,)."""

    heights: list[list[fmpz]]
    scales: list[fmpz]
    values: list[np.ndarray]


def fit_output(asker: Asker, layers: KnownLayers, known: KnownValues, rng: np.random.Generator) -> OutputLayer | None:
    """The output layer over the last known layer, or None when f is not affine in its neurons.

    Args:
        asker: the black box.
        layers: all hidden layers, the last one up to signs.
        known: where f is known already; more is asked, as ``measure``, only where that does not determine the layer.
        rng: chooses more points.
    """
    width = layers.widths[-1]
    rows = _equations(known)
    solved = solve_shared(rows, 2 * width + 1)
    if solved is Shared.OPEN:
        rows += _equations(_fresh(asker, layers, 2 * width + 1 + SPARE_POINTS, rng))
        solved = solve_shared(rows, 2 * width + 1)
    return _oriented(solved, width) if isinstance(solved, np.ndarray) else None


def _fresh(asker: Asker, layers: KnownLayers, count: int, rng: np.random.Generator) -> KnownValues:
    found = KnownValues([], [], [])
    for exponent in SCALES:
        points = gaussian_points(-(-count // len(SCALES)), layers.inputs, exponent, rng)
        scale = fmpz(1) << max(points.exponent, 0)
        found.heights.extend(layers.preactivations(points.mantissa, [scale] * points.shape[0])[-1].tolist())
        found.scales.extend([scale] * points.shape[0])
        found.values.extend(asker.ask(scattered(points), "measure"))
    return found


def _equations(known: KnownValues) -> list[list[fmpq]]:
    """(|z|, z, 2, then 2 f for every output) at every point."""
    rows = []
    for z, scale, value in zip(known.heights, known.scales, known.values, strict=True):
        features = [fmpq(x, scale) for x in z]
        rows.append([*(abs(x) for x in features), *features, fmpq(2), *(2 * x for x in value)])
    return rows


def _oriented(solution: np.ndarray, width: int) -> OutputLayer | None:
    """gamma and signs from the coefficients (2 width + 1, outputs) of |z| and z; None when they are not +- each other."""
    bends, slopes = solution[:width], solution[width : 2 * width]
    signs = []
    for bend, slope in zip(bends, slopes, strict=True):
        if all(slope == bend):
            signs.append(1)
        elif all(slope == -bend):
            signs.append(-1)
        else:
            return None
    return OutputLayer(bends.T.copy(), signs, solution[2 * width].copy())
