"""Rows that lost much on the way of their walks are seen again, at places all over the boundaries that they predict.

A walk hands its errors on from crossing to crossing, a sighting does not: four queries, and where the two pieces meet
the neuron is zero, as sharply as answers tell. As many places as a row has unknowns, and more, refine it
(``refined_rows``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.linalg import qr

from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.grid import ONE, GridVector, to_floats
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.rows.refined_rows import SPARE_KINKS
from jaxtract.layers.any_depth.walk.layer_rows import as_batch
from jaxtract.layers.any_depth.walk.on_boundary import put_on_boundary
from jaxtract.layers.any_depth.walk.predicted import undisturbed
from jaxtract.layers.any_depth.walk.star import room
from jaxtract.layers.any_depth.walk.transversal import Asked, kink_between, transversal
from jaxtract.search.context_lines import Asker
from precision.balls import bits_in_use, vanishes
from precision.context import FEW_BITS

PLACES_EACH = 2
"""Places for every unknown: what is behind a neuron hides it at some of them."""

WINDOW_BITS = 10
"""A sighting is looked for across so much of the room that the known boundaries leave."""


Usable = Callable[[KnownLayers, Row, np.ndarray], np.ndarray]
"""Of points near the boundary of a row of the last layer those at which all that it reads is known."""


def see_again(
    asker: Asker,
    layers: KnownLayers,
    rows: Sequence[Row],
    neurons: Sequence[int],
    rng: np.random.Generator,
    *,
    each: int = PLACES_EACH,
    usable: Usable = undisturbed,
) -> dict[int, tuple[int, int]]:
    """More sightings for some rows of the last layer, at ``each`` places for every unknown of a row.

    Four queries a place, counted as ``measure``.

    Returns:
        By neuron, at how many places it was seen, and at how many not though f changes there.
    """
    asked = [(i, place) for i in neurons for place in _transversals(layers, rows[i], i, rng, each, usable)]
    counts: dict[int, tuple[int, int]] = {i: (0, 0) for i in neurons}
    if not asked:
        return counts
    answers = asker.ask(as_batch([place for _, place in asked], layers.inputs), "measure")
    for (i, place), here in zip(asked, answers.reshape(len(asked), 4, -1), strict=True):
        seen, unseen = counts[i]
        position = kink_between(here)
        if position is not None:
            rows[i].sightings.append(
                [(x + position * v) / ONE for x, v in zip(place.base, place.directions[0], strict=True)]
            )
            counts[i] = seen + 1, unseen
        elif not all(vanishes(x) for x in here[3] - here[0]):
            counts[i] = seen, unseen + 1
    return counts


def _transversals(
    layers: KnownLayers, row: Row, neuron: int, rng: np.random.Generator, each: int, usable: Usable
) -> Iterator[Asked]:
    """Across the predicted boundary of a neuron of the last layer, where nothing is in doubt."""
    wanted = each * (len(row.weights) + SPARE_KINKS)
    points = boundary_points(lambda x: layers.values64(x)[-1][:, neuron], layers.inputs, row.seen_at, rng)
    points = usable(layers, row, points)
    points = points[rng.permutation(len(points))]
    chosen = (_telling_first(layers, points) if bits_in_use() < FEW_BITS else points)[:wanted]
    for found in put_on_boundary(layers, layers.depth - 1, neuron, chosen, bits=0):
        x = to_floats(found.point)
        pattern = [z[0] > 0 for z in layers.values64(x[None, :])]
        if not layers.in_doubt(pattern, layers.depth - 1):
            yield transversal(found.point, _window(layers, pattern, neuron, x, found.step))


def _telling_first(layers: KnownLayers, points: np.ndarray) -> np.ndarray:
    """Points on a boundary, those first that tell most of a row together: what it reads is not on at every one."""
    if not len(points):
        return points
    before = np.maximum(layers.values64(points)[-2], 0) if layers.depth > 1 else points
    seen = np.concatenate([before, np.ones((len(points), 1))], axis=1)
    largest = np.max(np.abs(seen), axis=0)
    *_, order = qr((seen / np.where(largest > 0, largest, 1)).T, mode="r", pivoting=True)
    first = order[: seen.shape[1]].tolist()
    return points[[*first, *(k for k in range(len(points)) if k not in set(first))]]


def _window(
    layers: KnownLayers, pattern: list[np.ndarray], neuron: int, point: np.ndarray, step: GridVector
) -> GridVector:
    """A step across the boundary, short against the room between all other known boundaries."""
    *walls, (matrix, offset) = layers.walls64(pattern)
    others = np.arange(len(offset)) != neuron
    free = room([*walls, (matrix[others], offset[others])], point, to_floats(step))
    share = int(min(1.0, free) * ONE) >> WINDOW_BITS
    return [(s * share) // ONE for s in step]
