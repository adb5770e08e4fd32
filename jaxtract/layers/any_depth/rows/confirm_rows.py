"""Rows that predict where else f bends are believed; the others are refuted, at once or by later lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scipy.stats import binom

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, reads, stacked
from jaxtract.layers.any_depth.kinks.foretold import crossings
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.walk.predicted import visible_places

LEAST_SEEN, MOSTLY_SEEN = 0.5, 0.9
"""Shares of its predicted places where a row is seen: below the first it is refuted, above the second believed.

What is behind a neuron is not always on, so that it is not seen everywhere; a deeper neuron that was walked by mistake
is met only in the cells of the layers before it that the walk has been to. Between the two more places are asked.
"""

SELDOM, DOUBTFUL = 1e-3, 0.1
"""A row is refuted that is seen so seldom as one of its layer would be in one case of so many; or asked about."""

CONFIRMATIONS = 4
"""Times that places are asked for a row that is neither refuted nor believed."""

FOR_ALL, OFTEN_SEEN = 2, 0.8
"""Of these times those at which all rows of a layer are asked about, and the share that is not held against a row."""


def confirmed(state: Recovery, level: int, rows: Sequence[Row]) -> list[Row]:
    """Rows that predict where else f bends: a deeper neuron walked by mistake does so in a few cells only."""
    if not rows:
        return []
    rows, seen, unseen, chances = _not_refuted(state, level, rows)
    candidate = _with_layer(state, level, rows)
    # The sighting that the row comes from proves nothing.
    seen = [max(s - 1, 0) for s in seen]
    doubtful = [
        i
        for i, (s, u, chance) in enumerate(zip(seen, unseen, chances, strict=True))
        if s < 2 or share_seen(s, u) < MOSTLY_SEEN or chance < DOUBTFUL
    ]
    for _ in range(CONFIRMATIONS):
        if not doubtful:
            break
        places = visible_places(state.pool.asker, candidate, rows, doubtful, state.rng)
        for i, (hits, asked) in zip(doubtful, places, strict=True):
            seen[i], unseen[i] = seen[i] + hits, unseen[i] + asked - hits
        doubtful = [i for i in doubtful if LEAST_SEEN <= share_seen(seen[i], unseen[i]) < MOSTLY_SEEN]
    return [
        row
        for row, s, u in zip(rows, seen, unseen, strict=True)
        if s >= 2 and share_seen(s, u) >= (LEAST_SEEN + MOSTLY_SEEN) / 2
    ]


def review(state: Recovery) -> None:
    """Drop rows that the lines searched since then refute, and what was read behind them."""
    for level in range(2, len(state.layers) + 1):
        layer = state.layers[level - 1]
        seen, unseen = crossings(state.pool, state.known(level))
        kept = [
            k
            for k, (s, u, chance) in enumerate(zip(seen, unseen, chances_unseen(seen, unseen), strict=True))
            if not _refuted(s, u, chance) and (u < 3 or share_seen(s, u) >= LEAST_SEEN)
        ]
        if len(kept) < len(layer.rows):
            keep_rows(state, level, kept)
            state.versions = [v + (later >= level) for later, v in enumerate(state.versions)]
            return


def audit(state: Recovery, level: int) -> bool:
    """Whether rows of a layer are refuted and dropped that its others are held against, all over their boundaries.

    A deeper neuron walked by mistake is seen where the layer's own neurons are as they were on its walk, and not behind
    their boundaries. Where neurons behind hide what is before them, they hide it of all.
    """
    rows = state.layers[level - 1].rows
    asked = doubtful = [i for i, row in enumerate(rows) if not row.linear]
    seen, unseen = [0] * len(rows), [0] * len(rows)
    for turn in range(CONFIRMATIONS):
        chosen = asked if turn < FOR_ALL else doubtful
        places = visible_places(state.pool.asker, state.known(level), rows, chosen, state.rng)
        for i, (hits, count) in zip(chosen, places, strict=True):
            seen[i], unseen[i] = seen[i] + hits, unseen[i] + count - hits
        chances = chances_unseen([seen[i] for i in asked], [unseen[i] for i in asked])
        doubtful = [i for i, chance in zip(asked, chances, strict=True) if chance < DOUBTFUL]
        if not doubtful:
            return False
    refuted = refuted_beside_others({i: (seen[i], unseen[i]) for i in asked})
    if refuted:
        keep_rows(state, level, [i for i in range(len(rows)) if i not in refuted])
        state.renewed(level)
    return bool(refuted)


def refuted_beside_others(counts: dict[int, tuple[int, int]]) -> set[int]:
    """Those of some rows that are seen too seldom, (seen, unseen) each, by those that are not."""
    left = dict(counts)
    while left:
        chances = chances_unseen([s for s, _ in left.values()], [u for _, u in left.values()])
        chance, worst = min(zip(chances, left, strict=True))
        if not _refuted(*left[worst], chance):
            break
        del left[worst]
    return counts.keys() - left.keys()


def keep_rows(state: Recovery, level: int, kept: Sequence[int]) -> None:
    """Drop all other rows of a layer, and what was read behind it if something reads them."""
    layer, dropped = state.layers[level - 1], set(range(len(state.layers[level - 1].rows))) - set(kept)
    behind = state.layers[level:]
    if state.numbers.exact and kept and behind and not any(reads(row, i) for row in behind[0].rows for i in dropped):
        state.layers[level - 1] = layer.chosen(kept)
        readers = [dataclasses.replace(row, weights=[row.weights[k] for k in kept]) for row in behind[0].rows]
        state.layers[level] = FoundLayer(readers, behind[0].signs)
        return
    # Its signs were told by what seemed to read the refuted rows, too.
    rows = [layer.rows[k] for k in kept]
    state.layers = state.layers[: level - 1]
    if rows:
        state.layers.append(FoundLayer(rows, [int(row.linear) for row in rows]))


def _not_refuted(
    state: Recovery, level: int, rows: Sequence[Row]
) -> tuple[list[Row], list[int], list[int], list[float]]:
    """Those rows that the ones that their layer has already do not refute: (rows, seen, unseen, chances)."""
    known = state.layers[level - 1].rows if level <= len(state.layers) else []
    both = [*known, *rows]
    seen, unseen = crossings(state.pool, _with_layer(state, level, both))
    chances = chances_unseen(seen, unseen) if known else [1.0] * len(rows)
    kept = [k for k in range(len(known), len(both)) if not _refuted(seen[k], unseen[k], chances[k])]
    return [both[k] for k in kept], [seen[k] for k in kept], [unseen[k] for k in kept], [chances[k] for k in kept]


def _with_layer(state: Recovery, level: int, rows: Sequence[Row]) -> KnownLayers:
    """Some rows over the layers before theirs."""
    return stacked(state.slice.rank, [*state.layers[: level - 1], FoundLayer(list(rows), [0] * len(rows))])


def chances_unseen(seen: Sequence[int], unseen: Sequence[int]) -> list[float]:
    """How likely a neuron is seen at its predicted zeros as seldom as it is, by the others of its layer.

    What is behind a layer reads all of its neurons, and hides them at the same places. A deeper neuron walked by
    mistake, all of whose changes are those of the layers before, is hidden where its own layer's change.
    """
    all_seen, all_unseen = sum(seen), sum(unseen)
    found = []
    for s, u in zip(seen, unseen, strict=True):
        others = all_seen + all_unseen - s - u
        rate = (all_unseen - u + 1) / (others + 2)
        found.append(float(binom.sf(u - 1, s + u, rate)) if others else 1.0)
    return found


def _refuted(seen: int, unseen: int, chance: float) -> bool:
    """Whether a row is seen too seldom beside others. A bend that no query of a line met is nobody's fault."""
    return chance < SELDOM and share_seen(seen, unseen) < OFTEN_SEEN


def share_seen(seen: int, unseen: int) -> float:
    """The share of its predicted places at which a row is seen."""
    return seen / max(1, seen + unseen)
