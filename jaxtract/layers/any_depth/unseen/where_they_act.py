"""Inputs at which an open weight would change f, or a proof that there are none.

A weight that no query has shown is given values of the size of its row, against zero. Where that changes the recovered
network the black box is to be asked: the network is computed at many random inputs, more than anybody would ask, and on
ways uphill to where both neurons are on: far from all biases there may be room for that which no random input meets.
Where none is found, whether the two networks are one function is decided by cases with linear programs
(``jaxtract.equality``): first over a copy with short weights, which is quick, then over the weights themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.equality.cases import Decision, decide_zero
from jaxtract.equality.units import UnitTable, differences, over_units
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights, Weight
from jaxtract.network.blocks import Blocks
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.float64_layers import Affine, float64_layers, preactivations64
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import scattered
from precision.balls import middles
from precision.dyadic import dyadic_matrix, floor_log2, from_float, power_of_two, round_to_grid

MOST_CASES, CASES = 200, 60
"""Linear programs for all open weights, and for one value of one of them."""

VALUES = (fmpq(-2), fmpq(2))
"""Values that are tried for a weight, where the largest of its row is between 1 and 2.

A negative one acts where both neurons are on; a positive one also where it alone turns its neuron on.
"""

SAMPLES, SCALES = 1 << 17, (1.0, 2.0**-4, 2.0**5, 2.0**10)
"""Random inputs of every scale."""

CLIMBS, STEPS = 512, 80
"""Starts of every scale for one value of a weight, and how often each moves on, so much of its distance from zero:"""

FIRST_STEP, SHORTER = 0.3, 0.96

MOST_POINTS, LEAST_CHANGE = 4, 1e-9
"""Inputs for one value of a weight, and the change of an output, against the outputs there, that float64 can tell."""

SHORT_BITS = 30
"""Bits after the point of the copy's weights."""

GRIDS = (16, 40, 100, 250)
"""Bits after the point that an input is rounded to, the first at which the two networks still differ."""


Value = tuple[Weight, fmpq]
"""A weight and a value for it."""


@dataclasses.dataclass
class Tried:
    """What came out of trying open weights.

    Attributes:
        points: inputs on the slice, dyadic, at which one of them would change f.
        harmless: those that change f nowhere.
    """

    points: list[list[fmpq]] = dataclasses.field(default_factory=list)
    harmless: set[Weight] = dataclasses.field(default_factory=set)


def try_open(open_weights: OpenWeights, rng: np.random.Generator) -> Tried:
    """Try values for every open weight, all others at zero. No queries."""
    plain = _network(open_weights)
    short = _shortened(plain)
    tried = [(weight, value) for weight in _all_open(open_weights) for value in VALUES]
    points = _sampled(short, tried, rng)
    found, left = Tried(), MOST_CASES
    same: dict[Weight, bool] = {}
    for weight, value in tried:
        other = _with_weight(plain, weight, value)
        near: list[list[fmpq]] = points[weight, value] or (_climbed(short, weight, value, rng) if left > 0 else [])
        proven = False
        if not near:
            decision = _decide(short, _with_weight(short, weight, value), min(CASES, left))
            left -= decision.cases
            near = [] if decision.point is None else [list(decision.point)]
            proven = decision.proof is not None and _same(plain, other, decision.cases)
        found.points += [x for x in (_rounded(plain, other, point) for point in near) if x is not None]
        same[weight] = same.get(weight, True) and proven
    found.harmless = {weight for weight, proven in same.items() if proven}
    return found


def _sampled(network: ExactNetwork, tried: Sequence[Value], rng: np.random.Generator) -> dict[Value, list[list[fmpq]]]:
    """Random inputs at which a value of a weight changes the outputs, few for each."""
    layers = float64_layers(network)
    found: dict[Value, list[list[fmpq]]] = {key: [] for key in tried}
    for scale in SCALES:
        inputs = scale * rng.standard_normal((SAMPLES, network.inputs))
        heights = preactivations64(layers, inputs)
        for key in tried:
            wanted = MOST_POINTS - len(found[key])
            chosen = inputs[_changed(layers, heights, *key)[:wanted]] if wanted else []
            found[key] += _rationals(chosen)
    return found


def _climbed(network: ExactNetwork, weight: Weight, value: fmpq, rng: np.random.Generator) -> list[list[fmpq]]:
    """Few of the inputs at which a value of a weight changes the outputs, on the way to where both neurons are on."""
    layers = float64_layers(network)
    scales = np.repeat(SCALES, CLIMBS)[:, None]
    points, step = scales * rng.standard_normal((len(scales), network.inputs)), FIRST_STEP
    for _ in range(STEPS):
        heights = preactivations64(layers, points)
        changed = _changed(layers, heights, weight, value)
        if len(changed):
            return _rationals(points[changed[:MOST_POINTS]])
        uphill = _uphill(layers, heights, weight, max(float(value), 0.0))
        lengths = np.linalg.norm(uphill, axis=1, keepdims=True)
        sizes = np.linalg.norm(points, axis=1, keepdims=True)
        points = points + step * sizes * uphill / np.maximum(lengths, 1e-300)
        step *= SHORTER
    return []


def _uphill(layers: Sequence[Affine], heights: Sequence[np.ndarray], weight: Weight, value: float) -> np.ndarray:
    """Gradients (points, inputs) of what is less there: a neuron with a value for its weight, or what that reads."""
    layer, neuron, source = weight
    row = layers[layer][0][neuron] + value * np.eye(1, heights[layer - 1].shape[1], source)[0]
    before = heights[layer - 1]
    own = heights[layer][:, neuron] + value * np.maximum(before[:, source], 0)
    gradients = np.where((own < before[:, source])[:, None], row * (before > 0), np.arange(len(row)) == source)
    for (matrix, _), z in zip(layers[layer - 1 : 0 : -1], heights[: layer - 1][::-1], strict=True):
        gradients = (gradients @ matrix) * (z > 0)
    return gradients @ layers[0][0]


def _rationals(points: Iterable[np.ndarray]) -> list[list[fmpq]]:
    return [[from_float(x) for x in point] for point in points]


def _changed(layers: Sequence[Affine], heights: Sequence[np.ndarray], weight: Weight, value: fmpq) -> np.ndarray:
    """Those of many points at which a value of a weight that is zero changes the outputs."""
    layer, neuron, source = weight
    z = heights[layer][:, neuron]
    changed = np.maximum(z + float(value) * np.maximum(heights[layer - 1][:, source], 0), 0)
    (places,) = np.nonzero(changed != np.maximum(z, 0))
    activations = np.maximum(heights[layer][places], 0)
    activations[:, neuron] = changed[places]
    outputs, old = preactivations64(layers[layer + 1 :], activations)[-1], heights[-1][places]
    return places[np.any(np.abs(outputs - old) > LEAST_CHANGE * (1 + np.abs(old)), axis=1)]


def _all_open(open_weights: OpenWeights) -> list[Weight]:
    return [
        (level, q, i)
        for level, layer in enumerate(open_weights.layers)
        for q, row in enumerate(layer.rows)
        for i in row.missing
    ]


def _network(open_weights: OpenWeights) -> ExactNetwork:
    """The recovered network on the slice, open weights as zero, every neuron in its place.

    The largest weight of every hidden row is between 1 and 2.
    """
    known = open_weights.known
    sides = [1 if factor > 0 else -1 for factor in open_weights.factors]
    rows = [[[fmpq(x) for x in row] for row in weight.tolist()] for weight in known.weights]
    offsets = [[fmpq(x) for x in bias] for bias in known.biases]
    rows[-1] = [[side * x for x in row] for side, row in zip(sides, rows[-1], strict=True)]
    offsets[-1] = [side * x for side, x in zip(sides, offsets[-1], strict=True)]
    sizes = np.array([abs(factor) for factor in open_weights.factors], dtype=object)
    outgoing = middles(open_weights.outgoing * sizes)
    weights = [fmpq_mat(row) for row in rows]
    biases = [fmpq_mat(len(bias), 1, bias) for bias in offsets]
    blocks = Blocks(ExactNetwork((*weights, outgoing), (*biases, fmpq_mat(outgoing.nrows(), 1))))
    for layer in range(1, blocks.last):
        for h in range(blocks.widths[layer]):
            largest = max(abs(x) for x in blocks.row(layer, h))
            blocks.rescale(layer, h, power_of_two(-floor_log2(largest)))
    return blocks.network()


def _shortened(network: ExactNetwork) -> ExactNetwork:
    """Much the same network: its weights rounded, the outputs' against the largest of them."""
    largest = max(abs(x) for x in network.weights[-1].entries())
    scales = [*[fmpq(1)] * (len(network.weights) - 1), power_of_two(-floor_log2(largest))]
    weights, biases = (
        tuple(
            fmpq_mat(m.nrows(), m.ncols(), [round_to_grid(scale * x, SHORT_BITS) for x in m.entries()])
            for m, scale in zip(matrices, scales, strict=True)
        )
        for matrices in (network.weights, network.biases)
    )
    return ExactNetwork(weights, biases)


def _with_weight(network: ExactNetwork, weight: Weight, value: fmpq) -> ExactNetwork:
    layer, neuron, source = weight
    weights = list(network.weights)
    weights[layer] = fmpq_mat(weights[layer])
    weights[layer][neuron, source] = value
    return dataclasses.replace(network, weights=tuple(weights))


def _decide(one: ExactNetwork, two: ExactNetwork, cases: int) -> Decision:
    table = UnitTable()
    targets = differences(over_units(one, table), over_units(two, table))
    return decide_zero(table.rows, targets, one.inputs, budget=cases)


def _same(one: ExactNetwork, two: ExactNetwork, cases: int) -> bool:
    """Whether two networks are proven to be one function; copies of them took so many cases."""
    return _decide(one, two, 2 * cases + 4).proof is not None


def _rounded(one: ExactNetwork, two: ExactNetwork, point: Sequence[fmpq]) -> list[fmpq] | None:
    """An input near a point at which two networks differ, short, at which they still do."""
    evaluators = FlintEvaluator(one), FlintEvaluator(two)
    for bits in GRIDS:
        short = [round_to_grid(x, bits) for x in point]
        batch = scattered(dyadic_matrix([short], one.inputs))
        first, second = (evaluator(batch) for evaluator in evaluators)
        if np.any(first != second):
            return short
    return None
