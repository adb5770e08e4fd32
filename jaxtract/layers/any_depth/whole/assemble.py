"""The recovered network as a network on all inputs, its values and its accuracy."""

from __future__ import annotations

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, without_linear, without_unread
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.unseen.disagreements import Recovered
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch
from jaxtract.verification.agreement import agree_bits
from precision.balls import ball, middle, middles
from precision.context import object_matrix
from precision.dyadic import power_of_two

VALUE_BITS = 16
"""Bits that a value of the recovered function may be rougher than the roughest of its rows."""

KNOWN_SHARE = 3
"""Between few bits a network is known if its rows are to one in so many of the bits of an answer."""

SCALING_BITS = 2
"""Bits that the free scales of neurons cost a statement about single weights."""


class Assembly:
    """Puts together what is known."""

    def __init__(self, state: Recovery):
        self.state = state
        self._full_rows: tuple[np.ndarray, np.ndarray] | None = None

    def network(self) -> ExactNetwork | None:
        """What is known, with the first layer on all inputs; None before the output layer is known."""
        if self.state.with_skips is not None:
            return self.state.with_skips.network
        if self.state.polished is not None:
            return self.state.polished.network
        if self.state.output is None:
            return None
        tail = self.state.output.network
        last = [
            Row(list(row), bias) for row, bias in zip(tail.weights[0].tolist(), tail.biases[0].entries(), strict=True)
        ]
        gamma = object_matrix(tail.weights[1])
        inner = [FoundLayer([row.in_integers() for row in layer.rows], layer.signs) for layer in self.state.layers[:-1]]
        plain = without_linear([*inner, FoundLayer(last, [1] * len(last))])
        layers, gamma = without_unread(plain, gamma)
        weights, biases = [], []
        for i, layer in enumerate(layers):
            rows = np.empty((len(layer.rows), len(layer.rows[0].weights) if layer.rows else 0), dtype=object)
            for h, row in enumerate(layer.rows):
                rows[h, :] = row.weights
            whole = self._on_all_inputs(rows) if i == 0 else rows
            weights.append(middles(whole))
            biases.append(fmpq_mat(len(layer.rows), 1, [middle(row.bias) for row in layer.rows]))
        weights.append(middles(gamma))
        biases.append(tail.biases[1])
        return ExactNetwork(tuple(weights), tuple(biases))

    def _on_all_inputs(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the first layer, (width, inputs); kept, because completing them is long arithmetic."""
        if self._full_rows is None or not _identical(self._full_rows[0], rows):
            self._full_rows = (rows, self.state.slice.full_rows(rows))
        return self._full_rows[1]

    def recovered(self) -> tuple[FlintEvaluator, Recovered]:
        """The recovered function, on all inputs and on the slice."""
        network = self.network()
        assert network is not None, "asked for only after the output layer was found"
        evaluator = FlintEvaluator(network)
        return evaluator, Recovered(
            lambda points: self.values(evaluator, self.state.slice.embed(points)), self.state.numbers
        )

    def values(self, evaluator: FlintEvaluator, points: PointBatch) -> np.ndarray:
        """The recovered function; between balls as rough as its rows are known, or may be to count as recovered."""
        values = evaluator(points)
        if self.state.numbers.exact:
            return values
        known = (self.accuracy() or 0) - VALUE_BITS
        radius = power_of_two(-max(0, min(known, agree_bits(self.state.context))))
        size = max((abs(x) for x in values.ravel()), default=fmpq(1))
        values.ravel()[:] = [ball(x, radius * size) for x in values.ravel()]
        return values

    def affine_rest(self) -> bool:
        """Whether the last layer has more neurons than boundaries: some carry an affine rest."""
        if self.state.output is None or self.state.signed_again:
            return False
        return self.state.output.network.widths[1] > len(self.state.layers[-1].rows)

    def determined(self) -> bool:
        """Whether a network that agrees is known, too: no affine rest, and with few bits no row that is hardly known.

        A row too many, or one that is wrong where its neuron is seldom seen, leaves the polished parameters loose.
        """
        if self.state.numbers.exact or self.state.with_skips is not None:
            return True
        numbers = self.state.numbers
        rough = numbers.few_bits and (self.accuracy() or 0) < (numbers.answer_bits or 0) // KNOWN_SHARE
        return not rough and not self.affine_rest()

    def accuracy(self) -> int | None:
        """Bits of the network's rows, against the largest number of each; None where they are exact.

        Estimated where the network was polished, else proven. The scale of a neuron moves into the columns that read
        it: a row has the errors of its own and of these.
        """
        if self.state.numbers.exact or self.state.output is None:
            return None
        if self.state.polished is not None and not self.state.polished.unseen:
            return max(0, self.state.polished.accuracy_bits - SCALING_BITS)
        if len(self.state.output.read) != len(self.state.layers[-1].rows):
            return 0  # rows were found since the output layer was read
        found = [FoundLayer([row.in_integers() for row in layer.rows], layer.signs) for layer in self.state.layers]
        kept, _ = without_unread(found, self.state.output.read[None, :].astype(int))
        rows = [row.accuracy for layer in kept for row in layer.rows]
        return max(0, int(min([*rows, self.state.output.accuracy])) - SCALING_BITS)


def _identical(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and all(a is b or a == b for a, b in zip(one.ravel(), other.ravel(), strict=True))
