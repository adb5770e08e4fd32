"""Inputs at which an open weight would change f, or a proof that there are none.

A weight that no query has shown is given values of the size of its row, against zero. Where that changes the recovered
network the black box is to be asked: the network is computed at many random inputs, more than anybody would ask, and
inputs climb to where both neurons are on (``meeting``). Where none is found, linear programs over a few layers, and at
last over all of them, show such an input or that there is none (``jaxtract.equality.few_layers``). A weight whose
neurons are on together, but not so that any output tells, is looked at by cases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.equality.cases import decide_zero
from jaxtract.equality.expressions import Expression
from jaxtract.equality.few_layers import SMALL, Allowance, Answered, FewLayers
from jaxtract.equality.neurons import neuron_rows
from jaxtract.equality.resolve import OutOfBudgetError
from jaxtract.equality.units import UnitTable, differences, over_units
from jaxtract.layers.any_depth.unseen.meeting import SCALES, Meeting
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights, Weight
from jaxtract.network.blocks import Blocks
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.float64_layers import Affine, float64_layers, preactivations64
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import scattered
from precision.balls import middles
from precision.dyadic import dyadic_matrix, floor_log2, from_float, power_of_two, round_to_grid

PROGRAMS = 1 << 14
"""Linear programs over few layers for all open weights together, unless more are allowed."""

CLIMB = 1 << 9
"""Programs that take as long as a climb."""

CASES = 60
"""Linear programs over all layers for a weight whose neurons are on together."""

VALUES = (fmpq(-2), fmpq(2))
"""Values that are tried for a weight, where the largest of its row is between 1 and 2.

A negative one acts where both neurons are on; a positive one also where it alone turns its neuron on.
"""

LESS, TIMES = fmpq(3, 4), 30
"""What is left of a positive value, again and again while inputs are found: those of the least show all larger ones."""

ASKED_OF_PROGRAMS = (VALUES[1], VALUES[1] / 2, VALUES[1] / 4)
"""The same where linear programs look for them, which takes longer."""

SAMPLES = 1 << 17
"""Random inputs of every scale."""

MOST_POINTS, LEAST_CHANGE = 4, 1e-9
"""Inputs for one value of a weight, and the change of an output, against the outputs there, that float64 can tell."""

GRIDS = (16, 40, 100, 250)
"""Bits after the point that an input is rounded to, the first at which the two networks still differ."""


Value = tuple[Weight, fmpq]
"""A weight and a value for it."""


@dataclasses.dataclass(frozen=True)
class Tried:
    """What came out of trying some open weights.

    Attributes:
        points: inputs on the slice, dyadic, at which one of them would change f.
        harmless: those that change f nowhere, if none does that is open in an earlier layer (``harmless_together``).
    """

    points: list[list[fmpq]]
    harmless: frozenset[Weight] = frozenset()


class Trials:
    """Values tried for every open weight, all others at zero. No queries.

    At points that come out the black box is to be asked before the next ones are looked for: once some weights are
    known, others are easier.

    Args:
        open_weights: the recovered network.
        rng: of random inputs.
        programs: linear programs over few layers that may be solved; a climb counts as ``CLIMB`` of them.
        begun: told of every weight that is begun, and of how many there are: it may take minutes.
    """

    def __init__(
        self,
        open_weights: OpenWeights,
        rng: np.random.Generator,
        programs: int = PROGRAMS,
        begun: Callable[[int, int], None] | None = None,
    ):
        self._begun = begun or (lambda _number, _count: None)
        self._network, self._weights = _network(open_weights), all_open(open_weights)
        self._layers = float64_layers(self._network)
        self._rng, self._allowance = rng, Allowance(-(-programs // SMALL))
        self._climbed: dict[Value, list[list[fmpq]]] = {}

    def quick(self) -> Iterator[Tried]:
        """At random inputs, and where both neurons are on after a climb."""
        tried = [(weight, value) for weight in self._weights for value in VALUES]
        sampled = _acting(self._network, _sampled(self._layers, tried, self._rng))
        yield Tried([x for points in sampled.values() for x in points])
        met = _climbed(self._layers, self._counted(), self._allowance, self._rng)
        self._climbed = _acting(self._network, met)
        yield Tried([x for points in self._climbed.values() for x in points])

    def thorough(self) -> Iterator[Tried]:
        """By linear programs and by cases, after ``quick``: inputs that it did not find, or a proof of none."""
        network, climbed = self._network, self._climbed
        hidden_rows = dict(enumerate((z for level in neuron_rows(network)[:-1] for z in level), start=1))
        for weight in self._counted():
            told = [points for (climber, _), points in climbed.items() if climber == weight]
            if told and not any(told):
                # Both are on, and what is behind them hides it.
                if _changes_nothing(network, weight):
                    yield Tried([], frozenset([weight]))
                continue
            try:
                row = [other for other in self._weights if other[:2] == weight[:2]]
                settled = _settled_by_value(network, hidden_rows, row, weight, self._allowance)
            except OutOfBudgetError:
                return
            acting = _acting(network, {(weight, value): _of(answer) for value, answer in settled.items()})
            harmless = [weight] if settled[VALUES[1]].proof is not None else []
            yield Tried([x for points in acting.values() for x in points], frozenset(harmless))

    def _counted(self) -> Iterator[Weight]:
        for number, weight in enumerate(self._weights, start=1):
            self._begun(number, len(self._weights))
            yield weight


def harmless_together(harmless: Iterable[Weight], weights: Iterable[Weight]) -> set[Weight]:
    """Those weights that change f nowhere, whatever all other open weights are, up to the largest of their rows.

    Weights of one row are proven harmless together; where one of an earlier layer may act, nothing is proven.
    """
    kept, unsettled = set(harmless), set(weights) - set(harmless)
    first = min((layer for layer, _, _ in unsettled), default=None)
    rows = {weight[:2] for weight in unsettled}
    return {w for w in kept if first is None or (w[0] <= first and w[:2] not in rows)}


def _acting(network: ExactNetwork, near: dict[Value, list[list[fmpq]]]) -> dict[Value, list[list[fmpq]]]:
    """Short points near those at which a value may change f, at which it does."""
    found: dict[Value, list[list[fmpq]]] = {}
    for (weight, value), points in near.items():
        other = _with_weight(network, weight, value)
        rounded = [_rounded(network, other, point) for point in points]
        found[weight, value] = [x for x in rounded if x is not None]
    return found


def _sampled(
    layers: Sequence[Affine], tried: Sequence[Value], rng: np.random.Generator
) -> dict[Value, list[list[fmpq]]]:
    """Random inputs at which a value of a weight changes the outputs, few for each."""
    found: dict[Value, list[list[fmpq]]] = {key: [] for key in tried}
    for scale in SCALES:
        inputs = scale * rng.standard_normal((SAMPLES, layers[0][0].shape[1]))
        heights = preactivations64(layers, inputs)
        for key in tried:
            wanted = MOST_POINTS - len(found[key])
            chosen = inputs[_changed(layers, heights, *key)[:wanted]] if wanted else []
            found[key] += _rationals(chosen)
    return found


def _climbed(
    layers: Sequence[Affine], weights: Iterable[Weight], allowance: Allowance, rng: np.random.Generator
) -> dict[Value, list[list[fmpq]]]:
    """Inputs at which both neurons are on, the reader with its weight as the value where that turns it on."""
    found: dict[Value, list[list[fmpq]]] = {}
    for layer, neuron, source in weights:
        matrix, offsets = layers[layer]
        for value in _values():
            if not allowance.spent(CLIMB):
                return found
            row = matrix[neuron].copy()
            row[source] = max(float(value), 0.0)
            points = Meeting(layers[: layer + 1], (row, offsets[neuron]), source).climb(rng)
            if len(points):
                found[(layer, neuron, source), value] = _rationals(points[:MOST_POINTS])
            elif value > 0:
                break
    return found


def _values() -> list[fmpq]:
    """A negative value, and positive ones that become less."""
    return [VALUES[0], *(VALUES[1] * LESS**k for k in range(TIMES))]


def _settled(
    network: ExactNetwork,
    hidden_rows: Mapping[int, Expression],
    row: Sequence[Weight],
    weight: Weight,
    value: fmpq,
    allowance: Allowance,
) -> Answered:
    """Whether both neurons are ever on, with all open weights of the row as the value where that turns it on."""
    layer, neuron, source = weight
    first = 1 + sum(network.widths[1 : layer + 1])
    reader, before = first + neuron, first - network.widths[layer]
    read = before + source
    opened = {before + i: value for _, _, i in row} if value > 0 else {}
    rows = {**hidden_rows, reader: {**hidden_rows[reader], **opened}}
    states = {read: (True, True), reader: (True, True)}
    return FewLayers(rows, network.inputs, allowance).rule_out(states, reader)


def _settled_by_value(
    network: ExactNetwork,
    hidden_rows: Mapping[int, Expression],
    row: Sequence[Weight],
    weight: Weight,
    allowance: Allowance,
) -> dict[fmpq, Answered]:
    """As ``_settled``, for less and less positive values while there is a point, then for the negative one.

    Where the largest value turns nothing on no other does.
    """
    found: dict[fmpq, Answered] = {}
    for value in ASKED_OF_PROGRAMS:
        found[value] = _settled(network, hidden_rows, row, weight, value, allowance)
        if found[value].point is None:
            break
    if found[VALUES[1]].proof is None:
        found[VALUES[0]] = _settled(network, hidden_rows, row, weight, VALUES[0], allowance)
    return found


def _of(answer: Answered) -> list[list[fmpq]]:
    return [] if answer.point is None else _rationals([answer.point])


def _changes_nothing(network: ExactNetwork, weight: Weight) -> bool:
    """Whether two values of a weight are proven, by cases, to give the same function as none."""
    for value in VALUES:
        table = UnitTable()
        one, two = (over_units(net, table) for net in (network, _with_weight(network, weight, value)))
        if decide_zero(table.rows, differences(one, two), network.inputs, budget=CASES).proof is None:
            return False
    return True


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


def all_open(open_weights: OpenWeights) -> list[Weight]:
    """Every weight that no query has shown."""
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


def _with_weight(network: ExactNetwork, weight: Weight, value: fmpq) -> ExactNetwork:
    layer, neuron, source = weight
    weights = list(network.weights)
    weights[layer] = fmpq_mat(weights[layer])
    weights[layer][neuron, source] = value
    return dataclasses.replace(network, weights=tuple(weights))


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
