"""``chen_klivans_meka``: one hidden layer, whatever its position, at the precision of the answers.

Chen, Klivans and Meka 2021 restrict f to a random Gaussian line, find its critical points, read neurons off the
gradients between them, merge what is nearer than can be told apart, and keep an affine remainder. So does this:

* lines through Gaussian points are searched at the noise of the answers, estimated first (``lines``, ``black_box``);
* the gradients beside a kink give its neuron (``neurons``), measurements of one neuron are recognised (``known``);
* outputs and remainder, and where that is not enough all parameters, are fitted at Gaussian points (``fit``);
* what is left is searched again, on lines through the inputs that are worst;
* the loss is measured at fresh Gaussian inputs (``square_loss``), and the answer depends on nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time

import numpy as np

from jaxtract.methods.low_loss.black_box import BlackBox, growth
from jaxtract.methods.low_loss.fit import (
    MOST_UNKNOWNS,
    fit_all,
    fit_outputs,
    fit_remainder,
    mean_square,
    prune,
    unknowns,
)
from jaxtract.methods.low_loss.hinges import Hinges
from jaxtract.methods.low_loss.known import Known
from jaxtract.methods.low_loss.lines import Kinks, Staircase, Unexplained, kinks_on_lines
from jaxtract.methods.low_loss.near_folds import LARGEST_WEIGHT, near_folds
from jaxtract.methods.low_loss.neurons import Candidates, measure
from jaxtract.methods.low_loss.pursue import with_best_guess
from jaxtract.methods.low_loss.result import LossOutcome, LowLoss
from jaxtract.methods.low_loss.square_loss import SquareLoss, measure_loss
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from precision.rounded import float64

CHECKED = 300
"""Gaussian points on which a model is tried before it is verified; they then join the points that it is fitted to."""

STANDS_OUT = 25.0
"""Squares that are so many times their mean are not noise, but something that few inputs meet: fits look there, too."""

SPARE = 50
"""Points beyond those that determine the unknowns twice."""

FIRST_LINES, NEXT_LINES = 8, 3
"""Lines on which f itself is searched, at most, and lines a round on which what is unexplained is."""

GOAL = 0.05
"""Fits stop at this share of epsilon."""

NEGLIGIBLE = 0.02
"""Share of sqrt(epsilon) below which what a line shows is left alone."""

NEARLY = 1e-5
"""Share of the variance of f below which a fit cannot hide much: the best one so far is kept."""

MOST_GUESSED, GUESS_PAYS = 40, 0.9
"""Neurons that are guessed in a row, at most, and the share of the loss that each may leave."""

LEAST_OVERSAMPLING, MOST_OVERSAMPLING = 1.5, 12.0
"""Equations that a fit of everything has for every unknown: more show what happens in thin slabs."""

WORK = 2e9
"""Equations times squared unknowns that a fit may have, about: a second a step."""

MEASURABLE = 10.0
"""Units of noise that a bend must make within a piece of a line for a gradient there to mean anything."""

SHARPER = 30.0
"""A fit of all parameters is kept if it takes the loss down by this factor. One that compensates for a missing neuron
with all others does not, and would hide where the missing one is."""

FEWEST_VERIFIED, MOST_VERIFIED = 2000, 20000
VERIFIED_PER_SLAB = 8.0
"""Fresh inputs in units of (slope^2 / epsilon)^(1/3).

A bump of slope L that is w wide has a height of L w at a share of about w / 2 of all inputs: its loss is epsilon where
w is the cube root of 2 epsilon / L^2. So many inputs meet a bump of that loss with probability above 95 %.
"""


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """Settings of ``chen_klivans_meka``.

    Attributes:
        seed: of every random choice.
        max_queries: budget over all purposes, or None.
        rounds: fits and searches of what is left, at most.
        confidence: of the interval that the loss is reported with.
        slope: a Lipschitz constant of f where one is known; else f is assumed to be no steeper than what was recovered,
            in what rare inputs may add to the loss (``SquareLoss.most_beyond``).
    """

    seed: int = 0
    max_queries: int | None = None
    rounds: int = 36
    confidence: float = 0.99
    slope: float | None = None


def chen_klivans_meka(
    oracle: Oracle,
    *,
    epsilon: float,
    options: LossOptions | None = None,
    progress: ProgressMeter | None = None,
) -> LowLoss:
    """A network F' of one hidden layer with E |F(x) - F'(x)|^2 at most epsilon for x ~ N(0, I), if answers allow.

    Args:
        oracle: the black box, in any number system; it is asked for doubles. Answers may be rounded or noisy.
        epsilon: square loss asked, summed over the outputs.
        options: see ``LossOptions``.
        progress: told what happens; silent by default.

    Returns:
        Always a network, with its measured loss. It is an approximation, and need not have the widths of f.

    Raises:
        ValueError: epsilon or confidence is out of range.
        OracleError: an answer was not what the oracle declares.
    """
    chosen = options or LossOptions()
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise ValueError(f"epsilon is {epsilon}; give the square loss that is allowed, a positive number")
    if not 0 < chosen.confidence < 1:
        raise ValueError(f"confidence is {chosen.confidence}; give a probability between 0 and 1, like 0.99")
    return _Learner(oracle, epsilon, chosen, progress or NoProgressMeter()).run()


class _Learner:
    """One run.

    Attributes:
        known: neurons and remainder now.
        points, weights, values: inputs asked, what they count in the loss, and answers; fits use them.
        checked: weighted squares of the difference at the inputs of the last check.
        best: (mean square, model) of the best check.
        verified: (points, weights, values) of every verification.
        reached: whether the last one said that the loss is below epsilon.
        oversampling: equations that a fit of everything has for every unknown.
    """

    def __init__(self, oracle: Oracle, epsilon: float, options: LossOptions, progress: ProgressMeter):
        self.oracle = CountingOracle(oracle, float64(), max_queries=options.max_queries, on_queries=progress.queries)
        self.box = BlackBox(self.oracle)
        self.epsilon, self.options, self.progress = epsilon, options, progress
        self.rng = np.random.default_rng(options.seed)
        inputs, outputs = oracle.inputs, oracle.outputs
        self.known = Known.nothing(Hinges.zero(inputs, outputs))
        self.points, self.weights, self.values = np.zeros((0, inputs)), np.zeros(0), np.zeros((0, outputs))
        self.checked = np.zeros(0)
        self.best = (math.inf, self.known.model)
        self.loss: SquareLoss | None = None
        self.verified: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.reached = False
        self.oversampling = LEAST_OVERSAMPLING

    @property
    def noise(self) -> float:
        """Mean square of the noise of an answer."""
        return float((self.box.noise**2).sum())

    def run(self) -> LowLoss:
        begun = time.perf_counter()
        try:
            outcome = self._learn()
        except BudgetSpent:
            outcome, self.loss = LossOutcome.BUDGET_SPENT, None
            self.known = Known.nothing(self.best[1])
        model = self.known.model
        return LowLoss(
            model.network(),
            len(model),
            outcome,
            self.epsilon,
            self.loss,
            self.noise,
            self.oracle.count,
            time.perf_counter() - begun,
            self.oracle.seconds,
            self.options.seed,
        )

    def _learn(self) -> LossOutcome:
        self.box.estimate_noise(self.rng)
        self._extend(2 * (self.box.inputs + 1) + SPARE)
        self.known = self.known.with_model(fit_remainder(self.known.model, self.points, self.values))
        self._search_f()
        loss = self._check()
        for _ in range(self.options.rounds):
            if self._good_enough(loss):
                break
            found = self.best[0]
            self._sharpen(loss)
            if self._good_enough(self.best[0]):
                break
            if self.best[0] > found / SHARPER:
                self._pursue()
                if self._good_enough(self.best[0]):
                    break
            self._search_unexplained()
            loss = self._check()
        return self._ended()

    def _good_enough(self, loss: float) -> bool:
        """Verified below epsilon, or down to the noise."""
        if loss <= self.epsilon / 2 and self._at_verified() <= self.epsilon and self._verify():
            return True
        return self.noise > self.epsilon / 2 and loss <= 2 * self.noise

    def _ended(self) -> LossOutcome:
        if self.reached:
            return LossOutcome.REACHED
        self.known = Known.nothing(self.best[1])
        least = self._check()
        if self._verify():
            return LossOutcome.REACHED
        return LossOutcome.RESOLUTION if least <= 2 * self.noise else LossOutcome.NOT_REACHED

    def _search_f(self) -> None:
        """Lines on f itself, until their neurons are known well enough or no new one is seen."""
        remainder, news = self.known.model, []
        for count in range(FIRST_LINES):
            self.progress.phase("search")
            unexplained, (kinks,) = self._kinks(remainder, np.zeros(1), self._gaussian(1))
            chosen, before = self.known.unmatched(kinks), len(self.known.model)
            self.progress.phase("measure")
            if len(chosen):
                self.known = self.known.combined(self._measured(unexplained, kinks, chosen, self.box.noise))
            news.append(len(self.known.model) - before)
            self.progress.neurons(len(self.known.model), None)
            if self.known.misfit <= 0.1 * math.sqrt(self.epsilon) or (count >= 2 and not any(news[-2:])):
                break
        self.known = self.known.with_model(fit_remainder(self.known.model, self.points, self.values))

    def _search_unexplained(self) -> None:
        """Lines through the inputs that are worst of all asked, on the difference of f and the model."""
        least = self._negligible()
        units = np.maximum(self.box.noise, max(least, self.known.misfit))
        self.progress.phase("search")
        squares = _squares(self.known.model, self.points, self.weights, self.values)
        worst = self.points[np.argsort(-squares)[:NEXT_LINES]]
        unexplained, lines = self._kinks(self.known.model, units, worst)
        units = np.maximum(units, self.box.noise)
        earlier: list[Candidates] = []
        for line in lines:
            kinks = line.merged(MEASURABLE)
            if len(kinks.places):
                found = self._measured(unexplained, kinks, np.arange(len(kinks.places)), units)
                # All lines show what the same model leaves: what two of them show is not to be added twice.
                new = functools.reduce(Candidates.unlike, earlier, found)
                self.known = self.known.absorbed(new, least / math.sqrt(len(self.known.model) + 1))
                earlier.append(found)
        self.progress.neurons(len(self.known.model), None)
        self.known = self.known.with_model(fit_remainder(self.known.model, self.points, self.values))

    def _negligible(self) -> float:
        """Change of an output that does not matter."""
        return NEGLIGIBLE * math.sqrt(self.epsilon / self.box.outputs)

    def _measured(self, unexplained: Unexplained, kinks: Kinks, chosen: np.ndarray, units: np.ndarray) -> Candidates:
        """Neurons of chosen kinks in the units of f."""
        least = max(MEASURABLE, self._negligible() / float(units.max()))
        return measure(unexplained, kinks, chosen, least).scaled(units)

    def _sharpen(self, loss: float) -> None:
        """Fit outputs, then everything; what does not take the loss down is undone."""
        before = self.known
        self._extend(2 * (len(before.model) + self.box.inputs + 1) + SPARE)
        self.known = before.with_model(fit_outputs(before.model, self.points, self.values))
        self._prune()
        sharpened = self._check()
        if sharpened > self.epsilon / 2 and sharpened > 2 * self.noise:
            sharpened = self._fit_all(sharpened)
        nearly = sharpened <= min(self.best[0], NEARLY * float(self.values.var(axis=0).sum()))
        if nearly or sharpened <= max(loss / SHARPER, self.epsilon / 2):
            self.known = self.known.at_loss(sharpened)
        else:
            # Errors were estimated on the safe side: what is smaller will be looked at next.
            self.known = dataclasses.replace(before, errors=before.errors / 3)
            self.oversampling = min(2 * self.oversampling, MOST_OVERSAMPLING)

    def _pursue(self) -> None:
        """Neurons guessed one at a time, each with a fit of everything, while that takes the loss down."""
        before, begun = self.known, self.best[0]
        for _ in range(MOST_GUESSED):
            least, model = self.best
            model = with_best_guess(model, self.points, self.values, self.rng)
            self.known = Known.nothing(model)
            if self._fit_all(math.inf) > GUESS_PAYS * least:
                break
        least, model = self.best
        if least <= max(begun / SHARPER, self.epsilon / 2):
            self.known = Known(model, np.full(len(model), math.inf)).at_loss(least)
        else:
            self.known = before

    def _fit_all(self, loss: float) -> float:
        """Returns the mean square of a check after the fit."""
        wanted = unknowns(self.known.model) / self.box.outputs
        if wanted * self.box.outputs > MOST_UNKNOWNS or not len(self.known.model):
            return loss
        self.progress.phase("fit")
        count = math.ceil(min(self.oversampling * wanted, max(1.5 * wanted, WORK / wanted**2))) + SPARE
        self._extend(count)
        latest = slice(-2 * count, None)
        goal = max(GOAL * self.epsilon, self.noise / 4)
        model = fit_all(self.known.model, self.points[latest], self.values[latest], goal)
        self.known = self.known.with_model(model)
        self._prune()
        return self._check()

    def _prune(self) -> None:
        """Drop neurons that the points do not need."""
        left = mean_square(self.values - self.known.model(self.points))
        allowed = min(self.epsilon / 50, max(left, self.noise / 10))
        model, kept = prune(self.known.model, self.points, self.values, allowed)
        self.known = Known(model, self.known.errors[kept])

    def _check(self) -> float:
        """The loss at a few fresh inputs."""
        points, weights = near_folds(self.known.model, CHECKED, self.rng)
        self._look_at(points, weights, self.box.ask(points, "measure"))
        loss = float(self.checked.mean())
        if loss < self.best[0]:
            self.best = (loss, self.known.model)
        return loss

    def _verify(self) -> bool:
        """Measure the loss at fresh inputs; whether the interval, and the mean at earlier ones, are below epsilon.

        Where a few inputs are worse than the interval allows for, the next one allows for them.
        """
        loss = self._measure_loss()
        if loss.above and self._at_verified() <= self.epsilon / 2:
            self._measure_loss()
        return self.reached

    def _measure_loss(self) -> SquareLoss:
        self.progress.phase("verify")
        model = self.known.model
        steepness = np.linalg.norm(model.factors, axis=1)
        steepest = max(float(steepness.max(initial=0)), float(np.linalg.norm(model.matrix, 2)))
        slabs = VERIFIED_PER_SLAB * (steepest**2 / self.epsilon) ** (1 / 3)
        count = round(min(max(slabs, FEWEST_VERIFIED) * 2 ** len(self.verified), MOST_VERIFIED))
        points, weights = near_folds(model, count, self.rng)
        values = self.box.ask(points, "verify")
        squares = _squares(model, points, weights, values)
        own = float(steepness.sum() + np.linalg.norm(model.matrix, 2))
        earlier = self._at_verified()
        self.verified.append((points, weights, values))
        # Several attempts share the probability to be wrong.
        confidence = 1 - (1 - self.options.confidence) / 2 ** len(self.verified)
        self.loss = loss = measure_loss(
            self.checked,
            squares,
            inputs=self.box.inputs,
            confidence=confidence,
            constant=float(np.linalg.norm(values - model(points), axis=1).max()),
            slope=own + (own if self.options.slope is None else self.options.slope),
            largest_weight=LARGEST_WEIGHT,
        )
        self._look_at(points, weights, values)
        self.reached = not loss.above and max(earlier, loss.upper) <= self.epsilon
        if model is self.best[1]:
            self.best = (self._at_verified(), model)
        return loss

    def _at_verified(self) -> float:
        """The largest loss at the inputs of earlier verifications, which cost nothing more."""
        return max((float(_squares(self.known.model, *asked).mean()) for asked in self.verified), default=0.0)

    def _look_at(self, points: np.ndarray, weights: np.ndarray, values: np.ndarray) -> None:
        """Keep what fresh inputs showed."""
        self.checked = _squares(self.known.model, points, weights, values)
        kept = self.checked > STANDS_OUT * self.checked.mean()
        kept[:CHECKED] = True
        self._keep(points[kept], weights[kept], values[kept])

    def _kinks(self, model: Hinges, units: np.ndarray, bases: np.ndarray) -> tuple[Unexplained, list[Kinks]]:
        """What a model leaves of f in these units, or the noise where that is larger, and its kinks on random lines."""
        while True:
            unexplained = self._unexplained(model, np.maximum(units, self.box.noise))
            try:
                return unexplained, kinks_on_lines(unexplained, bases, self._gaussian(len(bases)))
            except Staircase:
                self.box.rougher()

    def _unexplained(self, model: Hinges, units: np.ndarray) -> Unexplained:
        """What a model leaves of f, in units of the outputs; its noise is at least one unit at a Gaussian point."""

        def ask(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            values = self.box.ask(points, "search")
            noise = np.maximum(self.box.noise_at(points, values) / units, growth(points)[:, None])
            return (values - model(points)) / units, noise.max(axis=1)

        return ask

    def _extend(self, count: int) -> None:
        """Have at least so many points to fit to."""
        if count > len(self.points):
            points, weights = near_folds(self.known.model, count - len(self.points), self.rng)
            self._keep(points, weights, self.box.ask(points, "measure"))

    def _keep(self, points: np.ndarray, weights: np.ndarray, values: np.ndarray) -> None:
        self.points = np.concatenate([self.points, points])
        self.weights = np.concatenate([self.weights, weights])
        self.values = np.concatenate([self.values, values])

    def _gaussian(self, count: int) -> np.ndarray:
        return self.rng.standard_normal((count, self.box.inputs))


def _squares(model: Hinges, points: np.ndarray, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(points,) squared difference, summed over outputs, times the weight."""
    return weights * ((values - model(points)) ** 2).sum(axis=1)
