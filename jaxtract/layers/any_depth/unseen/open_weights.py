"""Open weights from what they do to f: the difference between f and the recovered function is linear in them.

Just behind the boundary of a known neuron i, where it has switched on and nothing else has changed, f differs from
the recovered function by the sum over the open weights w_qi of w_qi times a_i times what a unit of neuron q does to
f. One query there is one equation for every output; boundaries of q need not be seen anywhere near.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpz_mat

from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.grid import ONE, GridVector, grid_matrix
from jaxtract.geometry.known_layers import KnownLayers, Pattern
from jaxtract.layers.any_depth.found_layers import FoundLayer
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.layers.any_depth.unseen.disagreements import Border, Recovered
from jaxtract.layers.any_depth.walk.on_boundary import put_on_boundary
from jaxtract.layers.any_depth.walk.row_system import InconsistentRow, determined, independent
from jaxtract.layers.any_depth.whole.output_layer import Tail, ratio
from jaxtract.oracle.points import scattered
from jaxtract.search.context_lines import Asker
from precision.balls import quotient, vanishes
from precision.context import Number, object_matrix

Weight = tuple[int, int, int]
"""(layer, neuron, neuron of the layer before), layers counted from 0."""

Equation = tuple[dict[Weight, np.ndarray], np.ndarray]
"""Coefficients (outputs,) by weight, and the difference (outputs,) that they add up to."""

SPARE = 3
"""Equations beyond the unknowns."""


class OpenWeights:
    """The recovered network as far as its open weights need it.

    Args:
        layers: found rows; a weight is in the scale of its row.
        known: the same as integers.
        tail: the output layer.

    Attributes:
        complete: whether the tail has every row of the last layer; nothing can be said otherwise.
    """

    def __init__(self, layers: Sequence[FoundLayer], known: KnownLayers, tail: Tail):
        self.layers = layers
        self.known = known
        oriented, outgoing = object_matrix(tail.network.weights[0]), object_matrix(tail.network.weights[1])
        whole = [[quotient(x, 1) for x in row] for row in known.weights[-1].tolist()]
        width = len(whole)
        # Rows of the tail are those of the last layer times +-1 or another factor; more rows are an affine rest.
        factors = [ratio(own, row) for own, row in zip(oriented[:width], whole, strict=False)]
        self.factors = [factor for factor in factors if factor is not None]
        self.complete = len(self.factors) == width
        self.outgoing = outgoing[:, :width]

    def readers(self, level: int, neuron: int) -> list[int]:
        """Neurons of the next layer whose weight on this one is open."""
        if level + 1 >= len(self.layers):
            return []
        return [q for q, row in enumerate(self.layers[level + 1].rows) if row.weights[neuron] is None]

    def equation(self, pattern: Pattern, level: int, neuron: int, activation: Number) -> dict[Weight, np.ndarray]:
        """What the open weights that read a neuron do to f in a region where its activation is as given."""
        found = {}
        for q in self.readers(level, neuron):
            effect = self._effect(pattern, level + 1, q)
            if any(x != 0 for x in effect):
                row = self.layers[level + 1].rows[q]
                found[level + 1, q, neuron] = effect * (row.integer_factor() * activation)
        return found

    def switched(
        self, pattern: Pattern, level: int, neuron: int, activation: Number, heights: Sequence[Number]
    ) -> dict[Weight, tuple[np.ndarray, np.ndarray]]:
        """The same for open weights of neurons that are off (pre-activations ``heights``), if each had switched its on.

        With what f gains then by the neuron without the weight, (outputs,).
        """
        found = {}
        for q in self.readers(level, neuron):
            on = not pattern[level + 1][q]
            if level + 2 == self.known.depth:
                on = bool(on == (self.factors[q] > 0))
            if on:
                behind = [side.copy() for side in pattern]
                behind[level + 1][q] = not behind[level + 1][q]
                effect = self._effect(behind, level + 1, q)
                if any(x != 0 for x in effect):
                    row = self.layers[level + 1].rows[q]
                    found[level + 1, q, neuron] = (effect * (row.integer_factor() * activation), effect * heights[q])
        return found

    def _effect(self, pattern: Pattern, level: int, neuron: int) -> np.ndarray:
        """Change of f (outputs,) per unit of a neuron's pre-activation."""
        last = self.known.depth - 1
        on = [side == (factor > 0) for side, factor in zip(pattern[-1], self.factors, strict=True)]
        if level == last:
            reach = [fmpq(int(k == neuron)) for k in range(len(on))]
        elif pattern[level][neuron]:
            reach = [quotient(x, 1) for x in self.known.derivative(level, neuron, last, pattern)]
        else:
            return self.outgoing[:, 0] * 0
        scaled = [x * f if active else fmpq(0) for x, f, active in zip(reach, self.factors, on, strict=True)]
        return self.outgoing @ np.array(scaled, dtype=object)


def at_borders(open_weights: OpenWeights, pool: Pool, borders: Sequence[Border], first: int) -> list[Equation]:
    """Equations from borders of disagreement on boundaries of known neurons; lines ``first``... of the pool."""
    equations: list[Equation] = []
    for index, border in enumerate(borders, start=first):
        heights, scales = pool.border_heights(open_weights.known, index)
        pattern = open_weights.known.patterns(heights)[1]
        for level, z in enumerate(heights):
            at_kink, behind = z.tolist()
            for i, (x, y) in enumerate(zip(at_kink, behind, strict=True)):
                if vanishes(x) and y > 0:
                    coefficients = open_weights.equation(pattern, level, i, quotient(y, scales[1]))
                    equations.append((coefficients, border.difference))
    return equations


def behind_boundaries(
    open_weights: OpenWeights, asker: Asker, recovered: Recovered, rng: np.random.Generator
) -> list[Equation]:
    """Equations from places just behind the boundaries of all neurons that an open weight reads, asked together.

    One query a place, counted as ``measure``; only places that add an equation, and a few to check.
    """
    points: list[GridVector] = []
    coefficients: list[dict[Weight, np.ndarray]] = []
    for level, layer in enumerate(open_weights.layers[:-1]):
        for neuron in range(len(layer.rows)):
            if open_weights.readers(level, neuron):
                for point, equation in _chosen(_behind(open_weights, level, neuron, rng)):
                    points.append(point)
                    coefficients.append(equation)
    if not points:
        return []
    batch = scattered(grid_matrix(points, open_weights.known.inputs))
    differences = asker.ask(batch, "measure") - recovered.ask(batch, "measure")
    return list(zip(coefficients, differences, strict=True))


def _behind(
    open_weights: OpenWeights, level: int, neuron: int, rng: np.random.Generator
) -> list[tuple[GridVector, dict[Weight, np.ndarray]]]:
    """Places just behind a neuron's boundary where an open weight that reads it acts on f, with what it does there."""
    known = open_weights.known
    seen_at = open_weights.layers[level].rows[neuron].seen_at
    places = boundary_points(lambda x: known.values64(x)[level][:, neuron], known.inputs, seen_at, rng)
    found = []
    chosen = places[rng.permutation(len(places))[: 8 * len(open_weights.readers(level, neuron)) + 16]]
    for place in put_on_boundary(known, level, neuron, chosen):
        point = place.beside(1)
        heights = known.preactivations(_row(point), [ONE])
        height = heights[level].tolist()[0][neuron]
        if height > 0 and not _others_act(open_weights, heights, level, neuron):
            (pattern,) = known.patterns(heights)
            equation = open_weights.equation(pattern, level, neuron, quotient(height, ONE))
            if equation:
                found.append((point, equation))
    return found


def _others_act(open_weights: OpenWeights, heights: Sequence[fmpz_mat], level: int, neuron: int) -> bool:
    """Whether another open weight may act at the point with these pre-activations: what it reads is on."""
    return any(
        z[0, i] > 0 and (depth, i) != (level, neuron) and bool(open_weights.readers(depth, i))
        for depth, z in enumerate(heights[:-1])
        for i in range(z.ncols())
    )


def _chosen(
    places: Sequence[tuple[GridVector, dict[Weight, np.ndarray]]],
) -> list[tuple[GridVector, dict[Weight, np.ndarray]]]:
    """As many places as there are independent equations for the weights, and a few to check."""
    unknown = sorted({w for _, equation in places for w in equation})
    if not unknown:
        return []
    outputs = len(next(iter(places[0][1].values())))
    rows = [
        [equation[w][o] if w in equation else fmpq(0) for w in unknown]
        for _, equation in places
        for o in range(outputs)
    ]
    needed = sorted({k // outputs for k in independent(rows)})
    spare = [k for k in range(len(places)) if k not in set(needed)][:SPARE]
    return [places[k] for k in [*needed, *spare]]


def solve_open(equations: Sequence[Equation]) -> dict[Weight, Number]:
    """Weights on which all equations agree, and those that are left without any one of them.

    An equation holds for every output. Where a single neuron of a later layer is on, all outputs change in proportion
    whatever the cause, so that one place says nothing about it.
    """
    found: dict[Weight, Number] = {}
    for source in sorted({(w[0], w[2]) for coefficients, _ in equations for w in coefficients}):
        chosen = [e for e in equations if any((w[0], w[2]) == source for w in e[0])]
        found.update(agreed(chosen, sorted({w for coefficients, _ in chosen for w in coefficients})))
    return found


def agreed(equations: Sequence[Equation], unknown: Sequence[Weight]) -> dict[Weight, Number]:
    """Weights on which all equations agree, and those that are left without any one of them."""
    found = solved(equations, unknown)
    without = [solved([*equations[:k], *equations[k + 1 :]], unknown).keys() for k in range(len(equations))]
    return {w: value for w, value in found.items() if all(w in left for left in without)}


def solved(equations: Sequence[Equation], unknown: Sequence[Weight]) -> dict[Weight, Number]:
    """Those that equations determine; none where these contradict each other."""
    rows = [
        [*(coefficients[w][o] if w in coefficients else fmpq(0) for w in unknown), difference[o]]
        for coefficients, difference in equations
        for o in range(len(difference))
    ]
    try:
        solved = determined(rows, len(unknown)) if rows else {}
    except InconsistentRow:
        return {}
    return {unknown[k]: value for k, value in solved.items()}


def _row(point: GridVector) -> fmpz_mat:
    return fmpz_mat(1, len(point), point)
