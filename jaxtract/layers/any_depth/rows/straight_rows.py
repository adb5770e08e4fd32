"""Rows of the first layer: hyperplanes that are straight everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.geometry.rational_form import RationalForm
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, merge_rows, stacked
from jaxtract.layers.any_depth.kinks.pool import Sighting
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.first_layer import straight
from precision.balls import vanishes

FEWEST_LINES = 3
"""Lines after which a hyperplane of the first layer has been met twice."""


def straight_rows(state: Recovery, sightings: Sequence[Sighting]) -> list[Row]:
    """Rows of the first layer. A hyperplane meets every line: one that meets no kink elsewhere is not asked for."""
    seen = [s for s in sightings if s.form is not None]
    settled = state.layers[0].rows if state.layers else []
    met, missed = _met_again(state, seen, settled)
    lines = sum(not line.border for line in state.pool.lines)
    chosen = [
        k for k, s in enumerate(seen) if len(met[k]) > 1 or lines < FEWEST_LINES or state.pool.lines[s.line].border
    ]
    forms = [form for k in chosen if (form := seen[k].form) is not None]
    kept = [*chosen, *range(len(seen), len(seen) + len(settled))]
    free = [[side[kept] for side in met[k]] for k in chosen] + [[]] * len(settled)
    every = forms + [RationalForm([w or fmpq(0) for w in row.weights], row.bias) for row in settled]
    places = 1 if not state.layers else 4
    known = straight(
        state.pool.asker,
        every,
        free,
        state.rng,
        most_places=places,
        settled=len(settled),
        missed=[missed[k] for k in chosen],
    )
    return merge_rows([Row(list(f.normal), f.offset) for f, flat in zip(forms, known, strict=True) if flat])


def _met_again(
    state: Recovery, sightings: Sequence[Sighting], settled: Sequence[Row]
) -> tuple[list[list[np.ndarray]], list[int]]:
    """For every sighting's hyperplane where the pool has kinks on it, and how many searched lines have none.

    A place is told by the sides of all hyperplanes there; the last sides are those of the first layer's rows that
    are settled.
    """
    rows = [Row(list(s.form.normal), s.form.offset) for s in sightings if s.form is not None]
    if not rows:
        return [], []
    hyperplanes = stacked(state.slice.rank, [FoundLayer([*rows, *settled], [0] * (len(rows) + len(settled)))])
    kinks = state.pool.all_kinks()
    (heights,), _ = state.pool.heights(hyperplanes, state.pool.places(kinks))
    found: list[list[np.ndarray]] = [[] for _ in rows]
    met: list[set[int]] = [set() for _ in rows]
    for (line, _), z in zip(kinks, heights.tolist(), strict=True):
        zero = [i for i in range(len(rows)) if vanishes(z[i])]
        if zero:
            side = np.array([x > 0 for x in z])
            for i in zero:
                found[i].append(side)
                met[i].add(line)
    searched = {line for line, _ in kinks} - set(state.pool.borders())
    return found, [len(searched - lines) for lines in met]
