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
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from flint import fmpq, fmpq_mat, fmpz_mat
from scipy.linalg import qr, solve_triangular

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch, scattered
from jaxtract.polish.least_absolute import least_absolute
from jaxtract.polish.loose_parameters import inputs_for_loose
from jaxtract.polish.weights_from_outputs import weights_from_outputs
from jaxtract.search.random_lines import gaussian_points
from precision.balls import to_float
from precision.context import Context
from precision.dyadic import DyadicMatrix, floor_log2, from_float, from_float64, power_of_two, round_to_grid
from precision.rounded import RoundedContext

CANDIDATES = 4
"""Inputs that are looked at in the known network for every one that is asked."""

SPARE = 0.5
"""Further inputs, as a share of those that determine the parameters: rounding averages out, and shows."""

LEAST_RANDOM = 0.1
"""The same of inputs at random where other answers, which may show less, take their place."""

SHOWN = 1e-8
"""Directions of the parameters that inputs asked before show this much more weakly than others need more inputs."""

SHOWN_BY_ALL = 1e-5
"""The same of inputs that were asked for any reason. Better known ones are few, so that these take none to spare."""

NEARLY_RIGHT = 2.0**-20
"""They are used where the network is wrong by no more anywhere, as a share of the terms that f is summed from."""

SPARE_OF_ALL, MANY_ROWS = 4.0, 2000
"""Of these so many more than determine the parameters; a share of ``SPARE`` where that is more than so many."""

NEAR_SHARES = np.array([0.0, 0.01, 0.05, 0.2])
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

FAR_OFF = 1024.0
"""A residual so many times that of inputs where the network is right is none that a change of it could mend."""

RIGHT_SHARES = (0.9, 0.6, 0.35)
"""Shares of the inputs at which the network may be right, tried in this order."""

LEAST_SPARE, ROUNDING_BITS = 0.2, 10
"""Equations beyond the unknowns, as a share of these, that agree to so many times the rounding of the answers."""

MOST_GROWTH = 6
"""Times that inputs are added which turn out to be right."""

POOL, POOL_SCALES, STRONGEST = 4096, (-1, 0, 1, 2, 4, 6), 2
"""Random inputs looked at in the known network at each scale, and how many are candidates for every parameter."""

MOST_STEPS = 60
SCALES = (-1, 0, 1, 2)
WEAKEST = 1e-10
"""Corrections that the residuals show this much more weakly than others are not made."""

LOOSE_SHARE, TIGHTENED = 2.0**12, 4
"""Parameters whose error is more than so many roundings of their row are looked after, so many times."""

SPARE_BITS = 64
"""Bits that a parameter keeps below the rounding of the answers."""


@dataclasses.dataclass(frozen=True)
class Answered:
    """What was asked to polish: inputs (inputs, dimension), doubles, and answers (inputs, outputs), rationals."""

    inputs: np.ndarray
    answers: np.ndarray

    def __add__(self, more: Answered) -> Answered:
        return Answered(np.concatenate([self.inputs, more.inputs]), np.concatenate([self.answers, more.answers]))


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
        answered: all that was asked.
        open_weights: where only weights of the last hidden layer are unseen, which: by neuron those that it may read.
    """

    network: ExactNetwork
    accuracy_bits: int
    unseen: int
    outliers: np.ndarray
    answered: Answered | None = None
    open_weights: Mapping[int, Sequence[int]] = dataclasses.field(default_factory=dict)


def polish(
    oracle: CountingOracle,
    network: ExactNetwork,
    rng: np.random.Generator,
    *,
    near: np.ndarray | None = None,
    also: np.ndarray | None = None,
    before: Answered | None = None,
    spare: Answered | None = None,
) -> Polished | None:
    """Gauss-Newton from a network that is near; queries count as ``measure``.

    Args:
        oracle: the black box, with rounded answers.
        network: the right architecture, parameters good to some 2^-16.
        rng: chooses inputs.
        near: (places, inputs), where neurons that are seldom on were seen; inputs near them are candidates, too.
        also: (inputs, dimension), doubles that are asked in any case.
        before: what was asked for a network like this one; only what that does not show is asked.
        spare: answers that are known for another reason; they take the place of most spare inputs. (Without ``before``,
            the best of all that was asked takes the place of both, where the oracle remembers it.)

    Returns:
        None where the network is too large, has skips, or where the residuals do not fall.

    Raises:
        BudgetSpent: before anything was asked.
    """
    if network.parameters > MOST_AT_ALL or network.skips:
        return None
    parameters = _Parameters(network)
    rough = oracle.context.rough
    known = None if rough or before is not None else _known_already(oracle, parameters)
    if known is not None:
        before, spare = known, None
    asked = before.inputs if before is not None else np.empty((0, network.inputs))
    asked = asked if also is None else np.concatenate([asked, also])
    spared, by_all = 0 if spare is None else len(spare.inputs), known is not None
    points = _chosen_inputs(
        parameters, rng, near, asked, strongest=not rough, spared=spared, by_all=by_all
    ).to_float64()
    fresh = np.concatenate([asked[0 if before is None else len(before.inputs) :], points])
    answered = Answered(fresh, rational_answers(oracle, scattered(from_float64(fresh))))
    answered = answered if before is None else before + answered
    answered = answered if spare is None else answered + spare
    polished = _descended(oracle, answered, parameters)
    if not oracle.context.few_bits or rough or parameters.count > MOST_PARAMETERS or network.outputs > 1:
        return polished
    for _ in range(TIGHTENED):
        if polished is None or polished.unseen or len(polished.outliers):
            break
        found = _Parameters(polished.network)
        more = inputs_for_loose(
            lambda x, at=found: _weighted(at, x, strongest=True), answered.inputs, found.row_sizes(), LOOSE_SHARE, rng
        )
        if not len(more):
            break
        answered = answered + Answered(more, rational_answers(oracle, scattered(from_float64(more))))
        polished = _descended(oracle, answered, found)
    return polished


def _known_already(oracle: CountingOracle, parameters: _Parameters) -> Answered | None:
    """Of all that was asked what shows the parameters best, and some of the rest; None where that will not do."""
    outputs = parameters.network.outputs
    needed = -(-parameters.count // outputs)
    if parameters.count > MOST_PARAMETERS or oracle.count.total < (1 + SPARE) * needed:
        return None
    inputs, answers = oracle.answered()
    if not len(inputs):
        return None  # with many bits nothing is kept
    known = Answered(inputs, rationals(oracle.context, answers))
    residuals = known.answers - FlintEvaluator(parameters.network)(scattered(from_float64(known.inputs)))
    shares = np.array([abs(to_float(x)) for x in residuals.ravel()]) / parameters.term_sizes(known.inputs).ravel()
    if np.max(shares) > NEARLY_RIGHT:
        return None  # what the network lacks, inputs at random tell better than those of a search
    spare = min(math.ceil(SPARE_OF_ALL * needed), max(math.ceil(SPARE * needed), MANY_ROWS))
    best = _best(_weighted(parameters, known.inputs, strongest=True), outputs)[:needed]
    others = np.setdiff1d(np.arange(len(inputs)), best)
    chosen = [*best, *others[:: max(1, len(others) // spare)]]
    return Answered(known.inputs[chosen], known.answers[chosen])


def _descended(oracle: CountingOracle, answered: Answered, start: _Parameters) -> Polished | None:
    """Gauss-Newton on what was asked."""
    inputs, outputs = answered.inputs, start.network.outputs
    sizes = _plain_sizes(inputs, outputs) if oracle.context.rough else start.term_sizes(inputs)
    rounding = _plain_sizes(inputs, outputs) * _error_unit(oracle)
    batch = scattered(from_float64(inputs))
    return _Descent(answered, batch, 1 / sizes, rounding, oracle.context.answer_bits).run(start)


def _error_unit(oracle: CountingOracle) -> float:
    """What was measured of the rounding of answers: a bound on the error over 1 + max |x|, 0 where none was."""
    context = oracle.context
    if not isinstance(context, RoundedContext) or context.error_unit is None:
        return 0.0
    return to_float(context.error_unit)


def rational_answers(oracle: CountingOracle, batch: PointBatch) -> np.ndarray:
    """Answers as the rationals that they are, (points, outputs); queries count as ``measure``."""
    return rationals(oracle.context, oracle.ask(batch, "measure"))


def rationals(context: Context, answers: np.ndarray) -> np.ndarray:
    """Answers, (points, outputs), as the rationals that they are."""
    return np.array([context.rational(x) for x in answers.ravel()], dtype=object).reshape(answers.shape)


def rounding_bound(network: ExactNetwork, rng: np.random.Generator, answer_bits: int) -> float:
    """What answers rounded to ``answer_bits`` leave at inputs as ``polish`` chooses them, whatever is made of them.

    The largest standard deviation of a parameter against the largest entry of its row, from the Jacobian at the network
    itself (Cramer-Rao), with an error of 2^-answer_bits |f| in every answer and none in its computation. Parameters
    that no such input shows are left out. ``network``: the truth.

    Raises:
        ValueError: too many parameters for inputs to be chosen.
    """
    parameters = _Parameters(network)
    if parameters.count > MOST_PARAMETERS:
        raise ValueError(f"at most {MOST_PARAMETERS} free parameters are bounded, got {parameters.count}")
    points = _chosen_inputs(parameters, rng, None, np.empty((0, network.inputs)), strongest=True)
    answers = _floats(FlintEvaluator(network)(scattered(points))).ravel()
    errors = np.maximum(np.abs(answers), np.finfo(np.float64).tiny) * 2.0**-answer_bits
    matrix = parameters.jacobian(points.to_float64()) / errors[:, None]
    _, spread = _least_squares(matrix, np.zeros(len(matrix)))
    return parameters.worst_share(np.where(np.isinf(spread), 0, spread))


@dataclasses.dataclass(frozen=True)
class _Fitted:
    """Where steps on some of the inputs ended: residuals of ``size``, and what errors of size one do to parameters."""

    parameters: _Parameters
    size: fmpq
    spread: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Descent:
    """Gauss-Newton on answers that are known.

    Attributes:
        answered: inputs (points, dimension) and answers (points, outputs).
        batch: the same inputs.
        weights: of the answers, one over their rounding up to a factor, (points, outputs).
        rounding: bounds on the errors of the answers where these were measured, else 0, (points, outputs).
        answer_bits: of the oracle.
    """

    answered: Answered
    batch: PointBatch
    weights: np.ndarray
    rounding: np.ndarray
    answer_bits: int | None

    @property
    def inputs(self) -> np.ndarray:
        return self.answered.inputs

    @property
    def target(self) -> np.ndarray:
        return self.answered.answers

    def run(self, start: _Parameters) -> Polished | None:
        """Steps on the inputs where the network is right as far as it is known; then on all that it is right at.

        What it lacks is on for a tenth of the inputs, or for many of them: the more are left out, the better must those
        that are left agree.
        """
        first = None
        for share in RIGHT_SHARES:
            used = ~_far_off(self._residuals(start), self.weights, share)
            fitted = self._fitted(start, used)
            if first is None:
                first = fitted
            if fitted is not None and self._agrees(fitted, used):
                return self._all_right(fitted, used)
        return None if first is None else self._polished(first)

    def _all_right(self, fitted: _Fitted, used: np.ndarray) -> Polished:
        """Further steps while more inputs agree: an activation pattern may have been wrong at some before."""
        for _ in range(MOST_GROWTH):
            parameters = self._shown_elsewhere(fitted) or fitted.parameters
            right = used | ~self._wrong(parameters, fitted.size)
            if right.sum() == used.sum():
                break
            again = self._fitted(parameters, right)
            if again is None or not self._agrees(again, right):
                break
            fitted, used = again, right
        return self._polished(fitted)

    def _shown_elsewhere(self, fitted: _Fitted) -> _Parameters | None:
        """Parameters that only inputs show where the network is wrong, as most of these inputs want them."""
        wrong, open_ = self._wrong(fitted.parameters, fitted.size), np.isinf(fitted.spread)
        rows = np.repeat(wrong, self.target.shape[1])
        if not open_.any() or not wrong.any():
            return None
        matrix = (fitted.parameters.jacobian(self.inputs)[rows] * self.weights.ravel()[rows, None])[:, open_]
        seen = matrix.any(axis=0)
        unit, shares = _in_units(self._residuals(fitted.parameters).ravel()[rows], self.weights.ravel()[rows])
        found = least_absolute(matrix[:, seen], shares)
        if found is None:
            return self._where_neurons_are_on(fitted.parameters, open_, wrong)
        step = np.zeros(len(open_))
        step[np.flatnonzero(open_)[seen]] = found
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        return fitted.parameters.moved(step, unit, self.answer_bits + SPARE_BITS)

    def _where_neurons_are_on(
        self, parameters: _Parameters, open_: np.ndarray, wrong: np.ndarray
    ) -> _Parameters | None:
        """Open weights of the last hidden layer, where what they make a neuron add to f is all that is wrong."""
        rows = parameters.open_rows(open_)
        if rows is None:
            return None
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        found = weights_from_outputs(
            parameters.network, rows, self.inputs[wrong], self._residuals(parameters)[wrong], self.answer_bits
        )
        return None if found is None else _Parameters(found)

    def _polished(self, fitted: _Fitted) -> Polished:
        parameters, spread = fitted.parameters, fitted.spread
        wrong = self.inputs[self._wrong(parameters, fitted.size)]
        return Polished(
            parameters.network,
            _accuracy(parameters, spread, fitted.size),
            int(np.isinf(spread).sum()),
            wrong,
            self.answered,
            parameters.open_rows(np.isinf(spread)) or {},
        )

    def _wrong(self, parameters: _Parameters, size: fmpq) -> np.ndarray:
        """Inputs (booleans) with residuals far above ``size``: no change of what they do not show would mend that."""
        # Between many bits such a residual is larger in this unit than any double.
        limit = size * from_float(FAR_OFF)
        residuals, weights = self._residuals(parameters).ravel(), self.weights.ravel()
        # What may be rounding alone refutes nothing, however well the others agree.
        far = [
            abs(x) * from_float(float(w)) > limit and abs(x) > from_float(float(r))
            for x, w, r in zip(residuals, weights, self.rounding.ravel(), strict=True)
        ]
        return np.any(np.reshape(far, self.target.shape), axis=1)

    def _agrees(self, fitted: _Fitted, used: np.ndarray) -> bool:
        """Whether residuals at more equations than unknowns fell to about the rounding of the answers."""
        shown = int(np.isfinite(fitted.spread).sum())
        if used.sum() * self.target.shape[1] < (1 + LEAST_SPARE) * shown:
            return False
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        sizes = np.array([abs(to_float(x)) for x in self.target.ravel()]) * self.weights.ravel()
        return fitted.size <= from_float(float(np.max(sizes))) * power_of_two(ROUNDING_BITS - self.answer_bits)

    def _residuals(self, parameters: _Parameters) -> np.ndarray:
        return self.target - FlintEvaluator(parameters.network)(self.batch)

    def _fitted(self, start: _Parameters, used: np.ndarray) -> _Fitted | None:
        """Steps until the residuals at the inputs used fall no more; None where the first one raises them."""
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        parameters, best = start, None
        size: fmpq | None = None
        spread: np.ndarray | None = None
        weights = np.where(used[:, None], self.weights, 0.0).ravel()
        for _ in range(MOST_STEPS):
            residuals = self._residuals(parameters).ravel()
            residuals[weights == 0] = fmpq(0)
            unit, shares = _in_units(residuals, weights)
            now = unit * from_float(np.sqrt(np.mean(shares**2)))
            if now == 0:
                break
            if size is not None and spread is not None:
                if now < size:
                    best = _Fitted(parameters, now, spread)
                if 2 * now >= size:
                    break
            size = now
            # The pattern of an input that lies near a boundary may change with the parameters.
            step, spread = _least_squares(parameters.jacobian(self.inputs) * weights[:, None], shares)
            parameters = parameters.moved(step, unit, self.answer_bits + SPARE_BITS)
        return best


def _plain_sizes(inputs: np.ndarray, outputs: int) -> np.ndarray:
    """How answers round where it says nothing more, up to a factor: 1 + max |x|, (points, outputs)."""
    return np.repeat(1 + np.max(np.abs(inputs), axis=1, keepdims=True), outputs, axis=1)


def _far_off(residuals: np.ndarray, weights: np.ndarray, most: float) -> np.ndarray:
    """Which inputs (booleans) have a residual (inputs, outputs) far beyond that of ``most`` of them."""
    _, shares = _in_units(residuals.ravel(), weights.ravel())
    sizes = np.max(np.abs(shares).reshape(residuals.shape), axis=1)
    return sizes > FAR_OFF * max(float(np.quantile(sizes, most)), 2.0**-60)


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

    def open_rows(self, open_: np.ndarray) -> dict[int, list[int]] | None:
        """Free parameters that are open, as weights of rows of the last hidden layer; None if others are, too."""
        whole = np.zeros(len(self.free), dtype=bool)
        whole[self.free] = open_
        stop = len(whole) - self._masks[-1].size
        mask = self._masks[-2]
        last = whole[stop - mask.size : stop].reshape(mask.shape)
        if last[:, :-1].sum() < whole.sum():
            return None
        return {int(q): np.flatnonzero(last[q]).tolist() for q in np.flatnonzero(last.any(axis=1))}

    def seldom_on(self, asked: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Indices of points for rows that act at too few of the inputs asked to determine their weights."""
        biases = np.cumsum([mask.shape[1] for mask in self._masks for _ in mask]) - 1
        columns = (np.cumsum(self.free) - 1)[biases[self.free[biases]]]
        fewest = [MANY * mask.shape[1] for mask in self._masks for _ in mask]
        needed = np.array(fewest)[self.free[biases]] - np.count_nonzero(self.jacobian(asked)[:, columns], axis=0)
        acts = self.jacobian(points)[:, columns] != 0
        chosen = [
            np.flatnonzero(own)[: max(0, more)] // self.network.outputs
            for own, more in zip(acts.T, needed, strict=True)
        ]
        return np.unique(np.concatenate(chosen))

    def term_sizes(self, points: np.ndarray) -> np.ndarray:
        """The terms that f is summed from, in all layers, without their signs: (points, outputs).

        An evaluation in floating point rounds by about this times the rounding of one operation.
        """
        states, sizes = points, np.zeros_like(points)
        last = len(self._weights64) - 1
        for layer, (weight, bias) in enumerate(zip(self._weights64, self._biases64, strict=True)):
            z = states @ weight.T + bias
            sizes = (sizes + np.abs(states)) @ np.abs(weight).T + np.abs(bias)
            on = (z > 0) | (layer == last)
            states, sizes = np.where(on, z, 0), np.where(on, sizes, 0)
        # Where all terms vanish f is not rounded at all, but weights must be finite.
        return np.maximum(sizes, 2.0**-100 * (np.max(sizes) or 1.0))

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

    def row_sizes(self) -> np.ndarray:
        """For every free parameter the largest entry of its row, (count,)."""
        sizes = []
        for weight, bias in zip(self._weights64, self._biases64, strict=True):
            largest = np.maximum(np.max(np.abs(weight), axis=1), np.abs(bias))
            sizes.append(np.repeat(largest, weight.shape[1] + 1))
        return np.concatenate(sizes)[self.free]

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


def _chosen_inputs(
    parameters: _Parameters,
    rng: np.random.Generator,
    near: np.ndarray | None,
    asked: np.ndarray,
    *,
    strongest: bool,
    spared: int = 0,
    by_all: bool = False,
) -> DyadicMatrix:
    """Inputs at which the parameters are determined as well as many candidates allow, and more at random.

    Only for what the inputs ``asked`` (inputs, dimension) do not show. All at random where the parameters are many.
    ``strongest``: answers are rounded from the terms of the network, and candidates are also those of very many inputs
    at which a parameter stands out most from this rounding. ``spared``: answers that are known for another reason.
    ``by_all``: ``asked`` is of all that was asked, with inputs to spare.
    """
    outputs = parameters.network.outputs
    needed = -(-parameters.count // outputs)
    many = parameters.count > MOST_PARAMETERS
    inputs, count = parameters.network.inputs, (1 if many else CANDIDATES) * needed
    drawn = [gaussian_points(count, inputs, scale, rng) for scale in SCALES]
    if near is not None and len(near):
        spread = rng.standard_normal((NEAR, *near.shape)) * (1 + np.max(np.abs(near), axis=1, keepdims=True))
        beside = (near + spread * NEAR_SHARES[:, None, None]).reshape(-1, inputs)
        most = count // NEAR if many else count
        drawn.append(
            from_float64(np.round(beside[rng.permutation(len(beside))[:most]] * 2.0**NEAR_BITS) / 2.0**NEAR_BITS)
        )
    drawn.extend(_showing(parameters, drawn, rng))
    if strongest and not many:
        drawn.extend(_standing_out(parameters, rng))
    exponent = max(points.exponent for points in drawn)
    rows = [row for points in drawn for row in points.at_exponent(exponent).tolist()]
    random = rng.permutation(len(SCALES) * count)[: MANY * needed if many else count].tolist()
    if many and len(asked):
        random = []  # what is missing shows at inputs that were drawn for it
    order = [*random, *range(len(SCALES) * count, len(rows))]
    candidates = DyadicMatrix(fmpz_mat(len(order), inputs, [x for k in order for x in rows[k]]), exponent)
    if len(asked):
        return _rows(
            candidates, _lacking(parameters, asked, candidates.to_float64(), strongest=strongest, by_all=by_all)
        )
    if many:
        return candidates
    jacobian = _weighted(parameters, candidates.to_float64(), strongest=strongest)
    best = _best(jacobian, outputs)[:needed]
    return _rows(candidates, _with_spare(best, needed, len(order), spared))


def _weighted(parameters: _Parameters, points: np.ndarray, *, strongest: bool) -> np.ndarray:
    """The Jacobian with every row over what rounds there, up to a factor."""
    sizes = parameters.term_sizes(points) if strongest else _plain_sizes(points, parameters.network.outputs)
    return parameters.jacobian(points) / sizes.reshape(-1, 1)


def _best(jacobian: np.ndarray, outputs: int) -> list[int]:
    """Inputs in the order in which they show the parameters (columns, brought to one size) best."""
    sizes = np.linalg.norm(jacobian, axis=0)
    *_, pivots = qr((jacobian / np.where(sizes > 0, sizes, 1)).T, mode="r", pivoting=True)
    return list(dict.fromkeys(int(k) // outputs for k in pivots))


def _with_spare(best: Sequence[int], needed: int, count: int, spared: int = 0) -> np.ndarray:
    """Chosen inputs of ``count``, and further ones in the order that they have, but for most of those spared."""
    chosen = set(best)
    spare = max(math.ceil(SPARE * needed) - spared, math.ceil(LEAST_RANDOM * needed)) + 8
    others = [k for k in range(count) if k not in chosen][:spare]
    return np.array([*best, *others], dtype=int)


def _lacking(
    parameters: _Parameters, asked: np.ndarray, points: np.ndarray, *, strongest: bool, by_all: bool
) -> np.ndarray:
    """Indices of points that show what the inputs asked do not: directions, or rows where parameters are many."""
    if parameters.count > MOST_PARAMETERS:
        return parameters.seldom_on(asked, points)
    before, jacobian = (_weighted(parameters, x, strongest=strongest) for x in (asked, points))
    sizes = np.hypot(np.linalg.norm(before, axis=0), np.linalg.norm(jacobian, axis=0))
    sizes[sizes == 0] = 1.0
    _, singular, axes = np.linalg.svd(before / sizes)
    shown = int(np.sum(singular > (SHOWN_BY_ALL if by_all else SHOWN) * singular[0]))
    if shown == len(axes):
        return np.empty(0, dtype=int)
    left = (jacobian / sizes) @ axes[shown:].T
    needed = -(-left.shape[1] // parameters.network.outputs)
    best = _best(left, parameters.network.outputs)[:needed]
    return np.array(best, dtype=int) if by_all else _with_spare(best, needed, len(points))


def _standing_out(parameters: _Parameters, rng: np.random.Generator) -> Iterator[DyadicMatrix]:
    """Of many random inputs those at which a parameter moves f most against the terms that f is rounded from."""
    for scale in POOL_SCALES:
        points = gaussian_points(POOL, parameters.network.inputs, scale, rng)
        inputs = points.to_float64()
        shares = np.abs(parameters.jacobian(inputs)) / parameters.term_sizes(inputs).reshape(-1, 1)
        best = np.unique(np.argpartition(-shares, STRONGEST, axis=0)[:STRONGEST]) // parameters.network.outputs
        yield _rows(points, np.unique(best))


def _rows(points: DyadicMatrix, which: np.ndarray) -> DyadicMatrix:
    """Some of the rows."""
    entries, columns = points.mantissa.tolist(), points.mantissa.ncols()
    chosen = [x for k in which.tolist() for x in entries[k]]
    return DyadicMatrix(fmpz_mat(len(which), columns, chosen), points.exponent)


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
            yield _rows(more, useful)
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
