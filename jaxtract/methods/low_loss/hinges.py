"""A function of one hidden layer in float64: hinges, and an affine remainder."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtract.measurement.ridge_form import build_network
from jaxtract.network.exact_network import ExactNetwork
from precision.dyadic import from_float
from precision.exact import ExactContext


@dataclasses.dataclass(frozen=True)
class Hinges:
    """f(x) = sum_h factors[h] max(0, normals[h] . x + offsets[h]) + x @ matrix + constant.

    Shapes: normals (neurons, inputs), of unit norm; offsets (neurons,); factors (neurons, outputs);
    matrix (inputs, outputs); constant (outputs,).
    """

    normals: np.ndarray
    offsets: np.ndarray
    factors: np.ndarray
    matrix: np.ndarray
    constant: np.ndarray

    @classmethod
    def zero(cls, inputs: int, outputs: int) -> Hinges:
        return cls(
            np.zeros((0, inputs)), np.zeros(0), np.zeros((0, outputs)), np.zeros((inputs, outputs)), np.zeros(outputs)
        )

    def __len__(self) -> int:
        return len(self.offsets)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(points, outputs)."""
        return self.hidden(points) @ self.factors + points @ self.matrix + self.constant

    def hidden(self, points: np.ndarray) -> np.ndarray:
        """(points, neurons)."""
        return np.maximum(points @ self.normals.T + self.offsets, 0.0)

    def rows(self) -> np.ndarray:
        """(neurons, inputs + 1): normals with offsets."""
        return np.concatenate([self.normals, self.offsets[:, None]], axis=1)

    def select(self, kept: np.ndarray) -> Hinges:
        """The neurons of a mask or an index array."""
        return dataclasses.replace(
            self, normals=self.normals[kept], offsets=self.offsets[kept], factors=self.factors[kept]
        )

    def with_hinges(self, normals: np.ndarray, offsets: np.ndarray, factors: np.ndarray) -> Hinges:
        return dataclasses.replace(
            self,
            normals=np.concatenate([self.normals, normals]),
            offsets=np.concatenate([self.offsets, offsets]),
            factors=np.concatenate([self.factors, factors]),
        )

    def replaced(self, index: int, row: np.ndarray, factor: np.ndarray) -> Hinges:
        """With another row (normal, offset) and factor for one neuron."""
        normals, offsets, factors = self.normals.copy(), self.offsets.copy(), self.factors.copy()
        normals[index], offsets[index], factors[index] = row[:-1], row[-1], factor
        return dataclasses.replace(self, normals=normals, offsets=offsets, factors=factors)

    def network(self) -> ExactNetwork:
        """The same function as a network; the affine remainder takes two neurons for every rank that it has."""
        exact = ExactContext()
        rows, biases, outgoing, rest, constant = (
            _rationals(values) for values in (self.normals, self.offsets, self.factors, self.matrix.T, self.constant)
        )
        return build_network(exact, rows, biases, outgoing, rest, constant)


def _rationals(values: np.ndarray) -> np.ndarray:
    out = np.empty(values.shape, dtype=object)
    out.ravel()[:] = [from_float(x) for x in values.ravel()]
    return out
