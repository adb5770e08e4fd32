"""Units at random inputs in float64: what they show is evidence for where proofs are worth a try, and never a proof."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from jaxtract.equality.expressions import CONSTANT, Expression, float64_rows
from jaxtract.equality.resolve import States

SAMPLES, SCALES = 1024, (2.0**-6, 1.0, 2.0**4, 2.0**10)
"""Random inputs of every scale."""

SEED = 0

ALIKE = 1e-12
"""Units look alike where the cosine of their values is less than that below one."""


class SampledUnits:
    """All units of a table at the same random inputs.

    Args:
        rows: ``rows[k]`` is z_k of unit k, affine in the inputs and earlier units.
        inputs: d.
    """

    def __init__(self, rows: Mapping[int, Expression], inputs: int):
        self.rows, self.inputs = rows, inputs

    @functools.cached_property
    def values(self) -> dict[int, np.ndarray]:
        """s(z) of every unit, (samples,), each in units of its own."""
        rng = np.random.default_rng(SEED)
        points = np.concatenate([scale * rng.standard_normal((SAMPLES, self.inputs)) for scale in SCALES])
        known = {key: points[:, key + self.inputs] for key in range(-self.inputs, CONSTANT)}
        known[CONSTANT] = np.ones(len(points))
        for k, row in float64_rows(self.rows).items():
            known[k] = np.maximum(sum((x * known[key] for key, x in row.items()), np.zeros(len(points))), 0.0)
        return {k: known[k] for k in self.rows}

    def where(self, states: States) -> np.ndarray:
        """The samples at which units are on and off as told, (samples,)."""
        found = np.ones(len(SCALES) * SAMPLES, dtype=bool)
        for k, (on, _) in states.items():
            found &= (self.values[k] > 0) == on
        return found

    def alike(self, units: Sequence[int], where: np.ndarray) -> list[tuple[int, int]]:
        """Pairs (earlier, later) of units that are multiples of each other at some of the samples."""
        if not units or not where.any():
            return []
        table = np.array([self.values[k][where] for k in units])
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        table = table / np.where(lengths > 0, lengths, 1.0)
        still = lengths[:, 0] == 0
        close = (table @ table.T > 1 - ALIKE) | (still[:, None] & still[None, :])
        return [(units[i], units[j]) for j in range(len(units)) for i in range(j) if close[i, j]]
