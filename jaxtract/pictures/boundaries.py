"""Where the neurons of a network change state in a plane: line segments, region by region, layer by layer."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.pictures.cells import Cells, cut
from jaxtract.pictures.plane import Window

ROUNDING = 1e-12
"""Share of a form's size in the window up to which its value is taken for zero."""


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """The boundaries of all hidden neurons in a window.

    A neuron's boundary is where z = 0 with z > 0 on a side. In a region of the layers before, it is a straight line;
    so it is a path of segments that bend where it crosses boundaries of earlier layers.

    Attributes:
        segments: (segments, 2, 2): two ends, each a place (s, t) of the window.
        layers, neurons: (segments,) whose boundary it is; layers are counted from 1, neurons from 0.
        widths: hidden widths of the network.
        regions: how many activation regions the window holds.
    """

    segments: np.ndarray
    layers: np.ndarray
    neurons: np.ndarray
    widths: tuple[int, ...]
    regions: int

    def of_layer(self, layer: int) -> np.ndarray:
        """Segments of one layer."""
        return self.segments[self.layers == layer]

    def seen(self, layer: int) -> int:
        """Neurons of a layer that have a boundary in the window."""
        return len(np.unique(self.neurons[self.layers == layer]))


def boundaries_in(network: ReLUNetwork, window: Window) -> Boundaries:
    """All boundaries of a network's hidden layers in a window.

    Every layer cuts the regions of the layers before, in each of which its pre-activations are affine (Rolnick and
    Koerding 2020, section 3). Float64: the place of a segment is right to about 1e-12 of the window.

    Raises:
        ValueError: the network has another number of inputs than the window's plane.
    """
    if network.inputs != window.inputs:
        raise ValueError(f"the plane lies in a space of {window.inputs} inputs; the network has {network.inputs}")
    cells = Cells(window.corners()[None], np.array([4]))
    states = [window.coordinates()[None]]
    widths = network.widths[1:-1]
    found: list[list[np.ndarray]] = []
    for _ in widths:
        forms = next_forms(network, states)
        cells, origin, segments = _cut_by_layer(cells, forms, window.reach)
        found.append(segments)
        active = values_of(forms[origin], cells.middles()) > 0
        # The inputs are the same forms everywhere; kept once, since there may be many.
        states = [states[0], *(state[origin] for state in states[1:]), forms[origin] * active[..., None]]
    places = [(layer, neuron, len(s)) for layer, own in enumerate(found, start=1) for neuron, s in enumerate(own)]
    layers, neurons, counts = np.array(places, dtype=int).reshape(-1, 3).T
    segments = np.concatenate([np.empty((0, 2, 2)), *(s for own in found for s in own)])
    return Boundaries(segments, np.repeat(layers, counts), np.repeat(neurons, counts), tuple(widths), len(cells))


def _cut_by_layer(cells: Cells, forms: np.ndarray, reach: float) -> tuple[Cells, np.ndarray, list[np.ndarray]]:
    """Cells of the layers up to this one, which cell before each came from, and the segments of every neuron."""
    origin, segments = np.arange(len(cells)), []
    size = np.abs(forms[..., 0]) + reach * np.abs(forms[..., 1:]).sum(axis=-1)
    for neuron in range(forms.shape[1]):
        done = cut(cells, forms[origin, neuron], ROUNDING * size[origin, neuron])
        cells, origin = done.cells, origin[done.origin]
        segments.append(done.segments)
    return cells, origin, segments


def next_forms(network: ReLUNetwork, states: list[np.ndarray]) -> np.ndarray:
    """Pre-activations of the next layer as affine forms of the plane, (cells, width, 3).

    Args:
        network: whose layer.
        states: activations of the layers before, inputs first, each (cells or 1, width, 3).
    """
    layer = len(states)
    z = np.asarray(network.weights[layer - 1]) @ states[-1]
    for (source, target), matrix in network.skips.items():
        if target == layer:
            z = z + np.asarray(matrix) @ states[source]
    z[..., 0] += np.asarray(network.biases[layer - 1])
    return z


def values_of(forms: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Affine forms (points, width, 3) each at its own place (points, 2): (points, width)."""
    return forms[..., 0] + np.einsum("pwx,px->pw", forms[..., 1:], places)
