"""Open weights from inputs at which the recovered function is wrong because of them.

At an input of a known region f differs from the recovered function by a sum over the open weights that act there, and
every output is an equation for them. Whether a weight has switched a neuron is not known beforehand. Where all
equations for some weights agree, whichever input is left out, it has not; where they do not, a value that two inputs
give exactly is the weight. Beside the inputs are others just behind the boundaries of the neurons that are read: what
they add is so small there that it switches nothing. A weight that has switched its own neuron off shows there only:
these places are also looked for on the way to where that neuron was seen.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxtract.geometry.boundary_points import boundary_points_from, boundary_points_towards
from jaxtract.geometry.grid import ONE, GridVector, floats_to_grid, grid_matrix
from jaxtract.layers.any_depth.unseen.disagreements import Recovered
from jaxtract.layers.any_depth.unseen.open_weights import Equation, OpenWeights, Weight, agreed, solved
from jaxtract.layers.any_depth.walk.on_boundary import put_on_boundary
from jaxtract.oracle.points import scattered
from jaxtract.search.context_lines import Asker
from precision.balls import quotient
from precision.context import Number

INPUT_BITS = 52

SPARE = 3
"""Inputs beyond the weights that act there together."""

MOST_STARTS, MOST_BESIDE = 64, 96
"""Wrong inputs from which the boundary of one neuron is looked for, and places on it that are looked at."""

TOGETHER = 24
"""Weights that are solved for together."""


@dataclasses.dataclass(frozen=True)
class _At:
    """An input in a region of the recovered network.

    Attributes:
        point: the input.
        coefficients: what the open weights that act there do to f, of one layer.
        switching: where none acts, the same for each that would if it switched its neuron on: coefficients, and what f
            gains by the neuron without the weight, (outputs,).
    """

    point: GridVector
    coefficients: dict[Weight, np.ndarray]
    switching: Mapping[Weight, tuple[np.ndarray, np.ndarray]]

    def told(self, difference: np.ndarray) -> Iterator[Equation]:
        """One equation for every weight that may have switched its neuron on, if one has."""
        if any(x != 0 for x in difference):
            for weight, (effect, gain) in self.switching.items():
                yield {weight: effect}, difference - gain


def weights_at_inputs(
    open_weights: OpenWeights, asker: Asker, recovered: Recovered, inputs: np.ndarray, rng: np.random.Generator
) -> dict[Weight, Number]:
    """Open weights that inputs (inputs, dimension) tell at which the recovered function is wrong.

    One query an input, counted as ``measure``.
    """
    beside = _enough(_behind_sources(open_weights, inputs, rng))
    own = _enough(_regions(open_weights, [floats_to_grid(x, INPUT_BITS) for x in inputs]))
    places = [*beside, *own]
    if not places:
        return {}
    batch = scattered(grid_matrix([place.point for place in places], open_weights.known.inputs))
    differences = asker.ask(batch, "measure") - recovered.ask(batch, "measure")
    equations = [(place.coefficients, d) for place, d in zip(places, differences, strict=True)]
    guesses = [guess for place, d in zip(places, differences, strict=True) for guess in place.told(d)]
    return solve_acting(equations[: len(beside)], equations[len(beside) :], guesses)


def solve_acting(
    beside: Sequence[Equation], own: Sequence[Equation], guesses: Sequence[Equation]
) -> dict[Weight, Number]:
    """Weights on which equations agree, from fewer unknowns to more.

    Args:
        beside: where no weight switches anything, but for those whose neuron is on at a distance.
        own: where each may have switched something.
        guesses: equations for one weight each, most of them wrong.
    """
    found: dict[Weight, Number] = {}
    while True:
        new: dict[Weight, Number] = {}
        for equations in (_without(found, beside), _without(found, [*beside, *own])):
            for unknown in sorted({frozenset(e[0]) for e in equations}, key=len):
                if not new and 0 < len(unknown) <= TOGETHER:
                    new = agreed([e for e in equations if e[0] and unknown.issuperset(e[0])], sorted(unknown))
        new = new or _met_twice([*_without(found, [*beside, *own]), *_without(found, guesses)])
        if not new:
            return found
        found |= new


def _without(found: Mapping[Weight, Number], equations: Sequence[Equation]) -> list[Equation]:
    """The equations for what is not found yet."""
    left = []
    for coefficients, difference in equations:
        known = [w for w in coefficients if w in found]
        rest = difference - sum(coefficients[w] * found[w] for w in known) if known else difference
        left.append(({w: c for w, c in coefficients.items() if w not in found}, rest))
    return left


def _met_twice(equations: Sequence[Equation]) -> dict[Weight, Number]:
    """Weights to which two equations with one unknown give exactly the same value, and no two another."""
    values = Counter(
        (weight, value)
        for coefficients, difference in equations
        if len(coefficients) == 1
        for weight, value in solved([(coefficients, difference)], list(coefficients)).items()
    )
    twice = [key for key, count in values.items() if count > 1]
    weights = Counter(weight for weight, _ in twice)
    return {weight: value for weight, value in twice if weights[weight] == 1}


def _behind_sources(open_weights: OpenWeights, inputs: np.ndarray, rng: np.random.Generator) -> list[_At]:
    """Places just behind the boundary of every neuron that an open weight reads and that is on at one of the inputs."""
    known, heights = open_weights.known, open_weights.known.values64(inputs)
    found: list[_At] = []
    for level, layer in enumerate(open_weights.layers[:-1]):
        for source in range(len(layer.rows)):
            starts = inputs[heights[level][:, source] > 0][:MOST_STARTS]
            readers = open_weights.readers(level, source)
            if not len(starts) or not readers:
                continue
            boundary = _boundary(open_weights, level, source, starts, rng)
            on = known.values64(boundary)[level + 1][:, readers] > 0
            chosen = boundary[np.argsort(~on.any(axis=1), kind="stable")][:MOST_BESIDE]
            points = [place.beside(1) for place in put_on_boundary(known, level, source, chosen)]
            found += [
                place for place in _regions(open_weights, points) if any(w[2] == source for w in place.coefficients)
            ]
    return found


def _boundary(
    open_weights: OpenWeights, level: int, source: int, starts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Places on the boundary of a neuron around inputs, and between them and where its readers were seen, shuffled."""

    def height(points: np.ndarray) -> np.ndarray:
        return open_weights.known.values64(points)[level][:, source]

    found = boundary_points_from(height, starts, rng)
    seen_at = [x for q in open_weights.readers(level, source) for x in open_weights.layers[level + 1].rows[q].seen_at]
    if seen_at:
        found = np.concatenate([found, boundary_points_towards(height, starts, np.stack(seen_at), rng)])
    return found[rng.permutation(len(found))]


def _regions(open_weights: OpenWeights, points: Sequence[GridVector]) -> list[_At]:
    """The points where all open weights that act are of one layer."""
    if not points:
        return []
    known = open_weights.known
    heights = known.preactivations(grid_matrix(points, known.inputs).mantissa, [ONE] * len(points))
    rows = [z.tolist() for z in heights]
    found = []
    for k, (point, pattern) in enumerate(zip(points, known.patterns(heights), strict=True)):
        z = [[quotient(x, ONE) for x in row[k]] for row in rows]
        coefficients: dict[Weight, np.ndarray] = {}
        switching: dict[Weight, tuple[np.ndarray, np.ndarray]] = {}
        on = [(level, i, a) for level, activations in enumerate(z[:-1]) for i, a in enumerate(activations) if a > 0]
        for level, neuron, activation in on:
            coefficients |= open_weights.equation(pattern, level, neuron, activation)
        if not coefficients:
            for level, neuron, activation in on:
                switching |= open_weights.switched(pattern, level, neuron, activation, z[level + 1])
        if len({weight[0] for weight in coefficients}) <= 1:
            found.append(_At(point, coefficients, switching))
    return found


def _enough(places: Sequence[_At]) -> list[_At]:
    """A few more places than weights that act together, wherever the same ones act or may act."""
    taken: Counter[frozenset[Weight]] = Counter()
    chosen = []
    for place in places:
        key = frozenset(place.coefficients or place.switching)
        if key and taken[key] < len(key) + SPARE:
            taken[key] += 1
            chosen.append(place)
    return chosen
