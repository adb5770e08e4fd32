"""Bends that the search of a line did not meet, where a row that is seen nearly everywhere else says that they are.

A search takes two pieces that meet where a known neuron is zero for its kink, and three answers on one line for one
piece. A neuron that is on for a short way around that kink, or between the answers, adds a bump that nothing met.
Whatever is told from pieces that run through a bump is wrong: gradients, and values behind it.
"""

from __future__ import annotations

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.kinks.foretold import counted, crossed_lines
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.confirm_rows import OFTEN_SEEN, share_seen


class MissedBends:
    """Looks once at every place where a row is zero on a line and no kink is."""

    def __init__(self, state: Recovery):
        self.state = state
        self._asked: set[tuple[int, fmpq]] = set()

    def look(self) -> bool:
        """Whether f bends more often on some line than was seen; some eight queries a place, counted as ``search``."""
        if not self.state.numbers.exact:
            return False
        doubted: set[tuple[int, fmpq]] = set()
        for level in range(1, min(len(self.state.layers), len(self.state.signed_layers()) + 1) + 1):
            doubted.update(self._doubted(level))
        doubted -= self._asked
        if not doubted:
            return False
        self._asked |= doubted
        self.state.progress.phase("search")
        return self.state.pool.search_again(sorted(doubted), self.state.settings)

    def _doubted(self, level: int) -> list[tuple[int, fmpq]]:
        layers = self.state.known(level)
        lines = crossed_lines(self.state.pool, layers)
        seen, unseen = counted(lines.values(), layers.widths[-1])
        believed = [share_seen(s, u) >= OFTEN_SEEN for s, u in zip(seen, unseen, strict=True)]
        return [
            (index, crossed.zero(piece, neuron))
            for index, crossed in lines.items()
            for piece, neuron in np.argwhere(crossed.unseen & believed).tolist()
            if self.state.pool.lines[index].dyadic and not self.state.pool.lines[index].border
        ]
