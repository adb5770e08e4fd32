"""A network taken apart into rows and columns of rationals, skips included: what normal forms work on."""

from __future__ import annotations

from collections.abc import Sequence

from flint import fmpq, fmpq_mat

from jaxtract.network.exact_network import ExactNetwork, Skip

Block = tuple[int, int]
"""(source, target): the matrix that takes activations of one layer into another; layers from 1, 0 is the input."""


class Blocks:
    """The matrices of a network as lists, to be changed in place.

    Attributes:
        matrices: rows of every block; a target's chain block (target - 1, target) comes before its skips.
        biases: per layer from 1 to the last (index 0 is unused).
        widths: as of the network, kept up to date.
    """

    def __init__(self, network: ExactNetwork):
        self.widths = list(network.widths)
        self.last = len(network.weights)
        self.matrices: dict[Block, list[list[fmpq]]] = {}
        for layer, weight in enumerate(network.weights, start=1):
            self.matrices[layer - 1, layer] = weight.tolist()
            for skip in network.skips:
                if skip.target == layer:
                    self.matrices[skip.source, layer] = skip.matrix.tolist()
        self.biases: list[list[fmpq]] = [[], *(bias.entries() for bias in network.biases)]

    def into(self, layer: int) -> list[Block]:
        return [block for block in self.matrices if block[1] == layer]

    def out_of(self, layer: int) -> list[Block]:
        return [block for block in self.matrices if block[0] == layer]

    def row(self, layer: int, neuron: int) -> list[fmpq]:
        """Weights of a neuron: over the layer before, then over the sources of its skips."""
        return [x for block in self.into(layer) for x in self.matrices[block][neuron]]

    def column(self, layer: int, neuron: int) -> list[fmpq]:
        """All weights with which a neuron is read."""
        return [row[neuron] for block in self.out_of(layer) for row in self.matrices[block]]

    def rescale(self, layer: int, neuron: int, scale: fmpq) -> None:
        """Moves a positive scale into the row of a neuron and out of its columns."""
        if scale == 1:
            return
        for block in self.into(layer):
            rows = self.matrices[block]
            rows[neuron] = [x * scale for x in rows[neuron]]
        self.biases[layer][neuron] *= scale
        for block in self.out_of(layer):
            for row in self.matrices[block]:
                row[neuron] /= scale

    def add_columns(self, layer: int, neuron: int, other: int) -> None:
        """Everything that reads ``neuron`` reads ``other`` with the same weights on top."""
        for block in self.out_of(layer):
            for row in self.matrices[block]:
                row[other] += row[neuron]

    def make_constant(self, layer: int, neuron: int, value: fmpq) -> None:
        """What reads the neuron has its value in the bias instead."""
        for block in self.out_of(layer):
            bias = self.biases[block[1]]
            for i, row in enumerate(self.matrices[block]):
                bias[i] += value * row[neuron]

    def keep(self, layer: int, neurons: Sequence[int]) -> None:
        """Only these neurons of a layer, in this order."""
        if list(neurons) == list(range(self.widths[layer])):
            return
        for block in self.into(layer):
            self.matrices[block] = [self.matrices[block][h] for h in neurons]
        self.biases[layer] = [self.biases[layer][h] for h in neurons]
        for block in self.out_of(layer):
            self.matrices[block] = [[row[h] for h in neurons] for row in self.matrices[block]]
        self.widths[layer] = len(neurons)

    def network(self) -> ExactNetwork:
        """The network again; skips that are zero are gone."""
        chain = range(1, self.last + 1)
        skips = [
            Skip(source, target, self._matrix((source, target)))
            for (source, target), rows in self.matrices.items()
            if source + 1 < target and any(x != 0 for row in rows for x in row)
        ]
        return ExactNetwork(
            tuple(self._matrix((layer - 1, layer)) for layer in chain),
            tuple(fmpq_mat(len(self.biases[layer]), 1, self.biases[layer]) for layer in chain),
            tuple(skips),
        )

    def _matrix(self, block: Block) -> fmpq_mat:
        rows = self.matrices[block]
        return fmpq_mat(len(rows), self.widths[block[0]], [x for row in rows for x in row])
