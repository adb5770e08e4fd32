"""The output layer, and with it the signs of the last hidden one, from values at random inputs.

f = sum_i gamma_i |z_i| / 2 + sum_i y_i z_i / 2 + c is linear in what is unknown, and y_i = +-gamma_i says on which side
neuron i is on. The lines that were searched know f at enough points: as a rule this costs no query at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from flint import arb, fmpq, fmpz

from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.grid import ONE
from jaxtract.geometry.known_layers import KnownLayers, Matrix
from jaxtract.layers.any_depth.found_layers import Output, Row
from jaxtract.layers.any_depth.walk.on_boundary import put_on_boundary
from jaxtract.layers.any_depth.walk.row_system import Shared, solve_shared
from jaxtract.measurement.ridge_form import Ridge, RidgeForm, oriented_ridge
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.points import scattered
from jaxtract.search.context_lines import Asker
from jaxtract.search.random_lines import gaussian_points
from jaxtract.signs.solve_signs import SignMethod, solve_signs, with_rest
from precision.balls import accuracy_bits, middles, quotient, steepest, vanishes
from precision.context import Context, Number, object_matrix
from precision.dyadic import dyadic_matrix

SPARE_POINTS = 6
"""Equations beyond the unknowns: a function of more layers does not satisfy them."""

DOUBTFUL_CHOICES, DOUBTFUL_POINTS = 6, 6

FEWEST_LINES, LINE_CHOICES = 4, 12
"""Lines that there must be for some of them to be tried without the others, and how often some are."""

DOUBTFUL_SHARE = 2
"""How many times more equations at doubtful points are taken than the signs and the constant need."""

POINTS_PER_UNKNOWN = 3
"""How many times more equations are taken than the signs and the constant need."""

SCALES = (0, 1, 2, -1)


@dataclasses.dataclass(frozen=True)
class KnownValues:
    """Where f is known.

    Attributes:
        before: activations of the layer before the last one (of the input, for one hidden layer), per point.
        heights: pre-activations of the last layer, up to sign, per point.
        values: f (outputs,), per point.
    """

    before: list[list[Number]]
    heights: list[list[Number]]
    values: list[np.ndarray]

    def at(self, which: Sequence[int]) -> KnownValues:
        return KnownValues(
            [self.before[k] for k in which], [self.heights[k] for k in which], [self.values[k] for k in which]
        )

    def joined(self, other: KnownValues) -> KnownValues:
        return KnownValues(self.before + other.before, self.heights + other.heights, self.values + other.values)


@dataclasses.dataclass(frozen=True)
class Tail:
    """The last hidden layer and the output layer as a network over the activations before them."""

    network: ExactNetwork
    method: str
    accuracy: float
    """Bits to which the output layer is known, relative to its largest weight; infinite when it is exact."""
    read: np.ndarray
    """Which rows of the last layer bend f at all, (width,)."""


def fit_output(
    asker: Asker,
    layers: KnownLayers,
    known: KnownValues,
    context: Context,
    rng: np.random.Generator,
    *,
    undisturbed: Callable[[Sequence[Matrix]], np.ndarray],
    doubtful: KnownValues,
    open_columns: Sequence[int],
    seen_at: Sequence[Sequence[np.ndarray]],
    bends: Sequence[np.ndarray | None] = (),
    lines: Sequence[int] = (),
) -> Tail | None:
    """The output layer over the last known layer, or None when f is not affine in its neurons.

    Where kinks tell how f bends with every neuron, only the signs and the constant are unknown. Else z_i itself is the
    second feature of every neuron. Where these depend on each other (more neurons than the layer before has) or do not
    suffice (a neuron that was never seen to bend is on), it is the activations of the layer before, and the signs come
    from what is then a network of one hidden layer over them.

    Args:
        asker: the black box.
        layers: all hidden layers, the last one up to signs.
        known: where f is known already; more is asked, as ``measure``, only where that does not determine the layer.
        context: number system.
        rng: chooses more points.
        undisturbed: from the pre-activations of all layers, at which points (booleans) no open weight acts.
        doubtful: where f is known, too, but an open weight may act, in few rows first. Used, a few at a time, where
            nothing else tells the layer; more equations than unknowns must agree.
        open_columns: neurons of the layer before on which a weight of the last layer is open.
        seen_at: for every neuron of the last layer, places where its boundary was seen.
        bends: for every neuron of the last layer, coefficients (outputs,) of |z| / 2, where kinks tell them.
        lines: which line each of the ``known`` values is on.
    """
    width = layers.widths[-1]
    tail = (
        _signed(layers, bends, known, rng)
        or _signed_by_doubtful(layers, bends, doubtful, rng)
        or _signed_by_some_lines(layers, bends, known, lines, rng)
    )
    if tail is not None:
        return tail
    for features in (_own_features, _features_before):
        unknowns = 2 * width + 1 if features is _own_features else width + layers.weights[-1].ncols() + 1
        if context.few_bits:
            # Values all over the input space say more than the same number on a few lines.
            fresh = _fresh(asker, layers, _random(layers, 2 * unknowns, rng), undisturbed)
            known = known.joined(fresh) if features is _own_features else known
        solved = _solved(features, known)
        if solved is Shared.OPEN:
            points = [*_random(layers, unknowns + SPARE_POINTS, rng), *_beside(layers, known, seen_at, rng)]
            known = known.joined(_fresh(asker, layers, points, undisturbed))
            solved = _solved(features, known)
        if solved is Shared.OPEN:
            solved = _with_doubtful(features, known, doubtful, rng)
        if isinstance(solved, np.ndarray):
            if features is _features_before:
                return _by_signs(layers, solved, width, context, open_columns)
            tail = _oriented(layers, solved, width)
            if tail is not None:
                return tail
    return None


def _signed(
    layers: KnownLayers, bends: Sequence[np.ndarray | None], known: KnownValues, rng: np.random.Generator
) -> Tail | None:
    """The output layer where it is known but for signs, one for every neuron, and a constant.

    Every output tells them, so that more neurons than the layer before has are no obstacle where there are several; nor
    are values at which some of what that layer does is never seen. None where they are not told, or contradict.
    """
    told = _all_told(bends)
    if not known.values or not told:
        return None
    outputs, width = len(told[0]), len(told)
    count = -(-(width + outputs + SPARE_POINTS) * POINTS_PER_UNKNOWN // outputs)
    chosen = rng.permutation(len(known.values))[: max(count, width + SPARE_POINTS)].tolist()
    return _signed_at(layers, told, known.at(chosen))


def _all_told(bends: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """How f bends with every neuron; nothing where kinks do not tell it of all."""
    told = [bend for bend in bends if bend is not None]
    return told if len(told) == len(bends) else []


def _signed_at(layers: KnownLayers, bends: Sequence[np.ndarray], known: KnownValues) -> Tail | None:
    outputs, width = len(bends[0]), len(bends)
    equations: list[list[Number]] = []
    for z, value in zip(known.heights, known.values, strict=True):
        bent = sum((bend * abs(x) for bend, x in zip(bends, z, strict=True)), np.zeros(outputs, dtype=int))
        for o, right in enumerate(2 * value - bent):
            constants = [fmpq(2 * (o == other)) for other in range(outputs)]
            equations.append([*(bend[o] * x for bend, x in zip(bends, z, strict=True)), *constants, right])
    solved = solve_shared(equations, width + outputs)
    if isinstance(solved, Shared) or any(abs(sign) != 1 for sign in solved[:width, 0]):
        return None
    slopes = [bend * sign for bend, sign in zip(bends, solved[:width, 0], strict=True)]
    return _oriented(layers, np.array([*bends, *slopes, solved[width:, 0]], dtype=object), width)


def _signed_by_doubtful(
    layers: KnownLayers, bends: Sequence[np.ndarray | None], doubtful: KnownValues, rng: np.random.Generator
) -> Tail | None:
    """The same from few doubtful points, as if open weights were zero there: where they act, they contradict.

    Neurons that are read with open weights may be on wherever f is known, and their readers off all the same.
    """
    told = _all_told(bends)
    if not doubtful.values or not told:
        return None
    outputs = len(told[0])
    few = DOUBTFUL_SHARE * -(-(len(told) + outputs + SPARE_POINTS) // outputs)
    for choice in range(DOUBTFUL_CHOICES):
        first = min(len(doubtful.values), few << choice)
        chosen = rng.permutation(first)[:few].tolist()
        tail = _signed_at(layers, told, doubtful.at(chosen))
        if tail is not None:
            return tail
    return None


def _signed_by_some_lines(
    layers: KnownLayers,
    bends: Sequence[np.ndarray | None],
    known: KnownValues,
    lines: Sequence[int],
    rng: np.random.Generator,
) -> Tail | None:
    """The same from some lines: a neuron that no line crosses may be on along the others, and contradicts there."""
    distinct = sorted(set(lines))
    if not _all_told(bends) or len(distinct) < FEWEST_LINES:
        return None
    for choice in range(LINE_CHOICES):
        some = set(rng.permutation(distinct)[: max(2, len(distinct) >> (1 + choice % 2))].tolist())
        tail = _signed(layers, bends, known.at([k for k, line in enumerate(lines) if line in some]), rng)
        if tail is not None:
            return tail
    return None


def _with_doubtful(
    features: Callable[[KnownValues], list[list[Number]]],
    known: KnownValues,
    doubtful: KnownValues,
    rng: np.random.Generator,
) -> np.ndarray | Shared:
    """With a few doubtful points, as if the open weights were zero there: a choice that is wrong contradicts itself."""
    count = len(doubtful.values)
    for _ in range(DOUBTFUL_CHOICES if count else 0):
        chosen = rng.permutation(count)[:DOUBTFUL_POINTS].tolist()
        solved = _solved(features, known.joined(doubtful.at(chosen)))
        if isinstance(solved, np.ndarray):
            return solved
    return Shared.OPEN


def _solved(features: Callable[[KnownValues], list[list[Number]]], known: KnownValues) -> np.ndarray | Shared:
    """Coefficients (features, outputs).

    Of a neuron that all known values see from one side only, |z| is z or -z: one coefficient is left out, and the
    other is shared between both as it is for a neuron that is on there (one that is off has none).
    """
    if not known.values:
        return Shared.OPEN
    table = np.array(features(known), dtype=object)
    kept, sides, width = list(range(table.shape[1])), {}, len(known.heights[0])
    if features is _own_features:
        for i in range(width):
            signs = {(z[i] > 0) - (z[i] < 0) for z in known.heights} - {0}
            if len(signs) == 1:
                sides[i] = signs.pop()
                kept.remove(i)
    solved = solve_shared(_equations(table[:, kept].tolist(), known), len(kept))
    if isinstance(solved, Shared) or not sides:
        return solved
    whole = np.full((table.shape[1], solved.shape[1]), fmpq(0), dtype=object)
    whole[kept] = solved
    for i, side in sides.items():
        whole[width + i] = whole[width + i] / 2
        whole[i] = whole[width + i] * side
    return whole


def _own_features(known: KnownValues) -> list[list[Number]]:
    return [[*(abs(x) for x in z), *z, fmpq(2)] for z in known.heights]


def _features_before(known: KnownValues) -> list[list[Number]]:
    return [[*(abs(x) for x in z), *a, fmpq(2)] for z, a in zip(known.heights, known.before, strict=True)]


def _equations(features: list[list[Number]], known: KnownValues) -> list[list[Number]]:
    """Features, then 2 f for every output."""
    return [[*row, *(2 * x for x in value)] for row, value in zip(features, known.values, strict=True)]


def known_at(
    layers: KnownLayers,
    heights: Sequence[Matrix],
    scales: Sequence[fmpz],
    points: Sequence[Sequence[fmpq]],
    values: list[np.ndarray],
) -> KnownValues:
    """Features of points from the pre-activations of all layers, times a scale each; ``points`` for one layer only."""
    last = [[quotient(x, scale) for x in z] for z, scale in zip(heights[-1].tolist(), scales, strict=True)]
    if len(heights) == 1:
        return KnownValues([list(point) for point in points], last, values)
    linear = layers.linear[-2].tolist()
    before = [
        [quotient(x, scale) if free or x > 0 else fmpq(0) for x, free in zip(z, linear, strict=True)]
        for z, scale in zip(heights[-2].tolist(), scales, strict=True)
    ]
    return KnownValues(before, last, values)


def _random(layers: KnownLayers, count: int, rng: np.random.Generator) -> list[list[fmpq]]:
    """Gaussian points at several scales."""
    each = -(-count // len(SCALES))
    return [row for exponent in SCALES for row in gaussian_points(each, layers.inputs, exponent, rng).rows()]


def _beside(
    layers: KnownLayers, known: KnownValues, seen_at: Sequence[Sequence[np.ndarray]], rng: np.random.Generator
) -> list[list[fmpq]]:
    """Points on both sides of the boundaries of neurons that no known value sees from both sides."""
    found, last = [], layers.depth - 1
    for neuron, places in enumerate(seen_at):
        sides = {z[neuron] > 0 for z in known.heights}
        if len(sides) < 2:
            zeros = boundary_points(lambda x, i=neuron: layers.values64(x)[last][:, i], layers.inputs, places, rng)
            chosen = zeros[rng.permutation(len(zeros))[:SPARE_POINTS]]
            for place in put_on_boundary(layers, last, neuron, chosen):
                found += [[fmpq(x, ONE) for x in place.beside(side)] for side in (-1, 1)]
    return found


def _fresh(
    asker: Asker,
    layers: KnownLayers,
    points: Sequence[Sequence[fmpq]],
    undisturbed: Callable[[Sequence[Matrix]], np.ndarray],
) -> KnownValues:
    """f at those of the points at which no open weight acts."""
    matrix = dyadic_matrix(points, layers.inputs)
    scales = [fmpz(1) << max(matrix.exponent, 0)] * len(points)
    heights = layers.preactivations(matrix.at_exponent(max(matrix.exponent, 0)), scales)
    chosen = np.nonzero(undisturbed(heights))[0].tolist()
    if not chosen:
        return KnownValues([], [], [])
    values = list(asker.ask(scattered(matrix).select(chosen), "measure"))
    kept = [type(z)([z.tolist()[k] for k in chosen]) for z in heights]
    return known_at(layers, kept, scales[: len(chosen)], [points[k] for k in chosen], values)


def _last_rows(layers: KnownLayers) -> tuple[np.ndarray, np.ndarray]:
    weights = layers.weights[-1]
    rows = np.empty((weights.nrows(), weights.ncols()), dtype=object)
    rows.ravel()[:] = [quotient(x, 1) for x in weights.entries()]
    biases = np.empty(len(rows), dtype=object)
    biases[:] = [quotient(b, 1) for b in layers.biases[-1]]
    return rows, biases


def _oriented(layers: KnownLayers, solution: np.ndarray, width: int) -> Tail | None:
    """From the coefficients (2 width + 1, outputs) of |z| and z; None when they are not +- each other."""
    bends, slopes, read = solution[:width].copy(), solution[width : 2 * width], _read(solution, width)
    if any(x != 0 for slope in slopes[~read] for x in slope):
        return None
    signs = np.empty(width, dtype=object)
    for i, (bend, slope) in enumerate(zip(bends, slopes, strict=True)):
        same, opposite = not any(slope != bend), not any(slope != -bend)
        if not read[i]:
            signs[i], bends[i] = fmpq(1), fmpq(0)
        elif same == opposite:
            return None
        else:
            signs[i] = fmpq(1 if same else -1)
    rows, biases = _last_rows(layers)
    network = ExactNetwork(
        (middles(rows * signs[:, None]), middles(bends.T)),
        (middles((biases * signs)[:, None]), middles(solution[2 * width][:, None])),
    )
    return Tail(network, SignMethod.LINEAR.value, _accuracy(solution), read)


def remember_output(tail: Tail, layers: KnownLayers, rows: Sequence[Row]) -> None:
    """What the output layer says of every row of the last layer is kept with the row."""
    outgoing, oriented = object_matrix(tail.network.weights[1]), object_matrix(tail.network.weights[0])
    for i, row in enumerate(rows):
        row.output = None
        if len(oriented) == len(rows):
            factor = ratio(oriented[i], [quotient(x, 1) for x in layers.weights[-1].tolist()[i]])
            if factor is not None:
                # relu(c z) = |c| relu(+-z)
                row.output = Output(outgoing[:, i] * abs(factor) * row.integer_factor(), 1 if factor > 0 else -1)


def remembered_output(layers: KnownLayers, rows: Sequence[Row], constant: np.ndarray) -> Tail:
    """The output layer (weights by row, constant (outputs,)) from what is kept with the rows; 0 for new ones."""
    outputs = len(constant)
    whole, biases = _last_rows(layers)
    signs = np.array([fmpq(1 if row.output is None else row.output.side) for row in rows], dtype=object)
    outgoing = np.full((outputs, len(rows)), fmpq(0), dtype=object)
    for i, row in enumerate(rows):
        if row.output is not None:
            outgoing[:, i] = row.output.weights / row.integer_factor()
    network = ExactNetwork(
        (middles(whole * signs[:, None]), middles(outgoing)),
        (middles((biases * signs)[:, None]), middles(constant[:, None])),
    )
    read = np.array([any(x != 0 for x in column) for column in outgoing.T], dtype=bool)
    return Tail(network, SignMethod.LINEAR.value, math.inf if layers.exact else 0, read)


def ratio(own: Sequence[Number], row: Sequence[Number]) -> Number | None:
    """The factor with own = factor * row; None when there is none."""
    pivot = steepest(row)
    if vanishes(row[pivot]):
        return None
    factor = own[pivot] / row[pivot]
    return None if vanishes(factor) or any(a != factor * b for a, b in zip(own, row, strict=True)) else factor


def _by_signs(
    layers: KnownLayers, solution: np.ndarray, width: int, context: Context, open_columns: Sequence[int]
) -> Tail:
    """From the coefficients of |z| and of the activations before: signs as for one hidden layer.

    What an activation adds apart from the |z| says nothing about signs where a weight on it is open.
    """
    rows, biases = _last_rows(layers)
    kept = [k for k in range(rows.shape[1]) if k not in set(open_columns)]

    def ridges(rows: np.ndarray) -> list[Ridge]:
        triples = zip(rows, biases, solution[:width], strict=True)
        return [oriented_ridge(context, row, bias, factor) for row, bias, factor in triples if any(factor != 0)]

    rest = solution[width:-1].T.copy() / fmpq(2)
    signed = solve_signs(RidgeForm(context, ridges(rows[:, kept]), rest[:, kept], solution[-1].copy()))
    accuracy, read = _accuracy(solution), _read(solution, width)
    if len(kept) == rows.shape[1]:
        return Tail(signed.network, signed.method.value, accuracy, read)
    if signed.extra_neurons:
        # A neuron that was never seen to bend is on: what it adds is kept, so that its border is found. Over so few
        # columns it may also look like pairs of opposite neurons.
        whole = ridges(rows)
        signed = with_rest(RidgeForm(context, whole, rest, solution[-1].copy()), [1] * len(whole), SignMethod.AFFINE)
        return Tail(signed.network, signed.method.value, accuracy, read)
    found = signed.network.weights[0].tolist()
    signs = np.full(width, fmpq(1), dtype=object)
    for i, row in enumerate(rows[:, kept]):
        factors = [factor for own in found if (factor := ratio(own, row)) is not None]
        if len(factors) == 1:
            signs[i] = fmpq(1 if factors[0] > 0 else -1)
    outgoing = solution[:width].T.copy()
    constant = solution[-1] - outgoing @ (signs * biases) / fmpq(2)
    network = ExactNetwork(
        (middles(rows * signs[:, None]), middles(outgoing)),
        (middles((biases * signs)[:, None]), middles(constant[:, None])),
    )
    return Tail(network, signed.method.value, accuracy, read)


def _read(solution: np.ndarray, width: int) -> np.ndarray:
    """Rows with a bend that is not zero, (width,)."""
    return np.array([any(x != 0 for x in bend) for bend in solution[:width]], dtype=bool)


def _accuracy(solution: np.ndarray) -> float:
    """Bits of all coefficients against the largest bend, (unknowns, outputs)."""
    if not isinstance(solution[0][0], arb):
        return math.inf
    size = max(abs(x) for x in solution.ravel())
    return min(accuracy_bits(x, size) for x in solution.ravel())
