"""Where a recovered network of any depth bends on a line: the line search, asked of the network itself."""

from __future__ import annotations

import numpy as np
from flint import fmpq

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
    profiles = search_lines(RecoveredAsker(evaluator, context), bases, directions, settings=settings)
    return [[context.rational(t) for t in profile.kinks] for profile in profiles]
