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
from collections.abc import Mapping, Sequence

import numpy as np
from flint import fmpq

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch, scattered
from jaxtract.polish.chosen_inputs import MOST_PARAMETERS, chosen_inputs, least_random, weighted_jacobian
from jaxtract.polish.known_answers import Answered, known_already, rational_answers
from jaxtract.polish.least_absolute import least_absolute
from jaxtract.polish.least_squares import Determined, least_squares
from jaxtract.polish.loose_parameters import inputs_for_loose
from jaxtract.polish.parameters import Parameters, floats, plain_sizes
from jaxtract.polish.weights_from_outputs import weights_from_outputs
from precision.balls import to_float
from precision.dyadic import floor_log2, from_float, from_float64, power_of_two
from precision.rounded import RoundedContext

MOST_AT_ALL = 6000
"""Parameters beyond which a dense Jacobian takes more than minutes."""

FAR_OFF = 1024.0
"""A residual so many times that of inputs where the network is right is none that a change of it could mend."""

LIKELY = 32.0
"""Standard deviations to which a residual may be the error of parameters that other inputs show less well."""

RIGHT_SHARES = (0.9, 0.6, 0.35)
"""Shares of the inputs at which the network may be right, tried in this order."""

LEAST_SPARE, ROUNDING_BITS = 0.2, 10
"""Equations beyond the unknowns, as a share of these, that agree to so many times the rounding of the answers."""

MOST_GROWTH = 6
"""Times that inputs are added which turn out to be right."""

LEAST_CHANGE = 1e-9
"""Of what the parameters do to a residual one by one, the share that is left where it is no rounding."""

MOST_STEPS = 60

LOOSE_SHARE, TIGHTENED = 2.0**12, 4
"""Parameters whose error is more than so many roundings of their row are looked after, so many times."""

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
    parameters = Parameters(network)
    rough = oracle.context.rough
    known = None if rough or before is not None else known_already(oracle, parameters)
    random = 0
    if known is not None:
        before, spare = known.answered, None
        random = least_random(parameters) if known.wrong else 0
    asked = before.inputs if before is not None else np.empty((0, network.inputs))
    asked = asked if also is None else np.concatenate([asked, also])
    spared, by_all = 0 if spare is None else len(spare.inputs), known is not None
    points = chosen_inputs(
        parameters, rng, near, asked, strongest=not rough, spared=spared, by_all=by_all, random=random
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
        found = Parameters(polished.network)
        more = inputs_for_loose(
            lambda x, at=found: weighted_jacobian(at, x, strongest=True),
            answered.inputs,
            found.row_sizes(),
            LOOSE_SHARE,
            rng,
        )
        if not len(more):
            break
        answered = answered + Answered(more, rational_answers(oracle, scattered(from_float64(more))))
        polished = _descended(oracle, answered, found)
    return polished


def _descended(oracle: CountingOracle, answered: Answered, start: Parameters) -> Polished | None:
    """Gauss-Newton on what was asked."""
    inputs, outputs = answered.inputs, start.network.outputs
    sizes = plain_sizes(inputs, outputs) if oracle.context.rough else start.term_sizes(inputs)
    rounding = plain_sizes(inputs, outputs) * _error_unit(oracle)
    batch = scattered(from_float64(inputs))
    return _Descent(answered, batch, 1 / sizes, rounding, oracle.context.answer_bits).run(start)


def _error_unit(oracle: CountingOracle) -> float:
    """What was measured of the rounding of answers: a bound on the error over 1 + max |x|, 0 where none was."""
    context = oracle.context
    if not isinstance(context, RoundedContext) or context.error_unit is None:
        return 0.0
    return to_float(context.error_unit)


def rounding_bound(network: ExactNetwork, rng: np.random.Generator, answer_bits: int) -> float:
    """What answers rounded to ``answer_bits`` leave at inputs as ``polish`` chooses them, whatever is made of them.

    The largest standard deviation of a parameter against the largest entry of its row, from the Jacobian at the network
    itself (Cramer-Rao), with an error of 2^-answer_bits |f| in every answer and none in its computation. Parameters
    that no such input shows are left out. ``network``: the truth.

    Raises:
        ValueError: too many parameters for inputs to be chosen.
    """
    parameters = Parameters(network)
    if parameters.count > MOST_PARAMETERS:
        raise ValueError(f"at most {MOST_PARAMETERS} free parameters are bounded, got {parameters.count}")
    points = chosen_inputs(parameters, rng, None, np.empty((0, network.inputs)), strongest=True)
    answers = floats(FlintEvaluator(network)(scattered(points))).ravel()
    errors = np.maximum(np.abs(answers), np.finfo(np.float64).tiny) * 2.0**-answer_bits
    matrix = parameters.jacobian(points.to_float64()) / errors[:, None]
    spread = least_squares(matrix, np.zeros(len(matrix)))[1].spread
    return parameters.worst_share(np.where(np.isinf(spread), 0, spread))


@dataclasses.dataclass(frozen=True)
class _Fitted:
    """Where steps on some of the inputs ended: residuals of ``size``, and how well these show the parameters."""

    parameters: Parameters
    size: fmpq
    shown: Determined

    @property
    def spread(self) -> np.ndarray:
        return self.shown.spread


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

    def run(self, start: Parameters) -> Polished | None:
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
            right = used | ~self._wrong(dataclasses.replace(fitted, parameters=parameters))
            if right.sum() == used.sum():
                break
            again = self._fitted(parameters, right)
            if again is None or not self._agrees(again, right):
                break
            fitted, used = again, right
        return self._polished(fitted)

    def _shown_elsewhere(self, fitted: _Fitted) -> Parameters | None:
        """Parameters that only inputs show where the network is wrong, as most of these inputs want them."""
        wrong, open_ = self._wrong(fitted), np.isinf(fitted.spread)
        rows = np.repeat(wrong, self.target.shape[1])
        if not open_.any() or not wrong.any():
            return None
        jacobian = fitted.parameters.jacobian(self.inputs)[rows] * self.weights.ravel()[rows, None]
        free = fitted.shown.free
        matrix = jacobian @ free
        seen = np.any(np.abs(matrix) > LEAST_CHANGE * (np.abs(jacobian) @ np.abs(free)), axis=0)
        unit, shares = _in_units(self._residuals(fitted.parameters).ravel()[rows], self.weights.ravel()[rows])
        found = least_absolute(matrix[:, seen], shares)
        if found is None:
            return self._where_neurons_are_on(fitted.parameters, open_, wrong)
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        return fitted.parameters.moved(free[:, seen] @ found, unit, self.answer_bits + SPARE_BITS)

    def _where_neurons_are_on(self, parameters: Parameters, open_: np.ndarray, wrong: np.ndarray) -> Parameters | None:
        """Open weights of the last hidden layer, where what they make a neuron add to f is all that is wrong."""
        rows = parameters.open_rows(open_)
        if rows is None:
            return None
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        found = weights_from_outputs(
            parameters.network, rows, self.inputs[wrong], self._residuals(parameters)[wrong], self.answer_bits
        )
        return None if found is None else Parameters(found)

    def _polished(self, fitted: _Fitted) -> Polished:
        parameters, spread = fitted.parameters, fitted.spread
        wrong = self.inputs[self._wrong(fitted)]
        return Polished(
            parameters.network,
            _accuracy(parameters, spread, fitted.size),
            int(np.isinf(spread).sum()),
            wrong,
            self.answered,
            parameters.open_rows(np.isinf(spread)) or {},
        )

    def _wrong(self, fitted: _Fitted) -> np.ndarray:
        """Inputs (booleans) where no change of the parameters, as far as these are known, would mend the residuals.

        An input that shows more of a parameter than all that were used may be far off for the error of this alone.
        """
        # Between many bits such a residual is larger in this unit than any double.
        limit = fitted.size * from_float(FAR_OFF)
        residuals, weights = self._residuals(fitted.parameters).ravel(), self.weights.ravel()
        sizes = np.array([abs(x) * from_float(float(w)) for x, w in zip(residuals, weights, strict=True)], dtype=object)
        # What may be rounding alone refutes nothing, however well the others agree.
        far = np.array(
            [
                size > limit and abs(x) > from_float(float(r))
                for size, x, r in zip(sizes, residuals, self.rounding.ravel(), strict=True)
            ]
        )
        wrong = np.any(far.reshape(self.target.shape), axis=1)
        if wrong.any():
            rows = np.repeat(wrong, self.target.shape[1])
            jacobian = fitted.parameters.jacobian(self.inputs[wrong]) * weights[rows, None]
            likely = fitted.shown.foreseen(jacobian)
            far[rows] &= [
                size > limit + fitted.size * from_float(LIKELY * float(own))
                for size, own in zip(sizes[rows], likely, strict=True)
            ]
        return np.any(far.reshape(self.target.shape), axis=1)

    def _agrees(self, fitted: _Fitted, used: np.ndarray) -> bool:
        """Whether residuals at more equations than unknowns fell to about the rounding of the answers."""
        shown = int(np.isfinite(fitted.spread).sum())
        if used.sum() * self.target.shape[1] < (1 + LEAST_SPARE) * shown:
            return False
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        sizes = np.array([abs(to_float(x)) for x in self.target.ravel()]) * self.weights.ravel()
        return fitted.size <= from_float(float(np.max(sizes))) * power_of_two(ROUNDING_BITS - self.answer_bits)

    def _residuals(self, parameters: Parameters) -> np.ndarray:
        return self.target - FlintEvaluator(parameters.network)(self.batch)

    def _fitted(self, start: Parameters, used: np.ndarray) -> _Fitted | None:
        """Steps until the residuals at the inputs used fall no more; None where the first one raises them."""
        assert self.answer_bits is not None, "exact answers leave nothing to polish"
        parameters, best = start, None
        first: _Fitted | None = None
        size: fmpq | None = None
        shown: Determined | None = None
        weights = np.where(used[:, None], self.weights, 0.0).ravel()
        for _ in range(MOST_STEPS):
            residuals = self._residuals(parameters).ravel()
            residuals[weights == 0] = fmpq(0)
            unit, shares = _in_units(residuals, weights)
            now = unit * from_float(np.sqrt(np.mean(shares**2)))
            if now == 0:
                break
            if size is not None and shown is not None:
                if now < size:
                    best = _Fitted(parameters, now, shown)
                if 2 * now >= size:
                    break
            size = now
            # The pattern of an input that lies near a boundary may change with the parameters.
            step, shown = least_squares(parameters.jacobian(self.inputs) * weights[:, None], shares)
            first = first or _Fitted(start, now, shown)
            parameters = parameters.moved(step, unit, self.answer_bits + SPARE_BITS)
        if best is None and first is not None and self._agrees(first, used):
            return first  # nothing is left to gain
        return best


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


def _accuracy(parameters: Parameters, spread: np.ndarray, size: fmpq) -> int:
    """Bits of the row that is known worst, three standard deviations taken for its error."""
    worst = 3 * parameters.worst_share(np.where(np.isinf(spread), 0, spread))
    return 0 if worst == 0 else max(0, -floor_log2(size) - 1 - math.ceil(math.log2(worst)))
