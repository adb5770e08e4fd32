"""Which boundaries of one network are boundaries of another: found against true, in words."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.pictures.boundaries import Boundaries, next_forms, values_of
from jaxtract.pictures.plane import Window

NEAR = 1e-6
"""A boundary within this share of the window's reach is met."""

PROBES = 5
"""Places on every segment that are looked at."""

CHUNK = 8192
"""Places at which the other network is looked at together."""


@dataclasses.dataclass(frozen=True)
class LayerMet:
    """The boundaries of one layer that are boundaries of the other network, too.

    Attributes:
        layer: counted from 1.
        neurons: with a boundary in the window.
        whole, none: of them, those met at every probe, and at no probe.
        share: of the boundaries' length that is met; 1 where there is none.
    """

    layer: int
    neurons: int
    whole: int
    none: int
    share: float


def layers_met(boundaries: Boundaries, other: ReLUNetwork, window: Window) -> list[LayerMet]:
    """For every hidden layer, how many of its boundaries in the window the other network has as well.

    Places between the ends of every segment are probed; there, the other network must have a neuron with z = 0 within
    ``NEAR`` of the window's reach. Neurons are not matched: of any layer, in any order and scale, will do.
    """
    shares = (np.arange(PROBES) + 0.5) / PROBES
    start, end = boundaries.segments[:, 0], boundaries.segments[:, 1]
    probes = start[:, None] + shares[:, None] * (end - start)[:, None]
    distance = distances(other, window, probes.reshape(-1, 2)).reshape(-1, PROBES)
    met = np.mean(distance <= NEAR * window.reach, axis=1)
    length = np.linalg.norm(end - start, axis=1)
    found = []
    for layer in range(1, len(boundaries.widths) + 1):
        own = boundaries.layers == layer
        neurons = np.unique(boundaries.neurons[own])
        parts = [met[own & (boundaries.neurons == neuron)] for neuron in neurons]
        found.append(
            LayerMet(
                layer,
                len(neurons),
                sum(bool(np.all(part == 1)) for part in parts),
                sum(bool(np.all(part == 0)) for part in parts),
                float(np.average(met[own], weights=length[own])) if length[own].any() else 1.0,
            )
        )
    return found


def distances(network: ReLUNetwork, window: Window, places: np.ndarray) -> np.ndarray:
    """In the plane, how far the nearest boundary of a network is from each place (points, 2), to first order."""
    found = np.full(len(places), np.inf)
    for first in range(0, len(places), CHUNK):
        chunk = places[first : first + CHUNK]
        states = [window.coordinates()[None]]
        for _ in network.widths[1:-1]:
            forms = next_forms(network, states)
            z = values_of(np.broadcast_to(forms, (len(chunk), *forms.shape[1:])), chunk)
            slope = np.hypot(forms[..., 1], forms[..., 2])
            away = np.divide(np.abs(z), slope, out=np.full(z.shape, np.inf), where=np.broadcast_to(slope > 0, z.shape))
            found[first : first + CHUNK] = np.minimum(found[first : first + CHUNK], away.min(axis=1, initial=np.inf))
            states.append(forms * (z > 0)[..., None])
    return found


def true_in_words(met: list[LayerMet]) -> list[str]:
    """How many true boundaries of the slice were met."""
    total = _total(met)
    if not total.neurons:
        return ["No true boundary runs through the slice."]
    lines = [f"True boundaries of the slice: {total.neurons}, of which {total.whole} were met in full."]
    for layer in met:
        if layer.whole == layer.neurons:
            detail = "all of them" if layer.neurons else "none runs through the slice"
        else:
            detail = f"{_partly(layer)}; {_percent(layer.share)} of the length"
        lines.append(f"layer {layer.layer}: {layer.whole} of {layer.neurons} in full, {detail}")
    return lines


def found_in_words(met: list[LayerMet]) -> str:
    """How many found boundaries are no true ones."""
    total = _total(met)
    wrong = total.neurons - total.whole
    if not wrong:
        return f"Found boundaries: {total.neurons}, all of them true."
    return f"Found boundaries: {total.neurons}, of which {wrong} are not true, or only in part."


def _total(met: list[LayerMet]) -> LayerMet:
    return LayerMet(0, sum(m.neurons for m in met), sum(m.whole for m in met), sum(m.none for m in met), 0.0)


def _partly(layer: LayerMet) -> str:
    return f"{layer.neurons - layer.whole - layer.none} in part, {layer.none} not at all"


def _percent(share: float) -> str:
    """Rounded down: not all is never called all."""
    return f"{np.floor(1000 * share) / 10:g} %"
