"""What f is at the extremes of every layer: asked again only where the layers before came out otherwise.

A neuron that is hardly ever on is on at some extreme of the layer before it, if anywhere. A counterexample changes one
layer; what was asked at the extremes of the others stands, unless they show the same fault again: others may show more.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.whole.extreme_lines import extreme_points
from jaxtract.oracle.points import scattered
from precision.dyadic import from_float64

EXTREMES = 256
"""Extreme points of every layer at which a finished network is asked."""

POINT_DECIMALS = 12
"""Of the coordinates of such a point."""

SAME = 1e-3
"""Change of a layer's activations there, against the largest of them, to which the layer is the same."""


@dataclasses.dataclass(frozen=True)
class _Asked:
    """Extremes of one layer: points (points, rank), activations (points, width) and answers (points, outputs)."""

    points: np.ndarray
    activations: np.ndarray
    answers: np.ndarray

    def stand(self, layers: KnownLayers) -> bool:
        """Whether the layers do there what they did."""
        now = layers.activations64(self.points)
        if now.shape != self.activations.shape:
            return False
        return bool(
            np.max(np.abs(now - self.activations), initial=0) <= SAME * np.max(np.abs(self.activations), initial=0)
        )


class Extremes:
    """The extremes of all layers of a recovery, with their answers."""

    def __init__(self, state: Recovery):
        self.state = state
        self._asked: dict[int, _Asked] = {}
        self._faulty: set[int] = set()

    def answered(self) -> tuple[np.ndarray, np.ndarray]:
        """(points on the slice (points, rank), answers there (points, outputs)); queries count as ``verify``."""
        depths = range(1, len(self.state.layers) + 1)
        self._asked = {depth: asked for depth, asked in self._asked.items() if depth in depths}
        fresh = {
            depth: np.round(extreme_points(self.state.known(depth), EXTREMES, self.state.rng), POINT_DECIMALS)
            for depth in depths
            if depth not in self._asked or not self._asked[depth].stand(self.state.known(depth))
        }
        if fresh:
            batch = scattered(from_float64(np.concatenate([*fresh.values()])))
            answers = np.split(self.state.pool.asker.ask(batch, "verify"), len(fresh))
            for (depth, points), own in zip(fresh.items(), answers, strict=True):
                self._asked[depth] = _Asked(points, self.state.known(depth).activations64(points), own)
        all_asked = [self._asked[depth] for depth in depths]
        return np.concatenate([x.points for x in all_asked]), np.concatenate([x.answers for x in all_asked])

    def note(self, wrong: np.ndarray) -> None:
        """Where the network was found wrong, (points,) booleans: a layer whose extremes show it twice gets others."""
        depths = sorted(self._asked)
        shares = np.split(wrong, np.cumsum([len(self._asked[depth].points) for depth in depths])[:-1])
        faulty = {depth for depth, own in zip(depths, shares, strict=True) if own.any()}
        for depth in faulty & self._faulty:
            del self._asked[depth]
        self._faulty = faulty
