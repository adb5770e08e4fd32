"""Rows that were found become part of their layer, with all that follows for the layers around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb_mat, fmpq

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, merge_rows
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.confirm_rows import keep_rows, refuted_beside_others
from jaxtract.layers.any_depth.rows.more_sightings import PLACES_EACH, see_again
from jaxtract.layers.any_depth.rows.refined_rows import passed_on, refined
from jaxtract.layers.any_depth.rows.replace_linear import one_layer_up, reads_only_linear, replace_linear
from jaxtract.layers.any_depth.rows.unmix_linear import unmix_linear
from jaxtract.layers.any_depth.signs.sign_sources import SignSources
from jaxtract.layers.any_depth.unseen.complete_rows import (
    complete_by_kinks,
    nearest_to_open,
    places_on_boundary,
    walks_from,
)
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.layer_rows import run_walks
from precision.balls import vanishes

WELL_KNOWN, WELL_KNOWN_OF_FEW = 0.6, 0.8
"""Share of the bits of an answer to which a row is known well; and where answers have few."""

SHARP_BEFORE = 4
"""Where bits are few, the layer from which on those before it are sharpened first: the last polish mends less depth."""

EACH_OF_FEW = 1
"""Places for every unknown that are asked then."""

IN_VAIN = 2
"""Waves of walks at that layer after which it is believed in: a few may be for neurons that the one before it lacks."""


def _where_off(layers: KnownLayers, row: Row, count: int) -> list[np.ndarray]:
    """Of the places where a row was seen those at which the last ``count`` neurons of the layer before are off."""
    if not count or not row.seen_at:
        return row.seen_at
    on = np.any(layers.values64(np.stack(row.seen_at))[-1][:, -count:] > 0, axis=1)
    return [x for x, disturbed in zip(row.seen_at, on, strict=True) if not disturbed]


class Growth:
    """Adds rows to layers, refines and completes them."""

    def __init__(self, state: Recovery, signs: SignSources):
        self.state = state
        self.signs = signs
        self._deep_waves = 0

    def insert(self, level: int, rows: Sequence[Row]) -> bool:
        """Add rows to a layer, or weights to rows that it has; True when something was new."""
        if not rows:
            return False
        misplaced = [row for row in rows if reads_only_linear(self.state, level, row)]
        if misplaced:
            new = self.insert(level, [row for row in rows if not any(row is other for other in misplaced)])
            moved = [one_layer_up(self.state, level, row) for row in misplaced]
            return any([self._replaced(level - 1, row) for row in moved]) or new
        if level > len(self.state.layers):
            self.state.layers.append(FoundLayer([], []))
        replaced = [self._replaced(level, row) for row in rows if not row.linear]
        layer = self.state.layers[level - 1]
        before, open_before = len(layer.rows), sum(len(row.missing) for row in layer.rows)
        factors = [row.integer_factor() for row in layer.rows]
        merged = merge_rows([*layer.rows, *rows])
        if len(merged) == before and sum(len(row.missing) for row in merged) == open_before:
            return any(replaced)
        self._install(level, merged, factors)
        self.state.renewed(level)
        if level > 1:
            self._complete(level)
        self._refine(level)
        if level < len(self.state.layers):
            # What was read behind it now has open weights on the new neurons.
            self._complete(level + 1)
        return True

    def _replaced(self, level: int, row: Row) -> bool:
        """Whether a row took the place of a linear one; those that are left then do without it."""
        place = replace_linear(self.state, level, row)
        if place is not None:
            unmix_linear(self.state, level, place)
        return place is not None

    def _install(self, level: int, rows: list[Row], factors: Sequence[fmpq]) -> None:
        """New rows of a layer, the known ones first.

        Layers behind it were read where the new neurons are off: they stay, and their weights on the new ones are open,
        if the borders at which these were found tell their signs. Else they are read again.
        """
        layer, later = self.state.layers[level - 1], self.state.layers[level:]
        added = len(rows) - len(layer.rows)
        self.state.layers = self.state.layers[:level]
        self.state.layers[-1] = FoundLayer(rows, [*layer.signs, *(int(row.linear) for row in rows[len(layer.rows) :])])
        if not later:
            return
        self.signs.at_borders(level)
        self.signs.by_readers(level, later[0])
        if not all(self.state.layers[-1].signs):
            return
        known = self.state.known(level)
        readers = [
            dataclasses.replace(row, weights=[*row.weights, *([None] * added)], seen_at=_where_off(known, row, added))
            for row in later[0].rows
        ]
        self.state.layers += [FoundLayer(readers, later[0].signs), *later[1:]]
        self.state.carry_scales(level, factors)

    def sharpen_before(self, level: int) -> bool:
        """Every layer before one that is walked, to about the rounding of answers before the next one reads it.

        Where bits are few, a walk leaves half of them. What is seen all over a boundary, or is not, also refutes rows:
        False where one was dropped, and what was read behind it.
        """
        numbers = self.state.numbers
        if not numbers.few_bits or numbers.rough or level < SHARP_BEFORE:
            return True
        self._deep_waves += 1
        if len(self.state.layers) < SHARP_BEFORE and self._deep_waves <= IN_VAIN:
            return True
        return all(self._sharpened(before) for before in range(1, level))

    def _sharpened(self, level: int) -> bool:
        """Rows of a layer seen again where they are rough; False where one is refuted, and dropped."""
        rows = self.state.layers[level - 1].rows
        rough = self._rough(self.state.layers[level - 1])
        if not rough or (level > 1 and not all(self.state.layers[level - 2].signs)):
            return True
        known = self.state.known(level)
        counts = see_again(self.state.pool.asker, known, rows, rough, self.state.rng, each=EACH_OF_FEW)
        refuted = refuted_beside_others(counts) if level > 1 else set()
        if refuted:
            keep_rows(self.state, level, [i for i in range(len(rows)) if i not in refuted])
            self.state.renewed(level)
            return False
        self._refine(level)
        # What reads the first layers was walked well enough before; what failed deeper may have failed by their errors.
        deep = max(level, SHARP_BEFORE - 1)
        self.state.versions = [v + (later >= deep) for later, v in enumerate(self.state.versions)]
        return True

    def _refine(self, level: int) -> None:
        """Rows of a layer between smaller balls, from all kinks that lie on their boundaries."""
        layer = self.state.layers[level - 1]
        if self.state.numbers.exact or (level > 1 and not all(self.state.layers[level - 2].signs)):
            return
        known = self.state.known(level)
        rough = [] if self.state.numbers.few_bits else self._rough(layer)
        if level > 1 and rough:
            see_again(self.state.pool.asker, known, layer.rows, rough, self.state.rng)
        points = [self.state.pool.lines[i].point(t) for i, t in self.state.pool.places(self.state.pool.all_kinks())]
        points += [point for row in layer.rows for point in row.sightings]
        heights = known.preactivations(arb_mat(points), [1] * len(points))
        before = points if level == 1 else passed_on(heights[-2].tolist(), known.linear[-2])
        zeros = [[i for i, x in enumerate(z) if vanishes(x)] for z in heights[-1].tolist()]
        factors = [row.integer_factor() for row in layer.rows]
        layer.rows = [
            refined(row, [a for a, zero in zip(before, zeros, strict=True) if zero == [i]])
            for i, row in enumerate(layer.rows)
        ]
        self.state.carry_scales(level, factors)

    def _rough(self, layer: FoundLayer) -> list[int]:
        """Rows that lost most of what answers tell, and were not seen often enough to be told better."""
        numbers = self.state.numbers
        limit = (numbers.answer_bits or 0) * (WELL_KNOWN_OF_FEW if numbers.few_bits else WELL_KNOWN)
        often = PLACES_EACH * len(layer.rows[0].weights)
        return [
            i
            for i, row in enumerate(layer.rows)
            if not row.linear and row.accuracy < limit and len(row.sightings) < often
        ]

    def _complete(self, level: int) -> None:
        """Open weights of a layer's rows: from the pool, then from new walks all over the boundaries."""
        layer = self.state.layers[level - 1]
        layers = self.state.known(level - 1)
        if not all(self.state.layers[level - 2].signs) or not any(row.missing for row in layer.rows):
            return
        factors = [row.integer_factor() for row in layer.rows]
        self._complete_from_pool(layers, layer)
        walks: list[tuple[Row, BoundaryWalk]] = []
        for row in layer.rows:
            if row.missing and not row.linear:
                places = places_on_boundary(layers, row, self.state.rng)
                near = nearest_to_open(layers, row, places, 3)
                walks.extend((row, walk) for walk in walks_from(layers, row, near, self.state.rng))
        run_walks(self.state.pool.asker, [walk for _, walk in walks], 40, self.state.slice.rank)
        for row, walk in walks:
            if not walk.inconsistent:
                for i in row.missing:
                    weight = walk.system.weights.get(i)
                    row.weights[i] = weight if weight is None or row.tells(weight) else None
        self._complete_from_pool(layers, layer)
        merged = merge_rows(layer.rows)
        if len(merged) < len(layer.rows):
            layer.rows, layer.signs = merged, [0] * len(merged)
            self.state.layers = self.state.layers[:level]
        self.state.carry_scales(level, factors)

    def _complete_from_pool(self, layers: KnownLayers, layer: FoundLayer) -> None:
        kinks = self.state.unexplained()
        if not kinks or not any(row.missing for row in layer.rows):
            return
        heights, scales = self.state.pool.heights(layers, self.state.pool.places(kinks))
        for row in layer.rows:
            while not row.linear and complete_by_kinks(row, heights[-1].tolist(), scales):
                pass
