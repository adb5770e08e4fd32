"""The parameters of a network as one vector, what f does with each of them, and what f is summed from."""

from __future__ import annotations

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.network.exact_network import ExactNetwork
from precision.balls import to_float
from precision.dyadic import from_float, round_to_grid

MANY = 2
"""Inputs for every one that would determine the parameters, where they are not chosen."""


class Parameters:
    """The weights and biases of a network as one vector, but for the largest weight of every hidden row.

    A neuron's scale is free: its largest weight is kept where it is.
    """

    def __init__(self, network: ExactNetwork):
        self.network = network
        self.weights = [np.array(w.tolist(), dtype=object).reshape(w.nrows(), w.ncols()) for w in network.weights]
        self.biases = [np.array(b.entries(), dtype=object) for b in network.biases]
        self._weights64 = [floats(w) for w in self.weights]
        self._biases64 = [floats(b) for b in self.biases]
        free = []
        for layer, weight in enumerate(self._weights64):
            mask = np.ones((weight.shape[0], weight.shape[1] + 1), dtype=bool)
            if layer + 1 < len(self.weights):
                mask[np.arange(len(weight)), np.argmax(np.abs(weight), axis=1)] = False
            free.append(mask)
        self._masks = free
        self.free = np.concatenate([mask.ravel() for mask in free])

    @property
    def count(self) -> int:
        return int(self.free.sum())

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """df/dparameters at (points, inputs): (points * outputs, free parameters)."""
        states, sides = [points], []
        for weight, bias in zip(self._weights64[:-1], self._biases64[:-1], strict=True):
            z = states[-1] @ weight.T + bias
            sides.append(z > 0)
            states.append(np.maximum(z, 0))
        outputs = len(self._weights64[-1])
        back = np.broadcast_to(np.eye(outputs), (len(points), outputs, outputs))
        blocks = []
        for layer in reversed(range(len(self._weights64))):
            with_one = np.concatenate([states[layer], np.ones((len(points), 1))], axis=1)
            blocks.append(np.einsum("koh,kj->kohj", back, with_one).reshape(len(points) * outputs, -1))
            if layer:
                back = (back @ self._weights64[layer]) * sides[layer - 1][:, None, :]
        return np.concatenate(blocks[::-1], axis=1)[:, self.free]

    def open_rows(self, open_: np.ndarray) -> dict[int, list[int]] | None:
        """Free parameters that are open, as weights of rows of the last hidden layer; None if others are, too."""
        whole = np.zeros(len(self.free), dtype=bool)
        whole[self.free] = open_
        stop = len(whole) - self._masks[-1].size
        mask = self._masks[-2]
        last = whole[stop - mask.size : stop].reshape(mask.shape)
        if last[:, :-1].sum() < whole.sum():
            return None
        return {int(q): np.flatnonzero(last[q]).tolist() for q in np.flatnonzero(last.any(axis=1))}

    def seldom_on(self, asked: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Indices of points for rows that act at too few of the inputs asked to determine their weights."""
        biases = np.cumsum([mask.shape[1] for mask in self._masks for _ in mask]) - 1
        columns = (np.cumsum(self.free) - 1)[biases[self.free[biases]]]
        fewest = [MANY * mask.shape[1] for mask in self._masks for _ in mask]
        needed = np.array(fewest)[self.free[biases]] - np.count_nonzero(self.jacobian(asked)[:, columns], axis=0)
        acts = self.jacobian(points)[:, columns] != 0
        chosen = [
            np.flatnonzero(own)[: max(0, more)] // self.network.outputs
            for own, more in zip(acts.T, needed, strict=True)
        ]
        return np.unique(np.concatenate(chosen))

    def term_sizes(self, points: np.ndarray) -> np.ndarray:
        """The terms that f is summed from, in all layers, without their signs: (points, outputs).

        An evaluation in floating point rounds by about this times the rounding of one operation.
        """
        states, sizes = points, np.zeros_like(points)
        last = len(self._weights64) - 1
        for layer, (weight, bias) in enumerate(zip(self._weights64, self._biases64, strict=True)):
            z = states @ weight.T + bias
            sizes = (sizes + np.abs(states)) @ np.abs(weight).T + np.abs(bias)
            on = (z > 0) | (layer == last)
            states, sizes = np.where(on, z, 0), np.where(on, sizes, 0)
        # Where all terms vanish f is not rounded at all, but weights must be finite.
        return np.maximum(sizes, 2.0**-100 * (np.max(sizes) or 1.0))

    def moved(self, step: np.ndarray, unit: fmpq, grid_bits: int) -> Parameters:
        """All free parameters plus unit * step, on the grid 2^-grid_bits."""
        whole = np.zeros(len(self.free))
        whole[self.free] = step
        weights, biases, start = [], [], 0
        for weight, bias in zip(self.weights, self.biases, strict=True):
            rows, columns = weight.shape
            part = whole[start : start + rows * (columns + 1)].reshape(rows, columns + 1)
            start += part.size
            weights.append(_plus(weight, part[:, :-1], unit, grid_bits))
            biases.append(_plus(bias[:, None], part[:, -1:], unit, grid_bits))
        return Parameters(ExactNetwork(tuple(weights), tuple(biases)))

    def row_sizes(self) -> np.ndarray:
        """For every free parameter the largest entry of its row, (count,)."""
        sizes = []
        for weight, bias in zip(self._weights64, self._biases64, strict=True):
            largest = np.maximum(np.max(np.abs(weight), axis=1), np.abs(bias))
            sizes.append(np.repeat(largest, weight.shape[1] + 1))
        return np.concatenate(sizes)[self.free]

    def worst_share(self, errors: np.ndarray) -> float:
        """The largest error of a parameter against the largest entry of its row."""
        whole = np.zeros(len(self.free))
        whole[self.free] = errors
        worst, start = 0.0, 0
        for weight, bias in zip(self._weights64, self._biases64, strict=True):
            sizes = np.maximum(np.max(np.abs(weight), axis=1), np.abs(bias))
            part = whole[start : start + weight.size + len(bias)].reshape(len(bias), -1)
            start += part.size
            worst = max(worst, float(np.max(np.max(part, axis=1) / sizes)))
        return worst


def plain_sizes(inputs: np.ndarray, outputs: int) -> np.ndarray:
    """How answers round where it says nothing more, up to a factor: 1 + max |x|, (points, outputs)."""
    return np.repeat(1 + np.max(np.abs(inputs), axis=1, keepdims=True), outputs, axis=1)


def floats(values: np.ndarray) -> np.ndarray:
    return np.array([to_float(x) for x in values.ravel()], dtype=np.float64).reshape(values.shape)


def _plus(values: np.ndarray, step: np.ndarray, unit: fmpq, grid_bits: int) -> fmpq_mat:
    entries = [
        round_to_grid(x + unit * from_float(s), grid_bits) if s else x
        for x, s in zip(values.ravel(), step.ravel(), strict=True)
    ]
    rows, columns = values.shape
    return fmpq_mat(rows, columns, entries)
