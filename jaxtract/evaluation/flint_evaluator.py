"""The reference: FLINT integer matrices, exact by construction."""

from __future__ import annotations

from typing import final

import equinox as eqx
import numpy as np
from flint import fmpz, fmpz_mat
from jaxtyping import Int, UInt64

from jaxtract.evaluation.bounds import InputFormat, IntegerNetwork, integer_network
from jaxtract.evaluation.evaluator import ExactEvaluator, Masks
from jaxtract.evaluation.packing import matrix_of, words_of
from jaxtract.evaluation.structured import StructuredPoints
from jaxtract.network.exact_network import ExactNetwork


@final
class FlintPackedEvaluator(ExactEvaluator):
    """Products of ``fmpz_mat``, ReLU by sign, the exponent kept outside. Needs no bound to be right."""

    integers: IntegerNetwork = eqx.field(static=True)
    chunk: int = eqx.field(static=True)

    def __init__(self, network: ExactNetwork | IntegerNetwork, format: InputFormat, *, chunk: int = 1024):
        self.integers = integer_network(network, format) if isinstance(network, ExactNetwork) else network
        self.chunk = chunk

    def evaluate_chunk(
        self, words: UInt64[np.ndarray, "points inputs limbs"]
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], Masks]:
        values, masks = self.evaluate_matrix(matrix_of(words))
        return words_of(values, self.integers.bits[-1]), masks

    def first_images(self, points: StructuredPoints) -> tuple[list[list[fmpz]], list[list[fmpz]]]:
        directions = self.integers.weights[0] if points.directions is None else points.directions
        return points.anchors.tolist(), directions.tolist()

    def evaluate_images(
        self,
        images: tuple[list[list[fmpz]], list[list[fmpz]]],
        anchor: Int[np.ndarray, " points"],
        direction: Int[np.ndarray, " points"],
        steps: UInt64[np.ndarray, "points limbs"],
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], Masks]:
        factors = matrix_of(steps[:, None]).entries()
        rows = zip(anchor.tolist(), direction.tolist(), factors, strict=True)
        entries = [x + t * v for a, d, t in rows for x, v in zip(images[0][a], images[1][d], strict=True)]
        values, masks = self._continue(fmpz_mat(len(steps), self.integers.widths[1], entries))
        return words_of(values, self.integers.bits[-1]), masks

    def evaluate_matrix(self, points: fmpz_mat) -> tuple[fmpz_mat, Masks]:
        """The same on mantissas that are FLINT integers already: (points, inputs) to (points, outputs)."""
        return self._continue(self._affine(0, points))

    def _continue(self, values: fmpz_mat) -> tuple[fmpz_mat, Masks]:
        masks = []
        for layer in range(1, len(self.integers.weights)):
            entries = [z if z > 0 else 0 for z in values.entries()]
            masks.append(np.array(entries, dtype=object).reshape(values.nrows(), -1) != 0)
            values = self._affine(layer, fmpz_mat(values.nrows(), values.ncols(), entries))
        return values, tuple(masks)

    def _affine(self, layer: int, values: fmpz_mat) -> fmpz_mat:
        ones = fmpz_mat(values.nrows(), 1, [1] * values.nrows())
        return values * self.integers.weights[layer] + ones * self.integers.biases[layer]
