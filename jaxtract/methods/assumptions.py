"""What a theorem asks of a network, measured on one that was recovered."""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq

from jaxtract.network.exact_network import ExactNetwork
from precision.context import object_matrix


@dataclasses.dataclass(frozen=True)
class Assumption:
    """One condition of a theorem.

    Attributes:
        name: the condition in words.
        holds: whether the recovered network meets it.
        measured: the number that says so, or by how much it fails.
    """

    name: str
    holds: bool
    measured: str

    def __str__(self) -> str:
        return f"{'met' if self.holds else 'VIOLATED'}: {self.name} ({self.measured})"


def independent_rows(network: ExactNetwork) -> Assumption:
    """The first weight matrix maps onto: its rank is its width (exact)."""
    weight = network.weights[0]
    rank, width = weight.rank(), weight.nrows()
    margin = singular_margin(network)
    return Assumption("the first layer's rows are independent", rank == width, f"rank {rank} of {width}, {margin:.1e}")


def without_biases(network: ExactNetwork) -> Assumption:
    """No hidden neuron has a bias (exact)."""
    count = sum(b != 0 for bias in network.biases[:-1] for b in bias.entries())
    return Assumption("no biases", count == 0, f"{count} neurons have one")


def narrower_than_input(network: ExactNetwork) -> Assumption:
    width = network.widths[1]
    return Assumption("first width at most the input", width <= network.inputs, f"{width} and {network.inputs}")


def narrower_than_second(network: ExactNetwork) -> Assumption:
    first, second = network.widths[1:3]
    return Assumption("first width at most the second", first <= second, f"{first} and {second}")


def hidden_layers(network: ExactNetwork, count: int | None) -> Assumption:
    found = len(network.widths) - 2
    name = "at least one hidden layer" if count is None else f"{count} hidden layer{'s' if count > 1 else ''}"
    return Assumption(name, found >= 1 if count is None else found == count, f"{found}")


def no_parallel_hyperplanes(network: ExactNetwork) -> Assumption:
    """No two first-layer hyperplanes are parallel (exact)."""
    rows = [_direction(row) for row in network.weights[0].tolist()]
    pairs = len(rows) - len(set(rows))
    return Assumption(
        "no two first-layer hyperplanes are parallel", pairs == 0, f"largest cosine {largest_cosine(network):.6f}"
    )


def every_weight_acts(network: ExactNetwork) -> Assumption:
    """No weight between hidden layers is zero: every boundary bends at every boundary of the layer before (exact)."""
    zeros = sum(x == 0 for weight in network.weights[1:-1] for x in weight.entries())
    return Assumption("no weight between hidden layers is zero", zeros == 0, f"{zeros} zeros")


def singular_margin(network: ExactNetwork) -> float:
    """Smallest over largest singular value of the first layer's unit rows (float64)."""
    rows = _unit_rows(network)
    values = np.linalg.svd(rows, compute_uv=False)
    return float(values[-1] / values[0]) if len(values) else 0.0


def largest_cosine(network: ExactNetwork) -> float:
    """Of the angle between two first-layer hyperplanes (float64)."""
    rows = _unit_rows(network)
    cosines = np.abs(rows @ rows.T) - np.eye(len(rows))
    return float(cosines.max()) if cosines.size else 0.0


def _unit_rows(network: ExactNetwork) -> np.ndarray:
    rows = []
    for row in object_matrix(network.weights[0]):
        size = max((abs(x) for x in row), default=fmpq(0)) or fmpq(1)
        rows.append([int((x / size).p) / int((x / size).q) for x in row])
    whole = np.array(rows, dtype=np.float64).reshape(network.widths[1], network.inputs)
    return whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-300)


def _direction(row: list[fmpq]) -> tuple[fmpq, ...]:
    lead = next((x for x in row if x != 0), fmpq(1))
    return tuple(x / lead for x in row)
