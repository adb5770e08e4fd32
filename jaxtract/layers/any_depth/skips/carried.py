"""Layers in which every neuron may read everything before it: the inputs, and all earlier activations.

Behind the neurons of a layer stand linear units, without ReLU, that carry the inputs and the activations of the
layers before; so a row over "the layer before" has the weights of all skip connections in it, and all that is known
of plain layers holds (crossings tell weights, gradients are linear in them). With all skips allowed the sign of a
neuron is a symmetry, s(-z) = s(z) - z, and any sign will do while rows are read; ``signs.plainest`` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpq_mat, fmpz_mat

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row
from jaxtract.layers.any_depth.kinks.input_slice import InputSlice
from jaxtract.network.exact_network import ExactNetwork, Skip
from precision.context import object_matrix, rational_matrix


class Layout:
    """Which units the layers have, when layer l (from 1; 0 is the input) has its own ``widths[l]`` neurons.

    The units of layer l are its own neurons, then the inputs, then the neurons of layers 1, ..., l - 1.
    """

    def __init__(self, widths: Sequence[int]):
        self.widths = list(widths)

    def sources(self, layer: int) -> list[int]:
        """The layers whose values stand in a layer, in order."""
        return [layer, *range(layer)] if layer else [0]

    def parts(self, layer: int) -> dict[int, slice]:
        """Where the values of every source stand."""
        found, start = {}, 0
        for source in self.sources(layer):
            found[source] = slice(start, start + self.widths[source])
            start += self.widths[source]
        return found

    def size(self, layer: int) -> int:
        return sum(self.widths[source] for source in self.sources(layer))


def carried_layers(inputs: int, layers: Sequence[Sequence[Row]]) -> KnownLayers:
    """Rows over all that comes before, as layers with linear units; open weights as zero.

    Args:
        inputs: coordinates of the slice.
        layers: per layer its rows, with a weight for every unit of the layer before (``Layout``).
    """
    layout = Layout([inputs, *map(len, layers)])
    weights, biases, linear = [], [], []
    for layer, rows in enumerate(layers, start=1):
        own = [row.integers() for row in rows]
        before, size = layout.parts(layer - 1), layout.size(layer - 1)
        copied = [k for source in layout.sources(layer)[1:] for k in range(before[source].start, before[source].stop)]
        entries = [x for row, _ in own for x in row] + [int(i == k) for k in copied for i in range(size)]
        weights.append(fmpz_mat(len(own) + len(copied), size, entries))
        biases.append([bias for _, bias in own] + [0] * len(copied))
        linear.append(np.arange(len(own) + len(copied)) >= len(own))
    last = layout.parts(len(layers))
    carriers = {
        (source - 1, neuron): last[source].start + neuron
        for source in range(1, len(layers))
        for neuron in range(layout.widths[source])
    }
    return KnownLayers(weights, biases, linear=linear, carriers=carriers)


def plain_rows(layers: Sequence[FoundLayer]) -> list[list[Row]]:
    """Rows of plain layers over all that comes before: of the first ones that are complete, with known signs below."""
    found: list[list[Row]] = []
    widths = [len(layers[0].rows[0].weights)] if layers else []
    for index, layer in enumerate(layers):
        if any(row.missing for row in layer.rows) or (index and not all(layers[index - 1].signs)):
            break
        skipped = sum(widths[:-1])
        found.append([Row([*row.weights, *[fmpq(0)] * skipped], row.bias, row.seen_at) for row in layer.rows])
        widths.append(len(layer.rows))
    return found


def deepest_read(layout: Layout, layer: int, row: Row) -> int:
    """The last layer that a row over the units of ``layer`` reads (open weights count as read)."""
    for source in [layer, *reversed(range(layer))]:
        if any(w is None or w != 0 for w in row.weights[layout.parts(layer)[source]]):
            return source
    return 0


def moved_to(layout: Layout, layer: int, row: Row, earlier: int) -> Row:
    """A row over the units of ``layer`` that reads nothing behind ``earlier``, over the units of ``earlier``."""
    parts = layout.parts(layer)
    weights = [w for source in layout.sources(earlier) for w in row.weights[parts[source]]]
    return Row(weights, row.bias, row.seen_at)


def network_of(layers: KnownLayers, widths: Sequence[int], output: np.ndarray, chosen: InputSlice) -> ExactNetwork:
    """The network with skips.

    Args:
        layers: as ``carried_layers`` makes them.
        widths: coordinates of the slice, then own neurons of every layer.
        output: (outputs, units of the last layer + 1), weights and constant.
        chosen: the slice; what reads its coordinates is completed to all inputs.
    """
    layout = Layout([*widths, len(output)])
    weights, biases, skips = [], [], []
    for layer in range(1, layers.depth + 2):
        if layer <= layers.depth:
            rows = object_matrix(fmpq_mat(layers.weights[layer - 1]))[: layout.widths[layer]]
            offsets = [fmpq(b) for b in layers.biases[layer - 1][: layout.widths[layer]]]
        else:
            rows, offsets = output[:, :-1], list(output[:, -1])
        biases.append(fmpq_mat(len(offsets), 1, offsets))
        for source, part in layout.parts(layer - 1).items():
            block = np.array(rows[:, part], dtype=object)
            matrix = rational_matrix(chosen.full_rows(block) if source == 0 else block)
            if source == layer - 1:
                weights.append(matrix)
            elif any(x != 0 for x in matrix.entries()):
                skips.append(Skip(source, layer, matrix))
    return ExactNetwork(tuple(weights), tuple(biases), tuple(skips))
