"""Answers as the rationals that they are, and of those that a search has paid for the ones that show a network best."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import PointBatch, scattered
from jaxtract.polish.chosen_inputs import MOST_PARAMETERS, SPARE, best_inputs, weighted_jacobian
from jaxtract.polish.parameters import Parameters
from precision.balls import to_float
from precision.context import Context
from precision.dyadic import from_float64

NEARLY_RIGHT = 2.0**-20
"""They are used where the network is wrong by no more anywhere, as a share of the terms that f is summed from."""

SPARE_OF_ALL, MANY_ROWS = 4.0, 2000
"""Of these so many more than determine the parameters; a share of ``SPARE`` where that is more than so many."""


@dataclasses.dataclass(frozen=True)
class Answered:
    """What was asked to polish: inputs (inputs, dimension), doubles, and answers (inputs, outputs), rationals."""

    inputs: np.ndarray
    answers: np.ndarray

    def __add__(self, more: Answered) -> Answered:
        return Answered(np.concatenate([self.inputs, more.inputs]), np.concatenate([self.answers, more.answers]))


def known_already(oracle: CountingOracle, parameters: Parameters) -> Answered | None:
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
    best = best_inputs(weighted_jacobian(parameters, known.inputs, strongest=True), outputs)[:needed]
    others = np.setdiff1d(np.arange(len(inputs)), best)
    chosen = [*best, *others[:: max(1, len(others) // spare)]]
    return Answered(known.inputs[chosen], known.answers[chosen])


def rational_answers(oracle: CountingOracle, batch: PointBatch) -> np.ndarray:
    """Answers as the rationals that they are, (points, outputs); queries count as ``measure``."""
    return rationals(oracle.context, oracle.ask(batch, "measure"))


def rationals(context: Context, answers: np.ndarray) -> np.ndarray:
    """Answers, (points, outputs), as the rationals that they are."""
    return np.array([context.rational(x) for x in answers.ravel()], dtype=object).reshape(answers.shape)
