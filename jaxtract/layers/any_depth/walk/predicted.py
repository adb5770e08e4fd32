"""Does f bend where a row says that it does?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpz

from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.far_corners import NEAR_END, Cell
from jaxtract.geometry.grid import GridVector, grid_matrix
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.walk.on_boundary import put_on_boundary
from jaxtract.measurement.bend_test import bent
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker
from precision.balls import vanishes

PLACES = 6
_STEPS = (fmpz(-1), fmpz(0), fmpz(1))


def visible_places(
    asker: Asker,
    layers: KnownLayers,
    rows: Sequence[Row],
    neurons: Sequence[int],
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Random places on its predicted boundary where each neuron of the last layer is seen, and where it might be.

    Three queries a place, counted as ``measure``. ``rows`` are those of the last layer. Where f is constant nothing of
    a layer need be seen; where it is not, something behind reads the layer.
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
    hits, asked = [0] * len(neurons), [0] * len(neurons)
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
        seen = bent(answer)
        hits[place] += int(seen)
        asked[place] += int(seen or not all(vanishes(x) for x in answer[2] - answer[0]))
    return list(zip(hits, asked, strict=True))


def _places(layers: KnownLayers, row: Row, neuron: int, rng: np.random.Generator) -> np.ndarray:
    """Up to ``PLACES`` points on the boundary where no open weight matters.

    Anywhere, if the neuron changes state on random segments; else near where it was seen, and last at the far ends of
    the cells that it was seen in. A deeper neuron that was walked by mistake is seen near there, too.
    """
    found = np.empty((0, layers.inputs))
    for points in (
        boundary_points(lambda x: layers.values64(x)[-1][:, neuron], layers.inputs, near, rng)
        for near in ([], row.seen_at)
    ):
        found = np.concatenate([found, _some(undisturbed(layers, row, points), PLACES - len(found), rng)])
        if len(found) == PLACES:
            return found
    seen = _some(np.array(row.seen_at).reshape(-1, layers.inputs), PLACES - len(found), rng)
    far = [end for point in seen if (end := _far_end(layers, neuron, point, rng)) is not None]
    return np.concatenate([found, undisturbed(layers, row, np.array(far).reshape(-1, layers.inputs))])


def _some(points: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return points[rng.permutation(len(points))[:most]]


def undisturbed(layers: KnownLayers, row: Row, points: np.ndarray) -> np.ndarray:
    """Points at which every neuron that the row may read with an open weight is off."""
    if not row.missing or not len(points):
        return points
    return points[~np.any(layers.values64(points)[-2][:, row.missing] > 0, axis=1)]


def _far_end(layers: KnownLayers, neuron: int, point: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A point on the boundary near the far end of the cell around a point that is on it."""
    pattern = [z[0] > 0 for z in layers.values64(point[None, :])]
    *walls, (own, _) = layers.walls64(pattern)
    normal = own[neuron]
    if not np.linalg.norm(normal) > 0:
        return None
    step = Cell.around(point, normal, walls, pattern[:-1]).random_corner(rng)
    return None if step is None else point + rng.uniform(*NEAR_END) * step
