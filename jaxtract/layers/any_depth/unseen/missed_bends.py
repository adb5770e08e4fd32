"""Bends that the search of a line did not meet, where a row that is seen nearly everywhere else says that they are.

A search takes two pieces that meet where a known neuron is zero for its kink, and three answers on one line for one
piece. A neuron that is on for a short way around that kink, or between the answers, adds a bump that nothing met.
Whatever is told from pieces that run through a bump is wrong: gradients, and values behind it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.kinks.foretold import Crossed, crossed_line
from jaxtract.layers.any_depth.kinks.pool import SearchedLine
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.confirm_rows import OFTEN_SEEN, share_seen


@dataclasses.dataclass(frozen=True)
class _Told:
    """Of a line and some layers: kinks that are zeros of the last layer, (width,), and zeros without one, by neuron."""

    line: SearchedLine
    layers: KnownLayers
    seen: np.ndarray
    unseen: list[tuple[int, fmpq]]

    @classmethod
    def of(cls, line: SearchedLine, layers: KnownLayers, crossed: Crossed) -> _Told:
        zeros = [(i, crossed.zero(piece, i)) for piece, i in np.argwhere(crossed.unseen).tolist()]
        return cls(line, layers, crossed.seen.sum(axis=0), zeros)


class MissedBends:
    """Looks once at every place where a row is zero on a line and no kink is."""

    def __init__(self, state: Recovery):
        self.state = state
        self._asked: set[tuple[int, fmpq]] = set()
        self._told: dict[tuple[int, int], _Told] = {}

    def look(self) -> bool:
        """Whether f bends more often on some line than was seen; some eight queries a place, counted as ``search``."""
        if not self.state.numbers.exact:
            return False
        depth = min(len(self.state.layers), len(self.state.signed_layers()) + 1)
        self._renew(depth)
        doubted = {place for level in range(1, depth + 1) for place in self._doubted(level)} - self._asked
        if not doubted:
            return False
        self._asked |= doubted
        self.state.progress.phase("search")
        return self.state.pool.search_again(sorted(doubted), self.state.settings)

    def _renew(self, depth: int) -> None:
        """What is told of lines and layers that are as they were stays."""
        before, self._told = self._told, {}
        stacks = [self.state.known(level) for level in range(1, depth + 1)]
        for index, line in enumerate(self.state.pool.lines):
            if not line.kinks:
                continue
            stale = []
            for layers in stacks:
                told = before.get((index, layers.depth))
                if told is not None and told.line is line and told.layers is layers:
                    self._told[index, layers.depth] = told
                else:
                    stale.append(layers)
            for layers, crossed in zip(
                stale, crossed_line(self.state.pool, index, stale) if stale else [], strict=True
            ):
                self._told[index, layers.depth] = _Told.of(line, layers, crossed)

    def _doubted(self, level: int) -> list[tuple[int, fmpq]]:
        lines = {index: told for (index, depth), told in self._told.items() if depth == level}
        width = len(self.state.layers[level - 1].rows)
        seen, unseen = np.zeros(width, dtype=int), np.zeros(width, dtype=int)
        for told in lines.values():
            seen += told.seen
            np.add.at(unseen, [neuron for neuron, _ in told.unseen], 1)
        believed = [share_seen(s, u) >= OFTEN_SEEN for s, u in zip(seen.tolist(), unseen.tolist(), strict=True)]
        return [
            (index, zero)
            for index, told in lines.items()
            if told.line.dyadic and not told.line.border
            for neuron, zero in told.unseen
            if believed[neuron]
        ]
