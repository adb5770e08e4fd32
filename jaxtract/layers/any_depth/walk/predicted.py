"""Does f bend where a row says that it does?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpz

from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.grid import GridVector, grid_matrix
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.walk.on_boundary import put_on_boundary
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker

PLACES = 6
_STEPS = (fmpz(-1), fmpz(0), fmpz(1))


def visible_places(
    asker: Asker,
    layers: KnownLayers,
    rows: Sequence[Row],
    neurons: Sequence[int],
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Random places on its predicted boundary where each neuron of the last layer is seen, and places asked.

    Three queries a place, counted as ``measure``. ``rows`` are those of the last layer.
    """
    anchors: list[GridVector] = []
    steps: list[GridVector] = []
    owner: list[int] = []
    for place, neuron in enumerate(neurons):
        for found in put_on_boundary(
            layers, layers.depth - 1, neuron, _places(layers, rows[neuron], neuron, rng), bits=asker.context.beside_bits
        ):
            anchors.append(found.point)
            steps.append(found.step)
            owner.append(place)
    hits, asked = [0] * len(neurons), [owner.count(place) for place in range(len(neurons))]
    if not anchors:
        return list(zip(hits, asked, strict=True))
    count, inputs = len(anchors), layers.inputs
    index = tuple(k for k in range(count) for _ in _STEPS)
    batch = PointBatch(
        grid_matrix(anchors, inputs),
        grid_matrix(steps, inputs),
        index,
        index,
        _STEPS * count,
        0,
    )
    answers = asker.ask(batch, "measure").reshape(count, 3, -1)
    for place, answer in zip(owner, answers, strict=True):
        hits[place] += int(any(x != 0 for x in answer[0] + answer[2] - 2 * answer[1]))
    return list(zip(hits, asked, strict=True))


def _places(layers: KnownLayers, row: Row, neuron: int, rng: np.random.Generator) -> np.ndarray:
    """Up to ``PLACES`` points on the boundary where no open weight matters.

    Anywhere, if the neuron changes state on random segments; else near where it was seen. A deeper neuron that was
    walked by mistake is seen near there, too.
    """
    found = np.empty((0, layers.inputs))
    for seen_at in ([], row.seen_at):
        points = boundary_points(lambda x: layers.values64(x)[-1][:, neuron], layers.inputs, seen_at, rng)
        if row.missing and len(points):
            points = points[~np.any(layers.values64(points)[-2][:, row.missing] > 0, axis=1)]
        found = np.concatenate([found, points[rng.permutation(len(points))[: PLACES - len(found)]]])
        if len(found) == PLACES:
            break
    return found
