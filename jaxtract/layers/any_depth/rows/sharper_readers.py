"""Rows that read past a layer, seen again all over their boundaries, before what the layer lacks is told from them.

What a linear row loses is lost for all that is behind it, and a walk loses most of the bits of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb, arb_mat

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.rows.more_sightings import see_again
from jaxtract.layers.any_depth.rows.refined_rows import passed_on, refined
from jaxtract.search.context_lines import Asker
from precision.balls import vanishes
from precision.context import Number


def sharper_readers(asker: Asker, wide: KnownLayers, rows: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    """The rows between smaller balls.

    Args:
        wide: layers between balls whose last one carries the activations of the one before, too (``carrying_before``).
        rows: over it. What a neuron adds that was never crossed counts with what is carried: it holds on that side of
            its boundary on which the row was seen.
    """
    layers = _followed_by(wide, rows)
    see_again(asker, layers, rows, range(len(rows)), rng, usable=_as_it_was_seen)
    return [refined(row, _activations(layers, row, i)) for i, row in enumerate(rows)]


def _followed_by(layers: KnownLayers, rows: Sequence[Row]) -> KnownLayers:
    scaled = [row.scaled() for row in rows]
    weights = arb_mat(len(rows), layers.widths[-1], [x for row, _ in scaled for x in row])
    return KnownLayers(
        [*layers.weights, weights],
        [*layers.biases, [bias for _, bias in scaled]],
        linear=[*layers.linear, np.zeros(len(rows), dtype=bool)],
    )


def _as_it_was_seen(layers: KnownLayers, row: Row, points: np.ndarray) -> np.ndarray:
    """Points at which neurons that the row never crossed are on the same side as where it was seen."""
    if not row.missing or not len(points):
        return points
    seen, here = (layers.values64(x)[-2][:, row.missing] > 0 for x in (row.seen_at[0][None, :], points))
    return points[np.all(here == seen, axis=1)]


def _activations(layers: KnownLayers, row: Row, neuron: int) -> list[list[Number]]:
    """What the row reads at its sightings, as far as it is where it predicts them; without what it never crossed."""
    if not row.sightings:
        return []
    heights = layers.preactivations(arb_mat([list(point) for point in row.sightings]), [1] * len(row.sightings))
    read = passed_on(heights[-2].tolist(), layers.linear[-2])
    uncrossed = {i for i in row.missing if not layers.linear[-2][i]}
    return [
        [arb(0) if i in uncrossed else x for i, x in enumerate(a)]
        for a, z in zip(read, heights[-1].tolist(), strict=True)
        if vanishes(z[neuron])
    ]
