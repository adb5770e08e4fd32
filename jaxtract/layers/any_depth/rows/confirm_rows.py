"""Rows that predict where else f bends are believed; the others are refuted, at once or by later lines."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import binom

from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, stacked
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.walk.predicted import visible_places

LEAST_SEEN, MOSTLY_SEEN = 0.4, 0.7
"""Shares of its predicted places where a row is seen: below the first it is refuted, above the second believed.

What is behind a neuron is not always on, so that it is not seen everywhere; a deeper neuron that was walked by mistake
is met only in the cells of the layers before it that the walk has been to. Between the two more places are asked.
"""

SELDOM = 1e-3
"""A row is refuted that is seen so seldom as one of its layer would be in one case of so many."""

CONFIRMATIONS = 4
"""Times that places are asked for a row that is neither refuted nor believed."""


def confirmed(state: Recovery, level: int, rows: Sequence[Row]) -> list[Row]:
    """Rows that predict where else f bends: a deeper neuron walked by mistake does so in a few cells only."""
    rows = [row for row, seldom in zip(rows, _seldom_beside_known(state, level, rows), strict=True) if not seldom]
    if not rows:
        return []
    candidate = stacked(state.slice.rank, [*state.layers[: level - 1], FoundLayer(list(rows), [0] * len(rows))])
    seen, unseen = state.pool.crossings(candidate, [row.missing for row in rows])
    # The sighting that the row comes from proves nothing.
    seen = [max(s - 1, 0) for s in seen]
    doubtful = [i for i in range(len(rows)) if seen[i] < 2 or seen[i] < MOSTLY_SEEN * (seen[i] + unseen[i])]
    for _ in range(CONFIRMATIONS):
        if not doubtful:
            break
        places = visible_places(state.pool.asker, candidate, rows, doubtful, state.rng)
        for i, (hits, asked) in zip(doubtful, places, strict=True):
            seen[i], unseen[i] = seen[i] + hits, unseen[i] + asked - hits
        doubtful = [i for i in doubtful if LEAST_SEEN <= _share(seen[i], unseen[i]) < MOSTLY_SEEN]
    return [
        row
        for row, s, u in zip(rows, seen, unseen, strict=True)
        if s >= 2 and _share(s, u) >= (LEAST_SEEN + MOSTLY_SEEN) / 2
    ]


def review(state: Recovery) -> None:
    """Drop rows that the lines searched since then refute, and what was read behind them."""
    for level in range(2, len(state.layers) + 1):
        layer = state.layers[level - 1]
        seen, unseen = state.pool.crossings(state.known(level), [row.missing for row in layer.rows])
        seldom = seldom_seen(seen, unseen)
        kept = [
            k
            for k, (s, u) in enumerate(zip(seen, unseen, strict=True))
            if not seldom[k] and (u < 3 or _share(s, u) >= LEAST_SEEN)
        ]
        if len(kept) < len(layer.rows):
            state.layers = state.layers[:level]
            # Its signs were told by what seemed to read the refuted rows, too.
            rows = [layer.rows[k] for k in kept]
            state.layers[-1] = FoundLayer(rows, [int(row.linear) for row in rows])
            if not kept:
                state.layers.pop()
            state.versions = [v + (later >= level) for later, v in enumerate(state.versions)]
            return


def _seldom_beside_known(state: Recovery, level: int, rows: Sequence[Row]) -> list[bool]:
    """Which of some rows are seen too seldom beside those that their layer has already."""
    known = state.layers[level - 1].rows if level <= len(state.layers) else []
    if not known or not rows:
        return [False] * len(rows)
    both = FoundLayer([*known, *rows], [0] * (len(known) + len(rows)))
    seen, unseen = state.pool.crossings(
        stacked(state.slice.rank, [*state.layers[: level - 1], both]), [row.missing for row in both.rows]
    )
    return seldom_seen(seen, unseen)[len(known) :]


def seldom_seen(seen: Sequence[int], unseen: Sequence[int]) -> list[bool]:
    """Neurons that are seen at their predicted zeros much more seldom than the others of their layer.

    What is behind a layer reads all of its neurons, and hides them at the same places. A deeper neuron walked by
    mistake, all of whose changes are those of the layers before, is hidden where its own layer's change.
    """
    all_seen, all_unseen = sum(seen), sum(unseen)
    found = []
    for s, u in zip(seen, unseen, strict=True):
        others = all_seen + all_unseen - s - u
        rate = (all_unseen - u + 1) / (others + 2)
        found.append(bool(others and binom.sf(u - 1, s + u, rate) < SELDOM))
    return found


def _share(seen: int, unseen: int) -> float:
    return seen / max(1, seen + unseen)
