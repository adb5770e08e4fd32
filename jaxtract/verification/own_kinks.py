"""Where a recovered network of any depth bends on a line.

Where all is exact from the zeros of its neurons, else by the line search, asked of the network itself.
"""

from __future__ import annotations

import itertools

import numpy as np
from flint import fmpq, fmpz

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.geometry.on_line import ends_of_pieces, image_of, zeros_on_line
from jaxtract.oracle.counting import Purpose
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import LineSettings, search_lines
from precision.context import Context
from precision.dyadic import DyadicMatrix


class RecoveredAsker:
    """A recovered function in the place of the black box; it costs computation only."""

    def __init__(self, evaluator: FlintEvaluator, context: Context):
        self._evaluator = evaluator
        self.context = context

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        del purpose
        values = self._evaluator(points)
        if not self.context.exact:
            values.ravel()[:] = [self.context.number(x) for x in values.ravel()]
        return values


def kinks_of_network(
    evaluator: FlintEvaluator,
    context: Context,
    settings: LineSettings,
    bases: DyadicMatrix,
    directions: DyadicMatrix,
) -> list[list[fmpq]]:
    """Ascending kinks of the recovered network on every line."""
    if context.exact:
        return _exact_kinks(evaluator, bases, directions)
    profiles = search_lines(RecoveredAsker(evaluator, context), bases, directions, settings=settings)
    return [[context.rational(t) for t in profile.kinks] for profile in profiles]


def _exact_kinks(evaluator: FlintEvaluator, bases: DyadicMatrix, directions: DyadicMatrix) -> list[list[fmpq]]:
    """From the zeros of the hidden neurons, those at which f bends."""
    weights, biases, scale = [], [], fmpz(1)
    for weight, bias, denominator in evaluator.layers:
        weights.append(weight.transpose())
        biases.append([int(x) for x in (bias * scale).entries()])
        scale *= denominator
    hidden, whole = KnownLayers(weights[:-1], biases[:-1]), KnownLayers(weights, biases)
    found = []
    for base, direction in zip(bases.rows(), directions.rows(), strict=True):
        image = image_of(whole, base, direction)
        zeros = zeros_on_line(hidden, image)
        places = ends_of_pieces(zeros)
        first, scales = image.at(places)
        values = [
            [fmpq(x, s) for x in row]
            for row, s in zip(whole.preactivations_behind(first, scales)[-1].tolist(), scales, strict=True)
        ]
        ends = itertools.pairwise(zip(places, values, strict=True))
        slopes = [[(w - v) / (t - s) for v, w in zip(vs, ws, strict=True)] for (s, vs), (t, ws) in ends]
        found.append([t for t, (left, right) in zip(zeros, itertools.pairwise(slopes), strict=False) if left != right])
    return found
