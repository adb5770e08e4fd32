"""The output layer, and with it the signs of the last hidden one, from values at random inputs.

f = sum_i gamma_i |z_i| / 2 + sum_i y_i z_i / 2 + c is linear in what is unknown, and y_i = +-gamma_i says on which side
neuron i is on: twice the width and a few queries, however many outputs.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.row_system import InconsistentRow, determined
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


def fit_output(asker: Asker, layers: KnownLayers, rng: np.random.Generator) -> OutputLayer | None:
    """The output layer over the last known layer, or None when f is not affine in its neurons.

    Queries count as ``measure``.
    """
    width = layers.widths[-1]
    unknowns = 2 * width + 1
    count = unknowns + SPARE_POINTS
    groups = [gaussian_points(-(-count // len(SCALES)), layers.inputs, scale, rng) for scale in SCALES]
    rows, values = [], []
    for group in groups:
        answers = asker.ask(scattered(group), "measure")
        scale = 1 << max(group.exponent, 0)
        z = layers.preactivations(group.mantissa, [scale] * group.shape[0])[-1].tolist()
        for heights, answer in zip(z, answers, strict=True):
            features = [fmpq(x, scale) for x in heights]
            rows.append([*(abs(x) for x in features), *features, fmpq(2)])
            values.append(answer)
    outputs = len(values[0])
    solved = []
    for o in range(outputs):
        try:
            solved.append(determined([[*row, 2 * value[o]] for row, value in zip(rows, values, strict=True)], unknowns))
        except InconsistentRow:
            return None
    return _oriented(solved, width)


def _oriented(solved: list[dict[int, fmpq]], width: int) -> OutputLayer | None:
    """gamma and signs from |z| and z coefficients; None when they are not +- each other."""
    if any(len(found) < 2 * width + 1 for found in solved):
        return None
    signs = []
    for i in range(width):
        bends = [(found[i], found[width + i]) for found in solved]
        if all(y == g for g, y in bends):
            signs.append(1)
        elif all(y == -g for g, y in bends):
            signs.append(-1)
        else:
            return None
    gamma = np.empty((len(solved), width), dtype=object)
    for o, found in enumerate(solved):
        gamma[o, :] = [found[i] for i in range(width)]
    constant = np.empty(len(solved), dtype=object)
    constant[:] = [found[2 * width] for found in solved]
    return OutputLayer(gamma, signs, constant)
