"""Linear rows beside a neuron that took the place of one: what they hold of it is taken out.

Linear rows are some combinations of what is missing, t_q = lambda_q h + ..., which holds while the neuron h is on.
Where it switches off, a reader with the weights c_kq on t_q and w_k on h loses w_k + sum_q c_kq lambda_q: what is seen
there, at one crossing for every reader, tells the lambda_q.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import Row
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.unseen.complete_rows import places_on_boundary, walk_from
from jaxtract.layers.any_depth.walk.boundary_walk import BoundaryWalk
from jaxtract.layers.any_depth.walk.layer_rows import run_walks
from jaxtract.layers.any_depth.walk.row_system import Shared, solve_shared
from precision.context import Number

NEAREST, MOST_STEPS = 2, 40
"""Walks for every reader, from the places nearest to the boundary that they are to cross, and their steps."""


def unmix_linear(state: Recovery, level: int, place: int) -> None:
    """Take neuron ``place`` of a layer, which is on where the next layer was read, out of the linear rows beside it.

    Where too few readers reach its boundary nothing is changed. Where they contradict each other, the linear rows and
    all layers behind are dropped, to be read again.
    """
    layer = state.layers[level - 1]
    linear = [i for i, row in enumerate(layer.rows) if row.linear]
    if not linear or level >= len(state.layers):
        return
    readers = [row for row in state.layers[level].rows if not row.missing and any(row.weights[i] for i in linear)]
    equations = [
        [*(reader.weights[i] for i in linear), weight - total]
        for reader, weight in _weights_crossed(state, level, readers, place)
        if (total := reader.weights[place]) is not None
    ]
    if len(equations) <= len(linear):
        return
    solved = solve_shared(equations, len(linear))
    if solved is Shared.OPEN:
        return
    if isinstance(solved, Shared):
        without_linear_rows(state, level)
        return
    multiples = dict(zip(linear, solved[:, 0].tolist(), strict=True))
    behind, neuron = state.layers[level], layer.rows[place]
    told = [k for k, row in enumerate(behind.rows) if all(row.weights[i] is not None for i in linear)]
    if len(told) < len(behind.rows):
        # Of what reads a linear row with an open weight, the bias is not known without the neuron.
        behind = behind.chosen(told)
        state.layers = [*state.layers[:level], behind]
    behind.rows = [_over_unmixed(reader, neuron, place, multiples) for reader in behind.rows]
    factors = [fmpq(1) if i in multiples else row.integer_factor() for i, row in enumerate(layer.rows)]
    layer.rows = [_unmixed(row, neuron, multiples[i]) if i in multiples else row for i, row in enumerate(layer.rows)]
    state.carry_scales(level, factors)
    state.renewed(level)


def without_linear_rows(state: Recovery, level: int) -> None:
    """Drop the linear rows of a layer, and all that was read behind it."""
    layer = state.layers[level - 1]
    bending = [i for i, row in enumerate(layer.rows) if not row.linear]
    state.layers = [*state.layers[: level - 1], layer.chosen(bending)]
    state.renewed(level)


def _weights_crossed(state: Recovery, level: int, readers: Sequence[Row], place: int) -> list[tuple[Row, Number]]:
    """Weights of readers on a neuron as its boundary shows them, from walks towards it."""
    known = state.known(level)
    walks = [(reader, walk) for reader in readers for walk in _walks(known, reader, place, state.rng)]
    run_walks(state.pool.asker, [walk for _, walk in walks], MOST_STEPS, state.slice.rank)
    return [(reader, walk.system.weights[place]) for reader, walk in walks if place in walk.system.measured]


def _walks(known: KnownLayers, reader: Row, place: int, rng: np.random.Generator) -> list[BoundaryWalk]:
    points = places_on_boundary(known, reader, rng)
    if not len(points):
        return []
    heights = known.values64(points)[-1][:, place]
    on = np.nonzero(heights > 0)[0]
    near = on[np.argsort(heights[on])[:NEAREST]]
    # Beside linear rows that hold a multiple of it, what it adds is not what its boundary shows: no sign goes with it.
    signs = [int(i != place) for i in range(known.widths[-1])]
    weights = {i: w for i, w in enumerate(reader.weights) if w is not None and i != place}
    walks = [walk_from(known, reader, point, signs, weights, rng) for point in points[near]]
    return [walk for walk in walks if walk is not None]


def _over_unmixed(reader: Row, neuron: Row, place: int, multiples: dict[int, Number]) -> Row:
    """A row over the layer once its linear rows, all of its weights on which are known, are without the neuron."""
    weights, more = list(reader.weights), fmpq(0)
    for i, multiple in multiples.items():
        weight = weights[i]
        assert weight is not None, "others are dropped"
        more += weight * multiple
    own = weights[place]
    weights[place] = None if own is None else own + more
    return dataclasses.replace(reader, weights=weights, bias=reader.bias - more * neuron.scaled()[1])


def _unmixed(row: Row, neuron: Row, multiple: Number) -> Row:
    """The scaled multiple of a linear row without so many times that of the neuron."""
    open_ = {*row.missing, *([] if multiple == 0 else neuron.missing)}
    pairs = zip(row.scaled()[0], neuron.scaled()[0], strict=True)
    weights = [None if k in open_ else own - multiple * other for k, (own, other) in enumerate(pairs)]
    return dataclasses.replace(row, weights=weights)
