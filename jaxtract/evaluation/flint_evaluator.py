"""The reference: FLINT integer matrices, exact by construction."""

from __future__ import annotations

from typing import final

import equinox as eqx
import numpy as np
from flint import fmpz_mat
from jaxtyping import Bool, UInt64

from jaxtract.evaluation.bounds import InputFormat, IntegerNetwork, integer_network
from jaxtract.evaluation.evaluator import ExactEvaluator, matrix_of, words_of
from jaxtract.network.exact_network import ExactNetwork


@final
class FlintPackedEvaluator(ExactEvaluator):
    """Products of ``fmpz_mat``, ReLU by sign, the exponent kept outside. Needs no bound to be right."""

    integers: IntegerNetwork = eqx.field(static=True)
    chunk: int = eqx.field(static=True)

    def __init__(self, network: ExactNetwork, format: InputFormat, *, chunk: int = 1024):
        self.integers = integer_network(network, format)
        self.chunk = chunk

    def evaluate_chunk(
        self, words: UInt64[np.ndarray, "points inputs limbs"]
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], tuple[Bool[np.ndarray, "points width"], ...]]:
        values, masks = self.evaluate_matrix(matrix_of(words))
        return words_of(values, self.integers.bits[-1]), masks

    def evaluate_matrix(self, points: fmpz_mat) -> tuple[fmpz_mat, tuple[Bool[np.ndarray, "points width"], ...]]:
        """The same on mantissas that are FLINT integers already: (points, inputs) to (points, outputs)."""
        ones = fmpz_mat(points.nrows(), 1, [1] * points.nrows())
        masks = []
        for layer, (weight, bias) in enumerate(zip(self.integers.weights, self.integers.biases, strict=True)):
            points = points * weight + ones * bias
            if layer + 1 < len(self.integers.weights):
                entries = [z if z > 0 else 0 for z in points.entries()]
                masks.append(np.array(entries, dtype=object).reshape(points.nrows(), -1) != 0)
                points = fmpz_mat(points.nrows(), points.ncols(), entries)
        return points, tuple(masks)
