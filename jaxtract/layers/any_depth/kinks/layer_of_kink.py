"""Which layer a kink may belong to, cheapest tests first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.kinks.flatness import Flatness
from jaxtract.layers.any_depth.recovery import Kink, Recovery
from jaxtract.layers.any_depth.signs.layer_signs import Sides, Span, missing_at, span_of
from jaxtract.layers.any_depth.signs.sign_sources import SignSources

SURE, LIKELY = 0.75, 0.5
"""Shares of kinks that are of a level above which no query is spent on it before a walk, and before gradients."""


class LayerOfKink:
    """Where to try a kink next, from what was tried and what the gradients beside it say.

    Attributes:
        tried: (kink, layer, version of the layer before).
        fruitful: for every layer whether enough of the last walks there gave rows.
    """

    def __init__(self, state: Recovery, signs: SignSources):
        self.state = state
        self.signs = signs
        self.tried: set[tuple[Kink, int, int]] = set()
        self.fruitful: dict[int, bool] = {}
        self._flatness = Flatness(state)
        self._share: dict[int, float] = {}
        self._sides_known: dict[int, dict[Kink, Sides]] = {}
        self._sides_for: dict[int, KnownLayers] = {}
        self._spans_known: dict[int, dict[Kink, Span]] = {}
        self._spans_for: dict[int, tuple[KnownLayers, list[int]]] = {}
        self._seen_complete: tuple[KnownLayers, int] | None = None

    def next_levels(self, kinks: Sequence[Kink]) -> list[int | None]:
        """The layer at which to try every kink next.

        A neuron's normal is a combination of the gradients of the neurons that are on in the layer before. Where that
        says anything, the last layer that passes is the likely one; then come the layers that could not be
        told, then a new one.
        """
        depth = len(self.state.layers)
        passing: list[list[int]] = [[] for _ in kinks]
        unknown: list[list[int]] = [[] for _ in kinks]
        for level in range(depth, 1, -1):
            for i, (span, sides) in enumerate(zip(self._spans(level, kinks), self._sides(level, kinks), strict=True)):
                if sides is Sides.SAME or span is Span.OUTSIDE:
                    continue
                (passing if span is Span.INSIDE or sides is Sides.BORDER else unknown)[i].append(level)
        full = {level for level in range(1, depth + 1) if self._full(level)}
        ready = depth in full or (depth > 0 and self.state.blocked != depth + 1 and not self._incomplete())
        new = depth + 1 if ready else None
        found = []
        for kink, sure, open_ in zip(kinks, passing, unknown, strict=True):
            if self.state.pool.sighting(*kink).form is None:
                found.append(None)
                continue
            fruitful = [level for level in sorted(open_) if self.fruitful.get(level, True)]
            barren = [level for level in sorted(open_) if level not in fruitful]
            order = [1, *sure[:1], *fruitful, *([new] if new is not None else []), *barren, *sure[1:]]
            fresh = [
                level
                for level in order
                if level not in full and (kink, level, self.state.versions[level - 1]) not in self.tried
            ]
            found.append(fresh[0] if fresh else None)
        return found

    def worth_walking(self, level: int, kinks: list[Kink]) -> list[Kink]:
        """Those that are flat as far as the level needs it; all where nearly all are of this level anyway."""
        if level == 1 or self._likely(level) > SURE:
            return kinks
        return self._flat(level, kinks)

    def worth_measuring(self, kinks: list[Kink]) -> list[Kink]:
        """Of the kinks of one line, not measured, those that may be of the last layer; else of the next one.

        All of them, where selecting saves nothing.
        """
        depth = len(self.state.layers)
        if depth == 0 or self._likely(max(depth, 2)) > LIKELY or self.state.pool.inputs < 2:
            return kinks
        flat = self._flat(depth, kinks) if depth > 1 else []
        if not flat and self.state.blocked != depth + 1:
            flat = self._flat(depth + 1, kinks)
        # Neighbours share a gradient: many kinks on one line cost no more together.
        return kinks if 2 * len(flat) > len(kinks) else flat

    def note_tried(self, level: int, kinks: Sequence[Kink]) -> None:
        """Not to be tried again before the layer before is renewed."""
        self.tried.update((kink, level, self.state.versions[level - 1]) for kink in kinks)

    def note_share(self, level: int, accepted: int, walked: int, rejected: int) -> None:
        """How many of the last kinks tried at a level were of it."""
        self._share[level] = accepted / (walked + rejected)

    def _likely(self, level: int) -> float:
        """The share of kinks tried at a level that is likely to be of it."""
        return self._share.get(level, 1.0 if level == 2 else LIKELY)

    def _flat(self, level: int, kinks: list[Kink]) -> list[Kink]:
        return [kink for kink, flat in zip(kinks, self._flatness.flat(level, kinks), strict=True) if flat]

    def _full(self, level: int) -> bool:
        """Whether a layer has all the neurons that the hint gives it; a hint that leads nowhere is not believed."""
        widths, rows = self.state.widths, self.state.layers[level - 1].rows
        if widths is None or level > len(widths) - 2 or self.state.patience <= 0:
            return False
        return len(rows) >= widths[level] and not any(row.missing for row in rows)

    def _spans(self, level: int, kinks: Sequence[Kink]) -> list[Span]:
        """Can the neurons of layer level - 1 that are on explain the normals?"""
        signs = np.array(self.signs.behind(level))
        layers = self.state.known(level - 1)
        told = (layers, signs.tolist())
        if level not in self._spans_for or self._spans_for[level] != told:
            self._spans_for[level], self._spans_known[level] = told, {}
        known = self._spans_known[level]
        missing = np.array([bool(row.missing) for row in self.state.layers[level - 2].rows])
        fresh = [kink for kink in kinks if kink not in known]
        for kink, pattern in zip(fresh, self.state.pool.patterns(layers, self.state.pool.places(fresh)), strict=True):
            form = self.state.pool.sighting(*kink).form
            on = np.where(signs == 0, True, pattern[-1] == (signs > 0))
            if form is None:
                known[kink] = Span.OUTSIDE
            else:
                known[kink] = Span.EVERYTHING if (on & missing).any() else span_of(layers, pattern, on, form.normal)
        return [known[kink] for kink in kinks]

    def _sides(self, level: int, kinks: Sequence[Kink]) -> list[Sides]:
        """Whether the kinks can be those of neurons that layer ``level`` lacks."""
        layers = self.state.known(level)
        if self._sides_for.get(level) is not layers:
            self._sides_for[level], self._sides_known[level] = layers, {}
        known = self._sides_known[level]
        fresh = [kink for kink in kinks if kink not in known and self.state.pool.is_measured(kink)]
        places = [(line, self.state.pool.lines[line].middle(k)) for line, k in fresh]
        for (line, k), pattern in zip(fresh, self.state.pool.patterns(layers, places), strict=True):
            left, right = (self.signs.gradient(layers, line, k + side) for side in (0, 1))
            known[line, k] = missing_at(layers, pattern, left, right)
        return [known.get(kink, Sides.OPEN) for kink in kinks]

    def _incomplete(self) -> bool:
        """Whether some gradient of f shows that the last layer lacks a neuron (or that f reads an earlier one)."""
        if self.state.hasty:
            return False
        layers = self.state.known(len(self.state.layers))
        measured = sum(len(line.gradients) for line in self.state.pool.lines)
        if self._seen_complete == (layers, measured):
            return False
        complete = self.signs.explain_all(layers)
        if complete:
            self._seen_complete = (layers, measured)
        return not complete
