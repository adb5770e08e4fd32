"""Open weights of the last hidden layer, from what their neuron must add to f where all else is known.

A neuron that reads another one with a weight that is not known may be off in the recovered network where it is on: f
is then no smooth function of the weight. But where everything else is right, the residual tells what the neuron puts
out, y = relu(z) + r / gamma; and where that is positive, z with its open weights is y: linear in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.float64_layers import float64_layers, preactivations64
from jaxtract.polish.least_absolute import least_absolute
from precision.balls import to_float
from precision.dyadic import from_float, round_to_grid

ON_SHARE = 2.0**-20
"""A neuron is on where it puts out more than this share of the largest output seen."""

LITTLE, WANTED = 2.0**-5, 8
"""What is read is best so much smaller than the neuron's own: then hardly any weight turns the neuron off; inputs."""


def inputs_hardly_read(
    network: ExactNetwork, open_weights: Mapping[int, Sequence[int]], points: np.ndarray
) -> np.ndarray:
    """Those of many points (inputs, dimension) where a neuron of the last hidden layer reads an open weight a little.

    Where all that is known of such a weight is that it turns the neuron off, it shows only there.
    """
    own, before = _last_heights(network, points)
    chosen = []
    for neuron, sources in open_weights.items():
        read = before[:, list(sources)].sum(axis=1)
        for source in sources:
            both = np.flatnonzero((own[:, neuron] > 0) & (before[:, source] > 0))
            far = np.abs(np.log(read[both] / own[both, neuron] / LITTLE))
            chosen.append(both[np.argsort(far)[:WANTED]])
    return points[np.unique(np.concatenate(chosen))] if chosen else points[:0]


def weights_from_outputs(
    network: ExactNetwork,
    open_weights: Mapping[int, Sequence[int]],
    inputs: np.ndarray,
    residuals: np.ndarray,
    bits: int,
) -> ExactNetwork | None:
    """The network with weights that were open.

    Args:
        network: right but for these weights.
        open_weights: by neuron of the last hidden layer, which neurons it may read with a weight that is not known.
        inputs: (inputs, dimension), doubles, where the network is wrong.
        residuals: f less the network there, (inputs, outputs), rationals.
        bits: fractional bits of the weights.

    Returns:
        None where nothing was found that most inputs agree on.
    """
    own, before = _last_heights(network, inputs)
    left = np.array([[to_float(x) for x in row] for row in residuals]).reshape(len(inputs), -1)
    weights = fmpq_mat(network.weights[-2])
    found = False
    for neuron, sources in open_weights.items():
        acting = before[:, list(sources)].any(axis=1)
        for other, theirs in open_weights.items():
            # What two neurons add with open weights cannot be told apart.
            acting &= (other == neuron) | ~before[:, list(theirs)].any(axis=1)
        outer = np.array([to_float(network.weights[-1][o, neuron]) for o in range(network.outputs)])
        if not outer.any():
            continue
        z = own[:, neuron]
        output = np.maximum(z, 0) + left @ outer / (outer @ outer)
        on = acting & (output > ON_SHARE * np.max(output, initial=0.0))
        seen = before[on][:, list(sources)]
        shown = [k for k in range(len(sources)) if seen[:, k].any()]
        steps = least_absolute(seen[:, shown], (output - z)[on])
        for k, step in zip(shown, steps if steps is not None else [], strict=False):
            weights[neuron, sources[k]] += round_to_grid(fmpq(from_float(float(step))), bits)
            found = True
    if not found:
        return None
    return ExactNetwork((*network.weights[:-2], weights, network.weights[-1]), network.biases)


def _last_heights(network: ExactNetwork, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pre-activations of the last hidden layer, and what it reads, (inputs, width) each."""
    heights = preactivations64(float64_layers(network)[:-1], inputs)
    return heights[-1], np.maximum(heights[-2], 0) if len(heights) > 1 else inputs
