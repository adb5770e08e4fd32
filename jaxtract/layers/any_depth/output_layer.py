"""The output layer, and with it the signs of the last hidden one, from values at random inputs.

f = sum_i gamma_i |z_i| / 2 + sum_i y_i z_i / 2 + c is linear in what is unknown, and y_i = +-gamma_i says on which side
neuron i is on. The lines that were searched know f at enough points: as a rule this costs no query at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.pool import homogeneous
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


def fit_output(
    asker: Asker, layers: KnownLayers, known: Sequence[tuple[Sequence[fmpq], np.ndarray]], rng: np.random.Generator
) -> OutputLayer | None:
    """The output layer over the last known layer, or None when f is not affine in its neurons.

    Args:
        asker: the black box.
        layers: all hidden layers, the last one up to signs.
        known: points and values that are known already; more are asked, as ``measure``, only when they do not
            determine the layer.
        rng: chooses them.
    """
    width = layers.widths[-1]
    rows = _equations(layers, known)
    solved = _solve(rows, width)
    if solved is not None and any(len(found) < 2 * width + 1 for found in solved):
        rows += _equations(layers, _fresh(asker, layers.inputs, 2 * width + 1 + SPARE_POINTS, rng))
        solved = _solve(rows, width)
    return None if solved is None else _oriented(solved, width)


def _fresh(
    asker: Asker, inputs: int, count: int, rng: np.random.Generator
) -> list[tuple[Sequence[fmpq], np.ndarray]]:
    found: list[tuple[Sequence[fmpq], np.ndarray]] = []
    for scale in SCALES:
        points = gaussian_points(-(-count // len(SCALES)), inputs, scale, rng)
        found.extend(zip(points.rows(), asker.ask(scattered(points), "measure"), strict=True))
    return found


def _equations(layers: KnownLayers, known: Sequence[tuple[Sequence[fmpq], np.ndarray]]) -> list[list[fmpq]]:
    """(|z|, z, 2, then 2 f for every output) at every point."""
    numerators, scales = homogeneous([point for point, _ in known], layers.inputs)
    rows = []
    for z, scale, (_, value) in zip(layers.preactivations(numerators, scales)[-1].tolist(), scales, known, strict=True):
        features = [fmpq(x, scale) for x in z]
        rows.append([*(abs(x) for x in features), *features, fmpq(2), *(2 * x for x in value)])
    return rows


def _solve(rows: list[list[fmpq]], width: int) -> list[dict[int, fmpq]] | None:
    unknowns = 2 * width + 1
    solved = []
    for o in range(len(rows[0]) - unknowns):
        try:
            solved.append(determined([[*row[:unknowns], row[unknowns + o]] for row in rows], unknowns))
        except InconsistentRow:
            return None
    return solved


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
