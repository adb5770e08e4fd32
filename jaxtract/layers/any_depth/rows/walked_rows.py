"""Rows of a deeper layer, from walks along boundaries that are batched over all of a wave."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np

from jaxtract.layers.any_depth.found_layers import Row, merge_rows
from jaxtract.layers.any_depth.kinks.pool import Sighting
from jaxtract.layers.any_depth.recovery import Kink, Recovery
from jaxtract.layers.any_depth.rows.confirm_rows import confirmed
from jaxtract.layers.any_depth.rows.met_again import MetAgain
from jaxtract.layers.any_depth.rows.refined_rows import activations_at, refined
from jaxtract.layers.any_depth.signs.sign_sources import SignSources
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.layer_rows import fewest_bits, linear_weights_known, row_of, run_walks
from jaxtract.layers.any_depth.walk.rounded_signs import tells_signs

FIRST_SIGN_WALKS = 2
"""Walks that look for the signs of a layer; twice as many whenever all of them were of deeper neurons."""

DISTINCT = 0.7
"""Walks of a wave as a share of the neurons that its candidates may be sightings of."""

FEWEST_WALKS, FEWEST_CROSSINGS = 4, 2

FEWER_WALKS = 3
"""By how much waves are smaller where bits are few and walks dear: the rows found first explain other kinks."""

FEW_FAILED, MANY_FAILED = 1, 4
"""Walks that no signs fit after which a layer is left until the one before it is renewed; many where that costs lines.

A neuron that the layer before lacks is off in half of all places: one walk more is cheaper than lines that show it.
"""


class WalkedRows:
    """Walks for kinks of one layer.

    Attributes:
        sign_walks: how many walks look for the signs of the layer before.
        accepted: of the last wave, how many walks ended with a row.
        kinks_per_row: for every level, how many kinks one of the rows found last explained.
    """

    def __init__(self, state: Recovery, signs: SignSources):
        self.state = state
        self.signs = signs
        self.sign_walks = FIRST_SIGN_WALKS
        self.accepted = 0
        self.kinks_per_row: dict[int, float] = {}
        self.met_again = MetAgain(state)
        self._told: dict[Kink, Row] = {}
        self._failed: collections.Counter[tuple[int, int, bool]] = collections.Counter()

    def wave(self, level: int, kinks: list[Kink]) -> list[Kink]:
        """How many to try together: the rows that the first ones give explain many of the others.

        Once the first few walks have shown the signs of the layer before, every other walk is shorter.
        """
        self._told = {}
        if level == 1:
            return kinks
        signs = self.signs.behind(level)
        if 4 * signs.count(0) > len(signs):
            unknown = self.state.layers[level - 2].signs.count(0)
            size = self.sign_walks if level > 2 else 1 + -(-unknown // self.state.slice.rank) + 1
        else:
            explained = self.kinks_per_row.get(level, self._crossings())
            size = max(FEWEST_WALKS, round(DISTINCT * len(kinks) / max(1.0, explained)))
            if self.state.numbers.few_bits:
                size = max(FEWEST_WALKS, size // FEWER_WALKS)
            if not all(signs):
                # No row is told from a wrong one where a sign that it needs is open.
                size = FEWEST_WALKS
        if all(signs) and not self.state.numbers.rough:
            return self._one_for_each(level, kinks, size)
        if len(kinks) <= size:
            return kinks
        return [kinks[i] for i in sorted(self.state.rng.permutation(len(kinks))[:size].tolist())]

    def _crossings(self) -> int:
        """How many kinks a row may explain, where none of its layer is known: about one on every line."""
        return max(FEWEST_CROSSINGS, sum(not line.border for line in self.state.pool.lines))

    def _one_for_each(self, level: int, kinks: list[Kink], most: int) -> list[Kink]:
        """One kink for every neuron, of those first of which the kinks together tell most; the others cost a walk.

        What the kinks tell is known to the walk, which is the shorter for it.
        """
        measured = [kink for kink in self.state.unexplained() if self.state.pool.is_measured(kink)]
        groups = self.met_again.groups(level, [*kinks, *(kink for kink in measured if kink not in set(kinks))])
        groups = [group for group in groups if group.kinks[0] in set(kinks)]
        groups.sort(key=lambda group: np.inf if group.row is None else len(group.row.missing))
        self._told = {group.kinks[0]: group.row for group in groups if group.row is not None and len(group.kinks) > 1}
        whole = sum(group.row is not None and not group.row.missing for group in groups)
        return [group.kinks[0] for group in groups[: max(most, whole)]]

    def rows(self, level: int, sightings: Sequence[Sighting]) -> list[Row]:
        """Rows of layer ``level`` from walks over the layers before it; fixes the signs of the last of these."""
        self.accepted = 0
        signs = list(self.signs.behind(level))
        layers = self.state.known(level - 1)
        walks = []
        for s in sightings:
            if s.form is not None:
                walks.append(BoundaryWalk(layers, signs, s.form, s.point, self.state.rng))
                walks[-1].weigh_start()
                if (s.line, s.kink) in self._told:
                    walks[-1].learn_row(self._told[s.line, s.kink].weights)
        few_signs = 4 * signs.count(0) <= len(signs)
        run_walks(
            self.state.pool.asker, walks, 60 + 8 * layers.widths[-1], self.state.slice.rank, for_signs=not few_signs
        )
        for walk in walks:
            walk.sharpen()
        if not all(signs):
            self.signs.from_walks(level, walks)
            if not few_signs and self.state.layers[level - 2].signs.count(0) == signs.count(0):
                failed = sum(walk.trusted and tells_signs(walk.system) for walk in walks)
                if failed:
                    self._note_failed(level, failed)
                else:
                    self.sign_walks *= 2
                return []
            self.sign_walks = FIRST_SIGN_WALKS
            if not few_signs:
                run_walks(self.state.pool.asker, walks, 60 + 8 * layers.widths[-1], self.state.slice.rank)
                if not all(self.state.layers[level - 2].signs):
                    self.signs.from_walks(level, walks)
                for walk in walks:
                    walk.sharpen()
        rows = linear_weights_known(layers, [row for row in map(row_of, walks) if row is not None])
        self.accepted = len(rows)
        if self.state.numbers.few_bits and all(self.state.layers[level - 2].signs):
            known = self.state.known(level - 1)
            rows = [refined(row, activations_at(known, row.sightings)) for row in rows]
        if level < len(self.state.layers):
            # What was read behind a layer becomes doubtful with every new neuron: not for one that is hardly known.
            rows = [row for row in rows if 2 * len(row.missing) <= len(row.weights)]
        fewest = fewest_bits(self.state.numbers)
        return confirmed(self.state, level, merge_rows([row for row in rows if row.accuracy >= fewest]))

    def _note_failed(self, level: int, walks: int) -> None:
        """No signs fit the equations of some walks: the layer before lacks a neuron."""
        key = level, self.state.versions[level - 1], self.state.insistent
        self._failed[key] += walks
        if self._failed[key] >= (MANY_FAILED if self.state.insistent else FEW_FAILED):
            self.state.blocked = level
