"""The gradients of a known network without rounding: what an explanation by gradients, a saliency map, answers.

The Jacobian is constant in a region, so that a batch needs one product of masked matrices for each of its activation
patterns, and the points of one pattern share it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.evaluate import CHUNK, FlintEvaluator
from jaxtract.oracle.points import PointBatch

Pattern = tuple[bool, ...]
"""Which hidden neurons have z > 0, layer after layer."""


class JacobianEvaluator:
    """df_o/dx_j of one network at batches of points.

    On the boundary of a neuron, z = 0, the neuron counts as off: the derivative of the ReLU at 0 is taken for 0, as
    PyTorch, TensorFlow and JAX take it. What is answered there is the gradient of one side where one neuron is on its
    boundary, and of none, perhaps, where several are.
    """

    def __init__(self, network: ExactNetwork):
        self._flint = FlintEvaluator(network)
        self._denominator = fmpz(1)
        for _, _, denominator in self._flint.layers:
            self._denominator *= denominator
        self._known: dict[Pattern, np.ndarray] = {}

    def __call__(self, points: PointBatch) -> np.ndarray:
        """An object array of ``fmpq``, shape (points, outputs, inputs)."""
        found = np.empty((len(points), self._flint.outputs, self._flint.inputs), dtype=object)
        start = 0
        for chunk in points.chunks(CHUNK):
            for pattern in self._patterns(chunk):
                if pattern not in self._known:
                    self._known[pattern] = self._jacobian(pattern)
                found[start] = self._known[pattern]
                start += 1
        return found

    def _patterns(self, points: PointBatch) -> list[Pattern]:
        layers = self._flint.layers
        if len(layers) == 1:
            return [()] * len(points)
        first = self._flint.first_layer(points)
        state, scale = first.image(points, relu=False), first.scale
        ones = fmpz_mat(len(points), 1, [1] * len(points))
        active = [_active(state)]
        for weight, bias, denominator in layers[1:-1]:
            state = fmpz_mat(state.nrows(), state.ncols(), [z if z > 0 else 0 for z in state.entries()])
            state = state * weight + ones * (bias * scale)
            scale = scale * denominator
            active.append(_active(state))
        return [tuple(itertools.chain(*parts)) for parts in zip(*active, strict=True)]

    def _jacobian(self, pattern: Pattern) -> np.ndarray:
        """From the outputs inwards: the transposed Jacobian, (inputs, outputs) integers over one denominator."""
        *hidden, (columns, _, _) = self._flint.layers
        end = len(pattern)
        for weight, _, _ in reversed(hidden):
            start = end - weight.ncols()
            columns = weight * _masked(columns, pattern[start:end])
            end = start
        entries = [fmpq(z, self._denominator) for z in columns.transpose().entries()]
        return np.array(entries, dtype=object).reshape(self._flint.outputs, self._flint.inputs)


def _active(state: fmpz_mat) -> list[list[bool]]:
    return [[z > 0 for z in row] for row in state.tolist()]


def _masked(matrix: fmpz_mat, active: Sequence[bool]) -> fmpz_mat:
    """The rows of neurons that are off are zero."""
    rows = zip(matrix.tolist(), active, strict=True)
    return fmpz_mat(matrix.nrows(), matrix.ncols(), [z if on else 0 for row, on in rows for z in row])
