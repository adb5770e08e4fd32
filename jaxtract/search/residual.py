"""What is left of the black box once a recovered function is subtracted."""

from __future__ import annotations

import numpy as np

from jaxtract.oracle.counting import CountingOracle, Purpose
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch
from precision.context import Context


class Residual:
    """f - g for a recovered g: zero everywhere when g is right, piecewise linear where it is not.

    Searching the residual makes every round of repair cost only what is still unexplained.
    """

    def __init__(self, oracle: CountingOracle, recovered: FlintEvaluator, context: Context):
        self._oracle = oracle
        self._recovered = recovered
        self.context = context

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        """(f - g) at every point, shape (points, outputs)."""
        answers = self._oracle.ask(points, purpose)
        known = self._recovered(points)
        if not self.context.exact:
            known.ravel()[:] = [self.context.number(x) for x in known.ravel()]
        return answers - known
