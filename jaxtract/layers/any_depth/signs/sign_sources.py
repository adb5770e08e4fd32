"""Signs of a layer from whatever shows them: gradients, the rows behind it, borders, places of its readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import FoundLayer
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.signs.layer_signs import (
    Gradient,
    Region,
    determinable,
    is_explained,
    signs_by_gradients,
    signs_by_rows,
)
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.rounded_signs import is_rounded
from precision.balls import vanishes

ONE_SIDED = 0.03
"""Share of the places of a later row that a neuron which was not known then may be on at, for most of these rows."""


class SignSources:
    """The signs of found layers; every source orients the layer by what it shows."""

    def __init__(self, state: Recovery):
        self.state = state
        self.bordered: set[tuple[int, int, int]] = set()
        self._unexplained: tuple[int, int] | None = None
        self._asked_gradients: dict[int, tuple[KnownLayers, int]] = {}

    def behind(self, level: int) -> list[int]:
        """Signs of layer level - 1 as far as gradients of f show them; the layer is oriented by them."""
        if not all(self.state.layers[level - 2].signs):
            self._learn_signs(level)
            if not all(self.state.layers[level - 2].signs) and self._measure_borders(level):
                self._learn_signs(level)
        return self.state.layers[level - 2].signs

    def _learn_signs(self, level: int) -> None:
        layer = self.state.layers[level - 2]
        layers = self.state.known(level - 1)
        # The same gradients tell nothing new of the same rows.
        asked = (layers, sum(len(line.gradients) for line in self.state.pool.lines))
        if self._asked_gradients.get(level) == asked:
            return
        self._asked_gradients[level] = asked
        found = signs_by_gradients(layers, self._regions(layers))
        layer.signs = [old or new for old, new in zip(layer.signs, found, strict=True)]
        self.state.layers[level - 2] = layer.oriented()

    def _measure_borders(self, level: int) -> bool:
        """Measure the gradient beside one kink of every neuron whose sign is open, where that would tell it."""
        state = (level, self.state.versions[level], len(self.state.pool.lines))
        if state in self.bordered:
            return False
        self.bordered.add(state)
        layers = self.state.known(level - 1)
        wanted = {i for i, sign in enumerate(self.state.layers[level - 2].signs) if not sign}
        pieces: list[tuple[int, int]] = []
        for index, line in enumerate(self.state.pool.lines):
            if not line.dyadic or not wanted:
                continue
            for kink, zeros in self._zeros_on(index, layers).items():
                here = wanted & set(zeros)
                if not here:
                    continue
                (pattern,) = self.state.pool.patterns(layers, [(index, line.middle(kink))])
                told = here & set(determinable(layers.forms(layers.depth - 1, pattern)[0]))
                if told:
                    pieces.append((index, kink))
                    wanted -= told
        self.state.pool.measure_pieces(pieces, spanning=self.state.spanning())
        return bool(pieces)

    def from_walks(self, level: int, walks: Sequence[BoundaryWalk]) -> None:
        good = [walk.system for walk in walks if walk.trusted]
        # What a rounded crossing did not show says little: the equations of a wrong neuron hold for no signs.
        doubtful = [
            walk.system for walk in walks if walk.crossed_enough and not walk.trusted and is_rounded(walk.system)
        ]
        if not good and not doubtful:
            return
        signs = signs_by_rows(good, doubtful)
        for walk in walks:
            walk.learn_signs(signs)
        layer = self.state.layers[level - 2]
        # A sign that was known when the walks began, or has been found since, has turned its row already.
        layer.signs = [old or new for old, new in zip(layer.signs, signs, strict=True)]
        self.state.layers[level - 2] = layer.oriented()

    def at_borders(self, level: int) -> None:
        """A neuron that was found where f began to differ is on where it differs."""
        layer = self.state.layers[level - 1]
        known = self.state.known(level)
        for index in self.state.pool.borders():
            heights, _ = self.state.pool.border_heights(known, index)
            at_kink, behind = heights[-1].tolist()
            for i, sign in enumerate(layer.signs):
                if not sign and vanishes(at_kink[i]) and behind[i] != 0:
                    layer.signs[i] = 1 if behind[i] > 0 else -1
        self.state.layers[level - 1] = layer.oriented()

    def by_readers(self, level: int, readers: FoundLayer) -> None:
        """Rows behind a layer that were read without a neuron were read where it is off."""
        layer = self.state.layers[level - 1]
        places = [np.stack(row.seen_at) for row in readers.rows if row.seen_at]
        if all(layer.signs) or not places:
            return
        known = self.state.known(level)
        shares = np.stack([np.mean(known.values64(seen)[-1] > 0, axis=0) for seen in places])
        # A walk that unknowingly crossed the neuron's boundary believed itself in places where it was not.
        for i, (sign, share) in enumerate(zip(layer.signs, np.median(shares, axis=0), strict=True)):
            if not sign and min(share, 1 - share) < ONE_SIDED:
                layer.signs[i] = 1 if share < ONE_SIDED else -1
        self.state.layers[level - 1] = layer.oriented()

    def explain_all(self, layers: KnownLayers) -> bool:
        """Whether every gradient of f that is known is a combination of those of the last layer's neurons."""
        places = self.state.pool.gradient_places()
        if self._unexplained in places:
            # What was not explained before is still the likeliest.
            places = [self._unexplained, *places]
        patterns = self.state.pool.patterns(layers, [(i, self.state.pool.lines[i].middle(k)) for i, k in places])
        for place, pattern in zip(places, patterns, strict=True):
            if not is_explained(layers, pattern, self.gradient(layers, *place)):
                self._unexplained = place
                return False
        return True

    def gradient(self, layers: KnownLayers, index: int, piece: int) -> Gradient:
        """The gradient of f in a region of a line, in the kind of numbers that signs are told from."""
        line = self.state.pool.lines[index]
        return line.modular_gradient(piece) if layers.exact else line.gradients[piece]

    def _regions(self, layers: KnownLayers) -> list[Region]:
        pool = self.state.pool
        found = pool.gradient_places()
        patterns = pool.patterns(layers, [(i, pool.lines[i].middle(k)) for i, k in found])
        zeros = {i: self._zeros_on(i, layers) for i in {i for i, _ in found}}
        return [
            Region(pattern, self.gradient(layers, i, k), frozenset([*zeros[i].get(k - 1, ()), *zeros[i].get(k, ())]))
            for (i, k), pattern in zip(found, patterns, strict=True)
        ]

    def _zeros_on(self, index: int, layers: KnownLayers) -> dict[int, list[int]]:
        """For every kink of a line the neurons of the last layer that are zero there."""
        kinks = self.state.pool.lines[index].kinks
        if not kinks:
            return {}
        heights, _ = self.state.pool.heights(layers, [(index, t) for t in kinks])
        return {k: [i for i, x in enumerate(z) if vanishes(x)] for k, z in enumerate(heights[-1].tolist())}
