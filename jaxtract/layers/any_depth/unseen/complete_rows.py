"""Weights that a neuron's boundary did not show where it was walked.

First without any query: an unexplained kink at which a single open weight matters gives one value for it, and a value
that two kinks agree on exactly is the weight. Then new walks, started all over the boundary, which is known wherever
the open weights are off.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from flint import arb, fmpq, fmpz, fmpz_mat

from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.grid import floats_to_grid
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.geometry.rational_form import RationalForm
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from precision.balls import accuracy_bits, quotient, to_float, vanishes
from precision.context import Number

AGREEING_BITS = 16
"""Two rounded values for a weight agree when they are not told apart, and are known better than this."""


def complete_by_kinks(row: Row, heights: Sequence[Sequence[Number]], scales: Sequence[fmpz]) -> bool:
    """Open weights of a row from unexplained kinks; True when one was found.

    Args:
        row: completed in place.
        heights: pre-activations of the layer before at every kink, times the kink's scale.
        scales: one per kink.
    """
    seen: list[_Seen] = []
    for z, scale in zip(heights, scales, strict=True):
        on = [i for i in row.missing if z[i] > 0]
        if len(on) != 1:
            continue
        rest = row.bias + sum(
            (w * quotient(x, scale) for w, x in zip(row.weights, z, strict=True) if w is not None and x > 0), fmpq(0)
        )
        seen.append(_Seen(on[0], -rest * quotient(scale, z[on[0]]), rest))
    found = {i: value for i, value in _met_twice(seen).items() if row.tells(value)}
    for i, value in found.items():
        row.weights[i] = value
    return bool(found)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What a kink says of the weight on a neuron, if it is the row's, and what the row is there without it.

    Where what is before varies in one direction only, another neuron is zero wherever that has one value: its kinks
    all say the same, and all that is before is the same at them.
    """

    neuron: int
    value: Number
    rest: Number


def _met_twice(seen: Sequence[_Seen]) -> dict[int, Number]:
    """Values that agree exactly, or as far as balls can tell, by neuron; from kinks that are not one equation."""
    if not any(isinstance(one.value, arb) for one in seen):
        counts = Counter((one.neuron, one.value) for one in set(seen))
        return {i: value for (i, value), count in counts.items() if count >= 2}
    found: dict[int, Number] = {}
    sharp = [one for one in seen if accuracy_bits(one.value, one.value) >= AGREEING_BITS]
    for place, one in enumerate(sharp):
        if any(
            one.neuron == other.neuron and vanishes(one.value - other.value) and not vanishes(one.rest - other.rest)
            for other in sharp[:place]
        ):
            found[one.neuron] = one.value
    return found


def places_on_boundary(layers: KnownLayers, row: Row, rng: np.random.Generator) -> np.ndarray:
    """Points where the row's pre-activation vanishes, found in float64 from the known layers: (places, inputs).

    Only places where every open weight is off.
    """
    found = boundary_points(heights64(layers, row), layers.inputs, row.seen_at, rng)
    if len(found) == 0:
        return found
    last = layers.values64(found)[-1]
    return found[~np.any(last[:, row.missing] > 0, axis=1)] if row.missing else found


def walks_from(layers: KnownLayers, row: Row, points: np.ndarray, rng: np.random.Generator) -> list[BoundaryWalk]:
    """One walk per point, which knows of the row what is known and looks for the rest."""
    signs, weights = [1] * layers.widths[-1], {i: w for i, w in enumerate(row.weights) if w is not None}
    walks = [walk_from(layers, row, point, signs, weights, rng) for point in points]
    return [walk for walk in walks if walk is not None]


def walk_from(
    layers: KnownLayers,
    row: Row,
    point: np.ndarray,
    signs: Sequence[int],
    weights: Mapping[int, Number],
    rng: np.random.Generator,
) -> BoundaryWalk | None:
    """A walk from a point on the boundary of a row, where no open weight acts; None where there is no such boundary.

    Args:
        signs: of the last layer, as for ``BoundaryWalk``.
        weights: what the walk is to know of the row.
    """
    grid = floats_to_grid(point, 52)
    form = _form_at(layers, row, grid)
    if form is None:
        return None
    walk = BoundaryWalk(layers, signs, form, [fmpq(x, fmpz(1) << 256) for x in grid], rng)
    if _form_at(layers, row, walk.start.point) is None:
        return None
    walk.system.know(weights)
    return walk


def nearest_to_open(layers: KnownLayers, row: Row, points: np.ndarray, count: int) -> np.ndarray:
    """Of many places the ones nearest to the boundary of each open neuron: at most ``count`` for each."""
    if len(points) == 0 or not row.missing:
        return points[:0]
    last = np.abs(layers.values64(points)[-1])
    chosen: list[int] = []
    for i in row.missing:
        chosen.extend(np.argsort(last[:, i])[:count].tolist())
    return points[sorted(set(chosen))]


def _form_at(layers: KnownLayers, row: Row, point: list[int]) -> RationalForm | None:
    pattern = layers.pattern(fmpz_mat(1, len(point), point), [1 << 256])[0]
    on = pattern[-1]
    if any(on[i] for i in row.missing):
        return None
    matrix, offsets = layers.forms(layers.depth - 1, pattern)
    normal = [fmpq(0)] * layers.inputs
    offset = row.bias
    for w, active, gradient, constant in zip(row.weights, on, matrix.tolist(), offsets, strict=True):
        if w is None or not active or vanishes(w):
            continue
        normal = [n + w * g for n, g in zip(normal, gradient, strict=True)]
        offset += w * constant
    return RationalForm(normal, offset) if any(n != 0 for n in normal) else None


def heights64(layers: KnownLayers, row: Row) -> Callable[[np.ndarray], np.ndarray]:
    """The pre-activation of a row over the layers at points (points, inputs), in some positive scale."""
    scaled = [w * scale if w is not None else fmpq(0) for w, scale in zip(row.weights, layers.scales, strict=True)]
    size = max((abs(x) for x in scaled), default=fmpq(1))
    size = fmpq(1) if vanishes(size) else size
    floats = [to_float(x / size) for x in [*scaled, row.bias]]
    weights, bias = np.array(floats[:-1]), floats[-1]
    return lambda points: layers.activations64(points) @ weights + bias
