"""Open weights of a layer, from how f bends where the neuron that they read switches on.

The boundary of neuron i need not meet that of neuron j of the layer before: its weight on j is open then, however
long the boundary is followed, and if i is on wherever j switches on, hardly a region is left in which nothing is in
doubt. But there f bends by it. On the side where j is off, f is a combination of the layer's active neurons; where
these are independent, one gradient tells the factors. On the other side z_j is added with the sum of the factors times
the weights on j. Every output gives an equation for those of them that are open, and no boundary of a deeper neuron
need be known, nor what is behind the layer at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from flint import fmpq, fmpz_mat

from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.distances import distances
from jaxtract.geometry.grid import GRID_BITS, ONE, GridVector, grid_matrix
from jaxtract.geometry.known_layers import KnownLayers, Pattern
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.walk.on_boundary import put_on_boundary
from jaxtract.layers.any_depth.walk.row_system import InconsistentRow, Shared, determined, solve_shared
from jaxtract.oracle.points import scattered
from jaxtract.search.context_lines import Asker
from precision.balls import quotient
from precision.context import Number

SPARE = 2
"""Places beyond the open weights that are read there."""

DRAWS = 6
"""Times that places are drawn, while there are too few."""

STEP = 1 << (GRID_BITS - 150)
"""Of a gradient beside a boundary, in grid units; far shorter than the distance to it."""

SHORTER_BITS = 10
"""The same where answers are rounded: by so many bits shorter than the distance."""

CONDITION = 1e-8
"""Gradients that are dependent up to this, in float64, are taken for dependent."""

Reads = tuple[int, int]
"""(neuron, neuron of the layer before that it reads)"""


@dataclasses.dataclass(frozen=True)
class _Place:
    """Points just off and just on at the boundary of a neuron, and what is active on the side where it is off.

    Attributes:
        source: the neuron of the layer before.
        off, on: the points.
        height: z of the source at ``on``, in the scale of its integers.
        active: neurons of the layer that are on.
        gradients: theirs, (active, inputs), in the scale of their integers.
    """

    source: int
    off: GridVector
    on: GridVector
    height: Number
    active: list[int]
    gradients: np.ndarray


def complete_at_sources(state: Recovery, level: int) -> bool:
    """Fill open weights of a layer whose signs are known, whatever is known behind it; True where some were found.

    Rank + 2 queries a place, all asked together, counted as ``measure``.
    """
    layer = state.layers[level - 1]
    factors = [row.integer_factor() for row in layer.rows]
    seen_at = [row.seen_at for row in state.layers[level - 2].rows]
    found = weights_at_sources(state.pool.asker, state.known(level), seen_at, state.rng)
    layer.fill(found)
    if found:
        state.carry_scales(level, factors)
        state.renewed(level)
    return bool(found)


def weights_at_sources(
    asker: Asker, layers: KnownLayers, seen_at: Sequence[Sequence[np.ndarray]], rng: np.random.Generator
) -> dict[Reads, Number]:
    """Open weights of the last layer that two places or more agree on, in the scale of its integers.

    ``seen_at``: places where each neuron of the layer before was seen.
    """
    sources = sorted({int(source) for _, source in layers.open[-1]})
    places = [place for j in sources for place in _places(layers, j, seen_at[j], rng)]
    if not places:
        return {}
    equations: dict[int, list[np.ndarray]] = {}
    step = STEP if layers.exact else 1 << (GRID_BITS - distances().off_boundary - SHORTER_BITS)
    for place, answers in zip(places, _answers(asker, places, step), strict=True):
        rows = _equations(layers, place, answers, step)
        if rows is not None:
            equations.setdefault(place.source, []).append(rows)
    return {
        (reader, source): weight
        for source, rows in equations.items()
        for reader, weight in _agreed(rows, _readers(layers, source)).items()
    }


def _readers(layers: KnownLayers, source: int) -> list[int]:
    return [int(reader) for reader, j in layers.open[-1] if j == source]


def _places(
    layers: KnownLayers, source: int, seen_at: Sequence[np.ndarray], rng: np.random.Generator
) -> Iterator[_Place]:
    """Places in different regions where a source switches on and some open weight that reads it acts."""
    before = layers.depth - 2
    readers = _readers(layers, source)
    wanted = len(readers) + SPARE
    others = sorted({int(j) for _, j in layers.open[-1]} - {source})
    found: dict[bytes, tuple[int, np.ndarray]] = {}
    for _ in range(DRAWS):
        points = boundary_points(lambda x: layers.values64(x)[before][:, source], layers.inputs, seen_at, rng)
        for point in points[rng.permutation(len(points))]:
            pattern = [z[0] > 0 for z in layers.values64(point[None, :])]
            if _told(layers, pattern, source, readers):
                # What reads another source that is on may be on, too, though it would be off without.
                found.setdefault(np.concatenate(pattern).tobytes(), (int(pattern[-2][others].sum()), point))
        if len(found) >= wanted:
            break
    chosen = [point for _, point in sorted(found.values(), key=lambda place: place[0])][:wanted]
    for place in put_on_boundary(layers, before, source, np.array(chosen).reshape(-1, layers.inputs)):
        off, on = place.beside(-1), place.beside(1)
        heights = layers.preactivations(fmpz_mat([off, on]), [ONE, ONE])
        pattern, behind = layers.patterns(heights)
        height = heights[before][1, source]
        same = all(np.sum(a != b) == (k == before) for k, (a, b) in enumerate(zip(pattern, behind, strict=True)))
        if height > 0 and same and not layers.in_doubt(pattern, layers.depth):
            active = np.nonzero(pattern[-1])[0].tolist()
            gradients = np.array(layers.forms(layers.depth - 1, pattern)[0].tolist(), dtype=object)[active]
            yield _Place(source, off, on, quotient(height, ONE), active, gradients)


def _told(layers: KnownLayers, pattern: Pattern, source: int, readers: Sequence[int]) -> bool:
    """Whether one gradient where the source is off would tell the factors of all active neurons, nothing in doubt."""
    off = [side | free for side, free in zip(pattern, layers.linear, strict=True)]
    off[-2][source] = False
    if not off[-1][readers].any() or layers.in_doubt(off, layers.depth):
        return False
    gradients = layers.forms64(off)[-1][0][off[-1]]
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    if len(gradients) > layers.inputs or not lengths.all():
        return False
    return bool(np.linalg.svd(gradients / lengths, compute_uv=False)[-1] > CONDITION)


def _answers(asker: Asker, places: Sequence[_Place], step: int) -> np.ndarray:
    """f at the point off, a step from it along each axis, and at the point on, (places, inputs + 2, outputs)."""
    inputs = len(places[0].off)
    points: list[GridVector] = []
    for place in places:
        steps = [[x + step * (k == axis) for k, x in enumerate(place.off)] for axis in range(inputs)]
        points += [place.off, *steps, place.on]
    answers = asker.ask(scattered(grid_matrix(points, inputs)), "measure")
    return answers.reshape(len(places), inputs + 2, -1)


def _equations(layers: KnownLayers, place: _Place, answers: np.ndarray, step: int) -> np.ndarray | None:
    """One row for every output: factors of the open readers, then what they must add up to; None off the span.

    A gradient that the active neurons do not explain is of a layer that lacks one.
    """
    off, on = answers[0], answers[-1]
    gradient = (answers[1:-1] - off) * fmpq(ONE, step)
    factors = solve_shared([[*a, *b] for a, b in zip(place.gradients.T, gradient, strict=True)], len(place.active))
    if isinstance(factors, Shared):
        return None
    way = np.array([fmpq(b - a, ONE) for a, b in zip(place.off, place.on, strict=True)], dtype=object)
    bend = (on - off - way @ gradient) / place.height
    weights = np.array([quotient(layers.weights[-1][i, place.source], 1) for i in place.active], dtype=object)
    readers = [
        factors[place.active.index(i)] if i in place.active else 0 * bend for i in _readers(layers, place.source)
    ]
    return np.array([*readers, bend - weights @ factors], dtype=object).T


def _agreed(equations: list[np.ndarray], readers: Sequence[int]) -> Mapping[int, Number]:
    """The weights that are the same whichever place is left out, by reader."""
    if len(equations) < 2:
        return {}
    choices = [equations, *(equations[:left] + equations[left + 1 :] for left in range(len(equations)))]
    try:
        found, *without = (determined(np.concatenate(chosen).tolist(), len(readers)) for chosen in choices)
    except InconsistentRow:
        return {}
    return {readers[k]: x for k, x in found.items() if all(k in other for other in without)}
