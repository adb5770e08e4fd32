"""Does f bend where a row says that it does?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.geometry.grid import ONE, GridVector, floats_to_grid, grid_matrix
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.boundary_walk import RationalForm
from jaxtract.oracle.points import PointBatch
from jaxtract.search.context_lines import Asker
from precision.dyadic import DyadicMatrix

PLACES = 6
SEGMENTS, SAMPLES = 120, 24
BESIDE_BITS = 80
_STEPS = (fmpz(-1), fmpz(0), fmpz(1))


def visible_places(
    asker: Asker, layers: KnownLayers, neurons: Sequence[int], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Random places on its predicted boundary where each neuron of the last layer is seen, and places asked.

    Three queries a place, counted as ``measure``.
    """
    anchors: list[GridVector] = []
    steps: list[GridVector] = []
    owner: list[int] = []
    for place, neuron in enumerate(neurons):
        for point in _boundary_points(layers, neuron, rng):
            grid = floats_to_grid(point, 52)
            pattern = layers.pattern(fmpz_mat(1, len(grid), grid), [ONE])[0]
            exact = layers.form(layers.depth - 1, neuron, pattern)
            form = RationalForm([fmpq(n) for n in exact.normal], fmpq(exact.offset))
            if all(n == 0 for n in form.normal):
                continue
            anchors.append(form.put_onto(grid))
            steps.append(floats_to_grid(form.normal64()))
            owner.append(place)
    hits, asked = [0] * len(neurons), [owner.count(place) for place in range(len(neurons))]
    if not anchors:
        return list(zip(hits, asked, strict=True))
    count, inputs = len(anchors), layers.inputs
    index = tuple(k for k in range(count) for _ in _STEPS)
    directions = grid_matrix(steps, inputs)
    batch = PointBatch(
        grid_matrix(anchors, inputs),
        DyadicMatrix(directions.mantissa, directions.exponent + BESIDE_BITS),
        index,
        index,
        _STEPS * count,
        0,
    )
    answers = asker.ask(batch, "measure").reshape(count, 3, -1)
    for place, answer in zip(owner, answers, strict=True):
        hits[place] += int(any(answer[0] + answer[2] - 2 * answer[1]))
    return list(zip(hits, asked, strict=True))


def _boundary_points(layers: KnownLayers, neuron: int, rng: np.random.Generator) -> np.ndarray:
    """Up to ``PLACES`` points where the neuron changes state, from random segments, in float64."""
    scale = np.array([0.5, 1.0, 3.0, 10.0])[rng.integers(4, size=(SEGMENTS, 1))]
    start = rng.standard_normal((SEGMENTS, layers.inputs)) * scale
    step = rng.standard_normal((SEGMENTS, layers.inputs)) * scale
    grid = np.linspace(-2, 2, SAMPLES)
    points = (start[:, None, :] + grid[None, :, None] * step[:, None, :]).reshape(-1, layers.inputs)
    z = layers.values64(points)[-1][:, neuron].reshape(SEGMENTS, SAMPLES)
    segment, left = np.nonzero(z[:, :-1] * z[:, 1:] < 0)
    chosen = rng.permutation(len(segment))[:PLACES]
    segment, left = segment[chosen], left[chosen]
    low, high = grid[left], grid[left + 1]
    before = np.sign(z[segment, left])
    for _ in range(60):
        middle = (low + high) / 2
        value = layers.values64(start[segment] + middle[:, None] * step[segment])[-1][:, neuron]
        same = np.sign(value) == before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return start[segment] + low[:, None] * step[segment]
