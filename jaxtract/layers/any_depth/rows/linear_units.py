"""Neurons of the last known layers that are on nearly everywhere: found by what the next layer reads of them.

No line shows the boundary of such a neuron, but wherever it is on, every neuron of the next layer reads the same
combination of the activations before it. It joins its layer as a linear row; its boundary, if it has one, is met when
all else is known, and then takes the place of the linear row (``replace_linear``).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb, fmpq

from jaxtract.geometry.known_layers import KnownLayers, carrying_before
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, merge_rows, stacked
from jaxtract.layers.any_depth.kinks.layer_of_kink import LayerOfKink
from jaxtract.layers.any_depth.recovery import Kink, Recovery
from jaxtract.layers.any_depth.rows.grow_layers import Growth
from jaxtract.layers.any_depth.rows.sharper_readers import sharper_readers
from jaxtract.layers.any_depth.signs.linear_part import LinearPart, linear_part
from jaxtract.layers.any_depth.walk.layer_rows import fewest_bits, rows_past_layer
from jaxtract.layers.any_depth.walk.relations import UndecidedError, independent
from precision.balls import quotient

IN_VAIN = 8
"""Walks of the next layer that gave nothing, after which it is asked what the last one lacks; twice as many each time
that this showed nothing."""

MOST_STEPS = 30
"""Steps of a walk for every unit that it may read."""

WAVES, FEWEST_ROWS = 2, 2
"""Waves of walks at a time, a further one only if the one before gave so many rows."""

WALKS = 8
"""Kinks that are walked together; few of them must be of the next layer to show what they have in common."""


class LinearUnits:
    """Looks behind the last two known layers for what they lack.

    Behind the one before the last, too: what reads several neurons that are missing in one ratio, a single neuron of
    the next layer, shows one combination of them, and other readers find no explanation.
    """

    def __init__(self, state: Recovery, layer_of_kink: LayerOfKink, growth: Growth):
        self.state = state
        self.layer_of_kink = layer_of_kink
        self.growth = growth
        self._tried: set[tuple[Kink, int, int]] = set()
        self._rows: dict[tuple[int, int], list[Row]] = {}
        self._in_vain: collections.Counter[tuple[int, int]] = collections.Counter()
        self._fruitless: collections.Counter[tuple[int, int]] = collections.Counter()

    def note_in_vain(self, level: int, walks: int) -> None:
        """Walks that should have given rows of a layer, and gave none: the one before may lack a neuron."""
        self._in_vain[self._state(level - 1)] += walks

    @property
    def due(self) -> bool:
        """Whether enough walks behind one of the last two layers failed, and lines did not show why."""
        return self.state.hasty and any(map(self._due, self._last_two()))

    def find_due(self) -> bool:
        """``find`` behind those of the last two layers behind which enough walks failed."""
        return any(self._due(level) and self._find(level) for level in self._last_two())

    def _last_two(self) -> tuple[int, int]:
        depth = len(self.state.layers)
        return depth - 1, depth

    def find(self) -> bool:
        """Whether one of the last two known layers has got a linear row, a sign or a weight.

        The one before the last is only asked where enough walks behind it failed.
        """
        depth = len(self.state.layers)
        return self._find(depth) or (self._due(depth - 1) and self._find(depth - 1))

    def _due(self, level: int) -> bool:
        state = self._state(level)
        return self._in_vain[state] >= IN_VAIN << self._fruitless[state]

    def _state(self, level: int) -> tuple[int, int]:
        return level, self.state.versions[level]

    def _find(self, level: int) -> bool:
        self._in_vain[self._state(level)] = 0
        if level < 2 or self.state.numbers.few_bits or not all(self.state.layers[level - 2].signs):
            return False
        layer = self.state.layers[level - 1]
        if level < len(self.state.layers) and not all(layer.signs):
            return False
        bending = [i for i, row in enumerate(layer.rows) if not row.linear]
        plain = layer.chosen(bending)
        known = stacked(self.state.slice.rank, [*self.state.layers[: level - 1], plain])
        wide = carrying_before(known)
        rows = self._rows.setdefault(self._state(level), [])
        for _ in range(WAVES):
            kinks = self._kinks(level)
            self._tried.update((kink, *self._state(level)) for kink in kinks)
            fresh = self._walked(wide, kinks)
            rows[:] = merge_rows([*rows, *fresh])
            readers = merge_rows([*rows, *self._known_readers(level, bending)])
            part = self._part(known, wide, readers, plain) if fresh and len(readers) >= FEWEST_ROWS else None
            if part is not None and self._insert(level, bending, part):
                return True
            if len(fresh) < FEWEST_ROWS:
                break
        self._fruitless[self._state(level)] += 1
        return False

    def _known_readers(self, level: int, bending: Sequence[int]) -> list[Row]:
        """Rows of the next layer that are known already, with what linear rows add to them."""
        rows = self.state.layers[level - 1].rows
        linear = [i for i, row in enumerate(rows) if row.linear]
        if level == len(self.state.layers) or not linear:
            return []
        units = np.array([[quotient(x, 1) for x in rows[i].scaled()[0]] for i in linear], dtype=object)
        return [
            dataclasses.replace(
                reader,
                weights=[
                    *(reader.weights[i] for i in bending),
                    *(np.array([reader.weights[i] for i in linear]) @ units),
                ],
            )
            for reader in self.state.layers[level].rows
            if not reader.missing
        ]

    def _kinks(self, level: int) -> list[Kink]:
        """Kinks that are measured and may be of the next layer."""
        fresh = [
            kink
            for kink in self.state.unexplained()
            if self.state.pool.is_measured(kink)
            and self.state.pool.sighting(*kink).form is not None
            and (kink, *self._state(level)) not in self._tried
        ]
        flat = self.layer_of_kink.worth_walking(level + 1, fresh)
        return [flat[i] for i in sorted(self.state.rng.permutation(len(flat))[:WALKS].tolist())]

    def _walked(self, wide: KnownLayers, kinks: Sequence[Kink]) -> list[Row]:
        """Rows of the next layer over the last one and what is carried past it; only what is known of this counts."""
        sightings = [self.state.pool.sighting(*kink) for kink in kinks]
        forms = [(s.form, s.point) for s in sightings if s.form is not None]
        steps = MOST_STEPS * wide.widths[-1]
        rows = rows_past_layer(self.state.pool.asker, wide, forms, steps, self.state.rng, leave_uncrossed=True)
        return [row for row in rows if row.accuracy >= fewest_bits(self.state.numbers)]

    def _part(
        self, known: KnownLayers, wide: KnownLayers, readers: Sequence[Row], layer: FoundLayer
    ) -> LinearPart | None:
        part = _linear_part(known, readers, layer)
        if part is None or not len(part.units) or self.state.numbers.exact:
            return part
        sharper = sharper_readers(self.state.pool.asker, wide, readers, self.state.rng)
        return _linear_part(known, sharper, layer) or part

    def _insert(self, level: int, bending: Sequence[int], part: LinearPart) -> bool:
        layer = self.state.layers[level - 1]
        turned = [i for place, i in enumerate(bending) if not layer.signs[i] and part.signs[place]]
        for place, i in enumerate(bending):
            layer.signs[i] = layer.signs[i] or part.signs[place]
        self.state.layers[level - 1] = layer = layer.oriented()
        factors = [row.integer_factor() for row in layer.rows]
        layer.fill({(bending[place], i): weight for (place, i), weight in part.weights.items()})
        self.state.carry_scales(level, factors)
        units = self._units(layer, part)
        new = self.growth.insert(level, units) if units else False
        if part.weights and not new:
            self.state.renewed(level)
        elif turned and not new:
            # What keeps the other signs open is still to be found here, not on more lines.
            self.state.renewed(level, patience=self.state.patience)
        return bool(turned) or bool(part.weights) or new

    def _units(self, layer: FoundLayer, part: LinearPart) -> list[Row]:
        """Linear rows that are not among the combinations of those that are known."""
        old = [row for row in layer.rows if row.linear]
        zero = fmpq(0) if self.state.numbers.exact else arb(0)
        found = [Row(list(weights), zero, linear=True) for weights in part.units]
        table = [row.weights for row in (*old, *found)]
        known = [i for i in range(part.units.shape[1]) if all(weights[i] is not None for weights in table)]
        try:
            chosen = independent([[weights[i] for i in known] for weights in table]) if found else []
        except UndecidedError:
            return []
        return [found[k - len(old)] for k in chosen if k >= len(old)]


def _linear_part(known: KnownLayers, rows: Sequence[Row], layer: FoundLayer) -> LinearPart | None:
    width = known.widths[-1]
    weights = np.array([row.weights for row in rows], dtype=object)
    heights = [known.values64(np.stack(row.seen_at))[-1] for row in rows]
    side = np.array([np.all(z > 0, axis=0).astype(int) - np.all(z < 0, axis=0) for z in heights])
    last = np.array([[quotient(x, 1) for x in row] for row in known.weights[-1].tolist()], dtype=object)
    missing = [row.missing for row in layer.rows]
    return linear_part(last, weights[:, :width], weights[:, width:], layer.signs, missing, side)
