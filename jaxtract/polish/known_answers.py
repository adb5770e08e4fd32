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

NEARLY_RIGHT, MOSTLY_RIGHT = 2.0**-20, 0.8
"""They are used where the network is wrong by no more, as a share of the terms that f is summed from, at so many."""

WRONG_SHARE = 0.1
"""Of those at which it is wrong, which show what it lacks, at most such a share is added."""

SPARE_OF_ALL, MANY_ROWS = 4.0, 2000
"""Of these so many more than determine the parameters; a share of ``SPARE`` where that is more than so many."""


@dataclasses.dataclass(frozen=True)
class Answered:
    """What was asked to polish: inputs (inputs, dimension), doubles, and answers (inputs, outputs), rationals."""

    inputs: np.ndarray
    answers: np.ndarray

    def __add__(self, more: Answered) -> Answered:
        return Answered(np.concatenate([self.inputs, more.inputs]), np.concatenate([self.answers, more.answers]))


@dataclasses.dataclass(frozen=True)
class KnownAlready:
    """Answers that a search has paid for, and whether the network is wrong at some of them."""

    answered: Answered
    wrong: bool


def known_already(oracle: CountingOracle, parameters: Parameters) -> KnownAlready | None:
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
    right = np.all((shares <= NEARLY_RIGHT).reshape(-1, outputs), axis=1)
    if right.mean() < MOSTLY_RIGHT or right.sum() < (1 + SPARE) * needed:
        return None  # what the network lacks, inputs at random tell better than those of a search
    places, wrong = np.flatnonzero(right), np.flatnonzero(~right)
    spare = min(math.ceil(SPARE_OF_ALL * needed), max(math.ceil(SPARE * needed), MANY_ROWS))
    best = places[best_inputs(weighted_jacobian(parameters, inputs[places], strongest=True), outputs)[:needed]]
    others = np.setdiff1d(places, best)
    chosen = [*best, *others[:: max(1, len(others) // spare)]]
    chosen += wrong[:: math.ceil(max(len(wrong), 1) / (WRONG_SHARE * len(chosen)))].tolist()
    return KnownAlready(Answered(known.inputs[chosen], known.answers[chosen]), bool(len(wrong)))


def rational_answers(oracle: CountingOracle, batch: PointBatch) -> np.ndarray:
    """Answers as the rationals that they are, (points, outputs); queries count as ``measure``."""
    return rationals(oracle.context, oracle.ask(batch, "measure"))


def rationals(context: Context, answers: np.ndarray) -> np.ndarray:
    """Answers, (points, outputs), as the rationals that they are."""
    return np.array([context.rational(x) for x in answers.ravel()], dtype=object).reshape(answers.shape)
