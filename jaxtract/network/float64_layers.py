"""An exact network in float64: its layers, and the pre-activations of many inputs together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtract.network.exact_network import ExactNetwork
from precision.balls import to_float

Affine = tuple[np.ndarray, np.ndarray]
"""Weights (width, width before) and biases (width,) of a layer."""


def float64_layers(network: ExactNetwork) -> list[Affine]:
    """All layers, the output layer included; without skips."""
    return [
        (np.array([[to_float(x) for x in row] for row in weight.tolist()]), np.array([*map(to_float, bias.entries())]))
        for weight, bias in zip(network.weights, network.biases, strict=True)
    ]


def preactivations64(layers: Sequence[Affine], inputs: np.ndarray) -> list[np.ndarray]:
    """Pre-activations of every layer at inputs, (points, width) each."""
    heights, activations = [], inputs
    for weight, bias in layers:
        heights.append(activations @ weight.T + bias)
        activations = np.maximum(heights[-1], 0)
    return heights
