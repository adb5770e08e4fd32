"""All parameters together: Gauss-Newton on what fresh queries still show, down to the rounding of the answers.

A network that was read layer by layer hands its errors from one layer to the next. Once its architecture is known
and it is near, f is differentiable in its parameters at almost every input, and the residuals at more inputs than there
are parameters determine all corrections at once. (Carlini, Jagielski, Mironov 2020, section 7, refine a recovered
network; Foerster et al. 2024 layer by layer.)

The residuals are computed without rounding; the Jacobian only has to point the way and is kept in float64. So every
step gains the bits of a double, whatever the precision of the answers, and the last one ends at their rounding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from flint import fmpq, fmpq_mat, fmpz_mat
from scipy.linalg import qr, solve_triangular

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch, scattered
from jaxtract.search.random_lines import gaussian_points
from precision.balls import to_float
from precision.dyadic import DyadicMatrix, floor_log2, from_float, from_float64, power_of_two, round_to_grid

CANDIDATES = 4
"""Inputs that are looked at in the known network for every one that is asked."""

SPARE = 1.0
"""Further inputs, as a share of those that determine the parameters: rounding averages out, and shows."""

NEAR_SHARES = np.array([0.01, 0.05, 0.2])
NEAR = len(NEAR_SHARES)
"""Inputs are looked at this far from the places where neurons were seen, as shares of the distance from the origin."""

NEAR_BITS = 20
"""Fractional bits of such an input."""

MOST_PARAMETERS, MOST_AT_ALL = 2000, 6000
"""Beyond these inputs are not chosen among candidates any more; and a dense Jacobian takes more than minutes."""

MANY = 2
"""Inputs for every one that would determine the parameters, where they are not chosen."""

LEAST_SHARE = 1e-13
"""There corrections along what the residuals do not show are kept small by rows of this size."""

TURN, MOST_TURNS, SHOWING = 2048, 24, 6
"""Random inputs looked at in one turn for parameters that no input shows yet, turns, and inputs kept for each."""

FAR_OFF, MOST = 1024.0, 0.9
"""A residual so many times that of nine in ten is none that a change of the parameters could mend."""

MOST_STEPS = 60
SCALES = (-1, 0, 1, 2)
WEAKEST = 1e-10
"""Corrections that the residuals show this much more weakly than others are not made."""

SPARE_BITS = 64
"""Bits that a parameter keeps below the rounding of the answers."""


@dataclasses.dataclass(frozen=True)
class Polished:
    """A polished network and how well its parameters are known.

    Attributes:
        network: with the same architecture and the same largest weight in every hidden row.
        accuracy_bits: bits of every row against its largest entry, estimated from the residuals that are left and
            the condition of the Jacobian, over the parameters that the chosen inputs show.
        unseen: parameters that they do not show, which are what they were.
        outliers: (inputs, dimension), where the network is wrong and no change of its parameters would mend that: a
            neuron is missing there. They were left out.
    """

    network: ExactNetwork
    accuracy_bits: int
    unseen: int
    outliers: np.ndarray


def polish(
    oracle: CountingOracle, network: ExactNetwork, rng: np.random.Generator, *, near: np.ndarray | None = None
) -> Polished | None:
    """Gauss-Newton from a network that is near; queries count as ``measure``.

    Args:
        oracle: the black box, with rounded answers.
        network: the right architecture, parameters good to some 2^-16.
        rng: chooses inputs.
        near: (places, inputs), where neurons that are seldom on were seen; inputs near them are candidates, too.

    Returns:
        None where the network is too large, has skips, or where the residuals do not fall.

    Raises:
        BudgetSpent: before anything was asked.
    """
    if network.parameters > MOST_AT_ALL or network.skips:
        return None
    parameters = _Parameters(network)
    points = _chosen_inputs(parameters, rng, near)
    batch = scattered(points)
    answers = oracle.ask(batch, "measure")
    target = np.array([oracle.context.rational(x) for x in answers.ravel()], dtype=object).reshape(answers.shape)
    return _descend(parameters, points, batch, target, _grid_bits(oracle))


def _descend(
    parameters: _Parameters, points: DyadicMatrix, batch: PointBatch, target: np.ndarray, grid_bits: int
) -> Polished | None:
    """Steps until the residuals fall no more."""
    inputs, first = points.to_float64(), parameters
    weights = np.repeat(1 / (1 + np.max(np.abs(inputs), axis=1)), target.shape[1])
    best, best_size, spread = None, None, None
    wrong = _far_off(target - FlintEvaluator(parameters.network)(batch), weights)
    weights = np.where(np.repeat(wrong, target.shape[1]), 0.0, weights)
    for _ in range(MOST_STEPS):
        residuals = (target - FlintEvaluator(parameters.network)(batch)).ravel()
        residuals[weights == 0] = fmpq(0)
        scale, shares = _in_units(residuals, weights)
        size = scale * from_float(np.sqrt(np.mean(shares**2)))
        if best_size is not None and 2 * size >= best_size:
            best, best_size = (parameters, size) if size < best_size else (best, best_size)
            break
        if size == 0:
            break
        best, best_size = parameters, size
        # The pattern of an input that lies near a boundary may change with the parameters.
        step, spread = _least_squares(parameters.jacobian(inputs) * weights[:, None], shares)
        parameters = parameters.moved(step, scale, grid_bits)
    if best is None or best_size is None or best is first:
        return None
    assert spread is not None, "a network that was moved was moved by a step"
    if wrong.any():
        # What was near a boundary that lay a little elsewhere is right by now.
        still = _far_off(target - FlintEvaluator(best.network)(batch), np.repeat(1.0, target.size))
        wrong &= still
    return Polished(best.network, _accuracy(best, spread, best_size), int(np.sum(np.isinf(spread))), inputs[wrong])


def _far_off(residuals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Which inputs (booleans) have a residual (inputs, outputs) far beyond that of most others."""
    _, shares = _in_units(residuals.ravel(), weights)
    sizes = np.max(np.abs(shares).reshape(residuals.shape), axis=1)
    return sizes > FAR_OFF * max(float(np.quantile(sizes, MOST)), 2.0**-60)


def _in_units(residuals: np.ndarray, weights: np.ndarray) -> tuple[fmpq, np.ndarray]:
    """(unit, residuals in this unit, weighted): residuals may be far below the range of a double."""
    largest = max(abs(x) for x in residuals)
    if largest == 0:
        return fmpq(1), np.zeros(len(residuals))
    unit = power_of_two(floor_log2(largest))
    return unit, np.array([to_float(x / unit) for x in residuals]) * weights


def _least_squares(matrix: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(solution, standard deviation of each unknown for residuals of size one); columns are scaled to one size."""
    sizes = np.linalg.norm(matrix, axis=0)
    seen = sizes > 0
    step, spread = np.zeros(matrix.shape[1]), np.full(matrix.shape[1], np.inf)
    if not seen.any():
        return step, spread
    if matrix.shape[1] > MOST_PARAMETERS:
        step[seen], spread[seen] = _least_squares_of_many(matrix[:, seen], sizes[seen], right)
        return step, spread
    q, r, order = map(np.asarray, qr(matrix[:, seen] / sizes[seen], mode="economic", pivoting=True))
    diagonal = np.abs(np.diag(r))
    strong = int(np.sum(diagonal > WEAKEST * diagonal[0]))
    inverse = solve_triangular(r[:strong, :strong], np.eye(strong))
    places = np.flatnonzero(seen)[order[:strong]]
    step[places] = inverse @ (q[:, :strong].T @ right) / sizes[places]
    spread[places] = np.linalg.norm(inverse, axis=1) / sizes[places]
    return step, spread


def _least_squares_of_many(matrix: np.ndarray, sizes: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same without pivots, in blocks: minutes become seconds. All columns (of these sizes) are shown."""
    count = len(sizes)
    stacked = np.zeros((len(matrix) + count, count + 1))
    stacked[: len(matrix), :count] = matrix / sizes
    stacked[: len(matrix), count] = right
    stacked[len(matrix) + np.arange(count), np.arange(count)] = LEAST_SHARE
    triangle = np.asarray(qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0])
    whole = triangle[:count]
    inverse = solve_triangular(whole[:, :count], np.eye(count))
    return inverse @ whole[:, count] / sizes, np.linalg.norm(inverse, axis=1) / sizes


def _accuracy(parameters: _Parameters, spread: np.ndarray, size: fmpq) -> int:
    """Bits of the row that is known worst, three standard deviations taken for its error."""
    worst = 3 * parameters.worst_share(np.where(np.isinf(spread), 0, spread))
    return 0 if worst == 0 else max(0, -floor_log2(size) - 1 - math.ceil(math.log2(worst)))


def _grid_bits(oracle: CountingOracle) -> int:
    assert oracle.context.answer_bits is not None, "exact answers leave nothing to polish"
    return oracle.context.answer_bits + SPARE_BITS


class _Parameters:
    """The weights and biases of a network as one vector, but for the largest weight of every hidden row.

    A neuron's scale is free: its largest weight is kept where it is.
    """

    def __init__(self, network: ExactNetwork):
        self.network = network
        self.weights = [np.array(w.tolist(), dtype=object).reshape(w.nrows(), w.ncols()) for w in network.weights]
        self.biases = [np.array(b.entries(), dtype=object) for b in network.biases]
        self._weights64 = [_floats(w) for w in self.weights]
        self._biases64 = [_floats(b) for b in self.biases]
        free = []
        for layer, weight in enumerate(self._weights64):
            mask = np.ones((weight.shape[0], weight.shape[1] + 1), dtype=bool)
            if layer + 1 < len(self.weights):
                mask[np.arange(len(weight)), np.argmax(np.abs(weight), axis=1)] = False
            free.append(mask)
        self._masks = free
        self.free = np.concatenate([mask.ravel() for mask in free])

    @property
    def count(self) -> int:
        return int(self.free.sum())

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """df/dparameters at (points, inputs): (points * outputs, free parameters)."""
        states, sides = [points], []
        for weight, bias in zip(self._weights64[:-1], self._biases64[:-1], strict=True):
            z = states[-1] @ weight.T + bias
            sides.append(z > 0)
            states.append(np.maximum(z, 0))
        outputs = len(self._weights64[-1])
        back = np.broadcast_to(np.eye(outputs), (len(points), outputs, outputs))
        blocks = []
        for layer in reversed(range(len(self._weights64))):
            with_one = np.concatenate([states[layer], np.ones((len(points), 1))], axis=1)
            blocks.append(np.einsum("koh,kj->kohj", back, with_one).reshape(len(points) * outputs, -1))
            if layer:
                back = (back @ self._weights64[layer]) * sides[layer - 1][:, None, :]
        return np.concatenate(blocks[::-1], axis=1)[:, self.free]

    def moved(self, step: np.ndarray, unit: fmpq, grid_bits: int) -> _Parameters:
        """All free parameters plus unit * step, on the grid 2^-grid_bits."""
        whole = np.zeros(len(self.free))
        whole[self.free] = step
        weights, biases, start = [], [], 0
        for weight, bias in zip(self.weights, self.biases, strict=True):
            rows, columns = weight.shape
            part = whole[start : start + rows * (columns + 1)].reshape(rows, columns + 1)
            start += part.size
            weights.append(_plus(weight, part[:, :-1], unit, grid_bits))
            biases.append(_plus(bias[:, None], part[:, -1:], unit, grid_bits))
        return _Parameters(ExactNetwork(tuple(weights), tuple(biases)))

    def worst_share(self, errors: np.ndarray) -> float:
        """The largest error of a parameter against the largest entry of its row."""
        whole = np.zeros(len(self.free))
        whole[self.free] = errors
        worst, start = 0.0, 0
        for weight, bias in zip(self._weights64, self._biases64, strict=True):
            sizes = np.maximum(np.max(np.abs(weight), axis=1), np.abs(bias))
            part = whole[start : start + weight.size + len(bias)].reshape(len(bias), -1)
            start += part.size
            worst = max(worst, float(np.max(np.max(part, axis=1) / sizes)))
        return worst


def _chosen_inputs(parameters: _Parameters, rng: np.random.Generator, near: np.ndarray | None) -> DyadicMatrix:
    """Inputs at which the parameters are determined as well as many candidates allow, and as many at random.

    All at random where the parameters are many.
    """
    outputs = parameters.network.outputs
    needed = -(-parameters.count // outputs)
    spare = math.ceil(SPARE * needed) + 8
    many = parameters.count > MOST_PARAMETERS
    inputs, count = parameters.network.inputs, (1 if many else CANDIDATES) * needed
    drawn = [gaussian_points(count, inputs, scale, rng) for scale in SCALES]
    if near is not None and len(near):
        spread = rng.standard_normal((NEAR, *near.shape)) * (1 + np.max(np.abs(near), axis=1, keepdims=True))
        beside = (near + spread * NEAR_SHARES[:, None, None]).reshape(-1, inputs)
        drawn.append(
            from_float64(np.round(beside[rng.permutation(len(beside))[:count]] * 2.0**NEAR_BITS) / 2.0**NEAR_BITS)
        )
    drawn.extend(_showing(parameters, drawn, rng))
    exponent = max(points.exponent for points in drawn)
    rows = [row for points in drawn for row in points.at_exponent(exponent).tolist()]
    random = rng.permutation(len(SCALES) * count)[: MANY * needed if many else count].tolist()
    order = [*random, *range(len(SCALES) * count, len(rows))]
    candidates = DyadicMatrix(fmpz_mat(len(order), inputs, [x for k in order for x in rows[k]]), exponent)
    if many:
        return candidates
    points = candidates.to_float64()
    jacobian = parameters.jacobian(points) / np.repeat(1 + np.max(np.abs(points), axis=1), outputs)[:, None]
    sizes = np.linalg.norm(jacobian, axis=0)
    *_, pivots = qr((jacobian / np.where(sizes > 0, sizes, 1)).T, mode="r", pivoting=True)
    best = list(dict.fromkeys(int(k) // outputs for k in pivots))[:needed]
    others = [k for k in range(len(order)) if k not in set(best)][:spare]
    chosen = [*best, *others]
    entries = candidates.mantissa.tolist()
    return DyadicMatrix(fmpz_mat(len(chosen), inputs, [x for k in chosen for x in entries[k]]), exponent)


def _showing(
    parameters: _Parameters, drawn: Sequence[DyadicMatrix], rng: np.random.Generator
) -> Iterator[DyadicMatrix]:
    """Further inputs for parameters that none of those drawn shows, if many random ones do."""
    shown = np.zeros(parameters.count, dtype=bool)
    for points in drawn:
        shown |= np.any(parameters.jacobian(points.to_float64()) != 0, axis=0)
    for turn in range(MOST_TURNS):
        if shown.all():
            return
        more = gaussian_points(TURN, parameters.network.inputs, SCALES[turn % len(SCALES)], rng)
        seen = parameters.jacobian(more.to_float64())[:, ~shown] != 0
        useful = np.unique(np.concatenate([np.flatnonzero(column)[:SHOWING] for column in seen.T])) // (
            parameters.network.outputs
        )
        if len(useful):
            entries = more.mantissa.tolist()
            columns = parameters.network.inputs
            yield DyadicMatrix(
                fmpz_mat(len(useful), columns, [x for k in useful.tolist() for x in entries[k]]), more.exponent
            )
            shown[np.flatnonzero(~shown)[seen.any(axis=0)]] = True


def _floats(values: np.ndarray) -> np.ndarray:
    return np.array([to_float(x) for x in values.ravel()], dtype=np.float64).reshape(values.shape)


def _plus(values: np.ndarray, step: np.ndarray, unit: fmpq, grid_bits: int) -> fmpq_mat:
    entries = [
        round_to_grid(x + unit * from_float(s), grid_bits) if s else x
        for x, s in zip(values.ravel(), step.ravel(), strict=True)
    ]
    rows, columns = values.shape
    return fmpq_mat(rows, columns, entries)
